"""How every long-running ``cox`` process runs: uvloop, signals that end it cleanly, a calm garbage collector."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any

import uvloop

from coxswain.base import garbage, log


def add_log_flags(parser: argparse.ArgumentParser) -> None:
    """``--log-level`` and ``--log-format``."""
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument(
        "--log-format", choices=("text", "json"), default=None, help="default: text on a terminal, else json"
    )


# gRPC's own handling of forks warns about each process that we start; our children exec at once.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def setup_logging(args: argparse.Namespace) -> None:
    """As the flags say."""
    log.setup(args.log_level, json=None if args.log_format is None else args.log_format == "json")


def calm_garbage_collector() -> None:
    """Call it once the process is up; see ``base.garbage``."""
    garbage.calm()


def run(main: Coroutine[Any, Any, None]) -> int:
    """Run ``main`` until it ends or SIGINT/SIGTERM asks it to; the exit code (0 when asked)."""

    async def guarded() -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        asked = False

        def stop() -> None:
            nonlocal asked
            if not asked:
                asked = True
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        try:
            await main
        except asyncio.CancelledError:
            if not asked:
                raise

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(guarded())
    return 0
