"""The durable embedded store: SQLite as an append-only log, one writer thread, group commit.

    commit() --queue--> writer thread: take all that wait -> compare -> INSERT ... -> COMMIT (fsync)
                                                     -> index -> acknowledge on the loop, tell the hub
    get/list --index (memory)--> rows by id, on a reader thread with its own connection

- One table ``log``, one row a change, ``id = revision << 16 | position in the commit``; rows are only ever
  appended (sequential inserts) and, by compaction, removed. What is newest is known from the index.
- WAL with ``synchronous=FULL``: a commit is acknowledged after its fsync. ``NORMAL`` would lose acknowledged
  commits on power loss.
- Many commits share one transaction (a group); each is still atomic and compared on its own.
- A full disk fails the commits of that group with ``StoreFull``, changes nothing, and later commits may
  succeed again. Any other write error is final (``StoreClosed``): after a failed fsync nothing is certain.
- At the start: a lock (one process at a time), ``PRAGMA quick_check``, then the index is read from the log.
- Compaction first makes the new oldest revision durable, then removes rows in slices between commits, then
  gives pages back by incremental vacuum. Interrupted, it goes on at the next start.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

from coxswain.base.errors import ResourceUnavailable
from coxswain.store.hub import WatchHub
from coxswain.store.index import RevisionIndex
from coxswain.store.interface import Change, Compacted, Entry, Op, Page, StoreClosed, Watch
from coxswain.store.memory import check_keys, check_revision
from coxswain.store.sqlite_file import (
    MAX_OPS,
    OPS_BITS,
    SqliteSettings,
    connect,
    create_private,
    lock,
    read_changes,
)
from coxswain.store.sqlite_writer import Commit, Compaction, Each, Outcomes, Signal, Writer


class SqliteStore:
    """A ``Store`` in one SQLite file. Make it with ``open``; use it from one event loop."""

    def __init__(
        self,
        path: Path,
        settings: SqliteSettings,
        lock_fd: int,
        reader: sqlite3.Connection,
        writer: sqlite3.Connection,
    ) -> None:
        self._settings = settings
        self._lock_fd = lock_fd
        self._loop = asyncio.get_running_loop()
        self._index: RevisionIndex[int] = RevisionIndex()
        self._hub = WatchHub(settings.max_watch_changes)
        self._acknowledged = 0
        self._queued_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._ended = asyncio.Event()
        self._failure: str | None = None
        self._readers = ThreadPoolExecutor(1, "store-reader")
        self._reader = reader
        self._writer = Writer(path, settings, writer, self._index, self._acknowledge, self._writer_ended)

    @classmethod
    async def open(cls, path: str | os.PathLike[str], settings: SqliteSettings | None = None) -> SqliteStore:
        """Open (or create, mode 0600) the store at ``path``.

        Raises ``ResourceUnavailable`` when another process has it, when it is damaged, or when its
        directory cannot be written.
        """
        file = Path(path)
        settings = settings or SqliteSettings()
        with ExitStack() as undo:
            lock_fd = lock(file)
            undo.callback(os.close, lock_fd)
            create_private(file)
            try:
                reader = undo.enter_context(closing(connect(file, settings)))
                writer = undo.enter_context(closing(connect(file, settings)))
                store = cls(file, settings, lock_fd, reader, writer)
                undo.callback(store._readers.shutdown)
                await store._loop.run_in_executor(store._readers, store._load)
            except sqlite3.DatabaseError as error:
                raise ResourceUnavailable(f"{file} cannot be used as a store: {error}") from error
            undo.pop_all()
        return store

    # -- reading -------------------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        return self._acknowledged

    @property
    def oldest(self) -> int:
        return self._writer.compacted

    @property
    def shared(self) -> bool:
        return False

    @property
    def problem(self) -> str:
        return self._failure or ""

    async def newest(self) -> int:
        return self.revision

    async def get(self, key: str) -> Entry | None:
        self._check_open()
        while True:
            with self._writer.index_lock:
                version = self._index.live.get(key)
            if version is None:
                return None
            values = await self._values([version.locator])
            # The row is gone only when it was overwritten and compacted meanwhile: look again.
            if (value := values.get(version.locator)) is not None:
                return Entry(key, value, version.created, version.revision)

    async def list(self, prefix: str, *, revision: int = 0, limit: int = 0, after: str = "") -> Page:
        self._check_open()
        while True:
            check_revision(revision, self._writer.compacted, self._acknowledged)
            with self._writer.index_lock:
                at = self._writer.revision
                found = [*self._index.scan(prefix, after, revision)]
            chosen = found[:limit] if limit else found
            values = await self._values([version.locator for _, version in chosen])
            try:
                entries = [
                    Entry(key, values[version.locator], version.created, version.revision)
                    for key, version in chosen
                ]
            except KeyError:
                continue  # compacted while we read: for an old revision the check above says so
            return Page(entries, revision or at, len(found) - len(chosen))

    async def _values(self, ids: Sequence[int]) -> dict[int, bytes]:
        def read() -> dict[int, bytes]:
            values: dict[int, bytes] = {}
            for start in range(0, len(ids), 500):
                part = ids[start : start + 500]
                marks = ",".join("?" * len(part))
                query = f"SELECT id, value FROM log WHERE id IN ({marks})"
                values.update(self._reader.execute(query, part))
            return values

        return await self._loop.run_in_executor(self._readers, read)

    def watch(self, prefix: str, revision: int) -> Watch:
        self._check_open()
        if revision < self._writer.compacted:
            raise Compacted(revision, self._writer.compacted)
        upto = self._acknowledged
        if revision >= upto:
            return self._hub.add(prefix, None, revision)

        async def replay() -> list[list[Change]]:
            batches = await self._loop.run_in_executor(
                self._readers, read_changes, self._reader, prefix, revision, upto
            )
            if revision < self._writer.compacted:
                raise Compacted(revision, self._writer.compacted)
            return batches

        return self._hub.add(prefix, replay, revision)

    # -- writing: the loop's side --------------------------------------------------------------------------

    async def commit(self, ops: Sequence[Op]) -> int:
        if len(ops) >= MAX_OPS:
            raise ValueError(f"a commit may have {MAX_OPS - 1} operations at most, not {len(ops)}")
        check_keys(ops)
        while not self._room.is_set():
            await self._room.wait()
        self._check_open()
        size = sum(len(op.value or b"") for op in ops)
        self._queued_bytes += size
        if self._queued_bytes > self._settings.max_queued_bytes:
            self._room.clear()
        commit = Commit(ops, size, self._loop.create_future())
        self._writer.submit(commit)
        # A caller that gives up cancels its future only: the commit is done, and acknowledged to nobody.
        return await commit.future

    async def commit_each(self, ops: Sequence[Op]) -> Sequence[int | Exception]:
        while not self._room.is_set():
            await self._room.wait()
        self._check_open()
        size = sum([len(op.value) for op in ops if op.value is not None])
        self._queued_bytes += size
        if self._queued_bytes > self._settings.max_queued_bytes:
            self._room.clear()
        each = Each(ops, size, self._loop.create_future())
        self._writer.submit(each)
        return await each.future

    async def compact(self, revision: int) -> None:
        self._check_open()
        check_revision(revision, 0, self._acknowledged)
        compaction = Compaction(revision, self._loop.create_future())
        self._writer.submit(compaction)
        await asyncio.shield(compaction.future)

    def _acknowledge(self, outcomes: Outcomes) -> None:
        """On the loop: watchers first, so that they are at least as new as what writers are told."""
        changes = outcomes.changes
        if changes:
            self._acknowledged = changes[-1].revision
            self._hub.publish(changes)
        for commit, outcome in outcomes.commits:
            self._queued_bytes -= commit.size
            if commit.future.done():
                continue
            if isinstance(outcome, int):
                commit.future.set_result(outcome)
            else:
                commit.future.set_exception(outcome)
                commit.future.exception()  # seen: the caller may be gone
        for each, each_outcomes in outcomes.eaches:
            self._queued_bytes -= each.size
            if not each.future.done():
                each.future.set_result(each_outcomes)
        if self._queued_bytes <= self._settings.max_queued_bytes:
            self._room.set()

    def _writer_ended(self, failure: str | None) -> None:
        self._failure = failure
        self._hub.close(failure or "the store was closed")
        self._room.set()
        self._ended.set()

    async def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._writer.submit(Signal.CLOSE)
        await self._ended.wait()
        if self._lock_fd >= 0:
            self._readers.shutdown()
            self._reader.close()
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _check_open(self) -> None:
        if self._failure is not None:
            raise StoreClosed(self._failure)
        if self._closing or self._ended.is_set():
            raise StoreClosed("the store was closed")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    # -- start ---------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Read the index from the log and start the writer behind it. On the reader thread."""
        problems = [row[0] for row in self._reader.execute("PRAGMA quick_check(3)")]
        if problems != ["ok"]:
            raise sqlite3.DatabaseError(f"integrity check failed: {'; '.join(problems)}")
        compacted: int = self._reader.execute("SELECT value FROM facts WHERE name = 'compacted'").fetchone()[
            0
        ]
        newest = 0
        garbage: list[int] = []
        rows = self._reader.execute("SELECT id, key, created, value IS NULL FROM log ORDER BY id")
        for row, key, created, deleted in rows:
            newest = row >> OPS_BITS
            if not deleted:
                self._index.put(key, newest, created, row)
            elif key in self._index.live:
                self._index.delete(key, newest, row)
            else:
                garbage.append(row)  # a tombstone whose earlier rows a compaction already removed
        garbage.extend(self._index.compact(compacted))
        self._acknowledged = max(newest, compacted)
        self._writer.start(self._acknowledged, compacted, garbage)
