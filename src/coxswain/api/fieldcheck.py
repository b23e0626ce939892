"""Type checks, unknown fields and clean-up of a decoded object: what Go's decoder does on its way to a struct.

``check(obj, type, report=True)`` walks the object once, in place, and
- raises ``DecodeError`` for a value of the wrong type, in the words of Go's JSON decoder;
- collects unknown fields (``spec.containers[0].foo``) and drops them, as decoding into a struct does;
- drops nulls and what ``omitempty`` would leave out: an empty ``""``, ``0``, ``false``, list or map of a field
  that is a plain value, while a pointer's zero stays;
- rewrites quantities, times and base64 to their canonical form.

``complete(obj, type)`` is the other half, Go's encoder: it adds what is always written (``resources: {}``,
``targetPort: 0``, ``rules: null``). It comes after defaulting, so that a default sees that nothing was set.

The walk itself is compiled (``_native.walk``); here are the plans it follows, made from schema types on first
use, and the scalar converters with Go's messages.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from coxswain._native import walk
from coxswain.api import gotime, jsonscan, quantity, schema
from coxswain.api.fields import child, quote
from coxswain.api.names import Object
from coxswain.api.schema import Field, Type

#: Numbers that the compiled walk knows.
KINDS: Final[Mapping[str, int]] = {
    "string": 0,
    "boolean": 1,
    "integer": 3,
    "number": 4,
    "bytes": 5,
    "time": 5,
    "microtime": 5,
    "quantity": 5,
    "intorstring": 5,
    "object": 6,
    "any": 6,
    "ref": 7,
    "array": 8,
    "map": 9,
}
PRESENCE: Final[Mapping[str, int]] = {"pointer": 0, "value": 1, "always": 2, "nullable": 3}
_INT32: Final = 2

_ZEROS: Final[Mapping[str, Any]] = {
    "string": "",
    "boolean": False,
    "integer": 0,
    "number": 0,
    "quantity": "0",
    "intorstring": 0,
}


class DecodeError(ValueError):
    """The body does not decode into its type; the text is Go's message."""


def check(obj: Object, kind: Type, *, report: bool = True) -> tuple[list[str], int]:
    """Check and clean ``obj`` in place: (paths of unknown fields, number of keys it had).

    ``report=False`` drops unknown fields without a word. Raises ``DecodeError``.
    """
    state = walk.Walk(report)
    try:
        state.run(plan_of(kind), obj)
    except (walk.Fatal, DecodeError) as error:
        raise DecodeError(str(error)) from None
    if state.type_error is not None:
        raise DecodeError(state.type_error)
    return state.strict, state.keys


def complete(obj: Object, kind: Type) -> None:
    """Add in place what Go's encoding writes although nobody set it."""
    walk.complete(plan_of(kind), obj)


def strict_messages(value: Any, kind: Type | None) -> list[str]:
    """Unknown and duplicate fields of a body parsed by ``jsonscan.pairs``, in the body's order.

    Without a type only duplicates are told (a custom resource). At most 100, each once.
    """
    found: dict[str, None] = {}
    _strict(value, Field("", "free" if kind is None else "ref"), kind, "", found)
    return list(found)[:100]


def _strict(value: Any, field: Field, kind: Type | None, path: str, found: dict[str, None]) -> None:
    if isinstance(value, jsonscan.Pairs):
        if field.kind in ("ref", "map", "free"):
            _strict_object(value, field, kind, path, found)
    elif isinstance(value, list):
        element = field.element or (field if field.kind == "free" else None)
        for position, inner in enumerate(value if element is not None else ()):
            assert element is not None  # the loop is empty otherwise
            _strict(inner, element, _type_below(element), f"{path}[{position}]", found)


def _strict_object(
    value: jsonscan.Pairs, field: Field, kind: Type | None, path: str, found: dict[str, None]
) -> None:
    seen: set[str] = set()
    for key, inner in value:
        below = child(path, key)
        if key in seen:
            found[f"duplicate field {quote(below)}"] = None
        seen.add(key)
        member = kind.fields.get(key) if kind is not None else (field.element or field)
        if member is None:
            found[f"unknown field {quote(below)}"] = None
            seen.discard(key)
        else:
            _strict(inner, member, _type_below(member), below, found)


