"""Decisions of the scheduling core, without IO, and what keeping its table costs."""

from __future__ import annotations

import time

from benchmarks.scheduler_perf.objects import node, pod
from coxswain.scheduler import pod as pods
from coxswain.scheduler.cycle import Cycle, Placement
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.plugins.registry import default_profile
from coxswain.scheduler.template import Templates

BATCH = 256


class _Cluster:
    """A table of empty nodes and a cycle over it."""

    def __init__(self, nodes: int, percentage: int = 0) -> None:
        self.table = NodeTable()
        for i in range(nodes):
            self.table.set_node(node(i))
        self.templates = Templates(self.table)
        self.cycle = Cycle(self.table, seed=1)
        self.profile = default_profile(percentage_of_nodes_to_score=percentage)

    def pods(self, count: int, *, different: bool) -> list[pods.Pod]:
        return [
            pods.parse(pod(i, cpu=f"{10 + i}m" if different else "100m"), self.templates)
            for i in range(count)
        ]

    def schedule(self, todo: list[pods.Pod], batch: int) -> None:
        for start in range(0, len(todo), batch):
            outcome = self.cycle.schedule(todo[start : start + batch], self.profile)
            if not all(isinstance(one, Placement) for one in outcome):
                raise AssertionError("every pod fits somewhere")

    def check(self, placed: int) -> None:
        """No node holds more than it has, and every pod is somewhere."""
        assert sum(len(one.pods) for one in self.table) == placed
        assert (self.table.requested <= self.table.allocatable).all()


NODES = (1_000, 5_000, 10_000, 50_000, 100_000)
ROUNDS = 5


class Decisions:
    """Decisions a second of CPU, as nodes go 1k -> 100k: sampled as kube-scheduler does, and all nodes scored.

    ``identical``: replicas in runs of 256. ``different``: no two pods alike, one by one.
    """

    params = (("identical", "different"), NODES, (0, 100))
    param_names = ("pods", "nodes", "percentage_of_nodes_to_score")
    timeout = 600
    unit = "decisions/s"

    def track_decisions(self, pods: str, nodes: int, percentage: int) -> float:
        """The best of some rounds; every pod is placed, and none where it has no room."""
        different = pods == "different"
        cluster = _Cluster(nodes, percentage)
        each = 200 if different else 2_000
        todo = cluster.pods((ROUNDS + 1) * each, different=different)
        batch = 1 if different else BATCH
        cluster.schedule(todo[:each], batch)
        seconds = []
        for start in range(each, len(todo), each):
            before = time.process_time()
            cluster.schedule(todo[start : start + each], batch)
            seconds.append(time.process_time() - before)
        cluster.check(len(todo))
        return each / min(seconds)


class NodeTableChanges:
    """What keeping 5,000 nodes current costs."""

    number = 1

    def setup(self) -> None:
        self.nodes = [node(i) for i in range(5000)]
        self.cluster = _Cluster(5000)
        self.todo = self.cluster.pods(5000, different=False)
        assert len(self.cluster.table) == 5000

    def time_set_5000_nodes(self) -> None:
        table = NodeTable()
        for obj in self.nodes:
            table.set_node(obj)

    def time_add_and_remove_5000_pods(self) -> None:
        table = self.cluster.table
        for i, one in enumerate(self.todo):
            table.add_pod(one, f"node-{i}")
        for i, one in enumerate(self.todo):
            table.remove_pod(one, f"node-{i}")
