"""The compiled walk against a naive one, over random objects of every kind with random damage."""

from __future__ import annotations

import copy
import random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_samples import kinds_with_types, sample
from coxswain._native import walk
from coxswain.api import fieldcheck
from coxswain.api.schema import Field, Type

_JUNK: list[Any] = [
    None,
    "",
    "x",
    0,
    7,
    2**40,
    1.5,
    True,
    False,
    [],
    {},
    [None],
    {"foo": {"bar": [1]}},
    [{}],
    "5",
    "-1Gi",
]


class Wrong(Exception):
    """The naive walk met a value of the wrong type."""


def naive(kind: Type, obj: dict[str, Any], path: str, unknown: list[str]) -> dict[str, Any]:
    """What the compiled walk does, as plainly as it can be said."""
    out: dict[str, Any] = {}
    for key, given_value in obj.items():
        found = kind.fields.get(key)
        if found is None:
            unknown.append(f"{path}.{key}" if path else key)
        elif given_value is not None:
            made = naive_value(found, given_value, f"{path}.{key}" if path else key, unknown)
            empty_list = found.presence == "always" and found.kind in ("array", "map") and not made
            if made is not None and not (found.presence == "value" and not made) and not empty_list:
                out[key] = made
    return out


def naive_value(found: Field, value: Any, path: str, unknown: list[str]) -> Any:
    if found.kind in ("object", "any"):
        if "JSONSchemaPropsOr" not in found.ref_name:
            return value
        try:
            return fieldcheck._schema_or(value)
        except fieldcheck.DecodeError:
            raise Wrong from None
    if found.kind == "ref":
        expect(isinstance(value, dict))
        return naive(found.ref, value, path, unknown)
    if found.kind == "array":
        assert found.element is not None
        expect(isinstance(value, list))
        return [naive_element(found.element, inner, f"{path}[{n}]", unknown) for n, inner in enumerate(value)]
    if found.kind == "map":
        assert found.element is not None
        expect(isinstance(value, dict))
        return {
            key: naive_element(found.element, inner, f"{path}.{key}", unknown) for key, inner in value.items()
        }
    if found.kind == "string":
        expect(isinstance(value, str))
    elif found.kind == "boolean":
        expect(isinstance(value, bool))
    elif found.kind == "integer":
        limit = 2 ** (31 if found.format == "int32" else 63)
        expect(type(value) is int and -limit <= value < limit)
    elif found.kind == "number":
        expect(type(value) in (int, float))
    else:
        try:
            return fieldcheck._CONVERTERS[found.kind](value)
        except (walk.Fatal, walk.WrongType):
            raise Wrong from None
    return value


def naive_element(found: Field, value: Any, path: str, unknown: list[str]) -> Any:
    if value is None:
        return {} if found.kind == "ref" else fieldcheck._ZEROS.get(found.kind)
    return naive_value(found, value, path, unknown)


def expect(good: bool) -> None:
    if not good:
        raise Wrong


def damage(value: Any, rng: random.Random) -> Any:
    """``value`` with here and there something else, or something more."""
    if rng.random() < 0.02:
        return copy.deepcopy(rng.choice(_JUNK))
    if isinstance(value, dict):
        made = {key: damage(inner, rng) for key, inner in value.items()}
        if rng.random() < 0.1:
            made[rng.choice(("foo", "Name", "x.y"))] = copy.deepcopy(rng.choice(_JUNK))
        return made
    if isinstance(value, list):
        return [damage(inner, rng) for inner in value]
    return value


def count(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(count(inner) for inner in value.values())
    return sum(count(inner) for inner in value) if isinstance(value, list) else 0


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_the_compiled_walk_does_what_the_naive_one_does(seed: int) -> None:
    rng = random.Random(seed)
    kind = rng.choice(kinds_with_types())
    obj = {key: damage(value, rng) for key, value in sample(kind, rng).items()}
    unknown: list[str] = []
    keys = count(obj)
    try:
        expected = naive(kind, copy.deepcopy(obj), "", unknown)
    except Wrong:
        with pytest.raises(fieldcheck.DecodeError):
            fieldcheck.check(obj, kind)
        return
    told, seen = fieldcheck.check(obj, kind)
    assert (obj, told, seen) == (expected, unknown[:100], keys)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_a_clean_object_stays_as_it_is(seed: int) -> None:
    rng = random.Random(seed)
    kind = rng.choice(kinds_with_types())
    obj = sample(kind, rng)
    fieldcheck.check(obj, kind)
    again = copy.deepcopy(obj)
    assert fieldcheck.check(again, kind) == ([], count(obj))
    assert again == obj
    fieldcheck.complete(again, kind)
    once = copy.deepcopy(again)
    fieldcheck.complete(again, kind)
    assert again == once


@given(
    st.recursive(
        st.text(max_size=6) | st.integers(0, 5),
        lambda i: st.lists(i, max_size=3) | st.dictionaries(st.text(max_size=4), i, max_size=4),
    )
)
def test_keys_are_counted_in_the_text(value: Any) -> None:
    assert walk.count_keys(orjson.dumps(value)) == count(value)
    assert walk.count_keys(orjson.dumps(value, option=orjson.OPT_INDENT_2)) == count(value)


def test_counting_a_cut_text_ends() -> None:
    for text in (b"", b'"', b'"\\', b'{"a":"', b'{"a\\":'):
        assert walk.count_keys(text) >= 0
