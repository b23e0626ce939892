"""Creates of one moment through the HTTP door: committed together, each answered for itself."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import pytest

from coxswain.apiserver.census import RUNNING, WRITING, _in_flight
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.apiserver.watchcache import Pending
from coxswain.base import clock
from coxswain.store.interface import CompareFailed, Op, StoreClosed, StoreFull

ADMIN = {"Authorization": "Bearer T"}
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
BODY = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "c-"}, "data": {"a": "b"}}
Writes = Sequence[tuple[Op, Pending]]


class Door:
    """A server over whose commits the test rules."""

    def __init__(self, server: ApiServer, client: aiohttp.ClientSession) -> None:
        assert server._rest is not None
        self.rest = server._rest
        self.client = client
        self.together: list[int] = []
        #: What the next commits end with instead.
        self.failures: list[Exception] = []
        self.waiting = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        storage = self.rest._pipeline.core.storage
        self._commit_each = storage.commit_each
        storage.commit_each = self._commit  # type: ignore[method-assign]

    async def _commit(self, writes: Writes) -> Sequence[int | Exception]:
        self.together.append(len(writes))
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, StoreClosed):
                raise failure
            return [failure] * len(writes)
        if not self.go.is_set():
            self.waiting.set()
            await self.go.wait()
        return await self._commit_each(writes)

    async def create(self) -> tuple[int, str]:
        """Code and name (or message)."""
        async with self.client.post(CONFIGMAPS, json=BODY, headers=ADMIN) as made:
            answer = await made.json()
            return made.status, answer["metadata"].get("name") or answer["message"]

    async def warm_up(self) -> None:
        """Until the body is known so well that its creates are committed together."""
        self.together.clear()
        for _ in range(40):
            assert (await self.create())[0] == 201
            if self.together:
                return
        raise AssertionError("what is created again and again is never begun")


@contextlib.asynccontextmanager
async def door(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Door]:
    # What is known of a body is known for a second.
    monkeypatch.setattr(clock, "timestamp", lambda: "2026-01-02T03:04:05Z")
    directory.joinpath("tokens.csv").write_text('T,admin,1,"system:masters"\n')
    server = ApiServer(
        ApiServerConfig(
            data_dir=directory / "data",
            token_auth_file=directory / "tokens.csv",
            serving=ServingSettings(port=0, shutdown_grace=0.5),
            storage=StorageSettings(backend="memory"),
        )
    )
    await server.start()
    assert server.pki is not None
    tls = ssl.create_default_context(cadata=server.pki.ca.certificate.decode())
    try:
        connector = aiohttp.TCPConnector(ssl=tls, limit=0)
        async with aiohttp.ClientSession(server.url, connector=connector) as client:
            yield Door(server, client)
        await asyncio.sleep(0)
    finally:
        await server.stop()


async def test_creates_of_one_body_are_committed_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with door(tmp_path, monkeypatch) as it:
        await it.warm_up()
        answers = await asyncio.gather(*(it.create() for _ in range(30)))
        assert {code for code, _ in answers} == {201} and len({name for _, name in answers}) == 30
        assert sum(it.together) == 31 and len(it.together) < 31
        async with it.client.get(CONFIGMAPS, headers=ADMIN) as got:
            there = {one["metadata"]["name"] for one in (await got.json())["items"]}
        assert there >= {name for _, name in answers}


async def test_what_fails_is_told_and_a_name_that_is_taken_is_chosen_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with door(tmp_path, monkeypatch) as it:
        await it.warm_up()
        it.failures = [CompareFailed(0, "k", 0, None)]
        assert (await it.create())[0] == 201
        it.failures = [StoreFull("the disk is full")]
        code, message = await it.create()
        assert code == 507 and "the disk is full" in message
        it.failures = [StoreClosed("gone")]
        assert (await it.create())[0] == 503
        it.failures = [RuntimeError("a bug")]
        assert (await it.create())[0] == 500
        assert it.rest._writes.count == 0
        assert (await it.create())[0] == 201


async def test_a_write_that_takes_too_long_is_given_up_and_counted_until_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with door(tmp_path, monkeypatch) as it:
        await it.warm_up()
        it.go.clear()
        hanging = asyncio.ensure_future(it.create())
        await it.waiting.wait()
        assert _writing() == 1
        assert it.rest._server is not None
        (connection,) = (one for one in it.rest._server.connections if one.busy)
        connection._active.deadline = 1e-9  # type: ignore[union-attr]
        connection.sweep(asyncio.get_running_loop().time())
        code, message = await hanging
        assert code == 504 and "timeout" in message
        assert it.rest._gate.flow(_admin(), "create").level.queues.running == 0  # type: ignore[arg-type]
        it.go.set()
        assert (await it.create())[0] == 201
        assert it.rest._writes.count == _writing() == 0


async def test_a_stopping_server_does_not_wait_for_a_write_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with door(tmp_path, monkeypatch) as it:
        await it.warm_up()
        it.go.clear()
        hanging = asyncio.ensure_future(it.create())
        await it.waiting.wait()
        assert it.rest._server is not None
        for connection in tuple(it.rest._server.connections):
            connection.abort()
        with pytest.raises(aiohttp.ClientError):
            await hanging
        it.go.set()


def _admin() -> object:
    from coxswain.client.interface import UserInfo

    return UserInfo("admin", ("system:masters", "system:authenticated"))


def _writing() -> float:
    samples = _in_flight(tuple(RUNNING)).samples
    return next(one.value for one in samples if one.labels["request_kind"] == WRITING)
