"""What is passed on is passed on as it comes: long answers wait for their reader, watches arrive line by line."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
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
