"""Coxswain's own processes as the benchmarks start them: what they cost, and that they end."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.end_to_end.rest_load import Counter, Target

TOKEN = "benchmark"
COX = (sys.executable, "-m", "coxswain.cli.main")


@dataclass(frozen=True)
class Server:
    """A running API server."""

    target: Target
    pid: int
    data_dir: Path

    def resident(self) -> int:
        """MiB of resident memory."""
        return resident(self.pid)


def resident(pid: int) -> int:
    """MiB of resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 >> 20


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    usage = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(usage[11]) + int(usage[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def api_server(directory: str, extra: Sequence[str] = ()) -> Iterator[Server]:
    """An API server alone with the durable store, in ``directory``; its log is there too."""
    tokens = Path(directory, "tokens.csv")
    tokens.write_text(f'{TOKEN},benchmark,1,"system:masters"\n')
    reader, writer = os.pipe()
    log = Path(directory, "apiserver.log")
    data_dir = Path(directory, "api")
    command = [*COX, "apiserver", f"--data-dir={data_dir}", "--port=0", f"--token-auth-file={tokens}"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *extra, f"--ready-fd={writer}"], pass_fds=(writer,), stdout=out, stderr=out
        )
    os.close(writer)
    with os.fdopen(reader) as pipe:
        url = pipe.readline().strip()
    if not url:
        raise SystemExit(log.read_text())
    with ended(process, "API server"):
        yield Server(Target(int(url.rpartition(":")[2]), TOKEN), process.pid, data_dir)


@contextmanager
def etcd_server(directory: str) -> Iterator[str]:
    """An etcd of one member, durable, in ``directory``; its address."""
    program = shutil.which("etcd")
    if program is None:
        raise SystemExit("etcd is not installed: apt install etcd-server")
    client, peer = (f"http://127.0.0.1:{port}" for port in _free_ports(2))
    command = [
        program,
        f"--data-dir={Path(directory, 'etcd')}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--log-level=error",
    ]
    with Path(directory, "etcd.log").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    with ended(process, "etcd"):
        yield client


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextmanager
def ended(process: subprocess.Popen[bytes], name: str) -> Iterator[None]:
    """End ``process`` on the way out, and say what it cost."""
    try:
        yield
    finally:
        if process.poll() is None:
            print(
                f"{name}: {cpu_seconds(process.pid):.1f} s CPU, {resident(process.pid)} MiB", file=sys.stderr
            )
            process.terminate()
        process.wait(30)


@dataclass(frozen=True)
class Cluster:
    """An API server and a scheduler."""

    target: Target
    #: Process ids by what runs in them.
    pids: dict[str, int]

    def cpu_seconds(self) -> dict[str, float]:
        """Seconds of CPU that each process has used so far, this one (the load) included."""
        used = {name: cpu_seconds(pid) for name, pid in self.pids.items()}
        return used | {"load": time.process_time()}


@contextmanager
def cluster(directory: str) -> Iterator[Cluster]:
    """An API server and a scheduler in ``directory``."""
    # New nodes would be tainted as not ready, and no controller runs to see that they are.
    with api_server(directory, ["--disable-admission-plugins=TaintNodesByCondition"]) as server:
        kubeconfig = server.data_dir / "scheduler.kubeconfig"
        with Path(directory, "scheduler.log").open("wb") as log:
            scheduler = subprocess.Popen(
                [*COX, "scheduler", f"--kubeconfig={kubeconfig}"], stdout=log, stderr=log
            )
        with ended(scheduler, "scheduler"):
            yield Cluster(server.target, {"API server": server.pid, "scheduler": scheduler.pid})


async def until(counter: Counter, count: int, patience: float = 120.0) -> None:
    deadline = time.monotonic() + patience
    while counter.seen < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"only {counter.seen} of {count} pods were scheduled in {patience:g} s")
        await asyncio.sleep(0.02)
