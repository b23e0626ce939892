"""Heads of the HTTP door's answers: status line, content type, the audit ID and what a reply adds.

What servers say the same of every answer of a kind is put together once (``Openings``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from coxswain.apiserver.http1 import status_line
from coxswain.apiserver.verbs.writing import new_uid

#: Answers that have the beginning of their audit IDs in common, and digits that each has for itself.
_TOGETHER = 1024
_OWN = 12


class Openings:
    """How the answers of one server begin."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], bytes] = {}
        # A UUID for each answer costs more than all the rest of its head. These are as random: 48 bits for each, below
        # 74 for a thousand. Nothing depends on that nobody guesses them, for without an audit log nothing is found
        # by one; but if they only counted on, anybody could tell how much others ask.
        self._common = self._digits = b""
        self._left = 0

    def head(self, code: int, content_type: str, more: bytes = b"", audit_id: str | None = None) -> bytes:
        """Status line and headers; those of the server's own content types are made once.

        ``audit_id`` is that of the audit log, where there is one.
        """
        opening = self._known.get((code, content_type))
        if opening is None:
            opening = b"%bCache-Control: no-cache, private\r\nContent-Type: %b\r\nAudit-Id: " % (
                status_line(code),
                content_type.encode(),
            )
            self._known[code, content_type] = opening
        if audit_id is not None:
            return b"%b%b\r\n%b" % (opening, audit_id.encode(), more)
        self._left = left = self._left - _OWN
        if left < 0:
            left = self._draw()
        return b"%b%b%b\r\n%b" % (opening, self._common, self._digits[left : left + _OWN], more)

    def _draw(self) -> int:
        self._common = new_uid()[:-_OWN].encode()
        self._digits = os.urandom(_TOGETHER * _OWN // 2).hex().encode()
        self._left = len(self._digits) - _OWN
        return self._left


def lines(headers: Mapping[str, str]) -> bytes:
    """Headers that somebody else answered with."""
    shown = [f"{name}: {value}" for name, value in headers.items() if not {"\r", "\n"} & set(name + value)]
    return b"".join(line.encode("utf-8", "surrogateescape") + b"\r\n" for line in shown)


def warnings(texts: Sequence[str]) -> bytes:
    """What the client should be told beside the answer."""
    return b"".join([b"Warning: 299 - %b\r\n" % _quoted(text).encode() for text in texts])


def _quoted(text: str) -> str:
    cleaned = "".join(char if char.isprintable() else " " for char in text)
    escaped = cleaned.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
