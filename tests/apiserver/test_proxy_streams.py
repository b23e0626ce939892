"""What is passed on is passed on as it comes: long answers wait for their reader, watches arrive line by line."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from apiserver.test_aggregation import ADMIN as AGGREGATOR_ADMIN
from apiserver.test_aggregation import GROUP, Metrics
from apiserver.test_aggregation import running as aggregating
from apiserver.test_proxy_requests import ADMIN, Running, running

MEGABYTE = 1 << 20
#: What the sockets between two ends may hold, and some more.
IN_BETWEEN = 24 * MEGABYTE
LONG = 96 * MEGABYTE

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
POD = "/api/v1/namespaces/default/pods/p"
PATHS = [
    f"{POD}/proxy/long",
    "/api/v1/nodes/n1/proxy/long",
    f"{POD}/log?container=c",
]


class Sender:
    """Answers with as many bytes as it is let; counts those that it got rid of."""

    def __init__(self) -> None:
        self.sent = 0
        self.gone = asyncio.Event()

    async def __call__(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LONG)
        piece = bytes(64 << 10)
        try:
            while self.sent < LONG:
                writer.write(piece)
                await writer.drain()
                self.sent += len(piece)
        except (ConnectionError, ssl.SSLError):
            self.gone.set()
            raise


async def _ask(one: Running, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request whose answer is not read yet, over a socket that holds little."""
    made = socket.create_connection(("127.0.0.1", one.server.port))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    reader, writer = await asyncio.open_connection(
        sock=made, ssl=one.tls, server_hostname="127.0.0.1", limit=64 << 10
    )
    writer.write(f"GET {path} HTTP/1.1\r\nHost: api\r\nAuthorization: {ADMIN}\r\n\r\n".encode())
    return reader, writer


async def _stalls(sender: Sender) -> None:
    """Until nothing more is sent."""
    before = -1
    while sender.sent != before or not sender.sent:
        before = sender.sent
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("path", PATHS)
async def test_a_long_answer_waits_for_its_reader(tmp_path: Path, path: str) -> None:
    async with running(tmp_path) as one:
        sender = Sender()
        one.kubelet._answer = one.plain._answer = sender  # type: ignore[method-assign]
        reader, writer = await _ask(one, path)
        async with asyncio.timeout(20):
            await _stalls(sender)
            assert 0 < sender.sent < IN_BETWEEN
            # Others are served meanwhile.
            code, _, _ = await one.ask("GET", "/api/v1/namespaces/default")
            assert code == 200
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            held = sender.sent
            while sender.sent < held + MEGABYTE:
                await reader.read(MEGABYTE)
            # Who goes away takes the other side along.
            writer.transport.abort()
            await sender.gone.wait()


