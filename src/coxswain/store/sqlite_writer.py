"""The writer thread of the SQLite store: group commit, comparison, compaction.

    queue -> take all that waits -> compare each commit against index + what the group staged before it
          -> INSERT all rows, COMMIT (fsync) -> apply to the index -> answer on the loop

Everything here runs on one thread, except ``submit``, which the loop calls. The writer alone changes the
index, under ``index_lock``; readers on the loop take the lock for their look-ups.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from coxswain.store.index import RevisionIndex
from coxswain.store.interface import ANY, Change, CompareFailed, Entry, Op, StoreClosed, StoreError, StoreFull
from coxswain.store.sqlite_file import AT_ONCE, OPS_BITS, SqliteSettings

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Commit:
    """A commit on its way through the writer."""

    ops: Sequence[Op]
    size: int
    future: asyncio.Future[int]


@dataclass(slots=True)
class Each:
    """Operations of one moment on their way through the writer, each a commit of its own."""

    ops: Sequence[Op]
    size: int
    future: asyncio.Future[list[int | StoreError]]


@dataclass(slots=True)
class Compaction:
    """A compaction on its way through the writer; done when the rows are gone."""

    revision: int
    future: asyncio.Future[None]


class Signal(Enum):
    """What the writer is told that is not work."""

    NOTHING = 0
    CLOSE = 1


#: A row of the table ``log``.
Row = tuple[int, str, int, int, bytes | None]

_Work = Commit | Each | Compaction | Signal

#: What became of a commit: its revision, or why there is none.
Outcome = int | StoreError


class Outcomes(NamedTuple):
    """What became of a group: all that changed, oldest first, and what each caller is told, in order."""

    changes: list[Change]
    commits: list[tuple[Commit, Outcome]]
    eaches: list[tuple[Each, list[Outcome]]]


class Writer:
    """The thread and what it owns. ``index`` is shared with the store's readers."""

    def __init__(
        self,
        path: Path,
        settings: SqliteSettings,
        connection: sqlite3.Connection,
        index: RevisionIndex[int],
        on_outcomes: Callable[[Outcomes], None],
        on_end: Callable[[str | None], None],
    ) -> None:
        """The writer closes ``connection`` at its end. ``on_outcomes`` and ``on_end`` are called on the loop; ``on_end`` with the failure, if it was one."""
        self.index_lock = threading.Lock()
        self.revision = 0
        self.compacted = 0
        self._garbage: list[int] = []
        self._path = path
        self._settings = settings
        self._index = index
        self._loop = asyncio.get_running_loop()
        self._on_outcomes = on_outcomes
        self._on_end = on_end
        self._failure: str | None = None
        self._queue: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._compactions: list[Compaction] = []
        self._connection = connection
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)

    def start(self, revision: int, compacted: int, garbage: list[int]) -> None:
        """Begin to write behind ``revision``; rows ``garbage`` are left from an interrupted compaction."""
        self.revision, self.compacted, self._garbage = revision, compacted, garbage
        self._thread.start()

    def submit(self, work: _Work) -> None:
        """Queue work; called on the loop."""
        self._queue.put(work)

    def _run(self) -> None:
        try:
            while True:
                item, group = self._take()
                if group:
                    self._write_group(group)
                if isinstance(item, Compaction):
                    self._forget(item)
                if self._garbage:
                    self._remove_slice()
                if item is Signal.CLOSE:
                    return
        except Exception as error:
            log.exception("the store's writer failed")
            self._failure = f"the store cannot go on: {error}"
        finally:
            self._connection.close()
            self._loop.call_soon_threadsafe(self._ended)

    def _take(self) -> tuple[_Work, list[Commit | Each]]:
        """All commits that wait (up to a group), and the other thing that came behind them, if any."""
        group: list[Commit | Each] = []
        ops = 0
        try:
            item = self._queue.get(block=not self._garbage)
            while isinstance(item, Commit | Each):
                group.append(item)
                ops += len(item.ops)
                if ops >= self._settings.max_group_ops:
                    return Signal.NOTHING, group
                item = self._queue.get_nowait()
        except queue.Empty:
            return Signal.NOTHING, group
        return item, group

    def _write_group(self, group: list[Commit | Each]) -> None:
        staged = Staged(self._index, self.revision)
        outcomes = Outcomes(staged.changes, [], [])
        for work in group:
            if isinstance(work, Each):
                each = [staged.add_one(op) for op in work.ops]
                outcomes.eaches.append((work, each))
            elif len(work.ops) == 1:
                each = [staged.add_one(work.ops[0])]
                outcomes.commits.append((work, each[0]))
            else:
                each = [staged.add(work.ops)]
                outcomes.commits.append((work, each[0]))
            for outcome in each:
                if isinstance(outcome, CompareFailed):
                    outcome.current = self._load_entry(outcome.current)
        if staged.rows and (failure := self._insert(staged.rows)) is not None:
            outcomes = _failed(group, failure)
        elif staged.rows:
            with self.index_lock:
                staged.apply()
                self.revision = staged.revision
        self._loop.call_soon_threadsafe(self._on_outcomes, outcomes)

    def _insert(self, rows: list[Row]) -> StoreError | None:
        """Write rows durably. A full disk is an answer; anything else ends the store after answering."""
        try:
            execute = self._connection.execute
            if len(rows) <= AT_ONCE:
                # A transaction of its own: to begin and to end it are two more times that the lock goes to and fro.
                execute(_insertion(len(rows)), [*chain.from_iterable(rows)])
                return None
            execute("BEGIN IMMEDIATE")
            for start in range(0, len(rows), AT_ONCE):
                part = rows[start : start + AT_ONCE]
                execute(_insertion(len(part)), [*chain.from_iterable(part)])
            execute("COMMIT")
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if full:
                return StoreFull(f"no space is left for {self._path}; free some and try again")
            self._failure = f"writing {self._path} failed: {error}"
            log.error("%s", self._failure)
            return StoreClosed(self._failure)
        return None

    def _load_entry(self, entry: Entry | None) -> Entry | None:
        """The value of the entry that a comparison met (which may be staged in this very group)."""
        if entry is None or entry.value:
            return entry
        version = self._index.live.get(entry.key)
        if version is None or version.revision != entry.modified:
            return entry
        row = self._connection.execute("SELECT value FROM log WHERE id = ?", (version.locator,)).fetchone()
        return Entry(entry.key, row[0], entry.created, entry.modified)

    def _forget(self, compaction: Compaction) -> None:
        """Make the new oldest revision durable, drop older versions from the index, queue their rows."""
        if compaction.revision > self.compacted:
            self._connection.execute(
                "UPDATE facts SET value = ? WHERE name = 'compacted'", (compaction.revision,)
            )
            with self.index_lock:
                self.compacted = compaction.revision
                self._garbage.extend(self._index.compact(compaction.revision))
        self._compactions.append(compaction)
        if not self._garbage:
            self._finish_compactions()

    def _remove_slice(self) -> None:
        part, self._garbage = (
            self._garbage[: self._settings.compaction_slice],
            self._garbage[self._settings.compaction_slice :],
        )
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("DELETE FROM log WHERE id = ?", ((row,) for row in part))
            self._connection.execute("COMMIT")
            self._connection.execute("PRAGMA incremental_vacuum(500)").fetchall()
        except sqlite3.OperationalError as error:
            # Rows that stay cost space, not truth: the next start finds them again.
            log.warning("compaction of %s was put off: %s", self._path, error)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._garbage = []
        if not self._garbage:
            self._finish_compactions()

    def _finish_compactions(self) -> None:
        done, self._compactions = self._compactions, []
        for compaction in done:
            self._loop.call_soon_threadsafe(_settle, compaction.future)

    def _ended(self) -> None:
        """On the loop: nobody will answer what still waits."""
        reason = self._failure or "the store was closed"
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if not isinstance(item, Signal) and not item.future.done():
                item.future.set_exception(StoreClosed(reason))
                item.future.exception()
        for compaction in self._compactions:
            _settle(compaction.future)
        self._on_end(self._failure)


