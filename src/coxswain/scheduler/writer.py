"""Writes to the API in batches: bindings, and the conditions of pods that failed.

    put(key, call, settle) -> waiting (latest call of a key wins) -> one of a few batches under way -> settle(answer)

Guarantees: every call that is not replaced by a newer one of its key is settled exactly once, with the server's
answer. A server that is too busy (429) or away is waited for as long as it asks, and the call is sent again;
nothing is dropped meanwhile. At most ``concurrency`` batches are under way, each with at most ``batch`` calls.
A call whose key is under way is held back until that one is settled, so writes of one key keep their order.

While a batch is under way, others gather until it is answered, until they fill a batch, or for LINGER seconds: a few
full messages cost everybody less than many small ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import NamedTuple

from coxswain.api.errors import ApiError
from coxswain.base import clock
from coxswain.client.interface import Answer, Call, Client

log = logging.getLogger(__name__)

_GONE = Answer(404, b'{"kind":"Status","code":404,"message":"it is gone"}')
Settle = Callable[[Answer], None]
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_BUSY = (429, 503, 504)
#: Seconds that calls which do not fill a batch wait for the answer to another: about a commit of the server's store.
LINGER = 0.02


class _Write(NamedTuple):
    call: Call
    settle: Settle


class Writer:
    """See the module's text. ``run`` does the work until cancelled."""

    def __init__(self, client: Client, *, batch: int, concurrency: int) -> None:
        self._client = client
        self._batch = batch
        self._concurrency = concurrency
        self._waiting: dict[str, _Write] = {}
        self._under_way: dict[str, _Write] = {}
        self._room = asyncio.Event()
        self._room.set()
        #: Batches under way; ``_quiet`` is set while there are none.
        self._sent = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._group: asyncio.TaskGroup | None = None
        self._looking = False
        self._timer: asyncio.TimerHandle | None = None
        self._waited_enough = False
        self._paused = False
        self._pause = 0.0

    def __len__(self) -> int:
        """Writes not settled yet."""
        return len(self._waiting) + len(self._under_way)

    def put(self, key: str, call: Call, settle: Settle) -> None:
        """Send ``call`` soon; ``settle`` hears of its answer, on the loop."""
        self._waiting[key] = _Write(call, settle)
        self._look()

    def drop(self, key: str) -> None:
        """Do not send what still waits under ``key``: its object is gone, and that is the answer."""
        write = self._waiting.pop(key, None)
        if write is not None:
            write.settle(_GONE)

    async def has_room(self, limit: int) -> None:
        """Return when fewer than ``limit`` writes are unsettled."""
        while len(self) >= limit:
            self._room.clear()
            await self._room.wait()

    @property
    def gathers(self) -> bool:
        """Whether one more call would wait for company now."""
        return self._sent > 0 and len(self._waiting) < self._batch

    async def quiet(self, seconds: float) -> None:
        """Return when no batch is under way, or after ``seconds``."""
        if self._sent:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._quiet.wait()

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                self._look()
                await asyncio.Event().wait()
        finally:
            self._group = None
            self._wait_no_more()

    def _look(self) -> None:
        """See what can be sent, once everything of this turn of the loop was put."""
        if self._group is not None and not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._send_some)

    def _send_some(self) -> None:
        self._looking = False
        while (
            self._group is not None and self._waiting and self._sent < self._concurrency and not self._paused
        ):
            if self.gathers and not self._waited_enough:
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(LINGER, self._linger_no_more)
                return
            writes = self._take()
            if not writes:
                return
            delivery = self._deliver(writes)
            try:
                self._group.create_task(delivery)
            except RuntimeError:  # the group is ending: by cancellation, or to be started again
                delivery.close()
                self._put_back(writes)
                return
            self._wait_no_more()
            self._sent += 1
            self._quiet.clear()

    def _linger_no_more(self) -> None:
        self._waited_enough = True
        self._timer = None
        self._look()

    def _wait_no_more(self) -> None:
        self._waited_enough = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _deliver(self, writes: dict[str, _Write]) -> None:
        try:
            answers = await self._send(writes)
        except BaseException:
            self._put_back(writes)
            raise
        finally:
            self._sent -= 1
            if not self._sent:
                self._quiet.set()
        self._settle(writes, answers)
        if self._pause:
            self._paused = True
            try:
                await clock.sleep(self._pause * clock.random().uniform(1.0, 1.2))
            finally:
                self._paused = False
        self._look()

    def _take(self) -> dict[str, _Write]:
        taken: dict[str, _Write] = {}
        for key, write in self._waiting.items():
            if key not in self._under_way:
                taken[key] = write
                if len(taken) == self._batch:
                    break
        for key in taken:
            del self._waiting[key]
        self._under_way |= taken
        return taken

    def _put_back(self, writes: dict[str, _Write]) -> None:
        for key, write in writes.items():
            self._under_way.pop(key, None)
            self._waiting.setdefault(key, write)

    async def _send(self, writes: dict[str, _Write]) -> list[Answer]:
        try:
            return await self._client.batch([write.call for write in writes.values()])
        except ApiError as error:
            log.warning("a batch of %d writes failed: %s", len(writes), error)
            body = b'{"kind":"Status","apiVersion":"v1","status":"Failure"}'
            return [Answer(error.code if error.code in _BUSY else 503, body)] * len(writes)

    def _settle(self, writes: dict[str, _Write], answers: list[Answer]) -> None:
        busy = False
        for (key, write), answer in zip(writes.items(), answers, strict=True):
            self._under_way.pop(key, None)
            if answer.code in _BUSY:
                busy = True
                self._waiting.setdefault(key, write)
                continue
            try:
                write.settle(answer)
            except Exception:
                log.exception("settling the write of %s failed", key)
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE) if busy else 0.0
        self._room.set()
