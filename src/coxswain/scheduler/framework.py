"""The framework: what a plugin is, in Kubernetes' extension points, over all nodes at once.

    PreEnqueue   gate(pod)                       may the pod enter the queue at all?
    PreFilter    needed(template), narrow(...)   skip the plugin; look only at these nodes; or reject outright
    Filter       filter(template, table, rows)   a rejection code for each row, 0 where the pod may run
                 rejection(..., row, code)       the status code and the reasons that such a number stands for
    PostFilter   (``preemption.py``)             what to do about a pod that fits nowhere
    PreScore     scoring(template)               skip the plugin
    Score        score(template, table, rows)    int64 for each row
    Normalize    NORMALIZE, normalize(...)       how they become 0..100
    QueueSort    sort_key(pod, entered)          which pod is tried first
    Reserve, Permit, PreBind, Bind, PostBind     see ``lifecycle.py``

A plugin is a small module in ``plugins/``; ``plugins/registry.py`` names them all. ``SCOPE`` says what a result
depends on, so that the cache refreshes no more than it must:

    NODE     the node object                 (taints, labels)             refreshed when that node changes
    ROW      the node and its pods' specs    (resources, ports)           refreshed when its pods change
    CLUSTER  pods on other nodes             (spreading, affinity)        asked at every decision

``EVENTS`` are the changes after which a pod that the plugin rejected may fit: the queue wakes it for those only,
and only if the plugin's ``helps`` (where it has one) says that this very change may help (a QueueingHint).
A plugin that thinks of one node at a time (a user's, say) is wrapped by ``pernode.py``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import (
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypeGuard,
    TypeVar,
    runtime_checkable,
)

import numpy as np
from numpy.typing import NDArray

from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.template import Template

Codes: TypeAlias = NDArray[np.uint8]
Scores: TypeAlias = NDArray[np.int64]

Normalization: TypeAlias = Literal["none", "default", "reverse", "own"]

UNSCHEDULABLE = "Unschedulable"
UNRESOLVABLE = "UnschedulableAndUnresolvable"
MAX_SCORE = 100
T = TypeVar("T")


_offered: dict[tuple[type, type], bool] = {}


def offers(plugin: object, protocol: type[T]) -> TypeGuard[T]:
    """``isinstance`` for the optional protocols below, asked once for each class: the check itself is slow."""
    key = (type(plugin), protocol)
    found = _offered.get(key)
    if found is None:
        found = _offered[key] = isinstance(plugin, protocol)
    return found


class Scope(enum.IntEnum):
    """What a plugin's result depends on; see the module's text."""

    NODE = 0
    ROW = 1
    CLUSTER = 2


class Event(enum.Flag):
    """Kinds of change that may make a rejected pod schedulable."""

    NODE_ADD = enum.auto()
    NODE_ALLOCATABLE = enum.auto()
    NODE_LABEL = enum.auto()
    NODE_TAINT = enum.auto()
    POD_ADD = enum.auto()
    POD_DELETE = enum.auto()
    FORCED = enum.auto()
    #: A placed pod asks for less, or its labels changed.
    POD_SCALE_DOWN = enum.auto()
    POD_LABEL = enum.auto()
    #: The waiting pod itself changed.
    POD_SELF = enum.auto()
    #: An unscheduled pod came or changed (pod groups look at those).
    POD_PENDING = enum.auto()
    POD_GROUP = enum.auto()
    NAMESPACE = enum.auto()
    PVC = enum.auto()
    PV = enum.auto()
    STORAGE_CLASS = enum.auto()
    CSI_NODE = enum.auto()
    CSI_DRIVER = enum.auto()
    CSI_CAPACITY = enum.auto()
    VOLUME_ATTACHMENT = enum.auto()


class Change(NamedTuple):
    """What happened: for nodes ``Node``s, for pods ``Pod``s, else API objects; None where there is none."""

    event: Event
    old: Any = None
    new: Any = None


class Rejection(NamedTuple):
    """Why a pod cannot run on a node (or, from PreFilter, anywhere)."""

    code: str
    reasons: tuple[str, ...]


Narrowed: TypeAlias = frozenset[str] | Rejection | None


@runtime_checkable
class FilterPlugin(Protocol):
    """PreFilter and Filter."""

    NAME: ClassVar[str]
    SCOPE: ClassVar[Scope]
    EVENTS: ClassVar[Event]

    def needed(self, template: Template) -> bool:
        """False skips the plugin for these pods."""
        ...

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        """A code for each of ``rows``; 0 is feasible, what else means is the plugin's own affair."""
        ...

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        """What ``code`` (not 0) means on ``row``."""
        ...


