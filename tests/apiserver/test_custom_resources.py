"""Custom resources through the pipeline: definitions, their conditions, their objects, and how they go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from apiserver.core_support import ADMIN, Cluster, cluster
from coxswain.api import errors
from coxswain.api.names import CUSTOM_RESOURCE_DEFINITIONS as DEFINITIONS
from coxswain.api.names import GVR, Object
from coxswain.apiserver.customresources.controller import Controller
from coxswain.apiserver.customresources.definitions import version_order
from coxswain.apiserver.request import Reply
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.interface import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, Call
from coxswain.store.memory import MemoryStore

BOATS = GVR("h.example.com", "v1", "boats")
OLD_BOATS = GVR("h.example.com", "v1beta1", "boats")
SCHEMA: Object = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "oars": {"type": "integer", "maximum": 60},
                "sail": {"type": "boolean", "default": False},
                "color": {"type": "string"},
            },
        },
        "status": {"type": "object", "properties": {"oars": {"type": "integer"}}},
    },
}


def version(name: str, **more: Any) -> Object:
    return {"name": name, "served": True, "storage": False, "schema": {"openAPIV3Schema": SCHEMA}, **more}


def definition(plural: str = "boats", kind: str = "Boat", *versions: Object) -> Object:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.h.example.com"},
        "spec": {
            "group": "h.example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, "singular": plural[:-1]},
            "versions": list(versions) or [version("v1", storage=True)],
        },
    }


def boat(name: str, **spec: Any) -> Object:
    return {"apiVersion": "h.example.com/v1", "kind": "Boat", "metadata": {"name": name}, "spec": spec}


class Harbor(Cluster):
    """A cluster whose definitions are followed."""

    controller: Controller

    async def define(self, made: Object) -> Object:
        await self.do("create", DEFINITIONS, body=made, namespace="")
        return await self.settled(made["metadata"]["name"])

    async def settled(self, name: str) -> Object:
        await clock.sleep(1)
        return await self.do("get", DEFINITIONS, name, namespace="")


@asynccontextmanager
async def harbor(store: MemoryStore | None = None) -> AsyncIterator[Harbor]:
    async with cluster(store=store) as c:
        made = Harbor(c.pipeline)
        made.controller = Controller(c.pipeline, ADMIN)
        made.controller.start()
        task = asyncio.get_running_loop().create_task(made.controller.run())
        try:
            yield made
        finally:
            await cancel_and_wait(task)


def conditions(found: Object) -> dict[str, str]:
    return {each["type"]: each["status"] for each in found["status"]["conditions"]}


@pytest.mark.virtual
async def test_a_definition_is_established_and_served() -> None:
    async with harbor() as c:
        found = await c.define(definition())
        assert conditions(found) == {"NamesAccepted": "True", "Established": "True"}
        assert found["status"]["storedVersions"] == ["v1"]
        assert found["status"]["acceptedNames"]["listKind"] == "BoatList"
        made = await c.do("create", BOATS, body=boat("argo", oars=50))
        assert made["spec"] == {"oars": 50, "sail": False}
        assert made["metadata"]["generation"] == 1
        assert (await c.do("list", BOATS))["kind"] == "BoatList"
        resources = c.controller.published.catalog.resources[("h.example.com", "v1")]
        assert [resource.kind for resource in resources] == ["Boat"]


@pytest.mark.virtual
async def test_bad_definitions_are_refused_with_every_reason() -> None:
    async with harbor() as c:
        bad = definition("boats", "Boat", version("V1"), version("V1"))
        bad["metadata"]["name"] = "x"
        with pytest.raises(errors.Invalid) as caught:
            await c.do("create", DEFINITIONS, body=bad, namespace="")
        fields = {cause["field"] for cause in caught.value.details["causes"]}  # type: ignore[index]
        assert {"metadata.name", "spec.versions", "spec.versions[0].name", "status.storedVersions"} <= fields


@pytest.mark.virtual
async def test_unknown_fields_are_pruned_warned_of_or_refused() -> None:
    async with harbor() as c:
        await c.define(definition())
        with pytest.raises(errors.BadRequest, match=r'strict decoding error: unknown field "spec.x"'):
            await c.do("create", BOATS, body=boat("a", x=1), fieldValidation="Strict")
        made = await c.do("create", BOATS, body=boat("a", x=1), fieldValidation="Ignore")
        assert "x" not in made["spec"]
        with pytest.raises(errors.Invalid, match="less than or equal to 60"):
            await c.do("create", BOATS, body=boat("b", oars=61))


@pytest.mark.virtual
async def test_patches_of_custom_objects() -> None:
    async with harbor() as c:
        await c.define(definition())
        await c.do("create", BOATS, body=boat("a", oars=1))
        patched = await c.do("patch", BOATS, "a", {"spec": {"oars": 2}}, content_type=MERGE_PATCH)
        assert (patched["spec"]["oars"], patched["metadata"]["generation"]) == (2, 2)
        change = [{"op": "replace", "path": "/spec/oars", "value": 3}]
        assert (await c.do("patch", BOATS, "a", change, content_type=JSON_PATCH))["spec"]["oars"] == 3
        with pytest.raises(errors.UnsupportedMediaType):
            await c.do("patch", BOATS, "a", {}, content_type=STRATEGIC_MERGE_PATCH)
        applied = await c.do(
            "patch", BOATS, "a", boat("a", color="red"), content_type=APPLY_PATCH, fieldManager="me"
        )
        assert applied["spec"] == {"oars": 3, "sail": False, "color": "red"}
        with pytest.raises(errors.Conflict, match=r"spec.color"):
            body = boat("a", color="blue")
            await c.do("patch", BOATS, "a", body, content_type=APPLY_PATCH, fieldManager="you")


@pytest.mark.virtual
async def test_status_and_scale_subresources() -> None:
    paths = {"specReplicasPath": ".spec.oars", "statusReplicasPath": ".status.oars"}
    async with harbor() as c:
        parts = {"status": {}, "scale": paths}
        await c.define(definition("boats", "Boat", version("v1", storage=True, subresources=parts)))
        await c.do("create", BOATS, body={**boat("a", oars=3), "status": {"oars": 9}})
        change = {"status": {"oars": 2}, "spec": {"oars": 7}}
        made = await c.do("patch", BOATS, "a", change, subresource="status", content_type=MERGE_PATCH)
        assert (made["spec"]["oars"], made["status"], made["metadata"]["generation"]) == (3, {"oars": 2}, 1)
        scale = await c.do("get", BOATS, "a", subresource="scale")
        assert (scale["spec"], scale["status"]) == ({"replicas": 3}, {"replicas": 2})
        change = {"spec": {"replicas": 5}}
        await c.do("patch", BOATS, "a", change, subresource="scale", content_type=MERGE_PATCH)
        found = await c.do("get", BOATS, "a")
        assert (found["spec"]["oars"], found["metadata"]["generation"]) == (5, 2)


@pytest.mark.virtual
async def test_versions_show_the_same_objects() -> None:
    async with harbor() as c:
        await c.define(definition("boats", "Boat", version("v1", storage=True), version("v1beta1")))
        await c.do("create", BOATS, body=boat("a", oars=1))
        found = await c.do("get", OLD_BOATS, "a")
        assert found["apiVersion"] == "h.example.com/v1beta1"
        found["spec"]["oars"] = 2
        await c.do("update", OLD_BOATS, "a", found)
        assert (await c.do("get", BOATS, "a"))["spec"]["oars"] == 2
        stored = c.core.registry.lookup.raw(BOATS, "default", "a")
        assert stored is not None and b'"apiVersion":"h.example.com/v1"' in stored


@pytest.mark.virtual
async def test_a_changed_schema_holds_for_stored_objects_too() -> None:
    async with harbor() as c:
        await c.define(definition())
        await c.do("create", BOATS, body=boat("a", oars=1, color="red"))
        found = await c.do("get", DEFINITIONS, "boats.h.example.com", namespace="")
        properties = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"][
            "properties"
        ]
        del properties["color"]
        properties["mast"] = {"type": "integer", "default": 2}
        await c.do("update", DEFINITIONS, "boats.h.example.com", found, namespace="")
        await clock.sleep(1)
        assert (await c.do("get", BOATS, "a"))["spec"] == {"oars": 1, "sail": False, "mast": 2}


@pytest.mark.virtual
async def test_selectable_fields() -> None:
    async with harbor() as c:
        fields = [{"jsonPath": ".spec.color"}]
        await c.define(definition("boats", "Boat", version("v1", storage=True, selectableFields=fields)))
        for name, color in (("a", "red"), ("b", "blue")):
            await c.do("create", BOATS, body=boat(name, color=color))
        found = await c.do("list", BOATS, fieldSelector="spec.color=red")
        assert [item["metadata"]["name"] for item in found["items"]] == ["a"]
        with pytest.raises(errors.BadRequest, match="not a known field selector"):
            await c.do("list", BOATS, fieldSelector="spec.oars=1")


@pytest.mark.virtual
async def test_names_belong_to_the_first_who_asked_until_it_goes() -> None:
    async with harbor() as c:
        await c.define(definition())
        refused = await c.define(definition("ships", "Boat"))
        assert conditions(refused) == {"NamesAccepted": "False", "Established": "False"}
        await c.do("delete", DEFINITIONS, "boats.h.example.com", namespace="")
        freed = await c.settled("ships.h.example.com")
        assert conditions(freed) == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.virtual
async def test_a_deleted_definition_takes_its_objects_along_but_waits_for_finalizers() -> None:
    async with harbor() as c:
        await c.define(definition())
        held = boat("a", oars=1)
        held["metadata"]["finalizers"] = ["h.example.com/x"]
        await c.do("create", BOATS, body=held)
        await c.do("create", BOATS, body=boat("b", oars=1))
        await c.do("delete", DEFINITIONS, "boats.h.example.com", namespace="")
        found = await c.settled("boats.h.example.com")
        assert conditions(found)["Terminating"] == "True"
        assert [item["metadata"]["name"] for item in (await c.do("list", BOATS))["items"]] == ["a"]
        with pytest.raises(errors.MethodNotAllowed):
            await c.do("create", BOATS, body=boat("c", oars=1))
        await c.do("patch", BOATS, "a", {"metadata": {"finalizers": None}}, content_type=MERGE_PATCH)
        await clock.sleep(10)
        with pytest.raises(errors.NotFound, match="not found"):
            await c.do("get", DEFINITIONS, "boats.h.example.com", namespace="")
        with pytest.raises(errors.NotFound, match=r"could not find the requested resource"):
            await c.do("list", BOATS)
        await c.define(definition())
        assert (await c.do("list", BOATS))["items"] == []


@pytest.mark.virtual
async def test_custom_resources_are_there_again_after_a_restart() -> None:
    store = MemoryStore()
    async with harbor(store) as c:
        await c.define(definition())
        await c.do("create", BOATS, body=boat("a", oars=1))
    async with harbor(store) as c:
        assert (await c.do("get", BOATS, "a"))["spec"]["oars"] == 1
    await store.close()


@pytest.mark.virtual
async def test_a_table_has_the_columns_of_the_definition() -> None:
    columns = [{"name": "Oars", "type": "integer", "jsonPath": ".spec.oars"}]
    async with harbor() as c:
        await c.define(
            definition("boats", "Boat", version("v1", storage=True, additionalPrinterColumns=columns))
        )
        await c.do("create", BOATS, body=boat("a", oars=4))
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
        table = await c.do("list", BOATS, accept=accept)
        assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Oars"]
        assert table["rows"][0]["cells"] == ["a", 4]


@pytest.mark.virtual
async def test_openapi_documents_describe_custom_kinds() -> None:
    async with harbor() as c:
        await c.define(definition())
        document = c.controller.published.v3_bytes("apis/h.example.com/v1")
        assert document is not None and b"com.example.h.v1.Boat" in document
        assert "apis/h.example.com/v1" in c.controller.published.v3_index()["paths"]
        assert b"com.example.h.v1.BoatList" in c.controller.published.v2_bytes()
        assert len(c.controller.published.v2_protobuf()) > 1000


def test_versions_are_preferred_as_kubernetes_does() -> None:
    names = ["foo1", "v1alpha1", "v1beta2", "v10", "v2", "v1", "v1beta10", "foo10", "v11alpha2"]
    assert sorted(names, key=version_order) == [
        "v10", "v2", "v1", "v1beta10", "v1beta2", "v11alpha2", "v1alpha1", "foo1", "foo10"
    ]  # fmt: skip


@pytest.mark.virtual
async def test_what_is_nested_too_deeply_is_refused() -> None:
    async with harbor() as c:
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        row = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        await c.define(definition("boats", "Boat", row))
        value: Any = 1
        for _ in range(240):
            value = [value]
        with pytest.raises(errors.BadRequest, match="nested too deeply"):
            await c.do("create", BOATS, body=boat("a", x=value))
        for _ in range(100):
            schema = {"type": "object", "properties": {"a": schema}}
        deep = definition("ships", "Ship", {**row, "schema": {"openAPIV3Schema": schema}})
        with pytest.raises(errors.BadRequest, match="nested too deeply"):
            await c.do("create", DEFINITIONS, body=deep, namespace="")


@pytest.mark.virtual
async def test_rules_hold_for_created_and_changed_objects() -> None:
    rules = [
        {"rule": "!has(self.oars) || self.oars % 2 == 0", "message": "oars come in pairs"},
        {"rule": "!has(oldSelf.color) || self.color == oldSelf.color", "message": "color is immutable"},
    ]
    spec = {**SCHEMA["properties"]["spec"], "x-kubernetes-validations": rules}
    schema = {**SCHEMA, "properties": {"spec": spec}}
    async with harbor() as c:
        row = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        await c.define(definition("boats", "Boat", row))
        with pytest.raises(errors.Invalid, match="spec: Invalid value: oars come in pairs"):
            await c.do("create", BOATS, body=boat("a", oars=3))
        with pytest.raises(errors.Invalid, match="some validation rules were not checked"):
            await c.do("create", BOATS, body=boat("a", oars="x"))
        await c.do("create", BOATS, body=boat("a", oars=2, color="red"))
        with pytest.raises(errors.Invalid, match="color is immutable"):
            await c.do("patch", BOATS, "a", {"spec": {"color": "blue"}}, content_type=MERGE_PATCH)
        spec["x-kubernetes-validations"] = [{"rule": "self.none > 1"}]
        with pytest.raises(errors.Invalid, match="undefined field 'none'"):
            await c.do("create", DEFINITIONS, body=definition("ships", "Ship", row), namespace="")


async def _warned(c: Harbor, verb: Any, name: str, body: Object, subresource: str = "") -> list[str]:
    call = Call(verb, BOATS, "default", name, subresource, body=orjson.dumps(body))
    reply = await c.pipeline.handle(call, ADMIN)
    assert isinstance(reply, Reply)
    assert reply.code < 300
    return reply.warnings


@pytest.mark.virtual
async def test_broken_rules_of_what_has_not_changed_and_new_finalizers_are_warned_about() -> None:
    rule = {"rule": "self < 10", "message": "too many oars"}
    oars = {"type": "integer"}
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"oars": oars, "color": {"type": "string"}}}},
    }
    async with harbor() as c:
        loose = version("v1", storage=True, schema={"openAPIV3Schema": schema})
        await c.define(definition("boats", "Boat", loose))
        stored = boat("a", oars=20)
        stored["metadata"]["finalizers"] = ["plain", "h.example.com/full"]
        prefer = "to avoid accidental conflicts with other finalizer writers"
        told = await _warned(c, "create", "", stored)
        assert told == [f'metadata.finalizers: "plain": prefer a domain-qualified finalizer name {prefer}']
        oars["x-kubernetes-validations"] = [rule]
        found = await c.do("get", DEFINITIONS, "boats.h.example.com", namespace="")
        found["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema
        await c.do("update", DEFINITIONS, "boats.h.example.com", found, namespace="")
        await clock.sleep(1)
        kept = await c.do("get", BOATS, "a")
        kept["spec"]["color"] = "red"
        kept["metadata"]["finalizers"].append("x.example.com")
        path = "name including a path (/)"
        assert await _warned(c, "update", "a", kept) == [
            "spec.oars: Invalid value: 20: too many oars",
            f'metadata.finalizers: "x.example.com": prefer a domain-qualified finalizer {path} {prefer}',
        ]
        kept = await c.do("get", BOATS, "a")
        kept["spec"]["oars"] = 30
        with pytest.raises(errors.Invalid, match="too many oars"):
            await c.do("update", BOATS, "a", kept)
