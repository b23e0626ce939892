"""Audit events in a file: one JSON object a line, mode 0600, rotated by size.

    audit.log                              written to
    audit-2026-11-21T06-45-01.123.log      rotated: kept as long, and as many, as the settings say

Events are gathered for the rest of the loop's turn and written at once; nothing waits longer. What cannot be
written (a full disk) is counted and logged, requests go on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from pathlib import Path

import orjson

from coxswain.api.names import Object
from coxswain.apiserver.audit import metrics
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError

log = logging.getLogger(__name__)

_STAMP = re.compile(r"-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}$")


class LogFile:
    """A sink. ``close`` writes what is left."""

    def __init__(self, path: str, *, max_bytes: int = 0, max_backups: int = 0, max_age: float = 0.0) -> None:
        """``path`` ``-`` is standard output. ``max_age`` is in seconds; 0 means no bound, everywhere.

        Raises ``ConfigurationError``.
        """
        self._path = None if path == "-" else Path(path)
        self._max_bytes = max_bytes
        self._max_backups = max_backups
        self._max_age = max_age
        self._lines: list[bytes] = []
        self._flushing: asyncio.Handle | None = None
        self._size = 0
        self._rotated = 0.0
        self._fd = sys.stdout.fileno() if self._path is None else self._open(self._path)
        if self._path is not None:
            self._prune(self._path)

    def write(self, event: Object) -> None:
        """Take an event."""
        self._lines.append(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_soon(self._flush)

    async def close(self) -> None:
        """Write what is left. Idempotent."""
        if self._fd < 0:
            return
        if self._flushing is not None:
            self._flushing.cancel()
        self._flush()
        if self._path is not None:
            os.close(self._fd)
        self._fd = -1

    def _flush(self) -> None:
        self._flushing = None
        lines, self._lines = self._lines, []
        try:
            for line in lines:
                if self._max_bytes and self._size and self._size + len(line) > self._max_bytes:
                    self._rotate()
                self._put(line)
        except OSError as error:
            metrics.LOST.labels("log").inc(len(lines))
            log.error("the audit log cannot be written: %s", error.strerror)

    def _put(self, line: bytes) -> None:
        left = memoryview(line)
        while left:
            left = left[os.write(self._fd, left) :]
        self._size += len(line)

    # -- rotation

    def _open(self, path: Path) -> int:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            fd = os.open(path, flags, 0o600)
            os.fchmod(fd, 0o600)
            self._size = os.fstat(fd).st_size
        except OSError as error:
            raise ConfigurationError(f"audit log {path}: {error.strerror}") from None
        return fd

    def _rotate(self) -> None:
        path = self._path
        if path is None:
            return
        # Rotated twice in a millisecond: nothing is written over, and names sort by time.
        self._rotated = max(clock.now(), self._rotated + 0.001)
        while (backup := _backup(path, self._rotated)).exists():
            self._rotated += 0.001
        path.rename(backup)
        os.close(self._fd)
        self._fd = self._open(path)
        self._prune(path)

    def _prune(self, path: Path) -> None:
        """Remove rotated files that are too old or too many."""
        if not (self._max_age or self._max_backups):
            return
        backups = sorted(
            (
                other
                for other in path.parent.glob(f"{path.stem}-*{path.suffix}")
                if _STAMP.search(other.name.removesuffix(path.suffix))
            ),
            reverse=True,
        )
        oldest = clock.now() - self._max_age
        for place, other in enumerate(backups):
            too_many = self._max_backups and place >= self._max_backups
            if too_many or (self._max_age and other.stat().st_mtime < oldest):
                other.unlink(missing_ok=True)


def _backup(path: Path, now: float) -> Path:
    stamp = clock.format_micro_time(now)[:23].replace(":", "-")
    return path.with_name(f"{path.stem}-{stamp}{path.suffix}")
