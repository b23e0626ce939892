"""Writes that several clients want at one moment: those begun in one turn of the loop are committed together.

    request --begin--> Write --submit--+
    request --begin--> Write --submit--+--> Storage.commit_each --> done(outcome) of each

Clients that create a thousand pods send each on its own. A task, a commit and a wake-up for each cost more than the
writes themselves; here a turn of the loop has one of each. Nobody is waited for: what comes later goes with the next
turn. Each write is atomic and judged on its own, and ``done`` is called when it is durable and in the cache.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from coxswain.api.errors import ApiError
from coxswain.apiserver.request import Write
from coxswain.apiserver.storage import Storage
from coxswain.store.interface import StoreError

log = logging.getLogger(__name__)

#: The revision of a write, or why there is none.
Outcome = int | Exception


class Waiting:
    """A write that was submitted."""

    __slots__ = ("_cancelled", "_done", "write")

    def __init__(self, write: Write, done: Callable[[Outcome | None], object]) -> None:
        self.write = write
        self._done: Callable[[Outcome | None], object] | None = done

    def cancel(self) -> None:
        """Wait no longer: ``done(None)``. What is committed stays so."""
        self.settle(None)

    def settle(self, outcome: Outcome | None) -> None:
        """What became of it; only the first is told."""
        done, self._done = self._done, None
        if done is not None:
            done(outcome)


class Writes:
    """Of one server."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._loop = asyncio.get_running_loop()
        self._next: list[Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()
        #: Writes that are not settled yet.
        self.count = 0

    def submit(self, write: Write, done: Callable[[Outcome | None], object]) -> Waiting:
        """Commit ``write`` with the others of this turn. ``done`` must not raise."""
        waiting = Waiting(write, done)
        if not self._next:
            self._loop.call_soon(self._go)
        self._next.append(waiting)
        self.count += 1
        return waiting

    def _go(self) -> None:
        batch, self._next = self._next, []
        task = self._loop.create_task(self._commit(batch), name="writes")
        # The loop itself does not keep tasks alive.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _commit(self, batch: Sequence[Waiting]) -> None:
        outcomes: Sequence[Outcome]
        try:
            outcomes = await self._storage.commit_each([(one.write.op, one.write.pending) for one in batch])
        except (StoreError, ApiError) as error:
            outcomes = [error] * len(batch)
        except Exception as error:
            log.exception("writes could not be committed")
            outcomes = [error] * len(batch)
        finally:
            self.count -= len(batch)
        for one, outcome in zip(batch, outcomes, strict=True):
            one.settle(outcome)
