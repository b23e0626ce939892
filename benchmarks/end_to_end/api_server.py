"""What one API server answers a second, over TLS, with the durable store or with an etcd beside it.

    python -m benchmarks.end_to_end.api_server [create get list full patch apply mixed watch memory]
                                               [--store sqlite|memory|etcd] [--output json]

Each measure asserts first that the work was done right; reads use ``wrk`` where it is installed, because a load
generator in Python would take more of the machine than the server. All run on the same server, in the order given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from benchmarks.end_to_end.process import Server, api_server, etcd_server
from benchmarks.end_to_end.rest_load import Answer, Connection, Target, percentile, say, say_all

PODS = "/api/v1/namespaces/default/pods"
FULL = "/api/v1/namespaces/full/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CONNECTIONS = 32


def pod(number: int) -> bytes:
    """A pod with a body of its own."""
    container = {"name": "c", "image": f"registry.example/app:{number}"}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "pod-", "labels": {"app": f"a{number % 50}"}},
            "spec": {"containers": [container]},
        }
    ).encode()


def ordinary_pod(number: int) -> bytes:
    """A pod as clusters have them: 3.5 KB when it is stored."""
    resources = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10}
    container = {
        "name": "app",
        "image": f"registry.example/team/application:{number}",
        "args": ["--listen=:8080", "--verbosity=2"],
        "env": [{"name": f"SETTING_{i}", "value": f"value-{number}-{i}"} for i in range(8)],
        "ports": [{"containerPort": 8080, "name": "http"}],
        "resources": resources,
        "livenessProbe": probe,
        "readinessProbe": probe,
    }
    labels = {"app": f"application-{number % 50}", "pod-template-hash": "5d4f8c7b6d", "tier": "backend"}
    spec = {"containers": [container], "nodeSelector": {"kubernetes.io/os": "linux"}}
    metadata = {"generateName": "application-5d4f8c7b6d-", "labels": labels}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).encode()


def deployment(number: int, image: int) -> bytes:
    labels = {"app": f"d{number}"}
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"d{number}", "labels": labels},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "containers": [
                            {"name": "c", "image": f"app:{image}", "ports": [{"containerPort": 80}]}
                        ]
                    },
                },
            },
        }
    ).encode()


class Measures:
    """The measures, each a method: what it returns is printed under its name."""

    def __init__(self, target: Target, server: Server) -> None:
        self.target = target
        self.server = server
        self.names: list[str] = []
        self.filled = 0

    async def _ready(self, pods: int = 10_000) -> None:
        """At least ``pods`` pods, whose names are known."""
        if len(self.names) < pods:
            answers = await say_all(
                self.target,
                [("POST", PODS, pod(number)) for number in range(pods - len(self.names))],
                connections=CONNECTIONS,
            )
            self.names += [json.loads(answer.body)["metadata"]["name"] for answer in answers]

    async def _rate(
        self, requests: list[tuple[str, str, bytes]], kind: str = ""
    ) -> tuple[float, list[Answer]]:
        started = time.monotonic()
        answers = await say_all(self.target, requests, connections=CONNECTIONS, content_type=kind)
        return len(requests) / (time.monotonic() - started), answers

    async def create(self) -> dict[str, float]:
        """Pods that all differ."""
        rate, answers = await self._rate([("POST", PODS, pod(number)) for number in range(10_000)])
        self.names += [json.loads(answer.body)["metadata"]["name"] for answer in answers]
        assert len(set(self.names)) == len(self.names)
        return {"creates/s": rate}

    async def get(self) -> dict[str, float]:
        await self._ready()
        path = f"{PODS}/{self.names[0]}"
        answer = await say(self.target, "GET", path)
        assert json.loads(answer.body)["metadata"]["name"] == self.names[0]
        return _named("gets/s", await asyncio.to_thread(_wrk, self.target, path, CONNECTIONS))

    async def list(self) -> dict[str, float]:
        """Five hundred of 10,000 pods."""
        await self._ready()
        path = f"{PODS}?limit=500"
        assert len(json.loads((await say(self.target, "GET", path)).body)["items"]) == 500
        return _named("lists/s", await asyncio.to_thread(_wrk, self.target, path, 4))

    async def _fill(self, pods: int) -> None:
        """``pods`` ordinary pods in a namespace of their own."""
        if not self.filled:
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "full"}}
            await say(self.target, "POST", "/api/v1/namespaces", json.dumps(namespace).encode())
        while self.filled < pods:
            count = min(pods - self.filled, 10_000)
            bodies = [("POST", FULL, ordinary_pod(self.filled + number)) for number in range(count)]
            await say_all(self.target, bodies, connections=CONNECTIONS)
            self.filled += count

    async def full(self) -> dict[str, float]:
        """10,000 pods at once, by one caller; the best of five."""
        await self._fill(10_000)
        times = []
        for _ in range(5):
            started = time.monotonic()
            answer = await say(self.target, "GET", FULL)
            times.append(time.monotonic() - started)
            assert len(json.loads(answer.body)["items"]) == self.filled
        return {"pods": self.filled, "MB": len(answer.body) / 1e6, "seconds": min(times)}

    async def patch(self) -> dict[str, float]:
        """Status patches, as a kubelet sends them."""
        await self._ready()
        requests = [
            ("PATCH", f"{PODS}/{name}/status", _condition(round_))
            for round_ in range(2)
            for name in self.names[:5000]
        ]
        rate, answers = await self._rate(requests, "application/strategic-merge-patch+json")
        assert all(b'"reason":"round-' in answer.body for answer in answers)
        return {"patches/s": rate}

    async def apply(self) -> dict[str, float]:
        """Server-side apply of Deployments: made once, then changed."""
        requests = [
            ("PATCH", f"{DEPLOYMENTS}/d{number}?fieldManager=bench", deployment(number, image))
            for image in range(4)
            for number in range(500)
        ]
        rate, answers = await self._rate(requests, "application/apply-patch+yaml")
        last = json.loads(answers[-1].body)
        assert last["spec"]["template"]["spec"]["containers"][0]["image"] == "app:3"
        assert last["metadata"]["managedFields"][0]["manager"] == "bench"
        return {"applies/s": rate}

    async def mixed(self) -> dict[str, float]:
        """How long gets take while pods are created, patched and listed."""
        await self._ready()
        stop = asyncio.Event()

        async def load(make: Callable[[int], tuple[str, str, bytes]], kind: str = "") -> None:
            number = 0
            while not stop.is_set():
                batch = [make(number + i) for i in range(16)]
                number += 16
                await say_all(self.target, batch, connections=4, content_type=kind)

        tasks = [
            asyncio.create_task(load(lambda i: ("POST", PODS, pod(i)))),
            asyncio.create_task(
                load(
                    lambda i: ("PATCH", f"{PODS}/{self.names[i % 5000]}/status", _condition(i)),
                    "application/strategic-merge-patch+json",
                )
            ),
            asyncio.create_task(load(lambda i: ("GET", f"{PODS}?limit=500", b""))),
        ]
        found = await asyncio.to_thread(_wrk, self.target, f"{PODS}/{self.names[0]}", 8)
        stop.set()
        await asyncio.gather(*tasks)
        return {"gets/s": found[0], "p50 ms": found[1], "p99 ms": found[2]}

    async def watch(self, watchers: int = 1000, rate: int = 100, seconds: int = 15) -> dict[str, float]:
        """Deliveries of 1 KB objects to many watchers of one resource; nothing may be lost."""
        path = "/api/v1/namespaces/default/configmaps"
        body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "watched"}}
        await say(self.target, "POST", path, json.dumps(body).encode())
        count = rate * seconds
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.end_to_end.watchers"),
            *(str(self.target.port), self.target.token, f"{path}?watch=1&resourceVersion=0"),
            *(str(watchers), str(count)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert client.stdout is not None and await client.stdout.readline() == b"ready\n"
        connection = await Connection.open(self.target)
        started = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            patch = json.dumps({"data": {"at": f"{time.time():.6f}", "filling": "x" * 700}})
            kind = "application/merge-patch+json"
            await connection.say("PATCH", f"{path}/watched", patch.encode(), kind)
        sent = time.monotonic() - started
        connection.close()
        found = json.loads(await client.stdout.readline())
        await client.wait()
        assert not found["lost"], f"{found['lost']} of {count * watchers} events were lost"
        return {
            "deliveries/s": found["deliveries"] / found["seconds"],
            "events/s": count / sent,
            "p50 ms": found["p50"],
            "p99 ms": found["p99"],
        }

    async def memory(self) -> dict[str, float]:
        """Resident memory with 100,000 ordinary pods."""
        await self._fill(100_000)
        return {"pods": self.filled, "MiB": self.server.resident()}


def _condition(round_: int) -> bytes:
    condition = {"type": "Ready", "status": "True", "reason": f"round-{round_}"}
    return json.dumps({"status": {"phase": "Running", "conditions": [condition]}}).encode()


def _named(name: str, found: tuple[float, float, float]) -> dict[str, float]:
    return {name: found[0], "p50 ms": found[1], "p99 ms": found[2]}


def _wrk(target: Target, path: str, connections: int, seconds: int = 5) -> tuple[float, float, float]:
    """(requests a second, median ms, 99th percentile ms) of GETs."""
    if shutil.which("wrk") is None:
        return asyncio.run(_read(target, path, connections, seconds))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["-H", f"Authorization: Bearer {target.token}", f"https://127.0.0.1:{target.port}{path}"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in out and "Socket errors" not in out, out
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    assert rate is not None, out
    return float(rate[1]), _milliseconds(out, "50%"), _milliseconds(out, "99%")


def _milliseconds(out: str, share: str) -> float:
    found = re.search(rf"{re.escape(share)}\s+([\d.]+)(us|ms|s)", out)
    assert found is not None, out
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


async def _read(target: Target, path: str, connections: int, seconds: int) -> tuple[float, float, float]:
    times: list[float] = []
    end = time.monotonic() + seconds

    async def reader() -> None:
        while time.monotonic() < end:
            answers = await say_all(target, [("GET", path, b"")] * 50, connections=1)
            times.extend(answer.seconds for answer in answers)

    await asyncio.gather(*(reader() for _ in range(connections)))
    return len(times) / seconds, percentile(times, 50) * 1000, percentile(times, 99) * 1000


_DEFAULT = ("create", "get", "list", "full", "patch", "apply", "mixed", "watch")


async def run(names: list[str], target: Target, server: Server, *, as_json: bool) -> None:
    measures = Measures(target, server)
    for name in names:
        measure: Callable[[], Awaitable[dict[str, float]]] = getattr(measures, name)
        found = await measure()
        rounded = {key: round(value, 3) for key, value in found.items()}
        if as_json:
            print(json.dumps({"measure": name, **rounded}), flush=True)
        else:
            print(f"{name}: " + ", ".join(f"{value:g} {key}" for key, value in rounded.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measures", nargs="*", default=list(_DEFAULT), metavar="MEASURE")
    parser.add_argument("--store", choices=("sqlite", "memory", "etcd"), default="sqlite")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    args = parser.parse_args()
    if unknown := [name for name in args.measures if not hasattr(Measures, name) or name.startswith("_")]:
        parser.error(f"no such measure: {', '.join(unknown)}")
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        extra = [f"--store={args.store}"]
        if args.store == "etcd":
            extra.append(f"--etcd-servers={stack.enter_context(etcd_server(directory))}")
        server = stack.enter_context(api_server(directory, extra))
        asyncio.run(run(args.measures, server.target, server, as_json=args.output == "json"))


if __name__ == "__main__":
    main()
