"""The schema tables hold together: every reference resolves, every key exists, numbers agree."""

from __future__ import annotations

import orjson
import pytest

from coxswain.api import protobuf, schema
from coxswain.api.names import GVK
from coxswain.api.schema import Field

POD = GVK("", "v1", "Pod")


def field_at(gvk: GVK, *path: str) -> Field:
    kind = schema.type_of(gvk)
    assert kind is not None
    for name in path[:-1]:
        target = kind.fields[name].target
        assert target is not None
        kind = target
    return kind.fields[path[-1]]


def all_fields() -> list[tuple[str, Field]]:
    return [(name, found) for name in schema.names() for found in schema.named(name).fields.values()]


def test_every_reference_leads_to_a_type() -> None:
    for name, found in all_fields():
        inner = found
        while inner.element is not None:
            inner = inner.element
        assert inner.kind != "ref" or inner.ref.name == inner.ref_name, (name, found.name)


def test_the_keys_of_map_lists_are_fields_of_their_elements() -> None:
    lists = [(name, found) for name, found in all_fields() if found.list_type == "map"]
    assert len(lists) > 50
    for name, found in lists:
        assert found.kind == "array"
        assert found.target is not None
        assert set(found.list_keys) <= set(found.target.fields), (name, found.name)


def test_merge_keys_are_fields_of_their_elements() -> None:
    for name, found in all_fields():
        if found.merge_key:
            assert found.target is not None
            assert found.merge_key in found.target.fields, (name, found.name)


def test_container_ports_merge_by_port_and_protocol_which_defaults_to_tcp() -> None:
    ports = field_at(POD, "spec", "containers", "ports")
    assert ports.list_keys == ("containerPort", "protocol")
    assert (ports.patch_strategy, ports.merge_key) == ("merge", "containerPort")
    assert field_at(POD, "spec", "containers", "ports", "protocol").default == "TCP"


def test_volumes_keep_only_what_is_given_when_patched() -> None:
    assert field_at(POD, "spec", "volumes").patch_strategy == "merge,retainKeys"


@pytest.mark.parametrize(
    ("path", "presence"),
    [
        (("spec", "terminationGracePeriodSeconds"), "pointer"),
        (("spec", "hostNetwork"), "value"),
        (("spec", "containers"), "always"),
        (("spec", "containers", "resources"), "always"),
        (("metadata", "creationTimestamp"), "value"),
        (("status",), "always"),
    ],
)
def test_presence_follows_the_tags_of_gos_structs(path: tuple[str, ...], presence: str) -> None:
    assert field_at(POD, *path).presence == presence


@pytest.mark.parametrize(
    ("path", "go_type"),
    [
        (("spec", "containers"), "[]v1.Container"),
        (("spec", "restartPolicy"), "v1.RestartPolicy"),
        (("spec", "nodeSelector"), "map[string]string"),
        (("spec", "overhead"), "v1.ResourceList"),
        (("spec", "containers", "ports", "containerPort"), "int32"),
    ],
)
def test_fields_know_how_go_prints_their_types(path: tuple[str, ...], go_type: str) -> None:
    assert field_at(POD, *path).go_type == go_type


def test_kinds_are_found_by_group_version_and_kind() -> None:
    deployment = schema.type_of(GVK("apps", "v1", "Deployment"))
    assert deployment is not None
    assert deployment.name == "io.k8s.api.apps.v1.Deployment"
    assert deployment.gvks == (GVK("apps", "v1", "Deployment"),)
    assert schema.type_of(GVK("apps", "v2", "Deployment")) is None
    assert schema.type_of(GVK("example.com", "v1", "Widget")) is None


def test_delete_options_are_good_in_every_group() -> None:
    for group in ("", "apps", "meta.k8s.io"):
        options = schema.type_of(GVK(group, "v1", "DeleteOptions"))
        assert options is not None
        assert "propagationPolicy" in options.fields


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        schema.named("io.k8s.api.core.v1.Nothing")


def test_field_numbers_agree_with_the_protobuf_messages() -> None:
    compared = 0
    for name in schema.names():
        message = name.replace("io.k8s.", "k8s.io.", 1).replace("-", "_")
        if message not in protobuf._table():
            continue
        numbers = {row[1]: row[0] for row in protobuf._table()[message]}
        for found in schema.named(name).fields.values():
            if found.number is not None:
                assert numbers[found.name] == found.number, (name, found.name)
                compared += 1
    assert compared > 2500


def test_numbers_and_names_are_unique_within_a_message() -> None:
    for name, rows in protobuf._table().items():
        assert len({row[0] for row in rows}) == len(rows), name
        assert len({row[1] for row in rows}) == len(rows), name


def test_every_json_field_of_a_kind_has_a_place_in_its_message() -> None:
    def names_in(message: str) -> set[str]:
        found: set[str] = set()
        for _, json_name, target, shape in protobuf._table()[message]:
            found |= names_in(target) if shape == "inline" else {json_name}
        return found

    for name in schema.names():
        message = name.replace("io.k8s.", "k8s.io.", 1).replace("-", "_")
        fields = set(schema.named(name).fields)
        if message in protobuf._table() and fields:
            missing = fields - names_in(message) - {"apiVersion", "kind"}
            assert not missing, name


def test_the_committed_tables_have_a_row_a_line() -> None:
    table = schema._table()
    assert table["kubernetes"].startswith("1.36")
    assert orjson.dumps(table["types"]["io.k8s.api.core.v1.Pod"])
