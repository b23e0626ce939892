"""Run the controllers against an API server."""

from __future__ import annotations

import argparse
import socket


def configure(parser: argparse.ArgumentParser) -> None:
    from coxswain.cli.runner import add_log_flags

    parser.add_argument("--kubeconfig", default="", help="the API server (default: $KUBECONFIG)")
    parser.add_argument(
        "--controllers", default="*", help="'*' for all, 'foo' to switch one on, '-foo' to switch it off"
    )
    parser.add_argument("--cluster-cidr", default="", help="addresses of all pods (default 10.244.0.0/16)")
    parser.add_argument("--leader-elect", action="store_true", help="run only while holding the lease")
    add_log_flags(parser)


def run(args: argparse.Namespace) -> int:
    from coxswain.cli import runner

    runner.setup_logging(args)
    return runner.run(_control(args))


async def _control(args: argparse.Namespace) -> None:
    import os

    from coxswain.cli import runner
    from coxswain.client.connect import connect
    from coxswain.controllers import manager

    identity = f"{socket.gethostname()}_{os.getpid()}" if args.leader_elect else ""
    options = {"node-ipam-controller": {"cluster_cidr": args.cluster_cidr}} if args.cluster_cidr else {}
    async with await connect(args.kubeconfig) as client:
        runner.calm_garbage_collector()
        await manager.run(client, args.controllers, options=options, identity=identity)
