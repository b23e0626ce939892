"""A real API server with the durable store and a real scheduler, as processes of their own.

As a program: ``python tests/soak/processes.py SECONDS REPORT [--seed N] [--directory D]`` soaks them for so long.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from coxswain.client.connect import connect
from soak.soaking import Soak

COX = (sys.executable, "-m", "coxswain.cli.main")


class Cluster:
    """The two processes."""

    def __init__(self, directory: Path, api_server: int, scheduler: int) -> None:
        self.directory = directory
        self.pids = {"apiserver": api_server, "scheduler": scheduler}
        self.kubeconfig = directory / "api" / "kubeconfig"
        self._read = 0

    def usage(self) -> dict[str, Any]:
        """MiB, file descriptors, threads and CPU seconds of each, and of this process."""
        return {name: _usage(pid) for name, pid in {**self.pids, "soak": os.getpid()}.items()}

    async def compare(self) -> dict[str, Any]:
        """Ask the scheduler for a comparison; what it logs."""
        log = self.directory / "scheduler.log"
        self._read = log.stat().st_size
        os.kill(self.pids["scheduler"], signal.SIGUSR2)
        async with asyncio.timeout(120):
            while True:
                await asyncio.sleep(0.2)
                with log.open("rb") as lines:
                    lines.seek(self._read)
                    for line in lines:
                        if b'"comparison":' in line and line.endswith(b"\n"):
                            found: dict[str, Any] = orjson.loads(line)["comparison"]
                            return found

    def complaints(self) -> list[str]:
        """What the processes logged as an error."""
        return [
            f"{name}: {line.decode()[:2000]}"
            for name in self.pids
            for line in (self.directory / f"{name}.log").read_bytes().splitlines()
            if b'"level":"error"' in line or b"Traceback" in line
        ]


def _usage(pid: int) -> dict[str, Any]:
    root = Path(f"/proc/{pid}")
    fields = (root / "stat").read_text().rsplit(") ", 1)[1].split()
    return {
        "MiB": round(int((root / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20, 1),
        "files": len(list((root / "fd").iterdir())),
        "threads": int(fields[17]),
        "cpu": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
    }


@contextmanager
def cluster(directory: Path, port: int = 0) -> Iterator[Cluster]:
    """Started, with logs and data in ``directory``; ended on the way out."""
    reader, writer = os.pipe()
    # No controller takes away the taint that new nodes would get.
    serve = [*COX, "apiserver", f"--data-dir={directory / 'api'}", f"--port={port}", "--log-format=json"]
    serve += ["--disable-admission-plugins=TaintNodesByCondition", f"--ready-fd={writer}"]
    with (directory / "apiserver.log").open("wb") as log:
        api_server = subprocess.Popen(serve, pass_fds=(writer,), stdout=log, stderr=log)
    os.close(writer)
    scheduler = None
    try:
        with os.fdopen(reader) as pipe:
            assert pipe.readline(), (directory / "apiserver.log").read_text()
        kubeconfig = directory / "api" / "scheduler.kubeconfig"
        schedule = [*COX, "scheduler", f"--kubeconfig={kubeconfig}", "--log-format=json"]
        with (directory / "scheduler.log").open("wb") as log:
            scheduler = subprocess.Popen(schedule, stdout=log, stderr=log)
        yield Cluster(directory, api_server.pid, scheduler.pid)
    finally:
        for process in (scheduler, api_server):
            if process is not None:
                process.terminate()
                process.wait(30)


async def soak(running: Cluster, seconds: float, report: Path, **how: Any) -> Soak:
    """Soak a running cluster for so long."""
    async with await connect(running.kubeconfig) as client:
        one = Soak(client, running.compare, report=report, usage=running.usage, **how)
        await one.run(seconds)
    return one


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("report", type=Path)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--nodes", type=int, default=40)
    parser.add_argument("--load", type=float, default=8.0, help="pods a second")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--directory", type=Path, default=None)
    args = parser.parse_args()
    directory = args.directory or Path(tempfile.mkdtemp(prefix="soak-"))
    directory.mkdir(parents=True, exist_ok=True)
    print(f"seed {args.seed}, logs in {directory}, report {args.report}", flush=True)
    with cluster(directory, args.port) as running:
        how = {"seed": args.seed, "nodes": args.nodes, "load": args.load}
        done = asyncio.run(soak(running, args.seconds, args.report, **how))
        wrong = [*done.wrong, *running.complaints()]
    print(f"{done.comparisons} comparisons, {done.checker.counts['bindings']} bindings, {len(wrong)} wrong")
    print("\n".join(wrong[:50]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
