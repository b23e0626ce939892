"""Which pods a Job should create or delete, and whether it has ended (``syncJob`` and ``manageJob``), without IO."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock
from coxswain.controllers.job.backoff import Record, finished_at
from coxswain.controllers.job.policies import judge, success_rule
from coxswain.controllers.job.template import pod_for
from coxswain.controllers.job.view import (
    View,
    failure_counts,
    has_failed,
    index_of,
    is_indexed,
    is_per_index,
    is_suspended,
    replaces_failed_only,
)
from coxswain.controllers.pods import deletion_rank

#: Pods created or deleted in one sync.
BURST = 500


def condition(kind: str, reason: str, message: str, now: float, status: str = "True") -> Object:
    """A JobCondition."""
    stamp = clock.format_time(now)
    return {
        "type": kind,
        "status": status,
        "lastProbeTime": stamp,
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": message,
    }


@dataclass(slots=True)
class Plan:
    """``outcome``: the condition that ends the Job. ``again``: seconds until time alone changes the plan.

    ``delete`` leaves finalizers (the pods are still to be counted); with ``strip`` they go first.
    """

    outcome: Object | None = None
    delete: Sequence[Object] = ()
    strip: bool = False
    create: list[Object] = field(default_factory=list)
    again: float | None = None


def plan(view: View, may_manage: bool) -> Plan:
    """What to do now. ``may_manage``: nothing that we asked for is outstanding, and the Job stays."""
    outcome = ending(view)
    if outcome is not None:
        return Plan(outcome, delete=view.active)
    made = _manage(view) if may_manage else Plan()
    deadline = deadline_left(view)
    if deadline is not None:
        made.again = deadline if made.again is None else min(deadline, made.again)
    return made


def ending(view: View) -> Object | None:
    """The interim condition that ends the Job: SuccessCriteriaMet or FailureTarget."""
    job = view.job
    for kind in ("SuccessCriteriaMet", "FailureTarget"):
        if meta.is_condition_true(job, kind):
            return meta.condition(job, kind)
    failure = _failure(view)
    if failure is not None:
        return condition("FailureTarget", *failure, view.now)
    message = success_rule(job, view.succeeded_indexes) if is_indexed(job) else None
    return condition("SuccessCriteriaMet", "SuccessPolicy", message, view.now) if message else None


def _failure(view: View) -> tuple[str, str] | None:
    spec = view.job["spec"]
    for pod in view.pods if spec.get("podFailurePolicy") else ():
        if has_failed(pod, view.job) and (message := judge(view.job, pod).message):
            return "PodFailurePolicy", message
    if view.failed > spec.get("backoffLimit", 6) or _restarted_too_often(view):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    left = deadline_left(view)
    if left is not None and left <= 0:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    failed = len(view.failed_indexes)
    if is_per_index(view.job) and failed:
        most = spec.get("maxFailedIndexes")
        if most is not None and failed > most:
            why = "Job has exceeded the specified maximal number of failed indexes"
            return "MaxFailedIndexesExceeded", why
        if failed + len(view.succeeded_indexes) >= (view.completions or 0):
            return "FailedIndexes", "Job has failed indexes"
    return None


def _restarted_too_often(view: View) -> bool:
    spec = view.job["spec"]
    if spec["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    restarts = 0
    for pod in view.pods:
        if meta.pod_phase(pod) in ("Running", "Pending"):
            status = pod.get("status") or {}
            restarts += status.get("restarts", 0) + status.get("initRestarts", 0)
    return bool(restarts >= max(1, spec.get("backoffLimit", 6)))


def deadline_left(view: View) -> float | None:
    """Seconds until the active deadline passes; None when there is none (now)."""
    limit = view.job["spec"].get("activeDeadlineSeconds")
    started = (view.job.get("status") or {}).get("startTime")
    if limit is None or not started or is_suspended(view.job):
        return None
    return float(clock.parse_time(started) + limit - view.now)


def _manage(view: View) -> Plan:
    job, active = view.job, len(view.active)
    if is_suspended(job):
        return Plan(delete=view.active, strip=True)
    wanted = _wanted(view)
    surplus = _surplus(view, max(0, active - wanted))[:BURST]
    if surplus:
        return Plan(delete=surplus, strip=True)
    missing = wanted - active - (view.terminating if replaces_failed_only(job) else 0)
    if missing <= 0:
        return Plan()
    missing = min(missing, BURST)
    if not is_per_index(job):
        wait = view.backoff.remaining(view.now)
        if wait > 0:
            return Plan(again=wait)
    if not is_indexed(job):
        return Plan(create=[pod_for(job)] * missing)
    indexes = list(islice(_pending(view), missing))
    waits = {index: _index_wait(view, index) for index in indexes}
    due = [index for index in indexes if waits[index] <= 0]
    if not due and waits:
        return Plan(again=min(waits.values()))
    return Plan(create=[pod_for(job, index, view.delayed.get(index)) for index in due])


def _wanted(view: View) -> int:
    parallelism: int = view.job["spec"].get("parallelism", 1)
    if view.completions is None:
        return len(view.active) if view.succeeded > 0 else parallelism
    return max(0, min(view.completions - view.succeeded, parallelism))


def _pending(view: View) -> list[int]:
    taken = [index_of(pod) for pod in view.active]
    if replaces_failed_only(view.job):
        taken += [index_of(p) for p in view.pods if meta.is_terminating(p) and not meta.is_pod_finished(p)]
    done = (view.succeeded_indexes | view.failed_indexes) | (index for index in taken if index >= 0)
    return list(done.absent(view.completions or 0))


def _index_wait(view: View, index: int) -> float:
    failed = view.delayed.get(index)
    if failed is None:
        return 0.0
    return Record(sum(failure_counts(failed)) + 1, finished_at(failed)).remaining(view.now)


def _surplus(view: View, at_least: int) -> list[Object]:
    """Pods to remove: those without a valid index or with another's, then the least advanced."""
    remove: list[Object] = []
    left = view.active
    if is_indexed(view.job):
        by_index: dict[int, list[Object]] = defaultdict(list)
        left = []
        for pod in view.active:
            by_index[index_of(pod)].append(pod)
        for index, pods in sorted(by_index.items()):
            if not 0 <= index < (view.completions or 0):
                remove += pods
                continue
            pods.sort(key=lambda pod: deletion_rank(pod, {}, view.now))
            remove += pods[:-1]
            left.append(pods[-1])
    if len(remove) < at_least:
        left = sorted(left, key=lambda pod: deletion_rank(pod, {}, view.now))
        remove += left[: at_least - len(remove)]
    return remove
