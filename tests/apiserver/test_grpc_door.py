"""The gRPC door over real sockets: batches, lists, watches, who may come in, limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import orjson
import pytest

from coxswain._generated import build, messages
from coxswain._generated.descriptors import FILES
from coxswain.api import errors
from coxswain.api.names import PODS
from coxswain.apiserver import pki
from coxswain.apiserver.authn import Authenticator, StaticTokens
from coxswain.apiserver.grpc_door import GrpcDoor, GrpcSettings
from coxswain.base.errors import ResourceUnavailable
from coxswain.client.interface import Answer, Call, RawList, UserInfo, WatchEvent


class DictBackend:
    """Answers from a dict; remembers who asked what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.items = [orjson.dumps({"name": f"pod-{i}"}) for i in range(10)]
        self.hold = asyncio.Event()
        self.running = 0
        self.two_running = asyncio.Event()

    async def call(self, call: Call, user: UserInfo) -> Answer:
        self.asked.append((user.name, call.verb, call.name))
        if call.name == "missing":
            return Answer(404, orjson.dumps(errors.not_found(PODS, "missing").status()))
        if call.name == "broken":
            raise RuntimeError("a bug")
        if call.name == "slow":
            self.running += 1
            if self.running == 2:
                self.two_running.set()
            await self.hold.wait()
        return Answer(200, call.body or b"{}")

    async def exchange(self, calls: Sequence[Call], user: UserInfo) -> Sequence[Answer]:
        return [await self.call(call, user) for call in calls]

    async def list_raw(self, call: Call, user: UserInfo) -> RawList:
        if call.namespace == "forbidden":
            raise errors.forbidden(PODS, "", "no")
        return RawList(self.items if call.namespace else [], "42", "next", 3)

    @asynccontextmanager
    async def watch_events(self, call: Call, user: UserInfo) -> AsyncIterator[Any]:
        async def events() -> AsyncIterator[Sequence[WatchEvent]]:
            if call.query.get("resourceVersion") == "1":
                raise errors.Expired("too old resource version: 1 (7)")
            yield [WatchEvent("ADDED", item) for item in self.items]
            yield [WatchEvent("BOOKMARK", b"{}")]

        yield events()

    async def stream(self, call: Call, user: UserInfo) -> AsyncIterator[bytes]:
        raise errors.MethodNotAllowed("no streams here")


