"""A structural schema as a ``schema.Type``: what field ownership and server-side apply need to know of it.

    type_of(structural, gvk) -> Type      with metadata as every object has it

Lists merge by ``x-kubernetes-list-type``, maps by ``x-kubernetes-map-type``; what is free-form merges field by field, and
so do the fields that ``x-kubernetes-preserve-unknown-fields`` lets in beside those that the schema has.
"""

from __future__ import annotations

from coxswain.api.names import GVK
from coxswain.api.schema import Field, Type
from coxswain.api.structural.model import META_FIELDS, Structural

_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_SCALARS = {"string": "string", "boolean": "boolean", "integer": "integer", "number": "number"}


def type_of(structural: Structural, gvk: GVK) -> Type | None:
    """The type of a custom resource; None where it has no fields of its own (it is then deduced from values)."""
    if not structural.properties:
        return None
    fields = {
        "apiVersion": Field("apiVersion", "string"),
        "kind": Field("kind", "string"),
        "metadata": Field("metadata", "ref", ref_name=_OBJECT_META),
    }
    for name, below in structural.properties.items():
        if name not in META_FIELDS:
            fields[name] = _field(name, below, name)
    name = f"{gvk.group}.{gvk.version}.{gvk.kind}"
    return Type(name, fields, gvks=(gvk,), map_type=structural.map_type, open=structural.preserve)


def _field(name: str, structural: Structural, path: str) -> Field:
    made = _shape(name, structural, path)
    made.map_type = made.map_type or structural.map_type
    made.default = structural.default
    return made


def _shape(name: str, structural: Structural, path: str) -> Field:
    if structural.int_or_string:
        return Field(name, "intorstring")
    if structural.type == "array" and structural.items is not None:
        return Field(
            name,
            "array",
            element=_field("", structural.items, f"{path}.items"),
            list_type=structural.list_type,
            list_keys=structural.list_keys,
        )
    if structural.type == "array":
        return Field(name, "array", element=Field("", "any"), list_type=structural.list_type)
    if structural.type in _SCALARS:
        return Field(name, _SCALARS[structural.type])
    return _object(name, structural, path)


def _object(name: str, structural: Structural, path: str) -> Field:
    if isinstance(structural.additional, Structural):
        return Field(name, "map", element=_field("", structural.additional, f"{path}.*"))
    if structural.additional or not (structural.properties or structural.embedded):
        # ``granular`` on a free-form field: field by field, unless the schema says that it is one value.
        return Field(name, "any", map_type=structural.map_type or "granular")
    fields = {key: _field(key, below, f"{path}.{key}") for key, below in structural.properties.items()}
    if structural.embedded:
        fields.setdefault("apiVersion", Field("apiVersion", "string"))
        fields.setdefault("kind", Field("kind", "string"))
        fields["metadata"] = Field("metadata", "ref", ref_name=_OBJECT_META)
    return Field(name, "ref", _ref=Type(path, fields, map_type=structural.map_type, open=structural.preserve))
