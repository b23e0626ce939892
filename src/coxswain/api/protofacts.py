"""Turns the facts' protobuf messages into the codec's table: for every message, its fields by JSON name.

Part of the generator. Go inlines some structs in JSON that are messages of their own in protobuf
(``Volume.volumeSource``); those become ``inline`` fields, so that the codec flattens and gathers them. A few
protobuf names differ from JSON's in case (``uID``, ``Webhooks``, ``xKubernetesListType``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Kinds of values whose message is one JSON value: the codec has code for each.
SPECIAL = {
    "k8s.io.apimachinery.pkg.api.resource.Quantity",
    "k8s.io.apimachinery.pkg.apis.meta.v1.Time",
    "k8s.io.apimachinery.pkg.apis.meta.v1.MicroTime",
    "k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1",
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString",
    "k8s.io.apimachinery.pkg.runtime.RawExtension",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSON",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
}

_SCALARS = {"string", "bytes", "bool", "int32", "int64", "uint32", "uint64", "double", "float"}
_META = "k8s.io.apimachinery.pkg.apis.meta.v1."
#: Messages that nothing published refers to, and that go over the wire all the same.
_ROOTS = (
    "k8s.io.apimachinery.pkg.runtime.Unknown",
    _META + "PartialObjectMetadata",
    _META + "PartialObjectMetadataList",
    _META + "List",
    _META + "Timestamp",
    _META + "WatchEvent",
)


def message_name(published: str) -> str:
    """``io.k8s.api.core.v1.Pod`` -> ``k8s.io.api.core.v1.Pod``."""
    return published.replace("io.k8s.", "k8s.io.", 1).replace("-", "_")


def messages(types: Mapping[str, Any], protos: Mapping[str, Any]) -> dict[str, list[list[Any]]]:
    """Message -> rows [number, JSON name, type, shape]; shape is "", "rep", "map" or "inline".

    Only messages that some published type needs are kept.
    """
    by_message = {message_name(name): row for name, row in types.items()}
    table: dict[str, list[list[Any]]] = {}
    pending = [*(name for name in (*by_message, *_ROOTS) if name in protos)]
    while pending:
        name = pending.pop()
        if name in table or name not in protos:
            continue
        table[name] = rows = _rows(name, by_message.get(name), protos)
        pending += [row[2].removesuffix("[]") for row in rows if row[2].removesuffix("[]") not in _SCALARS]
    return dict(sorted(table.items()))


def _rows(name: str, published: Mapping[str, Any] | None, protos: Mapping[str, Any]) -> list[list[Any]]:
    rows = []
    for field, entry in sorted(protos[name].items(), key=lambda item: int(item[1]["n"])):
        kind, shape = entry["p"], "rep" if entry.get("rep") else ""
        if kind.startswith("map<"):
            kind, shape = kind[len("map<string, ") : -1], "map"
        target = _resolve(kind.lstrip("."), name, protos)
        json_name = field
        if name not in SPECIAL:
            json_name, inline = _json_name(field, target, published, protos)
            shape = "inline" if inline else shape
        rows.append([entry["n"], json_name, target, shape])
    return rows


def _resolve(kind: str, owner: str, protos: Mapping[str, Any]) -> str:
    """A field's type in full: a name without dots lies in its owner's package."""
    if kind in _SCALARS or kind in protos:
        return kind
    package = owner
    while "." in package:
        package = package.rpartition(".")[0]
        if f"{package}.{kind}" in protos:
            return f"{package}.{kind}"
    raise ValueError(f"{owner}: no message {kind}")


def _json_name(
    field: str, target: str, published: Mapping[str, Any] | None, protos: Mapping[str, Any]
) -> tuple[str, bool]:
    """The JSON name of a protobuf field, and whether JSON has its contents inline."""
    if published is None:
        return field, False
    fields = published.get("fields", {})
    if field in fields:
        return field, False
    folded = field.lower()
    for name in fields:
        if name.lower().replace("-", "").replace("$", "") == folded and "n" not in fields[name]:
            return name, False
    return field, target in protos