class World:
    """A door on a free port and what is needed to knock."""

    def __init__(self, directory: Path) -> None:
        self.keys = pki.Pki(directory / "pki")
        self.backend = DictBackend()

    @asynccontextmanager
    async def door(self, *, certificate: bool = True, **settings: int) -> AsyncIterator[grpc.aio.Channel]:
        tokens = StaticTokens({"secret": UserInfo("jane")})
        door = GrpcDoor(
            self.backend,
            Authenticator(tokens=tokens, anonymous=False),
            serving=self.keys.serving(),
            client_ca=self.keys.ca.certificate,
            settings=GrpcSettings(**settings),
            require_client_certificate=certificate,
        )
        port = await door.start("127.0.0.1:0")
        admin = self.keys.admin()
        credentials = grpc.ssl_channel_credentials(
            self.keys.ca.certificate,
            admin.key if certificate else None,
            admin.certificate if certificate else None,
        )
        try:
            async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
                yield channel
        finally:
            await door.stop(0)
            await door.stop(0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def stub(channel: grpc.aio.Channel, path: str) -> Any:
    reply = {
        messages.EXCHANGE: messages.AnswerBatch,
        messages.LIST: messages.ListChunk,
        messages.WATCH: messages.WatchBatch,
    }[path]
    make = channel.stream_stream if path == messages.EXCHANGE else channel.unary_stream
    return make(path, lambda message: message.SerializeToString(), reply.FromString)


def batch(number: int, *names: str, verb: str = "get", body: bytes = b"") -> messages.CallBatch:
    calls = [messages.Call(verb=verb, version="v1", resource="pods", name=name, body=body) for name in names]
    return messages.CallBatch(id=number, calls=calls)


async def exchange(channel: grpc.aio.Channel, *batches: messages.CallBatch, **options: Any) -> list[Any]:
    async def send() -> AsyncIterator[messages.CallBatch]:
        for one in batches:
            yield one

    return [answer async for answer in stub(channel, messages.EXCHANGE)(send(), **options)]


async def test_batches_are_answered_in_order(world: World) -> None:
    async with world.door() as channel:
        answers = await exchange(channel, batch(1, "a", "missing"), batch(2, "b"))
    assert [answer.id for answer in answers] == [1, 2]
    assert [[one.code for one in answer.answers] for answer in answers] == [[200, 404], [200]]
    assert ("kubernetes-admin", "get", "a") in world.backend.asked


async def test_later_batches_run_while_an_earlier_one_waits(world: World) -> None:
    async with world.door(in_flight=4) as channel:
        call = stub(channel, messages.EXCHANGE)()
        await call.write(batch(1, "slow"))
        await call.write(batch(2, "slow"))
        await world.backend.two_running.wait()
        world.backend.hold.set()
        assert [(await call.read()).id, (await call.read()).id] == [1, 2]
        await call.done_writing()


async def test_bad_calls_fail_alone(world: World) -> None:
    async with world.door(max_body_bytes=10, max_batch_calls=2) as channel:
        mixed = messages.CallBatch(
            id=1, calls=[messages.Call(verb="fly"), *batch(0, "a", body=b"x" * 11).calls]
        )
        answers = await exchange(channel, mixed, batch(2, "a", "b", "c"), batch(3, "broken"), batch(4))
    assert [[one.code for one in answer.answers] for answer in answers] == [[400, 413], [413] * 3, [500], []]


async def test_bearer_token_counts_instead_of_the_certificate(world: World) -> None:
    async with world.door() as channel:
        await exchange(channel, batch(1, "a"), metadata=(("authorization", "Bearer secret"),))
    assert world.backend.asked == [("jane", "get", "a")]


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer wrong"),)])
async def test_strangers_are_unauthenticated(world: World, metadata: Any) -> None:
    async with world.door(certificate=False) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await exchange(channel, batch(1, "a"), metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert world.backend.asked == []


async def test_list_comes_in_chunks(world: World) -> None:
    async with world.door(chunk_bytes=60) as channel:
        call = messages.Call(verb="list", version="v1", resource="pods", namespace="ns")
        chunks = [chunk async for chunk in stub(channel, messages.LIST)(call)]
        empty = [chunk async for chunk in stub(channel, messages.LIST)(messages.Call(verb="list"))]
    assert len(chunks) > 1
    assert [item for chunk in chunks for item in chunk.items] == world.backend.items
    last = chunks[-1]
    assert (last.resource_version, getattr(last, "continue"), last.remaining) == ("42", "next", 3)
    assert [chunk.resource_version for chunk in empty] == ["42"]


async def test_failed_list_is_one_chunk(world: World) -> None:
    async with world.door() as channel:
        call = messages.Call(verb="list", namespace="forbidden")
        chunks = [chunk async for chunk in stub(channel, messages.LIST)(call)]
    assert [chunk.failure.code for chunk in chunks] == [403]


async def test_watch_delivers_batches_and_ends(world: World) -> None:
    async with world.door(chunk_bytes=100) as channel:
        batches = [one async for one in stub(channel, messages.WATCH)(messages.Call(verb="watch"))]
    events = [event for one in batches for event in one.events]
    assert len(batches) > 2
    assert [messages.EVENT_NAMES[event.type] for event in events] == ["ADDED"] * 10 + ["BOOKMARK"]
    assert [event.object for event in events[:10]] == world.backend.items


async def test_failed_watch_ends_with_an_error_event(world: World) -> None:
    async with world.door() as channel:
        call = messages.Call(verb="watch", query={"resourceVersion": "1"})
        batches = [one async for one in stub(channel, messages.WATCH)(call)]
    (event,) = batches[0].events
    assert messages.EVENT_NAMES[event.type] == "ERROR"
    assert orjson.loads(event.object)["reason"] == "Expired"


async def test_taken_port_is_said_so(world: World) -> None:
    def door() -> GrpcDoor:
        return GrpcDoor(
            world.backend,
            Authenticator(),
            serving=world.keys.serving(),
            client_ca=world.keys.ca.certificate,
        )

    first = door()
    port = await first.start("127.0.0.1:0")
    with pytest.raises(ResourceUnavailable, match="cannot be used"):
        await door().start(f"127.0.0.1:{port}")
    await first.stop(0)


def test_committed_descriptors_are_those_of_the_proto_files() -> None:
    pytest.importorskip("grpc_tools")
    if not (build.ROOT / "proto").is_dir():
        pytest.skip("no source checkout")
    assert build.compile_protos(build.ROOT / "proto") == FILES
    namespace: dict[str, Any] = {}
    exec(build.render(FILES), namespace)
    assert namespace["FILES"] == FILES
