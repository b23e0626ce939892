"""Slices that a service and its pods call for, with as few writes as possible.

Kubernetes' algorithm (``k8s.io/endpointslice reconciler.go``), for each address family and set of ports:

1. In the slices that exist, drop endpoints that are not wanted and refresh those that changed; such a slice
   must be written anyway.
2. Put what is new into slices that are written anyway, as far as there is room.
3. What is left goes into one untouched slice if it fits there, else into new slices.
A service without any endpoint keeps one empty slice, so that proxies know it is empty and not unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.services import (
    HEADLESS_LABEL,
    addresses,
    is_headless,
    should_appear,
    target_port,
    target_ref,
)

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
ZONE = "topology.kubernetes.io/zone"
#: Endpoints in a slice (``--max-endpoints-per-slice``).
MAX_ENDPOINTS = 100


@dataclass(slots=True)
class Changes:
    """The writes for one service."""

    create: list[Object] = field(default_factory=list)
    update: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)


def reconcile(
    service: Object, pods: Iterable[Object], slices: Sequence[Object], zones: Mapping[str, str]
) -> Changes:
    """The writes that make ``slices`` (this controller's, of this service) right.

    ``zones`` is node name -> zone; a node that is not in it is gone, and so are its endpoints.
    """
    changes = Changes()
    families = service["spec"].get("ipFamilies") or ["IPv4"]
    for old in slices:
        if old["addressType"] not in families:
            changes.delete.append(old)
    present = list(pods)
    for family in families:
        mine = [old for old in slices if old["addressType"] == family]
        _family(service, present, mine, zones, family, changes)
    return changes


def _family(
    service: Object,
    pods: list[Object],
    slices: list[Object],
    zones: Mapping[str, str],
    family: str,
    changes: Changes,
) -> None:
    wanted: dict[bytes, dict[str, Object]] = {}
    ports_of: dict[bytes, list[Object]] = {}
    for pod in pods:
        if not should_appear(pod, terminating=True) or pod["spec"].get("nodeName", "") not in zones:
            continue
        ips = addresses(pod, family)
        if not ips:
            continue
        ports = _ports(service, pod)
        key = orjson.dumps(ports)
        ports_of[key] = ports
        wanted.setdefault(key, {})[meta.uid(pod)] = _endpoint(service, pod, ips, zones)
    existing: dict[bytes, list[Object]] = {}
    for old in slices:
        existing.setdefault(orjson.dumps(old.get("ports") or []), []).append(old)
    if not wanted:
        _keep_placeholder(service, family, slices, changes)
        return
    for key in existing.keys() - wanted.keys():
        changes.delete += existing[key]
    for key, endpoints in wanted.items():
        _group(service, family, ports_of[key], endpoints, existing.get(key, []), changes)


def _keep_placeholder(service: Object, family: str, slices: list[Object], changes: Changes) -> None:
    if not slices:
        changes.create.append(_slice(service, family, None, None))
        return
    kept, *others = slices
    changes.delete += others
    placeholder = {**_refreshed(service, kept), "endpoints": None, "ports": None}
    if kept.get("endpoints") or kept.get("ports") or placeholder["metadata"] != kept["metadata"]:
        changes.update.append(placeholder)


def _group(
    service: Object,
    family: str,
    ports: list[Object],
    wanted: dict[str, Object],
    slices: list[Object],
    changes: Changes,
) -> None:
    """One family, one set of ports: the three steps of the module's text."""
    missing = dict(wanted)
    written: list[tuple[Object, list[Object]]] = []
    untouched: list[Object] = []
    for old in slices:
        endpoints, changed = _purge(old, wanted, missing)
        if not endpoints:
            changes.delete.append(old)
        elif changed or _refreshed(service, old)["metadata"] != old["metadata"]:
            written.append((old, endpoints))
        else:
            untouched.append(old)
    left = list(missing.values())
    for _, endpoints in written:
        room = MAX_ENDPOINTS - len(endpoints)
        endpoints += left[:room]
        left = left[room:]
    if left and len(left) < MAX_ENDPOINTS:
        fitting = [old for old in untouched if len(old["endpoints"]) + len(left) <= MAX_ENDPOINTS]
        if fitting:
            # The fullest that still fits: slices stay well packed.
            best = max(fitting, key=lambda old: len(old["endpoints"]))
            written.append((best, [*best["endpoints"], *left]))
            left = []
    changes.update += [{**_refreshed(service, old), "endpoints": endpoints} for old, endpoints in written]
    for start in range(0, len(left), MAX_ENDPOINTS):
        changes.create.append(_slice(service, family, left[start : start + MAX_ENDPOINTS], ports))
    _reuse(changes)


def _purge(
    old: Object, wanted: Mapping[str, Object], missing: dict[str, Object]
) -> tuple[list[Object], bool]:
    """The endpoints of ``old`` that stay, refreshed; those found are taken from ``missing``."""
    endpoints: list[Object] = []
    changed = False
    for endpoint in old.get("endpoints") or ():
        uid = (endpoint.get("targetRef") or {}).get("uid", "")
        fresh = wanted.get(uid)
        if fresh is None or missing.pop(uid, None) is None:
            changed = True  # not wanted, or twice
            continue
        changed = changed or fresh != endpoint
        endpoints.append(fresh)
    return endpoints, changed


def _reuse(changes: Changes) -> None:
    """Rather than delete one slice and create another of the same family, change the one into the other."""
    while changes.create and changes.delete:
        old = next((d for d in changes.delete if d["addressType"] == changes.create[-1]["addressType"]), None)
        if old is None:
            return
        changes.delete.remove(old)
        new = changes.create.pop()
        metadata = {**old["metadata"], "labels": new["metadata"]["labels"]}
        changes.update.append(
            {**old, "metadata": metadata, "endpoints": new["endpoints"], "ports": new["ports"]}
        )


def _ports(service: Object, pod: Object) -> list[Object]:
    ports: list[Object] = []
    for port in service["spec"].get("ports") or ():
        number = target_port(port, pod)
        if number is None:
            continue
        entry: Object = {
            "name": port.get("name", ""),
            "protocol": port.get("protocol", "TCP"),
            "port": number,
        }
        if port.get("appProtocol"):
            entry["appProtocol"] = port["appProtocol"]
        ports.append(entry)
    return ports


def _endpoint(service: Object, pod: Object, ips: list[str], zones: Mapping[str, str]) -> Object:
    terminating = meta.is_terminating(pod)
    serving = meta.is_pod_ready(pod)
    ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
    node = pod["spec"].get("nodeName", "")
    endpoint: Object = {
        "addresses": ips,
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
    }
    hostname = pod["spec"].get("hostname")
    if hostname and pod["spec"].get("subdomain") == meta.name(service):
        endpoint["hostname"] = hostname
    endpoint["nodeName"] = node
    endpoint["targetRef"] = target_ref(pod)
    if zones.get(node):
        endpoint["zone"] = zones[node]
    return endpoint


def _labels(service: Object) -> dict[str, str]:
    labels = {key: value for key, value in meta.labels(service).items() if key != HEADLESS_LABEL}
    labels[SERVICE_NAME] = meta.name(service)
    labels[MANAGED_BY] = CONTROLLER
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    return labels


def _refreshed(service: Object, old: Object) -> Object:
    """``old`` with the labels that the service gives it now."""
    return {**old, "metadata": {**old["metadata"], "labels": _labels(service)}}


def _slice(
    service: Object, family: str, endpoints: list[Object] | None, ports: list[Object] | None
) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{meta.name(service)}-",
            "namespace": meta.namespace(service),
            "labels": _labels(service),
            "ownerReferences": [meta.owner_reference(service)],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports,
    }
