"""Objects, lists and watches in Kubernetes' protobuf form."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from apiserver.core_support import ADMIN, CONFIGMAPS, Cluster, cluster, configmap
from coxswain.api import errors, protobuf
from coxswain.api.names import GVR, Object
from coxswain.apiserver.negotiation import Representation
from coxswain.apiserver.verbs.watching import watch_error
from coxswain.client.interface import Call

PROTOBUF = "application/vnd.kubernetes.protobuf"
METADATA = f"{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = f"{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
EVENTS = GVR("events.k8s.io", "v1", "events")


def frames(data: bytes) -> list[tuple[str, Object]]:
    found = []
    while data:
        (size,) = struct.unpack(">I", data[:4])
        found.append(protobuf.decode_event(data[4 : 4 + size]))
        data = data[4 + size :]
    return found


async def watch(c: Cluster, resource: GVR = CONFIGMAPS, accept: str = PROTOBUF, **query: str) -> Any:
    call = Call("watch", resource, "default", "", "", query, accept=accept)
    return await c.pipeline.open_watch(call, ADMIN)


async def test_events_are_framed_by_their_length() -> None:
    async with cluster() as c:
        await c.do("create", CONFIGMAPS, body=configmap("a", k="1"))
        session = await watch(c)
        assert session.content_type == f"{PROTOBUF};stream=watch"
        await c.do("create", CONFIGMAPS, body=configmap("b"))
        await c.do("delete", CONFIGMAPS, "a")
        seen = frames(session.lines(session.watcher.drain()))
        assert [(kind, obj["metadata"]["name"]) for kind, obj in seen] == [
            ("ADDED", "a"),
            ("ADDED", "b"),
            ("DELETED", "a"),
        ]
        assert seen[0][1]["data"] == {"k": "1"}
        assert seen[0][1]["kind"] == "ConfigMap"
        session.close()


async def test_initial_events_end_with_a_bookmark() -> None:
    async with cluster() as c:
        options = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        session = await watch(c, allowWatchBookmarks="true", **options)
        ((kind, obj),) = frames(session.lines(session.watcher.drain()))
        assert kind == "BOOKMARK"
        assert obj["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        session.close()


async def test_watches_of_metadata_only() -> None:
    async with cluster() as c:
        await c.do("create", CONFIGMAPS, body=configmap("a", k="1"))
        session = await watch(c, accept=METADATA, allowWatchBookmarks="true")
        session.send_bookmark()
        seen = frames(session.lines(session.watcher.drain()))
        assert [(kind, obj["kind"]) for kind, obj in seen] == [
            ("ADDED", "PartialObjectMetadata"),
            ("BOOKMARK", "PartialObjectMetadata"),
        ]
        assert "data" not in seen[0][1]
        session.close()


async def test_bookmarks_of_metadata_watches_are_metadata_in_json_too() -> None:
    async with cluster() as c:
        accept = METADATA.replace(PROTOBUF, "application/json")
        session = await watch(c, accept=accept, allowWatchBookmarks="true")
        session.send_bookmark()
        assert b'"kind":"PartialObjectMetadata"' in session.lines(session.watcher.drain())
        session.close()


async def test_an_old_revision_is_told_in_the_same_form() -> None:
    status = errors.Expired("too old").status()
    content_type, frame = watch_error(Representation(PROTOBUF), status)
    assert content_type == f"{PROTOBUF};stream=watch"
    ((kind, obj),) = frames(frame)
    assert (kind, obj["code"], obj["reason"]) == ("ERROR", 410, "Expired")


async def test_yaml_is_no_stream() -> None:
    async with cluster() as c:
        with pytest.raises(errors.NotAcceptable, match="stream=watch"):
            await watch(c, accept="application/yaml")


async def test_objects_of_another_version_are_converted() -> None:
    async with cluster() as c:
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "e"},
            "involvedObject": {"kind": "Pod", "namespace": "default"},
            "message": "hello",
        }
        await c.do("create", GVR("", "v1", "events"), body=event)
        session = await watch(c, EVENTS)
        ((_, obj),) = frames(session.lines(session.watcher.drain()))
        assert (obj["apiVersion"], obj["note"]) == ("events.k8s.io/v1", "hello")
        session.close()


async def test_lists_of_objects_and_of_metadata() -> None:
    async with cluster() as c:
        await c.do("create", CONFIGMAPS, body=configmap("a", k="1"))
        whole, gvk = protobuf.decode((await c.call("list", CONFIGMAPS, accept=PROTOBUF)).body)
        assert gvk.kind == "ConfigMapList"
        assert whole["items"][0]["data"] == {"k": "1"}
        answer = await c.call("list", CONFIGMAPS, accept=METADATA_LIST)
        partial, gvk = protobuf.decode(answer.body)
        assert gvk.kind == "PartialObjectMetadataList"
        assert partial["items"][0]["metadata"]["name"] == "a"
        one, gvk = protobuf.decode((await c.call("get", CONFIGMAPS, "a", accept=METADATA)).body)
        assert (gvk.kind, one["metadata"]["name"]) == ("PartialObjectMetadata", "a")
