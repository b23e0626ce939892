"""What a job's status may say: counts, finished conditions that fit together, indexes (batch/v1).

A finished job stays finished, and its counters do not go back.
"""

from __future__ import annotations

from typing import Any

from coxswain.api.fields import OMITTED, Errors, duplicate, invalid, required
from coxswain.api.names import Object
from coxswain.api.validation.formats import nonnegative
from coxswain.base.clock import parse_time


class BadIndexes(ValueError):
    """A list of indexes that is none; the text is Kubernetes'."""


def _interval(text: str, completions: int) -> tuple[int, int]:
    parts = text.split("-")
    if len(parts) > 2:
        raise BadIndexes(
            f'the fragment "{text}" violates the requirement that an index interval can have at most two '
            "parts separated by '-'"
        )
    numbers = []
    for part in parts:
        if not (part.isascii() and part.isdigit()):
            raise BadIndexes(f'cannot convert string to integer for index: "{part}"')
        if int(part) >= completions:
            raise BadIndexes(f'too large index: "{part}"')
        numbers.append(int(part))
    if len(numbers) == 2 and numbers[0] >= numbers[1]:
        raise BadIndexes(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
    return numbers[0], numbers[-1]


def parse_indexes(text: str, completions: int) -> list[tuple[int, int]]:
    """``1,3-5`` as intervals below ``completions``, increasing; raises ``BadIndexes`` with Kubernetes' words."""
    intervals: list[tuple[int, int]] = []
    for part in text.split(",") if text else ():
        low, high = _interval(part, completions)
        if intervals and intervals[-1][1] >= low:
            raise BadIndexes(f"non-increasing order, previous: {intervals[-1][1]}, current: {low}")
        intervals.append((low, high))
    return intervals


def _is_true(job: Object, kind: str) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == kind and each.get("status") == "True" for each in conditions)


def validate_job_status(new: Object, old: Object, errors: Errors) -> None:
    """``status`` of a job, against what it was."""
    status = new.get("status") or {}
    for field in ("active", "succeeded", "failed", "ready", "terminating"):
        nonnegative(f"status.{field}", status.get(field), errors)
    _validate_uncounted(status.get("uncountedTerminatedPods") or {}, errors)
    _validate_finish(new, status, errors)
    _validate_indexes(new.get("spec") or {}, status, errors)
    if (status.get("ready") or 0) > (status.get("active") or 0):
        errors.append(
            invalid("status.ready", status.get("ready") or 0, "cannot set more ready pods than active")
        )
    _validate_success(new, errors)
    _validate_progress(new, old, errors)


def _validate_uncounted(uncounted: Object, errors: Errors) -> None:
    seen: set[str] = set()
    for kind in ("succeeded", "failed"):
        for position, uid in enumerate(uncounted.get(kind) or ()):
            path = f"status.uncountedTerminatedPods.{kind}[{position}]"
            if not uid:
                errors.append(invalid(path, uid, "must not be empty"))
            elif uid in seen:
                errors.append(duplicate(path, uid))
            seen.add(uid)


def _conditions(why: str, errors: Errors) -> None:
    errors.append(invalid("status.conditions", OMITTED, why))


def _validate_finish(job: Object, status: Object, errors: Errors) -> None:
    complete, failed = _is_true(job, "Complete"), _is_true(job, "Failed")
    target, met = _is_true(job, "FailureTarget"), _is_true(job, "SuccessCriteriaMet")
    started, ended = status.get("startTime"), status.get("completionTime")
    if complete and failed:
        _conditions("cannot set Complete=True and Failed=true conditions", errors)
    if complete and target:
        _conditions("cannot set Complete=True and FailureTarget=true conditions", errors)
    path = "status.completionTime"
    if ended and not complete:
        why = "cannot set completionTime when there is no Complete=True condition"
        errors.append(invalid(path, ended, why))
    if complete and not ended:
        errors.append(required(path, "completionTime is required for Complete jobs"))
    if started and ended and parse_time(ended) < parse_time(started):
        errors.append(invalid(path, ended, "completionTime cannot be set before startTime"))
    if failed and not target:
        _conditions("cannot set Failed=True condition without the FailureTarget=true condition", errors)
    if complete and not met:
        _conditions(
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition", errors
        )
    if not (complete or failed):
        return
    if status.get("active"):
        errors.append(invalid("status.active", status["active"], "active>0 is invalid for finished job"))
    if not started:
        errors.append(required("status.startTime", "startTime is required for finished job"))
    uncounted = status.get("uncountedTerminatedPods")
    if uncounted and any(uncounted.values()):
        why = "uncountedTerminatedPods needs to be empty for finished job"
        errors.append(invalid("status.uncountedTerminatedPods", uncounted, why))
    if status.get("terminating"):
        why = "terminating>0 is invalid for finished job"
        errors.append(invalid("status.terminating", status["terminating"], why))


