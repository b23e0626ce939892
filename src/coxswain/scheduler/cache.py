"""The scheduler's view of placed pods: what the API says, and what was decided but not yet confirmed.

                 assume                 informer: pod is on that node
    (decided) ----------->  ASSUMED  ---------------------------------->  PLACED
                               |                                             |  informer: deleted, or finished
                               |  forget: the binding failed                 v
                               '-------------------------------------->   (gone)

A pod counts on its node from the moment it is assumed. If the API places it elsewhere, the API is right. An
assumed pod stays until its binding fails or an informer speaks of it; there is no expiry, because a binding
that was acknowledged is going to be seen.
"""

from __future__ import annotations

from collections.abc import Iterable

from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.template import Template

_MOST_KNOWN = 4096


class Cache:
    """Pods on nodes, mirrored into the node table."""

    def __init__(self, table: NodeTable) -> None:
        self.table = table
        self._placed: dict[str, tuple[Pod, str]] = {}
        self._assumed: dict[str, tuple[Pod, str]] = {}
        self._alike: dict[tuple[int, int], bool] = {}

    def __len__(self) -> int:
        return len(self._placed)

    @property
    def assumed(self) -> int:
        """How many pods wait for their confirmation."""
        return len(self._assumed)

    def all_placed(self) -> Iterable[tuple[Pod, str]]:
        """Pods and nodes as the API says; a live view."""
        return self._placed.values()

    def all_assumed(self) -> Iterable[tuple[Pod, str]]:
        """Pods and nodes as decided, not yet confirmed; a live view."""
        return self._assumed.values()

    def knows(self, key: str) -> bool:
        """Whether the pod has a node already, confirmed or assumed."""
        return key in self._placed or key in self._assumed

    def note_assumed(self, pod: Pod, node_name: str) -> None:
        """The cycle decided, and has counted the pod in the table."""
        self._assumed[pod.key] = (pod, node_name)

    def forget(self, pod: Pod) -> bool:
        """The binding failed; False if the pod is not assumed (any more, or another one of its name is)."""
        found = self._assumed.get(pod.key)
        if found is None or found[0].uid != pod.uid:
            return False
        del self._assumed[pod.key]
        self.table.remove_pod(*found)
        return True

    def place(self, pod: Pod) -> bool:
        """The API says that the pod is on ``pod.node_name``; True if this was news to the table."""
        known = self._assumed.pop(pod.key, None) or self._placed.get(pod.key)
        if known is not None:
            old, node_name = known
            if old.uid == pod.uid and old.deleting == pod.deleting and node_name == pod.node_name:
                if old.template is pod.template:
                    old.start = pod.start  # preemption asks who runs longest
                    self._placed[pod.key] = known
                    return False
                if old.priority == pod.priority and self._ask_alike(old.template, pod.template):
                    self._placed[pod.key] = (pod, node_name)
                    self.table.relabel_pod(old, pod, node_name)
                    return True
            self.table.remove_pod(old, node_name)
        self._placed[pod.key] = (pod, pod.node_name)
        self.table.add_pod(pod, pod.node_name)
        return True

    def _ask_alike(self, one: Template, other: Template) -> bool:
        """Whether two templates differ in labels at most: binding gives a pod its node's zone as a label."""
        key = (one.serial, other.serial)
        alike = self._alike.get(key)
        if alike is None:
            if len(self._alike) >= _MOST_KNOWN:
                self._alike.clear()
            same = one.spec == other.spec and one.namespace == other.namespace and one.owner == other.owner
            # Who uses a volume is known by template.
            alike = self._alike[key] = same and "volumes" not in one.spec
        return alike

    def remove(self, key: str) -> bool:
        """The pod is gone or finished; True if it had a node."""
        known = self._placed.pop(key, None) or self._assumed.pop(key, None)
        if known is None:
            return False
        self.table.remove_pod(*known)
        return True
