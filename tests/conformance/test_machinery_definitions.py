"""Custom resources do what conformance asks of them: definitions, defaults, conversion, selection, OpenAPI."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.api_operations import check_status_operations
from conformance.api_server import (
    GROUP,
    Webhooks,
    api_server,
    custom,
    define,
    definition,
    thing,
    until_established,
)
from conformance.whole_cluster import Whole
from coxswain.api import meta
from coxswain.api.names import CUSTOM_RESOURCE_DEFINITIONS as DEFINITIONS
from coxswain.api.names import GVR, Object
from coxswain.base import clock
from coxswain.client.interface import JSON_PATCH

CRD = "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] "
CONVERSION = (
    "[sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert "
)
OPENAPI = "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
FOO: Object = {
    "type": "object",
    "description": "Foo CRD for Testing",
    "properties": {
        "spec": {
            "type": "object",
            "description": "Specification of Foo",
            "properties": {
                "bars": {
                    "type": "array",
                    "description": "List of Bars and their specs.",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string", "description": "Name of Bar."},
                            "age": {"type": "string", "description": "Age of Bar."},
                            "bazs": {"type": "array", "items": {"type": "string"}},
                        },
                    },
                }
            },
        },
        "status": {"type": "object", "properties": {"bars": {"type": "array", "items": {"type": "string"}}}},
    },
}
WALDO: Object = {
    "type": "object",
    "description": "Waldo CRD for Testing",
    "properties": {"spec": {"type": "object", "properties": {"dummy": {"type": "string"}}}},
}


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{CRD}Simple CustomResourceDefinition creating/deleting custom resource definition objects works [Conformance]",
    f"{CRD}Simple CustomResourceDefinition listing custom resource definition objects works [Conformance]",
)
async def test_definitions_are_created_listed_and_deleted() -> None:
    async with api_server() as it:
        await define(it, definition("boats"))
        await it.delete(DEFINITIONS, f"boats.{GROUP}")
        await it.until_gone(DEFINITIONS, f"boats.{GROUP}")
        for number in range(10):
            made = definition(f"things{number}s")
            made["metadata"]["labels"] = {"batch": "one"}
            await define(it, made)
        assert len(await it.list(DEFINITIONS, label_selector="batch=one")) == 10
        await it.delete_collection(DEFINITIONS, label_selector="batch=one")

        async def gone() -> bool:
            return not await it.list(DEFINITIONS, label_selector="batch=one")

        await it.until(gone)


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{CRD}Simple CustomResourceDefinition getting/updating/patching custom resource definition status "
    "sub-resource works [Conformance]"
)
async def test_a_definitions_status_is_read_updated_and_patched() -> None:
    name = f"boats.{GROUP}"
    condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from a test"}
    async with api_server() as it:
        established = await define(it, definition("boats"))
        status = await it.get(DEFINITIONS, name, subresource="status")
        assert status["status"] == established["status"]
        await check_status_operations(
            it, DEFINITIONS, name, {}, lambda obj: obj["status"]["conditions"].append(condition)
        )
        await clock.sleep(5)
        found = await it.get(DEFINITIONS, name)
        assert "StatusUpdate" in [each["type"] for each in found["status"]["conditions"]]
        patch = {"status": {"conditions": [{**condition, "type": "StatusPatch"}]}}
        patched = await it.patch(DEFINITIONS, name, patch, subresource="status")
        assert [each["type"] for each in patched["status"]["conditions"]] == ["StatusPatch"]


@pytest.mark.virtual
@pytest.mark.conformance(f"{CRD}custom resource defaulting for requests and from storage works [Conformance]")
async def test_defaults_are_set_in_requests_and_on_what_is_stored() -> None:
    boats, name = custom("boats"), f"boats.{GROUP}"
    key = {"type": "string"}
    schema: Object = {"type": "object", "properties": {"a": dict(key), "b": dict(key)}}
    place = "/spec/versions/0/schema/openAPIV3Schema/properties"
    async with api_server() as it:
        await define(it, definition("boats", schema))
        made = await it.create(boats, thing("one", boats))
        assert "a" not in made
        change: list[Object] = [{"op": "add", "path": f"{place}/a/default", "value": "A"}]
        await it.patch(DEFINITIONS, name, change, kind=JSON_PATCH)
        await clock.sleep(2)
        assert (await it.get(boats, "one"))["a"] == "A"
        assert (await it.create(boats, thing("two", boats)))["a"] == "A"
        # What was written with the default keeps it when the default goes.
        change = [
            {"op": "remove", "path": f"{place}/a/default"},
            {"op": "add", "path": f"{place}/b/default", "value": "B"},
        ]
        await it.patch(DEFINITIONS, name, change, kind=JSON_PATCH)
        await clock.sleep(2)
        first, second = await it.get(boats, "one"), await it.get(boats, "two")
        assert (first.get("a"), first["b"]) == (None, "B")
        assert (second["a"], second["b"]) == ("A", "B")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{CRD}should include custom resource definition resources in discovery documents [Conformance]"
)
async def test_definitions_are_in_the_discovery_documents() -> None:
    async with api_server() as it:
        assert it.discovered(DEFINITIONS)["kind"] == "CustomResourceDefinition"
        group = it.served("/apis/apiextensions.k8s.io")
        assert group["preferredVersion"]["groupVersion"] == "apiextensions.k8s.io/v1"


@pytest.mark.virtual
@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceDefinition Watch [Privileged:ClusterAdmin] CustomResourceDefinition Watch "
    "watch on custom resource definition objects [Conformance]"
)
async def test_custom_objects_are_watched() -> None:
    boats = custom("boats")
    async with api_server() as it:
        await define(it, definition("boats"))
        async with (
            it.following(boats, field_selector="metadata.name=a") as first,
            it.following(boats, field_selector="metadata.name=b") as second,
        ):
            for name in ("a", "b"):
                await it.create(boats, thing(name, boats))
                await it.patch(boats, name, {"dummy": "test"})
                await it.delete(boats, name)
            await clock.sleep(1)
        for follower, name in ((first, "a"), (second, "b")):
            assert [(kind, meta.name(obj)) for kind, obj in follower.events] == [
                ("ADDED", name), ("MODIFIED", name), ("DELETED", name),
            ]  # fmt: skip


@pytest.mark.virtual
@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceFieldSelectors [Privileged:ClusterAdmin] CustomResourceFieldSelectors MUST "
    "list and watch custom resources matching the field selector [Conformance]"
)
async def test_custom_objects_are_selected_by_their_fields() -> None:
    webhooks = Webhooks()
    shirts, newer = custom("shirts"), custom("shirts", "v2")
    fields = {name: {"type": "string"} for name in ("color", "size", "hue")}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}

    def convert(request: Object) -> Object:
        made = []
        for obj in request["objects"]:
            spec = dict(obj["spec"])
            old, new = ("color", "hue") if request["desiredAPIVersion"].endswith("v2") else ("hue", "color")
            if old in spec:
                spec[new] = spec.pop(old)
            made.append({**obj, "apiVersion": request["desiredAPIVersion"], "spec": spec})
        return {"convertedObjects": made, "result": {"status": "Success"}}

    made = definition("shirts", schema, "v1", "v2", conversion=converted_by(webhooks, convert))
    made["spec"]["versions"][0]["selectableFields"] = [
        {"jsonPath": ".spec.color"},
        {"jsonPath": ".spec.size"},
    ]
    made["spec"]["versions"][1]["selectableFields"] = [{"jsonPath": ".spec.hue"}]
    async with api_server(webhooks) as it:
        await define(it, made)
        async with it.following(newer, field_selector="spec.hue=blue") as seen:
            for name, color, size in (("a", "blue", "S"), ("b", "blue", "M"), ("c", "green", "M")):
                await it.create(shirts, thing(name, shirts, spec={"color": color, "size": size}))
            await it.delete(shirts, "a")
            await it.patch(shirts, "b", {"spec": {"color": "green"}})
            await clock.sleep(1)

        async def names(resource: GVR, selector: str) -> list[str]:
            return [meta.name(each) for each in await it.list(resource, field_selector=selector)]

        assert await names(shirts, "spec.color=green,spec.size=M") == ["b", "c"]
        assert await names(shirts, "spec.color!=green") == []
        assert await names(newer, "spec.hue=green") == ["b", "c"]
        assert [(kind, meta.name(obj)) for kind, obj in seen.events] == [
            ("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a"), ("DELETED", "b"),
        ]  # fmt: skip


# -- conversion


def converted_by(webhooks: Webhooks, convert: Any) -> Object:
    """A conversion of versions by a webhook."""
    return {
        "strategy": "Webhook",
        "webhook": {
            "conversionReviewVersions": ["v1", "v1beta1"],
            "clientConfig": webhooks.on("/convert", convert),
        },
    }


def host_and_port(request: Object) -> Object:
    """Between ``hostPort: host:port`` (v1) and ``host`` with ``port`` (v2)."""
    made = []
    for obj in request["objects"]:
        obj = {**obj, "apiVersion": request["desiredAPIVersion"]}
        if obj["apiVersion"].endswith("/v2"):
            host, _, port = obj.pop("hostPort").partition(":")
            obj |= {"host": host, "port": port}
        else:
            obj["hostPort"] = f"{obj.pop('host')}:{obj.pop('port')}"
        made.append(obj)
    return {"convertedObjects": made, "result": {"status": "Success"}}


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{CONVERSION}from CR v1 to CR v2 [Conformance]",
    f"{CONVERSION}a non homogeneous list of CRs [Conformance]",
)
async def test_objects_of_two_versions_are_converted_by_a_webhook() -> None:
    webhooks, older, newer = Webhooks(), custom("tests"), custom("tests", "v2")
    made = definition("tests", None, "v1", "v2", conversion=converted_by(webhooks, host_and_port))
    async with api_server(webhooks) as it:
        await define(it, made)
        await it.create(older, thing("one", older, hostPort="localhost:8080"))
        found = await it.get(newer, "one")
        assert (found["apiVersion"], found["host"], found["port"]) == (f"{GROUP}/v2", "localhost", "8080")

        def store_v2(obj: Object) -> None:
            for each in obj["spec"]["versions"]:
                each["storage"] = each["name"] == "v2"

        await it.edit(DEFINITIONS, f"tests.{GROUP}", store_v2)
        await clock.sleep(2)
        await it.create(older, thing("two", older, hostPort="localhost:9090"))
        listed = {meta.name(each): each["hostPort"] for each in await it.list(older)}
        assert listed == {"one": "localhost:8080", "two": "localhost:9090"}
        ports = {meta.name(each): (each["host"], each["port"]) for each in await it.list(newer)}
        assert ports == {"one": ("localhost", "8080"), "two": ("localhost", "9090")}


# -- OpenAPI


def schema_of(it: Whole, kind: str, version: str = "v1", group: str = GROUP) -> Object | None:
    """The kind's definition in OpenAPI v2, without what every custom kind has."""
    name = ".".join([*reversed(group.split(".")), version, kind])
    found = it.served("/openapi/v2")["definitions"].get(name)
    if found is None:
        return None
    shape: Object = {key: value for key, value in found.items() if key != "x-kubernetes-group-version-kind"}
    properties = dict(shape.get("properties") or {})
    for key in ("apiVersion", "kind", "metadata"):
        properties.pop(key, None)
    shape.pop("properties", None)
    return {**shape, "properties": properties} if properties else shape


