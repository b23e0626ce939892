"""Work queues with client-go's semantics (``util/workqueue``).

    add(key) --> [ready, in order] --get()--> [processing] --done(key)--> gone, or ready again if it was
                                                                        added while being processed

Guarantees:
- A key is handed to one worker at a time, and a key added many times before it is taken is taken once.
- A key added while it is processed is taken again after ``done``: no change is missed.
- Keys are taken in the order in which they were added.
- After ``shut_down`` nothing is accepted; ``get`` hands out what is left and then raises ``ShutDown``.

``RateLimitingQueue`` adds delays: ``add_after`` waits on the loop's clock (the earliest wish for a key
wins), ``add_rate_limited`` waits as long as its limiter says, ``forget`` ends the key's count of failures.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

from coxswain.base import clock, metrics

T = TypeVar("T", bound=Hashable)
T_contra = TypeVar("T_contra", bound=Hashable, contravariant=True)

_DEPTH = metrics.gauge("workqueue_depth", "Current depth of the workqueue", ("name",))
_ADDS = metrics.counter("workqueue_adds", "Adds handled by the workqueue", ("name",))
_RETRIES = metrics.counter("workqueue_retries", "Retries handled by the workqueue", ("name",))
_WAIT = metrics.histogram(
    "workqueue_queue_duration_seconds", "Seconds an item waits in the workqueue", ("name",)
)
_WORK = metrics.histogram(
    "workqueue_work_duration_seconds", "Seconds that processing an item takes", ("name",)
)
_UNFINISHED = metrics.gauge(
    "workqueue_unfinished_work_seconds", "Seconds of work in progress, summed over its items", ("name",)
)
_LONGEST = metrics.gauge(
    "workqueue_longest_running_processor_seconds",
    "Seconds for which the oldest item is being processed",
    ("name",),
)


class ShutDown(Exception):
    """The queue was shut down and is empty: the worker should end."""


class WorkQueue(Generic[T]):
    """A deduplicating queue of keys; see the module's text. ``name`` labels its metrics."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._ready: deque[T] = deque()
        self._dirty: dict[T, float] = {}
        self._processing: dict[T, float] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self.shutting_down = False
        self._adds = _ADDS.labels(name) if name else None
        self._wait = _WAIT.labels(name) if name else None
        self._work = _WORK.labels(name) if name else None
        if name:
            metrics.follow(_DEPTH.labels(name), self.__len__)
            metrics.follow(_UNFINISHED.labels(name), self._unfinished)
            metrics.follow(_LONGEST.labels(name), self._longest)

    def __len__(self) -> int:
        """Keys that wait to be taken."""
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is processed (delayed keys do not count)."""
        return not self._dirty and not self._processing

    def add(self, item: T) -> None:
        """Mark ``item`` as needing work."""
        if self.shutting_down or item in self._dirty:
            return
        self._dirty[item] = clock.monotonic()
        self._idle.clear()
        if self._adds is not None:
            self._adds.inc()
        if item not in self._processing:
            self._ready.append(item)
            self._wake_one()

    async def get(self) -> T:
        """The next key, as soon as there is one; the caller must call ``done``. Raises ``ShutDown``."""
        while not self._ready:
            if self.shutting_down:
                raise ShutDown
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()  # the wake-up was meant for a worker that lives
                elif waiter in self._waiters:  # a wake-up at this instant passed it over and dropped it
                    self._waiters.remove(waiter)
                raise
        return self._take()

    def get_nowait(self) -> T | None:
        """The next key, or None when none is ready."""
        return self._take() if self._ready else None

    def done(self, item: T) -> None:
        """``item`` was processed; it is taken again if it was added meanwhile."""
        started = self._processing.pop(item)
        if self._work is not None:
            self._work.observe(clock.monotonic() - started)
        if item in self._dirty:
            self._ready.append(item)
            self._wake_one()
        elif self.idle:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Return when nothing waits and nothing is processed."""
        await self._idle.wait()

    def shut_down(self) -> None:
        """Accept nothing more and let workers end once the queue is empty."""
        self.shutting_down = True
        while self._waiters:
            self._wake_one()

    def _unfinished(self) -> float:
        now = clock.monotonic() if self._processing else 0.0
        return sum(now - started for started in self._processing.values())

    def _longest(self) -> float:
        return clock.monotonic() - min(self._processing.values()) if self._processing else 0.0

    def _take(self) -> T:
        item = self._ready.popleft()
        now = clock.monotonic()
        added = self._dirty.pop(item)
        if self._wait is not None:
            self._wait.observe(now - added)
        self._processing[item] = now
        return item

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


