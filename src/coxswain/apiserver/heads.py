"""Heads of requests that a connection has sent before: clients send the same headers again and again.

    POST /api/v1/namespaces/default/pods HTTP/1.1   line: few of all kinds, remembered for all connections
    Host: 127.0.0.1:6443                            \\
    Authorization: Bearer ...                        | block: remembered byte for byte, for its connection only,
    Content-Length: 123                             /         because of what it may hold

What the parser made of a block holds for the same bytes on the same connection: then it need not run (a third of what
a small request costs at the door). Nothing is interpreted here. Only what the parser took, and only if nothing in it
changes how the bytes behind it are read (transfer codings, upgrades, HTTP/1.0, ``Connection: close``, ``Expect``), is
ever remembered; only requests that are there whole, with nothing behind them, are recognized, and only where the
parser is at the start of a request. All else is parsed.
"""

from __future__ import annotations

import re
from functools import lru_cache

Field = tuple[bytes, bytes]

#: Blocks of a connection that are remembered, and how long they may be.
_BLOCKS = 8
_LONGEST = 4096
#: What every parser reads alike.
_LINE = re.compile(rb"(GET|POST|PUT|PATCH|DELETE) (/[A-Za-z0-9/._~%?=&,:+-]*) HTTP/1\.1")
#: Headers on which it depends how the bytes behind them are read.
_TELLING = frozenset({b"transfer-encoding", b"upgrade", b"expect"})


class Head:
    """The headers of a request: ``headers`` has the first of each name (lower case), ``fields`` all in their order."""

    __slots__ = ("fields", "headers", "length", "meaning", "size")

    def __init__(self, fields: list[Field], headers: dict[bytes, bytes], size: int, length: int) -> None:
        self.fields = fields
        self.headers = headers
        #: Bytes as limits count them, and those of the body.
        self.size = size
        self.length = length
        #: What the door has found in them, if that is the same for all requests that have them.
        self.meaning: object = None


class Heads:
    """Of one connection."""

    __slots__ = ("_known", "_limit")

    def __init__(self, limit: int) -> None:
        """``limit``: bytes that the headers and target of a request may have, as ``Head.size`` counts them."""
        self._known: dict[bytes, Head] = {}
        self._limit = limit

    def recall(self, data: bytes) -> tuple[str, bytes, Head, bytes] | None:
        """Method, target, headers and body of ``data`` if that is one whole request whose headers are known."""
        stop = data.find(b"\r\n")
        end = data.find(b"\r\n\r\n", stop)
        head = self._known.get(data[stop:end]) if end > 0 else None
        if head is None or len(data) != end + 4 + head.length:
            return None
        line = _line(data[:stop])
        if line is None or head.size + len(line[1]) > self._limit:
            return None
        return line[0], line[1], head, data[end + 4 :]

    def remember(self, data: bytes, target: bytes, head: Head) -> None:
        """Keep ``head``, which the parser made of the last request in ``data``, if that is the only one."""
        stop = data.find(b"\r\n")
        end = data.find(b"\r\n\r\n", stop)
        block = data[stop:end]
        if (
            len(block) > _LONGEST
            or len(data) != end + 4 + head.length
            or not _TELLING.isdisjoint(head.headers)
        ):
            return
        if (line := _line(data[:stop])) is None or line[1] != target:
            return
        if len(self._known) >= _BLOCKS:
            self._known.clear()
        self._known[block] = head


@lru_cache(maxsize=8192)
def _line(line: bytes) -> tuple[str, bytes] | None:
    """Method and target of a request line; None where that takes a parser."""
    found = _LINE.fullmatch(line) if len(line) < 512 else None
    return None if found is None else (found[1].decode(), found[2])