async def publish(it: Whole, plural: str, schema: Object | None, *versions: str, group: str = GROUP) -> None:
    await define(it, definition(plural, schema, *versions, group=group))


@pytest.mark.virtual
@pytest.mark.conformance(f"{OPENAPI}works for CRD with validation schema [Conformance]")
async def test_a_schema_is_published_and_held_to() -> None:
    foos = custom("foos")
    async with api_server() as it:
        await publish(it, "foos", FOO)
        assert schema_of(it, "Foo") == FOO
        document = it.served(f"/openapi/v3/apis/{GROUP}/v1")
        (kind,) = [
            each for name, each in document["components"]["schemas"].items() if name.endswith("v1.Foo")
        ]
        assert kind["properties"]["spec"] == FOO["properties"]["spec"]
        strict = {"query": {"fieldValidation": "Strict"}}
        await it.call("create", foos, body=thing("a", foos, spec={"bars": [{"name": "x"}]}), **strict)
        with pytest.raises(Exception, match=r'unknown field "spec\.foo"'):
            await it.call("create", foos, body=thing("b", foos, spec={"foo": True}), **strict)
        with pytest.raises(Exception, match=r"spec\.bars\[0\]\.name: Required value"):
            await it.create(foos, thing("c", foos, spec={"bars": [{"age": "10"}]}))
        await it.delete(DEFINITIONS, f"foos.{GROUP}")
        await it.until_gone(DEFINITIONS, f"foos.{GROUP}")
        assert schema_of(it, "Foo") is None


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("schema", "published", "fields"),
    [
        (
            {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            {"a": {"b": [{"c": "d"}]}},
        ),
        (
            {
                "type": "object",
                "description": "preserve-unknown-properties at root for Testing",
                "x-kubernetes-preserve-unknown-fields": True,
                "properties": {"spec": {"type": "object", "properties": {"dummy": {"type": "string"}}}},
            },
            None,
            {"a": {"b": [{"c": "d"}]}},
        ),
        (
            {
                "type": "object",
                "description": "preserve-unknown-properties in nested field for Testing",
                "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            },
            None,
            {"spec": {"b": [{"c": "d"}]}},
        ),
    ],
    ids=["no schema", "root", "embedded"],
)
@pytest.mark.conformance(
    f"{OPENAPI}works for CRD without validation schema [Conformance]",
    f"{OPENAPI}works for CRD preserving unknown fields at the schema root [Conformance]",
    f"{OPENAPI}works for CRD preserving unknown fields in an embedded object [Conformance]",
)
async def test_a_schema_that_preserves_unknown_fields_is_published_loosely(
    schema: Object, published: Object | None, fields: Object
) -> None:
    foos = custom("foos")
    async with api_server() as it:
        await publish(it, "foos", schema)
        found = schema_of(it, "Foo")
        assert found is not None and found["type"] == "object"
        assert found.get("description") == schema.get("description")
        if published is not None:
            assert found == published
        strict = {"query": {"fieldValidation": "Strict"}}
        made = await it.call("create", foos, body=thing("a", foos, **fields), **strict)
        assert fields.items() <= made.items()


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{OPENAPI}works for multiple CRDs of different groups [Conformance]",
    f"{OPENAPI}works for multiple CRDs of same group but different versions [Conformance]",
    f"{OPENAPI}works for multiple CRDs of same group and version but different kinds [Conformance]",
)
async def test_many_definitions_are_published_beside_each_other() -> None:
    async with api_server() as it:
        await publish(it, "foos", FOO)
        await publish(it, "waldos", WALDO, "v1beta1", group="other.example.com")
        await publish(it, "multis", FOO, "v2", "v3")
        await publish(it, "bars", FOO, "v4")
        await publish(it, "waldos", WALDO, "v5")
        await publish(it, "quxes", WALDO, "v4")
        assert schema_of(it, "Foo") == FOO
        assert schema_of(it, "Waldo", "v1beta1", "other.example.com") == WALDO
        assert [schema_of(it, "Multi", version) for version in ("v2", "v3")] == [FOO, FOO]
        assert (schema_of(it, "Bar", "v4"), schema_of(it, "Waldo", "v5")) == (FOO, WALDO)
        assert schema_of(it, "Quxe", "v4") == WALDO


