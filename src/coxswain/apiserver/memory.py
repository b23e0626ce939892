"""Gives memory of long answers back to the system.

Long lists are built and freed by the hundred; glibc keeps what they took in a heap full of holes, which after a
minute of heavy load is several times what is in use. ``malloc_trim`` returns it; the interpreter runs on meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
from collections.abc import Callable


def _trimmer() -> Callable[[int], int] | None:
    with contextlib.suppress(OSError, AttributeError):
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
        return trim
    return None


class Returns:
    """Counts bytes of long answers, and gives memory back after so many, not more often than so."""

    def __init__(self, after_bytes: int, interval: float) -> None:
        """``interval`` is in seconds. Where the C library cannot do it, nothing is done."""
        self._after = after_bytes
        self._interval = interval
        self._bytes = 0
        self._next = 0.0
        self._trim = _trimmer()

    def count(self, size: int) -> None:
        """An answer of ``size`` bytes is gone."""
        self._bytes += size
        if self._bytes < self._after or self._trim is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next:
            self._bytes, self._next = 0, loop.time() + self._interval
            loop.run_in_executor(None, self._trim, 0)
