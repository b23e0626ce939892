"""Run a scheduler against an API server, or evaluate snapshots.

Any Kubernetes API server will do (--kubeconfig); give the profiles another schedulerName in --config to run as a
second scheduler. 'cox scheduler evaluate' reads cluster snapshots (a JSON object a line) on standard input and
writes, for each pending pod, every plugin's verdict and score on every node. Nothing is placed.
"""

from __future__ import annotations

import argparse
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from coxswain.cli import flagtypes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coxswain.client.interface import Client
    from coxswain.scheduler.configuration import LeaderElectionConfig


def configure(parser: argparse.ArgumentParser) -> None:
    from coxswain.cli.runner import add_log_flags

    parser.add_argument("action", nargs="?", choices=("run", "evaluate"), default="run", help="default: run")
    parser.add_argument(
        "--kubeconfig", default="", help="the API server (default: the file's, or $KUBECONFIG)"
    )
    parser.add_argument(
        "--config", default="", help="a KubeSchedulerConfiguration, as kube-scheduler reads it"
    )
    parser.add_argument("--scheduler-name", default="", help="pods that name it are ours (without --config)")
    parser.add_argument("--percentage-of-nodes-to-score", type=int, default=0, help="0 adapts (default)")
    parser.add_argument(
        "--leader-elect",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="run only while holding the lease (default: as --config says, else not)",
    )
    parser.add_argument(
        "--bind-address", default="127.0.0.1", help="of /healthz, /livez, /readyz and /metrics"
    )
    parser.add_argument(
        "--secure-port",
        type=flagtypes.port,
        default=-1,
        help="their port (kube-scheduler's is 10259); default: none",
    )
    parser.add_argument("--tls-cert-file", default="", help="serve them over TLS")
    parser.add_argument("--tls-private-key-file", default="")
    add_log_flags(parser)


def run(args: argparse.Namespace) -> int:
    if args.action == "evaluate":
        from coxswain.cli import evaluating

        return evaluating.evaluate(sys.stdin.buffer, sys.stdout.buffer)
    from coxswain.cli import runner

    runner.setup_logging(args)
    return runner.run(_schedule(args))


@contextmanager
def errors_of(file: str | None) -> Iterator[None]:
    """Let errors that show when plugins are made of what was read say in which file it stands."""
    from coxswain.base.errors import ConfigurationError

    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}" if file else str(error)) from None


async def _schedule(args: argparse.Namespace) -> None:
    from coxswain.cli import runner
    from coxswain.client.connect import connect
    from coxswain.scheduler.component import Scheduler
    from coxswain.scheduler.config import SchedulerConfig
    from coxswain.scheduler.configuration import LeaderElectionConfig, load

    file = load(args.config) if args.config else None
    config = SchedulerConfig(
        file=file,
        scheduler_name=args.scheduler_name or "default-scheduler",
        percentage_of_nodes_to_score=args.percentage_of_nodes_to_score,
    )
    election = file.leader_election if file is not None else LeaderElectionConfig(elect=False)
    elect = election.elect if args.leader_elect is None else args.leader_elect
    kubeconfig = args.kubeconfig or (file.kubeconfig if file is not None else "")
    async with await connect(kubeconfig, program="kube-scheduler") as client:
        with errors_of(args.config):
            scheduler = Scheduler(client, config)
        runner.calm_garbage_collector()
        await _serve(args, scheduler, client, election if elect else None)


async def _serve(
    args: argparse.Namespace, scheduler: object, client: Client, election: LeaderElectionConfig | None
) -> None:
    """The scheduler beside its health server, as a leader or alone."""
    import asyncio
    import os
    import signal

    from coxswain.cli.health import HealthServer
    from coxswain.client.leaderelection import ElectionSettings, LeaderElector
    from coxswain.scheduler.comparer import Comparing
    from coxswain.scheduler.component import Scheduler

    assert isinstance(scheduler, Scheduler)
    elector: LeaderElector | None = None
    if election is not None:
        settings = ElectionSettings(election.lease_seconds, election.renew_deadline, election.retry_period)
        identity = f"{socket.gethostname()}_{os.getpid()}"
        elector = LeaderElector(
            client, election.name, identity, namespace=election.namespace, settings=settings
        )

    def unready() -> str | None:
        standing_by = elector is not None and not elector.is_leader
        return None if scheduler.synced or standing_by else "the informers have not synced"

    live: dict[str, Callable[[], str | None]] = {"ping": lambda: None}
    if elector is not None:
        live["leaderElection"] = elector.unhealthy
    server = HealthServer(live, {"sched-handler-sync": unready})
    if args.secure_port >= 0:
        await server.start(args.bind_address, args.secure_port, args.tls_cert_file, args.tls_private_key_file)
    # As with kube-scheduler, SIGUSR2 asks whether the cache agrees with the API; the answer is logged.
    comparing = Comparing(scheduler)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, comparing.request)
    try:
        await (scheduler.run() if elector is None else elector.run(scheduler.run))
    finally:
        await comparing.close()
        await server.close()
