"""Structural schemas: pruning, defaulting, validation; each against a naive twin on random schemas and objects."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coxswain.api import patterns
from coxswain.api import stringformats as formats
from coxswain.api.names import GVK
from coxswain.api.structural import CoerceError, CompiledSchema, checks, compile_crd_schema
from coxswain.api.structural.correlation import same
from coxswain.api.structural.defaulting import default
from coxswain.api.structural.model import parse
from coxswain.api.structural.prune import prune_value
from coxswain.api.structural.validate import compile_schema

BOAT = GVK("h.example.com", "v1", "Boat")
SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["oars"],
    "properties": {
        "oars": {"type": "integer", "minimum": 1, "maximum": 60},
        "sail": {"type": "boolean", "default": False},
        "color": {"type": "string", "enum": ["red", "blue"]},
        "when": {"type": "string", "format": "date-time"},
        "port": {"x-kubernetes-int-or-string": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "crew": {
            "type": "array",
            "maxItems": 3,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "maxLength": 5},
                    "age": {"type": "integer", "default": 1},
                },
            },
        },
        "code": {"type": "string", "pattern": "^a+$"},
        "none": {"type": "string", "nullable": True},
        "half": {"type": "number", "multipleOf": 0.5, "minimum": 0, "exclusiveMinimum": True},
        "inner": {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "x-kubernetes-preserve-unknown-fields": True,
        },
    },
}


def schema(spec: dict[str, Any] | None = None) -> CompiledSchema:
    return compile_crd_schema({"type": "object", "properties": {"spec": spec or SPEC}}, BOAT)


def complaints(**spec: Any) -> list[str]:
    compiled, obj = schema(), {"spec": {"oars": 3, **spec}}
    return [
        str(error)
        for error in compiled.validate(obj) + compiled.check_embedded(obj) + compiled.check_unique(obj)
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"oars": 99}, "spec.oars: Invalid value: 99: spec.oars in body should be less than or equal to 60"),
        ({"oars": 0}, "spec.oars: Invalid value: 0: spec.oars in body should be greater than or equal to 1"),
        (
            {"oars": "x"},
            'spec.oars: Invalid value: "string": spec.oars in body must be of type integer: "string"',
        ),
        (
            {"oars": None},
            'spec.oars: Invalid value: "null": spec.oars in body must be of type integer: "null"',
        ),
        ({"color": "green"}, 'spec.color: Unsupported value: "green": supported values: "red", "blue"'),
        (
            {"when": "soon"},
            'spec.when: Invalid value: "soon": spec.when in body must be of type date-time: "soon"',
        ),
        ({"code": "b"}, "spec.code: Invalid value: \"b\": spec.code in body should match '^a+$'"),
        (
            {"port": 1.5},
            'spec.port: Invalid value: "number": spec.port in body must be of type integer,string: "number"',
        ),
        ({"tags": ["a", "a"]}, 'spec.tags[1]: Duplicate value: "a"'),
        ({"crew": [{"name": "a"}, {"name": "a"}]}, 'spec.crew[1]: Duplicate value: {"name":"a"}'),
        ({"crew": [{}]}, "spec.crew[0].name: Required value"),
        ({"crew": [{"name": "abcdef"}]}, "spec.crew[0].name: Too long: may not be more than 5 bytes"),
        ({"crew": [{"name": c} for c in "abcd"]}, "spec.crew: Too many: 4: must have at most 3 items"),
        ({"half": 0.7}, "spec.half: Invalid value: 0.7: spec.half in body should be a multiple of 0.5"),
        ({"half": 0}, "spec.half: Invalid value: 0: spec.half in body should be greater than 0"),
        ({"inner": {"kind": "A"}}, "spec.inner.apiVersion: Required value"),
    ],
)
def test_what_is_wrong_is_said_as_kubernetes_says_it(spec: dict[str, Any], message: str) -> None:
    assert complaints(**spec) == [message]


def test_good_objects_pass() -> None:
    assert complaints(port="http", none=None, half=1.5, when="2024-01-02T03:04:05Z", tags=["a", "b"]) == []
    assert complaints(oars=3.0, inner={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}) == []


def test_a_float_where_an_integer_belongs_is_told_twice() -> None:
    assert complaints(oars=1.5) == [
        'spec.oars: Invalid value: "number": spec.oars in body must be of type integer: "number"',
        '<nil>: Invalid value: "": Checked value must be of type integer (default format) in spec.oars',
    ]


@pytest.mark.parametrize(
    ("part", "value", "messages"),
    [
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1, "b": 1},
         ['<nil>: Invalid value: "": "x" must validate one and only one schema (oneOf). Found 2 valid alternatives']),
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {},
         ['<nil>: Invalid value: "": "x" must validate at least one schema (anyOf)', "x.a: Required value"]),
        ({"not": {"required": ["a"]}}, {"a": 1}, ['<nil>: Invalid value: "": "x" must not validate the schema (not)']),
        ({"allOf": [{"required": ["a"]}]}, {},
         ["x.a: Required value", '<nil>: Invalid value: "": "x" must validate all the schemas (allOf). None validated']),
        ({"maxProperties": 1}, {"a": 1, "b": 2}, ["x: Too many: 2: must have at most 1 items"]),
        ({"minProperties": 1}, {}, ["x: Invalid value: 0: x in body should have at least 1 properties"]),
    ],
)  # fmt: skip
def test_compositions_and_counts(part: dict[str, Any], value: Any, messages: list[str]) -> None:
    errors: list[Any] = []
    compile_schema(part)(value, "x", errors)
    assert [str(error) for error in errors] == messages


def test_unchanged_parts_are_not_complained_about_again() -> None:
    compiled = schema()
    old = {"spec": {"oars": 99, "code": "b", "crew": [{"name": "toolong"}]}}
    new = copy.deepcopy(old)
    new["spec"]["sail"] = True
    assert compiled.validate_update(new, old) == []
    new["spec"]["oars"] = 98
    assert [error.field for error in compiled.validate_update(new, old)] == ["spec.oars"]


def test_metadata_is_typed_and_unknown_fields_go() -> None:
    compiled = schema()
    obj = {
        "metadata": {"name": "a", "foo": 1},
        "spec": {"oars": 1, "x": 1, "free": {"y": {"z": 1}}},
        "other": 2,
    }
    assert compiled.conform(obj) == ["metadata.foo", "other", "spec.x"]
    assert obj == {"metadata": {"name": "a"}, "spec": {"oars": 1, "free": {"y": {"z": 1}}}}
    with pytest.raises(CoerceError, match="metadata"):
        compiled.conform({"metadata": {"labels": {"a": 1}}})


def test_defaults_reach_into_lists_and_nulls_give_way() -> None:
    obj = {"spec": {"oars": 1, "sail": None, "color": None, "none": None, "crew": [{"name": "a"}]}}
    schema().default(obj)
    assert obj == {"spec": {"oars": 1, "sail": False, "none": None, "crew": [{"name": "a", "age": 1}]}}


def test_a_schema_must_be_structural() -> None:
    raw = {
        "type": "object",
        "properties": {"a": {}, "b": {"type": "array"}, "metadata": {"type": "object", "required": ["x"]}},
        "anyOf": [{"properties": {"c": {"type": "string"}}}],
    }
    where = "s.properties"
    assert [str(error) for error in checks.check_structural(raw, "s")] == [
        "s.anyOf[0].properties[c].type: Forbidden: must be empty to be structural",
        f"{where}[a].type: Required value: must not be empty for specified object fields",
        f"{where}[b].items: Required value: must be specified",
        f"{where}[c]: Required value: because it is defined in s.anyOf[0].properties[c]",
        (
            f"{where}[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is "
            "implicitly specified"
        ),
    ]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("datetime", "2024-02-29T23:59:59.5+01:00", "2024-02-30T00:00:00Z"),
        ("date", "2024-02-29", "2023-02-29"),
        ("duration", "1h30m", "1x"),
        ("uri", "https://a.b/c", "a b"),
        ("email", "a@b.c", "a@"),
        ("ipv4", "10.0.0.1", "10.0.0"),
        ("ipv6", "fe80::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("uuid", "2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d", "2c5e"),
        ("byte", "aGk=", "a"),
        ("hostname", "a.example", "-a"),
        ("isbn10", "0321751043", "0321751044"),
        ("isbn13", "978-0321751041", "978-0321751042"),
        ("hexcolor", "#fff", "#ffff"),
        ("rgbcolor", "rgb(1,2,255)", "rgb(1,2,256)"),
        ("creditcard", "4111111111111111", "4111111111111112"),
    ],
)
def test_formats(name: str, good: str, bad: str) -> None:
    assert formats.KNOWN[name](good)
    assert not formats.KNOWN[name](bad)


def test_patterns_mean_what_they_mean_in_go() -> None:
    assert not patterns.compiled("^a$").search("a\n")
    assert patterns.compiled("^[[:alpha:]]+$").search("ab")
    assert not patterns.compiled(r"^\d$").search("٣")
    assert patterns.compiled(r"^a\z").search("a")


# -- naive twins over random schemas and objects

NAMES = st.sampled_from(["a", "b", "c"])
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["", "x", "yy"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
LEAVES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "default": "d"},
        {"type": "string", "nullable": True, "default": "d"},
        {"type": "integer", "maximum": 2},
        {"type": "boolean", "nullable": True},
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        {"type": "object", "additionalProperties": {"type": "integer"}},
    ]
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(
            lambda properties, needed: {
                "type": "object",
                "properties": properties,
                "required": sorted(needed),
            },
            st.dictionaries(NAMES, inner, max_size=3),
            st.sets(NAMES, max_size=1),
        ),
    ),
    max_leaves=6,
)


def naive_prune(value: Any, raw: dict[str, Any] | None) -> Any:
    raw = raw or {}
    if isinstance(value, dict):
        out = {}
        for name, below in value.items():
            if name in raw.get("properties", {}):
                out[name] = naive_prune(below, raw["properties"][name])
            elif "additionalProperties" in raw:
                out[name] = naive_prune(below, raw["additionalProperties"])
            elif raw.get("x-kubernetes-preserve-unknown-fields"):
                out[name] = below
        return out
    if isinstance(value, list):
        if raw.get("x-kubernetes-preserve-unknown-fields"):
            return value
        return [naive_prune(below, raw.get("items")) for below in value]
    return value


def naive_default(value: Any, raw: dict[str, Any]) -> Any:
    if isinstance(value, list) and "items" in raw:
        return [naive_default(raw["items"].get("default") if below is None and not raw["items"].get("nullable")
                              and "default" in raw["items"] else below, raw["items"]) for below in value]  # fmt: skip
    if not isinstance(value, dict):
        return value
    out = dict(value)
    for name, prop in raw.get("properties", {}).items():
        if out.get(name, 0) is None and not prop.get("nullable"):
            del out[name]
        if name not in out and "default" in prop:
            out[name] = prop["default"]
    extra = raw.get("additionalProperties")
    if extra is not None:
        out = {
            name: below
            for name, below in out.items()
            if below is not None or name in raw.get("properties", {})
        }
    for name in out:
        prop = raw.get("properties", {}).get(name, extra)
        if prop is not None:
            out[name] = naive_default(out[name], prop)
    return out


def naive_valid(value: Any, raw: dict[str, Any]) -> bool:
    if value is None:
        return bool(raw.get("nullable")) or "type" not in raw
    kinds = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
    if type(value) is not kinds[raw["type"]]:
        return False
    if isinstance(value, dict):
        if not set(raw.get("required", ())) <= set(value):
            return False
        extra = raw.get("additionalProperties")
        props = raw.get("properties", {})
        return all(
            naive_valid(v, props.get(k, extra)) for k, v in value.items() if props.get(k, extra) is not None
        )
    if isinstance(value, list):
        return all(naive_valid(below, raw["items"]) for below in value)
    return not (isinstance(value, int) and value > raw.get("maximum", 9))


@settings(max_examples=300, deadline=None)
@given(SCHEMAS, VALUES)
def test_pruning_equals_its_naive_twin(raw: dict[str, Any], value: Any) -> None:
    wanted, pruned = naive_prune(value, raw), copy.deepcopy(value)
    unknown = prune_value(pruned, parse(raw))
    assert pruned == wanted
    assert bool(unknown) == (wanted != value)
    assert prune_value(pruned, parse(raw)) == []


@settings(max_examples=300, deadline=None)
@given(SCHEMAS, VALUES)
def test_defaulting_equals_its_naive_twin_and_is_idempotent(raw: dict[str, Any], value: Any) -> None:
    filled = copy.deepcopy(value)
    default(filled, parse(raw))
    assert filled == naive_default(value, raw)
    again = copy.deepcopy(filled)
    default(again, parse(raw))
    assert again == filled


@settings(max_examples=300, deadline=None)
@given(SCHEMAS, VALUES)
def test_validation_equals_its_naive_twin(raw: dict[str, Any], value: Any) -> None:
    errors: list[Any] = []
    check = compile_schema(raw)
    check(value, "x", errors)
    assert (not errors) == naive_valid(value, raw)
    again: list[Any] = []
    before = copy.deepcopy(value)
    check(value, "x", again, before)
    # Where the schema does not fit the value, nobody can tell that it has not changed.
    assert (not again) or not same(value, before, raw)