class RateLimiter(Protocol[T_contra]):
    """Says how long a key should wait before it is tried again."""

    def when(self, item: T_contra) -> float:
        """Seconds from now; counts one more failure of ``item``."""
        ...

    def forget(self, item: T_contra) -> None: ...

    def failures(self, item: T_contra) -> int: ...


class ExponentialLimiter(Generic[T]):
    """``base * 2**failures`` seconds for each key on its own, up to ``ceiling``."""

    def __init__(self, base: float = 0.005, ceiling: float = 1000.0) -> None:
        self._base = base
        self._ceiling = ceiling
        self._failures: dict[T, int] = {}

    def when(self, item: T) -> float:
        failures = self._failures.get(item, 0)
        self._failures[item] = failures + 1
        return min(self._ceiling, self._base * 2.0 ** min(failures, 64))

    def forget(self, item: T) -> None:
        self._failures.pop(item, None)

    def failures(self, item: T) -> int:
        return self._failures.get(item, 0)


class TokenBucket:
    """``rate`` tokens a second, ``burst`` at most. The clock is the loop's."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._last: float | None = None

    def reserve(self) -> float:
        """Take a token, now or in the future; how many seconds to wait for it."""
        self._refill()
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def try_take(self) -> bool:
        """Take a token if there is one."""
        self._refill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _refill(self) -> None:
        now = clock.monotonic()
        if self._last is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._last) * self._rate)
        self._last = now


class DefaultLimiter(ExponentialLimiter[T]):
    """The controllers' default: each key exponentially, all together at most ``rate`` a second."""

    def __init__(
        self, base: float = 0.005, ceiling: float = 1000.0, rate: float = 10.0, burst: float = 100.0
    ) -> None:
        super().__init__(base, ceiling)
        self._bucket = TokenBucket(rate, burst)

    def when(self, item: T) -> float:
        return max(super().when(item), self._bucket.reserve())


class RateLimitingQueue(WorkQueue[T]):
    """A ``WorkQueue`` whose keys can be added later."""

    def __init__(self, name: str = "", limiter: RateLimiter[T] | None = None) -> None:
        super().__init__(name)
        self._limiter: RateLimiter[T] = limiter or DefaultLimiter()
        self._timers: dict[T, asyncio.TimerHandle] = {}
        self._retries = _RETRIES.labels(name) if name else None

    def add_after(self, item: T, seconds: float) -> None:
        """Add ``item`` in ``seconds``; of several wishes the earliest counts."""
        if self.shutting_down:
            return
        if seconds <= 0:
            self.add(item)
            return
        loop = asyncio.get_running_loop()
        waiting = self._timers.get(item)
        if waiting is not None:
            if waiting.when() <= loop.time() + seconds:
                return
            waiting.cancel()
        self._timers[item] = loop.call_later(seconds, self._due, item)

    def add_rate_limited(self, item: T) -> None:
        """Add ``item`` again after a failure, when the limiter allows it."""
        if self._retries is not None:
            self._retries.inc()
        self.add_after(item, self._limiter.when(item))

    def forget(self, item: T) -> None:
        """``item`` succeeded (or is given up): its failures no longer count."""
        self._limiter.forget(item)

    def failures(self, item: T) -> int:
        """How often ``item`` was added by ``add_rate_limited`` since it was forgotten."""
        return self._limiter.failures(item)

    @property
    def delayed(self) -> int:
        """Keys that wait for their time."""
        return len(self._timers)

    def shut_down(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        super().shut_down()

    def _due(self, item: T) -> None:
        self._timers.pop(item, None)
        self.add(item)
