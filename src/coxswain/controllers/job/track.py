"""Counting pods exactly once (``trackJobStatusAndRemoveFinalizers``), without IO.

    1. uids of ended pods go to status.uncountedTerminatedPods (or their index to completedIndexes)  -- write
    2. the pods' tracking finalizers are removed
    3. uids whose finalizer is gone move from the list to the counters; the final condition          -- write

A crash between any two steps loses nothing: a pod with its finalizer and in the list is not added again,
one without its finalizer and in the list is counted, one without and not in the list was counted.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock
from coxswain.controllers.job.indexes import Indexes
from coxswain.controllers.job.manage import condition
from coxswain.controllers.job.policies import judge
from coxswain.controllers.job.view import View, has_failed, index_of, is_indexed, is_per_index

#: Uids in the list at most: it stays under 20 KB.
MAX_UNCOUNTED = 500


@dataclass(slots=True)
class Tally:
    """Step 1: the pods whose finalizers go next; ``changed``: ``status`` must be written before."""

    status: Object
    changed: bool = False
    strip: list[Object] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)
    full: bool = False


def tally(view: View, status: Object, outcome: Object | None) -> Tally:
    """List what ended; ``status`` is a working copy that is changed."""
    made = Tally(status, waiting={meta.uid(pod) for pod in view.pods if view.is_waiting(pod)})
    made.changed = count(status, made.waiting)
    lists = _lists(status)
    goods, bads = list(lists.get("succeeded") or ()), list(lists.get("failed") or ())
    known = set(goods), set(bads)
    indexed, fresh = is_indexed(view.job), []
    for pod in sorted(view.pods, key=index_of) if indexed else view.pods:
        ended_badly = has_failed(pod, view.job)
        if not view.is_waiting(pod) or not _may_strip(view, pod, outcome, ended_badly):
            continue
        made.strip.append(pod)
        uid = meta.uid(pod)
        if meta.pod_phase(pod) == "Succeeded" and uid not in known[1]:
            if not indexed and uid not in known[0]:
                goods.append(uid)
            elif indexed and view.in_range(pod) and index_of(pod) not in view.before:
                fresh.append(index_of(pod))
        elif ended_badly or (outcome is not None and outcome["type"] != "SuccessCriteriaMet"):
            counts = view.in_range(pod) and judge(view.job, pod).counts
            bads += [uid] if counts and uid not in known[1] else []
        if len(fresh) + len(goods) + len(bads) >= MAX_UNCOUNTED:
            made.full = True
            break
    made.changed |= bool(fresh) or len(goods) > len(known[0]) or len(bads) > len(known[1])
    _set_lists(status, goods, bads)
    if indexed:
        made.changed |= _set_indexes(view, status, view.before | fresh)
    return made


def _may_strip(view: View, pod: Object, outcome: Object | None, ended_badly: bool) -> bool:
    if meta.is_terminating(view.job) or outcome is not None or meta.pod_phase(pod) == "Succeeded":
        return True
    return ended_badly and view.delayed.get(index_of(pod)) is not pod


def _set_indexes(view: View, status: Object, succeeded: Indexes) -> bool:
    fields: Object = {"completedIndexes": str(succeeded)}
    if is_per_index(view.job):
        fields["failedIndexes"] = str(view.failed_indexes)
    changed = any(status.get(name) != text for name, text in fields.items() if text or name in status)
    changed |= is_per_index(view.job) and "failedIndexes" not in status
    status.update(fields)
    if not fields["completedIndexes"]:
        del status["completedIndexes"]
    status["succeeded"] = len(succeeded)
    return changed


def _lists(status: Object) -> Object:
    lists: Object = status.get("uncountedTerminatedPods") or {}
    return lists


def _set_lists(status: Object, goods: list[str], bads: list[str]) -> None:
    lists = {"succeeded": goods, "failed": bads}
    status["uncountedTerminatedPods"] = {name: uids for name, uids in lists.items() if uids}


def count(status: Object, waiting: Collection[str]) -> bool:
    """Step 3: move uids that no longer wait from the lists to the counters; whether any did."""
    kept: dict[str, list[str]] = {}
    moved = 0
    for name in ("succeeded", "failed"):
        uids = _lists(status).get(name) or []
        kept[name] = [uid for uid in uids if uid in waiting]
        gone = len(uids) - len(kept[name])
        if gone:
            status[name] = status.get(name, 0) + gone
            moved += gone
    _set_lists(status, kept["succeeded"], kept["failed"])
    return moved > 0


def announce(status: Object, outcome: Object) -> bool:
    """Put the interim condition in ``status``; whether it was not there."""
    conditions = status.get("conditions") or []
    if any(each["type"] == outcome["type"] and each["status"] == "True" for each in conditions):
        return False
    status["conditions"] = [*conditions, outcome]
    return True


def finish(status: Object, outcome: Object, now: float) -> Object | None:
    """The final condition, put in ``status``, once all is counted and no pod terminates; else None."""
    if any(_lists(status).values()) or status.get("terminating"):
        return None
    kind = "Complete" if outcome["type"] == "SuccessCriteriaMet" else "Failed"
    final = condition(kind, outcome.get("reason", ""), outcome.get("message", ""), now)
    others = [each for each in status.get("conditions") or () if each["type"] != kind]
    status["conditions"] = [*others, final]
    if kind == "Complete":
        # Not before the start, also when the clock was set back since: the API server would refuse it.
        status["completionTime"] = max(clock.format_time(now), status.get("startTime") or "")
    return final


def suspension(status: Object, suspended: bool, now: float) -> str:
    """Keep the condition Suspended; the event's reason when it changed, else empty."""
    conditions = status.get("conditions") or []
    old = next((each for each in conditions if each["type"] == "Suspended"), None)
    wanted, reason = ("True", "JobSuspended") if suspended else ("False", "JobResumed")
    if (old["status"] if old else "False") == wanted:
        return ""
    message = "Job suspended" if suspended else "Job resumed"
    new = condition("Suspended", reason, message, now, wanted)
    status["conditions"] = [new if each is old else each for each in conditions] + ([new] if not old else [])
    if not suspended:
        # The active deadline runs while the Job does: it starts again.
        status["startTime"] = clock.format_time(now)
    return "Suspended" if suspended else "Resumed"
