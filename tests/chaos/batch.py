"""Invariants of Jobs and CronJobs: every pod counted once, every index once, every scheduled time once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from chaos.observer import Change, Invariant, Ledger, Observer, has_ended, is_active
from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"


def finished(job: Object) -> bool:
    return meta.is_condition_true(job, "Complete") or meta.is_condition_true(job, "Failed")


def is_ending(job: Object) -> bool:
    """It is decided how the Job ends."""
    kinds = ("Complete", "Failed", "SuccessCriteriaMet", "FailureTarget")
    return any(meta.is_condition_true(job, kind) for kind in kinds)


def is_indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def indexes(text: str | None) -> set[int]:
    """``0-2,5`` as numbers."""
    found: set[int] = set()
    for part in filter(None, (text or "").split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def index_of(pod: Object) -> int:
    return int(meta.annotations(pod).get(INDEX, "-1"))


def is_tracked(pod: Object | None) -> bool:
    return pod is not None and FINALIZER in meta.finalizers(pod)


class JobCounting(Invariant):
    """A pod's end is counted exactly once: it goes through the list of the uncounted, and only once."""

    def __init__(self, world: Observer) -> None:
        super().__init__(world)
        self.entered: dict[str, dict[str, str]] = defaultdict(dict)
        self._ended_at: dict[str, float] = {}

    def see(self, change: Change) -> None:
        if change.kind == "Job" and change.old is not None and change.new is not None:
            self._see_job(change, change.old, change.new)
        if change.kind == "Pod" and change.old is not None:
            if change.new is not None and has_ended(change.new) and not has_ended(change.old):
                self._ended_at[meta.uid(change.new)] = change.at
            if is_tracked(change.old) and not is_tracked(change.new):
                self._see_released(change, change.old)

    def _see_job(self, change: Change, old: Object, new: Object) -> None:
        before, after = old.get("status") or {}, new.get("status") or {}
        for name in ("succeeded", "failed"):
            listed = set((before.get("uncountedTerminatedPods") or {}).get(name) or ())
            lists = set((after.get("uncountedTerminatedPods") or {}).get(name) or ())
            grown = after.get(name, 0) - before.get(name, 0)
            if name == "succeeded" and is_indexed(new):
                self._see_indexes(change, before, after)
            elif grown != len(listed - lists):
                self.fail(change, f"{name} grew by {grown} as {len(listed - lists)} left the list")
            for uid in lists - listed:
                self._see_entry(change, new, uid, name)
        if finished(old) and any(before.get(n) != after.get(n) for n in ("succeeded", "failed")):
            self.fail(change, "counted after its end")

    def _see_indexes(self, change: Change, before: Object, after: Object) -> None:
        done = indexes(after.get("completedIndexes"))
        if after.get("succeeded", 0) != len(done):
            self.fail(change, f"succeeded {after.get('succeeded')} is not the number of {sorted(done)}")
        if lost := indexes(before.get("completedIndexes")) - done:
            self.fail(change, f"indexes {sorted(lost)} were complete and are not any more")
        if both := done & indexes(after.get("failedIndexes")):
            self.fail(change, f"indexes {sorted(both)} are complete and failed")

    def _see_entry(self, change: Change, job: Object, uid: str, name: str) -> None:
        self.looked("counted")
        entered = self.entered[meta.uid(job)]
        if uid in entered:
            self.fail(change, f"pod {uid} is counted as {name}, and was as {entered[uid]}")
        entered[uid] = name
        pod = self.world.by_uid(uid)
        if pod is None:
            return
        phase = meta.pod_phase(pod)
        if name == "succeeded" and phase != "Succeeded":
            self.fail(change, f"pod {meta.name(pod)} is counted as succeeded, it is {phase}")
        ends_badly = meta.is_terminating(pod) or meta.is_condition_true(job, "FailureTarget")
        if name == "failed" and phase != "Failed" and not ends_badly:
            self.fail(change, f"pod {meta.name(pod)} is counted as failed, it is {phase}")

    def _see_released(self, change: Change, pod: Object) -> None:
        """A pod whose end its Job will not learn any more must have been counted."""
        reference = meta.controller_of(pod)
        job = self.world.by_uid(reference["uid"]) if reference is not None else None
        if job is None or finished(job) or meta.is_terminating(job) or not has_ended(pod):
            return
        self.looked("released")
        uid = meta.uid(pod)
        if uid in self.entered[meta.uid(job)]:
            return
        if change.at - self._ended_at.get(uid, change.at) < self.world.blur() and (
            is_ending(job) or meta.is_terminating(pod)
        ):
            return  # it was to go anyway, and ended before that was known
        status = job.get("status") or {}
        if is_indexed(job) and meta.pod_phase(pod) == "Succeeded":
            if index_of(pod) in indexes(status.get("completedIndexes")) or is_ending(job):
                return
            self.fail(change, f"succeeded with index {index_of(pod)}, and that was not counted")
        elif meta.pod_phase(pod) == "Succeeded" or not job["spec"].get("podFailurePolicy"):
            self.fail(change, f"it ended as {meta.pod_phase(pod)}, and that was not counted")

    def settled(self) -> None:
        for job in self.world.all("Job"):
            status, uid = job.get("status") or {}, meta.uid(job)
            if not finished(job):
                continue
            if any((status.get("uncountedTerminatedPods") or {}).values()):
                self.world.fail(f"JobCounting: {meta.key(job)} ended with uncounted pods")
            if tracked := [meta.name(pod) for pod in self.world.pods_of(uid) if is_tracked(pod)]:
                self.world.fail(f"JobCounting: {meta.key(job)} ended and {tracked} have their finalizers")
            for name in ("succeeded", "failed"):
                counted = sum(1 for kind in self.entered[uid].values() if kind == name)
                if not (is_indexed(job) and name == "succeeded") and counted != status.get(name, 0):
                    self.world.fail(f"JobCounting: {meta.key(job)} {name} {status.get(name)}, not {counted}")


