"""GangScheduling: the pods of a group are placed together, as many as the group needs at least, or none of them.

A pod names its group in one of two ways:

    spec.schedulingGroup.podGroupName     a PodGroup (scheduling.k8s.io/v1alpha2) says ``schedulingPolicy.gang.minCount``
    label scheduling.k8s.io/pod-group     and annotation scheduling.k8s.io/pod-group-min-member on the pods themselves

    PreEnqueue   a pod waits until its PodGroup exists and as many pods of the group do as are needed
    one cycle    all pods of the group that wait are decided together; if fewer than needed have a node then,
                 everyone gives theirs back and waits (``group.schedule_group``)
    PostFilter   for the whole group: if enough would have a node once others have left, these are evicted, and all
                 are nominated; otherwise nobody is

Pods of the group that run already count towards the minimum; beyond it, pods come and go one by one. A group
without a minimum (a basic policy, no annotation) is no gang, and its pods are ordinary ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from coxswain.scheduler.framework import UNRESOLVABLE, Event, Rejection
from coxswain.scheduler.pod import Pod

NO_QUORUM = "waiting for minCount pods from a gang to appear in scheduling queue"


@dataclass(slots=True)
class _Group:
    #: Keys of pods that exist and have not ended, and those of them that have a node.
    pods: set[str] = field(default_factory=set)
    placed: set[str] = field(default_factory=set)
    #: By the annotation of its pods.
    minimum: int = 0


class GangScheduling:
    """The groups that there are, and PreEnqueue."""

    NAME: ClassVar[str] = "GangScheduling"
    EVENTS: ClassVar[Event] = Event.POD_PENDING | Event.POD_ADD | Event.POD_GROUP

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._of: dict[str, str] = {}
        #: key of a PodGroup -> its minimum, 0 if it is no gang.
        self._objects: dict[str, int] = {}

    # -- what there is ---------------------------------------------------------------------------

    def pod_seen(self, pod: Pod) -> None:
        """A pod of a group exists (with or without a node)."""
        if not pod.group:
            return
        name = f"{pod.namespace}/{pod.group}"
        group = self._groups.setdefault(name, _Group())
        group.pods.add(pod.key)
        group.minimum = max(group.minimum, pod.group_minimum)
        (group.placed.add if pod.node_name else group.placed.discard)(pod.key)
        self._of[pod.key] = name

    def assumed(self, pod: Pod, *, taken_back: bool = False) -> None:
        """A pod was given a node that the API does not know of yet."""
        group = self._groups.get(self._of.get(pod.key, ""))
        if group is not None:
            (group.placed.discard if taken_back else group.placed.add)(pod.key)

    def pod_gone(self, key: str) -> None:
        """A pod was deleted or ended."""
        name = self._of.pop(key, None)
        if name is not None:
            group = self._groups[name]
            group.pods.discard(key)
            group.placed.discard(key)
            if not group.pods:
                del self._groups[name]

    def group_set(self, obj: dict[str, Any]) -> None:
        """A PodGroup came or changed."""
        gang = ((obj.get("spec") or {}).get("schedulingPolicy") or {}).get("gang") or {}
        self._objects[_key(obj)] = gang.get("minCount") or 0

    def group_gone(self, obj: dict[str, Any]) -> None:
        self._objects.pop(_key(obj), None)

    def groups(self) -> dict[str, tuple[list[str], list[str]]]:
        """Of each group the keys of its pods, and of those with a node."""
        return {name: (sorted(group.pods), sorted(group.placed)) for name, group in self._groups.items()}

    # -- decisions -------------------------------------------------------------------------------

    def gate(self, pod: Pod) -> Rejection | None:
        if not pod.group:
            return None
        minimum = self.minimum(pod)
        if minimum is None:
            return Rejection(
                UNRESOLVABLE, (f'waiting for pod\'s pod group "{pod.group}" to appear in scheduling queue',)
            )
        group = self._groups.get(f"{pod.namespace}/{pod.group}")
        return None if group and len(group.pods) >= minimum else Rejection(UNRESOLVABLE, (NO_QUORUM,))

    def minimum(self, pod: Pod) -> int | None:
        """How many pods of its group must have a node; 0 for no gang, None while its PodGroup is unknown."""
        name = f"{pod.namespace}/{pod.group}"
        if name in self._objects:
            return self._objects[name]
        group = self._groups.get(name)
        by_annotation = max(pod.group_minimum, group.minimum if group else 0)
        return by_annotation if by_annotation or pod.group_by_label else None

    def members(self, pod: Pod) -> Iterable[str]:
        """Keys of the other pods of its group that have no node."""
        group = self._groups.get(f"{pod.namespace}/{pod.group}")
        return sorted(group.pods - group.placed - {pod.key}) if group else ()

    def missing(self, pod: Pod) -> int:
        """How many more pods of its group must get a node."""
        group = self._groups.get(f"{pod.namespace}/{pod.group}")
        return (self.minimum(pod) or 0) - (len(group.placed) if group else 0)


def _key(obj: dict[str, Any]) -> str:
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
