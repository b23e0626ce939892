"""The gRPC transport batches what is asked for together, and survives what the wire does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coxswain.api import errors
from coxswain.api.names import CONFIGMAPS, PODS, Object
from coxswain.apiserver.authn.authenticator import Authenticator
from coxswain.apiserver.grpc_door import GrpcDoor
from coxswain.apiserver.pki import Pki
from coxswain.base.errors import ConfigurationError
from coxswain.client import kubeconfig
from coxswain.client.client import ApiClient
from coxswain.client.connect import connect, transport
from coxswain.client.grpc import GrpcTransport
from coxswain.client.informer import InformerFactory
from coxswain.client.interface import Answer, Call, RawList, UserInfo, WatchStream
from coxswain.client.kubeconfig import Config
from coxswain.client.rest import RestTransport
from fakeapi import FakeApi


class Door:
    """An in-memory API behind the real gRPC door."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.batches: list[int] = []
        self.hang = False
        self.answering = asyncio.Event()
        self.answering.set()
        self.asked = asyncio.Event()

    async def exchange(self, calls: Sequence[Call], user: UserInfo) -> Sequence[Answer]:
        self.batches.append(len(calls))
        self.asked.set()
        if self.hang:
            await asyncio.Event().wait()
        await self.answering.wait()
        return await self.api.batch(calls)

    async def call(self, call: Call, user: UserInfo) -> Answer:
        return await self.api.call(call)

    async def list_raw(self, call: Call, user: UserInfo) -> RawList:
        return await self.api.list(call)

    def watch_events(self, call: Call, user: UserInfo) -> WatchStream:
        return self.api.watch(call)  # type: ignore[no-any-return]

    async def stream(self, call: Call, user: UserInfo) -> AsyncIterator[bytes]:
        raise errors.NotFound("no streams here")


class Everybody:
    def authenticate(self, certificate: bytes | None, authorization: str | None) -> UserInfo | None:
        if authorization == "Bearer wrong":
            raise errors.Unauthorized()
        return UserInfo("admin")


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[tuple[Door, Config, GrpcDoor]]:
    pki = Pki(tmp_path)
    backend = Door(FakeApi())
    authenticator: Authenticator = Everybody()  # type: ignore[assignment]
    door = GrpcDoor(backend, authenticator, serving=pki.serving(), client_ca=pki.ca.certificate)
    port = await door.start("127.0.0.1:0")
    admin = pki.admin()
    config = Config(
        "https://127.0.0.1:1",
        authority=pki.ca.certificate,
        certificate=admin.certificate,
        key=admin.key,
        grpc_address=f"127.0.0.1:{port}",
    )
    try:
        yield backend, config, door
    finally:
        await door.stop(0.1)


def pod(name: str) -> Object:
    return {"metadata": {"name": name, "namespace": "d"}, "spec": {}}


async def test_calls_of_one_moment_travel_together_and_answers_find_their_callers(tmp_path: Path) -> None:
    async with served(tmp_path) as (door, config, _), ApiClient(GrpcTransport(config)) as client:
        made = await asyncio.gather(*(client.create(PODS, pod(f"p{number}")) for number in range(300)))
        assert [obj["metadata"]["name"] for obj in made] == [f"p{number}" for number in range(300)]
        assert door.batches == [256, 44]
        assert (await client.get(PODS, "p7", "d"))["metadata"]["name"] == "p7"
        with pytest.raises(errors.NotFound, match='pods "none" not found'):
            await client.get(PODS, "none", "d")
        answers = await client.batch([Call("get", PODS, "d", "none"), Call("get", PODS, "d", "p1")])
        assert [answer.code for answer in answers] == [404, 200]


