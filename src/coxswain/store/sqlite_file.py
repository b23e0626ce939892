"""The SQLite file of the store: its lock, its schema, its settings.

One table ``log``, one row a change, appended in revision order: ``id = revision << 16 | position in the
commit``. What is newest is known from the index, so the table needs no other order.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from coxswain.base.errors import ResourceUnavailable
from coxswain.store.interface import Change

OPS_BITS = 16
MAX_OPS = 1 << OPS_BITS
#: Rows that one statement inserts at most. There is a statement for each number of them, and all are kept prepared.
AT_ONCE = 96

SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    id INTEGER PRIMARY KEY, -- revision << 16 | position in the commit
    key TEXT NOT NULL,
    created INTEGER NOT NULL, -- revision at which the key appeared
    previous INTEGER NOT NULL, -- revision of the key's row before this one, 0 if there was none
    value BLOB -- NULL: deleted
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO facts VALUES ('format', 1), ('compacted', 0);
"""


@dataclass(frozen=True, slots=True)
class SqliteSettings:
    """How the SQLite store bounds itself."""

    max_queued_bytes: int = 64 << 20
    """Bytes of commits that may wait for the writer; further callers wait (back-pressure)."""
    max_group_ops: int = 1024
    """Operations in one transaction: enough to make the fsync cheap, few enough to keep latency low."""
    max_watch_changes: int = 100_000
    """Changes that a watcher may lag behind before it is cut off."""
    cache_kib: int = 8192
    """SQLite's page cache for the writer, in KiB; reads are served from the index and the watch cache."""
    max_bytes: int = 8 << 30
    """Size of the file at which commits fail with ``StoreFull``, as etcd's quota does; deletions of what
    compaction can remove make room again."""
    compaction_slice: int = 2000
    """Rows that compaction removes in one transaction, so that commits wait milliseconds at most."""


def connect(path: Path, settings: SqliteSettings) -> sqlite3.Connection:
    """A connection whose commits are durable; it may be used from any one thread at a time."""
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=10, cached_statements=AT_ONCE + 32
    )
    try:
        _configure(connection, settings)
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, settings: SqliteSettings) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{settings.cache_kib}")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.executescript(SCHEMA)
    page_size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {settings.max_bytes // page_size}").fetchone()


def read_changes(connection: sqlite3.Connection, prefix: str, after: int, upto: int) -> list[list[Change]]:
    """The changes with ``after`` < revision <= ``upto`` of keys with ``prefix``, one list a commit."""
    query = "SELECT id, key, value, created, previous FROM log WHERE id >= ? AND id < ? ORDER BY id"
    batches: list[list[Change]] = []
    bounds = ((after + 1) << OPS_BITS, (upto + 1) << OPS_BITS)
    for row, key, value, created, previous in connection.execute(query, bounds):
        if not key.startswith(prefix):
            continue
        change = Change(key, value, row >> OPS_BITS, created, previous)
        if batches and batches[-1][0].revision == change.revision:
            batches[-1].append(change)
        else:
            batches.append([change])
    return batches


def create_private(path: Path) -> None:
    """The file with mode 0600; SQLite gives its -wal and -shm files the same."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise ResourceUnavailable(f"the store {path} cannot be opened: {error.strerror}") from error


def lock(path: Path) -> int:
    """Hold ``path``.lock for as long as this process lives; its file descriptor."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock_fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ResourceUnavailable(f"the store {path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(lock_fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock_fd)
        raise ResourceUnavailable(
            f"the store {path} is in use by process {owner}; stop it or choose another data directory"
        ) from None
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, str(os.getpid()).encode(), 0)
    return lock_fd
