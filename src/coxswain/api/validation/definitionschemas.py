"""The schemas inside CustomResourceDefinitions: structural, with defaults that fit, without what is not supported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from coxswain.api.fields import (
    Errors,
    Shown,
    child,
    forbidden,
    index,
    invalid,
    key,
    not_supported,
    required,
)
from coxswain.api.structural import checks, metadata
from coxswain.api.structural.fieldpaths import resolve
from coxswain.api.structural.model import copy_json, parse
from coxswain.api.structural.prune import prune, prune_value
from coxswain.api.structural.rulechecks import check_expressions
from coxswain.api.structural.rules import check_default
from coxswain.api.structural.unique import check_unique
from coxswain.api.structural.validate import ABSENT, compile_schema, relocated

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
#: What the root may say beside its structure when the status subresource is on.
_AT_ROOT: Final = {
    "description": "Description",
    "type": "Type",
    "format": "Format",
    "title": "Title",
    "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum",
    "minimum": "Minimum",
    "exclusiveMinimum": "ExclusiveMinimum",
    "maxLength": "MaxLength",
    "minLength": "MinLength",
    "pattern": "Pattern",
    "maxItems": "MaxItems",
    "minItems": "MinItems",
    "uniqueItems": "UniqueItems",
    "multipleOf": "MultipleOf",
    "required": "Required",
    "items": "Items",
    "properties": "Properties",
    "externalDocs": "ExternalDocs",
    "example": "Example",
    "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields",
    "x-kubernetes-validations": "XValidations",
}


def validate_schema(schema: Mapping[str, Any], path: str, status: bool, errors: Errors) -> None:
    """The complaints about one version's (or the shared) schema at ``path``."""
    before = len(errors)
    if status:
        _validate_root(schema, path, errors)
    if schema.get("nullable"):
        errors.append(forbidden(child(path, "nullable"), "nullable cannot be true at the root"))
    unreadable = checks.unsupported(schema)
    if not unreadable:
        found = checks.check_structural(schema, path)
        if not found:
            _validate_defaults(schema, path, False, found)
        errors += found
    _validate_node(schema, path, _Place(root=True), errors)
    if len(errors) == before:
        if unreadable:
            errors.append(invalid(path, "", unreadable))
        else:
            errors += check_expressions(parse(schema), path)


def field_at(schema: Mapping[str, Any], path: str, *, brackets: bool = True) -> Mapping[str, Any] | None:
    """The schema of the field at a path like ``.spec.size``; None where there is none."""
    found = resolve(path, schema, brackets=brackets)
    return found.schema if found is not None else None


def _validate_root(schema: Mapping[str, Any], path: str, errors: Errors) -> None:
    for name in schema:
        if name == "type" and schema["type"] != "object":
            why = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
            errors.append(invalid(child(path, "type"), schema["type"], why))
            return
        if name not in _AT_ROOT and schema[name] not in (None, False, "", [], {}):
            why = (
                f"only [{' '.join(_AT_ROOT.values())}] fields are allowed at the root of the schema if the status "
                "subresource is enabled"
            )
            errors.append(invalid(path, dict(schema), why))
            return


# -- defaults


def _validate_defaults(schema: Mapping[str, Any], path: str, inside_meta: bool, errors: Errors) -> None:
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    if schema.get("default") is not None and not inside_meta:
        _validate_default(schema, child(path, "default"), embedded, errors)
    if isinstance(schema.get("items"), dict):
        _validate_defaults(schema["items"], child(path, "items"), inside_meta and not embedded, errors)
    for name, below in sorted((schema.get("properties") or {}).items()):
        inside = (inside_meta and not embedded) or (embedded and name in ("metadata", "apiVersion", "kind"))
        _validate_defaults(below, key(child(path, "properties"), name), inside, errors)


def _validate_default(schema: Mapping[str, Any], path: str, embedded: bool, errors: Errors) -> None:
    value, node = copy_json(schema["default"]), parse(schema)
    unknown = prune(value, node) if embedded and isinstance(value, dict) else prune_value(value, node)
    if unknown:
        errors.append(invalid(path, schema["default"], "must not have unknown fields"))
    found: Errors = []
    if isinstance(value, dict) and node.any_embedded:
        found = metadata.check_embedded(value, node)
        errors += found
    if not found:
        compile_schema(schema)(schema["default"], "", found, ABSENT)
        errors += relocated(found, path)
        if not found and node.any_rules:
            errors += check_default(node, schema["default"], path)
        errors += check_unique(schema["default"], node, path)


# -- what every node has to obey


