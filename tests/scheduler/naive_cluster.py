"""A whole cluster judged node by node and pod by pod: may this pod run there, and could preemption help it?

The rules are those of ``naive_plugins`` and ``volume_twins``, with the arithmetic of ``soak.arithmetic`` for what
nodes have. Slow, plain, and without anything of the scheduler's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from scheduler import naive_plugins as naive
from scheduler import volume_twins
from soak import arithmetic as sums

Object = dict[str, Any]


class NaiveCluster:
    """Nodes, and pods with a ``nodeName``; ``objects`` are storage objects by the twins' kinds."""

    def __init__(
        self,
        nodes: Iterable[Object],
        placed: Iterable[Object],
        namespaces: Iterable[Object] = (),
        objects: dict[str, list[Object]] | None = None,
    ) -> None:
        self.nodes = {node["metadata"]["name"]: node for node in nodes}
        self.placed = {key_of(pod): pod for pod in placed}
        self.namespaces = list(namespaces)
        self.objects = objects or {}

    def without(self, gone: Iterable[Object]) -> NaiveCluster:
        """The cluster after these pods have left."""
        left = {key_of(pod) for pod in gone}
        stay = (pod for key, pod in self.placed.items() if key not in left)
        return NaiveCluster(self.nodes.values(), stay, self.namespaces, self.objects)

    def place(self, pod: Object, node_name: str) -> None:
        self.placed[key_of(pod)] = {**pod, "spec": {**pod["spec"], "nodeName": node_name}}

    def on(self, node_name: str) -> list[Object]:
        return [pod for pod in self.placed.values() if pod["spec"]["nodeName"] == node_name]

    def feasible(self, pod: Object) -> set[str]:
        """Where the pod may run."""
        return {name for name in self.nodes if not self.rejects(pod, name)}

    def rejects(self, pod: Object, node_name: str) -> str:
        """The first plugin that keeps the pod off the node, or empty."""
        node = self.nodes[node_name]
        case = {
            "nodes": list(self.nodes.values()),
            "pods": [one for one in self.placed.values() if one["spec"]["nodeName"] in self.nodes],
            "namespaces": self.namespaces,
            "services": [],
        }
        if node["spec"].get("unschedulable") and sums.shunned(pod, {"spec": {"unschedulable": True}}):
            return "NodeUnschedulable"
        if not naive.taints_fit(pod, node):
            return "TaintToleration"
        if not naive.node_affinity(pod, node):
            return "NodeAffinity"
        here = self.on(node_name)
        if any(sums.ports_clash(sums.host_ports(pod), sums.host_ports(other)) for other in here):
            return "NodePorts"
        if not self._has_room(pod, node, here):
            return "NodeResourcesFit"
        if found := self._storage(pod, node):
            return found
        if naive.spread_rejects(case, pod, node):
            return "PodTopologySpread"
        return "InterPodAffinity" if naive.affinity_rejects(case, pod, node) else ""

    @staticmethod
    def _has_room(pod: Object, node: Object, here: list[Object]) -> bool:
        used: Counter[str] = Counter()
        for other in here:
            used += sums.requests(other)
        has = sums.allocatable(node)
        return all(
            used[name] + wanted <= has.get(name, 0) for name, wanted in sums.requests(pod).items() if wanted
        )

    def _storage(self, pod: Object, node: Object) -> str:
        if not pod["spec"].get("volumes"):
            return ""
        there = [one for one in self.placed.values() if one["spec"]["nodeName"] in self.nodes]
        cluster = volume_twins.Cluster(list(self.nodes.values()), there, self.objects)
        for prefilter in (
            volume_twins.restrictions_prefilter,
            volume_twins.binding_prefilter,
            volume_twins.zone_prefilter,
        ):
            if prefilter(cluster, pod) is not None:
                return prefilter.__name__
        for twin in (
            volume_twins.restrictions,
            volume_twins.limits,
            volume_twins.binding,
            volume_twins.zone,
        ):
            if twin(cluster, pod, node) is not None:
                return twin.__name__
        return ""

    # -- preemption ------------------------------------------------------------------------------

    def helped_by_preemption(self, pod: Object) -> str:
        """A node that the pod fits on once all pods of lower priority have left it, or empty."""
        if pod["spec"].get("preemptionPolicy") == "Never":
            return ""
        for name in self.nodes:
            lower = [other for other in self.on(name) if sums.priority(other) < sums.priority(pod)]
            if lower and not self.without(lower).rejects(pod, name):
                return name
        return ""

    def overcommitted(self) -> list[str]:
        """Nodes that hold more than they have, or pods whose ports clash."""
        found = []
        for name, node in self.nodes.items():
            here = self.on(name)
            for at, pod in enumerate(here):
                if any(sums.ports_clash(sums.host_ports(pod), sums.host_ports(one)) for one in here[:at]):
                    found.append(f"{name}: a port of {key_of(pod)}")
            if here and not self._has_room(here[0], node, here[1:]):
                found.append(f"{name}: {[key_of(pod) for pod in here]}")
        return found


def key_of(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
