"""What the job controller counts, under Kubernetes' names (``pkg/controller/job/metrics``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from coxswain.api.names import Object
from coxswain.base import clock, metrics

_BUCKETS = tuple(0.004 * 2**power for power in range(15))
_SYNC = ("completion_mode", "result", "action")
_SECONDS = metrics.histogram(
    "job_controller_job_sync_duration_seconds", "Seconds that syncs of Jobs took", _SYNC, buckets=_BUCKETS
)
_SYNCS = metrics.counter("job_controller_job_syncs", "Syncs of Jobs", _SYNC)
_FINISHED = metrics.counter(
    "job_controller_jobs_finished", "Jobs that ended", ("completion_mode", "result", "reason")
)
_PODS = metrics.counter(
    "job_controller_job_pods_finished",
    "Pods of Jobs that ended and were counted",
    ("completion_mode", "result"),
)
_CREATED = metrics.counter(
    "job_controller_job_pods_creation", "Pods that Jobs were to get, by reason", ("reason", "status")
)


def _mode(job: Object) -> str:
    return str(job["spec"].get("completionMode") or "NonIndexed")


@dataclass(slots=True)
class Sync:
    """What a sync did."""

    action: str = "reconciling"


@contextmanager
def syncing(job: Object) -> Iterator[Sync]:
    """One sync of ``job``, from here to the end of the block."""
    started, sync, result = clock.monotonic(), Sync(), "error"
    try:
        yield sync
        result = "success"
    finally:
        labels = _mode(job), result, sync.action
        _SECONDS.labels(*labels).observe(clock.monotonic() - started)
        _SYNCS.labels(*labels).inc()


def pods_created(job: Object, wanted: int, created: int) -> None:
    """Of ``wanted`` pods, ``created`` were made."""
    status = job.get("status") or {}
    reason = "new"
    if job["spec"].get("podReplacementPolicy") == "Failed":
        if status.get("failed"):
            reason = "recreate_failed"
    elif status.get("failed") or status.get("terminating"):
        reason = "recreate_terminating_or_failed"
    if created:
        _CREATED.labels(reason, "succeeded").inc(created)
    if wanted > created:
        _CREATED.labels(reason, "failed").inc(wanted - created)


def status_written(job: Object, old: Object, new: Object) -> None:
    """The status of ``job`` went from ``old`` to ``new``: its counts of pods can only have grown."""
    for result in ("succeeded", "failed"):
        grown = (new.get(result) or 0) - (old.get(result) or 0)
        if grown > 0:
            _PODS.labels(_mode(job), result).inc(grown)


def finished(job: Object, final: Object) -> None:
    """``job`` ended with the condition ``final``."""
    result = "succeeded" if final["type"] == "Complete" else "failed"
    _FINISHED.labels(_mode(job), result, final.get("reason") or "").inc()
