"""What has not changed is let be, and what counts as unchanged: schemas and rules over old and new objects."""

from __future__ import annotations

from typing import Any

import pytest

from coxswain.api.names import GVK
from coxswain.api.structural import compile_crd_schema
from coxswain.api.structural.correlation import Elements, is_closed, same

BOAT = GVK("h.example.com", "v1", "Boat")
INTEGER = {"type": "integer"}
STRING = {"type": "string"}
KEYED: dict[str, Any] = {
    "type": "array",
    "items": {"type": "object", "properties": {"k": STRING, "v": INTEGER}},
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["k"],
}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def compiled(spec: dict[str, Any]) -> Any:
    return compile_crd_schema({"type": "object", "properties": {"spec": spec}}, BOAT)


def told(spec: dict[str, Any], new: Any, old: Any) -> list[str]:
    return [str(error) for error in compiled(spec).validate_update({"spec": new}, {"spec": old})]


def ruled(spec: dict[str, Any], new: Any, old: Any) -> tuple[list[str], list[str]]:
    """(errors, warnings) of rules."""
    warnings: list[str] = []
    errors = compiled(spec).check_rules({"spec": new}, {"spec": old}, warnings)
    return [str(error) for error in errors], warnings


@pytest.mark.parametrize(
    ("schema", "new", "old", "alike"),
    [
        (INTEGER, 1, 1, True),
        (INTEGER, 1, 1.0, False),
        (INTEGER, None, None, True),
        (INTEGER, None, 1, False),
        (of(a=INTEGER), {"a": 1}, {"a": 1}, True),
        (of(a=INTEGER), {"a": 1}, {}, False),
        (of(a=INTEGER), {"a": 1}, {"b": 1}, False),
        # Nobody knows of free fields, nor whether they changed.
        (of(a=INTEGER), {"a": 1, "x": 1}, {"a": 1, "x": 1}, False),
        ({"type": "object", "additionalProperties": INTEGER}, {"x": 1}, {"x": 1}, True),
        ({"type": "array", "items": INTEGER}, [1, 2], [1, 2], True),
        ({"type": "array", "items": INTEGER}, [2, 1], [1, 2], False),
        (KEYED, [{"k": "a", "v": 1}, {"k": "b"}], [{"k": "b"}, {"k": "a", "v": 1}], True),
        (KEYED, [{"k": "a", "v": 1}], [{"k": "a", "v": 2}], False),
        (KEYED, [{"k": "a"}], [{"k": "b"}], False),
        (KEYED, [{"v": 1}], [{"v": 1}], False),
        (KEYED, [], [], True),
    ],
)
def test_what_is_the_same(schema: dict[str, Any], new: Any, old: Any, alike: bool) -> None:
    assert same(new, old, schema) is alike


def test_the_first_of_equal_keys_counts() -> None:
    elements = Elements([{"k": "a", "v": 1}, {"k": "a", "v": 2}, "odd"], KEYED)
    assert elements.find({"k": "a", "v": 9}) == {"k": "a", "v": 1}
    assert elements.find({"k": 1}) is elements.find("odd") is elements.find({}) is None
    atomic = {**KEYED, "x-kubernetes-list-type": "atomic"}
    assert Elements([{"k": "a"}], atomic).find({"k": "a"}) is None


def test_schemas_with_free_fields_are_open() -> None:
    assert is_closed(of(a=INTEGER, l=KEYED))
    assert is_closed({"type": "object", "additionalProperties": of(a=INTEGER)})
    for part in (
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        {"type": "object", "additionalProperties": True},
        {"type": "object", "x-kubernetes-embedded-resource": True},
    ):
        assert not is_closed(of(a=INTEGER, p=part))


def test_a_field_that_has_not_changed_may_stay_wrong() -> None:
    spec = of(a={**INTEGER, "minimum": 5}, b={**STRING, "enum": ["x"]}, c=STRING)
    old = {"a": 1, "b": "y", "c": "1"}
    assert told(spec, {**old, "c": "2"}, old) == []
    (wrong,) = told(spec, {**old, "a": 2}, old)
    assert wrong.startswith("spec.a: Invalid value: 2")


def test_an_object_that_lacks_a_field_may_lack_it_as_long_as_nothing_else_changes() -> None:
    inner = {**of(a=INTEGER, b=INTEGER), "required": ["b"], "maxProperties": 1}
    spec = of(inner=inner, c=STRING)
    assert told(spec, {"inner": {"a": 1}, "c": "2"}, {"inner": {"a": 1}, "c": "1"}) == []
    assert told(spec, {"inner": {"a": 2}}, {"inner": {"a": 1}}) == ["spec.inner.b: Required value"]


