"""TTL after finished: deletes a Job ``ttlSecondsAfterFinished`` after it completed or failed.

The Job is read afresh before it is deleted: its TTL may have been extended since the watch told.
"""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import JOBS, Object
from coxswain.base import clock, metrics
from coxswain.client.informer import key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.shell import Shell

NAME = "ttl-after-finished-controller"


def time_left(job: Object, now: float) -> float | None:
    """Seconds until ``job`` is to be deleted; None when it is not finished, has no TTL, or goes already."""
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or meta.is_terminating(job):
        return None
    for kind in ("Complete", "Failed"):
        ended = meta.condition(job, kind)
        if ended is not None and ended["status"] == "True":
            return clock.parse_time(ended["lastTransitionTime"]) + float(ttl) - now
    return None


_LATENCY = metrics.histogram(
    "ttl_after_finished_controller_job_deletion_duration_seconds",
    "Seconds from when a Job was to be deleted to its deletion",
    buckets=tuple(0.1 * 2**power for power in range(14)),
)


class TtlAfterFinished:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._jobs = context.informers.informer(JOBS)
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._jobs.add_handler(self._changed, lambda _, job: self._changed(job), None)

    def _changed(self, job: Object) -> None:
        if time_left(job, 0.0) is not None:
            self._shell.add(key_of(job))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._informers.wait_for_sync()
        await self._shell.run()

    async def reconcile(self, key: str) -> float | None:
        """Delete the Job ``key`` if its time has come; else the seconds until then."""
        job = self._jobs.get(key)
        if job is None:
            return None
        left = time_left(job, clock.now())
        if left is None or left > 0:
            return left
        try:
            fresh = await self._client.get(JOBS, meta.name(job), meta.namespace(job))
            left = time_left(fresh, clock.now())
            if left is None or left > 0:
                return left
            await self._client.delete(
                JOBS, meta.name(fresh), meta.namespace(fresh), propagation="Foreground", uid=meta.uid(fresh)
            )
        except NotFound:
            return None
        _LATENCY.observe(-left)
        return None


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    await TtlAfterFinished(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="ttl-after-finished-controller")
