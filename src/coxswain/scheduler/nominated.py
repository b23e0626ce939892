"""Nominated pods: those for which preemption makes room on a node, and which are expected there.

Pods of lower or equal priority must leave a nominated pod its room, so filters judge such a node with the
nominated pods added (and, since a nominated pod may never come, without them too). Scores do not count them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.pod import Pod


class Nominator:
    """Which pod is nominated to which node."""

    def __init__(self) -> None:
        #: Called with a pod whose room on the node that it was nominated to may be had by others again.
        self.freed: Callable[[Pod], None] = lambda pod: None
        self._node_of: dict[str, str] = {}
        self._on: dict[str, dict[str, Pod]] = {}

    def __len__(self) -> int:
        return len(self._node_of)

    def set(self, pod: Pod, node_name: str) -> None:
        """Nominate ``pod`` to a node; an empty name takes the nomination back."""
        self.remove(pod.uid, node_name)
        if node_name:
            self._node_of[pod.uid] = node_name
            self._on.setdefault(node_name, {})[pod.uid] = pod

    def remove(self, uid: str, taken: str = "") -> None:
        """The pod was placed (on the node ``taken``), deleted, or gave up."""
        node_name = self._node_of.pop(uid, None)
        if node_name is not None:
            on = self._on[node_name]
            pod = on.pop(uid)
            if not on:
                del self._on[node_name]
            if node_name != taken:
                self.freed(pod)

    def uids(self) -> Iterable[str]:
        """Of the pods that are nominated; a live view."""
        return self._node_of

    def node_of(self, uid: str) -> str:
        """Empty if the pod is not nominated."""
        return self._node_of.get(uid, "")

    def on(self, node_name: str) -> list[Pod]:
        return list(self._on.get(node_name, {}).values())

    def ahead_of(self, pod: Pod, node_name: str) -> list[Pod]:
        """Other pods nominated to the node that ``pod`` must leave room for."""
        on = self._on.get(node_name)
        if not on:
            return []
        return [other for other in on.values() if other.priority >= pod.priority and other.uid != pod.uid]

    def nodes_ahead_of(self, pod: Pod) -> dict[str, list[Pod]]:
        """The same for all nodes that have any."""
        found = ((name, self.ahead_of(pod, name)) for name in self._on)
        return {name: pods for name, pods in found if pods}


@contextmanager
def added(table: NodeTable, pods: list[Pod], node_name: str) -> Iterator[None]:
    """The table with ``pods`` on a node, for a while; who keeps arrays by the change logs sees nothing of it."""
    end, placed_end = table.pod_log.end, table.placed.log.end
    for pod in pods:
        table.add_pod(pod, node_name)
    try:
        yield
    finally:
        for pod in pods:
            table.remove_pod(pod, node_name)
        table.pod_log.rewind(end)
        table.placed.log.rewind(placed_end)


@contextmanager
def removed(table: NodeTable, pods: list[Pod], node_name: str) -> Iterator[None]:
    """The table without ``pods`` on a node, for a while."""
    end, placed_end = table.pod_log.end, table.placed.log.end
    for pod in pods:
        table.remove_pod(pod, node_name)
    try:
        yield
    finally:
        for pod in pods:
            table.add_pod(pod, node_name)
        table.pod_log.rewind(end)
        table.placed.log.rewind(placed_end)
