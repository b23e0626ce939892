"""SchedulingGates: a pod waits outside the queue until its gates are lifted."""

from __future__ import annotations

from typing import ClassVar

from coxswain.scheduler.framework import UNRESOLVABLE, Rejection
from coxswain.scheduler.pod import Pod


class SchedulingGates:
    NAME: ClassVar[str] = "SchedulingGates"

    def gate(self, pod: Pod) -> Rejection | None:
        return Rejection(UNRESOLVABLE, ("waiting for scheduling gates",)) if pod.gated else None
