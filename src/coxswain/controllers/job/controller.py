"""Performs what ``manage`` and ``track`` decide for every Job.

Watches jobs and pods. A second queue takes tracking finalizers from pods whose Job is gone or has ended.
"""

from __future__ import annotations

from coxswain.api import meta, selectors
from coxswain.api.errors import ApiError, NotFound
from coxswain.api.names import JOBS, PODS, Object
from coxswain.base import clock
from coxswain.base.tasks import Supervisor
from coxswain.client.informer import key_of
from coxswain.controllers.claim import decide_claims, perform_claims
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.expectations import Expectations
from coxswain.controllers.job import metrics
from coxswain.controllers.job.backoff import Record
from coxswain.controllers.job.manage import Plan, condition, plan
from coxswain.controllers.job.podcontrol import JobPods, strip_call
from coxswain.controllers.job.track import announce, count, finish, suspension, tally
from coxswain.controllers.job.view import (
    View,
    finished_as,
    is_foreign,
    is_suspended,
    is_tracked,
)
from coxswain.controllers.labels import Orphans, Selecting
from coxswain.controllers.ownwrites import OwnWrites
from coxswain.controllers.pods import OWNER_INDEX, pod_informer, shown
from coxswain.controllers.shell import Shell

NAME = "job-controller"
#: Seconds in which pod events of one Job are gathered: many pods end together.
_GATHER = 0.2


