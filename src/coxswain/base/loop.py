"""The virtual-time event loop: five minutes pass in milliseconds, and a seed replays a history.

    ready callbacks? --yes--> run them (time stands still)
          | no
    timers?  --yes--> jump the clock to the earliest one
          | no
    nothing can ever happen again -> Deadlock, naming the tasks that wait

Guarantees:
- ``loop.time()`` moves only by jumps to the next timer; code between two awaits takes no time.
- Callbacks run in the order in which they were scheduled; timers that are due at one instant too.
- ``run_in_executor`` runs the function at once, on the loop's thread, so its order is fixed as well.
- ``run`` makes ``loop.clock``, with the generator of the seed, the clock that ``base.clock`` hands out.
Real sockets, subprocesses and signals do not belong on this loop: a wait for one is a Deadlock.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from coxswain.base import clock
from coxswain.base.errors import CoxswainError

T = TypeVar("T")

#: Where virtual time starts unless told otherwise: 2026-01-01T00:00:00Z.
EPOCH = 1_767_225_600.0


class Deadlock(CoxswainError):
    """No callback is ready and no timer is set: the run can never go on."""


class _VirtualClock:
    def __init__(self, loop: VirtualTimeLoop, epoch: float, seed: int) -> None:
        self._loop = loop
        self._epoch = epoch
        self.rng = random.Random(seed)

    def now(self) -> float:
        return self._epoch + self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()

    def set_forward(self, seconds: float) -> None:
        """Set the wall clock forward (or back), as an administrator might; ``monotonic`` goes on as before."""
        self._epoch += seconds


class _JumpingSelector(selectors.SelectSelector):
    """A selector that never waits: it moves its loop's clock by the time-out instead."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            waiting = sorted(task.get_name() for task in asyncio.all_tasks(self.loop))
            raise Deadlock(f"virtual time stands still for ever; waiting: {', '.join(waiting) or 'no task'}")
        self.loop.advance(timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time. Use it through ``run``."""

    def __init__(self, seed: int = 0, epoch: float = EPOCH) -> None:
        self._now = 0.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)
        self.clock = _VirtualClock(self, epoch, seed)
        # Coarser than a float at a year of virtual time, finer than anything a component waits for.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock forward; called by the selector when nothing is ready."""
        if seconds > 0:
            self._now += seconds

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def run(main: Coroutine[Any, Any, T], *, seed: int = 0, epoch: float = EPOCH) -> T:
    """Run ``main`` on a fresh virtual-time loop and return what it returns.

    Tasks that ``main`` leaves behind are cancelled, as ``asyncio.run`` does. ``seed`` fixes every number
    drawn from ``clock.random()``; ``epoch`` (seconds) is the wall time at the start.
    """
    loop = VirtualTimeLoop(seed, epoch)
    context = contextvars.copy_context()
    context.run(clock.use, loop.clock)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main, context=context)
