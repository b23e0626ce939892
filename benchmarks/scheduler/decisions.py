"""Decisions of the scheduling core on 5,000 nodes, without IO."""

from __future__ import annotations

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


class IdenticalPods:
    """10,000 replicas in runs of 256."""

    params = (1000, 5000, 20000)
    param_names = ("nodes",)
    timeout = 120
    number = 1

    def setup(self, nodes: int) -> None:
        small = _Cluster(nodes)
        small.schedule(small.pods(500, different=False), BATCH)
        small.check(500)
        self.cluster = _Cluster(nodes)
        self.todo = self.cluster.pods(10_000, different=False)
        self.cluster.schedule(self.todo[:1], 1)

    def time_10000_decisions(self, nodes: int) -> None:
        self.cluster.schedule(self.todo[1:], BATCH)


class DifferentPods:
    """1,000 pods, no two alike, on 5,000 nodes: sampled as kube-scheduler does, and with every node scored."""

    params = (0, 100)
    param_names = ("percentage_of_nodes_to_score",)
    timeout = 120
    number = 1

    def setup(self, percentage: int) -> None:
        small = _Cluster(5000, percentage)
        small.schedule(small.pods(50, different=True), 1)
        small.check(50)
        self.cluster = _Cluster(5000, percentage)
        self.todo = self.cluster.pods(1000, different=True)

    def time_1000_decisions(self, percentage: int) -> None:
        self.cluster.schedule(self.todo, 1)


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