def _type_below(field: Field) -> Type | None:
    return field.ref if field.kind == "ref" else None


_plans: dict[Type, walk.TypePlan] = {}


def plan_of(kind: Type) -> walk.TypePlan:
    """The compiled plan of a type, made once."""
    plan = _plans.get(kind)
    if plan is None:
        plan = _plans[kind] = walk.TypePlan()
        plan.name = kind.go_name
        plan.fields = {name: _field_plan(field) for name, field in kind.fields.items()}
        plan.always = [
            plan.fields[name]
            for name, field in kind.fields.items()
            if field.presence in ("always", "nullable") and name not in ("apiVersion", "kind")
        ]
    return plan


def _field_plan(field: Field) -> walk.FieldPlan:
    plan = walk.FieldPlan()
    plan.name = field.name
    plan.kind = _INT32 if field.format == "int32" else KINDS[field.kind]
    plan.presence = PRESENCE[field.presence]
    plan.go_type = field.go_type
    plan.zero = None if field.presence == "nullable" else _ZEROS.get(field.kind)
    plan.converter = _CONVERTERS.get(field.kind)
    if field.ref_name.startswith(f"{_SCHEMA_PROPS}Or"):
        plan.kind, plan.converter = KINDS["bytes"], _schema_or
    plan.element = _field_plan(field.element) if field.element is not None else None
    if field.kind == "ref":
        plan.target = partial(_target, field)
    return plan


def _target(field: Field) -> walk.TypePlan:
    return plan_of(field.ref)


def _quantity(value: Any) -> str:
    if type(value) is bool or not isinstance(value, str | int | float):
        raise walk.Fatal(quantity.FORMAT_WRONG)
    try:
        return quantity.canonicalize(value.strip() if isinstance(value, str) else value)
    except quantity.QuantityError as error:
        raise walk.Fatal(str(error)) from None


def _time(layout: str, value: Any) -> str | None:
    if type(value) is not str:
        raise walk.WrongType(walk.value_name(value, False), "string")
    try:
        return gotime.canonical(value, layout)
    except gotime.TimeError as error:
        raise walk.Fatal(str(error)) from None


def _int_or_string(value: Any) -> int | str:
    if type(value) is str:
        return value
    if type(value) is not int or not -(2**31) <= value < 2**31:
        raise walk.WrongType(walk.value_name(value, True), "int32")
    return value


def _bytes(value: Any) -> str:
    if type(value) is not str:
        raise walk.WrongType(walk.value_name(value, False), "[]uint8")
    text = value.replace("\n", "").replace("\r", "")
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode()
    except (binascii.Error, ValueError):
        raise walk.Fatal(f"illegal base64 data at input byte {_corrupt_byte(value)}") from None


def _corrupt_byte(text: str) -> int:
    """Where Go's decoder says that base64 text goes wrong."""
    data = text.encode()
    seen = 0
    for position, char in enumerate(data):
        if char in b"\r\n":
            continue
        if (chr(char).isalnum() and char < 128) or char in b"+/":
            seen += 1
            continue
        if char == 0x3D and seen % 4 >= 2:
            return _corrupt_padding(data, position, seen % 4)
        return position
    return len(data) - seen % 4 if seen % 4 else len(data)


def _corrupt_padding(data: bytes, position: int, filled: int) -> int:
    rest = bytes(char for char in data[position + 1 :] if char not in b"\r\n")
    if filled == 2:
        if not rest:
            return len(data)
        if rest[:1] != b"=":
            return position + 1
        return position + 2
    return position + 1


def _schema_or(value: Any) -> Any:
    """A JSON schema or what may stand in its place (a bool, strings, a list of schemas); schemas are cleaned."""
    if type(value) is list:
        return [_schema_or(inner) for inner in value]
    if type(value) is dict:
        # Go decodes what lies below on its own, without a word about unknown fields.
        check(value, schema.named(_SCHEMA_PROPS), report=False)
    return value


_SCHEMA_PROPS: Final = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"

_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "quantity": _quantity,
    "time": partial(_time, gotime.RFC3339),
    "microtime": partial(_time, gotime.RFC3339_MICRO),
    "intorstring": _int_or_string,
    "bytes": _bytes,
}