@runtime_checkable
class HintingPlugin(Protocol):
    """QueueingHint: whether one change may make pods of a template pass that this plugin rejected."""

    def helps(self, template: Template, change: Change, table: NodeTable) -> bool:
        """Called only for events in ``EVENTS``; when in doubt True."""
        ...


@runtime_checkable
class QueueSortPlugin(Protocol):
    """QueueSort: the smallest key is tried first. ``entered`` is when the pod entered the queue, in seconds."""

    NAME: ClassVar[str]

    def sort_key(self, pod: Pod, entered: float) -> tuple[Any, ...]: ...


@runtime_checkable
class ExplainingPlugin(Protocol):
    """A filter whose codes stand for several rejections."""

    def explain(
        self, template: Template, table: NodeTable, rows: Rows, codes: Codes
    ) -> Iterable[tuple[Rejection, int]]:
        """Each rejection among ``rows`` and how many times it occurs."""
        ...


def explain(
    plugin: FilterPlugin, template: Template, table: NodeTable, rows: Rows, codes: Codes
) -> Iterable[tuple[Rejection, int]]:
    """Each rejection of ``rows`` (all rejected by ``plugin``) and how many times it occurs."""
    if offers(plugin, ExplainingPlugin):  # type: ignore[type-abstract]
        return plugin.explain(template, table, rows, codes)
    values, firsts, times = np.unique(codes, return_index=True, return_counts=True)
    return [
        (plugin.rejection(template, table, int(rows[first]), int(value)), int(count))
        for value, first, count in zip(values, firsts, times, strict=True)
    ]


@runtime_checkable
class NarrowingPlugin(Protocol):
    """PreFilter that names the only nodes worth looking at, or rejects the pod outright."""

    NAME: ClassVar[str]

    def narrow(self, template: Template, table: NodeTable) -> Narrowed:
        """Names of nodes, a rejection, or None for all nodes."""
        ...


@runtime_checkable
class ScorePlugin(Protocol):
    """PreScore, Score and NormalizeScore."""

    NAME: ClassVar[str]
    SCOPE: ClassVar[Scope]
    #: How raw scores become 0..100: not at all, by the largest, by the largest and reversed, or by the
    #: plugin's own ``normalize`` (see ``NormalizingPlugin``).
    NORMALIZE: ClassVar[Normalization]

    def scoring(self, template: Template) -> bool:
        """False skips the plugin for these pods."""
        ...

    def score(self, template: Template, table: NodeTable, rows: Rows) -> Scores:
        """A raw score for each of ``rows``."""
        ...

    def epoch(self, table: NodeTable) -> int:
        """A number; when it changes, cached scores of all rows are void (0 for ever if only rows matter)."""
        ...


@runtime_checkable
class NormalizingPlugin(Protocol):
    """NormalizeScore in the plugin's own way."""

    def normalize(self, template: Template, table: NodeTable, rows: Rows, scores: Scores) -> Scores:
        """0..100 for each of ``rows``, which are all the feasible nodes."""
        ...


@runtime_checkable
class ClusterPlugin(Protocol):
    """A plugin of scope CLUSTER that can tell cheaply when it has nothing to say."""

    def relevant(self, template: Template, table: NodeTable) -> bool:
        """False: it rejects no node and scores all alike, also after more pods of this template are placed."""
        ...


@runtime_checkable
class PreEnqueuePlugin(Protocol):
    """PreEnqueue."""

    NAME: ClassVar[str]

    def gate(self, pod: Pod) -> Rejection | None:
        """Why the pod may not enter the active queue, or None."""
        ...


class Weighted(NamedTuple):
    """A score plugin and its weight in a profile."""

    plugin: ScorePlugin
    weight: int


class Profile(NamedTuple):
    """The plugins of one ``schedulerName``, in order."""

    name: str
    filters: tuple[FilterPlugin, ...]
    scores: tuple[Weighted, ...]
    gates: tuple[PreEnqueuePlugin, ...]
    #: 0 is kube-scheduler's adaptive percentage; 100 scores every node.
    percentage_of_nodes_to_score: int = 0
    #: Plugins of Reserve, Permit, PreBind, Bind and PostBind (``lifecycle.BindingPlugin``), in order.
    binding: tuple[Any, ...] = ()
    #: None: by priority, then by time (PrioritySort).
    queue_sort: QueueSortPlugin | None = None
    #: DefaultPreemption's settings; None: the profile has no PostFilter.
    preemption: Any = None
    #: HTTP extenders (``extender.Extender``).
    extenders: tuple[Any, ...] = ()

    def filter_named(self, name: str) -> FilterPlugin | None:
        return next((plugin for plugin in self.filters if name == plugin.NAME), None)

    @property
    def parameters(self) -> dict[str, Any]:
        """A short description, for logs."""
        return {"name": self.name, "filters": [p.NAME for p in self.filters]}
