"""OpenAPI descriptions of the built-in kinds, made from the schema tables when somebody asks.

    v3_index() -> {"paths": {"apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1?hash=..."}}}
    v3("apis/apps/v1") -> dict or None          v3_bytes(...) the same, encoded once and kept
    v2() -> dict                                v2_bytes()
    schemas(names, v3=True) -> definitions      of these types and all that they refer to

kubectl takes field lists for ``explain``, merge keys for ``apply`` and the ``fieldValidation`` parameter from here;
generated clients take the rest. A custom resource's document is made with ``document_v3`` from its own Resource.
The published field texts are not part of the tables, so only common fields carry a sentence of ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

import orjson

from coxswain.api import kinds, openapi_paths, schema
from coxswain.api.kinds import Resource
from coxswain.api.names import GVK, Object
from coxswain.api.schema import Field, Type

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."

_PLAIN: Final[Mapping[str, Mapping[str, str]]] = {
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "number": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
}
_SCALARS_V2: Final[Mapping[str, Object]] = {
    "quantity": {"type": "string"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "intorstring": {"type": "string", "format": "int-or-string"},
    "object": {"type": "object"},
    "any": {},
}
_SCALARS_V3: Final[Mapping[str, Object]] = {
    **_SCALARS_V2,
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "intorstring": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
}
_ZEROS: Final[Mapping[str, Any]] = {"string": "", "boolean": False, "integer": 0, "number": 0, "ref": {}}

_TEXTS: Final = {
    "apiVersion": "The version of this object's form, with its group: apps/v1.",
    "kind": "The kind of this object, in CamelCase.",
    "metadata": "Name, namespace, labels and whatever else every object has.",
    "spec": "What is wanted.",
    "status": "What is observed; written by the system.",
    "items": "The objects.",
    "replicas": "How many pods are wanted.",
    "selector": "Which pods belong to this object.",
    "template": "What new pods look like.",
}


def v2() -> Object:
    """The whole API as a Swagger 2.0 document."""
    return orjson.loads(v2_bytes())  # type: ignore[no-any-return]


@cache
def v2_bytes() -> bytes:
    """``v2()`` as JSON."""
    paths: dict[str, Any] = {}
    for group, version in _group_versions():
        paths |= _paths(_served(group, version), group, version, v3=False)
    document = {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": f"v{schema.version()}"},
        "paths": paths,
        "definitions": schemas(schema.names(), v3=False),
        "securityDefinitions": {"BearerToken": _SECURITY},
        "security": [{"BearerToken": []}],
    }
    return orjson.dumps(document)


_SECURITY: Final = {
    "description": "Bearer Token authentication",
    "in": "header",
    "name": "authorization",
    "type": "apiKey",
}


def v3_index() -> Object:
    """The documents there are: a path for every group and version, with a hash for caches."""
    return {"paths": {path: index_entry(path, _fingerprint()) for path in v3_paths()}}


def index_entry(path: str, content: str) -> Object:
    """One entry of the index; the hash tells when ``content`` (anything that stands for the document) changed."""
    digest = hashlib.sha512(f"{path}\n{content}".encode()).hexdigest().upper()
    return {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}


@cache
def _fingerprint() -> str:
    from coxswain import __version__

    return f"{__version__} {schema.version()} {len(_TEXTS)}"


def v3_paths() -> list[str]:
    """``api/v1``, ``apis/apps/v1`` ...: what ``v3`` takes."""
    return [openapi_paths.base_path(group, version)[1:] for group, version in _group_versions()]


def v3(group_version_path: str) -> Object | None:
    """The document of one group and version (``apis/apps/v1``); None when there is none."""
    data = v3_bytes(group_version_path)
    return orjson.loads(data) if data is not None else None


@cache
def v3_bytes(group_version_path: str) -> bytes | None:
    """``v3(...)`` as JSON."""
    for group, version in _group_versions():
        if openapi_paths.base_path(group, version) == f"/{group_version_path}":
            return orjson.dumps(document_v3(group, version, _served(group, version)))
    return None


def document_v3(
    group: str, version: str, resources: Iterable[Resource], extra: Mapping[str, Object] | None = None
) -> Object:
    """An OpenAPI 3.0 document of these resources.

    ``extra`` are schemas by name that the tables do not have, a custom resource's; its operations refer to the
    one whose ``x-kubernetes-group-version-kind`` is the kind.
    """
    extra = extra or {}
    paths = _paths(resources, group, version, v3=True, own=_own_names(extra))
    wanted = {name for name in _references(paths) if name not in extra}
    wanted |= {name for found in extra.values() for name in _references(found) if name not in extra}
    components = {**schemas(wanted, v3=True), **extra}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": f"v{schema.version()}"},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"BearerToken": _SECURITY}},
    }


def paths_v2(
    group: str, version: str, resources: Iterable[Resource], extra: Mapping[str, Object]
) -> dict[str, Any]:
    """The Swagger 2.0 paths of custom resources; ``extra`` as for ``document_v3``."""
    return _paths(resources, group, version, v3=False, own=_own_names(extra))


def _own_names(extra: Mapping[str, Object]) -> dict[GVK, str]:
    key = "x-kubernetes-group-version-kind"
    return {_gvk_of(found): name for name, found in extra.items() if key in found}


def _gvk_of(found: Object) -> GVK:
    gvk = found["x-kubernetes-group-version-kind"][0]
    return GVK(gvk["group"], gvk["version"], gvk["kind"])


def _references(value: Any) -> set[str]:
    """The names of all schemas that a document's part refers to."""
    found: set[str] = set()
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            if isinstance(reference := current.get("$ref"), str):
                found.add(reference.rpartition("/")[2])
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)
    return found


