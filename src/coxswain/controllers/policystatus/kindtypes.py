"""Kinds as CEL sees their objects: from the tables of built-in types, and from custom resource definitions. No IO."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from coxswain.api import kinds, schema
from coxswain.api.cel.names import escape
from coxswain.api.cel.types import BOOL, BYTES, DOUBLE, DYN, INT, STRING, TIMESTAMP, Declared, list_of, map_of
from coxswain.api.names import GVK, GVR, Object
from coxswain.api.structural.celtypes import shape
from coxswain.api.structural.model import parse

_SCALARS = {
    "string": STRING,
    "boolean": BOOL,
    "integer": INT,
    "number": DOUBLE,
    "bytes": BYTES,
    "time": TIMESTAMP,
    "microtime": TIMESTAMP,
}


@lru_cache(maxsize=64)
def built_in(gvk: GVK) -> Declared | None:
    """The type of a built-in kind; None for one that there is not."""
    found = schema.type_of(gvk)
    return _object(found, ()) if found is not None else None


def _object(of: schema.Type, above: tuple[str, ...]) -> Declared:
    if of.name in above:
        return DYN  # a type within itself (schemas of definitions): nothing is known from here on
    fields = {
        name: _field(each, (*above, of.name)) for name, each in of.fields.items() if escape(name) is not None
    }
    return Declared("object", name=of.name, fields=fields)


def _field(field: schema.Field, above: tuple[str, ...]) -> Declared:
    if field.kind == "array":
        return list_of(_field(field.element, above) if field.element is not None else DYN)
    if field.kind == "map":
        return map_of(STRING, _field(field.element, above) if field.element is not None else DYN)
    if field.kind == "ref":
        return _object(field.ref, above)
    return _SCALARS.get(field.kind, DYN)


def kind_of(resource: GVR, definitions: Iterable[Object]) -> GVK | None:
    """The kind of exactly this resource; None if nobody serves it."""
    for one in kinds.resources():
        if one.gvr == resource:
            return GVK(resource.group, resource.version, one.kind)
    for definition in definitions:
        spec = definition["spec"]
        named = (spec["group"], spec["names"]["plural"]) == (resource.group, resource.resource)
        if named and any(one["name"] == resource.version and one.get("served") for one in spec["versions"]):
            return GVK(resource.group, resource.version, spec["names"]["kind"])
    return None


def declared(gvk: GVK, definitions: Iterable[Object]) -> Declared | None:
    """The type of a kind; None where there is no schema to tell it from."""
    found = built_in(gvk)
    if found is not None:
        return found
    for definition in definitions:
        spec = definition["spec"]
        if (spec["group"], spec["names"]["kind"]) != (gvk.group, gvk.kind):
            continue
        for version in spec["versions"]:
            raw = (version.get("schema") or {}).get("openAPIV3Schema")
            if version["name"] == gvk.version and raw:
                seen = shape(parse(raw), root=True)
                return seen.type if seen is not None else None
    return None
