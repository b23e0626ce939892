"""Writes what quotas are charged: one namespace after the other, all its waiting requests in one update.

    charge(request) --> queue of the namespace --> settle: judge each on the newest quotas, as changed by those
                                                           before it --> one write a changed quota --> answers

Every write names the revision that was judged. When somebody else (another server, the controller) was faster, what
is not yet charged is judged again on the newer quota, so that the limits hold whoever writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from coxswain.api import errors
from coxswain.api.names import Object
from coxswain.api.quota.pods import Usage
from coxswain.apiserver.admission.quota.evaluate import QUOTAS, charged
from coxswain.apiserver.lookup import Lookup
from coxswain.base.tasks import cancel_and_wait
from coxswain.store.interface import CompareFailed

Judge = Callable[[Iterable[Object]], dict[str, Usage]]
#: Writes a quota if it is still at the revision; raises ``CompareFailed``.
Write = Callable[[Object, int], Awaitable[None]]
#: Waits until the lookup shows all that was written.
CatchUp = Callable[[], Awaitable[None]]

_ATTEMPTS = 50


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request that waits for its charge. ``charged`` are the quotas that have it already."""

    judge: Judge
    answer: asyncio.Future[None]
    charged: set[str] = field(default_factory=set)
    wanted: set[str] = field(default_factory=set)


class Ledger:
    """See the module's text."""

    def __init__(self, lookup: Lookup, write: Write, catch_up: CatchUp) -> None:
        self._lookup = lookup
        self._write = write
        self._catch_up = catch_up
        self._waiting: dict[str, list[_Waiting]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def charge(self, namespace: str, judge: Judge) -> None:
        """Charge what ``judge`` says of the namespace's newest quotas. Raises what it raises, or ``Conflict``."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(judge, loop.create_future())
        self._waiting.setdefault(namespace, []).append(waiting)
        if namespace not in self._tasks:
            self._tasks[namespace] = loop.create_task(self._settle(namespace))
        await waiting.answer

    async def close(self) -> None:
        """Answer nobody any more. Idempotent."""
        for task in list(self._tasks.values()):
            await cancel_and_wait(task)

    async def _settle(self, namespace: str) -> None:
        try:
            while batch := self._waiting.pop(namespace, None):
                try:
                    await self._settle_batch(namespace, batch)
                except Exception as error:
                    for waiting in batch:
                        _refuse(waiting, error)
        finally:
            del self._tasks[namespace]
            for waiting in self._waiting.pop(namespace, ()):
                waiting.answer.cancel()

    async def _settle_batch(self, namespace: str, batch: list[_Waiting]) -> None:
        name = ""
        for _ in range(_ATTEMPTS):
            quotas = {quota["metadata"]["name"]: quota for quota in self._lookup.list(QUOTAS, namespace)}
            changed = _judge_all(batch, quotas)
            failed = await self._write_all(changed)
            for waiting in batch:
                waiting.charged |= waiting.wanted - failed
                if not waiting.wanted & failed and not waiting.answer.done():
                    waiting.answer.set_result(None)
            batch[:] = [waiting for waiting in batch if not waiting.answer.done()]
            if not batch:
                return
            name = next(iter(failed))
            await self._catch_up()
        raise errors.conflict(QUOTAS, name, errors.MODIFIED)

    async def _write_all(self, changed: dict[str, Object]) -> set[str]:
        """Write the quotas; the names of those that somebody else had changed meanwhile."""
        failed: set[str] = set()
        for name, quota in changed.items():
            metadata = dict(quota["metadata"])
            revision = int(metadata.pop("resourceVersion"))
            try:
                await self._write({**quota, "metadata": metadata}, revision)
            except CompareFailed:
                failed.add(name)
        return failed


def _judge_all(batch: list[_Waiting], quotas: dict[str, Object]) -> dict[str, Object]:
    """The quotas with everybody's charges, where those change them; who is refused is told."""
    changed: dict[str, Object] = {}
    for waiting in batch:
        waiting.wanted = set()
        if waiting.answer.done():
            continue
        try:
            added = waiting.judge([quota for name, quota in quotas.items() if name not in waiting.charged])
        except errors.ApiError as refusal:
            waiting.answer.set_exception(refusal)
            continue
        waiting.wanted = set(added)
        for name, usage in added.items():
            quotas[name] = changed[name] = charged(quotas[name], usage)
    return changed


def _refuse(waiting: _Waiting, error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