class JobPods(Invariant):
    """No more pods than the parallelism, one of an index, none of an index that is done, none after the end."""

    def __init__(self, world: Observer, unsure: dict[str, int]) -> None:
        super().__init__(world)
        self._unsure = unsure
        self._parallelism = Ledger()
        self._done_at: dict[tuple[str, int], float] = {}

    def see(self, change: Change) -> None:
        if change.kind == "Job" and change.new is not None:
            uid = meta.uid(change.new)
            self._parallelism.put(uid, change.new["spec"].get("parallelism", 1))
            for index in indexes((change.new.get("status") or {}).get("completedIndexes")):
                self._done_at.setdefault((uid, index), change.at)
        if change.kind == "Pod" and change.appeared and change.actor == "job-controller":
            reference = meta.controller_of(change.obj)
            job = self.world.by_uid(reference["uid"]) if reference is not None else None
            if job is not None:
                self._see_start(change, job)

    def _see_start(self, change: Change, job: Object) -> None:
        self.looked("started")
        uid = meta.uid(job)
        unsure = self._unsure.get(uid, 0)
        active = [pod for pod in self.world.pods_of(uid) if is_active(pod)]
        most = max(self._parallelism.within(uid, self.world.blur()), default=1)
        if len(active) > most + unsure:
            self.fail(change, f"{len(active)} pods at once, {most} are allowed")
        if is_ending(job):
            self.fail(change, "started after the end of its Job was decided")
        if not is_indexed(job):
            return
        index = index_of(change.obj)
        if sum(1 for pod in active if index_of(pod) == index) > 1 + unsure:
            self.fail(change, f"two pods of index {index} at once")
        if (uid, index) in self._done_at:
            self.fail(change, f"index {index} is done and is started again")


class CronJobRuns(Invariant):
    """Each scheduled time at most once, never early, never backwards, and as the concurrency policy says."""

    def __init__(self, world: Observer) -> None:
        super().__init__(world)
        self._ran: dict[str, list[float]] = defaultdict(list)
        self._latest = 0.0

    def see(self, change: Change) -> None:
        self._latest = max(self._latest, clock.now())
        if change.kind != "Job" or not change.appeared or change.actor != "cronjob-controller":
            return
        reference = meta.controller_of(change.obj)
        assert reference is not None
        uid, at = reference["uid"], clock.parse_time(meta.annotations(change.obj)[SCHEDULED])
        self.looked("run")
        ran = self._ran[uid]
        if at in ran:
            self.fail(change, f"{clock.format_time(at)} is run twice")
        if ran and at < max(ran):
            self.fail(change, f"{clock.format_time(at)} is run after {clock.format_time(max(ran))}")
        if at > self._latest:
            self.fail(change, f"{clock.format_time(at)} is run early")
        ran.append(at)
        owner = self.world.by_uid(uid)
        if owner is not None:
            self._see_others(change, owner)

    def _see_others(self, change: Change, owner: Object) -> None:
        policy = owner["spec"].get("concurrencyPolicy", "Allow")
        others = list(self._unfinished(meta.uid(owner), change.key))
        if policy == "Forbid" and others:
            self.fail(change, f"{others} still run, and that is forbidden")
        if policy == "Replace" and others:
            self.fail(change, f"{others} were to be replaced, and run")

    def _unfinished(self, uid: str, but: str) -> Iterable[str]:
        for job in self.world.owned(uid, "Job"):
            if not finished(job) and not meta.is_terminating(job) and meta.key(job) != but:
                yield meta.name(job)
