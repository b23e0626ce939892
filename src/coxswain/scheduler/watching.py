"""What informers bring, as facts for the node table, cache and queue: the scheduler's ears.

    pods, nodes, namespaces, services, controllers, budgets, pod groups --handlers--> table, facts, ... + Listener

Handlers run synchronously, in revision order. Of each object only what decisions read is kept.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from coxswain.api.errors import ApiError
from coxswain.api.names import (
    GVR,
    NAMESPACES,
    NODES,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
    Object,
)
from coxswain.client.informer import InformerFactory, only_metadata
from coxswain.client.interface import Client
from coxswain.scheduler.disruption import Budgets
from coxswain.scheduler.framework import Event
from coxswain.scheduler.gang import GangScheduling
from coxswain.scheduler.nodetable import Node, NodeTable
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.podsource import PodSource
from coxswain.scheduler.template import Templates

BUDGETS: Final = GVR("policy", "v1", "poddisruptionbudgets")
POD_GROUPS: Final = GVR("scheduling.k8s.io", "v1alpha2", "podgroups")
#: Controllers whose selectors count, with what default spreading calls their kind.
WORKLOADS: Final = (
    ("ReplicationController", REPLICATION_CONTROLLERS),
    ("ReplicaSet", REPLICA_SETS),
    ("StatefulSet", STATEFUL_SETS),
)


class Listener(Protocol):
    """Who hears of pods and of changes."""

    def pod_pending(self, pod: Pod) -> None:
        """A pod without a node came or changed."""

    def pod_placed(self, pod: Pod) -> None:
        """A pod is on a node."""

    def pod_gone(self, key: str, pod: Pod) -> None:
        """A pod was deleted or has ended."""

    def groups_changed(self) -> None:
        """Pods that wait for their group may enter the queue."""

    def happened(self, event: Event, old: Any = None, new: Any = None) -> None: ...

    def wake(self) -> None: ...


class Watching:
    """Registers handlers; ``pod_groups_served`` must be asked before informers start."""

    def __init__(
        self,
        informers: InformerFactory,
        table: NodeTable,
        templates: Templates,
        budgets: Budgets,
        gangs: list[GangScheduling],
        listener: Listener,
        *,
        whole_nodes: bool = False,
    ) -> None:
        """``whole_nodes`` keeps node objects for extenders that want them."""
        self._table = table
        self._gangs = gangs
        self._listener = listener
        self._informers = informers
        self._whole_nodes = whole_nodes
        self.nodes = informers.informer(NODES, transform=self._trim_node)
        self.nodes.add_handler(self._node_added, self._node_updated, self._node_deleted, listener.wake)
        self.pods = PodSource(informers.client, templates, self)
        informers.follow("pods", self.pods)
        namespaces = informers.informer(NAMESPACES, transform=only_metadata)
        namespaces.add_handler(
            self._namespace_set, lambda _, new: self._namespace_set(new), self._namespace_gone
        )
        services = informers.informer(SERVICES, transform=_trim_selector)
        services.add_handler(self._service_set, lambda _, new: self._service_set(new), self._service_gone)
        for kind, resource in WORKLOADS:
            self._follow_workload(kind, resource)
        disruption = informers.informer(BUDGETS)
        disruption.add_handler(budgets.set, lambda _, new: budgets.set(new), budgets.remove)

    async def follow_pod_groups(self, client: Client) -> None:
        """PodGroups are an alpha resource: followed only where the API server has them."""
        if not self._gangs:
            return
        try:
            await client.list(POD_GROUPS, limit=1)
        except ApiError:
            return
        groups = self._informers.informer(POD_GROUPS)
        groups.add_handler(self._group_set, lambda _, new: self._group_set(new), self._group_gone)

    def node_object(self, name: str) -> Object:
        """A node as the API has it (as far as it is kept)."""
        found = self.nodes.get(name) or {"metadata": {"name": name}}
        whole: Object = found.get("whole") or found
        return whole

    # -- pods ------------------------------------------------------------------------------------

    def pod_added(self, pod: Pod) -> None:
        if pod.finished:
            self.pod_deleted(pod)
            return
        if pod.group:
            for gang in self._gangs:
                gang.pod_seen(pod)
        if pod.node_name:
            self._listener.pod_placed(pod)
        else:
            self._listener.pod_pending(pod)

    def pod_updated(self, old: Pod, new: Pod) -> None:
        if old.node_name and old.template is not new.template:
            if old.template.labels != new.template.labels:
                self._listener.happened(Event.POD_LABEL, old, new)
            self._listener.happened(Event.POD_SCALE_DOWN, old, new)
        if old.group and old.group != new.group:
            for gang in self._gangs:
                gang.pod_gone(old.key)
        self.pod_added(new)

    def pod_deleted(self, pod: Pod) -> None:
        if pod.group:
            for gang in self._gangs:
                gang.pod_gone(pod.key)
        self._listener.pod_gone(pod.key, pod)

    def pods_heard(self) -> None:
        self._listener.wake()

    def _group_set(self, obj: Object) -> None:
        for gang in self._gangs:
            gang.group_set(obj)
        self._listener.groups_changed()
        self._listener.happened(Event.POD_GROUP, None, obj)

    def _group_gone(self, obj: Object) -> None:
        for gang in self._gangs:
            gang.group_gone(obj)

    # -- nodes -----------------------------------------------------------------------------------

    def _trim_node(self, obj: Object) -> Object:
        trimmed = trim_node(obj)
        if self._whole_nodes:
            obj["metadata"].pop("managedFields", None)
            trimmed["whole"] = obj
        return trimmed

    def _node_added(self, obj: Object) -> None:
        old = self._table.find(obj["metadata"]["name"])
        new = self._table.set_node(obj)
        for event in changes(old, new):
            self._listener.happened(event, old, new)

    def _node_updated(self, old: Object, new: Object) -> None:
        if any(old[part] != new[part] for part in ("spec", "status")) or _labels(old) != _labels(new):
            self._node_added(new)

    def _node_deleted(self, obj: Object) -> None:
        self._table.remove_node(obj["metadata"]["name"])

    # -- the rest --------------------------------------------------------------------------------

    def _namespace_set(self, obj: Object) -> None:
        self._table.facts.set_namespace(obj["metadata"]["name"], _labels(obj) or {})

    def _namespace_gone(self, obj: Object) -> None:
        self._table.facts.remove_namespace(obj["metadata"]["name"])

    def _service_set(self, obj: Object) -> None:
        self._table.facts.set_service(obj["metadata"]["namespace"], obj["metadata"]["name"], obj["selector"])

    def _service_gone(self, obj: Object) -> None:
        self._table.facts.remove_service(obj["metadata"]["namespace"], obj["metadata"]["name"])

    def _follow_workload(self, kind: str, resource: GVR) -> None:
        def assign(obj: Object, selector: Any) -> None:
            metadata = obj["metadata"]
            self._table.facts.set_workload(kind, metadata["namespace"], metadata["name"], selector)

        informer = self._informers.informer(resource, transform=_trim_selector)
        informer.add_handler(
            lambda obj: assign(obj, obj["selector"]),
            lambda _, new: assign(new, new["selector"]),
            lambda obj: assign(obj, None),
        )


def changes(old: Node | None, new: Node) -> list[Event]:
    """What a node's change may help with."""
    if old is None:
        return [Event.NODE_ADD]
    happened = []
    if old.allocatable != new.allocatable:
        happened.append(Event.NODE_ALLOCATABLE)
    if old.labels != new.labels:
        happened.append(Event.NODE_LABEL)
    if old.taints != new.taints or old.unschedulable != new.unschedulable:
        happened.append(Event.NODE_TAINT)
    return happened


def trim_node(obj: Object) -> Object:
    """What the node table reads."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    return {
        "metadata": {name: metadata.get(name) for name in ("name", "uid", "resourceVersion", "labels")},
        "spec": {"taints": spec.get("taints"), "unschedulable": spec.get("unschedulable")},
        "status": {"allocatable": status.get("allocatable"), "images": status.get("images")},
    }


def _trim_selector(obj: Object) -> Object:
    metadata = obj["metadata"]
    kept = {name: metadata.get(name) for name in ("name", "namespace", "uid", "resourceVersion")}
    return {"metadata": kept, "selector": (obj.get("spec") or {}).get("selector")}


def _labels(obj: Object) -> Any:
    return obj["metadata"].get("labels")
