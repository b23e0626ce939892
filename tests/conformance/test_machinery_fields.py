"""Unknown and duplicate fields are refused as conformance asks."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.api_server import GROUP, api_server, custom, define, definition
from conformance.whole_cluster import WORK, Whole
from coxswain.api.errors import ApiError
from coxswain.api.names import DEPLOYMENTS, GVR, Object
from coxswain.client.interface import APPLY_PATCH, Call

NAMED = "[sig-api-machinery] FieldValidation should "
STRICT = {"fieldManager": "field_validation_mgr", "fieldValidation": "Strict"}
NOXUS = custom("noxus")
PORTS: Object = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
    "items": {
        "type": "object",
        "required": ["containerPort", "protocol"],
        "properties": {
            "containerPort": {"type": "integer", "format": "int32"},
            "name": {"type": "string"},
            "protocol": {"type": "string"},
        },
    },
}
SPEC: Object = {
    "type": "object",
    "properties": {
        "foo": {"type": "string"},
        "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
        "ports": PORTS,
    },
}
VALID = f"""\
apiVersion: {GROUP}/v1
kind: Noxu
metadata:
  name: mytest
  finalizers:
  - test-finalizer
spec:
  foo: foo1
  cronSpec: "* * * * */5"
  ports:
  - name: x
    containerPort: 80
    protocol: TCP
"""


def schema(**of_spec: Any) -> Object:
    return {"type": "object", "properties": {"spec": {**SPEC, **of_spec}}}


async def send(it: Whole, verb: Any, resource: GVR, name: str, body: str, kind: str) -> Object:
    call = Call(verb, resource, WORK, name, query=STRICT, body=body.encode(), content_type=kind)
    (answer,) = await it.client.batch([call])
    return answer.object()


async def apply(it: Whole, body: str) -> Object:
    return await send(it, "patch", NOXUS, "mytest", body, APPLY_PATCH)


async def refusal(it: Whole, body: str) -> str:
    """The words in which the applied object is refused."""
    with pytest.raises(ApiError) as caught:
        await apply(it, body)
    assert not await it.exists(NOXUS, "mytest")
    return str(caught.value)


def a_deployment(metadata: str = "", spec: str = "") -> str:
    pod = '{"containers": [{"name": "nginx", "image": "nginx:latest"}]}'
    labels = '"labels": {"app": "nginx"}'
    return (
        f'{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "my-dep", {metadata} {labels}}}, '
        f'"spec": {{{spec} "selector": {{"matchLabels": {{"app": "nginx"}}}}, '
        f'"template": {{"metadata": {{{labels}}}, "spec": {pod}}}}}}}'
    )


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            a_deployment(spec='"unknownField": "foo", "replicas": 2, "replicas": 3,'),
            'strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas"',
        ),
        (
            a_deployment(metadata='"unknownMeta": "foo",'),
            'strict decoding error: unknown field "metadata.unknownMeta"',
        ),
    ],
    ids=["spec", "metadata"],
)
@pytest.mark.conformance(
    f"{NAMED}detect unknown and duplicate fields of a typed object [Conformance]",
    f"{NAMED}detect unknown metadata fields of a typed object [Conformance]",
)
async def test_unknown_and_duplicate_fields_of_a_built_in_kind_are_refused(body: str, words: str) -> None:
    async with api_server() as it:
        with pytest.raises(ApiError) as caught:
            await send(it, "create", DEPLOYMENTS, "", body, "application/json")
        assert words in str(caught.value)
        assert await send(it, "create", DEPLOYMENTS, "", a_deployment(), "application/json")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}create/apply a valid CR for CRD with validation schema [Conformance]",
    f"{NAMED}create/apply an invalid CR with extra properties for CRD with validation schema [Conformance]",
)
async def test_fields_that_the_schema_does_not_have_are_refused() -> None:
    async with api_server() as it:
        await define(it, definition("noxus", schema()))
        words = await refusal(it, VALID.replace("spec:", "unknownField: unknown\nspec:"))
        assert ".unknownField: field not declared in schema" in words
        assert (await apply(it, VALID))["spec"]["foo"] == "foo1"


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}create/apply a CR with unknown fields for CRD with no validation schema [Conformance]"
)
async def test_any_field_is_good_without_a_schema() -> None:
    async with api_server() as it:
        await define(it, definition("noxus"))
        assert (await apply(it, VALID.replace("foo: foo1", "unknown: uk1")))["spec"]["unknown"] == "uk1"


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}detect unknown metadata fields in both the root and embedded object of a CR [Conformance]"
)
async def test_unknown_metadata_is_refused_in_the_object_and_in_one_inside_it() -> None:
    embedded = {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": {"type": "object"},
        },
    }
    preserving = schema(**{"x-kubernetes-preserve-unknown-fields": True})
    preserving["properties"]["spec"]["properties"] = {**SPEC["properties"], "template": embedded}
    inner = "spec:\n  template:\n    apiVersion: foo/v1\n    kind: Sub\n    metadata:\n      {}name: sub\n"
    async with api_server() as it:
        await define(it, definition("noxus", preserving))
        bad = VALID.replace("  name: mytest", "  unknownMeta: unknown\n  name: mytest")
        assert ".metadata.unknownMeta: field not declared in schema" in await refusal(it, bad)
        bad = VALID.replace("spec:\n", inner.format("unknownSubMeta: unknown\n      "))
        words = await refusal(it, bad)
        assert ".spec.template.metadata.unknownSubMeta: field not declared in schema" in words
        await apply(it, VALID.replace("spec:\n", inner.format("")))


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}detect duplicates in a CR when preserving unknown fields [Conformance]")
async def test_a_key_given_twice_is_refused_where_unknown_ones_are_preserved() -> None:
    async with api_server() as it:
        await define(it, definition("noxus", schema(**{"x-kubernetes-preserve-unknown-fields": True})))
        words = await refusal(it, VALID.replace("foo: foo1", "unknown: uk1\n  foo: foo1\n  foo: foo2"))
        assert 'line 10: key "foo" already set in map' in words


@pytest.mark.virtual
async def test_declared_fields_merge_as_declared_beside_unknown_ones() -> None:
    open_root = {
        **schema(**{"x-kubernetes-preserve-unknown-fields": True}),
        "x-kubernetes-preserve-unknown-fields": True,
    }
    async with api_server() as it:
        await define(it, definition("noxus", open_root))
        await apply(it, VALID.replace("spec:\n", "extra:\n  deep: 1\nspec:\n  unknown: uk1\n"))
        other = {"fieldManager": "other", "fieldValidation": "Strict"}
        port = "  ports:\n  - containerPort: 81\n    protocol: TCP\n"
        body = f"{VALID.partition('  finalizers')[0]}extra:\n  more: 2\nspec:\n{port}"
        call = Call("patch", NOXUS, WORK, "mytest", query=other, body=body.encode(), content_type=APPLY_PATCH)
        (answer,) = await it.client.batch([call])
        found = answer.object()
        assert found["extra"] == {"deep": 1, "more": 2} and found["spec"]["unknown"] == "uk1"
        assert [each["containerPort"] for each in found["spec"]["ports"]] == [80, 81]
        owned = {each["manager"]: each["fieldsV1"] for each in found["metadata"]["managedFields"]}
        assert owned["other"]["f:extra"] == {".": {}, "f:more": {}}
        # What a manager no longer applies goes, whether the schema has it or not.
        found = await apply(it, VALID)
        assert found["extra"] == {"more": 2} and "unknown" not in found["spec"]
