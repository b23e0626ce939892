"""OpenAPI documents: complete in themselves, and with what kubectl and client generators look for."""

from __future__ import annotations

from typing import Any

import pytest

from coxswain.api import kinds, openapi, openapi_gnostic
from coxswain.api.kinds import Resource
from coxswain.api.names import GVR


@pytest.fixture(scope="module")
def apps() -> dict[str, Any]:
    document = openapi.v3("apis/apps/v1")
    assert document is not None
    return document


@pytest.fixture(scope="module")
def swagger() -> dict[str, Any]:
    return openapi.v2()


def test_the_index_lists_every_group_and_version() -> None:
    paths = openapi.v3_index()["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/autoscaling/v1", "apis/autoscaling/v2"} <= set(paths)
    assert paths["apis/apps/v1"]["serverRelativeURL"].startswith("/openapi/v3/apis/apps/v1?hash=")
    assert openapi.v3_index() == openapi.v3_index()
    hashes = [entry["serverRelativeURL"].partition("=")[2] for entry in paths.values()]
    assert len(set(hashes)) == len(hashes)


def test_every_indexed_document_has_all_it_refers_to() -> None:
    for path in openapi.v3_paths():
        document = openapi.v3(path)
        assert document is not None
        assert openapi._references(document) <= set(document["components"]["schemas"]), path


def test_swagger_has_all_it_refers_to(swagger: dict[str, Any]) -> None:
    assert openapi._references(swagger) <= set(swagger["definitions"])
    assert swagger["swagger"] == "2.0"
    assert "/api/v1/namespaces/{namespace}/pods/{name}/log" in swagger["paths"]


def test_there_is_no_document_of_an_unknown_group() -> None:
    assert openapi.v3("apis/example.com/v1") is None


def test_operation_ids_are_unique(swagger: dict[str, Any]) -> None:
    ids = [
        operation["operationId"]
        for item in swagger["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert len(ids) == len(set(ids))
    assert {
        "listCoreV1NamespacedPod",
        "readAppsV1NamespacedDeployment",
        "createCoreV1NamespacedPodBinding",
    } <= set(ids)
    assert {
        "listCoreV1PodForAllNamespaces",
        "deleteCoreV1CollectionNamespacedPod",
        "connectCoreV1GetNamespacedPodExec",
    } <= set(ids)


def test_kubectl_finds_field_validation_on_patch(apps: dict[str, Any]) -> None:
    patch = apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {
        "group": "apps",
        "version": "v1",
        "kind": "Deployment",
    }
    assert patch["x-kubernetes-action"] == "patch"
    assert "fieldValidation" in {parameter["name"] for parameter in patch["parameters"]}
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]


def test_merge_rules_are_extensions_of_fields(apps: dict[str, Any]) -> None:
    schemas = apps["components"]["schemas"]
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    assert containers["x-kubernetes-list-type"] == "map"
    assert containers["items"] == {
        "allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}],
        "default": {},
    }
    protocol = schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]
    assert protocol["default"] == "TCP"


def test_kinds_carry_their_names(apps: dict[str, Any]) -> None:
    deployment = apps["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"]
    assert deployment["x-kubernetes-group-version-kind"] == [
        {"group": "apps", "version": "v1", "kind": "Deployment"}
    ]


def test_quantities_and_int_or_strings_are_unions_in_v3_only(
    apps: dict[str, Any], swagger: dict[str, Any]
) -> None:
    name = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
    assert "oneOf" in apps["components"]["schemas"][name]
    assert swagger["definitions"][name] == {"type": "string", "format": "int-or-string"}


def test_every_verb_of_every_resource_has_an_operation(swagger: dict[str, Any]) -> None:
    methods = {"create": "post", "delete": "delete", "get": "get", "patch": "patch", "update": "put"}
    for resource in kinds.resources():
        base = f"/apis/{resource.gvr.group}" if resource.gvr.group else "/api"
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        collection = f"{base}/{resource.gvr.version}{scope}/{resource.gvr.resource}"
        for verb in set(resource.verbs) & set(methods):
            path = collection if verb == "create" else f"{collection}/{{name}}"
            assert methods[verb] in swagger["paths"][path], (path, verb)
        for below in resource.subresources:
            for verb in set(below.verbs) & set(methods):
                assert methods[verb] in swagger["paths"][f"{collection}/{{name}}/{below.name}"], below


def test_a_custom_resource_gets_a_document_of_its_own() -> None:
    widgets = Resource(
        GVR("example.com", "v1", "widgets"), "Widget", "widget", True, ("create", "get", "list", "patch")
    )
    gvk = {"group": "example.com", "version": "v1", "kind": "Widget"}
    own = {
        "type": "object",
        "properties": {
            "metadata": {
                "allOf": [{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}]
            },
            "size": {"type": "integer"},
        },
        "x-kubernetes-group-version-kind": [gvk],
    }
    document = openapi.document_v3("example.com", "v1", [widgets], {"com.example.v1.Widget": own})
    schemas = document["components"]["schemas"]
    assert schemas["com.example.v1.Widget"] == own
    assert openapi._references(document) <= set(schemas)
    post = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets"]["post"]
    assert (
        post["requestBody"]["content"]["*/*"]["schema"]["$ref"]
        == "#/components/schemas/com.example.v1.Widget"
    )


def fields_of(data: bytes) -> list[tuple[int, bytes]]:
    """The length-delimited fields of a message (the document has hardly any other)."""
    found, at = [], 0
    while at < len(data):
        tag, at = varint(data, at)
        size, at = varint(data, at)
        if tag & 7 == 2:
            found.append((tag >> 3, data[at : at + size]))
            at += size
    return found


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return value, at


def test_go_clients_get_swagger_as_protobuf(swagger: dict[str, Any]) -> None:
    document = dict(fields_of(openapi_gnostic.v2_protobuf()))
    assert document[1] == b"2.0"
    definitions = {
        dict(fields_of(entry))[1].decode(): dict(fields_of(entry))[2] for _, entry in fields_of(document[9])
    }
    assert set(definitions) == set(swagger["definitions"])
    paths = {
        dict(fields_of(entry))[1].decode(): dict(fields_of(entry))[2] for _, entry in fields_of(document[8])
    }
    assert set(paths) == set(swagger["paths"])
    patch = dict(fields_of(paths["/api/v1/namespaces/{namespace}/pods/{name}"]))[8]
    extensions = {dict(fields_of(entry))[1] for number, entry in fields_of(patch) if number == 13}
    assert b"x-kubernetes-group-version-kind" in extensions
    spec = fields_of(definitions["io.k8s.api.core.v1.PodSpec"])
    properties = {dict(fields_of(entry))[1] for _, entry in fields_of(dict(spec)[25])}
    assert properties == {
        name.encode() for name in swagger["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]
    }
