"""Heads of the HTTP door's answers: status line, content type, the audit ID and what a reply adds.

What servers say the same of every answer of a kind is put together once (``Openings``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coxswain.apiserver.http1 import status_line
from coxswain.apiserver.verbs.writing import new_uid

_COUNTED = (1 << 48) - 1


class Openings:
    """How the answers of one server begin."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], bytes] = {}
        # A UUID per answer costs more than all the rest of its head. These are told apart by their last 48 bits,
        # which count on from a random start, below 74 random bits of the server: as unique, and nobody's secret.
        uid = new_uid()
        self._server, self._number = uid[:24].encode(), int(uid[24:], 16)

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
        self._number = number = (self._number + 1) & _COUNTED
        return b"%b%b%012x\r\n%b" % (opening, self._server, number, more)


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
