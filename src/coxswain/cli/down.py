"""Stop the cluster that 'cox up' started: pods first, then the components, within seconds."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from coxswain.base.errors import ResourceUnavailable
from coxswain.cli.place import Place, default_data_dir


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, default=default_data_dir(), help="the cluster's directory")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds until it is killed (default 30)")


def run(args: argparse.Namespace) -> int:
    place = Place(args.data_dir)
    running = place.running()
    if running is None:
        if place.is_running():
            raise ResourceUnavailable(
                f"the cluster in {place.data_dir} is still starting; try again in a moment"
            )
        print(f"no cluster runs from {place.data_dir}")
        return 0
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + args.timeout
    while place.is_running():
        if time.monotonic() > deadline:
            sys.stderr.write(f"not stopped after {args.timeout:g} s; killing process {running.pid}\n")
            os.kill(running.pid, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.02)
    print("stopped")
    return 0
