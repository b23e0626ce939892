"""CEL's types as the checker sees them: how they are written, and what may stand where what is expected.

``Declared`` trees describe variables (from schemas) and results. ``limit`` is how large a value may get (characters,
elements, entries), as apiserver's ``DeclType.MaxElements`` says it; it bounds the estimated cost of an expression.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """A type.

    ``kind``: bool, int, uint, double, string, bytes, null_type, timestamp, duration, list, map, object, optional_type,
    type, opaque, param or dyn. ``element``: of lists, maps, optionals. ``name``: of objects, opaque types, parameters.
    """

    kind: str
    element: Declared | None = None
    fields: Mapping[str, Declared] | None = None
    key: Declared | None = None
    name: str = ""
    limit: int = 0

    def __str__(self) -> str:
        return show(self)


DYN: Final = Declared("dyn")
BOOL: Final = Declared("bool")
INT: Final = Declared("int")
UINT: Final = Declared("uint")
DOUBLE: Final = Declared("double")
STRING: Final = Declared("string")
BYTES: Final = Declared("bytes")
NULL: Final = Declared("null_type")
TIMESTAMP: Final = Declared("timestamp")
DURATION: Final = Declared("duration")
SCALARS: Final[Mapping[str, Declared]] = {
    each.kind: each for each in (BOOL, INT, UINT, DOUBLE, STRING, BYTES, NULL, TIMESTAMP, DURATION, DYN)
}
#: Types whose values all have the size 1.
FIXED_SIZE: Final = frozenset({"bool", "int", "uint", "double", "timestamp", "duration"})


def list_of(element: Declared) -> Declared:
    """``list(element)``."""
    return Declared("list", element)


def map_of(key: Declared, value: Declared) -> Declared:
    """``map(key, value)``."""
    return Declared("map", value, key=key)


def optional_of(element: Declared) -> Declared:
    """``optional_type(element)``."""
    return Declared("optional_type", element)


def opaque(name: str) -> Declared:
    """A type of a library, known by its name only."""
    return Declared("opaque", name=name)


def key_of(declared: Declared) -> Declared:
    """The type of a map's keys."""
    return declared.key or STRING


def element_of(declared: Declared) -> Declared:
    """The type of what a list, map or optional holds."""
    return declared.element or DYN


def show(declared: Declared) -> str:
    """A type as cel-go writes it in complaints."""
    kind = declared.kind
    if kind == "list":
        return f"list({show(element_of(declared))})"
    if kind == "map":
        return f"map({show(key_of(declared))}, {show(element_of(declared))})"
    if kind in ("optional_type", "type"):
        return f"{kind}({show(declared.element)})" if declared.element is not None else kind
    if kind == "null_type":
        return "null"
    return declared.name or kind


def same(left: Declared, right: Declared) -> bool:
    """Whether two types are the same."""
    if left is right:
        return True
    if left.kind != right.kind or left.name != right.name:
        return False
    if left.kind in ("list", "map", "optional_type"):
        keys = left.kind != "map" or same(key_of(left), key_of(right))
        return keys and same(element_of(left), element_of(right))
    return left.kind != "object" or bool(left.name) or left.fields is right.fields


def is_free(declared: Declared) -> bool:
    """Whether nothing is known of a type."""
    return declared.kind == "dyn"


_NULLABLE: Final = frozenset({"object", "opaque", "optional_type", "timestamp", "duration"})


def assign(wanted: Declared, given: Declared, bound: dict[str, Declared]) -> bool:
    """Whether ``given`` may stand where ``wanted`` is expected; parameters of ``wanted`` are bound on the way."""
    if wanted.kind == "param":
        before = bound.get(wanted.name)
        if before is None or is_free(before):
            bound[wanted.name] = given if before is None else before
            return True
        if is_free(given):
            bound[wanted.name] = given
            return True
        if before.kind == "null_type" and given.kind in _NULLABLE:
            bound[wanted.name] = given
            return True
        return assign(before, given, bound)
    if is_free(wanted) or is_free(given):
        return True
    if given.kind == "null_type" and wanted.kind in _NULLABLE:
        return True
    if wanted.kind != given.kind or wanted.name != given.name:
        return False
    if wanted.kind in ("list", "map", "optional_type"):
        keys = wanted.kind != "map" or assign(key_of(wanted), key_of(given), bound)
        return keys and assign(element_of(wanted), element_of(given), bound)
    return wanted.kind != "object" or same(wanted, given)


def substitute(declared: Declared, bound: Mapping[str, Declared]) -> Declared:
    """A type with its parameters filled in; unbound ones are open."""
    if declared.kind == "param":
        return bound.get(declared.name, DYN)
    if declared.kind not in ("list", "map", "optional_type", "type") or declared.element is None:
        return declared
    key = substitute(declared.key, bound) if declared.key is not None else None
    return Declared(declared.kind, substitute(declared.element, bound), key=key)


def join(first: Declared, second: Declared) -> Declared | None:
    """The type of elements of both types in one list, or None where they do not go together."""
    if assign(first, second, {}):
        return second if is_free(second) else first
    return None
