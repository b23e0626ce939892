"""Custom resources in several versions that a webhook converts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from apiserver.core_support import ADMIN, Cluster, cluster
from apiserver.webhook_server import raw, webhook_server
from coxswain.api.errors import ApiError
from coxswain.api.names import CUSTOM_RESOURCE_DEFINITIONS as DEFINITIONS
from coxswain.api.names import GVR, Object
from coxswain.apiserver.admission.webhooks.client import Target, failed
from coxswain.apiserver.customresources.controller import Controller
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.interface import APPLY_PATCH, MERGE_PATCH, Call

V1 = GVR("h.example.com", "v1", "boats")
V2 = GVR("h.example.com", "v2", "boats")

#: v1 has spec.size ("3x4"), v2 has spec.length and spec.width.
SIZES: Object = {
    "v1": {"size": {"type": "string"}, "note": {"type": "string", "default": "old"}},
    "v2": {
        "length": {"type": "integer"},
        "width": {"type": "integer"},
        "note": {"type": "string", "default": "new"},
    },
}


def schema(version: str) -> Object:
    status = {"type": "object", "properties": {"wet": {"type": "boolean"}}}
    spec = {"type": "object", "properties": SIZES[version]}
    return {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}}


def definition(stored: str = "v1") -> Object:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.h.example.com"},
        "spec": {
            "group": "h.example.com",
            "scope": "Namespaced",
            "names": {"plural": "boats", "kind": "Boat", "singular": "boat"},
            "versions": [
                {
                    "name": name,
                    "served": True,
                    "storage": name == stored,
                    "schema": schema(name),
                    "subresources": {"status": {}},
                }
                for name in ("v1", "v2")
            ],
            "conversion": {
                "strategy": "Webhook",
                "webhook": {
                    "conversionReviewVersions": ["v1"],
                    "clientConfig": {"url": "https://converter.test/convert"},
                },
            },
        },
    }


def convert(obj: Object, api_version: str) -> Object:
    spec = dict(obj.get("spec") or {})
    if api_version.endswith("/v2"):
        if "size" in spec:
            spec["length"], spec["width"] = map(int, spec.pop("size").split("x"))
    elif "length" in spec:
        spec["size"] = f"{spec.pop('length')}x{spec.pop('width')}"
    return {**obj, "apiVersion": api_version, "spec": spec}


class Webhook:
    """Answers in this process; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Object] = []
        self.change: Callable[[Object], Any] = lambda review: review
        self.closed = False

    async def __call__(self, target: Target, body: bytes) -> bytes:
        assert target.url == "https://converter.test/convert?timeout=30s"
        await asyncio.sleep(0)
        asked = orjson.loads(body)["request"]
        self.asked.append(asked)
        made = [convert(obj, asked["desiredAPIVersion"]) for obj in asked["objects"]]
        answer = {"uid": asked["uid"], "convertedObjects": made, "result": {"status": "Success"}}
        review = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": answer}
        changed = self.change(review)
        if changed is None:
            raise failed(target, "dial tcp 127.0.0.1:443: connect: connection refused")
        return orjson.dumps(changed)

    async def close(self) -> None:
        self.closed = True


class Harbor(Cluster):
    webhook: Webhook


@asynccontextmanager
async def harbor(stored: str = "v1") -> AsyncIterator[Harbor]:
    async with cluster() as c:
        made = Harbor(c.pipeline)
        made.webhook = Webhook()
        controller = Controller(c.pipeline, ADMIN, caller=made.webhook)
        controller.start()
        task = asyncio.get_running_loop().create_task(controller.run())
        try:
            await made.do("create", DEFINITIONS, body=definition(stored), namespace="")
            await clock.sleep(1)
            yield made
        finally:
            await cancel_and_wait(task)
        assert made.webhook.closed


def old(name: str, size: str = "3x4") -> Object:
    return {
        "apiVersion": "h.example.com/v1",
        "kind": "Boat",
        "metadata": {"name": name, "labels": {"a": "b"}},
        "spec": {"size": size},
    }


def new(name: str, length: int = 5, width: int = 6) -> Object:
    return {
        "apiVersion": "h.example.com/v2",
        "kind": "Boat",
        "metadata": {"name": name},
        "spec": {"length": length, "width": width},
    }


