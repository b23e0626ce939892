"""A whole control plane of processes with hollow nodes, and what each process costs.

    async with fleet(directory, nodes=1000) as cluster:
        before = cluster.costs()
        ...
        cluster.costs() - before

API server (durable store), scheduler, controller manager and hollow nodes are what ``cox up --processes`` starts,
started one by one, because the benchmarks stop and start the controller manager alone.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.end_to_end.process import COX, cpu_seconds, resident
from coxswain.api.names import NODES
from coxswain.cli.cluster import WIDE_POD_NETWORK, wait_for_nodes
from coxswain.cli.node import issue_hollow_credentials
from coxswain.client.connect import connect
from coxswain.client.interface import Client
from coxswain.client.kubeconfig import load

TOKEN = "benchmark"
MANAGER = "controller-manager"
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.M)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch", "APPLY": "patch"}
_WRITES |= {"DELETE": "delete", "DELETECOLLECTION": "deletecollection"}
#: What nodes write all the time to say that they live.
HEARTBEATS = {("patch", "leases", ""), ("patch", "nodes", "status")}
Write = tuple[str, str, str]


@dataclass(frozen=True)
class Cost:
    """Seconds of CPU so far, and MiB of resident memory now."""

    cpu: float
    memory: int


@dataclass
class Fleet:
    """The processes by name, and a client that may do everything."""

    directory: Path
    ports: Iterator[int]
    extra: Sequence[str] = ()
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    health: str = ""
    url: str = ""
    client: Client = field(init=False)

    # ---- processes

    def start(self, name: str, command: Sequence[str], pass_fds: Sequence[int] = ()) -> None:
        with Path(self.directory, f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*COX, *command], stdout=log, stderr=log, pass_fds=pass_fds, start_new_session=True
            )

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def start_api_server(self) -> None:
        tokens = Path(self.directory, "tokens.csv")
        tokens.write_text(f'{TOKEN},benchmark,1,"system:masters"\n')
        reader, writer = os.pipe()
        command = ["apiserver", f"--data-dir={self.data_dir}", f"--port={next(self.ports)}"]
        command += [f"--token-auth-file={tokens}", "--enable-admission-plugins=ServiceAccount"]
        self.start("apiserver", [*command, f"--ready-fd={writer}"], (writer,))
        os.close(writer)
        with os.fdopen(reader) as pipe:
            self.url = pipe.readline().strip()
        if not self.url:
            raise SystemExit(Path(self.directory, "apiserver.log").read_text()[-3000:])

    def start_manager(self) -> None:
        port = next(self.ports)
        self.health = f"http://127.0.0.1:{port}"
        pki = self.data_dir / "pki"
        command = [MANAGER, f"--kubeconfig={self.data_dir / 'controller-manager.kubeconfig'}"]
        command += [f"--cluster-cidr={WIDE_POD_NETWORK}", f"--secure-port={port}"]
        command += ["--use-service-account-credentials"]
        command += [f"--cluster-signing-cert-file={pki / 'ca.crt'}"]
        command += [f"--cluster-signing-key-file={pki / 'ca.key'}"]
        command += [f"--service-account-private-key-file={pki / 'sa.key'}"]
        self.start(MANAGER, [*command, *self.extra])

    def start_nodes(self, count: int) -> None:
        grpc = load(self.data_dir / "kubeconfig").grpc_address
        kubeconfig = issue_hollow_credentials(self.data_dir, self.url, grpc)
        self.start("hollow-nodes", ["hollow-nodes", f"--kubeconfig={kubeconfig}", f"--count={count}"])

    def start_scheduler(self) -> None:
        self.start("scheduler", ["scheduler", f"--kubeconfig={self.data_dir / 'scheduler.kubeconfig'}"])

    @property
    def data_dir(self) -> Path:
        return self.directory / "api"

    # ---- what it costs, what it did

    def costs(self) -> dict[str, Cost]:
        """Of every process, by its name."""
        return {
            name: Cost(cpu_seconds(each.pid), resident(each.pid)) for name, each in self.processes.items()
        }

    async def writes(self) -> Counter[Write]:
        """Successful writes so far by verb, resource and subresource, without heartbeats and events."""
        found: Counter[Write] = Counter()
        for name, labels, value in await _samples(f"{self.url}/metrics", TOKEN):
            if name != "apiserver_request_total" or labels["verb"] not in _WRITES:
                continue
            key = _WRITES[labels["verb"]], labels["resource"], labels["subresource"]
            if labels["code"].startswith("2") and key not in HEARTBEATS and not _stores_nothing(key):
                found[key] += int(value)
        return found

    async def manager_idle(self) -> bool:
        """Whether the controller manager knows everything and has nothing to do."""
        try:
            samples = await _samples(f"{self.health}/metrics")
            await asyncio.to_thread(_read, f"{self.health}/readyz", "")
        except OSError:
            return False
        adds = sum(value for name, _, value in samples if name == "workqueue_adds_total")
        waiting = ("workqueue_depth", "workqueue_unfinished_work_seconds")
        return adds > 0 and not any(value for name, _, value in samples if name in waiting)

    async def settle(self, patience: float = 120.0, quiet: float = 3.0) -> None:
        """Return when nothing was written for ``quiet`` seconds."""
        deadline = time.monotonic() + patience
        before = await self.writes()
        since = time.monotonic()
        while time.monotonic() - since < quiet:
            if time.monotonic() > deadline:
                raise SystemExit(f"still writing after {patience:g} s: {await self.writes() - before}")
            await asyncio.sleep(0.5)
            if (now := await self.writes()) != before:
                before, since = now, time.monotonic()


@asynccontextmanager
async def fleet(directory: Path, nodes: int, port: int, extra: Sequence[str] = ()) -> AsyncIterator[Fleet]:
    """A cluster whose nodes are ready, on ``port`` and the ports after it; it ends with the block."""
    found = Fleet(directory, iter(range(port, port + 50)), extra)
    with _ended(found):
        found.start_api_server()
        found.start_scheduler()
        found.start_manager()
        found.start_nodes(nodes)
        async with await connect(found.data_dir / "kubeconfig") as client:
            found.client = client
            await wait_for_nodes(client, nodes)
            assert len((await client.list(NODES)).items) == nodes
            await found.settle()
            yield found


@contextmanager
def _ended(found: Fleet) -> Iterator[None]:
    try:
        yield
    finally:
        for name in reversed(list(found.processes)):
            found.stop(name)


def _stores_nothing(write: Write) -> bool:
    """Requests that only ask, and events."""
    return write[1] == "events" or write[2] == "token" or write[1].endswith("reviews")


async def _samples(url: str, token: str = "") -> list[tuple[str, dict[str, str], float]]:
    text = await asyncio.to_thread(_read, url, token)
    return [
        (name, dict(_LABEL.findall(labels)), float(value)) for name, labels, value in _SAMPLE.findall(text)
    ]


def _read(url: str, token: str) -> str:
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, context=context, timeout=60) as answer:
        body: Any = answer.read()
    return str(body.decode())
