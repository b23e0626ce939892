"""A Job with its pods, sorted for the decisions: who is active, who ended, which indexes are done."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.job.backoff import Record, finished_at
from coxswain.controllers.job.indexes import Indexes
from coxswain.controllers.job.policies import judge
from coxswain.controllers.pods import JOB_TRACKING

FINALIZER = JOB_TRACKING
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
CONTROLLER = "kubernetes.io/job-controller"


def is_tracked(pod: Object) -> bool:
    """The pod still waits to be counted."""
    return FINALIZER in meta.finalizers(pod)


def is_indexed(job: Object) -> bool:
    """Each pod has a completion index."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def is_suspended(job: Object) -> bool:
    """The Job should have no pods for now."""
    return bool(job["spec"].get("suspend"))


def is_per_index(job: Object) -> bool:
    """Failures are limited for each index alone."""
    return is_indexed(job) and job["spec"].get("backoffLimitPerIndex") is not None


def finished_as(job: Object) -> str:
    """``Complete``, ``Failed``, or empty while the Job goes on."""
    return next((kind for kind in ("Complete", "Failed") if meta.is_condition_true(job, kind)), "")


def is_foreign(job: Object) -> bool:
    """Another controller manages the Job (``spec.managedBy``)."""
    return bool((job["spec"].get("managedBy") or CONTROLLER) != CONTROLLER)


def index_of(pod: Object) -> int:
    """The pod's completion index; -1 where there is none."""
    text = meta.annotations(pod).get(INDEX, "")
    return int(text) if text.isdecimal() else -1


def replaces_failed_only(job: Object) -> bool:
    """A terminating pod is replaced only once it has ended (``podReplacementPolicy: Failed``)."""
    spec = job["spec"]
    return spec.get("podReplacementPolicy") == "Failed" or bool(spec.get("podFailurePolicy"))


def has_failed(pod: Object, job: Object) -> bool:
    """The pod failed, or is going away before it succeeded."""
    phase = meta.pod_phase(pod)
    if phase == "Failed":
        return True
    return not replaces_failed_only(job) and meta.is_terminating(pod) and phase != "Succeeded"


def failure_counts(pod: Object) -> tuple[int, int]:
    """Failures of the pod's index before it: those that counted, those that the policy ignored."""
    notes = meta.annotations(pod)
    counted, ignored = notes.get(FAILURES, ""), notes.get(IGNORED_FAILURES, "")
    return int(counted) if counted.isdecimal() else 0, int(ignored) if ignored.isdecimal() else 0


@dataclass(slots=True)
class View:
    """One look at a Job. ``removing``: uids whose finalizer we took and whose pods we have not seen since."""

    job: Object
    pods: Sequence[Object]
    removing: Collection[str] = ()
    now: float = 0.0
    active: list[Object] = field(init=False)
    new_succeeded: list[Object] = field(init=False)
    new_failed: list[Object] = field(init=False)
    ready: int = field(init=False)
    terminating: int = field(init=False)
    succeeded: int = field(init=False)
    failed: int = field(init=False)
    before: Indexes = field(init=False)
    succeeded_indexes: Indexes = field(init=False)
    failed_indexes: Indexes = field(init=False)
    delayed: dict[int, Object] = field(init=False)
    backoff: Record = field(default=Record())

    def __post_init__(self) -> None:
        job, status = self.job, self.job.get("status") or {}
        self.active = [pod for pod in self.pods if meta.is_pod_active(pod)]
        self.ready = sum(map(meta.is_pod_ready, self.active))
        self.terminating = sum(
            meta.is_terminating(pod) and not meta.is_pod_finished(pod) for pod in self.pods
        )
        uncounted = status.get("uncountedTerminatedPods") or {}
        known_good, known_bad = set(uncounted.get("succeeded") or ()), set(uncounted.get("failed") or ())
        fresh = [pod for pod in self.pods if self.is_waiting(pod) and self.in_range(pod)]
        self.new_succeeded = [
            pod for pod in fresh if meta.pod_phase(pod) == "Succeeded" and meta.uid(pod) not in known_good
        ]
        self.new_failed = [
            pod for pod in fresh if meta.uid(pod) not in known_bad and has_failed(pod, self.job)
        ]
        self.succeeded = status.get("succeeded", 0) + len(self.new_succeeded) + len(known_good)
        counted = sum(judge(job, pod).counts for pod in self.new_failed)
        self.failed = status.get("failed", 0) + counted + len(known_bad)
        self.before = self.succeeded_indexes = self.failed_indexes = Indexes()
        self.delayed = {}
        if is_indexed(job):
            self._read_indexes(status)

    @property
    def completions(self) -> int | None:
        """``spec.completions``."""
        completions: int | None = self.job["spec"].get("completions")
        return completions

    def is_waiting(self, pod: Object) -> bool:
        """The pod has its finalizer, and we did not take it."""
        return is_tracked(pod) and meta.uid(pod) not in self.removing

    def in_range(self, pod: Object) -> bool:
        """The pod's index is one of the Job's (any, when it is not indexed)."""
        return not is_indexed(self.job) or 0 <= index_of(pod) < (self.completions or 0)

    def _read_indexes(self, status: Object) -> None:
        job, completions = self.job, self.completions or 0
        tracked = [pod for pod in self.pods if is_tracked(pod) and self.in_range(pod)]
        self.before = Indexes.parse(status.get("completedIndexes"), completions)
        self.succeeded_indexes = self.before | (
            index_of(pod) for pod in tracked if meta.pod_phase(pod) == "Succeeded"
        )
        self.succeeded = len(self.succeeded_indexes)
        if is_per_index(job):
            limit = job["spec"]["backoffLimitPerIndex"]
            self.failed_indexes = Indexes.parse(status.get("failedIndexes"), completions) | (
                index_of(pod) for pod in tracked if _fails_index(job, pod, limit)
            )
            self.delayed = self._delayed(tracked)

    def _delayed(self, tracked: list[Object]) -> dict[int, Object]:
        """By index, the failed pod that is kept until its successor carries its failure count on."""
        active = {index_of(pod) for pod in self.active}
        last: dict[int, Object] = {}
        for pod in tracked:
            index = index_of(pod)
            done = index in active or index in self.succeeded_indexes or index in self.failed_indexes
            if done or not has_failed(pod, self.job):
                continue
            rival = last.get(index)
            if rival is None or _age(rival) <= _age(pod):
                last[index] = pod
        return last


def _age(pod: Object) -> tuple[int, float]:
    return sum(failure_counts(pod)), finished_at(pod)


def _fails_index(job: Object, pod: Object, limit: int) -> bool:
    if not has_failed(pod, job):
        return False
    verdict = judge(job, pod)
    return verdict.action == "FailIndex" or (verdict.counts and failure_counts(pod)[0] >= limit)
