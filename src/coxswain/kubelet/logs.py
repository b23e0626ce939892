"""Container logs: reading files in CRI's format, also across rotations and while they grow.

2026-11-21T02:34:30.123456789Z stdout F a whole line
2026-11-21T02:34:30.123456789Z stdout P a part of a line (more follows)
"""

from __future__ import annotations

import asyncio
import glob
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

from coxswain.base import clock

_POLL = 0.2
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class LogOptions:
    """PodLogOptions. ``since`` is seconds since the epoch; ``tail_lines`` and ``limit_bytes`` None: all."""

    follow: bool = False
    tail_lines: int | None = None
    since: float | None = None
    timestamps: bool = False
    limit_bytes: int | None = None
    stream: str = ""


def render(line: bytes, options: LogOptions) -> bytes | None:
    """One stored line as it is shown, or None when the options leave it out."""
    parts = line.rstrip(b"\n").split(b" ", 3)
    if len(parts) < 3:
        return None
    stamp, stream, tag = parts[:3]
    text = parts[3] if len(parts) > 3 else b""
    if options.stream and stream.decode() != options.stream:
        return None
    if options.since is not None and _seconds(stamp) < options.since:
        return None
    shown = text if tag == b"P" else text + b"\n"
    return stamp + b" " + shown if options.timestamps else shown


def _seconds(stamp: bytes) -> float:
    whole, _, fraction = stamp.rstrip(b"Z").partition(b".")
    return clock.parse_time(whole.decode() + "Z") + float(b"0." + (fraction or b"0"))


def rotated(path: str) -> list[str]:
    """The files of a log, oldest first, the current one last."""
    return [*sorted(glob.glob(glob.escape(path) + ".2*")), path]


def _tail_offset(path: str, lines: int) -> tuple[int, int]:
    """Where the last ``lines`` whole lines of a file begin, and how many of them it has."""
    found = 0
    with open(path, "rb") as file:
        position = file.seek(0, os.SEEK_END)
        tail = b""
        while position > 0:
            step = min(_BLOCK, position)
            position -= step
            file.seek(position)
            tail = file.read(step) + tail
            # A part that continues the line (P) does not count as a line of its own.
            starts = [0] + [i + 1 for i, byte in enumerate(tail[:-1]) if byte == 10]
            whole = [i for i in starts if not _is_partial(tail, i)]
            found = len(whole)
            if found > lines:
                return position + whole[found - lines], lines
        return 0, found


def _is_partial(data: bytes, start: int) -> bool:
    head = data[start : start + 60].split(b" ", 3)
    return len(head) > 2 and head[2] == b"P"


def stored(path: str, options: LogOptions) -> Iterator[bytes]:
    """The stored lines that ``tail_lines`` leaves, oldest first; ends at the end of the current file."""
    paths = [p for p in rotated(path) if os.path.exists(p)]
    starts: dict[str, int] = {}
    if options.tail_lines is not None:
        left = options.tail_lines
        kept: list[str] = []
        for name in reversed(paths):
            if left <= 0 and kept:
                break
            starts[name], count = _tail_offset(name, left) if left > 0 else (os.path.getsize(name), 0)
            left -= count
            kept.append(name)
        paths = kept[::-1]
    for name in paths:
        with open(name, "rb") as file:
            file.seek(starts.get(name, 0))
            yield from (line for line in file if line.endswith(b"\n"))


async def read(
    path: str, options: LogOptions, running: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    """The log as it is shown, in pieces; with ``follow`` until the container does not run any more."""
    left = options.limit_bytes
    identity, offset = _identity(path)
    piece: list[bytes] = []
    for line in stored(path, options):
        shown = render(line, options)
        if shown is None:
            continue
        if left is not None:
            shown = shown[:left]
            left -= len(shown)
        piece.append(shown)
        if len(piece) >= 512:
            yield b"".join(piece)
            piece = []
            await asyncio.sleep(0)
        if left is not None and left <= 0:
            break
    if piece:
        yield b"".join(piece)
    if not options.follow or (left is not None and left <= 0):
        return
    async for line in follow(path, identity, offset, running):
        shown = render(line, options)
        if shown is not None:
            yield shown if left is None else shown[:left]
            if left is not None:
                left -= len(shown)
                if left <= 0:
                    return


def _identity(path: str) -> tuple[int, int]:
    """inode and size of the whole lines' end of the current file."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_size


async def follow(
    path: str, inode: int, offset: int, running: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    """Lines that are written after ``offset``, across rotations."""
    rest = b""
    while True:
        alive = await running()
        lines, inode, offset, rest = _growth(path, inode, offset, rest)
        for line in lines:
            yield line
        if not lines:
            if not alive:
                return
            await clock.sleep(_POLL)


def _growth(path: str, inode: int, offset: int, rest: bytes) -> tuple[list[bytes], int, int, bytes]:
    """What was written since: first to the file we read, then to those that came after it."""
    files = [(os.stat(name).st_ino, name) for name in rotated(path) if os.path.exists(name)]
    known = [index for index, (number, _) in enumerate(files) if number == inode]
    start = known[0] if known else max(0, len(files) - 1)
    data = rest
    for index, (number, name) in enumerate(files[start:]):
        with open(name, "rb") as file:
            if index or not known:
                offset = 0
            file.seek(offset)
            data += file.read()
            offset, inode = file.tell(), number
    lines = data.splitlines(keepends=True)
    rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
    return lines, inode, offset, rest
