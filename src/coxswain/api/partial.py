"""Reading a part of an object: what nobody asks for is skipped in its JSON, never made into dicts.

    read = reader({"metadata": {"name": None, "uid": None}, "status": {"conditions": None}})
    read(raw)       # as orjson.loads(raw), with no more than these members

Names of members, each with None (kept whole) or in turn a mapping, which holds for an object or for each of a list.
A pod of five kilobytes of which a fourth is kept is read three times as fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from coxswain._native.trim import Shape, trim
from coxswain.api.names import Object

Part = Mapping[str, "Part | None"]


def reader(part: Part) -> Callable[[bytes], Object]:
    """A function from an object's JSON to the object with only ``part`` of its members."""
    shape = _shape(part)

    def read(raw: bytes) -> Object:
        found: Object = orjson.loads(trim(raw, shape))
        return found

    return read


def take(value: Any, part: Part | None) -> Any:
    """The same of an object that is parsed already: a copy as deep as ``part`` is."""
    if part is None:
        return value
    if isinstance(value, dict):
        return {name: take(inner, part[name]) for name, inner in value.items() if name in part}
    return [take(each, part) for each in value] if isinstance(value, list) else value


def _shape(part: Part) -> Shape:
    return Shape({name: None if inner is None else _shape(inner) for name, inner in part.items()})


def whole(*names: str) -> dict[str, Any]:
    """Members that are kept whole, for a part."""
    return dict.fromkeys(names)