def _failed(group: Sequence[Commit | Each], failure: StoreError) -> Outcomes:
    outcomes = Outcomes([], [], [])
    for work in group:
        if isinstance(work, Each):
            outcomes.eaches.append((work, [failure] * len(work.ops)))
        else:
            outcomes.commits.append((work, failure))
    return outcomes


@cache
def _insertion(count: int) -> str:
    """One statement for ``count`` rows: each statement gives the interpreter's lock away and waits for it again."""
    return "INSERT INTO log VALUES " + ",".join(["(?,?,?,?,?)"] * count)


class Staged:
    """Commits of one group on top of the index: compared in order, applied together."""

    def __init__(self, index: RevisionIndex[int], revision: int) -> None:
        self._index = index
        self._overlay: dict[str, tuple[int, int]] = {}  # key -> (modified, created); (0, 0) deleted
        self.revision = revision
        self.rows: list[Row] = []
        self.changes: list[Change] = []

    def _now(self, key: str) -> tuple[int, int]:
        staged = self._overlay.get(key)
        if staged is not None:
            return staged
        version = self._index.live.get(key)
        return (version.revision, version.created) if version is not None else (0, 0)

    def add_one(self, op: Op) -> Outcome:
        """``add`` of one operation, as most commits have no more."""
        key, value, expect = op
        modified, created = self._now(key)
        if expect not in (ANY, modified):
            return CompareFailed(0, key, expect, Entry(key, b"", created, modified) if modified else None)
        if value is None:
            if not modified:
                return self.revision
            self.revision = revision = self.revision + 1
            self._overlay[key] = (0, 0)
        else:
            self.revision = revision = self.revision + 1
            created = created or revision
            self._overlay[key] = (revision, created)
        self.changes.append(Change(key, value, revision, created, modified))
        self.rows.append((revision << OPS_BITS, key, created, modified, value))
        return revision

    def add(self, ops: Sequence[Op]) -> Outcome:
        """Stage one commit: its revision. ``CompareFailed``: nothing was staged."""
        before = []
        for position, (key, _, expect) in enumerate(ops):
            now = self._now(key)
            if expect not in (ANY, now[0]):
                modified, created = now
                current = Entry(key, b"", created, modified) if modified else None
                return CompareFailed(position, key, expect, current)
            before.append(now)
        revision = self.revision + 1
        for position, (key, value, _) in enumerate(ops):
            modified, created = before[position]
            if value is None:
                if not modified:
                    continue
                self._overlay[key] = (0, 0)
            else:
                created = created or revision
                self._overlay[key] = (revision, created)
            self.changes.append(Change(key, value, revision, created, modified))
            self.rows.append(((revision << OPS_BITS) | position, key, created, modified, value))
            self.revision = revision
        return self.revision

    def apply(self) -> None:
        """Bring the staged rows into the index."""
        for row, key, created, _, value in self.rows:
            if value is None:
                self._index.delete(key, row >> OPS_BITS, row)
            else:
                self._index.put(key, row >> OPS_BITS, created, row)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
