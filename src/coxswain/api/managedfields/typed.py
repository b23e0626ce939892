"""Whether an applied configuration fits its type, in the words of structured-merge-diff.

    faults(type, shape, obj) -> list[str]      empty when it fits; paths are those of conflicts

A configuration may name declared fields only, and every value must be of its field's JSON type. Nulls fit
everywhere but as elements of associative lists, whose elements need a key and may be there once.
"""

from __future__ import annotations

from typing import Any, Final

from coxswain.api.fields import quote
from coxswain.api.managedfields.fieldset import paths
from coxswain.api.managedfields.shape import KEYED, LEAF, SET, MissingKeyError, Shape, element_key
from coxswain.api.patch.refusals import go_text
from coxswain.api.schema import Field, Type

#: Kinds of fields and what their values may be; the rest takes anything.
_SCALARS: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "bytes": (str,),
    "boolean": (bool,),
    "integer": (int, float),
    "number": (int, float),
    "time": (str, int, float, bool),
    "microtime": (str, int, float, bool),
    "quantity": (str, int, float, bool),
    "intorstring": (str, int, float, bool),
}
_GO_TYPES: Final = {
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
    list: "[]interface {}",
    dict: "map[string]interface {}",
}


def faults(type: Type | None, shape: Shape, obj: Any) -> list[str]:  # noqa: A002
    """What does not fit, in the order of the configuration."""
    found: list[str] = []
    if type is not None:
        _struct(type, shape, obj, "", found)
    return found


def shown(found: list[str]) -> str:
    """One fault as it is, several as a list."""
    return found[0] if len(found) == 1 else "\n".join(["errors:", *(f"  {fault}" for fault in found)])


def _struct(type: Type, shape: Shape, value: Any, path: str, found: list[str]) -> None:  # noqa: A002
    if value is None:
        return
    if not isinstance(value, dict):
        found.append(_at(path, f"expected map, got &{{{go_text(value)}}}"))
        return
    for name, item in value.items():
        field = type.fields.get(name)
        if field is None and type.open:
            continue
        if field is None:
            found.append(_at(f"{path}.{name}", "field not declared in schema"))
            return
        known = shape.fields.get(name)
        _value(field, known[1] if known else LEAF, item, f"{path}.{name}", found)


def _value(field: Field, shape: Shape, value: Any, path: str, found: list[str]) -> None:
    if value is None:
        return
    kind = field.kind
    allowed = _SCALARS.get(kind)
    if allowed is not None:
        # A bool is an int to Python, not to JSON.
        if not isinstance(value, allowed) or ((value is True or value is False) and bool not in allowed):
            found.append(_at(path, _wrong_scalar(allowed, value)))
    elif kind == "ref":
        _struct(field.ref, shape, value, path, found)
    elif kind == "map" and field.element is not None:
        _map(field.element, shape.element or LEAF, value, path, found)
    elif kind == "array" and field.element is not None:
        _list(field.element, shape, value, path, found)


def _map(element: Field, shape: Shape, value: Any, path: str, found: list[str]) -> None:
    if not isinstance(value, dict):
        found.append(_at(path, f"expected map, got &{{{go_text(value)}}}"))
        return
    for name, item in value.items():
        _value(element, shape, item, f"{path}.{name}", found)


def _list(element: Field, shape: Shape, value: Any, path: str, found: list[str]) -> None:
    if not isinstance(value, list):
        found.append(_at(path, f"expected list, got &{{{go_text(value)}}}"))
        return
    seen: set[str] = set()
    for position, item in enumerate(value):
        where = f"[{position}]"
        if shape.kind in (KEYED, SET):
            try:
                wire = element_key(shape, item)
            except MissingKeyError as error:
                found.append(_at(path, f"element {position}: {error.message}"))
                return
            where = "".join(paths({wire: {}}))
            if wire in seen:
                found.append(_at(path, f"duplicate entries for key {where}"))
            seen.add(wire)
        _value(element, shape.element or LEAF, item, path + where, found)


def _wrong_scalar(allowed: tuple[type, ...], value: Any) -> str:
    if allowed == (str,):
        return f"expected string, got &value.valueUnstructured{{Value:{_go_syntax(value)}}}"
    if allowed == (bool,):
        return f"expected boolean, got &{{{go_text(value)}}}"
    if allowed == (int, float):
        return f"expected numeric (int or float), got {_GO_TYPES[type(value)]}"
    return f"expected any scalar, got &{{{go_text(value)}}}"


def _go_syntax(value: Any) -> str:
    """A JSON value as Go's ``%#v`` prints it."""
    if isinstance(value, dict):
        inner = ", ".join(f"{quote(name)}:{_go_syntax(value[name])}" for name in sorted(value))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(map(_go_syntax, value))}}}"
    if isinstance(value, str):
        return quote(value)
    if value is None:
        return "interface {}(nil)"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _at(path: str, what: str) -> str:
    return f"{path}: {what}" if path else what
