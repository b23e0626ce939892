"""Python's cyclic garbage collector, kept calm where a process holds hundreds of thousands of objects.

A full collection walks every object; with a hundred thousand cached ones that is a pause of a second, for cycles
that hardly occur. What lives for ever is therefore left out (``gc.freeze``), in processes that ask for it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: Seldom: what tells a calm process.
_CALM = (50_000, 20, 100)


def calm() -> None:
    """Keep what is there out of collections, and collect seldom. Call it once the process is up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_CALM)


@contextmanager
def making_many(*, to_keep: bool) -> Iterator[None]:
    """No collection while many objects are made; in a calm process, those ``to_keep`` are left out for ever."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if to_keep and gc.get_threshold() == _CALM:
            gc.freeze()
        if was_enabled:
            gc.enable()