class _Place:
    """Where a node stands, as far as it changes what it may say."""

    __slots__ = ("no_default", "resource_meta", "root")

    def __init__(self, *, root: bool = False, resource_meta: bool = False, no_default: str = "") -> None:
        self.root = root
        self.resource_meta = resource_meta
        self.no_default = no_default

    def below(self, *, meta: bool = False, no_default: str = "") -> _Place:
        """The place of a node below."""
        return _Place(resource_meta=meta or self.resource_meta, no_default=no_default or self.no_default)


_UNSUPPORTED: Final = (
    ("id", "id is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("$ref", "$ref is not supported"),
)


def _validate_node(schema: Mapping[str, Any], path: str, place: _Place, errors: Errors) -> None:
    _validate_standard(schema, path, place, errors)
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        errors.append(forbidden(child(path, "uniqueItems"), why))
    additional = schema.get("additionalProperties")
    if additional is not None:
        if schema.get("properties") and additional is not True:
            why = "additionalProperties and properties are mutual exclusive"
            errors.append(forbidden(child(path, "additionalProperties"), why))
        if isinstance(additional, dict):
            no_default = (
                "inside additionalProperties applying to object metadata" if place.resource_meta else ""
            )
            _validate_node(
                additional, child(path, "additionalProperties"), place.below(no_default=no_default), errors
            )
    embedded = schema.get("x-kubernetes-embedded-resource")
    for name, below in sorted((schema.get("properties") or {}).items()):
        meta = (place.root or bool(embedded)) and name in ("metadata", "kind", "apiVersion")
        no_default = f"in top-level {name}" if meta and place.root else ""
        where = key(child(path, "properties"), name)
        _validate_node(below, where, place.below(meta=meta, no_default=no_default), errors)
    if isinstance(schema.get("not"), dict):
        _validate_node(schema["not"], child(path, "not"), place.below(), errors)
    for name in ("allOf", "oneOf", "anyOf"):
        for position, part in enumerate(schema.get(name) or ()):
            _validate_node(part, index(child(path, name), position), place.below(), errors)
    if isinstance(schema.get("items"), dict):
        _validate_node(schema["items"], child(path, "items"), place.below(), errors)
    _validate_extensions(schema, path, errors)
    _validate_rules(schema, path, errors)


def _validate_standard(schema: Mapping[str, Any], path: str, place: _Place, errors: Errors) -> None:
    kind = schema.get("type") or ""
    if kind and kind not in _TYPES:
        errors.append(not_supported(child(path, "type"), kind, _TYPES))
    if schema.get("default") is not None and place.no_default:
        errors.append(forbidden(child(path, "default"), f"must not be set {place.no_default}"))
    for name, why in _UNSUPPORTED:
        if schema.get(name) not in (None, "", {}):
            errors.append(forbidden(child(path, name), why))
    if kind == "null":
        why = "type cannot be set to null, use nullable as an alternative"
        errors.append(forbidden(child(path, "type"), why))
    if isinstance(schema.get("items"), list):
        errors.append(forbidden(child(path, "items"), "items must be a schema object and not an array"))
    if place.resource_meta and schema.get("x-kubernetes-embedded-resource"):
        where = child(path, "x-kubernetes-embedded-resource")
        errors.append(forbidden(where, "must not be used inside of resource meta"))


def _validate_extensions(schema: Mapping[str, Any], path: str, errors: Errors) -> None:
    kind = schema.get("type") or ""
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        where = child(path, "x-kubernetes-preserve-unknown-fields")
        errors.append(invalid(where, False, "must be true or undefined"))
    map_type, list_type = schema.get("x-kubernetes-map-type"), schema.get("x-kubernetes-list-type")
    if map_type is not None:
        _must_be(kind, "object", "x-kubernetes-map-type", path, errors)
        if map_type not in ("atomic", "granular"):
            options = ("atomic", "granular")
            errors.append(not_supported(child(path, "x-kubernetes-map-type"), map_type, options))
    if list_type is not None:
        _must_be(kind, "array", "x-kubernetes-list-type", path, errors)
    items = schema.get("items")
    if list_type == "set" and isinstance(items, dict):
        _validate_set(items, child(path, "items"), errors)
    if list_type is not None and list_type not in ("atomic", "set", "map"):
        known = ("atomic", "set", "map")
        errors.append(not_supported(child(path, "x-kubernetes-list-type"), list_type, known))
    keys = schema.get("x-kubernetes-list-map-keys") or []
    if keys and list_type != "map":
        where, why = (
            child(path, "x-kubernetes-list-type"),
            "must be map if x-kubernetes-list-map-keys is non-empty",
        )
        errors.append(required(where, why) if list_type is None else invalid(where, list_type, why))
    if list_type == "map":
        _validate_list_map(schema, keys, path, errors)
    if list_type in ("set", "map") and isinstance(items, dict):
        _validate_correlatable(items, list_type, keys, child(path, "items"), errors)


def _must_be(kind: str, wanted: str, extension: str, path: str, errors: Errors) -> None:
    if kind != wanted:
        why = f"must be {wanted} if {extension} is specified"
        where = child(path, "type")
        errors.append(invalid(where, kind, why) if kind else required(where, why))


def _validate_set(items: Mapping[str, Any], path: str, errors: Errors) -> None:
    why = "must be atomic as item of a list with x-kubernetes-list-type=set"
    shown = Shown("null")
    if items.get("type") == "array" and items.get("x-kubernetes-list-type") not in (None, "atomic"):
        found = items.get("x-kubernetes-list-type")
        errors.append(invalid(child(path, "x-kubernetes-list-type"), found, why))
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        found = items.get("x-kubernetes-list-type")
        errors.append(invalid(child(path, "x-kubernetes-map-type"), found or shown, why))


def _validate_list_map(schema: Mapping[str, Any], keys: list[str], path: str, errors: Errors) -> None:
    where = child(path, "x-kubernetes-list-map-keys")
    if not keys:
        errors.append(required(where, "must not be empty if x-kubernetes-list-type is map"))
    items = schema.get("items")
    if items is None:
        why = "must have a schema if x-kubernetes-list-type is map"
        errors.append(required(child(path, "items"), why))
        return
    if not isinstance(items, dict):
        return
    kind = items.get("type") or ""
    if kind != "object":
        why = "must be object if parent array's x-kubernetes-list-type is map"
        errors.append(invalid(child(path, "items", "type"), kind, why))
        return
    for position, name in enumerate(keys):
        found = (items.get("properties") or {}).get(name)
        if found is None:
            errors.append(invalid(where, keys, "entries must all be names of item properties"))
        elif found.get("type") in ("array", "object"):
            why = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            errors.append(invalid(child(key(child(path, "items", "properties"), name), "type"), kind, why))
        if name in keys[:position]:
            errors.append(invalid(where, keys, "must not contain duplicate entries"))


def _validate_correlatable(
    items: Mapping[str, Any], list_type: str, keys: list[str], path: str, errors: Errors
) -> None:
    """Elements of sets and maps must be there; the keys of a map, too."""
    if items.get("nullable"):
        why = f"cannot be nullable when x-kubernetes-list-type is {list_type}"
        errors.append(forbidden(child(path, "nullable"), why))
    for name in keys if list_type == "map" else ():
        found = (items.get("properties") or {}).get(name)
        if found is None:
            continue
        where = key(child(path, "properties"), name)
        if name not in (items.get("required") or ()) and found.get("default") is None:
            why = (
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required "
                "property"
            )
            errors.append(required(child(where, "default"), why))
        if found.get("nullable"):
            why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            errors.append(forbidden(child(where, "nullable"), why))


_REASONS: Final = (
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
)


def _validate_rules(schema: Mapping[str, Any], path: str, errors: Errors) -> None:
    """What surrounds the expressions of ``x-kubernetes-validations``."""
    for position, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        where = index(child(path, "x-kubernetes-validations"), position)
        text, message = rule.get("rule") or "", rule.get("message") or ""
        if not text.strip():
            errors.append(required(child(where, "rule"), "rule is not specified"))
        elif message and not message.strip():
            errors.append(invalid(child(where, "message"), message, "must be non-empty if specified"))
        elif _has_newlines(message.strip()):
            errors.append(invalid(child(where, "message"), message, "must not contain line breaks"))
        elif _has_newlines(text.strip()) and not message.strip():
            why = "message must be specified if rule contains line breaks"
            errors.append(required(child(where, "message"), why))
        expression = rule.get("messageExpression") or ""
        if expression and not expression.strip():
            why = "messageExpression must be non-empty if specified"
            errors.append(required(child(where, "messageExpression"), why))
        if rule.get("reason") and rule["reason"] not in _REASONS:
            errors.append(not_supported(child(where, "reason"), rule["reason"], _REASONS))
        field = rule.get("fieldPath") or ""
        if field and not field.strip():
            errors.append(invalid(child(where, "fieldPath"), field, "must be non-empty if specified"))
        if _has_newlines(field):
            errors.append(invalid(child(where, "fieldPath"), field, "must not contain line breaks"))
        if field and field_at(schema, field) is None:
            errors.append(invalid(child(where, "fieldPath"), field, "must be a valid path"))


def _has_newlines(text: str) -> bool:
    return "\n" in text or "\r" in text
