"""Trimmed texts say what the whole ones say, of what is kept; broken ones come back as they are."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coxswain._native.trim import Shape, trim
from coxswain.api.partial import reader, take

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


@given(OBJECTS, PARTS, st.sampled_from([None, 0, 2]))
def test_what_is_read_is_what_would_be_left_of_the_whole(obj: Any, part: Any, indent: int | None) -> None:
    raw = json.dumps(obj, indent=indent, ensure_ascii=False).encode()
    assert reader(part)(raw) == take(obj, part)


SHAPE = Shape({"a": None, "b": Shape({"a": None}), "c": Shape({})})


@given(st.lists(st.sampled_from(list('{}[]",:ab\\ 1')), max_size=24))
def test_nothing_but_an_answer_comes_of_a_broken_text(pieces: list[str]) -> None:
    raw = "".join(pieces).encode()
    out = trim(raw, SHAPE)
    try:
        whole = orjson.loads(raw)
    except orjson.JSONDecodeError:
        assert len(out) <= 2 * len(raw)
        return
    if isinstance(whole, dict):
        assert orjson.loads(out) == take(whole, {"a": None, "b": {"a": None}, "c": {}})


@given(OBJECTS, st.data())
def test_a_text_that_ends_early_comes_back(obj: Any, data: st.DataObject) -> None:
    raw = orjson.dumps(obj)
    raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    assert trim(raw, SHAPE) == raw


@pytest.mark.parametrize("raw", [b"", b"[]", b"1", b"null", b"   ", b'"{}"'])
def test_what_is_no_object_comes_back(raw: bytes) -> None:
    assert trim(raw, SHAPE) is raw


def test_a_shape_has_room_for_some_members_only() -> None:
    with pytest.raises(ValueError, match="at most 32 members, not 33"):
        Shape({f"m{number}": None for number in range(33)})
