"""Events live for an hour after they were last written, as in Kubernetes.

The store knows no lifetimes; it knows revisions. Once a minute the present revision is noted; what has not been
written since the note of an hour ago has expired, and no object need be decoded to find that out. After a
restart the notes begin anew, so events may live up to an hour longer.
"""

from __future__ import annotations

import logging
from collections import deque

from coxswain.apiserver.registry import Entry
from coxswain.apiserver.storage import Storage
from coxswain.base import clock
from coxswain.store.interface import CompareFailed, Op

log = logging.getLogger(__name__)

#: Seconds that events live, and how often they are looked through.
LIFETIME = 3600.0
INTERVAL = 60.0

_BATCH = 128


class Expiry:
    """Removes the objects of one resource that were not written for ``lifetime`` seconds."""

    def __init__(self, storage: Storage, entry: Entry, *, lifetime: float = LIFETIME) -> None:
        self._storage = storage
        self._entry = entry
        self._lifetime = lifetime
        self._notes: deque[tuple[float, int]] = deque()

    async def run(self) -> None:
        """Look through them regularly, until cancelled."""
        while True:
            await clock.sleep(INTERVAL)
            removed = await self.sweep()
            if removed:
                log.debug("%d %s have expired", removed, self._entry.gvr.resource)

    async def sweep(self) -> int:
        """Remove what has expired by now; how many that were."""
        now = clock.monotonic()
        self._notes.append((now, self._storage.revision))
        limit = 0
        while self._notes and self._notes[0][0] <= now - self._lifetime:
            limit = self._notes.popleft()[1]
        cache = self._entry.cache
        if not limit or cache is None:
            return 0
        expired = [item for item in cache.scan() if item.revision <= limit]
        removed = 0
        for start in range(0, len(expired), _BATCH):
            ops = [
                Op(self._entry.prefix + item.key, None, item.revision)
                for item in expired[start : start + _BATCH]
            ]
            try:
                await self._storage.commit_many(ops)
                removed += len(ops)
            except CompareFailed:
                # One of them was written just now: the others' turn comes with the next sweep.
                self._notes.appendleft((now - self._lifetime, limit))
        return removed
