"""What is audited of requests that come without HTTP: from components in this process, and over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import orjson
import pytest
import yaml

from coxswain._generated import messages
from coxswain.api import errors
from coxswain.api.names import CONFIGMAPS, PODS, SECRETS
from coxswain.apiserver.audit import policy
from coxswain.apiserver.audit.annotations import annotate
from coxswain.apiserver.audit.auditor import Auditor
from coxswain.apiserver.audit.doors import AuditedBackend, Origin
from coxswain.apiserver.audit.settings import AuditSettings
from coxswain.apiserver.authz.attributes import Attributes, Decision
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.client.inprocess import InProcessTransport
from coxswain.client.interface import Answer, Call, RawList, UserInfo

ADMIN = UserInfo("admin", ("system:masters",))
EVERYTHING: dict[str, Any] = {"level": "RequestResponse"}


class Kept:
    """A sink that keeps its events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def write(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    async def close(self) -> None:
        return None


class Small:
    """A backend of few answers."""

    async def call(self, call: Call, user: UserInfo) -> Answer:
        annotate("made/by", call.name)
        if call.name == "missing":
            return Answer(404, orjson.dumps(errors.not_found(PODS, "missing").status()))
        return Answer(201 if call.verb == "create" else 200, call.body or b'{"kind":"Pod"}')

    async def exchange(self, calls: Any, user: UserInfo) -> list[Answer]:
        raise AssertionError("calls are audited one by one")

    async def list_raw(self, call: Call, user: UserInfo) -> RawList:
        if call.namespace == "hidden":
            raise errors.forbidden(PODS, "", "no")
        return RawList([b'{"a":1}', b'{"a":2}'], "7")

    @asynccontextmanager
    async def watch_events(self, call: Call, user: UserInfo) -> AsyncIterator[Any]:
        if call.query.get("resourceVersion") == "1":
            raise errors.Expired("too old")
        yield "events"

    async def stream(self, call: Call, user: UserInfo) -> AsyncIterator[bytes]:
        async def lines() -> AsyncIterator[bytes]:
            yield b"one\n"
            yield b"two\n"

        return lines()


def audited(sink: Kept, *rules: dict[str, Any]) -> AuditedBackend:
    parsed = policy.parse({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules)})

    def authorize(attributes: Attributes) -> Decision:
        return Decision(attributes.namespace != "hidden", "because")

    return AuditedBackend(Small(), authorize, Auditor(parsed, [sink]), Origin(("10.0.0.5",), "cox/1"))


def stages(sink: Kept) -> list[tuple[str, int]]:
    return [(each["stage"], (each.get("responseStatus") or {}).get("code", 0)) for each in sink.events]


async def test_a_call_is_audited_as_over_rest() -> None:
    sink = Kept()
    body = orjson.dumps({"metadata": {"name": "a"}})
    answers = await audited(sink, EVERYTHING).exchange(
        [Call("create", PODS, "n", body=body), Call("get", PODS, "n", "missing", "status")], ADMIN
    )
    assert [answer.code for answer in answers] == [201, 404]
    created, missing = (each for each in sink.events if each["stage"] == "ResponseComplete")
    assert created["requestURI"] == "/api/v1/namespaces/n/pods"
    assert (created["sourceIPs"], created["userAgent"]) == (["10.0.0.5"], "cox/1")
    assert created["objectRef"] == {"resource": "pods", "namespace": "n", "name": "a", "apiVersion": "v1"}
    assert created["requestObject"] == created["responseObject"] == {"metadata": {"name": "a"}}
    assert created["annotations"]["authorization.k8s.io/reason"] == "because"
    assert missing["requestURI"] == "/api/v1/namespaces/n/pods/missing/status"
    assert (missing["responseStatus"]["reason"], missing["annotations"]["made/by"]) == ("NotFound", "missing")


