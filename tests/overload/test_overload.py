"""Ten times what the server can do at one time: it stays in order, and comes back to it.

A server process, one greedy user with ten times as many requests in progress as there are seats, and beside it who
has to get through: probes, a node, an administrator, watchers. ``COXSWAIN_OVERLOAD_SECONDS`` says for how long (5).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

pytestmark = pytest.mark.heavy

SECONDS = float(os.environ.get("COXSWAIN_OVERLOAD_SECONDS", "5"))
#: More than ten times as many requests in progress as the greedy user's level can have, with all that it may borrow.
CONNECTIONS = int(os.environ.get("COXSWAIN_OVERLOAD_CONNECTIONS", "2000"))
MAX_RSS_MB = 1024
ADMIN = {"Authorization": "Bearer T"}
SPACE = "/api/v1/namespaces/default"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
RBAC = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
MERGE = {"Content-Type": "application/merge-patch+json"}
PATIENCE = aiohttp.ClientTimeout(total=60)


class _Server:
    def __init__(self, process: asyncio.subprocess.Process, directory: Path, port: int) -> None:
        self.process, self.directory, self.port = process, directory, port
        self.ca = directory / "data" / "pki" / "ca.crt"

    def client(self, headers: dict[str, str] | None = None) -> aiohttp.ClientSession:
        tls = ssl.create_default_context(cafile=str(self.ca))
        connector = aiohttp.TCPConnector(ssl=tls, limit=0)
        return aiohttp.ClientSession(
            f"https://127.0.0.1:{self.port}", connector=connector, headers=headers, timeout=PATIENCE
        )

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextlib.asynccontextmanager
async def _running(directory: Path, *flags: str) -> AsyncIterator[_Server]:
    tokens = directory / "tokens.csv"
    tokens.write_text(
        'T,admin,1,"system:masters"\nJ,jane,2,"dev"\nN,system:node:n1,3,"system:nodes"\nW,watcher,4,"dev"\n'
    )
    arguments = ["apiserver", "--data-dir", str(directory / "data"), "--port", "0", "--grpc-port", "-1"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys; from coxswain.cli.main import main; sys.exit(main())",
        *arguments,
        "--store",
        "sqlite",
        "--token-auth-file",
        str(tokens),
        *flags,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        server = _Server(process, directory, int(line.split(";")[0].rpartition(":")[2]))
        await _prepare(server)
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _prepare(server: _Server) -> None:
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "dev"}]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    binding = {"metadata": {"name": "dev"}, "roleRef": role, "subjects": subjects}
    lease = {"metadata": {"name": "n1"}, "spec": {"holderIdentity": "n1"}}
    async with server.client(ADMIN) as client:
        assert await _code(client, "GET", "/readyz") == 200
        assert await _code(client, "POST", RBAC, json=binding) == 201
        for number in range(400):
            body = {"metadata": {"name": f"m{number}"}, "data": {"k": "x" * 2000}}
            assert await _code(client, "POST", f"{SPACE}/configmaps", json=body) == 201
        assert await _code(
            client, "POST", "/api/v1/namespaces", json={"metadata": {"name": "kube-node-lease"}}
        ) in (
            201,
            409,
        )
        assert await _code(client, "POST", LEASES, json=lease) == 201


async def _code(client: aiohttp.ClientSession, method: str, path: str, **options: Any) -> int:
    async with client.request(method, path, **options) as answer:
        await answer.read()
        return answer.status


async def _flood(server: _Server) -> dict[str, Any]:
    requests: list[tuple[str, str, str]] = []
    for number in range(80):
        # Each object has two contents in turn: what changes nothing is not written.
        data = {"k": "xy"[number % 2] * 1000}
        body = orjson.dumps({"metadata": {"name": f"m{number // 2}"}, "data": data}).decode()
        requests.append(("PUT", f"{SPACE}/configmaps/m{number // 2}", body))
        requests.append(("GET", f"{SPACE}/configmaps/m{number}", ""))
        if number % 8 == 0:
            requests.append(("GET", f"{SPACE}/configmaps", ""))
    settings = {
        "port": server.port,
        "ca": str(server.ca),
        "token": "J",
        "connections": CONNECTIONS,
        "seconds": SECONDS,
        "requests": requests,
    }
    script = Path(__file__).with_name("load_maker.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), json.dumps(settings), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    found: dict[str, Any] = json.loads(output)
    return found


async def _beside(server: _Server, over: asyncio.Event) -> tuple[Counter[str], float]:
    """Who has to get through, until the flood is over; what they were answered, and the most memory seen."""
    seen: Counter[str] = Counter()
    most = 0.0
    # A node renews its lease.
    async with (
        server.client() as probe,
        server.client({"Authorization": "Bearer N"}) as node,
        server.client(ADMIN) as admin,
    ):
        while not over.is_set():
            seen[f"livez {await _code(probe, 'GET', '/livez')}"] += 1
            seen[f"readyz {await _code(probe, 'GET', '/readyz')}"] += 1
            renewed = orjson.dumps({"spec": {"leaseTransitions": seen["livez 200"]}})
            seen[f"lease {await _code(node, 'PATCH', f'{LEASES}/n1', data=renewed, headers=MERGE)}"] += 1
            seen[f"admin {await _code(admin, 'GET', f'{SPACE}/configmaps?limit=10')}"] += 1
            most = max(most, server.rss_mb())
            await asyncio.sleep(0.05)
    return seen, most


async def _follow(server: _Server, over: asyncio.Event) -> int:
    """A watcher through it all; how many events it saw, in the order of their revisions."""
    last = count = 0
    async with (
        server.client({"Authorization": "Bearer W"}) as client,
        client.get(f"{SPACE}/configmaps?watch=1&resourceVersion=0", timeout=aiohttp.ClientTimeout()) as watch,
    ):
        assert watch.status == 200
        watch.content._high_water = 1 << 26  # type: ignore[attr-defined]
        while not over.is_set():
            try:
                line = await asyncio.wait_for(watch.content.readline(), 1)
            except TimeoutError:
                continue
            event = orjson.loads(line)
            revision = int(event["object"]["metadata"]["resourceVersion"])
            if event["type"] == "MODIFIED":
                assert revision > last
                last = revision
                count += 1
    return count


async def test_ten_times_too_much_is_borne(tmp_path: Path) -> None:
    async with _running(tmp_path) as server:
        over = asyncio.Event()
        beside = asyncio.ensure_future(_beside(server, over))
        watching = asyncio.ensure_future(_follow(server, over))
        flood = await _flood(server)
        over.set()
        seen, most = await beside
        events = await watching
        print(f"flood {flood}; beside {dict(seen)}; {events} events; {most:.0f} MB")
        assert server.process.returncode is None
        # Excess is sent away, what fits is done, and nothing else happens.
        assert flood["codes"].get("429", 0) > 1000
        assert flood["codes"].get("200", 0) > 1000
        assert set(flood["codes"]) == {"200", "429"}
        assert flood["lost"] == 0
        # Everybody else is served all the time.
        assert {name.partition(" ")[2] for name in seen} == {"200"}
        assert min(seen.values()) >= 2
        assert events > 0
        assert most < MAX_RSS_MB
        await _recovered(server)


async def _recovered(server: _Server) -> None:
    async with server.client({"Authorization": "Bearer J"}) as jane:
        assert await _code(jane, "GET", f"{SPACE}/configmaps/m1") == 200
        assert await _code(jane, "DELETE", f"{SPACE}/configmaps/m399") == 200
        async with jane.get("/metrics") as got:
            lines = (await got.text()).splitlines()
    for name in ("inqueue_requests", "executing_requests", "executing_seats"):
        values = [line for line in lines if line.startswith(f"apiserver_flowcontrol_current_{name}")]
        assert values and all(line.endswith(" 0.0") for line in values), values


async def test_a_server_that_is_told_to_stop_finishes_what_it_has_begun(tmp_path: Path) -> None:
    """SIGTERM while writes and watches run: every answer is whole, watches end properly, nothing hangs."""
    delay = ("--shutdown-delay-duration", "0.5")
    async with _running(tmp_path, *delay) as server, server.client(ADMIN) as client:
        answered: Counter[int] = Counter()
        cut = 0
        enough = asyncio.Event()

        async def write(number: int) -> None:
            nonlocal cut
            body = {"metadata": {"name": f"m{number}"}, "data": {"k": "z"}}
            with contextlib.suppress(aiohttp.ClientConnectorError):
                while True:
                    try:
                        path = f"{SPACE}/configmaps/m{number}"
                        answered[await _code(client, "PUT", path, json=body)] += 1
                        if answered[200] >= 200:
                            enough.set()
                    except aiohttp.ClientConnectorError:
                        raise
                    except aiohttp.ServerDisconnectedError:
                        # Closed between two requests, which is where HTTP allows it.
                        continue
                    except aiohttp.ClientError:
                        cut += 1

        watches = [await client.get(f"{SPACE}/configmaps?watch=1", timeout=PATIENCE) for _ in range(10)]
        readers = [asyncio.ensure_future(_to_the_end(watch)) for watch in watches]
        writers = [asyncio.ensure_future(write(number)) for number in range(20)]
        await enough.wait()
        server.process.send_signal(signal.SIGTERM)
        async with client.get("/readyz") as ready:
            assert ready.status in (200, 500)
        assert await asyncio.wait_for(server.process.wait(), 30) in (0, -signal.SIGTERM, 143)
        await asyncio.gather(*writers)
        assert all(await asyncio.gather(*readers))
        assert set(answered) <= {200, 503}
        assert cut == 0


async def _to_the_end(watch: aiohttp.ClientResponse) -> bool:
    """Whether a watch ended with its last chunk: an incomplete body raises."""
    while await watch.content.readany():
        pass
    return True