async def _two_moments(door: Door, client: ApiClient) -> list[asyncio.Future[Object]]:
    """A call that is sent and not answered, and two more that are asked for at two moments after it."""
    asked = [asyncio.ensure_future(client.create(PODS, pod("a")))]
    await door.asked.wait()
    for name in ("b", "c"):
        asked.append(asyncio.ensure_future(client.create(PODS, pod(name))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return asked


async def test_what_is_asked_for_while_a_message_is_unanswered_goes_together_after_it(tmp_path: Path) -> None:
    async with served(tmp_path) as (door, config, _), ApiClient(GrpcTransport(config, gather=60)) as client:
        door.answering.clear()
        asked = await _two_moments(door, client)
        door.answering.set()
        async with asyncio.timeout(20):
            assert [made["metadata"]["name"] for made in await asyncio.gather(*asked)] == ["a", "b", "c"]
        assert door.batches == [1, 2]
        await client.get(PODS, "a", "d")  # nothing is unanswered: at once
        assert door.batches == [1, 2, 1]


async def test_what_is_gathered_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    async with served(tmp_path) as (door, config, _), ApiClient(GrpcTransport(config, gather=0.01)) as client:
        door.answering.clear()
        asked = [asyncio.ensure_future(client.create(PODS, pod("a")))]
        await door.asked.wait()
        door.asked.clear()
        asked.append(asyncio.ensure_future(client.create(PODS, pod("b"))))
        async with asyncio.timeout(20):
            await door.asked.wait()
            assert door.batches == [1, 1]
            door.answering.set()
            await asyncio.gather(*asked)


async def test_closing_fails_what_is_gathered(tmp_path: Path) -> None:
    async with served(tmp_path) as (door, config, _):
        door.hang = True
        client: Any = ApiClient(GrpcTransport(config, gather=60))
        asked = await _two_moments(door, client)
        await client.close()
        for each in asked:
            with pytest.raises(errors.ServiceUnavailable):
                await each
        assert door.batches == [1]


async def test_lists_and_watches_bring_the_stored_bytes(tmp_path: Path) -> None:
    async with served(tmp_path) as (door, config, _), ApiClient(GrpcTransport(config)) as client:
        door.api.add(PODS, pod("a"))
        page = await client.list(PODS, "d", limit=1)
        assert (len(page.items), page.continue_) == (1, "")
        async with client.watch(PODS, resource_version=page.resource_version) as batches:
            door.api.add(PODS, pod("b"))
            events = await anext(batches)
            assert [(event.type, event.object["metadata"]["name"]) for event in events] == [("ADDED", "b")]
        door.api.compact()
        with pytest.raises(errors.Expired):
            async with client.watch(PODS, resource_version="1") as batches:
                await anext(batches)


async def test_an_informer_follows_over_a_restart_of_the_server(tmp_path: Path) -> None:
    async with served(tmp_path) as (backend, config, door), ApiClient(GrpcTransport(config)) as client:
        factory = InformerFactory(client)
        informer = factory.informer(PODS)
        await factory.start()
        await factory.wait_for_sync()
        await door.stop(0.1)
        with pytest.raises(errors.ServiceUnavailable):
            await client.get(PODS, "a", "d")
        backend.api.add(PODS, pod("a"))
        seen = asyncio.Event()
        informer.add_handler(lambda _: seen.set())
        await door.start(config.grpc_address)
        async with asyncio.timeout(20):
            await seen.wait()
            while True:
                try:
                    await client.get(PODS, "a", "d")
                    break
                except errors.ServiceUnavailable:
                    await asyncio.sleep(0.05)
        await factory.stop()


async def test_an_answer_that_does_not_come_is_a_timeout(tmp_path: Path) -> None:
    async with served(tmp_path) as (door, config, _):
        door.hang = True
        async with ApiClient(GrpcTransport(config, timeout=0.05)) as client:
            with pytest.raises(errors.Timeout):
                await client.get(PODS, "a", "d")


async def test_nobody_is_unauthorized(tmp_path: Path) -> None:
    async with (
        served(tmp_path) as (_, config, _),
        ApiClient(GrpcTransport(replace(config, token="wrong"))) as client,
    ):
        with pytest.raises(errors.Unauthorized):
            await client.get(PODS, "a", "d")
        with pytest.raises(errors.Unauthorized):
            await client.list(PODS)


async def test_closing_fails_what_is_under_way(tmp_path: Path) -> None:
    async with served(tmp_path) as (door, config, _):
        door.hang = True
        client: Any = ApiClient(GrpcTransport(config))
        asking = asyncio.ensure_future(client.get(CONFIGMAPS, "a", "d"))
        await door.asked.wait()
        await client.close()
        with pytest.raises(errors.ServiceUnavailable):
            await asking


async def test_the_kubeconfig_chooses_the_wire(tmp_path: Path) -> None:
    path = tmp_path / "config"
    config = Config("https://127.0.0.1:1", token="t", grpc_address="127.0.0.1:2")
    kubeconfig.write(path, config)
    assert isinstance((await connect(path)).transport, GrpcTransport)
    assert isinstance((await connect(path, wire="rest")).transport, RestTransport)
    with pytest.raises(ConfigurationError, match="no extension"):
        transport(replace(config, grpc_address=""), "grpc")
    with pytest.raises(ConfigurationError, match="cannot skip"):
        transport(replace(config, insecure=True))
