"""How long a Job waits before it tries again: ten seconds after a failure, doubled with each, ten minutes at most.

Failures count since the last success. The record of a Job is in memory only: a restart forgets it, as
Kubernetes' does. With a back-off limit per index, the record is in the annotations of the failed pod.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock

FIRST, LONGEST = 10.0, 600.0


@dataclass(frozen=True, slots=True)
class Record:
    """Failures since the last success, and the time of the last (seconds since the epoch)."""

    failures: int = 0
    last: float = 0.0

    def after(self, succeeded: Sequence[Object], failed: Sequence[Object]) -> Record:
        """The record once these pods, that were not known before, have finished."""
        if not succeeded and not failed:
            return self
        ends = [finished_at(pod) for pod in failed]
        if not succeeded:
            return Record(self.failures + len(failed), max(ends))
        success = max(finished_at(pod) for pod in succeeded)
        ends = [end for end in ends if end > success]
        return Record(len(ends), max(ends)) if ends else Record()

    def remaining(self, now: float) -> float:
        """Seconds until the next pod may be created."""
        if not self.failures:
            return 0.0
        wait = min(FIRST * 2.0 ** min(self.failures - 1, 10), LONGEST)
        return max(0.0, wait - (now - self.last))


def finished_at(pod: Object) -> float:
    """When ``pod`` finished: its last container's end, else when it ceased to be ready, else its deletion."""
    containers = (pod.get("status") or {}).get("containerStatuses") or ()
    ends = [((each.get("state") or {}).get("terminated") or {}).get("finishedAt") for each in containers]
    if ends and all(ends):
        return max(clock.parse_time(str(end)) for end in ends)
    ready, metadata = meta.condition(pod, "Ready"), pod["metadata"]
    if ready is not None and ready["status"] == "False" and ready.get("lastTransitionTime"):
        return clock.parse_time(ready["lastTransitionTime"])
    if metadata.get("deletionTimestamp"):
        grace = float(metadata.get("deletionGracePeriodSeconds") or 0)
        return clock.parse_time(metadata["deletionTimestamp"]) - grace
    created = metadata.get("creationTimestamp")
    return clock.parse_time(created) if created else 0.0
