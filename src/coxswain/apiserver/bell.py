"""Tells watchers that something waits for them: all of them in one go, and not more often than is cheap.

    add(wake) --> [who was told nothing yet] --> ring: every wake() once
                       ^                           |
                       '---- pause: as long as the last round took, within bounds

What a watcher is told costs the same whether one event waits for it or ten: most of it is a TLS record and a system
call. So while a round takes no time worth speaking of, the next one begins with the next turn of the loop. With a
thousand watchers a round takes milliseconds, and what happens within the next ones goes out together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

#: Rounds shorter than this (seconds) are followed by no pause.
_CHEAP = 0.002
#: The pause in lengths of the last round: this leaves the loop most of its time.
_PAUSES_PER_ROUND = 2.0
_LONGEST_PAUSE = 0.1


class Bell:
    """See the module's text. One for each resource."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self._pause = 0.0

    def add(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once, soon."""
        self._waiting.append(wake)
        if len(self._waiting) == 1:
            loop = asyncio.get_running_loop()
            if self._pause:
                loop.call_later(self._pause, self._ring, loop)
            else:
                loop.call_soon(self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, self._waiting = self._waiting, []
        began = loop.time()
        for wake in waiting:
            try:
                wake()
            except Exception:
                log.exception("a watcher could not be told")
        took = loop.time() - began
        self._pause = min(took * _PAUSES_PER_ROUND, _LONGEST_PAUSE) if took > _CHEAP else 0.0
