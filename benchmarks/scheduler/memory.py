"""What the scheduler keeps: bytes a node, bytes a placed pod, bytes a template that is seen again and again."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

from benchmarks.scheduler.decisions import _Cluster
from benchmarks.scheduler_perf.objects import node, pod
from coxswain.scheduler import pod as pods
from coxswain.scheduler.cache import Cache
from coxswain.scheduler.nodetable import NodeTable

NODES, PODS = 20_000, 100_000


def _grown(work: Callable[[], object]) -> int:
    """Bytes that ``work`` leaves behind (as Python and numpy count them)."""
    gc.collect()
    tracemalloc.start()
    try:
        kept = work()
        gc.collect()
        found = tracemalloc.get_traced_memory()[0]
        del kept
        return found
    finally:
        tracemalloc.stop()


class Memory:
    """By what is kept."""

    timeout = 600
    unit = "bytes"

    def track_node(self) -> float:
        """A node of 20,000: its row, labels, taints, images."""
        objects = [node(number) for number in range(NODES)]

        def fill() -> NodeTable:
            table = NodeTable()
            for obj in objects:
                table.set_node(obj)
            assert len(table) == NODES
            return table

        return _grown(fill) / NODES

    def track_pod(self) -> float:
        """A placed pod of 100,000, of one template."""
        cluster = _Cluster(5_000)
        cache = Cache(cluster.table)

        def fill() -> Cache:
            for number in range(PODS):
                obj = pod(number)
                obj["spec"]["nodeName"] = f"node-{number % 5_000}"
                cache.place(pods.parse(obj, cluster.templates))
            assert len(cache) == PODS
            return cache

        found = _grown(fill) / PODS
        assert sum(len(one.pods) for one in cluster.table) == PODS
        return found

    def track_template_of_5000_nodes(self) -> float:
        """What is kept for a kind of pod that comes in runs, with 5,000 nodes."""
        cluster = _Cluster(5_000)
        kinds = 20
        todo = [
            [pods.parse(pod(10 * kind + i, cpu=f"{kind + 1}m"), cluster.templates) for i in range(3)]
            for kind in range(kinds)
        ]

        def decide() -> None:
            for run in todo:
                cluster.schedule(run, 3)
            cluster.check(3 * kinds)

        return _grown(decide) / kinds
