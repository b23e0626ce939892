"""Values against schemas: compiled once into functions, with the complaints of kube-openapi's validators.

    check = compile_schema(raw)
    check(value, "", errors)               a new value
    check(value, "", errors, old)          a changed one: what has not changed is not complained about (ratcheting)

Order of checks at a node, as there: type, allOf/anyOf/oneOf/not, string, format, number, list, enum, object. Null is
checked for type and enum only. A complaint about a composition has no place (``<nil>``), as in Kubernetes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

import orjson

from coxswain.api import patterns
from coxswain.api import stringformats as formats
from coxswain.api.fields import (
    Errors,
    ErrorType,
    FieldError,
    invalid,
    not_supported,
    quote,
    required,
    too_long,
    too_many,
    type_invalid,
)
from coxswain.api.structural.correlation import Elements, is_closed, same

#: No old value: everything is checked.
ABSENT: Final = object()


def relocated(errors: Errors, path: str) -> Errors:
    """Complaints about a value at ``path``, which was checked on its own: their words keep the short path."""
    return [FieldError(error.type, _at(path, error.field), error.value, error.detail) for error in errors]


def _at(path: str, field: str) -> str:
    if not field or field == _NO_PLACE:
        return path
    return path + field if field.startswith("[") else f"{path}.{field}"


#: (value, path, errors, old value or ABSENT)
Check: TypeAlias = Callable[[Any, str, Errors, Any], None]

_NO_PLACE: Final = "<nil>"
_NAMES: Final = {
    dict: "object",
    list: "array",
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
}
#: What Go calls the formats of values, in a complaint about a format.
_FORMATS: Final = {int: "int64", float: "double"}


def compile_schema(raw: Mapping[str, Any], *, root: bool = False) -> Check:
    """A function that checks values against ``raw`` (JSONSchemaProps) and all below it.

    ``root``: of whole objects, which always have changed: nobody can tell of their metadata.
    """
    closed = not root and is_closed(raw)
    first = _type_check(raw)
    enum = _enum_check(raw["enum"]) if raw.get("enum") else None
    checks = tuple(_value_checks(raw, enum))

    def check(value: Any, path: str, errors: Errors, old: Any = ABSENT) -> None:
        if closed and old is not ABSENT and old == value and type(old) is type(value):
            return
        before = len(errors)
        if first is not None:
            first(value, path, errors, old)
        if value is not None:
            for step in checks:
                step(value, path, errors, old)
        elif enum is not None:
            enum(value, path, errors, old)
        if len(errors) > before and old is not ABSENT and not root and same(value, old, raw):
            del errors[before:]

    return check


def _value_checks(raw: Mapping[str, Any], enum: Check | None) -> list[Check]:
    checks: list[Check] = []
    if any(raw.get(name) for name in ("allOf", "anyOf", "oneOf")) or raw.get("not") is not None:
        checks.append(_composition(raw))
    if any(name in raw for name in ("maxLength", "minLength")) or raw.get("pattern"):
        checks.append(_string_check(raw))
    kind = str(raw.get("type") or "")
    name = formats.normalized(kind, str(raw.get("format") or ""))
    known = formats.KNOWN.get(name.replace("-", ""))
    if known is not None:
        checks.append(partial(_format_check, name, known))
    if kind == "integer" or any(part in raw for part in ("multipleOf", "maximum", "minimum")):
        checks.append(_number_check(raw, kind, name))
    if any(part in raw for part in ("items", "minItems", "maxItems")):
        checks.append(_list_check(raw))
    if enum is not None:
        checks.append(enum)
    if _concerns_objects(raw):
        checks.append(_object_check(raw))
    return checks


def _concerns_objects(raw: Mapping[str, Any]) -> bool:
    if any(part in raw for part in ("minProperties", "maxProperties")):
        return True
    return bool(
        raw.get("properties") or raw.get("required") or isinstance(raw.get("additionalProperties"), dict)
    )


# -- types


def _type_check(raw: Mapping[str, Any]) -> Check | None:
    kind = str(raw.get("type") or "")
    allowed = {kind} if kind else set()
    if raw.get("x-kubernetes-int-or-string"):
        allowed = {"integer", "string"}
        kind = "integer,string"
    if not allowed:
        return None
    nullable = bool(raw.get("nullable"))
    name = formats.normalized(str(raw.get("type") or ""), str(raw.get("format") or ""))
    numeric = bool(allowed & {"integer", "number"})

    def check(value: Any, path: str, errors: Errors, old: Any) -> None:
        found = _NAMES.get(type(value))
        if found in allowed:
            return
        if value is None:
            if not nullable:
                errors.append(_wrong_type(path, kind, "null"))
        elif (type(value) is float and "integer" in allowed and value.is_integer()) or (
            type(value) is int and "number" in allowed
        ):
            return
        elif name and (not numeric or type(value) not in (str, list)):
            errors.append(_wrong_type(path, name, _FORMATS.get(type(value), "")))
        else:
            errors.append(_wrong_type(path, kind, found or ""))

    return check


def _wrong_type(path: str, wanted: str, found: str) -> FieldError:
    return type_invalid(path, found, f"{path} in body must be of type {wanted}: {quote(found)}")


# -- scalars


def _string_check(raw: Mapping[str, Any]) -> Check:
    longest, shortest, pattern = raw.get("maxLength"), raw.get("minLength"), raw.get("pattern")
    matches = patterns.finder(pattern) if pattern else None

    def check(value: Any, path: str, errors: Errors, old: Any) -> None:
        if type(value) is not str:
            return
        if longest is not None and len(value) > longest:
            errors.append(too_long(path, "", longest))
        elif shortest is not None and len(value) < shortest:
            errors.append(invalid(path, value, f"{path} in body should be at least {shortest} chars long"))
        elif matches is not None and not matches(value):
            errors.append(invalid(path, value, f"{path} in body should match '{pattern}'"))

    return check


def _format_check(
    name: str, known: Callable[[str], bool], value: Any, path: str, errors: Errors, old: Any
) -> None:
    if type(value) is str and not known(value):
        errors.append(_wrong_type(path, name, value))


_RANGES: Final = {"int32": 2**31}


def _number_check(raw: Mapping[str, Any], kind: str, name: str) -> Check:
    factor, most, least = raw.get("multipleOf"), raw.get("maximum"), raw.get("minimum")
    below, above = bool(raw.get("exclusiveMaximum")), bool(raw.get("exclusiveMinimum"))
    limit = _RANGES.get(name, 2**63)
    qualified = f"{kind} with format {name}" if name else f"{kind} (default format)"

    def check(value: Any, path: str, errors: Errors, old: Any) -> None:
        if type(value) is not int and type(value) is not float:
            return
        if kind == "integer" and (value != int(value) or not -limit <= value < limit):
            why = f"Checked value must be of type {qualified} in {path}"
            errors.append(FieldError(ErrorType.INVALID, _NO_PLACE, "", why))
        if factor is not None and not _divides(factor, value):
            errors.append(invalid(path, value, f"{path} in body should be a multiple of {go_number(factor)}"))
        if most is not None and (value >= most if below else value > most):
            words = "less than" if below else "less than or equal to"
            errors.append(invalid(path, value, f"{path} in body should be {words} {go_number(most)}"))
        if least is not None and (value <= least if above else value < least):
            words = "greater than" if above else "greater than or equal to"
            errors.append(invalid(path, value, f"{path} in body should be {words} {go_number(least)}"))

    return check


def _divides(factor: int | float, value: int | float) -> bool:
    if type(factor) is int and type(value) is int:
        return factor != 0 and value % factor == 0
    quotient = value / factor if factor else 0.5
    return float(quotient).is_integer()


def go_number(value: int | float) -> str:
    """A number as Go prints a float64 with ``%v``."""
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    return repr(float(value))


def _enum_check(options: list[Any]) -> Check:
    shown = [option if isinstance(option, str) else orjson.dumps(option).decode() for option in options]
    texts = frozenset(option for option in options if isinstance(option, str))
    others = [option for option in options if not isinstance(option, str)]

    def check(value: Any, path: str, errors: Errors, old: Any) -> None:
        if type(value) is str:
            if value in texts:
                return
        elif any(
            option == value and isinstance(option, bool) is isinstance(value, bool) for option in others
        ):
            return
        errors.append(not_supported(path, value, shown))

    return check


# -- lists and objects


def _list_check(raw: Mapping[str, Any]) -> Check:
    items = raw.get("items")
    element = compile_schema(items) if isinstance(items, dict) else None
    fewest, most = raw.get("minItems"), raw.get("maxItems")
    keyed = raw.get("x-kubernetes-list-type") == "map"

    def check(value: Any, path: str, errors: Errors, old: Any) -> None:
        if type(value) is not list:
            return
        if element is not None:
            elements = Elements(old, raw) if keyed and type(old) is list else None
            for position, found in enumerate(value):
                known = elements.find(found) if elements is not None else None
                element(found, f"{path}[{position}]", errors, ABSENT if known is None else known)
        if fewest is not None and len(value) < fewest:
            errors.append(invalid(path, len(value), f"{path} in body should have at least {fewest} items"))
        if most is not None and len(value) > most:
            errors.append(too_many(path, len(value), most))

    return check


def _object_check(raw: Mapping[str, Any]) -> Check:
    properties = {name: compile_schema(below) for name, below in (raw.get("properties") or {}).items()}
    additional = raw.get("additionalProperties")
    free = compile_schema(additional) if isinstance(additional, dict) else None
    needed = tuple(raw.get("required") or ())
    fewest, most = raw.get("minProperties"), raw.get("maxProperties")

    def check(value: Any, path: str, errors: Errors, old: Any) -> None:
        if type(value) is not dict:
            return
        if fewest is not None and len(value) < fewest:
            why = f"{path} in body should have at least {fewest} properties"
            errors.append(invalid(path, len(value), why))
            return
        if most is not None and len(value) > most:
            errors.append(too_many(path, len(value), most))
            return
        known_before = type(old) is dict
        start = f"{path}." if path else ""
        for name, found in value.items():
            step = properties.get(name, free)
            if step is not None:
                step(found, start + name, errors, old.get(name, ABSENT) if known_before else ABSENT)
        for name in needed:
            if name not in value:
                errors.append(required(start + name))

    return check


# -- compositions


def _composition(raw: Mapping[str, Any]) -> Check:
    any_of, one_of, all_of = ([compile_schema(part) for part in raw.get(name) or ()] for name in _COMPOSED)
    never = compile_schema(raw["not"]) if isinstance(raw.get("not"), dict) else None

    def check(value: Any, path: str, errors: Errors, old: Any) -> None:
        if any_of:
            _check_any(any_of, value, path, errors)
        if one_of:
            _check_one(one_of, value, path, errors)
        if all_of:
            _check_all(all_of, value, path, errors)
        if never is not None and not _complaints(never, value, path):
            errors.append(_composed(path, "must not validate the schema (not)"))

    return check


_COMPOSED: Final = ("anyOf", "oneOf", "allOf")


def _composed(path: str, words: str) -> FieldError:
    return FieldError(ErrorType.INVALID, _NO_PLACE, "", f"{quote(path)} {words}")


def _complaints(check: Check, value: Any, path: str) -> Errors:
    """What a part says. Parts are judged as a whole: there a change of one field counts for all."""
    errors: Errors = []
    check(value, path, errors, ABSENT)
    return errors


def _check_any(parts: list[Check], value: Any, path: str, errors: Errors) -> None:
    first: Errors | None = None
    for part in parts:
        found = _complaints(part, value, path)
        if not found:
            return
        first = first or found
    errors.append(_composed(path, "must validate at least one schema (anyOf)"))
    errors += first or []


def _check_one(parts: list[Check], value: Any, path: str, errors: Errors) -> None:
    failures = [found for part in parts if (found := _complaints(part, value, path))]
    valid = len(parts) - len(failures)
    if valid == 1:
        return
    detail = f"Found {valid} valid alternatives" if valid else "Found none valid"
    errors.append(_composed(path, f"must validate one and only one schema (oneOf). {detail}"))
    if not valid:
        errors += failures[0]


def _check_all(parts: list[Check], value: Any, path: str, errors: Errors) -> None:
    valid = 0
    for part in parts:
        found = _complaints(part, value, path)
        valid += not found
        errors += found
    if valid < len(parts):
        detail = "" if valid else ". None validated"
        errors.append(_composed(path, f"must validate all the schemas (allOf){detail}"))
