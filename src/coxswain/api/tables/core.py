"""Tables of the core group's plain objects: configuration, namespaces, nodes, events, quotas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from coxswain.api.names import Object
from coxswain.api.tables.text import (
    NONE,
    UNKNOWN,
    Printer,
    age,
    condition,
    meta,
    name,
    since,
    spec,
    status,
)


def _namespace(obj: Object, now: float) -> list[Any]:
    return [name(obj), status(obj).get("phase", ""), age(obj, now)]


def _config_map(obj: Object, now: float) -> list[Any]:
    return [name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age(obj, now)]


def _secret(obj: Object, now: float) -> list[Any]:
    return [name(obj), obj.get("type", ""), len(obj.get("data") or ()), age(obj, now)]


def _service_account(obj: Object, now: float) -> list[Any]:
    return [name(obj), age(obj, now)]


_ROLE_PREFIX: Final = "node-role.kubernetes.io/"


def _node(obj: Object, now: float) -> list[Any]:
    ready = condition(obj, "Ready")
    states = ["Unknown"] if ready is None else ["Ready" if ready.get("status") == "True" else "NotReady"]
    if spec(obj).get("unschedulable"):
        states.append("SchedulingDisabled")
    info = status(obj).get("nodeInfo") or {}
    return [
        name(obj),
        ",".join(states),
        _roles(obj),
        age(obj, now),
        info.get("kubeletVersion", ""),
        _node_address(obj, "InternalIP"),
        _node_address(obj, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _roles(obj: Object) -> str:
    roles = set()
    for key, value in (meta(obj).get("labels") or {}).items():
        if key.startswith(_ROLE_PREFIX):
            roles.add(key.removeprefix(_ROLE_PREFIX))
        elif key == "kubernetes.io/role":
            roles.add(value)
    return ",".join(sorted(filter(None, roles))) or NONE


def _node_address(obj: Object, kind: str) -> str:
    for address in status(obj).get("addresses") or ():
        if address.get("type") == kind:
            return str(address.get("address", ""))
    return NONE


def _event(obj: Object, now: float) -> list[Any]:
    """Events of both groups: events.k8s.io renamed half of the fields."""
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    series = obj.get("series")
    first = since(
        obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime"), now
    )
    last_time = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    last = since(last_time, now) if last_time else first
    count = obj.get("count") or obj.get("deprecatedCount") or 1
    if series is not None:
        last, count = since(series.get("lastObservedTime"), now), series.get("count", 0)
    kind = about.get("kind", "").lower()
    component = (
        source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    )
    host = source.get("host") or obj.get("reportingInstance") or ""
    return [
        last,
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{kind}/{about['name']}" if about.get("name") else kind,
        about.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        (obj.get("message") or obj.get("note") or "").strip(),
        first,
        count,
        name(obj),
    ]


def _resource_quota(obj: Object, now: float) -> list[Any]:
    requests: list[str] = []
    limits: list[str] = []
    used = status(obj).get("used") or {}
    for resource, hard in sorted((status(obj).get("hard") or {}).items()):
        column = limits if resource.startswith("limits.") else requests
        column.append(f"{resource}: {used.get(resource, '0')}/{hard}")
    return [name(obj), ", ".join(requests), ", ".join(limits), age(obj, now)]


def _component_status(obj: Object, now: float) -> list[Any]:
    state, message, error = "Unknown", "", ""
    for item in obj.get("conditions") or ():
        if item.get("type") == "Healthy":
            state = {"True": "Healthy"}.get(item.get("status", ""), "Unhealthy")
            message, error = item.get("message", ""), item.get("error", "")
            break
    return [name(obj), state, message, error]


PRINTERS: Final[Mapping[tuple[str, str], Printer]] = {
    ("", "componentstatuses"): _component_status,
    ("", "configmaps"): _config_map,
    ("", "events"): _event,
    ("", "namespaces"): _namespace,
    ("", "nodes"): _node,
    ("", "resourcequotas"): _resource_quota,
    ("", "secrets"): _secret,
    ("", "serviceaccounts"): _service_account,
    ("events.k8s.io", "events"): _event,
}
