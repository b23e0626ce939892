"""The scheduler's metrics, under kube-scheduler's names."""

from __future__ import annotations

from coxswain.base import metrics

_RESULTS = ("scheduled", "unschedulable", "error")

_attempts = metrics.counter(
    "scheduler_schedule_attempts_total",
    "Number of attempts to schedule pods, by the result.",
    ("result", "profile"),
)
_duration = metrics.histogram(
    "scheduler_scheduling_attempt_duration_seconds",
    "Scheduling attempt latency in seconds (deciding and binding).",
    ("result", "profile"),
)
ALGORITHM = metrics.histogram(
    "scheduler_scheduling_algorithm_duration_seconds",
    "Scheduling algorithm latency in seconds, for a run of identical pods.",
)
SLI = metrics.histogram(
    "scheduler_pod_scheduling_sli_duration_seconds",
    "Seconds from first hearing of a pod until it was bound.",
)
POD_ATTEMPTS = metrics.histogram(
    "scheduler_pod_scheduling_attempts",
    "Number of attempts to successfully schedule a pod.",
    buckets=(1, 2, 4, 8, 16),
)
PENDING = metrics.gauge("scheduler_pending_pods", "Number of pending pods, by the queue.", ("queue",))
_incoming = metrics.counter(
    "scheduler_queue_incoming_pods_total",
    "Number of pods added to scheduling queues by event and queue type.",
    ("queue", "event"),
)
CACHE = metrics.gauge(
    "scheduler_scheduler_cache_size", "Number of nodes, pods, and assumed pods in the cache.", ("type",)
)


class Attempts:
    """Counters of one profile, looked up once."""

    def __init__(self, profile: str) -> None:
        self._counts = {result: _attempts.labels(result, profile) for result in _RESULTS}
        self._durations = {result: _duration.labels(result, profile) for result in _RESULTS}

    def count(self, result: str, seconds: float, times: int = 1) -> None:
        """``times`` attempts ended in ``result``, each having taken ``seconds``."""
        self._counts[result].inc(times)
        self._durations[result].observe(seconds)


PENDING_ACTIVE = PENDING.labels("active")
PENDING_BACKOFF = PENDING.labels("backoff")
PENDING_UNSCHEDULABLE = PENDING.labels("unschedulable")
PENDING_GATED = PENDING.labels("gated")
INCOMING_ADD = _incoming.labels("active", "PodAdd")
INCOMING_FAILED = _incoming.labels("unschedulable", "ScheduleAttemptFailure")
CACHE_NODES = CACHE.labels("nodes")
CACHE_PODS = CACHE.labels("pods")
CACHE_ASSUMED = CACHE.labels("assumed_pods")
PREEMPTION_ATTEMPTS = metrics.counter(
    "scheduler_preemption_attempts_total", "Total preemption attempts in the cluster till now."
)
PREEMPTION_VICTIMS = metrics.histogram(
    "scheduler_preemption_victims", "Number of selected preemption victims.", buckets=(1, 2, 4, 8, 16, 32, 64)
)
UNSCHEDULABLE_PODS = metrics.gauge(
    "scheduler_unschedulable_pods",
    "The number of unschedulable pods broken down by plugin name.",
    ("plugin", "profile"),
)
PERMIT_WAIT = metrics.histogram(
    "scheduler_permit_wait_duration_seconds", "Duration of waiting on permit.", ("result",)
)
INCOMING_GATED = _incoming.labels("gated", "PodAdd")
INCOMING_WOKEN = _incoming.labels("active", "ClusterEvent")
