"""Time and chance: the machine's, or those of a virtual run.

Component code never calls ``time``, ``random`` or ``datetime.now``: it asks this module. Under uvloop or
asyncio that is the real clock and a randomly seeded generator; in what ``base.loop.run`` runs it is virtual
time and the generator of the seed. So one code runs in production, in tests and in simulation, and a seed
replays a history.

    clock.now()         seconds since the epoch (wall)         -> creationTimestamp, lease renewals
    clock.monotonic()   seconds that never go back             -> time-outs, back-off, latencies
    clock.timestamp()   "2026-11-21T02:34:30Z"                 -> metav1.Time
    clock.micro_timestamp()  "2026-11-21T02:34:30.123456Z"     -> metav1.MicroTime
    clock.random()      the random.Random of this run          -> jitter, name suffixes
    await clock.sleep(s)
"""

from __future__ import annotations

import asyncio
import math
import random as _random
import time as _time
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """Time and chance of one kind; ``VirtualTimeLoop.clock`` is the other implementation."""

    rng: _random.Random

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; the loop's own ``time()``."""
        ...


class RealClock:
    """The machine's clocks and a generator seeded by the operating system."""

    def __init__(self) -> None:
        self.rng = _random.Random()

    def now(self) -> float:
        return _time.time()

    def monotonic(self) -> float:
        return _time.monotonic()


REAL: Clock = RealClock()


# A context variable, not an attribute of the running loop: to ask for the loop is a system call each time.
_CURRENT: ContextVar[Clock] = ContextVar("clock", default=REAL)

#: The clock of this context: virtual in what ``base.loop.run`` runs, else the real one.
current = _CURRENT.get


def use(clock: Clock) -> None:
    """Let ``clock`` be the clock of this context and of the tasks that start in it."""
    _CURRENT.set(clock)


def now() -> float:
    """Wall-clock seconds since the epoch."""
    return current().now()


def monotonic() -> float:
    """Seconds that never go back; only differences mean something."""
    return current().monotonic()


def random() -> _random.Random:
    """The random generator of this run: seeded in tests and simulation."""
    return current().rng


async def sleep(seconds: float) -> None:
    """Sleep on the running loop's clock."""
    await asyncio.sleep(seconds)


def format_time(seconds: float) -> str:
    """metav1.Time of ``seconds`` since the epoch: RFC 3339, UTC, whole seconds (floored)."""
    return _format_second(int(seconds // 1))


@lru_cache(maxsize=64)
def _format_second(second: int) -> str:
    # Thousands of objects are stamped with the same second; formatting costs more than the rest of it.
    return _time.strftime("%Y-%m-%dT%H:%M:%SZ", _time.gmtime(second))


def format_micro_time(seconds: float) -> str:
    """metav1.MicroTime of ``seconds`` since the epoch: RFC 3339, UTC, six decimals."""
    fraction, whole = math.modf(seconds)
    micros = round(fraction * 1e6)
    if micros < 0 or micros == 1_000_000:  # before the epoch, or rounded up to the next second
        step = 1 if micros > 0 else -1
        whole, micros = whole + step, micros - step * 1_000_000
    return f"{_format_second(int(whole))[:-1]}.{micros:06d}Z"


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time (Time or MicroTime). Raises ``ValueError``."""
    return datetime.fromisoformat(text).timestamp()


def timestamp() -> str:
    """Now, as metav1.Time."""
    return _format_second(int(current().now() // 1))


def micro_timestamp() -> str:
    """Now, as metav1.MicroTime."""
    return format_micro_time(now())