@cache
def _group_versions() -> tuple[tuple[str, str], ...]:
    return tuple(dict.fromkeys((found.gvr.group, found.gvr.version) for found in kinds.resources()))


def _served(group: str, version: str) -> list[Resource]:
    return [found for found in kinds.resources() if found.gvr[:2] == (group, version)]


def _paths(
    resources: Iterable[Resource],
    group: str,
    version: str,
    *,
    v3: bool,
    own: Mapping[GVK, str] | None = None,
) -> dict[str, Any]:
    def name_of(gvk: GVK) -> str | None:
        if own and gvk in own:
            return own[gvk]
        kind = schema.type_of(gvk)
        return kind.name if kind is not None else None

    base = openapi_paths.base_path(group, version)
    listing = openapi_paths.Operation(
        f"{base}/",
        "get",
        "",
        GVK("", "", ""),
        f"get{openapi_paths.group_id(group, version)}APIResources",
        (),
        "",
        _META + "APIResourceList",
    )
    paths = openapi_paths.render([listing], group, version, v3=v3)
    for item in paths.values():
        del (
            item["parameters"],
            item["get"]["x-kubernetes-action"],
            item["get"]["x-kubernetes-group-version-kind"],
        )
    for resource in resources:
        paths |= openapi_paths.render(openapi_paths.operations(resource, name_of), group, version, v3=v3)
    return dict(sorted(paths.items()))


def schemas(names: Iterable[str], *, v3: bool) -> dict[str, Object]:
    """Definitions of these types and of all that they refer to, by published name."""
    made: dict[str, Object] = {}
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in made:
            made[name] = _type_schema(schema.named(name), v3)
            pending.extend(_references(made[name]))
    return dict(sorted(made.items()))


def _type_schema(kind: Type, v3: bool) -> Object:
    scalars = _SCALARS_V3 if v3 else _SCALARS_V2
    if kind.kind != "ref":
        return dict(scalars[kind.kind])
    out: Object = {"type": "object"}
    if kind.fields:
        out["properties"] = {name: _field_schema(found, v3) for name, found in sorted(kind.fields.items())}
    if kind.required:
        out["required"] = sorted(kind.required)
    if gvks := kind.gvks or _everywhere(kind):
        out["x-kubernetes-group-version-kind"] = [gvk._asdict() for gvk in gvks]
    if kind.map_type:
        out["x-kubernetes-map-type"] = kind.map_type
    if kind.unions:
        out["x-kubernetes-unions"] = [dict(union) for union in kind.unions]
    return out


def _everywhere(kind: Type) -> tuple[GVK, ...]:
    """metav1's own kinds are registered in every group."""
    bare = kind.name.removeprefix(_META)
    if bare not in ("DeleteOptions", "WatchEvent"):
        return ()
    return tuple(GVK(group, version, bare) for group, version in _group_versions())


def _field_schema(found: Field, v3: bool) -> Object:
    out = _value_schema(found, v3)
    if found.name in _TEXTS:
        out["description"] = _TEXTS[found.name]
    if v3 and found.default is not None:
        out["default"] = found.default
    elif v3 and found.presence == "always" and found.kind in _ZEROS:
        out["default"] = _ZEROS[found.kind]
    for key, value in (
        ("x-kubernetes-list-type", found.list_type),
        ("x-kubernetes-list-map-keys", list(found.list_keys)),
        ("x-kubernetes-patch-strategy", found.patch_strategy),
        ("x-kubernetes-patch-merge-key", found.merge_key),
        ("x-kubernetes-map-type", found.map_type),
    ):
        if value:
            out[key] = value
    return out


def _value_schema(found: Field, v3: bool) -> Object:
    if found.element is not None:
        inner = _value_schema(found.element, v3)
        if v3 and found.element.kind in _ZEROS:
            inner["default"] = _ZEROS[found.element.kind]
        if found.kind == "array":
            return {"type": "array", "items": inner}
        return {"type": "object", "additionalProperties": inner}
    if found.kind == "integer":
        return {"type": "integer", "format": found.format}
    if found.kind in _PLAIN:
        return dict(_PLAIN[found.kind])
    # v3 cannot have anything beside a reference, so Kubernetes wraps it.
    if v3:
        return {"allOf": [{"$ref": f"#/components/schemas/{found.ref_name}"}]}
    return {"$ref": f"#/definitions/{found.ref_name}"}
