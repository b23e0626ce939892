"""A transport that fails as networks, servers and processes do, by the numbers of a seeded generator.

    component --> FaultyTransport --> the pipeline of the API server that runs at that moment
                    |  calls: late, refused before, answered never though done, conflicts
                    |  watches: late (for everyone or one), standing still, in pieces, twice, cut off
                    '- Life: the process; one that was killed reaches nothing any more

``Faults.blur`` says how old what a controller acted on may have been at that moment: what invariants have to
forgive. It is measured from the very delays and interruptions made here, never guessed.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import orjson

from coxswain.api import errors
from coxswain.api.errors import ApiError
from coxswain.api.names import GVR
from coxswain.base import clock
from coxswain.client.interface import Answer, Answers, Backend, Call, RawList, UserInfo, WatchEvent

ADMIN = UserInfo("admin", ("system:masters", "system:authenticated"))
#: Who makes the call under way: the observer reads it when a write reaches the store.
ACTOR: ContextVar[str] = ContextVar("actor", default="?")
_READS = frozenset({"get", "list", "watch"})
#: Seconds for which a decision may still be carried out after what it was made from was delivered.
CARRIED_OUT = 15.0


@dataclass(slots=True)
class Life:
    """One process of a component. ``calls_left``: it dies just before or after that many more calls."""

    name: str
    dead: bool = False
    calls_left: int = -1
    on_death: Callable[[], None] = lambda: None

    def step(self) -> None:
        """A call begins or ends: it may be the last."""
        if self.calls_left > 0:
            self.calls_left -= 1
            if self.calls_left == 0:
                self.die()
        if self.dead:
            raise errors.ServiceUnavailable(f"{self.name} was killed")

    def die(self) -> None:
        """``kill -9``."""
        if not self.dead:
            self.dead = True
            self.on_death()


@dataclass
class Faults:
    """What goes wrong, and how often: probabilities a call or a batch of events. All zero is calm."""

    rng: random.Random
    refused: float = 0.0
    lost_answer: float = 0.0
    conflict: float = 0.0
    slow: float = 0.0
    late: float = 0.0
    cut: float = 0.0
    twice: float = 0.0
    #: Creations whose answers were lost, by the uid of the object's controller: what may be there twice.
    unsure: dict[str, int] = field(default_factory=dict)
    struck: dict[str, int] = field(default_factory=dict)
    #: Until when what a component sees of a resource stands still.
    _stalls: dict[tuple[str, GVR], float] = field(default_factory=dict)
    #: When each component that runs was started.
    _running: dict[str, float] = field(default_factory=dict)
    _behind: dict[tuple[int, Any], float] = field(default_factory=dict)
    _delivered: deque[tuple[float, float]] = field(default_factory=deque)

    @classmethod
    def of(cls, rng: random.Random) -> Faults:
        """A storm of some strength."""
        strength = rng.choice([0.0, 0.3, 1.0, 1.0, 2.0])
        scale = [strength * rng.choice([0.0, 1.0, 1.0, 2.0]) for _ in range(7)]
        base = (0.02, 0.01, 0.02, 0.02, 0.02, 0.003, 0.03)
        return cls(rng, *(each * chance for each, chance in zip(scale, base, strict=True)))

    def calm(self) -> None:
        """Nothing fails from now on."""
        self.refused = self.lost_answer = self.conflict = self.slow = 0.0
        self.late = self.cut = self.twice = 0.0
        self._stalls.clear()

    def stall(self, component: str, resource: GVR, seconds: float) -> None:
        """What ``component`` sees of ``resource`` stands still from now on; of all else it sees what is."""
        self._stalls[component, resource] = clock.monotonic() + seconds

    async def stalled(self, component: str, resource: GVR) -> None:
        """Wait while it does."""
        left = self._stalls.get((component, resource), 0.0) - clock.monotonic()
        if left > 0:
            await asyncio.sleep(left)

    def happens(self, kind: str) -> bool:
        """Whether the fault ``kind`` strikes now."""
        chance = getattr(self, kind)
        if not chance or self.rng.random() >= chance:
            return False
        self.struck[kind] = self.struck.get(kind, 0) + 1
        return True

    # -- how old the caches are

    def fall_behind(self, watch: tuple[int, Any]) -> None:
        """``watch`` shows the past from now on (held, cut, or its server is gone)."""
        self._behind.setdefault(watch, clock.monotonic())

    def catch_up(self, watch: tuple[int, Any]) -> None:
        """``watch`` shows the present again."""
        since = self._behind.pop(watch, None)
        if since is not None:
            now = clock.monotonic()
            self._delivered.append((now, now - since))

    def born(self, life: Life) -> None:
        """A process starts."""
        self._running[life.name] = clock.monotonic()

    def working(self, name: str) -> float:
        """For how many seconds a component has been running."""
        now = clock.monotonic()
        return now - self._running.get(name, now)

    def bury(self, life: Life) -> None:
        """The process is gone; what it did not see does not matter any more."""
        self._running.pop(life.name, None)
        for watch in [watch for watch in self._behind if watch[0] == id(life)]:
            del self._behind[watch]

    def blur(self) -> float:
        """How old (in seconds) what some controller acts on right now may be, at most."""
        now = clock.monotonic()
        while self._delivered and now - self._delivered[0][0] > 4 * CARRIED_OUT:
            self._delivered.popleft()
        late = max((age for _, age in self._delivered), default=0.0)
        held = max((now - since for since in self._behind.values()), default=0.0)
        return CARRIED_OUT + max(late, held)


class FaultyTransport:
    """A client's ``Transport`` for ``actor``; ``server`` gives the API server of the moment, or raises."""

    def __init__(self, server: Callable[[], Backend], actor: str, life: Life, faults: Faults) -> None:
        self._server = server
        self._actor = actor
        self._life = life
        self._faults = faults

    async def call(self, call: Call) -> Answer:
        token = ACTOR.set(self._actor)
        try:
            return await self._call(call)
        finally:
            ACTOR.reset(token)

    async def _call(self, call: Call, *, alone: bool = True) -> Answer:
        faults, writes = self._faults, call.verb not in _READS
        self._life.step()
        if alone:
            await self._travel()
        if faults.happens("refused"):
            kind = faults.rng.choice(
                [errors.ServiceUnavailable, errors.InternalError, errors.TooManyRequests]
            )
            return _answer(kind("injected refusal"))
        if call.verb in ("update", "patch") and faults.happens("conflict"):
            return _answer(errors.conflict(call.resource, call.name, errors.MODIFIED))
        answer = await self._server().call(call, ADMIN)
        if alone:
            await self._travel()
        if writes and faults.happens("lost_answer"):
            self._note_unsure(call, answer)
            raise errors.Timeout("injected lost answer")
        try:
            self._life.step()
        except ApiError:
            self._note_unsure(call, answer)
            raise
        return answer

    def _note_unsure(self, call: Call, answer: Answer) -> None:
        if call.verb == "create" and answer.code < 400 and answer.body:
            for reference in answer.object()["metadata"].get("ownerReferences") or ():
                uid = reference["uid"]
                self._faults.unsure[uid] = self._faults.unsure.get(uid, 0) + 1

    async def _travel(self) -> None:
        delay = self._faults.rng.random() * 0.004
        if self._faults.happens("slow"):
            delay = self._faults.rng.uniform(0.1, 2.0)
        await asyncio.sleep(delay)

    async def batch(self, calls: Sequence[Call]) -> Answers:
        """They travel together and in order; each may fail on its own."""

        async def one(call: Call) -> Answer:
            try:
                return await self._call(call, alone=False)
            except ApiError as error:
                return _answer(error)

        token = ACTOR.set(self._actor)
        try:
            await self._travel()
            answers = list(await asyncio.gather(*(one(call) for call in calls)))
            await self._travel()
            return answers
        finally:
            ACTOR.reset(token)

    async def list(self, call: Call) -> RawList:
        self._life.step()
        await self._travel()
        if self._faults.happens("refused"):
            raise errors.ServiceUnavailable("injected refusal")
        return await self._server().list_raw(call, ADMIN)

    @asynccontextmanager
    async def watch(self, call: Call) -> Any:
        self._life.step()
        key = (id(self._life), call.resource)
        self._faults.fall_behind(key)
        async with self._server().watch_events(call, ADMIN) as batches:
            yield self._events(batches, key, call.resource)

    async def _events(
        self, batches: AsyncIterator[Sequence[WatchEvent]], key: tuple[int, Any], resource: GVR
    ) -> AsyncIterator[Sequence[WatchEvent]]:
        faults = self._faults
        faults.catch_up(key)
        try:
            async for batch in batches:
                faults.fall_behind(key)
                await faults.stalled(self._life.name, resource)
                if faults.happens("late"):
                    await asyncio.sleep(faults.rng.choice([0.2, 1.0, 5.0]) * faults.rng.uniform(0.5, 1.5))
                else:
                    await asyncio.sleep(faults.rng.random() * 0.004)
                if self._life.dead or faults.happens("cut"):
                    raise errors.ServiceUnavailable("injected connection loss")
                if len(batch) > 1 and faults.happens("twice"):
                    cut = faults.rng.randrange(1, len(batch))
                    yield batch[:cut]
                    await asyncio.sleep(faults.rng.random() * 0.2)
                    batch = batch[cut:]
                yield [*batch, batch[-1]] if faults.happens("twice") and batch[-1].type != "ERROR" else batch
                faults.catch_up(key)
        finally:
            if not self._life.dead:
                faults.fall_behind(key)

    async def stream(self, call: Call) -> AsyncIterator[bytes]:
        return await self._server().stream(call, ADMIN)

    async def close(self) -> None:
        pass


def _answer(error: ApiError) -> Answer:
    return Answer(error.code, orjson.dumps(error.status()))
