"""SchedulingBasic of the Kubernetes project's scheduler_perf, end to end.

    python -m benchmarks.end_to_end.scheduling_basic [--nodes 5000] [--before 1000] [--pods 10000] [--output json]

An API server with the durable store and a scheduler, each a process of its own; nodes are objects only, and no
controllers run. Pods are created over REST while the scheduler works; the figure is how many of the measured
pods got a node each second, from the first to the last, averaged. It ends with a check that no node holds
more than it can, and that every pod has a node that exists.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.end_to_end.process import COX, api_server, ended
from benchmarks.end_to_end.rest_load import Counter, Target, count_events, create_all

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "pod-"},
    "spec": {
        "containers": [
            {
                "name": "pause",
                "image": "registry.k8s.io/pause:3.10",
                "ports": [{"containerPort": 80}],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "500Mi"},
                    "limits": {"cpu": "100m", "memory": "500Mi"},
                },
            }
        ]
    },
}


def node(number: int) -> bytes:
    amounts = {"cpu": "4", "memory": "32Gi", "pods": "110"}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"node-{number}",
                "labels": {"topology.kubernetes.io/zone": f"zone{number % 3 + 1}"},
            },
            "status": {
                "capacity": amounts,
                "allocatable": amounts,
                "conditions": [{"type": "Ready", "status": "True"}],
                "phase": "Running",
            },
        }
    ).encode()


@contextmanager
def cluster(directory: str) -> Iterator[Target]:
    """An API server and a scheduler in ``directory``."""
    # New nodes would be tainted as not ready, and no controller runs to see that they are.
    with api_server(directory, ["--disable-admission-plugins=TaintNodesByCondition"]) as server:
        kubeconfig = server.data_dir / "scheduler.kubeconfig"
        with Path(directory, "scheduler.log").open("wb") as log:
            scheduler = subprocess.Popen(
                [*COX, "scheduler", f"--kubeconfig={kubeconfig}"], stdout=log, stderr=log
            )
        with ended(scheduler, "scheduler"):
            yield server.target


async def measure(target: Target, nodes: int, before: int, pods: int) -> float:
    """Pods a second."""
    await create_all(target, "/api/v1/nodes", [node(number) for number in range(nodes)])
    counter = Counter()
    watch = "/api/v1/namespaces/default/pods?watch=1&fieldSelector=spec.nodeName!%3D"
    watching = asyncio.create_task(count_events(target, watch, b'{"type":"ADDED"', counter))
    body = json.dumps(POD).encode()
    path = "/api/v1/namespaces/default/pods"
    await create_all(target, path, [body] * before)
    await until(counter, before)
    measured = Counter()
    counter.seen = 0
    sampling = asyncio.create_task(_sample(counter, measured))
    started = time.monotonic()
    await create_all(target, path, [body] * pods)
    await until(counter, pods)
    print(f"{pods} pods in {time.monotonic() - started:.2f} s", file=sys.stderr)
    await asyncio.sleep(1.1)
    sampling.cancel()
    watching.cancel()
    await _check(target, nodes, before + pods)
    return measured.rate()


async def _sample(source: Counter, into: Counter) -> None:
    while True:
        await asyncio.sleep(1.0)
        into.samples.append((time.monotonic(), source.seen))


async def until(counter: Counter, count: int, patience: float = 120.0) -> None:
    deadline = time.monotonic() + patience
    while counter.seen < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"only {counter.seen} of {count} pods were scheduled in {patience:g} s")
        await asyncio.sleep(0.02)


async def _check(target: Target, nodes: int, expected: int) -> None:
    """No over-commit, every pod placed."""
    reader, writer = await target.connect()
    writer.write(target.head("GET", "/api/v1/namespaces/default/pods"))
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().index(b"content-length:")
    items = json.loads(await reader.readexactly(int(head[at + 15 : head.index(b"\r\n", at)])))["items"]
    writer.close()
    placed = Tally(item["spec"].get("nodeName") for item in items)
    assert sum(placed.values()) == expected, f"{sum(placed.values())} pods instead of {expected}"
    assert None not in placed, f"{placed[None]} pods have no node"
    assert max(placed.values()) <= 40, "a node of 4 CPU holds more than 40 pods of 100m"
    assert len(placed) <= nodes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--before", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=10000)
    parser.add_argument("--output", choices=("text", "json"), default="text")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, cluster(directory) as target:
        rate = asyncio.run(measure(target, args.nodes, args.before, args.pods))
    if args.output == "json":
        print(
            json.dumps(
                {"workload": "SchedulingBasic", "nodes": args.nodes, "pods_per_second": round(rate, 1)}
            )
        )
    else:
        print(f"SchedulingBasic, {args.nodes} nodes: {rate:.0f} pods/s")


if __name__ == "__main__":
    main()
