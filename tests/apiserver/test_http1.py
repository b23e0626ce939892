"""The HTTP/1.1 server over plain sockets: order, limits, and clients that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from coxswain.apiserver.http1 import HttpLimits, HttpServer, Request, status_line

Answer = Callable[[Request], None]


def _echo(request: Request) -> None:
    code = 400 if request.failure else 200
    body = (request.failure or f"{request.method} {request.target.decode()} {len(request.body)}").encode()
    request.respond(status_line(code), body)


@contextlib.asynccontextmanager
async def _serving(
    answer: Answer = _echo, *, body: int = 1000, idle: float = 120.0, **limits: int
) -> AsyncIterator[tuple[HttpServer, asyncio.StreamReader, asyncio.StreamWriter]]:
    server = HttpServer(answer, HttpLimits(body, 2000, 10, idle, **limits))
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    server.start()
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname()[:2])
    try:
        async with asyncio.timeout(10):
            yield server, reader, writer
    finally:
        writer.transport.abort()
        listener.close()
        await server.stop(0.1)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def _hear(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.partition(b"Content-Length: ")[2].split()[0])
    return int(head.split()[1]), await reader.readexactly(length)


async def test_pipelined_requests_are_answered_in_order_though_the_first_takes_long() -> None:
    waiting: list[Request] = []

    def answer(request: Request) -> None:
        if request.target == b"/0":
            waiting.append(request)
        else:
            _echo(request)

    async with _serving(answer) as (_, reader, writer):
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(300)))
        await _until(lambda: bool(waiting))
        _echo(waiting[0])
        heard = [(await _hear(reader))[1] for _ in range(300)]
        assert heard == [b"GET /%d 0" % number for number in range(300)]


async def test_bodies_come_whole_however_they_are_sent() -> None:
    async with _serving() as (_, reader, writer):
        for piece in (b"POST /a HTTP/1.1\r\nContent-Le", b"ngth: 4\r\n", b"\r\nab", b"cd"):
            writer.write(piece)
            await asyncio.sleep(0)
        assert await _hear(reader) == (200, b"POST /a 4")
        writer.write(
            b"PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\nx: y\r\n\r\n"
        )
        assert await _hear(reader) == (200, b"PUT /b 5")


async def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    async with _serving() as (_, reader, writer):
        writer.write(b"POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ab")
        assert await _hear(reader) == (200, b"POST /a 2")


@pytest.mark.parametrize(
    ("sent", "failure"),
    [
        (b"GET / HTTP/9.x\r\n\r\n", b"malformed"),
        (b"FOO / HTTP/1.1\r\n\r\n", b"method"),
        (b"GET /" + b"a" * 2500 + b" HTTP/1.1\r\n\r\n", b"head"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1500 + b"\r\n", b"head"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", b"body"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001, b"body"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", b"malformed"),
    ],
)
async def test_what_cannot_be_taken_is_refused_after_what_came_before(sent: bytes, failure: bytes) -> None:
    async with _serving() as (_, reader, writer):
        writer.write(b"GET /first HTTP/1.1\r\n\r\n" + sent)
        assert await _hear(reader) == (200, b"GET /first 0")
        assert await _hear(reader) == (400, failure)
        assert await reader.read() == b""


async def test_an_upgrade_that_nobody_wants_is_a_plain_request() -> None:
    async with _serving() as (_, reader, writer):
        ask = b"GET /a HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
        writer.write(ask + b"GET /b HTTP/1.1\r\n\r\n")
        assert [await _hear(reader), await _hear(reader)] == [(200, b"GET /a 0"), (200, b"GET /b 0")]


async def test_an_upgraded_connection_belongs_to_another_protocol() -> None:
    class Shout(asyncio.Protocol):
        transport: asyncio.Transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data.upper())

    def answer(request: Request) -> None:
        shout = Shout()
        shout.transport, sent = request.connection.take_over(request, shout)
        shout.transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        shout.data_received(sent)

    async with _serving(answer) as (server, reader, writer):
        writer.write(b"GET /a HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nab")
        assert await reader.readexactly(38) == b"HTTP/1.1 101 Switching Protocols\r\n\r\nAB"
        writer.write(b"cd")
        assert await reader.readexactly(2) == b"CD"
        assert not server.connections


async def test_head_and_http_1_0() -> None:
    async with _serving() as (_, reader, writer):
        writer.write(b"HEAD /a HTTP/1.1\r\n\r\nGET /b HTTP/1.0\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: 9" in head
        rest = await reader.read()
        assert rest.endswith(b"Connection: close\r\n\r\nGET /b 0")


async def test_the_sweep_ends_idle_connections_and_requests_that_do_not_arrive() -> None:
    async with _serving(idle=0.0) as (server, reader, writer):
        writer.write(b"GET /a HTTP/1.1\r\nHost")
        await _until(lambda: bool(server.connections))
        connection = next(iter(server.connections))
        await _until(lambda: connection._request is not None)
        connection.sweep(asyncio.get_running_loop().time() + 31)
        connection.sweep(asyncio.get_running_loop().time() + 33)
        assert await _hear(reader) == (400, b"slow")
    async with _serving(idle=0.0) as (server, reader, writer):
        writer.write(b"GET /a HTTP/1.1\r\n\r\n")
        await _hear(reader)
        next(iter(server.connections)).sweep(asyncio.get_running_loop().time() + 1)
        assert await reader.read() == b""


async def test_a_request_past_its_deadline_is_cancelled() -> None:
    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    requests: list[Request] = []

    def answer(request: Request) -> None:
        request.deadline = 1.0
        request.task = asyncio.get_running_loop().create_task(never())
        requests.append(request)

    async with _serving(answer) as (_, reader, writer):
        writer.write(b"GET /a HTTP/1.1\r\n\r\n")
        await _until(lambda: bool(requests))
        requests[0].connection.sweep(asyncio.get_running_loop().time())
        task = requests[0].task
        assert task is not None
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert requests[0].expired and task.cancelled()
        _echo(requests[0])
        assert (await _hear(reader))[0] == 200


async def test_a_large_answer_comes_whole_and_is_not_handed_out_faster_than_it_is_read() -> None:
    large = bytes(range(256)) * 40_000
    connections = []

    def answer(request: Request) -> None:
        connections.append(request.connection)
        request.respond(status_line(200), large if request.target == b"/large" else b"small")

    async with _serving(answer) as (_, reader, writer):
        writer.write(b"GET /large HTTP/1.1\r\n\r\nGET /small HTTP/1.1\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        await _until(lambda: connections[0].unread > 0)
        assert b"Content-Length: %d\r\n" % len(large) in head
        # What the client has not read is mostly still in one piece, and the next request waits for its turn.
        assert len(connections) == 1
        assert await reader.readexactly(len(large)) == large
        assert await _hear(reader) == (200, b"small")


async def test_who_leaves_in_the_middle_of_a_large_answer_costs_nothing_more() -> None:
    async with _serving(lambda request: request.respond(status_line(200), bytes(20_000_000))) as (
        server,
        reader,
        writer,
    ):
        writer.write(b"GET /large HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await _until(lambda: server.unread > 0)
        writer.transport.abort()
        await _until(lambda: not server.connections)
        assert server.unread == 0


async def test_a_body_in_chunks_of_a_byte_is_one_body() -> None:
    async with _serving(body=5000) as (server, reader, writer):
        writer.write(
            b"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 4000 + b"0\r\n\r\n"
        )
        assert await _hear(reader) == (200, b"PUT /a 4000")
        assert server.buffered == 0


async def test_a_head_of_many_short_lines_is_too_long() -> None:
    async with _serving() as (_, reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 500 + b"\r\n")
        assert await _hear(reader) == (400, b"head")


async def test_large_bodies_are_refused_when_all_of_them_together_are_too_much() -> None:
    held: list[Request] = []

    def answer(request: Request) -> None:
        if request.target == b"/held":
            held.append(request)
        else:
            _echo(request)

    async with _serving(answer, body=1 << 20, max_buffered_bytes=100_000) as (server, reader, writer):
        address = writer.get_extra_info("peername")[:2]
        writer.write(b"PUT /held HTTP/1.1\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000)
        await _until(lambda: bool(held))
        assert server.buffered == 90_000
        other, more = await asyncio.open_connection(*address)
        more.write(b"PUT /small HTTP/1.1\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20_000)
        assert await _hear(other) == (200, b"PUT /small 20000")
        more.write(b"PUT /large HTTP/1.1\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000)
        assert await _hear(other) == (400, b"busy")
        more.transport.abort()
        _echo(held[0])
        assert await _hear(reader) == (200, b"PUT /held 90000")
        await _until(lambda: server.buffered == 0)
        # Who leaves in the middle of a body takes it along.
        writer.write(b"PUT /never HTTP/1.1\r\nContent-Length: 90000\r\n\r\n" + b"x" * 1000)
        await _until(lambda: server.buffered == 1000)
        writer.transport.abort()
        await _until(lambda: server.buffered == 0)


async def test_a_connection_holds_few_bytes_of_what_is_pipelined() -> None:
    held: list[Request] = []
    async with _serving(held.append, body=1 << 20) as (server, reader, writer):
        size = 600_000
        wanted = b"PUT /%d HTTP/1.1\r\nContent-Length: 600000\r\n\r\n"
        writer.write(b"".join(wanted % number + b"x" * size for number in range(12)))
        await _until(lambda: bool(held))
        for _ in range(200):
            await asyncio.sleep(0)
        # One at work, two that wait, and what was read on the way.
        assert server.buffered <= 4 * size
        for number in range(12):
            await _until(lambda number=number: len(held) > number)  # type: ignore[misc]
            _echo(held[number])
            assert await _hear(reader) == (200, b"PUT /%d 600000" % number)
        assert server.buffered == 0


async def test_readers_that_stand_still_are_cut_off_when_too_much_waits_for_them() -> None:
    def answer(request: Request) -> None:
        request.respond(status_line(200), b"x" * 30_000_000)

    async with _serving(answer, max_unread_bytes=1_000_000) as (server, _, writer):
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await _until(lambda: server.unread > 1_000_000)
        await _until(lambda: not server.connections)
        assert server.unread == 0
