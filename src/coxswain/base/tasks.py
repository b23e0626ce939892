"""Task groups with supervised restarts.

A component is a set of long-running tasks. ``Supervisor`` owns them:

    async with Supervisor("scheduler") as tasks:
        tasks.supervise("bind loop", bind_loop)      # a crash is logged and the loop starts again
        tasks.start("serve", serve())                # a crash ends the component, and is raised here
        await stop.wait()
    # here every task has ended

Guarantees: leaving the block cancels what still runs and waits until it has ended; an error of a
``start``ed task (or of the block) cancels the others and is raised; a ``supervise``d task is restarted
with exponential back-off and jitter, reset after it has run well for a while. No task is ever lost:
each is referenced here until it is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from coxswain.base import clock

log = logging.getLogger(__name__)


class Supervisor:
    """A named set of tasks that end together. See the module's text for the guarantees."""

    def __init__(
        self, name: str, *, backoff: float = 0.1, max_backoff: float = 30.0, healthy_after: float = 60.0
    ) -> None:
        """``backoff``, ``max_backoff`` and ``healthy_after`` are seconds."""
        self.name = name
        self._backoff = backoff
        self._max_backoff = max_backoff
        self._healthy_after = healthy_after
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in order: a seeded run repeats itself
        self._owner: asyncio.Task[Any] | None = None
        self._failure: BaseException | None = None
        self._closing = False

    async def __aenter__(self) -> Self:
        self._owner = asyncio.current_task()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        if self._failure is not None:
            if isinstance(error, asyncio.CancelledError) and self._owner is not None:
                self._owner.uncancel()
            raise self._failure

    async def close(self) -> None:
        """Cancel every task and wait until all have ended."""
        self._closing = True
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(set(self._tasks))

    async def wait(self) -> None:
        """Return when every task has ended by itself."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run ``work``; if it raises, the whole group ends with that error."""
        task = self._spawn(name, work)
        task.add_done_callback(self._on_done)
        return task

    def supervise(self, name: str, factory: Callable[[], Awaitable[Any]]) -> asyncio.Task[Any]:
        """Run ``factory()`` and run it again whenever it raises; a normal return ends it."""
        return self.start(name, self._restarting(name, factory))

    async def _restarting(self, name: str, factory: Callable[[], Awaitable[Any]]) -> None:
        delay = self._backoff
        while True:
            started = clock.monotonic()
            try:
                await factory()
                return
            except Exception:
                if self._closing:
                    raise
                if clock.monotonic() - started > self._healthy_after:
                    delay = self._backoff
                log.exception("%s: %s failed; starting it again in %.1f s", self.name, name, delay)
            await clock.sleep(delay * clock.random().uniform(0.8, 1.2))
            delay = min(delay * 2, self._max_backoff)

    def _spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        if self._closing:
            work.close()
            raise RuntimeError(f"{self.name} is closing; {name} cannot start")
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name}: {name}")
        self._tasks[task] = None
        return task

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if self._failure is None and not self._closing:
            self._failure = error
            if self._owner is not None:
                self._owner.cancel()
        else:
            log.error("%s ended with an error while closing", task.get_name(), exc_info=error)


async def cancel_and_wait(task: asyncio.Task[Any]) -> None:
    """Cancel ``task`` and return when it has ended; its outcome is dropped.

    A caller that is cancelled meanwhile still waits for the end, and is cancelled then.
    """
    task.cancel()
    interruption: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            interruption = error
            task.cancel()
    if not task.cancelled():
        task.exception()  # looked at: asyncio complains of errors that nobody has seen
    if interruption is not None:
        raise interruption
