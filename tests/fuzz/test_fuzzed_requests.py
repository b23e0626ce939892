"""Whatever a client sends, it gets an answer in time, never a 500 of ours, and nothing invalid is stored."""

from __future__ import annotations

import asyncio
import random
import ssl
from pathlib import Path

import pytest

from coxswain.apiserver.server import ApiServer
from fuzz.fuzzing import admin_tls, api_server, fuzz, invalid_objects
from fuzz.odd_requests import OddRequests


async def survives(data_dir: Path, *, seed: int, requests: int) -> None:
    async with api_server(data_dir) as server:
        found = await fuzz(server, seed=seed, requests=requests)
        assert not found.wrong, "\n".join(found.wrong[:10])
        assert found.slowest < 5, found.slowest_label
        assert found.answers[200] + found.answers[201] > requests / 20, "hardly a request was good"
        assert found.answers[422] > requests / 50, "hardly a request got as far as validation"
        assert not (wrong := await invalid_objects(server)), "\n".join(wrong[:10])


async def test_odd_requests_are_answered_and_store_nothing_invalid(tmp_path: Path) -> None:
    await survives(tmp_path, seed=36, requests=3000)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(10))
async def test_a_hundred_thousand_odd_requests(tmp_path: Path, seed: int) -> None:
    await survives(tmp_path, seed=seed, requests=10_000)


# -- connections that misbehave


async def opened(server: ApiServer, tls: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", server.port, ssl=tls)


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async with api_server(tmp_path) as server, asyncio.timeout(5):
        reader, writer = await opened(server, admin_tls(server))
        for path in (b"/version", b"/api/v1/namespaces/no-such", b"/healthz", b"/api/v1/pods?limit=x"):
            writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        codes = []
        for _ in range(4):
            head = await reader.readuntil(b"\r\n\r\n")
            codes.append(int(head.split()[1]))
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            await reader.readexactly(length)
        assert codes == [200, 404, 200, 400]
        writer.transport.abort()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /version HT",
        b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_clients_that_go_in_the_middle_leave_nothing_behind(tmp_path: Path, sent: bytes) -> None:
    async with api_server(tmp_path) as server:
        tls = admin_tls(server)
        for _ in range(20):
            _, writer = await opened(server, tls)
            writer.write(sent)
            await writer.drain()
            writer.transport.abort()
        assert server._rest is not None
        assert server._rest._server is not None
        connections, census = server._rest._server.connections, server._rest._census
        async with asyncio.timeout(5):
            while connections or census.watches or census.streams or census.tasks:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        levels = server._rest._gate.debug("/debug/api_priority_and_fairness/dump_priority_levels")
        assert levels is not None
        rows = [[cell.strip() for cell in line.split(",")] for line in levels.splitlines()]
        executing = [int(row[rows[0].index("ExecutingRequests")]) for row in rows[1:] if row[0]]
        assert len(executing) > 5 and not any(executing)


async def test_a_watch_over_http_1_0_ends_with_its_connection(tmp_path: Path) -> None:
    async with api_server(tmp_path) as server, asyncio.timeout(5):
        reader, writer = await opened(server, admin_tls(server))
        writer.write(b"GET /api/v1/namespaces?watch=1&timeoutSeconds=1 HTTP/1.0\r\nHost: x\r\n\r\n")
        answer = await reader.read(-1)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b" 200 " in head
        assert b"chunked" not in head.lower()
        assert body.startswith(b'{"type":"ADDED"')
        writer.transport.abort()


async def test_a_packed_body_is_refused(tmp_path: Path) -> None:
    async with api_server(tmp_path) as server, asyncio.timeout(5):
        reader, writer = await opened(server, admin_tls(server))
        head = b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n"
        writer.write(head + b"abc")
        assert b" 415 " in await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()


def test_a_seed_gives_the_same_requests_again() -> None:
    first, second = (OddRequests(random.Random("1")) for _ in range(2))
    assert [first.next().data for _ in range(200)] == [second.next().data for _ in range(200)]