@pytest.mark.virtual
async def test_objects_are_seen_in_every_version() -> None:
    async with harbor() as c:
        made = await c.do("create", V1, body=old("a"))
        assert not c.webhook.asked
        seen = await c.do("get", V2, "a")
        assert seen["apiVersion"] == "h.example.com/v2"
        assert seen["spec"] == {"length": 3, "width": 4, "note": "old"}
        assert seen["metadata"]["uid"] == made["metadata"]["uid"]
        assert seen["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        (asked,) = c.webhook.asked
        assert asked["desiredAPIVersion"] == "h.example.com/v2"
        await c.do("get", V2, "a")
        assert len(c.webhook.asked) == 1  # remembered


@pytest.mark.virtual
async def test_new_objects_are_stored_in_the_storage_version() -> None:
    async with harbor() as c:
        made = await c.do("create", V2, body=new("b"))
        assert made["spec"] == {"length": 5, "width": 6, "note": "new"}
        stored = await c.do("get", V1, "b")
        assert stored["apiVersion"] == "h.example.com/v1"
        assert stored["spec"] == {"size": "5x6", "note": "new"}
        changed = await c.do("patch", V2, "b", body={"spec": {"width": 9}}, content_type=MERGE_PATCH)
        assert changed["spec"] == {"length": 5, "width": 9, "note": "new"}
        assert (await c.do("get", V1, "b"))["spec"]["size"] == "5x9"
        await c.do(
            "update",
            V1,
            "b",
            body={
                **old("b", "1x1"),
                "metadata": stored["metadata"] | {"resourceVersion": changed["metadata"]["resourceVersion"]},
            },
        )
        assert (await c.do("get", V2, "b"))["spec"]["length"] == 1


@pytest.mark.virtual
async def test_status_and_apply_go_through_any_version() -> None:
    async with harbor() as c:
        await c.do("create", V1, body=old("a"))
        await c.do(
            "patch", V2, "a", body={"status": {"wet": True}}, content_type=MERGE_PATCH, subresource="status"
        )
        assert (await c.do("get", V1, "a"))["status"] == {"wet": True}
        body = {**new("a", 7, 8), "metadata": {"name": "a"}}
        applied = await c.do(
            "patch", V2, "a", body=body, content_type=APPLY_PATCH, fieldManager="m", force="true"
        )
        assert applied["spec"]["length"] == 7
        assert (await c.do("get", V1, "a"))["spec"]["size"] == "7x8"
        await c.do("delete", V2, "a")
        with pytest.raises(ApiError):
            await c.do("get", V1, "a")


@pytest.mark.virtual
async def test_a_list_is_one_question() -> None:
    async with harbor() as c:
        for number in range(5):
            await c.do("create", V1, body=old(f"b{number}", f"{number}x1"))
        found = await c.do("list", V2)
        assert found["kind"] == "BoatList"
        assert [item["spec"]["length"] for item in found["items"]] == [0, 1, 2, 3, 4]
        assert [len(asked["objects"]) for asked in c.webhook.asked] == [5]
        page = await c.do("list", V2, limit="2")
        assert len(page["items"]) == 2 and len(c.webhook.asked) == 1
        table = await c.do("list", V2, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        assert len(table["rows"]) == 5
        deleted = await c.do("deletecollection", V2)
        assert deleted["kind"] in ("BoatList", "Status")


@pytest.mark.virtual
async def test_watches_show_their_own_version_in_order() -> None:
    async with harbor() as c:
        await c.do("create", V1, body=old("a"))
        seen: list[tuple[str, str, Any]] = []

        async def follow() -> None:
            async with c.pipeline.watch_events(Call("watch", V2, "default"), ADMIN) as stream:
                async for batch in stream:
                    for event in batch:
                        obj = orjson.loads(event.raw)
                        seen.append((event.type, obj["metadata"]["name"], obj.get("spec")))

        task = asyncio.get_running_loop().create_task(follow())
        await clock.sleep(1)
        await c.do("create", V2, body=new("b"))
        await c.do("patch", V1, "a", body={"spec": {"size": "9x9"}}, content_type=MERGE_PATCH)
        await c.do("delete", V1, "b")
        await clock.sleep(1)
        await cancel_and_wait(task)
        assert [(kind, name) for kind, name, _ in seen] == [
            ("ADDED", "a"),
            ("ADDED", "b"),
            ("MODIFIED", "a"),
            ("DELETED", "b"),
        ]
        assert seen[2][2] == {"length": 9, "width": 9, "note": "old"}
        entry = c.core.registry.get(V2)
        assert entry is not None and entry.cache is not None and not list(entry.cache.watchers())


@pytest.mark.virtual
async def test_a_watch_that_cannot_be_converted_ends_with_an_error() -> None:
    async with harbor() as c:
        await c.do("create", V1, body=old("a"))
        c.webhook.change = lambda review: None
        events = []
        async with c.pipeline.watch_events(Call("watch", V2, "default"), ADMIN) as stream:
            async for batch in stream:
                events += batch
        (event,) = events
        assert event.type == "ERROR"
        assert orjson.loads(event.raw)["code"] == 500


def broken(**more: Any) -> Callable[[Object], Object]:
    return lambda review: {**review, "response": {**review["response"], **more}}


def changed(**more: Any) -> Callable[[Object], Object]:
    def change(review: Object) -> Object:
        made = [{**obj, **more} for obj in review["response"]["convertedObjects"]]
        return {**review, "response": {**review["response"], "convertedObjects": made}}

    return change


FOR = "conversion webhook for h.example.com/v1, Kind=Boat "


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda review: None,
            FOR
            + 'failed: Post "https://converter.test/convert?timeout=30s": dial tcp 127.0.0.1:443: connect: '
            "connection refused",
        ),
        (lambda review: {**review, "response": None}, FOR + "failed: no response provided"),
        (
            lambda review: {**review, "kind": "Other"},
            FOR + "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got "
            "apiextensions.k8s.io/v1, Kind=Other",
        ),
        (broken(result={"status": "Failure", "message": "no boats"}), FOR + "failed: no boats"),
        (
            broken(result={"status": "Failure"}),
            FOR + "failed: response.result.status was 'Failure', not 'Success'",
        ),
        (broken(convertedObjects=[]), FOR + "returned 0 objects, expected 1"),
        (
            changed(apiVersion="h.example.com/v3"),
            FOR + "returned invalid object at index 0: invalid groupVersion (expected h.example.com/v2, "
            "received h.example.com/v3)",
        ),
        (
            changed(kind="Ship"),
            FOR + "returned invalid object at index 0: invalid kind (expected Boat, received Ship)",
        ),
        (
            changed(metadata={"name": "z", "namespace": "default"}),
            FOR + "returned invalid object: must have the same name: a != z",
        ),
    ],
)
@pytest.mark.virtual
async def test_failures_are_worded_as_kubernetes_does(change: Callable[[Object], Any], message: str) -> None:
    async with harbor() as c:
        await c.do("create", V1, body=old("a"))
        c.webhook.change = change
        with pytest.raises(ApiError) as caught:
            await c.do("get", V2, "a")
        assert (caught.value.code, caught.value.reason, caught.value.message) == (500, "", message)
        with pytest.raises(ApiError):
            await c.do("list", V2)
        assert (await c.do("get", V1, "a"))["spec"]["size"] == "3x4"
        c.webhook.change = lambda review: review
        assert (await c.do("get", V2, "a"))["spec"]["length"] == 3


