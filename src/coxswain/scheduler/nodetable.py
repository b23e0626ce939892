"""The node table: everything that a decision reads about nodes, as a structure of arrays.

One row a node; arrays are resource-major (``allocatable[resource, row]``) so that a kernel streams through one
resource of all nodes. Rows of removed nodes are used again. Labels become columns of interned value numbers,
made when a plugin first asks for a key; equal taint lists share one number; images and host ports are indexed
by what is looked up. An update touches what changed and says so in two logs:

    node_log    rows whose node object changed        -> refreshes what depends on the node alone
    pod_log     rows whose pods (or node) changed     -> refreshes what depends on the pods there too

Guarantees: after any sequence of adds, updates and removals the arrays equal those of a table built afresh from
the same objects (up to the numbering of rows). Pods whose node is not known yet wait and count when it comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coxswain._native import rows as row_kernels
from coxswain.scheduler import requests
from coxswain.scheduler.nodetree import NodeTree, zone_of
from coxswain.scheduler.placed import ClusterFacts, PlacedPods
from coxswain.scheduler.volumes import Volumes

if TYPE_CHECKING:
    from coxswain.scheduler.pod import Pod

CPU_ID: Final = 0
MEMORY_ID: Final = 1
EPHEMERAL_STORAGE_ID: Final = 2
PODS_ID: Final = 3
_FIRST_RESOURCES = (requests.CPU, requests.MEMORY, requests.EPHEMERAL_STORAGE, requests.PODS)
_FIRST_CAPACITY = 64

Rows = NDArray[np.int32]


class Taint(NamedTuple):
    """A taint, hashable."""

    key: str
    value: str
    effect: str


@dataclass(slots=True)
class Node:
    """What is kept of a node besides its row in the arrays."""

    name: str
    row: int
    labels: dict[str, str]
    taints: tuple[Taint, ...]
    unschedulable: bool
    zone: str
    images: dict[str, int]
    allocatable: dict[str, int]
    pods: dict[str, Pod] = field(default_factory=dict)


class ChangeLog:
    """Which rows changed since a position. Bounded: who lags too far behind is told "everything" (None)."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._start = 0

    @property
    def end(self) -> int:
        return self._start + len(self._rows)

    def add(self, rows: Iterable[int], limit: int) -> None:
        self._rows.extend(rows)
        if len(self._rows) > 2 * limit:
            drop = len(self._rows) - limit
            del self._rows[:drop]
            self._start += drop

    def rewind(self, position: int) -> None:
        """Forget what was logged since: those rows are as they were. (Nobody may have read meanwhile.)"""
        del self._rows[max(position - self._start, 0) :]

    def since(self, position: int) -> Rows | None:
        if position < self._start:
            return None
        changed = self._rows[position - self._start :]
        return np.array(sorted(set(changed)) if len(changed) > 1 else changed, np.int32)


class LabelColumn:
    """The values of one label key as numbers; -1 where a node lacks the key.

    Values that no node has any more are forgotten when they become the more: then all are numbered afresh.
    """

    def __init__(self, capacity: int) -> None:
        self.values: dict[str, int] = {}
        self.ids: NDArray[np.int32] = np.full(capacity, -1, np.int32)

    def set(self, row: int, value: str | None) -> None:
        if value is None:
            self.ids[row] = -1
            return
        number = self.values.get(value)
        if number is None:
            if len(self.values) >= 2 * len(self.ids):
                self._forget_unused()
            number = self.values[value] = len(self.values)
        self.ids[row] = number

    def _forget_unused(self) -> None:
        values = list(self.values)
        used = np.unique(self.ids[self.ids >= 0])
        self.values = {values[number]: i for i, number in enumerate(used.tolist())}
        self.ids = np.where(self.ids < 0, -1, np.searchsorted(used, self.ids)).astype(np.int32)