def test_elements_of_keyed_lists_may_move() -> None:
    item = {"type": "object", "properties": {"k": STRING, "v": {**INTEGER, "maximum": 3}}}
    spec = of(l={**KEYED, "items": item, "maxItems": 1})
    old = {"l": [{"k": "a", "v": 9}, {"k": "b", "v": 8}]}
    assert told(spec, {"l": [{"k": "b", "v": 8}, {"k": "a", "v": 9}]}, old) == []
    wrong = told(spec, {"l": [{"k": "b", "v": 8}, {"k": "a", "v": 7}]}, old)
    assert [each.partition(":")[0] for each in wrong] == ["spec.l[1].v", "spec.l"]


@pytest.mark.parametrize("name", ["allOf", "anyOf", "oneOf"])
def test_parts_are_judged_as_a_whole(name: str) -> None:
    spec = {**of(a=INTEGER, b=INTEGER), name: [{"properties": {"a": {"minimum": 5}}}]}
    assert told(spec, {"a": 1, "b": 1}, {"a": 1, "b": 1}) == []
    assert any("spec.a" in each for each in told(spec, {"a": 1, "b": 2}, {"a": 1, "b": 1}))


def test_free_fields_keep_the_whole_from_being_unchanged() -> None:
    loose = {**of(a=INTEGER), "required": ["a"], "x-kubernetes-preserve-unknown-fields": True}
    spec = of(loose=loose, c=STRING)
    old = {"loose": {"x": 1}, "c": "1"}
    assert told(spec, {**old, "c": "2"}, old) == ["spec.loose.a: Required value"]


def test_a_broken_rule_of_what_has_not_changed_is_a_warning() -> None:
    rule = {"rule": "self > 10", "message": "too small"}
    spec = of(a={**INTEGER, "x-kubernetes-validations": [rule]}, b=STRING)
    assert ruled(spec, {"a": 1, "b": "2"}, {"a": 1, "b": "1"}) == (
        [],
        ["spec.a: Invalid value: 1: too small"],
    )
    assert ruled(spec, {"a": 2}, {"a": 1}) == (["spec.a: Invalid value: 2: too small"], [])


def test_rules_of_objects_with_free_fields_are_not_let_be() -> None:
    loose = {
        **of(a=INTEGER),
        "x-kubernetes-preserve-unknown-fields": True,
        "x-kubernetes-validations": [{"rule": "self.a > 10"}],
    }
    old = {"a": 1}
    assert ruled(of(p=loose), {"p": old}, {"p": old})[0] == []
    free = {"a": 1, "x": 1}
    assert ruled(of(p=loose), {"p": free}, {"p": free})[0] == [
        "spec.p: Invalid value: failed rule: self.a > 10"
    ]


def test_rules_of_keyed_lists_hold_for_what_was_moved() -> None:
    item = {
        **of(k=STRING, v=INTEGER),
        "x-kubernetes-validations": [{"rule": "self.v > 10", "message": "small"}],
    }
    rule = {"rule": "self.size() < 2", "message": "many"}
    spec = of(l={**KEYED, "items": item, "x-kubernetes-validations": [rule]})
    old = {"l": [{"k": "a", "v": 1}, {"k": "b", "v": 20}]}
    errors, warnings = ruled(spec, {"l": old["l"][::-1]}, old)
    assert not errors
    assert warnings == ["spec.l: Invalid value: many", "spec.l[1]: Invalid value: small"]
    errors, warnings = ruled(spec, {"l": [{"k": "a", "v": 1}, {"k": "c", "v": 2}]}, old)
    assert errors == ["spec.l: Invalid value: many", "spec.l[1]: Invalid value: small"]
    assert warnings == ["spec.l[0]: Invalid value: small"]


def test_rules_that_compare_are_never_let_be() -> None:
    rule = {"rule": "!oldSelf.hasValue() || self > oldSelf.value()", "optionalOldSelf": True, "message": "up"}
    spec = of(a={**INTEGER, "x-kubernetes-validations": [rule]})
    assert ruled(spec, {"a": 1}, {"a": 1}) == (["spec.a: Invalid value: 1: up"], [])
    assert ruled(spec, {"a": 1}, {}) == ([], [])


def test_the_object_as_a_whole_always_has_changed() -> None:
    schema = compile_crd_schema(
        {
            "type": "object",
            "properties": {"spec": INTEGER, "more": INTEGER},
            "required": ["more"],
            "x-kubernetes-validations": [{"rule": "self.spec > 1", "message": "small"}],
        },
        BOAT,
    )
    obj = {"apiVersion": "h.example.com/v1", "kind": "Boat", "metadata": {"name": "a"}, "spec": 1}
    assert [str(each) for each in schema.validate_update(obj, obj)] == ["more: Required value"]
    assert [str(each) for each in schema.check_rules(obj, obj)] == ["<nil>: Invalid value: small"]
