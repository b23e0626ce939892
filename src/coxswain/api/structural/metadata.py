"""Metadata in custom resources: of the object itself, and of resources embedded in it.

    coerce(obj, schema) -> paths of unknown fields    types checked, unknown fields dropped; raises ``CoerceError``
    check_embedded(obj, schema) -> Errors             what embedded resources must have

``apiVersion`` and ``kind`` are strings, ``metadata`` is an ObjectMeta: unlike the rest of a custom resource it is typed
by the server (apiextensions' ``schema/objectmeta``).
"""

from __future__ import annotations

from typing import Any

from coxswain.api import fieldcheck, schema
from coxswain.api.fields import Errors, FieldError, child, index, invalid, json_kind, key, required
from coxswain.api.names import Object
from coxswain.api.structural.model import Structural
from coxswain.api.validation.formats import dns_1035_label, path_segment
from coxswain.api.validation.objectmeta import validate_object_meta

_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class CoerceError(ValueError):
    """Metadata of the wrong type; the text is Kubernetes' field error."""


def coerce(obj: Object, structural: Structural) -> list[str]:
    """Check and clean the metadata of ``obj`` and of what is embedded in it; paths of unknown fields."""
    unknown: list[str] = []
    _coerce_resource(obj, "", unknown)
    if structural.any_embedded:
        _coerce(obj, structural, "", unknown)
    unknown.sort()
    return unknown


def _coerce(value: Any, structural: Structural, path: str, unknown: list[str]) -> None:
    if type(value) is dict:
        if structural.embedded:
            _coerce_resource(value, path, unknown)
        for name, below in value.items():
            known, where = _below(structural, name, path)
            if known is not None and known.any_embedded:
                _coerce(below, known, where, unknown)
    elif type(value) is list and structural.items is not None and structural.items.any_embedded:
        for position, element in enumerate(value):
            _coerce(element, structural.items, index(path, position), unknown)


def _below(structural: Structural, name: str, path: str) -> tuple[Structural | None, str]:
    known = structural.properties.get(name)
    if known is not None:
        return known, child(path, name)
    if isinstance(structural.additional, Structural):
        return structural.additional, key(path, name)
    return None, ""


def _coerce_resource(value: Object, path: str, unknown: list[str]) -> None:
    for name in ("apiVersion", "kind"):
        if name in value and type(value[name]) is not str:
            raise CoerceError(str(invalid(child(path, name), value[name], "must be a string")))
    if "metadata" not in value:
        return
    metadata = value["metadata"]
    where = child(path, "metadata")
    if metadata is None:
        value["metadata"] = {}
        return
    if type(metadata) is not dict:
        why = f"json: cannot unmarshal {json_kind(metadata)} into Go value of type v1.ObjectMeta"
        raise CoerceError(str(invalid(where, metadata, why)))
    try:
        found, _ = fieldcheck.check(metadata, schema.named(_OBJECT_META))
    except fieldcheck.DecodeError as error:
        raise CoerceError(str(invalid(where, metadata, str(error)))) from None
    unknown += [child(where, name) for name in found]


def check_embedded(obj: Object, structural: Structural) -> Errors:
    """The complaints about embedded resources."""
    errors: Errors = []
    if structural.any_embedded:
        _check(obj, structural, "", errors)
    return errors


def _check(value: Any, structural: Structural, path: str, errors: Errors) -> None:
    if type(value) is dict:
        if structural.embedded:
            _check_resource(value, path, errors)
        for name, below in value.items():
            known, where = _below(structural, name, path)
            if known is not None and known.any_embedded:
                _check(below, known, where, errors)
    elif type(value) is list and structural.items is not None and structural.items.any_embedded:
        for position, element in enumerate(value):
            _check(element, structural.items, index(path, position), errors)


def _check_resource(value: Object, path: str, errors: Errors) -> None:
    for name in ("apiVersion", "kind"):
        where = child(path, name)
        if name not in value:
            errors.append(required(where))
        elif type(value[name]) is not str:
            errors.append(invalid(where, value[name], "must be a string"))
        elif not value[name]:
            errors.append(invalid(where, "", "must not be empty"))
    version, kind = value.get("apiVersion"), value.get("kind")
    if isinstance(version, str) and version.count("/") > 1:
        why = f"unexpected GroupVersion string: {version}"
        errors.append(invalid(child(path, "apiVersion"), version, why))
    if isinstance(kind, str) and kind and (complaints := dns_1035_label(kind.lower())):
        why = "may have mixed case, but should otherwise match: " + ",".join(complaints)
        errors.append(invalid(child(path, "kind"), kind, why))
    metadata = value.get("metadata")
    if isinstance(metadata, dict):
        named = {**metadata, "name": metadata.get("name") or "fakename"}
        found = validate_object_meta(
            named,
            namespaced=bool(metadata.get("namespace")),
            name_check=path_segment,
            strict_finalizers=False,
        )
        errors += [
            FieldError(error.type, child(path, error.field), error.value, error.detail) for error in found
        ]
