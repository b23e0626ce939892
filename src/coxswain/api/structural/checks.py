"""Whether a schema is structural: the rules that a CustomResourceDefinition's schema has to obey.

check_structural(raw, path) -> Errors        sorted, as apiextensions' ``ValidateStructural`` gives them
unsupported(raw) -> str                      why a schema cannot be read at all, "" if it can
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from coxswain.api import patterns
from coxswain.api.fields import Errors, child, forbidden, index, invalid, key, required

_INT_OR_STRING: Final = [{"type": "integer"}, {"type": "string"}]
_ROOT, _ITEM, _FIELD = "at the root", "for specified array items", "for specified object fields"
_UNSUPPORTED: Final = (
    "id",
    "$schema",
    "$ref",
    "patternProperties",
    "dependencies",
    "additionalItems",
    "definitions",
)


def unsupported(raw: Mapping[str, Any]) -> str:
    """The first thing in a schema, or below it, that no structural schema can have."""
    for name in _UNSUPPORTED:
        if raw.get(name):
            return (
                f"OpenAPIV3Schema '{name.removeprefix('$') if name == '$schema' else name}' is not supported"
            )
    if raw.get("x-kubernetes-preserve-unknown-fields") is False:
        return "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined"
    if isinstance(raw.get("items"), list):
        return "OpenAPIV3Schema 'items' must be a schema, but is an array"
    for below in _below(raw):
        if found := unsupported(below):
            return found
    return ""


def _below(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = list((raw.get("properties") or {}).values())
    found += [
        raw[name] for name in ("items", "additionalProperties", "not") if isinstance(raw.get(name), dict)
    ]
    for name in ("allOf", "anyOf", "oneOf"):
        found += raw.get(name) or []
    return found


def check_structural(raw: Mapping[str, Any], path: str) -> Errors:
    """Everything that keeps a schema from being structural."""
    errors: Errors = []
    _check(raw, _ROOT, path, errors)
    _check_complete(raw, raw, path, errors)
    return sorted(errors, key=str)


def _check(raw: Mapping[str, Any], level: str, path: str, errors: Errors) -> None:
    kind = raw.get("type") or ""
    if kind == "array" and raw.get("items") is None:
        errors.append(required(child(path, "items"), "must be specified"))
    if isinstance(raw.get("items"), dict):
        _check(raw["items"], _ITEM, child(path, "items"), errors)
    for name, below in (raw.get("properties") or {}).items():
        _check(below, _FIELD, key(child(path, "properties"), name), errors)
    additional = raw.get("additionalProperties")
    if additional is not None:
        if level is _ROOT:
            errors.append(forbidden(child(path, "additionalProperties"), "must not be used at the root"))
        if isinstance(additional, dict):
            _check(additional, _FIELD, child(path, "additionalProperties"), errors)
    _check_extensions(raw, path, errors)
    any_of = raw.get("anyOf") == _INT_OR_STRING
    first = (raw.get("allOf") or [{}])[0].get("anyOf") == _INT_OR_STRING
    _check_values(raw, any_of, first, path, errors)
    _check_type(raw, kind, level, path, errors)
    _check_meta(raw, level, path, errors)


def _check_extensions(raw: Mapping[str, Any], path: str, errors: Errors) -> None:
    if not raw.get("x-kubernetes-int-or-string"):
        return
    for name in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
        if raw.get(name):
            why = "must be false if x-kubernetes-int-or-string is true"
            errors.append(invalid(child(path, name), True, why))


def _check_type(raw: Mapping[str, Any], kind: str, level: str, path: str, errors: Errors) -> None:
    where = child(path, "type")
    embedded = raw.get("x-kubernetes-embedded-resource")
    free = raw.get("x-kubernetes-int-or-string") or raw.get("x-kubernetes-preserve-unknown-fields")
    if embedded and kind != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        errors.append(invalid(where, kind, why) if kind else required(where, why))
    elif not kind and not free:
        errors.append(required(where, f"must not be empty {level}"))
    if embedded and raw.get("additionalProperties") is not None:
        why = "must not be used if x-kubernetes-embedded-resource is set"
        errors.append(forbidden(child(path, "additionalProperties"), why))
    if level is _ROOT and kind and kind != "object":
        errors.append(invalid(where, kind, "must be object at the root"))


def _check_meta(raw: Mapping[str, Any], level: str, path: str, errors: Errors) -> None:
    embedded = raw.get("x-kubernetes-embedded-resource")
    properties = raw.get("properties") or {}
    if level is _ROOT or embedded:
        for name in ("kind", "apiVersion"):
            found = properties.get(name)
            if found is not None and found.get("type") != "string":
                where = child(key(child(path, "properties"), name), "type")
                errors.append(invalid(where, found.get("type") or "", "must be string"))
    metadata = properties.get("metadata")
    if metadata is not None:
        where = key(child(path, "properties"), "metadata")
        if (level is _ROOT or embedded) and metadata.get("type") != "object":
            errors.append(invalid(child(where, "type"), metadata.get("type") or "", "must be object"))
        if level is _ROOT and not _plain_metadata(metadata):
            why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            errors.append(forbidden(where, why))
    if embedded and not raw.get("x-kubernetes-preserve-unknown-fields") and not properties:
        why = (
            "must not be empty if x-kubernetes-embedded-resource is true without "
            "x-kubernetes-preserve-unknown-fields"
        )
        errors.append(required(child(path, "properties"), why))


def _plain_metadata(raw: Mapping[str, Any]) -> bool:
    names = set(raw.get("properties") or ())
    return names <= {"name", "generateName"} and set(raw) <= {"type", "properties", "default"}


def _check_values(
    raw: Mapping[str, Any], skip_any_of: bool, skip_first: bool, path: str, errors: Errors
) -> None:
    """What only validates: compositions may not shape the object."""
    if not skip_any_of:
        _check_parts(raw, "anyOf", False, path, errors)
    _check_parts(raw, "allOf", skip_first, path, errors)
    _check_parts(raw, "oneOf", False, path, errors)
    if isinstance(raw.get("not"), dict):
        _check_nested(raw["not"], False, child(path, "not"), errors)
    if pattern := raw.get("pattern"):
        try:
            patterns.compiled(pattern)
        except re.error as error:
            why = f"must be a valid regular expression, but isn't: {patterns.explain(pattern, error)}"
            errors.append(invalid(child(path, "pattern"), pattern, why))


def _check_parts(raw: Mapping[str, Any], name: str, skip_first: bool, path: str, errors: Errors) -> None:
    for position, part in enumerate(raw.get(name) or ()):
        _check_nested(part, skip_first and position == 0, index(child(path, name), position), errors)


#: What may not be said inside a composition -> the words.
_FORBIDDEN: Final = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)


def _check_nested(raw: Mapping[str, Any], skip_any_of: bool, path: str, errors: Errors) -> None:
    _check_values(raw, skip_any_of, False, path, errors)
    if isinstance(raw.get("items"), dict):
        _check_nested(raw["items"], False, child(path, "items"), errors)
    for name, below in (raw.get("properties") or {}).items():
        _check_nested(below, False, key(child(path, "properties"), name), errors)
    for name, why in _FORBIDDEN:
        if raw.get(name) not in (None, "", False, []):
            errors.append(forbidden(child(path, name), why))
    if "metadata" in (raw.get("properties") or {}):
        where = key(child(path, "properties"), "metadata")
        errors.append(forbidden(where, "must not be specified in a nested context"))


def _check_complete(raw: Mapping[str, Any], structure: Mapping[str, Any], path: str, errors: Errors) -> None:
    """Every field that a composition speaks of must be specified outside of it, too."""
    for name in ("allOf", "anyOf", "oneOf"):
        for position, part in enumerate(raw.get(name) or ()):
            _check_specified(part, structure, path, index(child(path, name), position), errors)
    if isinstance(raw.get("not"), dict):
        _check_specified(raw["not"], structure, path, child(path, "not"), errors)
    for name, below in (raw.get("properties") or {}).items():
        _check_complete(below, below, key(child(path, "properties"), name), errors)
    for name in ("items", "additionalProperties"):
        if isinstance(raw.get(name), dict):
            _check_complete(raw[name], raw[name], child(path, name), errors)


def _check_specified(
    part: Mapping[str, Any], structure: Mapping[str, Any] | None, path: str, where: str, errors: Errors
) -> None:
    if structure is None:
        errors.append(required(path, f"because it is defined in {where}"))
        return
    for name in ("allOf", "anyOf", "oneOf"):
        for position, inner in enumerate(part.get(name) or ()):
            _check_specified(inner, structure, path, index(child(where, name), position), errors)
    if isinstance(part.get("not"), dict):
        _check_specified(part["not"], structure, path, child(where, "not"), errors)
    if isinstance(part.get("items"), dict):
        items = structure.get("items")
        _check_specified(
            part["items"],
            items if isinstance(items, dict) else None,
            child(path, "items"),
            child(where, "items"),
            errors,
        )
    known = structure.get("properties") or {}
    for name, below in (part.get("properties") or {}).items():
        _check_specified(
            below,
            known.get(name),
            key(child(path, "properties"), name),
            key(child(where, "properties"), name),
            errors,
        )
