"""Run a scheduler against an API server, or evaluate snapshots.

'cox scheduler evaluate' reads cluster snapshots (a JSON object a line) on standard input and writes, for each
pending pod, every plugin's verdict and score on every node. Nothing is placed.
"""

from __future__ import annotations

import argparse
import sys


def configure(parser: argparse.ArgumentParser) -> None:
    from coxswain.cli.runner import add_log_flags

    parser.add_argument("action", nargs="?", choices=("run", "evaluate"), default="run", help="default: run")
    parser.add_argument("--kubeconfig", default="", help="the API server (default: $KUBECONFIG)")
    parser.add_argument("--percentage-of-nodes-to-score", type=int, default=0, help="0 adapts (default)")
    add_log_flags(parser)


def run(args: argparse.Namespace) -> int:
    if args.action == "evaluate":
        from coxswain.scheduler import evaluate

        return evaluate.main(sys.stdin.buffer, sys.stdout.buffer)
    from coxswain.cli import runner

    runner.setup_logging(args)
    return runner.run(_schedule(args))


async def _schedule(args: argparse.Namespace) -> None:
    from coxswain.cli import runner
    from coxswain.client.connect import connect
    from coxswain.scheduler.component import run as run_scheduler
    from coxswain.scheduler.config import SchedulerConfig

    async with await connect(args.kubeconfig) as client:
        runner.calm_garbage_collector()
        config = SchedulerConfig(percentage_of_nodes_to_score=args.percentage_of_nodes_to_score)
        await run_scheduler(client, config)
