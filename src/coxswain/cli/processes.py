"""A cluster of processes: each component its own, gRPC between them, this one watching over all.

    cox up --processes
      +-- cox apiserver            started first; says its URL when it serves
      +-- cox scheduler            restarted with back-off when it ends
      +-- cox controller-manager
      +-- cox kubelet / hollow-nodes

Two cores then really work at once: Python runs one thread of a process at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import os
import signal
import sys
from collections.abc import Sequence

from coxswain.base.errors import ResourceUnavailable
from coxswain.base.tasks import Supervisor
from coxswain.cli.cluster import ClusterOptions, Ready, wait_for_nodes
from coxswain.cli.node import NodeFiles, issue_credentials, issue_hollow_credentials
from coxswain.client.connect import connect
from coxswain.client.kubeconfig import load

#: Seconds that a component gets to end by itself.
STOP_TIMEOUT = 5.0


class ComponentEnded(Exception):
    """A component's process ended although nobody asked it to."""


class Processes:
    """The children of one ``cox up --processes``."""

    def __init__(self, options: ClusterOptions, args: argparse.Namespace) -> None:
        self._options = options
        self._log = [f"--log-level={args.log_level}", "--log-format=json"]
        self.pids: dict[str, int] = {}
        self._files: NodeFiles

    async def run(self, ready: Ready) -> None:
        """Run all components until cancelled; the API server ends last."""
        async with Supervisor("API server") as server, Supervisor("components", backoff=1.0) as components:
            url = await self._start_server(server)
            kubeconfig = self._options.data_dir / "kubeconfig"
            self._issue(url)
            for name, command in self._commands().items():
                components.supervise(name, functools.partial(self._child, name, command))
            async with await connect(kubeconfig) as client:
                await wait_for_nodes(client, self._options.expected_nodes)
            await ready(url, self.pids)
            await asyncio.Event().wait()

    async def _start_server(self, tasks: Supervisor) -> str:
        options = self._options
        reader, writer = os.pipe()
        command = [
            "apiserver",
            f"--data-dir={options.data_dir}",
            f"--port={options.port}",
            f"--store={options.store}",
            f"--etcd-servers={','.join(options.etcd_servers)}",
            "--enable-admission-plugins=ServiceAccount",
            f"--ready-fd={writer}",
        ]
        process = await self._spawn("apiserver", command, pass_fds=(writer,))
        os.close(writer)
        tasks.start("apiserver", self._mind("apiserver", process))
        stream = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reader, "rb", buffering=0)
        )
        line = await stream.readline()
        if not line:
            raise ResourceUnavailable("the API server ended at once; its own message above says why")
        return line.decode().strip()

    def _issue(self, url: str) -> None:
        """Credentials of those that the API server makes none for: they are issued for whom we start."""
        options, grpc = self._options, load(self._options.data_dir / "kubeconfig").grpc_address
        if options.local_node:
            self._files = issue_credentials(options.data_dir, options.node, url, grpc)
        if options.hollow_nodes:
            issue_hollow_credentials(options.data_dir, url, grpc)

    def _commands(self) -> dict[str, Sequence[str]]:
        options = self._options
        place = options.data_dir
        commands: dict[str, Sequence[str]] = {
            "scheduler": ["scheduler", f"--kubeconfig={place / 'scheduler.kubeconfig'}"],
            "controller-manager": [
                "controller-manager",
                f"--kubeconfig={place / 'controller-manager.kubeconfig'}",
                f"--controllers={options.controllers}",
                "--use-service-account-credentials",
                f"--cluster-cidr={options.pod_network}",
                f"--local-path-directory={options.local_paths}",
                f"--cluster-signing-cert-file={options.signing_files[0]}",
                f"--cluster-signing-key-file={options.signing_files[1]}",
                f"--service-account-private-key-file={options.service_account_key}",
            ],
        }
        if options.local_node:
            commands["kubelet"] = [
                "kubelet",
                f"--kubeconfig={place / 'kubelet.kubeconfig'}",
                f"--node-name={options.node}",
                f"--runtime={options.runtime}",
                f"--data-dir={place}",
                f"--port={options.kubelet_port}",
                f"--tls-cert-file={self._files.serving_certificate}",
                f"--tls-private-key-file={self._files.serving_key}",
                f"--client-ca-file={self._files.client_ca}",
                "--drain",
            ]
        if options.hollow_nodes:
            commands["hollow-nodes"] = [
                "hollow-nodes",
                f"--kubeconfig={place / 'hollow-nodes.kubeconfig'}",
                f"--count={options.hollow_nodes}",
            ]
        return commands

    async def _child(self, name: str, command: Sequence[str]) -> None:
        await self._mind(name, await self._spawn(name, command))

    async def _spawn(
        self, name: str, command: Sequence[str], pass_fds: Sequence[int] = ()
    ) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "coxswain.cli.main",
            *command,
            *self._log,
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=pass_fds,
            env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"},  # nothing of ours forks without exec
            start_new_session=True,  # Ctrl-C is for us: we stop the others in order
        )
        self.pids[name] = process.pid
        return process

    async def _mind(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Wait for a component: it ends (``ComponentEnded``), or we are cancelled (it is stopped)."""
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _stop(process)
            raise
        finally:
            self.pids.pop(name, None)
        raise ComponentEnded(f"{name} ended with exit code {code}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()


async def run_processes(options: ClusterOptions, args: argparse.Namespace, ready: Ready) -> None:
    """Run a cluster of processes until cancelled."""
    await Processes(options, args).run(ready)
