"""Schemas as CEL sees them: the type of a value, how large it may get, and JSON values made CEL values.

    shape(structural, root=True)       ``Shape``: the type, and the least size of its JSON; None: not seen in CEL
    reader(structural)                 what turns JSON values into CEL values; None where they are the same

Sizes follow apiserver's ``SchemaDeclType``: what a schema does not bound is bounded by the largest request.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from coxswain.api.cel import Declared, EvaluationError
from coxswain.api.cel.names import escape
from coxswain.api.cel.types import BOOL, DOUBLE, INT
from coxswain.api.cel.values import KeyedList, SetList, parse_duration, parse_timestamp
from coxswain.api.structural.model import Structural

#: The largest request, in bytes (apiserver's ``MaxRequestSizeBytes``).
MAX_REQUEST: Final = 3 * 1024 * 1024
_LONGEST: Final = MAX_REQUEST - 2
#: Format -> (kind, least JSON size, longest text).
_FORMATS: Final = {
    "byte": ("bytes", 2, _LONGEST),
    "duration": ("duration", 3, 32),
    "date": ("timestamp", 12, 12),
    "date-time": ("timestamp", 21, 32),
}

#: Makes a CEL value of a JSON value; None where they are the same.
Reader: TypeAlias = Callable[[Any], Any]


class Shape(NamedTuple):
    """A type, and the least that its JSON takes."""

    type: Declared
    least: int


_FREE_STRING: Final = Shape(Declared("string", limit=_LONGEST), 2)
_META: Final = Shape(
    Declared("object", fields={"name": _FREE_STRING.type, "generateName": _FREE_STRING.type}), 2
)


def shape(structural: Structural, *, root: bool = False) -> Shape | None:
    """What CEL sees of a schema; None: nothing. ``root``: the root of a resource."""
    raw = structural.raw
    if structural.int_or_string:
        return Shape(Declared("dyn", limit=_bound(raw, "maxLength", 4, _LONGEST)), 1)
    if structural.type == "array":
        return _list(structural)
    if structural.type == "object":
        if isinstance(structural.additional, Structural):
            return _map(structural, structural.additional)
        return _object(structural, root or structural.embedded)
    if structural.type == "string":
        return _string(raw)
    if structural.type == "boolean":
        return Shape(BOOL, 4)
    if structural.type in ("integer", "number"):
        return Shape(INT if structural.type == "integer" else DOUBLE, 1)
    return None


def _bound(raw: Mapping[str, Any], name: str, factor: int, otherwise: int) -> int:
    value = raw.get(name)
    return otherwise if value is None else max(int(value), 0) * factor


def _list(structural: Structural) -> Shape | None:
    element = shape(structural.items) if structural.items is not None else None
    if element is None:
        return None
    limit = _bound(structural.raw, "maxItems", 1, (MAX_REQUEST - 2) // (element.least + 1))
    return Shape(Declared("list", element.type, limit=limit), 2)


def _map(structural: Structural, values: Structural) -> Shape | None:
    value = shape(values)
    if value is None:
        return None
    limit = _bound(structural.raw, "maxProperties", 1, (MAX_REQUEST - 2) // (value.least + 6))
    return Shape(Declared("map", value.type, limit=limit), 2)


def _object(structural: Structural, resource: bool) -> Shape:
    needed = frozenset(structural.raw.get("required") or ())
    fields: dict[str, Declared] = {}
    least = 2
    found = {name: shape(below) for name, below in structural.properties.items()}
    if resource and not _says_metadata(structural):
        found |= {"apiVersion": _FREE_STRING, "kind": _FREE_STRING, "metadata": _META}
    for name, each in found.items():
        if each is None:
            continue
        if escape(name) is not None:
            fields[name] = each.type
        below = structural.properties.get(name)
        if name in needed and below is not None and not below.has_default:
            least += len(name) + each.least + 4
    return Shape(Declared("object", fields=fields), least)


def _says_metadata(structural: Structural) -> bool:
    own = structural.properties
    metadata = own.get("metadata")
    if metadata is None or any(
        name not in own or own[name].type != "string" for name in ("kind", "apiVersion")
    ):
        return False
    inside = metadata.properties
    return all(name in inside and inside[name].type == "string" for name in ("name", "generateName"))


def _string(raw: Mapping[str, Any]) -> Shape:
    known = _FORMATS.get(str(raw.get("format") or ""))
    if known is not None:
        kind, least, longest = known
        return Shape(
            Declared(kind, limit=_bound(raw, "maxLength", 1, longest) if kind == "bytes" else longest), least
        )
    options = [len(option.encode()) for option in raw.get("enum") or () if isinstance(option, str)]
    return Shape(
        Declared("string", limit=_bound(raw, "maxLength", 4, max(options) if options else _LONGEST)), 2
    )


# -- values


def reader(structural: Structural) -> Reader | None:
    """What turns JSON values of a schema into CEL values."""
    if structural.type == "number":
        return lambda value: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if structural.type == "integer":
        return _integer
    if structural.type == "string":
        return _FORMAT_READERS.get(str(structural.raw.get("format") or ""))
    if structural.type == "array" and structural.items is not None:
        return _list_reader(structural, reader(structural.items))
    fields = {
        name: made for name, below in structural.properties.items() if (made := reader(below)) is not None
    }
    extra = reader(structural.additional) if isinstance(structural.additional, Structural) else None
    #: Null there is as good as nothing there.
    nullable = frozenset(name for name, below in structural.properties.items() if below.nullable)
    if not fields and extra is None and not nullable:
        return None

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        out = {}
        for name, below in value.items():
            if below is None and name in nullable:
                continue
            made = fields.get(name, extra)
            out[name] = made(below) if made is not None else below
        return out

    return read


def _list_reader(structural: Structural, element: Reader | None) -> Reader | None:
    kind, keys = structural.list_type, structural.list_keys
    if element is None and kind not in ("set", "map"):
        return None

    def read(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        made = value if element is None else [element(each) for each in value]
        if kind == "set":
            return SetList(made)
        return KeyedList(made, keys) if kind == "map" else made

    return read


def _integer(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


def _bytes(value: Any) -> Any:
    try:
        return base64.b64decode(value) if isinstance(value, str) else value
    except (binascii.Error, ValueError):
        raise EvaluationError("byte format does not match the base64 of the value") from None


def _time(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return parse_timestamp(value if "T" in value.upper() else f"{value}T00:00:00Z")


_FORMAT_READERS: Final[Mapping[str, Reader]] = {
    "byte": _bytes,
    "duration": lambda value: parse_duration(value) if isinstance(value, str) else value,
    "date": _time,
    "date-time": _time,
}
