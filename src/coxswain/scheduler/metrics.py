"""The scheduler's metrics, under kube-scheduler's names (those of plugins and extension points: ``timing``).

What would be counted for each pod is counted in plain numbers where it happens, and told to Prometheus about once a
second (``Measuring``): a labelled counter costs more than a step through the queue.
"""

from __future__ import annotations

import asyncio

from coxswain.base import metrics
from coxswain.scheduler.cache import Cache
from coxswain.scheduler.cycle import Cycle
from coxswain.scheduler.framework import Change, Event
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.queue import SchedulingQueue

_RESULTS = ("scheduled", "unschedulable", "error")
_QUEUES = ("active", "backoff", "unschedulable", "gated")
_ATTEMPT_BUCKETS = tuple(0.001 * 2**power for power in range(15))

_attempts = metrics.counter(
    "scheduler_schedule_attempts_total",
    "Number of attempts to schedule pods, by the result.",
    ("result", "profile"),
)
_duration = metrics.histogram(
    "scheduler_scheduling_attempt_duration_seconds",
    "Scheduling attempt latency in seconds (deciding and binding).",
    ("result", "profile"),
    buckets=_ATTEMPT_BUCKETS,
)
ALGORITHM = metrics.histogram(
    "scheduler_scheduling_algorithm_duration_seconds",
    "Scheduling algorithm latency in seconds, for a run of identical pods.",
    buckets=_ATTEMPT_BUCKETS,
)
_sli = metrics.histogram(
    "scheduler_pod_scheduling_sli_duration_seconds",
    "Seconds from first hearing of a pod until it was bound, by the number of attempts.",
    ("attempts",),
    buckets=tuple(0.01 * 2**power for power in range(20)),
)
POD_ATTEMPTS = metrics.histogram(
    "scheduler_pod_scheduling_attempts",
    "Number of attempts to successfully schedule a pod.",
    buckets=(1, 2, 4, 8, 16),
)
_pending = metrics.gauge("scheduler_pending_pods", "Number of pending pods, by the queue.", ("queue",))
_incoming = metrics.counter(
    "scheduler_queue_incoming_pods_total",
    "Number of pods added to scheduling queues by event and queue type.",
    ("queue", "event"),
)
_cache = metrics.gauge(
    "scheduler_scheduler_cache_size", "Number of nodes, pods, and assumed pods in the cache.", ("type",)
)
PREEMPTION_ATTEMPTS = metrics.counter(
    "scheduler_preemption_attempts_total", "Total preemption attempts in the cluster till now."
)
PREEMPTION_VICTIMS = metrics.histogram(
    "scheduler_preemption_victims", "Number of selected preemption victims.", buckets=(1, 2, 4, 8, 16, 32, 64)
)
_unschedulable = metrics.gauge(
    "scheduler_unschedulable_pods",
    "The number of unschedulable pods broken down by plugin name.",
    ("plugin", "profile"),
)
_evaluations = metrics.counter(
    "scheduler_plugin_evaluation_total",
    "Number of attempts to schedule pods by each plugin and the extension point.",
    ("plugin", "extension_point", "profile"),
)
PERMIT_WAIT = metrics.histogram(
    "scheduler_permit_wait_duration_seconds",
    "Duration of waiting on permit.",
    ("result",),
    buckets=_ATTEMPT_BUCKETS,
)

#: 1 to 14 attempts, and 15 or more.
_SLI = [_sli.labels(str(attempts) if attempts < 15 else "15+") for attempts in range(1, 16)]


class Attempts:
    """Counters of one profile, looked up once."""

    def __init__(self, profile: str) -> None:
        self._counts = {result: _attempts.labels(result, profile) for result in _RESULTS}
        self._durations = {result: _duration.labels(result, profile) for result in _RESULTS}
        #: Of pods that were bound in this turn of the loop: the attempt's seconds; all seconds, by attempts.
        self._bound: list[float] = []
        self._waited: dict[int, list[float]] = {}

    def count(self, result: str, seconds: float, times: int = 1) -> None:
        """``times`` attempts ended in ``result``, each having taken ``seconds``."""
        self._counts[result].inc(times)
        self._durations[result].observe(seconds)

    def bound(self, seconds: float, waited: float, attempts: int) -> None:
        """A pod was bound: this attempt took ``seconds``; the scheduler first heard of it ``waited`` seconds ago.

        Answers to bindings come by the hundred: they are told together, when all of this turn of the loop are here.
        """
        if not self._bound:
            asyncio.get_running_loop().call_soon(self._tell_bound)
        self._bound.append(seconds)
        self._waited.setdefault(attempts, []).append(waited)

    def _tell_bound(self) -> None:
        bound, self._bound = self._bound, []
        waited, self._waited = self._waited, {}
        self._counts["scheduled"].inc(len(bound))
        metrics.observe_all(self._durations["scheduled"], bound)
        for attempts, seconds in waited.items():
            metrics.observe_all(_SLI[min(attempts, 15) - 1], seconds)
            metrics.observe_all(POD_ATTEMPTS, [attempts] * len(seconds))