@pytest.mark.virtual
async def test_what_cannot_be_converted_is_not_stored() -> None:
    async with harbor() as c:
        c.webhook.change = lambda review: None
        with pytest.raises(ApiError, match=r"conversion webhook for h\.example\.com/v2, Kind=Boat failed"):
            await c.do("create", V2, body=new("a"))
        assert (await c.do("list", V1))["items"] == []


@pytest.mark.virtual
async def test_metadata_is_kept_but_for_labels_and_annotations() -> None:
    async with harbor() as c:
        await c.do("create", V1, body=old("a"))

        def meddle(review: Object) -> Object:
            for obj in review["response"]["convertedObjects"]:
                metadata = {**obj["metadata"], "labels": {"x": "y"}, "finalizers": ["evil"], "generation": 99}
                obj["metadata"] = metadata
            return review

        c.webhook.change = meddle
        metadata = (await c.do("get", V2, "a"))["metadata"]
        assert metadata["labels"] == {"x": "y"}
        assert "finalizers" not in metadata and metadata["generation"] == 1


@pytest.mark.virtual
async def test_the_storage_version_may_change() -> None:
    async with harbor() as c:
        await c.do("create", V1, body=old("a"))
        found = await c.do("get", DEFINITIONS, "boats.h.example.com", namespace="")
        for version in found["spec"]["versions"]:
            version["storage"] = version["name"] == "v2"
        await c.do("update", DEFINITIONS, "boats.h.example.com", body=found, namespace="")
        await clock.sleep(1)
        assert (await c.do("get", V1, "a"))["spec"]["size"] == "3x4"
        assert (await c.do("get", V2, "a"))["spec"]["length"] == 3
        touched = await c.do(
            "patch", V1, "a", body={"metadata": {"labels": {"z": "1"}}}, content_type=MERGE_PATCH
        )
        assert touched["spec"]["size"] == "3x4"
        found = await c.do("get", DEFINITIONS, "boats.h.example.com", namespace="")
        assert found["status"]["storedVersions"] == ["v1", "v2"]


async def established(c: Cluster) -> None:
    """Wait until the definition is served."""
    async with c.pipeline.watch_events(Call("watch", DEFINITIONS), ADMIN) as stream:
        async for batch in stream:
            if any(b'"type":"Established"' in event.raw for event in batch):
                return


async def test_a_real_https_webhook_is_asked(tmp_path: Path) -> None:
    def answer(review: Object) -> bytes:
        asked = review["request"]
        made = [convert(obj, asked["desiredAPIVersion"]) for obj in asked["objects"]]
        response = {"uid": asked["uid"], "convertedObjects": made, "result": {"status": "Success"}}
        body = {"kind": "ConversionReview", "apiVersion": review["apiVersion"], "response": response}
        return raw("200 OK", orjson.dumps(body))

    async with webhook_server(tmp_path) as server, cluster() as c:
        controller = Controller(c.pipeline, ADMIN)
        task = asyncio.get_running_loop().create_task(controller.run())
        try:
            made = definition()
            made["spec"]["conversion"]["webhook"]["clientConfig"] = server.on("/convert", answer)
            await c.do("create", DEFINITIONS, body=made, namespace="")
            await established(c)
            await c.do("create", V2, body=new("a"))
            assert (await c.do("get", V1, "a"))["spec"] == {"size": "5x6", "note": "new"}
            assert [path for path, _ in server.asked] == ["/convert"] * len(server.asked)
        finally:
            await cancel_and_wait(task)
