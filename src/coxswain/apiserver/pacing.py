"""Lets heavy work begin a little at a time, so that what is light is served in between.

The loop does all that is ready before it looks at the sockets again: twenty lists of 35 MB in one turn would
keep a health check waiting for a second. Here at most about ``budget`` bytes of lists begin in a turn of the loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Pacer:
    """See the module's text. Work begins in the order in which it came."""

    def __init__(self, loop: asyncio.AbstractEventLoop, budget: int) -> None:
        self._loop = loop
        self._budget = budget
        self._spent = 0
        self._waiting: deque[tuple[int, Callable[[], object]]] = deque()

    def submit(self, size: int, begin: Callable[[], object]) -> None:
        """Call ``begin`` now or in a later turn; ``size`` is in bytes."""
        if self._waiting or self._spent >= self._budget:
            self._waiting.append((size, begin))
            return
        if not self._spent:
            self._loop.call_soon(self._turn)
        self._spent += size
        begin()

    def _turn(self) -> None:
        self._spent = 0
        while self._waiting and self._spent < self._budget:
            size, begin = self._waiting.popleft()
            self._spent += size
            begin()
        if self._spent:
            self._loop.call_soon(self._turn)