class NodeTable:
    """See the module's text. Not thread-safe: it belongs to the scheduler's loop."""

    def __init__(self) -> None:
        self.nodes: list[Node | None] = []
        self.row_of: dict[str, int] = {}
        self.resources: dict[str, int] = {name: i for i, name in enumerate(_FIRST_RESOURCES)}
        self.allocatable: NDArray[np.int64] = np.zeros((len(_FIRST_RESOURCES), _FIRST_CAPACITY), np.int64)
        self.requested: NDArray[np.int64] = np.zeros_like(self.allocatable)
        self.nonzero: NDArray[np.int64] = np.zeros((2, _FIRST_CAPACITY), np.int64)
        self.unschedulable: NDArray[np.bool_] = np.zeros(_FIRST_CAPACITY, np.bool_)
        self.taint_set: NDArray[np.int32] = np.zeros(_FIRST_CAPACITY, np.int32)
        self.taint_sets: dict[tuple[Taint, ...], int] = {(): 0}
        self.columns: dict[str, LabelColumn] = {}
        #: image name -> (bytes as first reported, rows of the nodes that have it).
        self.images: dict[str, tuple[int, set[int]]] = {}
        #: (protocol, port) -> row -> ip -> how many pods.
        self.ports: dict[tuple[str, int], dict[int, dict[str, int]]] = {}
        self.placed = PlacedPods()
        #: How many placed pods have each priority.
        self.priorities: Counter[int] = Counter()
        self.facts = ClusterFacts()
        self.volumes = Volumes()
        self.node_log = ChangeLog()
        self.pod_log = ChangeLog()
        #: Grows when the set of nodes or of their images changes: image spreading depends on all nodes.
        self.image_epoch = 0
        self._tree = NodeTree()
        self._order: Rows | None = None
        self._free: list[int] = []
        self._waiting: dict[str, dict[str, Pod]] = {}

    # -- reading ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.row_of)

    def __iter__(self) -> Iterator[Node]:
        return (node for node in self.nodes if node is not None)

    @property
    def capacity(self) -> int:
        """Length of the arrays; rows in use are those of ``order``."""
        return int(self.allocatable.shape[1])

    @property
    def order(self) -> Rows:
        """Rows of all nodes, zones interleaved: the order in which kube-scheduler goes round."""
        if self._order is None:
            self._order = np.array([self.row_of[name] for name in self._tree.interleaved()], np.int32)
        return self._order

    def waiting(self) -> Mapping[str, Mapping[str, Pod]]:
        """Pods by uid of nodes that are not known (any more), by the node's name."""
        return self._waiting

    def node(self, row: int) -> Node:
        """The node of a row in use."""
        found = self.nodes[row]
        assert found is not None, f"row {row} is free"
        return found

    def find(self, name: str) -> Node | None:
        row = self.row_of.get(name)
        return None if row is None else self.nodes[row]

    def resource_id(self, name: str) -> int:
        """The index of a resource in the arrays, which grow when it is new."""
        found = self.resources.get(name)
        if found is None:
            found = self.resources[name] = len(self.resources)
            pad = ((0, 1), (0, 0))
            self.allocatable = np.pad(self.allocatable, pad)
            self.requested = np.pad(self.requested, pad)
        return found

    def column(self, key: str) -> LabelColumn:
        """The values of label ``key`` on all nodes."""
        found = self.columns.get(key)
        if found is None:
            found = self.columns[key] = LabelColumn(self.capacity)
            for node in self:
                found.set(node.row, node.labels.get(key))
        return found

    # -- nodes -----------------------------------------------------------------------------------

    def set_node(self, obj: dict[str, Any]) -> Node:
        """Add a node or update it in place; its pods stay."""
        name = obj["metadata"]["name"]
        row = self.row_of.get(name)
        old = None if row is None else self.nodes[row]
        node = _parse(obj, self._take_row() if row is None else row)
        if old is None:
            self.row_of[name] = node.row
            self._tree.add(name, node.zone)
            self._order = None
            self.image_epoch += 1
        else:
            node.pods = old.pods
            if old.zone != node.zone:
                self._tree.remove(name, old.zone)
                self._tree.add(name, node.zone)
                self._order = None
        self.nodes[node.row] = node
        self._write(node, old)
        if old is None:
            for pod in self._waiting.pop(name, {}).values():
                self.add_pod(pod, name)
        return node

    def remove_node(self, name: str) -> None:
        """Forget a node; pods still bound to it wait for it to come back."""
        row = self.row_of.get(name)
        if row is None:
            return
        node = self.node(row)
        pods = dict(node.pods)
        for pod in pods.values():
            self.remove_pod(pod, name)
        if pods:
            self._waiting[name] = pods
        del self.row_of[name]
        self._tree.remove(name, node.zone)
        self._order = None
        self._set_images(node.images, {}, row)
        self.image_epoch += 1
        self.allocatable[:, row] = 0
        for column in self.columns.values():
            column.set(row, None)
        self.nodes[row] = None
        self._free.append(row)
        self._changed_node(row)

    def _take_row(self) -> int:
        if self._free:
            return self._free.pop()
        row = len(self.nodes)
        self.nodes.append(None)
        if row >= self.capacity:
            self._grow(self.capacity)
        return row

    def _grow(self, more: int) -> None:
        wider = ((0, 0), (0, more))
        self.allocatable = np.pad(self.allocatable, wider)
        self.requested = np.pad(self.requested, wider)
        self.nonzero = np.pad(self.nonzero, wider)
        self.unschedulable = np.pad(self.unschedulable, (0, more))
        self.taint_set = np.pad(self.taint_set, (0, more))
        for column in self.columns.values():
            column.ids = np.pad(column.ids, (0, more), constant_values=-1)

    def _write(self, node: Node, old: Node | None) -> None:
        row = node.row
        if old is None or old.allocatable != node.allocatable:
            for name in node.allocatable:
                self.resource_id(name)
            self.allocatable[:, row] = 0
            for name, amount in node.allocatable.items():
                self.allocatable[self.resources[name], row] = amount
        self.unschedulable[row] = node.unschedulable
        self.taint_set[row] = self._number_of(node.taints)
        if old is None or old.labels != node.labels:
            for key, column in self.columns.items():
                column.set(row, node.labels.get(key))
        if old is None or old.images != node.images:
            self._set_images(old.images if old else {}, node.images, row)
            self.image_epoch += 1
        self._changed_node(row)

    def _number_of(self, taints: tuple[Taint, ...]) -> int:
        """Lists that no node has any more are forgotten when they become the more: ``taint_sets`` is another then."""
        number = self.taint_sets.get(taints)
        if number is None:
            if len(self.taint_sets) >= 2 * self.capacity:
                self.taint_sets = {(): 0}
                for node in self:
                    self.taint_set[node.row] = self.taint_sets.setdefault(node.taints, len(self.taint_sets))
            number = self.taint_sets.setdefault(taints, len(self.taint_sets))
        return number

    def _changed_node(self, row: int) -> None:
        self.node_log.add((row,), self.capacity)
        self.pod_log.add((row,), self.capacity)

    def _set_images(self, old: dict[str, int], new: dict[str, int], row: int) -> None:
        for name in old:
            if name not in new:
                rows = self.images[name][1]
                rows.discard(row)
                if not rows:
                    del self.images[name]
        for name, size in new.items():
            self.images.setdefault(name, (size, set()))[1].add(row)

    # -- pods ------------------------------------------------------------------------------------

    def add_pod(self, pod: Pod, node_name: str) -> None:
        """Count a placed (or assumed) pod on its node."""
        row = self.row_of.get(node_name)
        if row is None:
            self._waiting.setdefault(node_name, {})[pod.uid] = pod
            return
        self.node(row).pods[pod.uid] = pod
        self._count(pod, row, 1)
        self.pod_log.add((row,), self.capacity)

    def place_counted(self, pods: Iterable[tuple[Pod, int]]) -> None:
        """Note pods of one template whose resources a batch kernel has already counted in the arrays, by row."""
        rows = []
        priorities = []
        placed, nodes = self.placed, self.nodes
        for pod, row in pods:
            node = nodes[row]
            assert node is not None
            node.pods[pod.uid] = pod
            rows.append(row)
            priorities.append(pod.priority)
        if not rows:
            return
        placed.add_many(pod.template, rows)
        self.priorities.update(priorities)
        self.pod_log.add(rows, self.capacity)

    def relabel_pod(self, old: Pod, new: Pod, node_name: str) -> None:
        """A counted pod asks for what it did, under other labels. Rows do not change by that: nothing is logged."""
        row = self.row_of.get(node_name)
        if row is None:
            self._waiting.setdefault(node_name, {})[new.uid] = new
            return
        self.node(row).pods[new.uid] = new
        self.placed.add(old.template, old.deleting, row, -1)
        self.placed.add(new.template, new.deleting, row, 1)

    def remove_pod(self, pod: Pod, node_name: str) -> None:
        """Undo ``add_pod``; unknown pods are ignored."""
        row = self.row_of.get(node_name)
        if row is None:
            if waiting := self._waiting.get(node_name):
                waiting.pop(pod.uid, None)
                if not waiting:
                    del self._waiting[node_name]
            return
        known = self.node(row).pods.pop(pod.uid, None)
        if known is not None:
            self._count(known, row, -1)
            self.pod_log.add((row,), self.capacity)

    def _count(self, pod: Pod, row: int, sign: int) -> None:
        template = pod.template
        self.placed.add(template, pod.deleting, row, sign)
        self.priorities[pod.priority] += sign
        if not self.priorities[pod.priority]:
            del self.priorities[pod.priority]
        row_kernels.count(
            self.requested, self.nonzero, template.ids, template.amounts, template.ask, row, sign
        )
        if "volumes" in template.spec:
            self.volumes.count(template, row, sign)
        for ip, protocol, port in template.host_ports:
            rows = self.ports.setdefault((protocol, port), {})
            used = rows.setdefault(row, {})
            used[ip] = used.get(ip, 0) + sign
            if not used[ip]:
                del used[ip]
            if not used:
                del rows[row]
            if not rows:
                del self.ports[protocol, port]


def _parse(obj: dict[str, Any], row: int) -> Node:
    metadata = obj["metadata"]
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    labels = metadata.get("labels") or {}
    images: dict[str, int] = {}
    for image in status.get("images") or ():
        for name in image.get("names") or ():
            images.setdefault(name, image.get("sizeBytes") or 0)
    return Node(
        name=metadata["name"],
        row=row,
        labels=labels,
        taints=tuple(
            Taint(taint["key"], taint.get("value") or "", taint["effect"])
            for taint in spec.get("taints") or ()
        ),
        unschedulable=bool(spec.get("unschedulable")),
        zone=zone_of(labels),
        images=images,
        allocatable={
            name: requests.units(name, nano)
            for name, nano in requests.amounts_of(status.get("allocatable")).items()
        },
    )
