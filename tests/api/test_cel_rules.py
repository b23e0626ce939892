"""Rules of schemas over objects: transitions, ratcheting, messages, budgets, and the types that values have."""

from __future__ import annotations

from typing import Any

import pytest

from coxswain.api.names import GVK
from coxswain.api.structural import compile_crd_schema
from coxswain.api.structural.model import parse
from coxswain.api.structural.rulechecks import check_expressions
from coxswain.api.validation.definitionschemas import validate_schema

BOAT = GVK("h.example.com", "v1", "Boat")


def ruled(schema: dict[str, Any], *rules: dict[str, Any] | str) -> dict[str, Any]:
    made = [{"rule": rule} if isinstance(rule, str) else rule for rule in rules]
    return {**schema, "x-kubernetes-validations": made}


def told(spec: dict[str, Any], new: Any, old: Any = None) -> list[str]:
    schema = compile_crd_schema({"type": "object", "properties": {"spec": spec}}, BOAT)
    before = None if old is None else {"spec": old}
    return [str(error) for error in schema.check_rules({"spec": new}, before)]


INTEGER = {"type": "integer"}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def test_transitions_of_keyed_lists_follow_their_elements() -> None:
    item = {
        **ruled(of(k={"type": "string"}, v=INTEGER), {"rule": "self.v >= oldSelf.v", "message": "only up"}),
        "required": ["k"],
    }
    ports = {
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
    }
    old = {"ports": [{"k": "a", "v": 5}, {"k": "b", "v": 1}]}
    new = {"ports": [{"k": "b", "v": 2}, {"k": "c", "v": 0}, {"k": "a", "v": 4}]}
    assert told(of(ports=ports), new, old) == ["spec.ports[2]: Invalid value: only up"]
    assert told(of(ports=ports), new) == []


def test_optional_old_self_runs_on_creates_too() -> None:
    rule = {"rule": "!oldSelf.hasValue() || self > oldSelf.value()", "optionalOldSelf": True}
    spec = of(n=ruled(INTEGER, rule, {"rule": "oldSelf.orValue(0) < 10", "optionalOldSelf": True}))
    assert told(spec, {"n": 1}) == []
    assert told(spec, {"n": 2}, {"n": 1}) == []
    assert told(spec, {"n": 2}, {"n": 2})[0].startswith("spec.n: Invalid value: 2: failed rule: !oldSelf")


def test_what_has_not_changed_is_let_be() -> None:
    spec = ruled(
        of(a=ruled(INTEGER, "self > 10"), l={"type": "array", "items": ruled(INTEGER, "self > 10")}), "true"
    )
    old = {"a": 1, "l": [1, 20], "x": 0}
    assert told(spec, {"a": 1, "l": [1, 20], "x": 1}, old) == []
    assert told(spec, {"a": 2, "l": [1, 20]}, old) == ["spec.a: Invalid value: 2: failed rule: self > 10"]
    # Elements of an atomic list cannot be told apart: the list as a whole has changed.
    assert told(spec, {"a": 1, "l": [1, 30]}, old) == ["spec.l[0]: Invalid value: 1: failed rule: self > 10"]


def test_a_transition_rule_is_never_let_be() -> None:
    spec = of(a=ruled(INTEGER, "self == oldSelf + 1"))
    assert told(spec, {"a": 1}, {"a": 1}) == ["spec.a: Invalid value: 1: failed rule: self == oldSelf + 1"]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("'a is ' + string(self.a)", "a is 1"),
        ("'  '", "sorry"),
        ("'a\\nb'", "sorry"),
        ("string(1 / 0)", "sorry"),
        ("'%s'.format([self])", "sorry"),
    ],
)
def test_message_expressions_fall_back(expression: str, words: str) -> None:
    spec = ruled(of(a=INTEGER), {"rule": "self.a > 1", "message": "sorry", "messageExpression": expression})
    found = told(spec, {"a": 1})
    assert found == [f"spec: Invalid value: {words}"] or expression.startswith("'%s'")


def test_field_paths_point_into_the_value() -> None:
    quoted = {"rule": "false", "fieldPath": ".m['a-b']", "reason": "FieldValueForbidden", "message": "no"}
    spec = ruled(
        of(a=INTEGER, m={"type": "object", "additionalProperties": INTEGER}),
        {"rule": "false", "fieldPath": ".a", "reason": "FieldValueRequired", "message": "give it"},
        quoted,
    )
    assert told(spec, {"a": 1, "m": {"a-b": 1}}) == [
        "spec.a: Required value: give it",
        "spec.m[a-b]: Forbidden: no",
    ]