def _validate_indexes(spec: Object, status: Object, errors: Errors) -> None:
    total, per_index = spec.get("completions"), spec.get("backoffLimitPerIndex")
    done, failed = status.get("completedIndexes") or "", status.get("failedIndexes")
    parsed: dict[str, Any] = {}
    for field, text in (("completedIndexes", done), ("failedIndexes", failed)):
        if total is None or not text or (field == "failedIndexes" and per_index is None):
            continue
        try:
            parsed[field] = parse_indexes(text, total)
        except BadIndexes as error:
            errors.append(invalid(f"status.{field}", text, f"error parsing {field}: {error}"))
    if done and spec.get("completionMode") != "Indexed":
        why = "cannot set non-empty completedIndexes when non-indexed completion mode"
        errors.append(invalid("status.completedIndexes", done, why))
    if failed is not None and per_index is None:
        why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        errors.append(invalid("status.failedIndexes", failed, why))
    for low, high in parsed.get("completedIndexes", ()):
        for first, last in parsed.get("failedIndexes", ()):
            if low <= last and first <= high:
                why = f"failedIndexes and completedIndexes overlap at index: {max(low, first)}"
                errors.append(invalid("status.failedIndexes", failed, why))
                return


def _validate_success(job: Object, errors: Errors) -> None:
    met = _is_true(job, "SuccessCriteriaMet")
    if met and _is_true(job, "Failed"):
        _conditions("cannot set SuccessCriteriaMet=True and Failed=true conditions", errors)
    if met and _is_true(job, "FailureTarget"):
        _conditions("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions", errors)
    policy = (job.get("spec") or {}).get("successPolicy")
    if policy is not None and not met and _is_true(job, "Complete"):
        why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
        _conditions(why, errors)


def _validate_progress(new: Object, old: Object, errors: Errors) -> None:
    status, before = new.get("status") or {}, old.get("status") or {}
    for kind in ("Failed", "Complete", "FailureTarget"):
        if _is_true(old, kind) and not _is_true(new, kind):
            _conditions(f"cannot disable the terminal {kind}=True condition", errors)
    for field in ("failed", "succeeded"):
        if (status.get(field) or 0) < (before.get(field) or 0):
            why = f"cannot decrease the {field} counter"
            errors.append(invalid(f"status.{field}", status.get(field) or 0, why))
    ended, then = status.get("completionTime"), before.get("completionTime")
    if ended and then and ended != then:
        errors.append(invalid("status.completionTime", ended, "completionTime cannot be mutated"))
    suspended = (new.get("spec") or {}).get("suspend")
    # A Job that goes on starts anew: its deadline runs while it does.
    resumed = _is_true(old, "Suspended") and not _is_true(new, "Suspended")
    moved = before.get("startTime") and before["startTime"] != status.get("startTime")
    if moved and not suspended and not resumed:
        why = "startTime cannot be removed for unsuspended job"
        errors.append(required("status.startTime", why))
    if _is_true(old, "SuccessCriteriaMet") and not _is_true(new, "SuccessCriteriaMet"):
        _conditions("cannot disable the SuccessCriteriaMet=True condition", errors)
    late = _is_true(new, "SuccessCriteriaMet") and not _is_true(old, "SuccessCriteriaMet")
    if _is_true(old, "Complete") and late:
        why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
        _conditions(why, errors)
