"""Creates the Jobs of every CronJob when they are due, and keeps its status and history.

A Job's name is made from its scheduled minute: a crash between creating it and writing the status finds the
name taken, and never runs it twice. Should the name be free again before the status could be written (the Job was
quick, or went with a CronJob whose deletion we have not seen), what was started is remembered here.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from coxswain.api import meta
from coxswain.api.errors import AlreadyExists, ApiError, NotFound
from coxswain.api.names import CRON_JOBS, JOBS, Object
from coxswain.base import clock, metrics
from coxswain.client.informer import key_of
from coxswain.controllers.cronjob.schedule import Schedule, most_recent, parse
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.pods import OWNER_INDEX, owner_index
from coxswain.controllers.shell import Shell

NAME = "cronjob-controller"
#: Annotation of the Jobs that we made, not of those that somebody made by hand from a CronJob.
_SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_SKEW = metrics.histogram(
    "cronjob_controller_job_creation_skew_duration_seconds",
    "Seconds from when a Job was to be made to its creation",
    buckets=tuple(float(2**power) for power in range(10)),
)


def _finished(job: Object) -> str:
    return next((kind for kind in ("Complete", "Failed") if meta.is_condition_true(job, kind)), "")


class CronJobController:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._recorder = context.recorder(NAME)
        self._cron_jobs = context.informers.informer(CRON_JOBS)
        self._jobs = context.informers.informer(JOBS)
        self._jobs.add_index(OWNER_INDEX, owner_index)
        #: By key: the uid of the CronJob, and the last time whose Job was made.
        self._started: dict[str, tuple[str, float]] = {}
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._cron_jobs.add_handler(self._changed, lambda _, new: self._changed(new), None)
        self._jobs.add_handler(self._job_changed, lambda _, job: self._job_changed(job), self._job_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._informers.wait_for_sync()
        await self._shell.run()

    def _changed(self, cron_job: Object) -> None:
        self._shell.add(key_of(cron_job))

    def _job_changed(self, job: Object) -> None:
        reference = meta.controller_of(job)
        if reference is not None and reference["kind"] == "CronJob":
            self._shell.add(f"{meta.namespace(job)}/{reference['name']}")

    async def reconcile(self, key: str) -> float | None:
        """One step of the CronJob ``key``; seconds until its next time."""
        cron_job = self._cron_jobs.get(key)
        if cron_job is None:
            self._started.pop(key, None)
            return None
        status = dict(cron_job.get("status") or {})
        jobs = list(self._jobs.by_index(OWNER_INDEX, meta.uid(cron_job)))
        await self._look_at_jobs(cron_job, status, jobs)
        again = None
        if not meta.is_terminating(cron_job) and not cron_job["spec"].get("suspend"):
            again = await self._start(cron_job, status)
        await self._tidy(cron_job, jobs)
        if status != (cron_job.get("status") or {}):
            await self._client.update(CRON_JOBS, {**cron_job, "status": status}, subresource="status")
        return again

    async def _look_at_jobs(self, cron_job: Object, status: Object, jobs: list[Object]) -> None:
        active = list(status.get("active") or ())
        known = {each["uid"] for each in active}
        for job in jobs:
            how, uid = _finished(job), meta.uid(job)
            if how and uid in known:
                active = [each for each in active if each["uid"] != uid]
                message = f"Saw completed job: {meta.name(job)}, condition: {how}"
                self._recorder.event(cron_job, "Normal", "SawCompletedJob", message)
            ended = (job.get("status") or {}).get("completionTime")
            if how == "Complete" and ended and ended > (status.get("lastSuccessfulTime") or ""):
                status["lastSuccessfulTime"] = ended
            elif not how and uid not in known and _SCHEDULED in meta.annotations(job):
                active.append(_reference(job))  # ours: we crashed before it was written down
        present = {meta.uid(job) for job in jobs}
        for each in [each for each in active if each["uid"] not in present]:
            try:
                await self._client.get(JOBS, each["name"], each["namespace"])
            except NotFound:
                active.remove(each)
                message = f"Active job went missing: {each['name']}"
                self._recorder.event(cron_job, "Normal", "MissingJob", message)
        _set_active(status, active)

    async def _start(self, cron_job: Object, status: Object) -> float | None:
        spec, now = cron_job["spec"], clock.now()
        try:
            schedule = parse(spec["schedule"], spec.get("timeZone"))
        except (ValueError, KeyError) as error:
            message = f'unparseable schedule: "{spec["schedule"]}" : {error}'
            self._recorder.event(cron_job, "Warning", "UnparseableSchedule", message)
            return None
        last = status.get("lastScheduleTime")
        earliest = clock.parse_time(last or cron_job["metadata"]["creationTimestamp"])
        deadline = spec.get("startingDeadlineSeconds")
        due, missed = most_recent(schedule, max(earliest, now - deadline) if deadline else earliest, now)
        if due is not None and missed > 100:
            message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self._recorder.event(cron_job, "Warning", "TooManyMissedTimes", message)
        if due is not None and clock.format_time(due) != last:
            if self._started.get(key_of(cron_job)) == (meta.uid(cron_job), due):
                status["lastScheduleTime"] = clock.format_time(due)  # that was not written down
            else:
                await self._run_job(cron_job, status, due)
        return _until_next(schedule, due if due is not None else earliest, now)

    async def _run_job(self, cron_job: Object, status: Object, due: float) -> None:
        policy, active = cron_job["spec"].get("concurrencyPolicy"), list(status.get("active") or ())
        wanted = _job(cron_job, due)
        if any(each["name"] == meta.name(wanted) for each in active):
            status["lastScheduleTime"] = clock.format_time(due)  # it runs: only that was not written down
            return
        if policy == "Forbid" and active:
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._recorder.event(cron_job, "Normal", "JobAlreadyActive", message)
            return
        if policy == "Replace":
            for each in active:
                await self._delete(cron_job, each["name"], each["namespace"])
            active = []
        try:
            job = await self._client.create(JOBS, wanted)
            self._started[key_of(cron_job)] = (meta.uid(cron_job), due)
            _SKEW.observe(max(clock.now() - due, 0.0))
            message = f"Created job {meta.name(job)}"
            self._recorder.event(cron_job, "Normal", "SuccessfulCreate", message)
        except AlreadyExists:
            job = await self._client.get(JOBS, meta.name(wanted), meta.namespace(wanted))
            if not meta.is_controlled_by(job, cron_job):
                return
        except ApiError as error:
            message = f"Error creating job: {error.message}"
            self._recorder.event(cron_job, "Warning", "FailedCreate", message)
            raise
        if not _finished(job) and all(each["uid"] != meta.uid(job) for each in active):
            active.append(_reference(job))
        _set_active(status, active)
        status["lastScheduleTime"] = clock.format_time(due)

    async def _tidy(self, cron_job: Object, jobs: list[Object]) -> None:
        limits = {"Complete": "successfulJobsHistoryLimit", "Failed": "failedJobsHistoryLimit"}
        for how, field in limits.items():
            limit = cron_job["spec"].get(field)
            if limit is None:
                continue
            ended = [job for job in jobs if _finished(job) == how and not meta.is_terminating(job)]
            ended.sort(key=lambda j: ((j.get("status") or {}).get("startTime") or "~", meta.name(j)))
            for job in ended[: max(0, len(ended) - limit)]:
                await self._delete(cron_job, meta.name(job), meta.namespace(job))

    async def _delete(self, cron_job: Object, name: str, namespace: str) -> None:
        try:
            await self._client.delete(JOBS, name, namespace, propagation="Background")
        except NotFound:
            return
        self._recorder.event(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {name}")


def _set_active(status: Object, active: list[Object]) -> None:
    if active:
        status["active"] = active
    else:
        status.pop("active", None)


def _reference(job: Object) -> Object:
    metadata = job["metadata"]
    names = ("namespace", "name", "uid", "resourceVersion")
    return {"kind": "Job", "apiVersion": "batch/v1", **{name: metadata[name] for name in names}}


def _until_next(schedule: Schedule, after: float, now: float) -> float | None:
    at = schedule.next(after)
    while at is not None and at <= now:
        at = schedule.next(now)
    return None if at is None else at - now + 0.1


def _job(cron_job: Object, due: float) -> Object:
    template, zone = cron_job["spec"]["jobTemplate"], cron_job["spec"].get("timeZone")
    source = template.get("metadata") or {}
    stamp = clock.format_time(due)
    if zone:
        stamp = datetime.fromtimestamp(due, ZoneInfo(zone)).isoformat().replace("+00:00", "Z")
    metadata: Object = {
        "name": f"{meta.name(cron_job)}-{int(due) // 60}",
        "namespace": meta.namespace(cron_job),
        "annotations": {
            **(source.get("annotations") or {}),
            _SCHEDULED: stamp,
        },
        "ownerReferences": [meta.owner_reference(cron_job)],
    }
    if source.get("labels"):
        metadata["labels"] = source["labels"]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]}


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await CronJobController(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="cronjob-controller")