async def test_lines_come_one_by_one(tmp_path: Path) -> None:
    """A chunked answer of a pod: each line is sent when the one before has been read."""
    turn = asyncio.Event()

    async def answer(head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            await turn.wait()
            turn.clear()
            writer.write(b"7\r\nline %d\n\r\n" % number)
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with running(tmp_path) as one:
        one.plain._answer = answer  # type: ignore[method-assign]
        async with one.client.get(f"{POD}/proxy/", headers={"Authorization": ADMIN}) as got:
            for number in range(3):
                turn.set()
                assert await got.content.readline() == b"line %d\n" % number
            assert await got.content.read() == b""


async def test_a_watch_of_an_extension_comes_event_by_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiohttp import web

    turn = asyncio.Event()

    async def watch(self: Metrics, request: web.BaseRequest) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            for number in range(3):
                await turn.wait()
                turn.clear()
                await answer.write(b'{"type":"ADDED","object":{"number":%d}}\n' % number)
        return answer

    monkeypatch.setattr(Metrics, "_watch", watch)
    async with aggregating(tmp_path) as one:
        service = {
            "metadata": {"name": "metrics-server"},
            "spec": {"ports": [{"name": "https", "port": 443}]},
        }
        assert (await one.ask("POST", "/api/v1/namespaces/kube-system/services", json=service))[0] == 201
        await one.back()
        await one.register()
        await one.becomes("True", "Passed")
        async with one.client.get(f"{GROUP}/nodes?watch=1", headers=AGGREGATOR_ADMIN) as got:
            for number in range(3):
                turn.set()
                assert b'"number":%d' % number in await got.content.readline()
            assert await got.content.read() == b""


# -- uploads


class Taker:
    """Reads a body when it is told to, and says how much it was."""

    def __init__(self) -> None:
        self.head = ""
        self.taken = 0
        self.go = asyncio.Event()
        #: Set when it has as much as fits in between.
        self.some = asyncio.Event()
        self.gone = asyncio.Event()

    async def __call__(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = head.lower()
        await self.go.wait()
        lines = dict(line.split(": ", 1) for line in self.head.split("\r\n")[1:] if line)
        try:
            if "content-length" in lines:
                left = int(lines["content-length"])
                while left:
                    piece = await reader.read(min(left, MEGABYTE))
                    if not piece:
                        raise ConnectionResetError
                    left -= len(piece)
                    self.taken += len(piece)
                    if self.taken > IN_BETWEEN // 2:
                        self.some.set()
            else:
                while size := int(await reader.readline(), 16):
                    self.taken += len(await reader.readexactly(size))
                    await reader.readexactly(2)
                await reader.readexactly(2)
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            self.gone.set()
            raise ConnectionResetError from None
        text = f"took {self.taken}".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
        await writer.drain()


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(MEGABYTE)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_pod_may_be_sent_more_than_we_would_hold(tmp_path: Path, chunked: bool) -> None:
    async with running(tmp_path) as one:
        taker = Taker()
        taker.go.set()
        one.plain._answer = taker  # type: ignore[method-assign]
        headers = {"Authorization": ADMIN, "Content-Type": "x/y"}
        size = 20 * MEGABYTE
        if not chunked:
            headers["Content-Length"] = str(size)
        path = f"{POD}/proxy/up?a=b"
        async with one.client.put(path, data=_pieces(20), headers=headers) as got:
            assert (got.status, await got.text()) == (200, f"took {size}")
        assert ("transfer-encoding: chunked" in taker.head) is chunked
        assert "put /up?a=b http" in taker.head and "content-type: x/y" in taker.head
        # The connection is closed behind such a body; the next request has another.
        code, _, _ = await one.ask("GET", "/api/v1/namespaces/default")
        assert code == 200
        # What is no proxy's keeps its limit.
        for target in (f"{POD}", "/nowhere"):
            code, _, _ = await one.ask("PUT", target, data=io.BytesIO(bytes(4 * MEGABYTE)))
            assert code == 413


async def test_an_upload_waits_for_who_takes_it(tmp_path: Path) -> None:
    async with running(tmp_path) as one:
        taker = Taker()
        one.plain._answer = taker  # type: ignore[method-assign]
        reader, writer = await asyncio.open_connection("127.0.0.1", one.server.port, ssl=one.tls)
        writer.transport.set_write_buffer_limits(high=1)
        head = (
            f"POST {POD}/proxy/up HTTP/1.1\r\nHost: api\r\nAuthorization: {ADMIN}\r\n"
            f"Expect: 100-continue\r\nContent-Length: {LONG}\r\n\r\n"
        )
        writer.write(head.encode())
        async with asyncio.timeout(20):
            assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
            sent = 0

            async def send() -> None:
                nonlocal sent
                while sent < LONG:
                    writer.write(bytes(64 << 10))
                    await writer.drain()
                    sent += 64 << 10

            sending = asyncio.get_running_loop().create_task(send())
            before = -1
            while sent != before or not sent:
                before = sent
                await asyncio.sleep(0.05)
            assert 0 < sent < IN_BETWEEN
            taker.go.set()
            await taker.some.wait()
            # The one end goes: so does the other.
            sending.cancel()
            writer.transport.abort()
            await taker.gone.wait()


async def test_who_may_not_is_told_so_however_much_is_sent(tmp_path: Path) -> None:
    async with running(tmp_path) as one:
        taker = Taker()
        one.plain._answer = taker  # type: ignore[method-assign]
        for token, code in (("Bearer wrong", 401), ("Bearer J", 403)):
            reader, writer = await asyncio.open_connection("127.0.0.1", one.server.port, ssl=one.tls)
            head = (
                f"POST {POD}/proxy/up HTTP/1.1\r\nHost: api\r\nAuthorization: {token}\r\n"
                f"Content-Length: {LONG}\r\n\r\n"
            )
            writer.write(head.encode() + bytes(4 * MEGABYTE))
            async with asyncio.timeout(10):
                assert f" {code} ".encode() in await reader.readuntil(b"\r\n")
            writer.transport.abort()
        assert not taker.head
