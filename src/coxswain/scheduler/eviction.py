"""What follows a preemption, beside the scheduling of other pods: victims get their condition and are deleted.

    start(preemptor, candidate) -> conditions (one batch) -> deletions (one batch) -> events; or: it failed

While it runs the preemptor is ``busy`` and not tried. Victims that Permit holds are turned away instead. Pods of
lower priority nominated to the node lose their nomination at once: they may no longer fit there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from coxswain.api.errors import ApiError
from coxswain.base import clock
from coxswain.client.interface import Answer, Call, Client
from coxswain.scheduler import metrics, writes
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.preemption import Candidate

log = logging.getLogger(__name__)
_GONE = 404
#: Seconds between tries while the API server is away, and how often.
_PAUSE, _TRIES = 1.0, 5
_BUSY = (429, 500, 503, 504)


class Evicted(Protocol):
    """Whom to tell that a pod was preempted."""

    def __call__(self, victim: Pod, preemptor: Pod, node_name: str) -> None: ...


class Evictor:
    """See the module's text."""

    def __init__(
        self,
        client: Client,
        *,
        reject_waiting: Callable[[Pod], bool],
        evicted: Evicted,
        finished: Callable[[Pod, Candidate, bool], None],
    ) -> None:
        """``finished(preemptor, candidate, good)`` is called when the last deletion was answered."""
        self._client = client
        self._reject_waiting = reject_waiting
        self._evicted = evicted
        self._finished = finished
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def busy(self, pod: Pod) -> bool:
        """Whether victims of ``pod`` are being removed."""
        return pod.uid in self._tasks

    def start(self, preemptor: Pod, candidate: Candidate) -> None:
        """Remove the victims that are not ending yet."""
        metrics.PREEMPTION_ATTEMPTS.inc()
        metrics.PREEMPTION_VICTIMS.observe(len(candidate.victims))
        victims = []
        for victim in candidate.victims:
            victim.preempted = True
            if self._reject_waiting(victim):
                self._evicted(victim, preemptor, candidate.node_name)
            elif not victim.deleting:
                victims.append(victim)
        if victims:
            task = asyncio.ensure_future(self._evict(preemptor, candidate, victims))
            self._tasks[preemptor.uid] = task

    async def close(self) -> None:
        """Stop; who was not deleted yet stays."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _evict(self, preemptor: Pod, candidate: Candidate, victims: Sequence[Pod]) -> None:
        good = False
        try:
            condition = writes.disruption_target(preemptor.scheduler_name, clock.timestamp())
            told = await self._all([writes.status_patch(one, {"conditions": [condition]}) for one in victims])
            gone = [answer.code == _GONE for answer in told]
            left = [victim for victim, away in zip(victims, gone, strict=True) if not away]
            good = all(answer.code < 300 or answer.code == _GONE for answer in told)
            if good:
                answers = await self._all([writes.deletion(victim) for victim in left])
                for victim, answer in zip(left, answers, strict=True):
                    if answer.code < 300:
                        self._evicted(victim, preemptor, candidate.node_name)
                    elif answer.code not in (_GONE, 409):
                        good = False
                        log.warning("preempting %s: %s", victim.key, writes.message_of(answer))
        except ApiError as error:
            log.warning("preempting pods for %s failed: %s", preemptor.key, error)
        finally:
            self._tasks.pop(preemptor.uid, None)
            if not good:
                for victim in victims:
                    victim.preempted = False
            self._finished(preemptor, candidate, good)

    async def _all(self, calls: list[Call]) -> list[Answer]:
        """All answers; calls that find the server busy are sent again."""
        answers = await self._client.batch(calls)
        for _ in range(_TRIES):
            again = [i for i, answer in enumerate(answers) if answer.code in _BUSY]
            if not again:
                break
            await clock.sleep(_PAUSE)
            for i, answer in zip(again, await self._client.batch([calls[i] for i in again]), strict=True):
                answers[i] = answer
        return answers
