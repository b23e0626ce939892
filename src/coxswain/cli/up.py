"""Start a cluster on this machine: API server, scheduler, controllers and a node, on loopback.

It runs in the foreground until Ctrl-C, or in the background with --detach ('cox down' stops it).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from coxswain import KUBERNETES_VERSION, __version__
from coxswain.base.errors import ConfigurationError, ResourceUnavailable
from coxswain.cli.apiserver_flags import storage
from coxswain.cli.place import Place, Running, default_data_dir


def configure(parser: argparse.ArgumentParser) -> None:
    from coxswain.cli.runner import add_log_flags

    parser.add_argument(
        "--detach", action="store_true", help="run in the background; return when it is ready"
    )
    parser.add_argument("--port", type=int, default=6443, help="port of the API server (default 6443)")
    parser.add_argument("--data-dir", type=Path, default=default_data_dir(), help="where everything is kept")
    storage.add_servers(parser)
    parser.add_argument(
        "--hollow-nodes", type=int, default=0, metavar="N", help="also run N nodes that only pretend"
    )
    parser.add_argument("--no-local-node", action="store_true", help="no node on this machine")
    parser.add_argument(
        "--runtime", choices=("process",), default="process", help="how the local node runs pods"
    )
    parser.add_argument("--node-name", default="", help="the local node's name (default: the host name)")
    parser.add_argument("--controllers", default="*", help="which controllers run, e.g. '*,-endpoints'")
    parser.add_argument(
        "--processes", action="store_true", help="each component in its own process, gRPC between"
    )
    parser.add_argument("--output", choices=("text", "json"), default="text", help="how to say that it runs")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for it with --detach")
    parser.add_argument("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)
    add_log_flags(parser)


def run(args: argparse.Namespace) -> int:
    _check(args)
    place = Place(args.data_dir)
    return _detach(args, place) if args.detach else _foreground(args, place)


def _check(args: argparse.Namespace) -> None:
    if args.hollow_nodes < 0:
        raise ConfigurationError("--hollow-nodes must be 0 or more")
    if not 0 <= args.port < 65536:
        raise ConfigurationError(
            f"--port {args.port} is not a port; choose one between 0 and 65535 (0: any free)"
        )


# -- foreground ----------------------------------------------------------------------------------------------


def _foreground(args: argparse.Namespace, place: Place) -> int:
    from coxswain.cli import runner
    from coxswain.cli.cluster import Cluster, ClusterOptions
    from coxswain.cli.podrange import PodRange

    runner.setup_logging(args)
    _check_names(args)
    place.acquire()
    try:
        pod_range = PodRange(place.run_dir)
        options = ClusterOptions(
            data_dir=place.data_dir,
            port=args.port,
            store=storage.backend(args),
            etcd_servers=storage.servers(args.etcd_servers) if storage.backend(args) == "etcd" else (),
            hollow_nodes=args.hollow_nodes,
            local_node=not args.no_local_node,
            runtime=args.runtime,
            node_name=args.node_name,
            controllers=args.controllers,
            cluster_cidr=pod_range.cidr,
        )

        async def ready(server: str, processes: dict[str, int]) -> None:
            running = Running(
                pid=os.getpid(),
                server=server,
                kubeconfig=str(place.data_dir / "kubeconfig"),
                node=options.node if options.local_node else "",
                runtime=options.runtime if options.local_node else "",
                hollow_nodes=options.hollow_nodes,
                processes=processes,
            )
            place.write(running)
            runner.calm_garbage_collector()
            _announce(args, running)

        if args.processes:
            from coxswain.cli.processes import run_processes

            return runner.run(run_processes(options, args, ready))
        return runner.run(Cluster(options).run(ready))
    finally:
        place.release()


def _announce(args: argparse.Namespace, running: Running) -> None:
    if args.ready_fd >= 0:
        os.write(args.ready_fd, b"ready\n")
        os.close(args.ready_fd)
    else:
        _show(running, args.output, stop="Ctrl-C stops it")


def _show(running: Running, output: str, *, stop: str) -> None:
    if output == "json":
        from dataclasses import asdict

        print(orjson.dumps(asdict(running)).decode(), flush=True)
        return
    lines = [f"Coxswain {__version__} (Kubernetes {KUBERNETES_VERSION}) is running", ""]
    lines.append(f"  API server    {running.server}")
    if running.node:
        lines.append(f"  node          {running.node} ({running.runtime} runtime)")
    if running.hollow_nodes:
        lines.append(f"  hollow nodes  {running.hollow_nodes}")
    lines.append(f"  kubeconfig    {running.kubeconfig}")
    lines += ["", "next:", f"  export KUBECONFIG={running.kubeconfig}", "  kubectl get nodes"]
    if running.node:
        lines.append("  kubectl apply -f examples/web.yaml")
    lines += ["", stop]
    print("\n".join(lines), flush=True)


def _check_names(args: argparse.Namespace) -> None:
    """What only the process that runs the cluster checks: it imports the rooms that know."""
    from coxswain.api.validation.formats import dns_subdomain
    from coxswain.controllers.registry import select

    if args.node_name and (problems := dns_subdomain(args.node_name.lower())):
        raise ConfigurationError(f"--node-name {args.node_name!r} is no name of a node: {problems[0]}")
    select(args.controllers)


# -- background ----------------------------------------------------------------------------------------------


def _detach(args: argparse.Namespace, place: Place) -> int:
    place.prepare()
    if place.is_running():
        running = place.running()
        where = f" at {running.server}" if running else ""
        raise ResourceUnavailable(f"a cluster already runs from {place.data_dir}{where}; 'cox down' stops it")
    started = time.monotonic()
    reader, writer = os.pipe()
    with place.log_file.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "coxswain.cli.main", "up", *_again(args), "--ready-fd", str(writer)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(writer,),
            start_new_session=True,
            cwd="/",
        )
    os.close(writer)
    try:
        answer = _read(reader, args.timeout)
    except KeyboardInterrupt:
        child.terminate()
        raise
    running = place.running()
    if answer != b"ready\n" or running is None:
        raise ResourceUnavailable(_why(child, place, args.timeout))
    took = f"ready after {time.monotonic() - started:.1f} s; log {place.log_file}"
    _show(running, args.output, stop=f"{took}\nstop it with: cox down{_data_dir_flag(args)} (or make down)")
    return 0


def _again(args: argparse.Namespace) -> Sequence[str]:
    """The flags of this call, for the process in the background."""
    flags = [
        f"--port={args.port}",
        f"--data-dir={args.data_dir.expanduser().absolute()}",
        f"--store={args.store}",
        f"--etcd-servers={args.etcd_servers}",
        f"--hollow-nodes={args.hollow_nodes}",
        f"--runtime={args.runtime}",
        f"--node-name={args.node_name}",
        f"--controllers={args.controllers}",
        f"--log-level={args.log_level}",
        "--log-format=json" if args.log_format is None else f"--log-format={args.log_format}",
    ]
    flags += ["--no-local-node"] * args.no_local_node + ["--processes"] * args.processes
    return flags


def _data_dir_flag(args: argparse.Namespace) -> str:
    return "" if args.data_dir == default_data_dir() else f" --data-dir {args.data_dir}"


def _read(reader: int, timeout: float) -> bytes:
    """What the child says: ``ready``, or nothing when it ends or time is up."""
    import select

    with os.fdopen(reader, "rb", buffering=0) as pipe:
        readable, _, _ = select.select([pipe], [], [], timeout)
        return pipe.read(6) if readable else b""


def _why(child: subprocess.Popen[bytes], place: Place, timeout: float) -> str:
    try:
        child.wait(1.0)
    except subprocess.TimeoutExpired:
        child.terminate()
        return f"the cluster was not ready after {timeout:g} s and was stopped; see {place.log_file}"
    lines = place.log_file.read_text(errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1]
    if not shutil.disk_usage(place.data_dir).free:
        return f"no space is left on the disk of {place.data_dir}; free some or name another with --data-dir"
    return f"the cluster ended at once (exit code {child.returncode}); see {place.log_file}"
