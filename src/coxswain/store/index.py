"""What is where: every kept version of every key, in memory, without the values.

Both backends keep this index; a version's ``locator`` says where its value lies (the bytes themselves in
``memory``, a row in ``sqlite``). Comparing, listing and counting never touch the values.

    live[key]       the newest version of a key that exists
    history[key]    versions that were superseded but not compacted, oldest first; a tombstone marks a
                    deletion
    superseded      (revision at which a version lost its place, key), oldest first: what compaction pops

Invariants: versions of one key grow in revision; history holds exactly the versions that ``superseded``
names; a key is known while it is live or has history. Known keys are put in order when they are scanned, not
when they are written: writes are many, and lists are mostly answered by the caches above.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

L = TypeVar("L")


class Version(NamedTuple, Generic[L]):
    """One version of a key; ``created`` 0 marks a tombstone."""

    revision: int
    created: int
    locator: L


class RevisionIndex(Generic[L]):
    """The versions of all keys. Not thread-safe: the owner locks."""

    def __init__(self) -> None:
        self.live: dict[str, Version[L]] = {}
        self.history: dict[str, list[Version[L]]] = {}
        self._order: list[str] = []
        self._unordered: list[str] = []
        self._dropped = False
        self._superseded: deque[tuple[int, str]] = deque()

    def put(self, key: str, revision: int, created: int, locator: L) -> None:
        """``key`` has a new value at ``revision``."""
        before = self.live.get(key)
        if before is not None:
            self._retire(key, before, revision)
        elif not self._dropped and key not in self.history:
            self._unordered.append(key)
        self.live[key] = Version(revision, created, locator)

    def delete(self, key: str, revision: int, locator: L) -> None:
        """``key`` ceased to exist at ``revision``; it must be live. ``locator`` is the tombstone's own."""
        before = self.live.pop(key)
        self._retire(key, before, revision)
        self._retire(key, Version(revision, 0, locator), revision)

    def _retire(self, key: str, version: Version[L], at: int) -> None:
        versions = self.history.get(key)
        if versions is None:
            self.history[key] = [version]
        else:
            versions.append(version)
        self._superseded.append((at, key))

    def at(self, key: str, revision: int) -> Version[L] | None:
        """The version of ``key`` that was current at ``revision`` (0: now); None where there was none."""
        newest = self.live.get(key)
        if newest is not None and (revision == 0 or newest.revision <= revision):
            return newest
        if revision == 0:
            return None
        for version in reversed(self.history.get(key, ())):
            if version.revision <= revision:
                return version if version.created else None
        return None

    def scan(self, prefix: str, after: str, revision: int) -> Iterator[tuple[str, Version[L]]]:
        """(key, version) of all keys with ``prefix`` behind ``after`` as of ``revision`` (0: now)."""
        keys = self._ordered()
        first = bisect_right(keys, after) if after >= prefix else bisect_left(keys, prefix)
        for position in range(first, len(keys)):
            key = keys[position]
            if not key.startswith(prefix):
                return
            version = self.at(key, revision)
            if version is not None:
                yield key, version

    def _ordered(self) -> list[str]:
        """All known keys in order; cheap when nothing was created since the last time."""
        if self._dropped:
            self._order = sorted(self.live.keys() | self.history.keys())
        elif self._unordered:
            self._order.extend(sorted(self._unordered))
            self._order.sort()  # two ordered runs: merged in one pass
        self._unordered.clear()
        self._dropped = False
        return self._order

    def compact(self, revision: int) -> list[L]:
        """Forget what was superseded at or before ``revision``; the locators of what was forgotten."""
        freed: list[L] = []
        gone: dict[str, int] = {}
        while self._superseded and self._superseded[0][0] <= revision:
            key = self._superseded.popleft()[1]
            position = gone.get(key, 0)
            freed.append(self.history[key][position].locator)
            gone[key] = position + 1
        for key, count in gone.items():
            versions = self.history[key]
            if count < len(versions):
                del versions[:count]
            else:
                del self.history[key]
                self._dropped = self._dropped or key not in self.live
        if self._dropped:
            # The next scan orders all keys anew. There may be none for days, so nothing is kept for it.
            self._order = []
            self._unordered.clear()
        return freed

    def __len__(self) -> int:
        """Versions kept, tombstones included."""
        return len(self.live) + len(self._superseded)
