"""The plain limits that hold where priority and fairness is off: so many reads, so many writes at one time.

As with kube-apiserver's max-in-flight filter, 0 means no limit, what is over a limit gets 429, and members of
``system:masters`` are never sent away.
"""

from __future__ import annotations

import asyncio

from coxswain.api.names import GVR
from coxswain.apiserver.fairness.controller import UNLIMITED, Flow
from coxswain.apiserver.fairness.level import Level
from coxswain.apiserver.fairness.queueset import Ticket
from coxswain.apiserver.fairness.width import NARROW, Width
from coxswain.client.interface import UserInfo

_MASTERS = "system:masters"
_READS = frozenset({"get", "list", "watch", "head", "options"})


class InFlightLimits:
    """A ``Gate``."""

    def __init__(self, reading: int, writing: int) -> None:
        """How many at one time; 0: any number."""
        self._loop = asyncio.get_running_loop()
        self.reading, self.writing = self._limited("readOnly", reading), self._limited("mutating", writing)
        self._privileged = self._limited("exempt", 0)

    def _limited(self, name: str, limit: int) -> Flow:
        level = Level(name, "", {})
        level.queues.seats = limit or UNLIMITED
        return Flow(self, level, name)

    def flow(
        self,
        user: UserInfo,
        verb: str,
        resource: GVR | None = None,
        subresource: str = "",
        namespace: str = "",
        path: str = "",
    ) -> Flow:
        """Which limit counts."""
        if _MASTERS in user.groups:
            return self._privileged
        return self.reading if verb in _READS else self.writing

    def finish(self, ticket: Ticket, flow: Flow) -> None:
        """One is done."""
        flow.level.queues.finish(ticket, self._loop.time())

    def cancel(self, ticket: Ticket, flow: Flow) -> None:
        """Nobody waits here."""

    def watch_over(self, level: Level) -> None:
        """Nobody waits here."""

    def width_of_list(self, size: int, flow: Flow) -> Width:
        """Every request counts as one."""
        return NARROW

    def width_of_write(self, watchers: int, flow: Flow) -> Width:
        """Every request counts as one."""
        return NARROW

    def debug(self, path: str) -> str | None:
        """There is nothing to show."""
        return None

    def start(self) -> None:
        """Nothing has to be done."""

    def stop(self) -> None:
        """Nothing has to be done."""