class JobController:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._recorder = context.recorder(NAME)
        self._jobs = context.informers.informer(JOBS)
        self._selecting = Selecting(self._jobs)
        self._pods = pod_informer(context.informers)
        self._unowned = Orphans(self._pods)
        self._expectations = Expectations(shown(self._pods))
        self._control = JobPods(context.client, self._recorder, self._expectations)
        self._backoff: dict[str, Record] = {}
        self._own = OwnWrites(context.client, JOBS)
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._orphans = Shell(f"{NAME} orphans", self._free, 1)
        self._jobs.add_handler(self._job_changed, lambda _, job: self._job_changed(job), self._job_deleted)
        self._pods.add_handler(self._pod_added, self._pod_updated, self._pod_deleted)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._informers.wait_for_sync()
        async with Supervisor(NAME) as tasks:
            tasks.supervise("jobs", self._shell.run)
            tasks.supervise("orphans", self._orphans.run)
            await tasks.wait()

    # -- events --------------------------------------------------------------------------------------------

    def _job_changed(self, job: Object) -> None:
        self._shell.add(key_of(job))
        if finished_as(job):
            self._free_pods(job)

    def _job_deleted(self, job: Object) -> None:
        self._shell.add(key_of(job))
        self._free_pods(job)

    def _free_pods(self, job: Object) -> None:
        for pod in self._pods.by_index(OWNER_INDEX, meta.uid(job)):
            if is_tracked(pod):
                self._orphans.add(key_of(pod))

    def _owner_key(self, pod: Object) -> str | None:
        reference = meta.controller_of(pod)
        if reference is None or reference.get("kind") != "Job":
            return None
        key = f"{meta.namespace(pod)}/{reference['name']}"
        job = self._jobs.get(key)
        return key if job is not None and meta.uid(job) == reference["uid"] else None

    def _pod_added(self, pod: Object) -> None:
        if meta.is_terminating(pod):
            self._pod_gone(pod, gone=False)
        elif key := self._owner_key(pod):
            self._expectations.created(key)
            self._shell.add_after(key, _GATHER)
        else:
            self._stray(pod)

    def _pod_updated(self, old: Object, pod: Object) -> None:
        if meta.is_terminating(pod):
            self._pod_gone(pod, gone=False)
            return
        key, old_key = self._owner_key(pod), self._owner_key(old)
        if old_key and old_key != key:
            self._seen_without(old_key, pod)
            self._shell.add_after(old_key, _GATHER)
        if key:
            if not is_tracked(pod):
                self._seen_without(key, pod)
            self._shell.add_after(key, _GATHER)
        else:
            self._stray(pod)

    def _pod_deleted(self, pod: Object) -> None:
        self._pod_gone(pod, gone=True)

    def _pod_gone(self, pod: Object, gone: bool) -> None:
        key = self._owner_key(pod)
        if key is None:
            if not gone:
                self._stray(pod)
            return
        self._expectations.deleted(key, meta.uid(pod))
        if gone or not is_tracked(pod):
            self._seen_without(key, pod)
        self._shell.add_after(key, _GATHER)

    def _seen_without(self, key: str, pod: Object) -> None:
        self._control.removing[key].discard(meta.uid(pod))

    def _stray(self, pod: Object) -> None:
        """A pod of no Job that we know: one may adopt it; a finalizer that it has is ours to take."""
        reference = meta.controller_of(pod)
        if reference is None:
            for job in self._selecting.candidates(pod):
                if _selector(job).matches(meta.labels(pod)):
                    self._shell.add(key_of(job))
        if is_tracked(pod) and (reference is None or reference.get("kind") == "Job"):
            self._orphans.add(key_of(pod))

    async def _free(self, key: str) -> None:
        """Take the finalizer of a pod whose Job (asked live) does not exist or has ended."""
        pod = self._pods.get(key)
        if pod is None or not is_tracked(pod):
            return
        reference = meta.controller_of(pod)
        if reference is not None:
            try:
                job = await self._client.get(JOBS, reference["name"], meta.namespace(pod))
            except NotFound:
                pass
            else:
                if meta.uid(job) == reference["uid"] and (is_foreign(job) or not finished_as(job)):
                    return
        (answer,) = await self._client.batch([strip_call(pod)])
        if answer.code != 404:
            answer.object()

    # -- reconcile -----------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        """One step of the Job ``key``; seconds until the next look, if time alone matters."""
        job = self._jobs.get(key)
        if job is None or finished_as(job):
            self._forget(key)
            return None
        if is_foreign(job) or not await self._own.caught_up(key, job):
            return None
        with metrics.syncing(job) as sync:
            return await self._sync(key, job, sync)

    async def _sync(self, key: str, job: Object, sync: metrics.Sync) -> float | None:
        # Both are read before the pods: what arrives while pods are claimed is not among those read.
        satisfied, removing = self._expectations.satisfied(key), frozenset(self._control.removing[key])
        view = View(job, await self._claimed(job), removing, clock.now())
        view.backoff = self._backoff.get(key, Record()).after(view.new_succeeded, view.new_failed)
        may_manage = satisfied and not meta.is_terminating(job)
        decided = plan(view, may_manage)
        created, deleted, failure = await self._act(key, job, decided)
        if created or deleted:
            sync.action = "pods_created" if created else "pods_deleted"
        status = {**(job.get("status") or {})}
        changed, event, outcome = self._settle(view, status, decided, created, deleted, may_manage, satisfied)
        await self._track(key, view, status, changed, outcome)
        if event:
            self._recorder.event(job, "Normal", event, f"Job {event.lower()}")
        if failure is not None:
            raise failure
        waits = (decided.again, self._expectations.overdue(key))
        return min((wait for wait in waits if wait is not None), default=None)

    def _forget(self, key: str) -> None:
        self._expectations.forget(key)
        self._control.removing.pop(key, None)
        self._backoff.pop(key, None)
        self._own.forget(key)

    async def _claimed(self, job: Object) -> list[Object]:
        selector = _selector(job)
        candidates = [
            *self._pods.by_index(OWNER_INDEX, meta.uid(job)),
            *self._unowned.may_join(job),
        ]
        claims = decide_claims(job, candidates, lambda pod: selector.matches(meta.labels(pod)))
        return await perform_claims(self._client, JOBS, job, PODS, claims)

    async def _act(self, key: str, job: Object, decided: Plan) -> tuple[int, list[Object], ApiError | None]:
        created, failure = 0, None
        deleted: list[Object] = []
        if decided.delete:
            deleted, failure = await self._control.delete(key, job, decided.delete, decided.strip)
        elif decided.create:
            created, failure = await self._control.create(key, job, decided.create)
            metrics.pods_created(job, len(decided.create), created)
        return created, deleted, failure

    def _settle(
        self,
        view: View,
        status: Object,
        decided: Plan,
        created: int,
        deleted: list[Object],
        managed: bool,
        satisfied: bool,
    ) -> tuple[bool, str, Object | None]:
        """Put what was done in ``status``: whether it changed, the event's reason, and what ends the Job."""
        active = len(view.active) + created - len(deleted)
        outcome, event, now = decided.outcome, "", view.now
        if outcome is not None:
            if active or not satisfied:
                outcome = None  # pods may be left that were not counted
        elif _is_complete(view, active):
            message = "Reached expected number of succeeded pods"
            outcome = condition("SuccessCriteriaMet", "CompletionsReached", message, now)
        elif managed:
            event = suspension(status, is_suspended(view.job), now)
        if "startTime" not in status and not is_suspended(view.job):
            status["startTime"] = clock.format_time(now)
        ready = view.ready - sum(map(meta.is_pod_ready, deleted))
        counts = {"active": active, "ready": ready, "terminating": view.terminating + len(deleted)}
        changed = bool(event) or any(
            status.get(name) != n for name, n in counts.items() if n or name != "active"
        )
        changed |= not active and bool(status.get("active"))
        status.update(counts)
        if not active:
            del status["active"]
        return changed, event, outcome

    async def _track(
        self, key: str, view: View, status: Object, changed: bool, outcome: Object | None
    ) -> None:
        made = tally(view, status, outcome)
        announced = outcome is not None and announce(status, outcome)
        job = view.job
        if changed or made.changed or announced:
            job = await self._write(key, job, status)
            self._backoff[key] = view.backoff
        stripped, failure = await self._control.strip(key, made.strip)
        made.waiting.difference_update(meta.uid(pod) for pod in stripped)
        status = {**job["status"]} if job is not view.job else status
        counted = count(status, made.waiting)
        final = None
        if failure is None and outcome is not None and not made.full:
            final = finish(status, outcome, view.now)
        if counted or final is not None:
            await self._write(key, job, status)
        if final is not None:
            self._say_finished(job, final)
        if failure is not None:
            raise failure

    async def _write(self, key: str, job: Object, status: Object) -> Object:
        try:
            written = await self._client.update(JOBS, {**job, "status": status}, subresource="status")
        except ApiError:
            self._own.unsure(key)
            raise
        self._own.wrote(key, written)
        metrics.status_written(job, job.get("status") or {}, status)
        return written

    def _say_finished(self, job: Object, final: Object) -> None:
        metrics.finished(job, final)
        if final["type"] == "Complete":
            self._recorder.event(job, "Normal", "Completed", "Job completed")
        else:
            self._recorder.event(job, "Warning", final["reason"], final["message"])


def _is_complete(view: View, active: int) -> bool:
    wanted = 1 if view.completions is None else view.completions
    return view.succeeded >= wanted and active == 0


def _selector(job: Object) -> selectors.Selector:
    return selectors.label_selector_from(job["spec"].get("selector"))


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await JobController(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="job-controller")
