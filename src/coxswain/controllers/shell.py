"""The thin shell around a reconcile: a rate-limited queue of keys and the workers that drain it.

    handlers --add(key)--> queue --worker--> await reconcile(key)
                             ^                 | returns seconds: look again then
                             |                 | raises: look again after a back-off, doubled each time
                             +-----------------+

One key is never reconciled twice at a time. A conflict is expected (somebody else wrote; the watch brings
it) and retried silently; other failures are logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from coxswain.api.errors import ApiError, Conflict
from coxswain.base.tasks import Supervisor
from coxswain.client.workqueue import RateLimitingQueue, ShutDown

log = logging.getLogger(__name__)

Reconcile = Callable[[str], Awaitable[float | None]]


class Shell:
    """Runs ``reconcile`` for every key that was added; ``run`` ends with its task."""

    def __init__(self, name: str, reconcile: Reconcile, workers: int = 5) -> None:
        self.name = name
        self.queue: RateLimitingQueue[str] = RateLimitingQueue(name)
        self._reconcile = reconcile
        self._workers = workers

    def add(self, key: str) -> None:
        """Reconcile ``key`` soon."""
        self.queue.add(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Reconcile ``key`` in ``seconds``."""
        self.queue.add_after(key, seconds)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with Supervisor(self.name) as tasks:
                for number in range(self._workers):
                    tasks.supervise(f"worker {number}", self._work)
                await tasks.wait()
        finally:
            self.queue.shut_down()

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except ShutDown:
                return
            try:
                await self._one(key)
            finally:
                self.queue.done(key)

    async def _one(self, key: str) -> None:
        try:
            again = await self._reconcile(key)
        except Exception as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # What failed was the tidying up of a cancelled step: that must not undo the cancellation.
                raise asyncio.CancelledError from error
            self.queue.add_rate_limited(key)
            if isinstance(error, ApiError):
                level = logging.DEBUG if isinstance(error, Conflict) else logging.WARNING
                log.log(level, "%s: %s: %s", self.name, key, error)
            else:
                log.exception("%s: reconciling %s failed", self.name, key)
            return
        self.queue.forget(key)
        if again is not None:
            self.queue.add_after(key, again)