def test_values_have_the_types_of_their_schema() -> None:
    spec = ruled(
        of(
            d={"type": "number"},
            t={"type": "string", "format": "date-time"},
            p={"type": "string", "format": "duration"},
            b={"type": "string", "format": "byte"},
            e={"x-kubernetes-int-or-string": True},
            **{"a-b": INTEGER, "namespace": INTEGER},
        ),
        "self.d == 2.0 && type(self.d) == double",
        "self.t > timestamp('2024-01-01T00:00:00Z') && self.t.getFullYear() == 2025",
        "self.p < duration('2h')",
        "self.b == b'abc'",
        "type(self.e) == string ? self.e == '50%' : self.e == 5",
        "self.a__dash__b == 1 && self.__namespace__ == 2",
    )
    value = {"d": 2, "t": "2025-01-01T00:00:00Z", "p": "90m", "b": "YWJj", "a-b": 1, "namespace": 2}
    assert told(spec, {**value, "e": 5}) == []
    assert told(spec, {**value, "e": "50%"}) == []


def test_sets_and_keyed_lists_have_no_order() -> None:
    many = {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}
    item = {**of(k={"type": "string"}, v=INTEGER), "required": ["k"]}
    keyed = {
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
    }
    spec = ruled(
        of(a=many, b=many, x=keyed, y=keyed),
        "self.a == self.b && self.a == ['c', 'b', 'a'] && self.a != ['a', 'b']",
        "self.a + ['c', 'd'] == ['a', 'b', 'c', 'd'] && size(self.a + self.b) == 3",
        "self.x == self.y && self.x[0].k == 'p' && self.x == [self.y[1], self.y[0]]",
        "size(self.x + self.y) == 2 && self.x.all(e, e in self.y)",
    )
    value = {
        "a": ["a", "b", "c"],
        "b": ["c", "a", "b"],
        "x": [{"k": "p", "v": 1}, {"k": "q", "v": 2}],
        "y": [{"k": "q", "v": 2}, {"k": "p", "v": 1}],
    }
    assert told(spec, value) == []


def test_null_is_as_good_as_absent() -> None:
    inner = {**of(n={"type": "string", "nullable": True}), "nullable": True}
    spec = ruled(of(a={"type": "string", "nullable": True}, b=inner), "!has(self.a) && !has(self.b.n)")
    assert told(spec, {"a": None, "b": {"n": None}}) == []
    assert told(spec, {"a": "x", "b": {"n": None}}) != []


def test_patterns_that_cannot_be_are_told_at_once() -> None:
    (found,) = check_expressions(parse(ruled(of(a={"type": "string"}), "self.a.find(')') == ''")), "s")
    assert str(found).endswith(": program instantiation failed: error parsing regexp: unexpected ): `)`")


def test_the_root_knows_its_name_and_kind() -> None:
    schema = compile_crd_schema(
        ruled(of(spec=of()), "self.metadata.name.startsWith('a') && self.kind == 'Boat' && !has(self.spec)"),
        BOAT,
    )
    assert schema.check_rules({"kind": "Boat", "apiVersion": "v1", "metadata": {"name": "argo"}}) == []
    assert schema.check_rules({"kind": "Boat", "apiVersion": "v1", "metadata": {"name": "b"}}) != []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("self.metadata.labels.size() > 0", "undefined field 'labels'"),
        ("self.spec.nope > 0", "undefined field 'nope'"),
        ("self.spec.a", "cel expression must evaluate to a bool"),
        ("self.spec.free.x == 1", "undefined field 'x'"),
    ],
)
def test_rules_that_are_refused(rule: str, message: str) -> None:
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    found = check_expressions(parse(ruled(of(spec=of(a=INTEGER, free=free)), rule)), "s")
    assert len(found) == 1 and message in str(found[0])


def test_an_object_has_one_budget() -> None:
    each = ruled({"type": "string"}, " && ".join(["self.matches('^(a|b)')"] * 5))
    spec = of(l={"type": "array", "items": each})
    found = told(spec, {"l": ["ab" * 10000] * 600})
    assert len(found) == 1
    assert found[0].endswith(
        "validation failed due to running out of cost budget, no further validation rules will be run"
    )


def test_a_call_has_its_limit() -> None:
    spec = ruled(
        of(l={"type": "array", "items": INTEGER}), "self.l.all(x, self.l.all(y, x + y >= 0))", "false"
    )
    (found,) = told(spec, {"l": [1] * 1000})
    assert found.endswith(
        "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost "
        "exceeds limit for rule: self.l.all(x, self.l.all(y, x + y >= 0))"
    )


def test_defaults_have_to_obey_the_rules() -> None:
    schema = of(spec=of(a={**ruled(INTEGER, "self > 10"), "default": 5}))
    errors: list[Any] = []
    validate_schema(schema, "s", False, errors)
    assert [str(error) for error in errors] == [
        "s.properties[spec].properties[a].default: Invalid value: 5: failed rule: self > 10"
    ]
