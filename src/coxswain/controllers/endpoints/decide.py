"""The Endpoints that a service and its pods call for (Kubernetes' ``endpoints_controller.go``)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

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

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
CONTROLLER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
#: Addresses in one Endpoints object; beyond, it is cut and says so: slices have them all.
MAX_ADDRESSES = 1000

_Ports = tuple[tuple[str, int, str, str], ...]


def desired(service: Object, pods: Sequence[Object], current: Object | None) -> Object:
    """The Endpoints object as it should be; metadata that others set on ``current`` stays."""
    subsets, cut = _subsets(service, pods)
    labels = dict(meta.labels(service))
    labels.pop(HEADLESS_LABEL, None)
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    labels[MANAGED_BY] = CONTROLLER
    metadata: Object = dict(current["metadata"]) if current is not None else {}
    annotations = {
        key: value for key, value in meta.annotations(current or {}).items() if key != OVER_CAPACITY
    }
    if cut:
        annotations[OVER_CAPACITY] = "truncated"
    metadata |= {"name": meta.name(service), "namespace": meta.namespace(service), "labels": labels}
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    result: Object = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
    if subsets:
        result["subsets"] = subsets
    return result


def _subsets(service: Object, pods: Sequence[Object]) -> tuple[list[Object], bool]:
    """Addresses grouped by the ports they serve, sorted; and whether some had to be left out."""
    family = (service["spec"].get("ipFamilies") or ["IPv4"])[0]
    accept_unready = bool(service["spec"].get("publishNotReadyAddresses"))
    groups: dict[_Ports, tuple[list[Object], list[Object]]] = {}
    count = 0
    usable = [pod for pod in pods if should_appear(pod, terminating=accept_unready)]
    # Ready ones first, so that a cut object keeps what serves.
    for pod in sorted(usable, key=lambda pod: not meta.is_pod_ready(pod)):
        found = addresses(pod, family)
        ports = _ports(service, pod)
        if not found or (not ports and not is_headless(service)):
            continue
        if count == MAX_ADDRESSES:
            return _finish(groups), True
        count += 1
        ready, unready = groups.setdefault(ports, ([], []))
        (ready if accept_unready or meta.is_pod_ready(pod) else unready).append(
            _address(service, pod, found[0])
        )
    return _finish(groups), False


def _ports(service: Object, pod: Object) -> _Ports:
    return tuple(
        (port.get("name", ""), number, port.get("protocol", "TCP"), port.get("appProtocol", ""))
        for port in service["spec"].get("ports") or ()
        if (number := target_port(port, pod)) is not None
    )


def _address(service: Object, pod: Object, ip: str) -> Object:
    address: Object = {"ip": ip}
    if pod["spec"].get("nodeName"):
        address["nodeName"] = pod["spec"]["nodeName"]
    if pod["spec"].get("hostname") and pod["spec"].get("subdomain") == meta.name(service):
        address["hostname"] = pod["spec"]["hostname"]
    address["targetRef"] = target_ref(pod)
    return address


def _finish(groups: dict[_Ports, tuple[list[Object], list[Object]]]) -> list[Object]:
    subsets: list[Object] = []
    for ports in sorted(groups):
        subset: Object = {}
        for name, found in zip(("addresses", "notReadyAddresses"), groups[ports], strict=True):
            if found:
                subset[name] = sorted(
                    found, key=lambda a: (ipaddress.ip_address(a["ip"]), a["targetRef"]["uid"])
                )
        if ports:
            subset["ports"] = [_port(*port) for port in ports]
        subsets.append(subset)
    return subsets


def _port(name: str, number: int, protocol: str, app: str) -> Object:
    port: Object = {"name": name} if name else {}
    port |= {"port": number, "protocol": protocol}
    if app:
        port["appProtocol"] = app
    return port
