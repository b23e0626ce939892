"""The paths of an OpenAPI document: one ``Operation`` for every verb of every resource, and how v2 and v3 write it.

``operations(resource)`` says what there is (path, method, action, kinds in and out); ``render`` writes an item for
one dialect. Operation ids, tags and parameter names are Kubernetes' own, since generated clients and kubectl look
for them (kubectl asks whether PATCH of a kind takes ``fieldValidation``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from coxswain.api.kinds import Resource, Subresource
from coxswain.api.names import GVK

#: The name of the schema of a kind (or of its list), None when there is none.
SchemaName: TypeAlias = Callable[[GVK], str | None]

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
STATUS: Final = _META + "Status"
DELETE_OPTIONS: Final = _META + "DeleteOptions"
PATCH: Final = _META + "Patch"

_FORMATS: Final = ("application/json", "application/vnd.kubernetes.protobuf", "application/yaml")
_WATCH_FORMATS: Final = (
    *_FORMATS[:2],
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/yaml",
)
_PATCH_FORMATS: Final = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)

#: Query parameters -> (type, what it does).
_QUERY: Final[Mapping[str, tuple[str, str]]] = {
    "allowWatchBookmarks": ("boolean", "Asks for BOOKMARK events in a watch."),
    "continue": ("string", "The token of the last page, for the next."),
    "container": ("string", "The container, where a pod has several."),
    "dryRun": ("string", "With All, nothing is stored."),
    "fieldManager": ("string", "The name under which changed fields are tracked."),
    "fieldSelector": ("string", "Restricts objects by their fields."),
    "fieldValidation": ("string", "What happens to unknown or duplicate fields: Ignore, Warn or Strict."),
    "follow": ("boolean", "Keeps the log stream open."),
    "force": ("boolean", "Apply takes over fields that others own."),
    "gracePeriodSeconds": ("integer", "Seconds before the object is deleted; 0 means at once."),
    "labelSelector": ("string", "Restricts objects by their labels."),
    "limit": ("integer", "The most objects in one page."),
    "limitBytes": ("integer", "The most bytes of log."),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "pretty": ("string", "With true, the answer is indented."),
    "previous": ("boolean", "The log of the container's last instance."),
    "propagationPolicy": ("string", "What becomes of dependents: Orphan, Background or Foreground."),
    "resourceVersion": ("string", "How fresh the answer must be."),
    "resourceVersionMatch": ("string", "How resourceVersion is meant in a list."),
    "sendInitialEvents": ("boolean", "A watch starts with what there is."),
    "sinceSeconds": ("integer", "Log lines of the last seconds only."),
    "tailLines": ("integer", "The last lines of log only."),
    "timeoutSeconds": ("integer", "How long a list or watch may take."),
    "timestamps": ("boolean", "Each log line starts with its time."),
    "watch": ("boolean", "Changes instead of a list."),
}
_LIST: Final = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
    "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
_WRITE: Final = ("dryRun", "fieldManager", "fieldValidation")
_DELETE: Final = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_DELETE_MANY: Final = (
    "continue", "dryRun", "fieldSelector", "gracePeriodSeconds", "labelSelector", "limit", "orphanDependents",
    "propagationPolicy", "resourceVersion", "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds",
)  # fmt: skip
_LOG: Final = ("container", "follow", "limitBytes", "previous", "sinceSeconds", "tailLines", "timestamps")


@dataclass(frozen=True, slots=True)
class Operation:
    """One HTTP method on one path."""

    path: str
    method: str
    #: ``x-kubernetes-action``: list, get, post, put, patch, delete, deletecollection, connect.
    action: str
    gvk: GVK
    id: str
    query: tuple[str, ...]
    #: Schema names of the body and of the answer, empty when there is none (a plain text log).
    takes: str
    gives: str


def base_path(group: str, version: str) -> str:
    """``/api/v1`` or ``/apis/apps/v1``."""
    return f"/apis/{group}/{version}" if group else f"/api/{version}"


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]


def group_id(group: str, version: str = "") -> str:
    """``CoreV1``, ``RbacAuthorizationV1``: how operation ids name a group."""
    parts = (group or "core").removesuffix(".k8s.io").split(".")
    return "".join(_title(part) for part in parts) + _title(version)


def tag(group: str, version: str = "") -> str:
    """``core_v1``, ``rbacAuthorization_v1``."""
    name = group_id(group)
    name = name[:1].lower() + name[1:]
    return f"{name}_{version}" if version else name


def operations(resource: Resource, schema_name: SchemaName) -> Iterator[Operation]:
    """Every operation of a resource and of its subresources."""
    gvr = resource.gvr
    base = base_path(gvr.group, gvr.version)
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    yield from _collection(resource, f"{base}{scope}/{gvr.resource}", schema_name)
    if resource.namespaced and "list" in resource.verbs:
        yield _list(resource, f"{base}/{gvr.resource}", schema_name, everywhere=True)
    item = f"{base}{scope}/{gvr.resource}/{{name}}"
    yield from _item(resource, item, schema_name)
    for below in resource.subresources:
        yield from _below(resource, below, f"{item}/{below.name}", schema_name)


def _subject(resource: Resource) -> str:
    return ("Namespaced" if resource.namespaced else "") + resource.kind


def _list(resource: Resource, path: str, schema_name: SchemaName, *, everywhere: bool = False) -> Operation:
    gid = group_id(resource.gvr.group, resource.gvr.version)
    name = f"{resource.kind}ForAllNamespaces" if everywhere else _subject(resource)
    lists = schema_name(resource.gvk._replace(kind=resource.list_kind)) or ""
    return Operation(path, "get", "list", resource.gvk, f"list{gid}{name}", _LIST, "", lists)


def _collection(resource: Resource, path: str, schema_name: SchemaName) -> Iterator[Operation]:
    gid, subject, own = (
        group_id(resource.gvr.group, resource.gvr.version),
        _subject(resource),
        schema_name(resource.gvk) or "",
    )
    if "list" in resource.verbs:
        yield _list(resource, path, schema_name)
    if "create" in resource.verbs:
        yield Operation(path, "post", "post", resource.gvk, f"create{gid}{subject}", _WRITE, own, own)
    if "deletecollection" in resource.verbs:
        yield Operation(
            path,
            "delete",
            "deletecollection",
            resource.gvk,
            f"delete{gid}Collection{subject}",
            _DELETE_MANY,
            DELETE_OPTIONS,
            STATUS,
        )


def _item(resource: Resource, path: str, schema_name: SchemaName) -> Iterator[Operation]:
    yield from _verbs(resource.verbs, path, resource.gvk, _subject(resource), resource, schema_name)


def _below(resource: Resource, below: Subresource, path: str, schema_name: SchemaName) -> Iterator[Operation]:
    subject = _subject(resource) + _title(below.name)
    if below.kind.kind.endswith("Options"):
        gid = group_id(resource.gvr.group, resource.gvr.version)
        for verb in below.verbs:
            method = _METHODS.get(verb)
            if method:
                made = f"connect{gid}{_title(method)}{subject}"
                yield Operation(path, method, "connect", below.kind, made, (), "", "")
        return
    if below.name == "log":
        gid = group_id(resource.gvr.group, resource.gvr.version)
        yield Operation(path, "get", "get", below.kind, f"read{gid}{subject}", _LOG, "", "")
        return
    if "create" in below.verbs:
        own = schema_name(below.kind) or ""
        made = f"create{group_id(resource.gvr.group, resource.gvr.version)}{subject}"
        yield Operation(path, "post", "post", below.kind, made, _WRITE, own, own)
    yield from _verbs(below.verbs, path, below.kind, subject, resource, schema_name)


_METHODS: Final = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}


def _verbs(
    verbs: Iterable[str], path: str, gvk: GVK, subject: str, resource: Resource, schema_name: SchemaName
) -> Iterator[Operation]:
    gid, own = group_id(resource.gvr.group, resource.gvr.version), schema_name(gvk) or ""
    if "get" in verbs:
        yield Operation(path, "get", "get", gvk, f"read{gid}{subject}", (), "", own)
    if "update" in verbs:
        yield Operation(path, "put", "put", gvk, f"replace{gid}{subject}", _WRITE, own, own)
    if "patch" in verbs:
        query = (*_WRITE, "force")
        yield Operation(path, "patch", "patch", gvk, f"patch{gid}{subject}", query, PATCH, own)
    if "delete" in verbs:
        yield Operation(
            path, "delete", "delete", gvk, f"delete{gid}{subject}", _DELETE, DELETE_OPTIONS, STATUS
        )


def _query(name: str, v3: bool) -> dict[str, Any]:
    kind, text = _QUERY[name]
    out = {"name": name, "in": "query", "description": text}
    plain: dict[str, Any] = {"type": kind, "uniqueItems": True}
    return {**out, "schema": plain} if v3 else {**out, **plain}


def _path_parameters(path: str, v3: bool) -> list[dict[str, Any]]:
    made = []
    for name in ("name", "namespace"):
        if f"{{{name}}}" in path:
            out = {"name": name, "in": "path", "required": True}
            plain = {"type": "string", "uniqueItems": True}
            made.append({**out, "schema": plain} if v3 else {**out, **plain})
    return [*made, _query("pretty", v3)]


def render(operations: Iterable[Operation], group: str, version: str, *, v3: bool) -> dict[str, Any]:
    """The ``paths`` of one group and version."""
    paths: dict[str, Any] = {}
    for operation in operations:
        item = paths.setdefault(operation.path, {"parameters": _path_parameters(operation.path, v3)})
        write = _operation_v3 if v3 else _operation_v2
        item[operation.method] = write(operation, tag(group, version))
    return paths


def _common(operation: Operation, tag_name: str, v3: bool) -> dict[str, Any]:
    gvk = operation.gvk
    out: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [tag_name],
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
    }
    if operation.query:
        out["parameters"] = [_query(name, v3) for name in operation.query]
    return out


def _codes(operation: Operation) -> dict[str, str]:
    if operation.action == "post":
        return {"200": "OK", "201": "Created", "202": "Accepted", "401": "Unauthorized"}
    if operation.action in ("put", "patch"):
        return {"200": "OK", "201": "Created", "401": "Unauthorized"}
    if operation.action == "delete":
        return {"200": "OK", "202": "Accepted", "401": "Unauthorized"}
    return {"200": "OK", "401": "Unauthorized"}


def _operation_v3(operation: Operation, tag_name: str) -> dict[str, Any]:
    out = _common(operation, tag_name, True)
    formats = _WATCH_FORMATS if operation.action == "list" else _FORMATS
    answer: dict[str, Any] = {"type": "string"}
    if operation.gives:
        answer = {"$ref": f"#/components/schemas/{operation.gives}"}
    content = {name: {"schema": answer} for name in (formats if operation.gives else ("*/*",))}
    out["responses"] = {
        code: {"description": text, **({} if code == "401" else {"content": content})}
        for code, text in _codes(operation).items()
    }
    if operation.takes:
        body = {"schema": {"$ref": f"#/components/schemas/{operation.takes}"}}
        names = _PATCH_FORMATS if operation.action == "patch" else ("*/*",)
        out["requestBody"] = {"content": dict.fromkeys(names, body)}
        if not operation.action.startswith("delete"):
            out["requestBody"]["required"] = True
    return out


def _operation_v2(operation: Operation, tag_name: str) -> dict[str, Any]:
    out = _common(operation, tag_name, False)
    out["consumes"] = list(_PATCH_FORMATS) if operation.action == "patch" else ["*/*"]
    out["produces"] = list(_WATCH_FORMATS if operation.action == "list" else _FORMATS)
    out["schemes"] = ["https"]
    if operation.takes:
        body: dict[str, Any] = {
            "name": "body",
            "in": "body",
            "schema": {"$ref": f"#/definitions/{operation.takes}"},
        }
        if not operation.action.startswith("delete"):
            body["required"] = True
        out["parameters"] = [body, *out.get("parameters", [])]
    answer: dict[str, Any] = {"type": "string"}
    if operation.gives:
        answer = {"$ref": f"#/definitions/{operation.gives}"}
    out["responses"] = {
        code: {"description": text, **({} if code == "401" else {"schema": answer})}
        for code, text in _codes(operation).items()
    }
    return out
