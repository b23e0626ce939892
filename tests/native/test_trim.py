"""Trimmed texts say what the whole ones say, of what is kept; broken ones come back as they are."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coxswain._native.trim import Memory, Shape, pick, trim
from coxswain.api.partial import Alike, reader, take

NAMES = st.sampled_from(["a", "b", "c", 'q"u', "back\\slash", "ü", ""])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)
#: Names that JSON escapes are never found, as they are compared as written.
PARTS = st.recursive(
    st.none(), lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c", "ü", ""]), inner, max_size=4)
).filter(lambda part: part is not None)
ALIKE_PARTS = st.recursive(
    st.none(),
    lambda inner: st.dictionaries(
        st.sampled_from(["a", "b", "c", "ü", ""]), inner | st.builds(Alike, inner, st.booleans()), max_size=4
    ),
).filter(lambda part: part is not None)


@given(OBJECTS, PARTS, st.sampled_from([None, 0, 2]))
def test_what_is_read_is_what_would_be_left_of_the_whole(obj: Any, part: Any, indent: int | None) -> None:
    raw = json.dumps(obj, indent=indent, ensure_ascii=False).encode()
    assert reader(part)(raw) == take(obj, part) == orjson.loads(trim(raw, _shape(part)))


def _shape(part: Any) -> Shape:
    return Shape({name: None if one is None else _shape(one) for name, one in part.items()})


@given(st.lists(OBJECTS, max_size=4), ALIKE_PARTS, st.sampled_from([1, 3, 100]))
def test_what_is_alike_is_read_as_if_it_were_not(found: list[Any], part: Any, remembered: int) -> None:
    read = reader(part, remembered)
    for obj in found * 2:
        assert read(orjson.dumps(obj)) == take(obj, part)


def test_what_is_alike_is_one_object() -> None:
    memory, shape = Memory(10), Shape({"a": None, "b": None, "c": None}, alike=["a"], each_alike=["b"])
    raw = b'{"a":{"x":[1]},"b":[{"y":1},{"y":1}],"c":{"x":[1]}}'
    one, two = pick(raw, shape, memory), pick(raw.replace(b"[{", b" [ {"), shape, memory)
    assert one == two == orjson.loads(raw)
    assert one["a"] is two["a"]
    assert one["b"][0] is one["b"][1] is two["b"][0]
    assert one["c"] is not two["c"]


def test_a_memory_stays_small_and_remembers_nothing_long() -> None:
    memory, shape = Memory(3), Shape({"a": None}, alike=["a"])
    for number in range(50):
        assert pick(b'{"a":%d}' % number, shape, memory) == {"a": number}
        assert len(memory) <= 3
    long = b'{"a":"%b"}' % (b"x" * 3000)
    before = len(memory)
    assert pick(long, shape, memory) == orjson.loads(long)
    assert len(memory) == before


SHAPE = Shape({"a": None, "b": Shape({"a": None}), "c": Shape({})})


@given(st.lists(st.sampled_from(list('{}[]",:ab\\ 1')), max_size=24))
def test_nothing_but_an_answer_comes_of_a_broken_text(pieces: list[str]) -> None:
    raw = "".join(pieces).encode()
    out = trim(raw, SHAPE)
    picked = pick(raw, SHAPE, Memory(10))
    try:
        whole = orjson.loads(raw)
    except orjson.JSONDecodeError:
        assert len(out) <= 2 * len(raw)
        return
    if isinstance(whole, dict):
        assert orjson.loads(out) == picked == take(whole, {"a": None, "b": {"a": None}, "c": {}})
    else:
        assert picked is None


@given(OBJECTS, st.data())
def test_a_text_that_ends_early_comes_back(obj: Any, data: st.DataObject) -> None:
    raw = orjson.dumps(obj)
    raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    assert trim(raw, SHAPE) == raw
    assert pick(raw, SHAPE, Memory(10)) is None


@pytest.mark.parametrize("raw", [b"", b"[]", b"1", b"null", b"   ", b'"{}"'])
def test_what_is_no_object_comes_back(raw: bytes) -> None:
    assert trim(raw, SHAPE) is raw
    assert pick(raw, SHAPE, Memory(10)) is None


def test_a_shape_has_room_for_some_members_only() -> None:
    with pytest.raises(ValueError, match="at most 32 members, not 33"):
        Shape({f"m{number}": None for number in range(33)})


@pytest.mark.parametrize("lists", [1, 200, 1025, 1_000_000])
def test_lists_in_lists_go_no_deeper_than_a_parser_does(lists: int) -> None:
    raw = b'{"b":' + b"[" * lists + b"]" * lists + b"}"
    assert trim(raw, SHAPE) == raw
    picked = pick(raw, SHAPE, Memory(10))
    alike = pick(raw, Shape({"b": Shape({})}, alike=["b"]), Memory(10))
    assert picked == alike == (orjson.loads(raw) if lists < 1000 else None)


def test_only_shapes_keep_parts() -> None:
    with pytest.raises(TypeError, match="not by 'b'"):
        Shape({"a": "b"})  # type: ignore[dict-item]
    for wrong in (lambda: trim(b"{}", None), lambda: pick(b"{}", SHAPE, None), lambda: trim(None, SHAPE)):
        with pytest.raises(TypeError):
            wrong()
