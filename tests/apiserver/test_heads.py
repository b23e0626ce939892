"""Heads that a connection has sent before: what is recognized is what the parser would have made of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coxswain.apiserver.heads import Head, Heads
from coxswain.apiserver.http1 import Connection, HttpLimits, HttpServer, Request, status_line

LINE = b"GET /api/v1/namespaces/default/pods/a?x=1 HTTP/1.1"
BLOCK = b"\r\nHost: h\r\nAuthorization: Bearer t"


class Transport:
    """Takes everything."""

    def __init__(self) -> None:
        self.closed = False

    def get_extra_info(self, name: str) -> None:
        return None

    def write(self, data: bytes) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


class Forgetful(Heads):
    """Everything goes through the parser."""

    def recall(self, data: bytes) -> None:
        return None


class Counting(Heads):
    """Says how often a head was known."""

    __slots__ = ("hits",)

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.hits = 0

    def recall(self, data: bytes) -> tuple[str, bytes, Head, bytes] | None:
        found = super().recall(data)
        self.hits += found is not None
        return found


def _play(chunks: list[bytes], heads: type[Heads], limit: int = 300) -> tuple[list[Any], Heads]:
    """What a server makes of ``chunks``, and what its connection remembers."""
    seen: list[Any] = []

    def answer(request: Request) -> None:
        about = (request.method, request.target, list(request.fields), dict(request.headers), request.body)
        seen.append((*about, request.http10, request.keep_alive, request.failure))
        request.respond(status_line(200), b"")

    async def play() -> Heads:
        server = HttpServer(answer, HttpLimits(100, limit, 10, 60.0))
        connection = Connection(server)
        remembered = connection._heads = heads(limit)
        transport: Any = Transport()
        connection.connection_made(transport)
        for chunk in chunks:
            if not transport.closed:
                connection.data_received(chunk)
        return remembered

    return seen, asyncio.run(play())


def _hits(chunks: list[bytes]) -> int:
    heads = _play(chunks, Counting)[1]
    assert isinstance(heads, Counting)
    return heads.hits


def test_equal_headers_are_recognized_below_another_line() -> None:
    other = LINE.replace(b"pods/a", b"pods/b")
    assert _hits([line + BLOCK + b"\r\n\r\n" for line in (LINE, LINE, other)]) == 2


def test_a_body_is_recognized_by_its_length_not_by_what_it_holds() -> None:
    head = b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n"
    assert _hits([head + b"ab", head + b"cd", head + b"\r\n"]) == 2


@pytest.mark.parametrize(
    "again",
    [
        LINE + BLOCK + b"\r\nA: b\r\n\r\n",
        LINE + BLOCK + b"\r\n\r\n" + LINE + BLOCK + b"\r\n\r\n",
        LINE + BLOCK + b"\r\n\r",
        LINE.replace(b"GET", b"OPTIONS") + BLOCK + b"\r\n\r\n",
        LINE.replace(b"1.1", b"1.0") + BLOCK + b"\r\n\r\n",
        LINE.replace(b"pods/a", b"pods/\xff") + BLOCK + b"\r\n\r\n",
        b"\r\n" + LINE + BLOCK + b"\r\n\r\n",
        LINE.replace(b"/a", b"/" + b"a" * 300) + BLOCK + b"\r\n\r\n",
    ],
)
def test_whatever_is_not_the_same_is_parsed(again: bytes) -> None:
    assert _hits([LINE + BLOCK + b"\r\n\r\n", again]) == 0


@pytest.mark.parametrize(
    "header",
    [
        b"Connection: close",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Upgrade: h2c\r\nConnection: upgrade",
    ],
)
def test_what_says_how_to_read_on_is_never_recognized(header: bytes) -> None:
    ask = LINE + b"\r\n" + header + b"\r\n\r\n"
    assert _hits([ask, ask]) == 0


def test_few_heads_are_remembered_and_none_that_are_long() -> None:
    asks = [LINE + BLOCK + b"\r\nN: %d\r\n\r\n" % number for number in range(100)]
    assert len(_play(asks, Heads)[1]._known) <= 8
    assert not _play([LINE + b"\r\nN: " + b"n" * 5000 + b"\r\n\r\n"], Heads, 10_000)[1]._known


_LINES = st.sampled_from(
    [
        b"GET /a HTTP/1.1",
        b"POST /a/b?c=d HTTP/1.1",
        b"DELETE /a HTTP/1.1",
        b"GET /a HTTP/1.0",
        b"HEAD /a HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"FOO / HTTP/1.1",
        b"GET  /a HTTP/1.1",
        b"",
    ]
)
_HEADERS = st.sampled_from(
    [
        *(
            b"Host: h",
            b"Content-Length: 0",
            b"Content-Length: 4",
            b"content-length: 4",
            b"Content-Length: 200",
        ),
        *(
            b"Connection: close",
            b"Connection: keep-alive",
            b"Transfer-Encoding: chunked",
            b"Expect: 100-continue",
        ),
        *(b"A: \t b ", b"a: c", b" folded", b"A : b", b"A:", b"A: \x00", b"Upgrade: h2c"),
    ]
)
_BODIES = st.sampled_from(
    [b"", b"abcd", b"abc", b"4\r\nabcd\r\n0\r\n\r\n", b"\r\n", b"GET /a HTTP/1.1\r\n\r\n"]
)


@st.composite
def _chunks(draw: st.DrawFn) -> list[bytes]:
    """Requests of which many are alike, some cut in two, some behind one another."""
    kinds = draw(st.lists(st.tuples(_LINES, st.lists(_HEADERS, max_size=3), _BODIES), min_size=1, max_size=3))
    asks = [b"\r\n".join((line, *headers)) + b"\r\n\r\n" + body for line, headers, body in kinds]
    chunks: list[bytes] = []
    for ask in draw(st.lists(st.sampled_from(asks), max_size=8)):
        how = draw(st.sampled_from(["whole", "whole", "whole", "cut", "joined"]))
        if how == "cut":
            at = draw(st.integers(0, len(ask)))
            chunks += [part for part in (ask[:at], ask[at:]) if part]
        elif how == "joined" and chunks:
            chunks[-1] += ask
        else:
            chunks.append(ask)
    return chunks


@settings(max_examples=100, deadline=None)
@given(_chunks())
def test_with_and_without_memory_the_same_requests_arrive(chunks: list[bytes]) -> None:
    assert _play(chunks, Heads)[0] == _play(chunks, Forgetful)[0]