async def test_lists_watches_and_streams_are_audited() -> None:
    sink = Kept()
    backend = audited(sink, EVERYTHING)
    await backend.list_raw(Call("list", PODS, "n", query={"labelSelector": "a=b"}), ADMIN)
    assert sink.events[-1]["requestURI"] == "/api/v1/namespaces/n/pods?labelSelector=a%3Db"
    assert [each["a"] for each in sink.events[-1]["responseObject"]["items"]] == [1, 2]
    sink.events.clear()
    with pytest.raises(errors.Forbidden):
        await backend.list_raw(Call("list", PODS, "hidden"), ADMIN)
    assert sink.events[-1]["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert stages(sink) == [("RequestReceived", 0), ("ResponseComplete", 403)]
    sink.events.clear()
    async with backend.watch_events(Call("watch", PODS, "n"), ADMIN) as events:
        assert (events, stages(sink)[-1]) == ("events", ("ResponseStarted", 200))
    assert stages(sink)[-1] == ("ResponseComplete", 200)
    with pytest.raises(errors.Expired):
        async with backend.watch_events(Call("watch", PODS, query={"resourceVersion": "1"}), ADMIN):
            raise AssertionError
    assert stages(sink)[-1] == ("ResponseComplete", 410)
    sink.events.clear()
    body = await backend.stream(Call("get", PODS, "n", "p", "log"), ADMIN)
    assert b"".join([chunk async for chunk in body]) == b"one\ntwo\n"
    assert [stage for stage, _ in stages(sink)] == ["RequestReceived", "ResponseStarted", "ResponseComplete"]


async def test_what_the_policy_leaves_out_is_left_alone() -> None:
    sink = Kept()
    backend = audited(sink, {"level": "Metadata", "resources": [{"resources": ["secrets"]}]})
    await backend.call(Call("get", PODS, "n", "p"), ADMIN)
    await backend.list_raw(Call("list", PODS, "n"), ADMIN)
    async with backend.watch_events(Call("watch", PODS), ADMIN):
        pass
    await backend.stream(Call("get", PODS, "n", "p", "log"), ADMIN)
    assert not sink.events
    await backend.call(Call("get", SECRETS, "n", "s"), ADMIN)
    assert "responseObject" not in sink.events[-1]


def _config(directory: Path, *, audit: bool, port: int = -1, grpc_port: int = -1) -> ApiServerConfig:
    (directory / "policy.yaml").write_text(
        yaml.safe_dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]})
    )
    return ApiServerConfig(
        data_dir=directory / "data",
        serving=ServingSettings(port=port, grpc_port=grpc_port, shutdown_grace=0.5),
        storage=StorageSettings(backend="memory"),
        audit=AuditSettings(directory / "policy.yaml", str(directory / "log")) if audit else AuditSettings(),
    )


def _logged(directory: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (directory / "log").read_bytes().splitlines()]


async def test_components_in_one_process_are_audited_where_there_is_a_policy(tmp_path: Path) -> None:
    server = ApiServer(_config(tmp_path, audit=True))
    await server.start()
    try:
        transport = InProcessTransport(server.backend, UserInfo("system:kube-scheduler"))
        answer = await transport.call(
            Call("create", CONFIGMAPS, "default", body=b'{"metadata":{"name":"a"}}')
        )
        assert answer.code == 403
    finally:
        await server.stop()
    (complete,) = [event for event in _logged(tmp_path) if event["stage"] == "ResponseComplete"]
    assert (complete["user"], complete["verb"]) == ({"username": "system:kube-scheduler"}, "create")
    assert (complete["sourceIPs"], complete["responseStatus"]["code"]) == (["127.0.0.1"], 403)


async def test_without_a_policy_they_meet_the_pipeline_itself(tmp_path: Path) -> None:
    server = ApiServer(_config(tmp_path, audit=False))
    await server.start()
    try:
        assert server.backend is server.pipeline
    finally:
        await server.stop()


async def test_the_grpc_door_is_audited(tmp_path: Path) -> None:
    server = ApiServer(_config(tmp_path, audit=True, port=0, grpc_port=0))
    await server.start()
    try:
        assert server.pki is not None
        admin = server.pki.admin()
        address = f"127.0.0.1:{server.grpc_port}"
        root = server.pki.ca.certificate
        async with _channel(address, root, admin.key, admin.certificate) as channel:
            listing = channel.unary_stream(
                f"/{messages.SERVICE}/List",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=messages.ListChunk.FromString,
            )
            asked = messages.Call(verb="list", version="v1", resource="configmaps", namespace="default")
            assert [chunk async for chunk in listing(asked)]
            with pytest.raises(grpc.aio.AioRpcError):
                wrong = listing(asked, metadata=(("authorization", "Bearer wrong"),))
                assert [chunk async for chunk in wrong]
    finally:
        await server.stop()
    listed = [event for event in _logged(tmp_path) if event["verb"] == "list"]
    assert [event["stage"] for event in listed] == ["RequestReceived", "ResponseComplete"]
    assert (listed[1]["user"]["username"], listed[1]["sourceIPs"]) == ("kubernetes-admin", ["127.0.0.1"])
    assert "grpc" in listed[1]["userAgent"]
    refused = _logged(tmp_path)[-1]
    assert (refused["stage"], refused["user"]) == ("ResponseStarted", {})
    assert refused["requestURI"] == f"/{messages.SERVICE}/List"
    assert refused["responseStatus"]["message"] == "Authentication failed, attempted: bearer, x509"


@asynccontextmanager
async def _channel(address: str, root: bytes, key: bytes, certificate: bytes) -> AsyncIterator[Any]:
    credentials = grpc.ssl_channel_credentials(root, key, certificate)
    async with grpc.aio.secure_channel(address, credentials) as channel:
        yield channel