_RESOURCES = {
    Event.POD_ADD: "AssignedPod",
    Event.POD_DELETE: "AssignedPod",
    Event.POD_PENDING: "UnschedulablePod",
    Event.POD_GROUP: "PodGroup",
    Event.NODE_ADD: "Node",
    Event.NAMESPACE: "Namespace",
    Event.PVC: "PersistentVolumeClaim",
    Event.PV: "PersistentVolume",
    Event.STORAGE_CLASS: "StorageClass",
    Event.CSI_NODE: "CSINode",
    Event.CSI_DRIVER: "CSIDriver",
    Event.CSI_CAPACITY: "CSIStorageCapacity",
    Event.VOLUME_ATTACHMENT: "VolumeAttachment",
}
_UPDATES = {
    Event.NODE_ALLOCATABLE: "NodeUpdateNodeAllocatable",
    Event.NODE_LABEL: "NodeUpdateNodeLabel",
    Event.NODE_TAINT: "NodeUpdateNodeTaint",
    Event.POD_SCALE_DOWN: "AssignedPodUpdatePodScaleDown",
    Event.POD_LABEL: "AssignedPodUpdatePodLabel",
    Event.POD_SELF: "UnschedulablePodUpdate",
}


def label_of(change: Change) -> str:
    """kube-scheduler's label of a cluster event: resource and action (``ClusterEvent.Label``)."""
    event = change.event
    if event in _UPDATES:
        return _UPDATES[event]
    if event in _RESOURCES:
        action = "Add" if change.old is None else "Delete" if change.new is None else "Update"
        return _RESOURCES[event] + action
    # Some at once: a node whose labels and taints changed, say.
    return next((label for one, label in _UPDATES.items() if one & event), "Unknown")


class Measuring:
    """Tells Prometheus what queue, cache and cycle have counted."""

    #: Seconds between two looks, and between two walks through all unschedulable pods.
    PERIOD, LONG_PERIOD = 1.0, 5.0

    def __init__(self, queue: SchedulingQueue, cache: Cache, table: NodeTable, cycle: Cycle) -> None:
        self._queue = queue
        self._cache = cache
        self._table = table
        self._cycle = cycle
        self._due = self._plugins_due = 0.0
        #: When to look again even if nothing happens; None: all is told.
        self.owed: float | None = None
        self._waiting = 0
        self._plugins: set[tuple[str, str]] = set()

    def is_due(self, now: float) -> bool:
        """Whether the last look is long enough ago, even while there is work."""
        return now >= self._due

    def look(self, now: float) -> None:
        """Bring all gauges and counters up to date."""
        self._due = now + self.PERIOD
        queue = self._queue
        if queue.incoming or len(queue) != self._waiting:
            self.owed, self._waiting = self._plugins_due, len(queue)
        for name in _QUEUES:
            _pending.labels(name).set(queue.size(name))  # type: ignore[arg-type]
        for (place, event), times in queue.incoming.items():
            _incoming.labels(place, event).inc(times)
        queue.incoming.clear()
        for labels, times in self._cycle.take_evaluations().items():
            _evaluations.labels(*labels).inc(times)
        for kind, size in (
            ("nodes", len(self._table)),
            ("pods", len(self._cache)),
            ("assumed_pods", self._cache.assumed),
        ):
            _cache.labels(kind).set(size)
        if now >= self._plugins_due:
            self._plugins_due, self.owed = now + self.LONG_PERIOD, None
            self._count_plugins()

    def _count_plugins(self) -> None:
        counts = self._queue.by_plugin()
        for key in self._plugins - counts.keys():
            _unschedulable.labels(*key).set(0)
        for key, count in counts.items():
            _unschedulable.labels(*key).set(count)
        self._plugins = set(counts)
