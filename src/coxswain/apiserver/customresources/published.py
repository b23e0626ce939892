"""What clients learn of custom resources: discovery's catalog and the OpenAPI documents, at one moment.

A ``Published`` never changes: a new one is made when a definition is installed or goes. Documents are made when somebody
asks for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import orjson

from coxswain.api import kinds, openapi
from coxswain.api.kinds import Group, Resource
from coxswain.api.names import GVK, Object
from coxswain.apiserver.customresources.definitions import Version, version_order
from coxswain.apiserver.discovery import Catalog

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_REF = "#/components/schemas/"


class Published:
    """The catalog and documents of these versions beside the built-in resources."""

    def __init__(self, versions: Iterable[Version] = ()) -> None:
        self._by_version: dict[tuple[str, str], list[Version]] = {}
        for version in versions:
            gvr = version.resource.gvr
            self._by_version.setdefault((gvr.group, gvr.version), []).append(version)
        self._documents: dict[tuple[str, str], bytes] = {}

    @cached_property
    def catalog(self) -> Catalog:
        """What is served."""
        if not self._by_version:
            return Catalog.built_in()
        groups: dict[str, list[str]] = {}
        for group, version in self._by_version:
            groups.setdefault(group, []).append(version)
        made = []
        for name in sorted(groups):
            ordered = tuple(sorted(groups[name], key=version_order))
            made.append(Group(name, ordered, ordered[0]))
        resources = [version.resource for served in self._by_version.values() for version in served]
        return Catalog.built_in().with_custom(made, resources)

    # -- OpenAPI v3

    def v3_index(self) -> Object:
        """The index of all documents."""
        index = openapi.v3_index()
        paths: Object = dict(index["paths"])
        for (group, version), served in self._by_version.items():
            path = f"apis/{group}/{version}"
            paths[path] = openapi.index_entry(path, _fingerprint(served))
        return {"paths": paths}

    def v3_bytes(self, path: str) -> bytes | None:
        """The document of one group and version (``apis/example.com/v1``)."""
        _, _, rest = path.partition("apis/")
        group, _, version = rest.partition("/")
        served = self._by_version.get((group, version))
        if served is None:
            return openapi.v3_bytes(path)
        document = self._documents.get((group, version))
        if document is None:
            resources, extra = _described(group, version, served)
            made = openapi.document_v3(group, version, resources, extra)
            document = self._documents[group, version] = orjson.dumps(made)
        return document

    # -- OpenAPI v2

    def v2_bytes(self) -> bytes:
        """The old document as JSON."""
        return self._v2_bytes if self._by_version else openapi.v2_bytes()

    def v2_protobuf(self) -> bytes:
        """The old document in gnostic's form."""
        from coxswain.api import openapi_gnostic

        return self._v2_protobuf if self._by_version else openapi_gnostic.v2_protobuf()

    @cached_property
    def _v2(self) -> Object:
        document = openapi.v2()
        for (group, version), served in self._by_version.items():
            _, extra = _described(group, version, served)
            own = [found.resource for found in served]
            document["paths"].update(openapi.paths_v2(group, version, own, extra))
            document["definitions"].update({name: _older(found) for name, found in extra.items()})
        return document

    @cached_property
    def _v2_bytes(self) -> bytes:
        return orjson.dumps(self._v2)

    @cached_property
    def _v2_protobuf(self) -> bytes:
        from coxswain.api import openapi_gnostic

        return openapi_gnostic.encode(self._v2)


def _fingerprint(served: list[Version]) -> str:
    parts = [[repr(version.resource), version.schema.raw] for version in served]
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _described(group: str, version: str, served: list[Version]) -> tuple[list[Resource], dict[str, Object]]:
    """Resources and schemas of one group and version; built-in ones of the same name come along."""
    resources = [found for found in kinds.resources() if found.gvr[:2] == (group, version)]
    extra: dict[str, Object] = {}
    for found in served:
        resources.append(found.resource)
        extra.update(_schemas(found))
    return resources, extra


def _schemas(version: Version) -> dict[str, Object]:
    gvk = version.resource.gvk
    name = schema_name(gvk)
    list_gvk = gvk._replace(kind=version.resource.list_kind)
    one = dict(version.schema.raw) or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    one["properties"] = {
        **(one.get("properties") or {}),
        "apiVersion": {"type": "string", "description": "The version of this object's form, with its group."},
        "kind": {"type": "string", "description": "The kind of this object, in CamelCase."},
        "metadata": {
            "description": "Name, namespace, labels and whatever else every object has.",
            "allOf": [{"$ref": f"{_REF}{_META}ObjectMeta"}],
        },
    }
    one["x-kubernetes-group-version-kind"] = [gvk._asdict()]
    many: Object = {
        "type": "object",
        "description": f"{list_gvk.kind} is a list of {gvk.kind}",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"allOf": [{"$ref": f"{_REF}{_META}ListMeta"}]},
            "items": {"type": "array", "items": {"allOf": [{"$ref": f"{_REF}{name}"}]}},
        },
        "x-kubernetes-group-version-kind": [list_gvk._asdict()],
    }
    return {name: one, schema_name(list_gvk): many}


def schema_name(gvk: GVK) -> str:
    """The published name of a custom kind: ``com.example.harbor.v1.Boat``."""
    return ".".join([*reversed(gvk.group.split(".")), gvk.version, gvk.kind])


#: What Swagger 2.0 does not know, or Kubernetes does not say there.
_NEWER = frozenset({"nullable", "anyOf", "oneOf", "not", "x-kubernetes-validations", "default"})


def _older(value: Any) -> Any:
    """A schema as Swagger 2.0 has it."""
    if isinstance(value, list):
        return [_older(below) for below in value]
    if not isinstance(value, Mapping):
        return value
    reference = (value.get("allOf") or [{}])[0].get("$ref") if "allOf" in value else None
    if reference:
        return {"$ref": reference.replace(_REF, "#/definitions/")}
    made = {name: below for name, below in value.items() if name not in _NEWER and name != "allOf"}
    if isinstance(made.get("properties"), Mapping):
        made["properties"] = {name: _older(below) for name, below in made["properties"].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(made.get(name), Mapping):
            made[name] = _older(made[name])
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made
