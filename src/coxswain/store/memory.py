"""The store without a disk: for tests, simulation and API servers that may forget.

It keeps the whole contract except durability: what it held is gone with the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from coxswain.store.hub import WatchHub
from coxswain.store.index import RevisionIndex
from coxswain.store.interface import (
    ANY,
    Change,
    Compacted,
    CompareFailed,
    Entry,
    Op,
    Page,
    StoreClosed,
    StoreError,
    Watch,
)


class MemoryStore:
    """A ``Store`` in memory."""

    def __init__(self, *, max_watch_changes: int = 100_000) -> None:
        """``max_watch_changes``: how far a watcher may fall behind before it is cut off."""
        self._index: RevisionIndex[bytes] = RevisionIndex()
        # Changes since the last compaction, oldest first: what a watch from the past replays.
        self._log: list[Change] = []
        self._hub = WatchHub(max_watch_changes)
        self._revision = 0
        self._compacted = 0
        self._closed = False

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def oldest(self) -> int:
        return self._compacted

    @property
    def shared(self) -> bool:
        return False

    @property
    def problem(self) -> str:
        return "the store was closed" if self._closed else ""

    async def newest(self) -> int:
        return self.revision

    async def get(self, key: str) -> Entry | None:
        self._check_open()
        return self._entry(key)

    def _entry(self, key: str) -> Entry | None:
        version = self._index.live.get(key)
        if version is None:
            return None
        return Entry(key, version.locator, version.created, version.revision)

    async def list(self, prefix: str, *, revision: int = 0, limit: int = 0, after: str = "") -> Page:
        self._check_open()
        check_revision(revision, self._compacted, self._revision)
        entries: list[Entry] = []
        remaining = 0
        for key, version in self._index.scan(prefix, after, revision):
            if limit and len(entries) >= limit:
                remaining += 1
            else:
                entries.append(Entry(key, version.locator, version.created, version.revision))
        return Page(entries, revision or self._revision, remaining)

    async def commit(self, ops: Sequence[Op]) -> int:
        self._check_open()
        check_keys(ops)
        before = [self._entry(op.key) for op in ops]
        for position, (op, current) in enumerate(zip(ops, before, strict=True)):
            if op.expect != ANY and op.expect != (current.modified if current else 0):
                raise CompareFailed(position, op.key, op.expect, current)
        revision = self._revision + 1
        changes: list[Change] = []
        for op, current in zip(ops, before, strict=True):
            created = current.created if current else revision
            if op.value is not None:
                self._index.put(op.key, revision, created, op.value)
            elif current is not None:
                self._index.delete(op.key, revision, b"")
            else:
                continue
            changes.append(Change(op.key, op.value, revision, created, current.modified if current else 0))
        if changes:
            self._revision = revision
            self._log.extend(changes)
            self._hub.publish(changes)
        return self._revision

    async def commit_each(self, ops: Sequence[Op]) -> Sequence[int | Exception]:
        outcomes: list[int | Exception] = []
        for op in ops:
            try:
                outcomes.append(await self.commit((op,)))
            except StoreError as error:
                outcomes.append(error)
        return outcomes

    def watch(self, prefix: str, revision: int) -> Watch:
        self._check_open()
        if revision < self._compacted:
            raise Compacted(revision, self._compacted)
        past: list[list[Change]] = []
        for change in self._log:
            if change.revision > revision and change.key.startswith(prefix):
                if past and past[-1][0].revision == change.revision:
                    past[-1].append(change)
                else:
                    past.append([change])

        async def replay() -> list[list[Change]]:
            return past

        return self._hub.add(prefix, replay if past else None, revision)

    async def compact(self, revision: int) -> None:
        self._check_open()
        check_revision(revision, 0, self._revision)
        if revision > self._compacted:
            self._compacted = revision
            self._index.compact(revision)
            self._log = [change for change in self._log if change.revision > revision]

    async def close(self) -> None:
        self._closed = True
        self._hub.close("the store was closed")

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the store was closed")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def check_revision(revision: int, oldest: int, newest: int) -> None:
    """Refuse a revision that is compacted (``Compacted``) or not yet there (``ValueError``); 0 means now."""
    if revision and revision < oldest:
        raise Compacted(revision, oldest)
    if revision > newest:
        raise ValueError(f"revision {revision} is in the future; the newest is {newest}")


def check_keys(ops: Sequence[Op]) -> None:
    """Refuse a commit that names a key twice (``ValueError``): which op would win is nobody's guess."""
    if len(ops) > 1 and len({op.key for op in ops}) < len(ops):
        raise ValueError("a commit may name each key only once")
