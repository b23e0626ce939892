"""Run nodes that only pretend: their pods are Running and Ready at once, and nothing is started."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    from coxswain.cli.runner import add_log_flags

    parser.add_argument("--kubeconfig", default="", help="the API server (default: $KUBECONFIG)")
    parser.add_argument("--count", type=int, default=1, help="how many nodes (default 1)")
    parser.add_argument("--prefix", default="hollow-", help="node names are PREFIX1 ... PREFIXcount")
    add_log_flags(parser)


def run(args: argparse.Namespace) -> int:
    from coxswain.cli import runner

    runner.setup_logging(args)
    return runner.run(_pretend(args))


async def _pretend(args: argparse.Namespace) -> None:
    from coxswain.cli import runner
    from coxswain.client.connect import connect
    from coxswain.kubelet import hollow

    async with await connect(args.kubeconfig, program="kubelet") as client:
        runner.calm_garbage_collector()
        await hollow.run(client, count=args.count, prefix=args.prefix)
