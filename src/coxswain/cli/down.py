"""Stop the cluster that 'cox up' started: pods first, then the components, within seconds."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from coxswain.cli.place import Place, default_data_dir


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, default=default_data_dir(), help="the cluster's directory")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds until it is killed (default 30)")


def run(args: argparse.Namespace) -> int:
    place = Place(args.data_dir)
    pid = place.holder()
    if pid is None:
        print(f"no cluster runs from {place.data_dir}{_end_pods(place)}")
        return 0
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + args.timeout
    while place.is_running():
        if time.monotonic() > deadline:
            sys.stderr.write(f"not stopped after {args.timeout:g} s; killing process {pid}\n")
            os.kill(pid, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.02)
    print(f"stopped{_end_pods(place)}")
    return 0


def _end_pods(place: Place) -> str:
    """Pods outlive a killed cluster, so that the next ``cox up`` finds them; who says down wants them to end."""
    import asyncio

    from coxswain.cli.node import end_pods

    left = asyncio.run(end_pods(place.data_dir))
    return f"; ended {left} pods that were left running" if left else ""