@pytest.mark.virtual
@pytest.mark.conformance(f"{OPENAPI}updates the published spec when one version gets renamed [Conformance]")
async def test_a_renamed_version_is_published_under_its_new_name() -> None:
    async with api_server() as it:
        await publish(it, "foos", FOO, "v2", "v3")
        change = [
            {"op": "test", "path": "/spec/versions/1/name", "value": "v3"},
            {"op": "replace", "path": "/spec/versions/1/name", "value": "v4"},
        ]
        await it.patch(DEFINITIONS, f"foos.{GROUP}", change, kind=JSON_PATCH)
        await clock.sleep(2)
        assert [schema_of(it, "Foo", version) for version in ("v2", "v3", "v4")] == [FOO, None, FOO]


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{OPENAPI}removes definition from spec when one version gets changed to not be served [Conformance]"
)
async def test_a_version_that_is_no_longer_served_is_no_longer_published() -> None:
    async with api_server() as it:
        await publish(it, "foos", FOO, "v5", "v6alpha1")
        assert schema_of(it, "Foo", "v6alpha1") == FOO
        await it.edit(
            DEFINITIONS, f"foos.{GROUP}", lambda obj: obj["spec"]["versions"][1].update(served=False)
        )
        await clock.sleep(2)
        assert (schema_of(it, "Foo", "v5"), schema_of(it, "Foo", "v6alpha1")) == (FOO, None)
        await until_established(it, f"foos.{GROUP}")
