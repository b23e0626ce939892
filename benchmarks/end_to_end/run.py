"""The workloads of the Kubernetes project's scheduler_perf, end to end.

    python -m benchmarks.end_to_end.run NodeAffinity [--nodes N] [--scale 0.1] [--output json]
    python -m benchmarks.end_to_end.run all

An API server with the durable store and a scheduler, each a process of its own; nodes are objects only, and no
controllers run. Pods are created over REST while the scheduler works; the figure is how many of the measured
pods got a node each second, from the first to the last, averaged. The CPU time that a pod costs each process is
given beside it, because it hardly depends on what else the machine does. It ends with a check that no node holds
more than it can, that every measured pod has a node, and that the workload's rule holds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.end_to_end.process import Cluster, cluster, until
from benchmarks.end_to_end.rest_load import Counter, Target, count_events, create_all
from benchmarks.end_to_end.workloads import WORKLOADS, Workload, body, node, not_overcommitted

EVERY = 0.2
PATIENCE = 100.0


@dataclass(frozen=True)
class Result:
    """Pods a second, sampled each second as the peers' were; seconds from the first create to the last pod's node.

    Milliseconds of CPU for each pod: while pods are placed, and in the two seconds after.
    """

    rate: float
    seconds: float
    cost: dict[str, float]
    cost_after: dict[str, float]


async def measure(servers: Cluster, workload: Workload, connections: int = 32) -> Result:
    """One workload on a cluster that is new."""
    target = servers.target
    await _prepare(target, workload)
    before = Counter()
    measured = Counter()
    tasks = []
    for namespace, counter in (("sched-0", before), ("sched-1", measured)):
        tasks.append(asyncio.ensure_future(_follow(target, namespace, counter)))
    await asyncio.sleep(0.2)
    if workload.before is not None:
        watched = before if workload.before["metadata"]["namespace"] == "sched-0" else measured
        await create_all(target, _path(workload.before), [body(workload.before)] * workload.before_count)
        await until(watched, workload.before_count, PATIENCE)
    measured.seen = 0
    measured.samples.clear()
    tasks.append(asyncio.ensure_future(measured.sample()))
    if workload.alongside is not None:
        tasks.append(asyncio.ensure_future(_alongside(target, workload.alongside)))
    used = [servers.cpu_seconds()]
    started = time.monotonic()
    bodies = [body(workload.measured)] * workload.measured_count
    await create_all(target, _path(workload.measured), bodies, connections)
    await until(measured, workload.measured_count, PATIENCE)
    seconds = time.monotonic() - started
    used.append(servers.cpu_seconds())
    await asyncio.sleep(1.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.9)
    used.append(servers.cpu_seconds())
    await _check(target, workload)
    cost, after = (
        {name: 1000 * (later[name] - earlier[name]) / workload.measured_count for name in earlier}
        for earlier, later in itertools.pairwise(used)
    )
    return Result(measured.rate(), seconds, cost, after)


async def _prepare(target: Target, workload: Workload) -> None:
    spaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"sched-{i}"}} for i in range(3)]
    await create_all(target, "/api/v1/namespaces", [body(one) for one in spaces], 1)
    important = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "p10"},
        "value": 10,
    }
    await create_all(target, "/apis/scheduling.k8s.io/v1/priorityclasses", [body(important)], 1)
    nodes = [body(node(number, workload.zones)) for number in range(workload.nodes)]
    nodes += [body(one) for one in workload.extra_nodes]
    await create_all(target, "/api/v1/nodes", nodes)


def _path(pod: dict[str, Any]) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods"


async def _follow(target: Target, namespace: str, counter: Counter) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods?watch=1&fieldSelector=spec.nodeName!%3D"
    await count_events(target, path, b'{"type":"ADDED"', counter)


async def _alongside(target: Target, pod: dict[str, Any]) -> None:
    while True:
        started = time.monotonic()
        await create_all(target, _path(pod), [body(pod)], 1)
        await asyncio.sleep(max(EVERY - (time.monotonic() - started), 0.0))


async def _check(target: Target, workload: Workload) -> None:
    nodes = {one["metadata"]["name"]: one for one in await _list(target, "/api/v1/nodes")}
    pods = await _list(target, "/api/v1/pods")
    mine = [one for one in pods if one["metadata"]["namespace"] == "sched-1"]
    placed = [one for one in mine if one["spec"].get("nodeName")]
    expected = workload.measured_count
    if workload.before is not None and workload.before["metadata"]["namespace"] == "sched-1":
        expected += workload.before_count
    assert len(placed) == len(mine) == expected, f"{len(placed)} of {expected} measured pods have a node"
    everywhere = [one for one in pods if one["spec"].get("nodeName")]
    not_overcommitted(everywhere, nodes)
    workload.check([one for one in everywhere if one["metadata"]["namespace"] != "sched-2"], nodes)
    if workload.name == "PreemptionAsync":
        lucky = sum(one["metadata"]["namespace"] == "sched-2" for one in everywhere)
        print(f"{lucky} pods of 3 CPU were placed by preemption", file=sys.stderr)
        assert lucky, "nobody was preempted"
    if workload.name == "Unschedulable":
        assert not any(one["metadata"]["namespace"] == "sched-2" for one in everywhere)


async def _list(target: Target, path: str) -> list[dict[str, Any]]:
    reader, writer = await target.connect()
    writer.write(target.head("GET", path))
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().index(b"content-length:")
    items = json.loads(await reader.readexactly(int(head[at + 15 : head.index(b"\r\n", at)])))["items"]
    writer.close()
    found: list[dict[str, Any]] = items
    return found


def run(workload: Workload, connections: int) -> Result:
    with tempfile.TemporaryDirectory() as directory:
        try:
            with cluster(directory) as servers:
                return uvloop.run(measure(servers, workload, connections))
        except SystemExit:
            print(Path(directory, "scheduler.log").read_text()[-3000:], file=sys.stderr)
            raise


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workload", choices=[*WORKLOADS, "all"])
    parser.add_argument("--nodes", type=int, default=0, help="default: the workload's")
    parser.add_argument("--scale", type=float, default=1.0, help="of pods before and measured")
    parser.add_argument(
        "--connections", type=int, default=32, help="requests in flight at a time (default 32)"
    )
    parser.add_argument("--output", choices=("text", "json"), default="text")
    args = parser.parse_args()
    for name in WORKLOADS if args.workload == "all" else [args.workload]:
        full = WORKLOADS[name]
        workload = replace(
            full,
            nodes=args.nodes or full.nodes,
            before_count=int(full.before_count * args.scale),
            measured_count=int(full.measured_count * args.scale),
        )
        measured = run(workload, args.connections)
        rate = measured.rate
        result = {
            "workload": name,
            "nodes": workload.nodes,
            "pods_per_second": round(rate, 1),
            "ratio": round(rate / full.peer, 1),
            "seconds": round(measured.seconds, 2),
            "cpu_ms_per_pod": {of: round(cost, 3) for of, cost in measured.cost.items()},
            "cpu_ms_per_pod_after": {of: round(cost, 3) for of, cost in measured.cost_after.items()},
        }
        if args.output == "json":
            print(json.dumps(result), flush=True)
        else:
            times = f"{result['ratio']} times kube-scheduler's {full.peer:g}"
            print(f"{name}, {workload.nodes} nodes: {rate:.0f} pods/s, {times}", flush=True)
            pods = workload.measured_count
            overall = pods / measured.seconds
            print(f"  {pods} pods in {measured.seconds:.2f} s: {overall:.0f}/s over all of it", flush=True)
            costs = ", ".join(
                f"{of} {cost:.3f} (+ {measured.cost_after[of]:.3f})" for of, cost in measured.cost.items()
            )
            print(f"  ms of CPU a pod (+ after): {costs}", flush=True)


if __name__ == "__main__":
    main()
