"""Slices that a service and its pods call for; ``packing`` says how few writes that takes.

``reconcile`` looks at all pods; ``apply`` only at those that changed: of a service with ten thousand
endpoints it touches the slices that hold them and no others. A service without any endpoint keeps one empty
slice, so that proxies know it is empty and not unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.endpointslice.hints import (
    ZONE,
    auto_hints,
    close_hints,
    distribution,
    wants_auto,
)
from coxswain.controllers.endpointslice.packing import MAX_ENDPOINTS, Changes, Packer, reuse
from coxswain.controllers.endpointslice.shelves import Shelf, ports_key
from coxswain.controllers.services import (
    HEADLESS_LABEL,
    addresses,
    is_headless,
    should_appear,
    target_port,
    target_ref,
)

__all__ = ["CONTROLLER", "MANAGED_BY", "MAX_ENDPOINTS", "SERVICE_NAME", "ZONE", "Changes", "reconcile"]
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"

#: Of one family: the set of ports -> pod's uid -> endpoint.
_Groups = dict[bytes, dict[Hashable, Object]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``zones``: of every node that there is; ``ratios``: the zones' shares of the CPUs (``hints``)."""

    zones: Mapping[str, str]
    ratios: Callable[[], Mapping[str, float] | None] = lambda: None
    maximum: int = MAX_ENDPOINTS


@dataclass(slots=True)
class Outcome:
    """The writes, and for families with ``Auto`` hints why there are none (empty: there are)."""

    changes: Changes = field(default_factory=Changes)
    hints: dict[str, str] = field(default_factory=dict)


def reconcile(
    service: Object, pods: Iterable[Object], slices: Sequence[Object], zones: Mapping[str, str]
) -> Changes:
    """The writes that make ``slices`` (this controller's, of this service) right.

    ``zones`` is node name -> zone; a node that is not in it is gone, and so are its endpoints.
    """
    return plan(service, pods, slices, Surroundings(zones)).changes


def plan(service: Object, pods: Iterable[Object], slices: Sequence[Object], around: Surroundings) -> Outcome:
    """As ``reconcile``, with what the cluster is like."""
    outcome = Outcome()
    families = families_of(service)
    uid = meta.uid(service)
    mine: dict[str, list[Object]] = {family: [] for family in families}
    for old in slices:
        owned = any(reference.get("uid") == uid for reference in meta.owner_references(old))
        if old["addressType"] in mine and owned:
            mine[old["addressType"]].append(old)
        else:
            outcome.changes.delete.append(old)
    present = list(pods)
    for family in families:
        part = _family(service, present, mine[family], family, around)
        if wants_auto(service):
            outcome.hints[family] = auto_hints(mine[family], part, around.ratios())
        reuse(part)
        for name in ("create", "update", "delete"):
            getattr(outcome.changes, name).extend(getattr(part, name))
    return outcome


def families_of(service: Object) -> list[str]:
    """The address families of a service's endpoints."""
    found: list[str] = service["spec"].get("ipFamilies") or []
    if found:
        return found
    cluster_ip = str(service["spec"].get("clusterIP") or "")
    if not cluster_ip or cluster_ip == "None":
        return ["IPv4"]
    return ["IPv6" if ":" in cluster_ip else "IPv4"]


def _family(
    service: Object, pods: list[Object], slices: list[Object], family: str, around: Surroundings
) -> Changes:
    changes = Changes()
    wanted: _Groups = {}
    ports_of: dict[bytes, list[Object]] = {}
    for pod in pods:
        found = endpoint_of(service, pod, family, around.zones)
        if found is not None:
            ports, endpoint = found
            key = ports_key(ports)
            ports_of[key] = ports
            wanted.setdefault(key, {})[meta.uid(pod)] = endpoint
    existing: dict[bytes, list[Object]] = {}
    for old in slices:
        existing.setdefault(ports_key(old.get("ports")), []).append(old)
    if not wanted:
        _keep_placeholder(service, family, slices, changes)
        return changes
    for key in existing.keys() - wanted.keys():
        changes.delete += existing[key]
    for key, endpoints in wanted.items():
        _packer(service, family, ports_of[key], around).pack(existing.get(key, ()), endpoints, changes)
    return changes


def apply(
    service: Object,
    changed: Mapping[str, Object | None],
    holding: Callable[[str], Iterable[Object]],
    shelf_of: Callable[[str], Shelf | None],
    around: Surroundings,
) -> Changes | None:
    """The writes after the pods of these uids changed (None: gone, or not selected any more).

    ``holding`` gives the slices that hold an endpoint of a uid, ``shelf_of`` all slices of a family if their ports are
    the same. None: the whole must be looked at (hints by proportion, new ports, no endpoint left): ``plan`` does.
    """
    if wants_auto(service):
        return None
    changes = Changes()
    for family in families_of(service):
        shelf = shelf_of(family)
        if shelf is None or shelf.is_empty:
            return None
        fresh: dict[Hashable, Object] = {}
        for uid, pod in changed.items():
            found = endpoint_of(service, pod, family, around.zones) if pod is not None else None
            if found is not None and ports_key(found[0]) != shelf.key:
                return None
            if found is not None:
                fresh[uid] = found[1]
        held = (old for uid in changed for old in holding(uid))
        touched = {meta.name(old): old for old in held if old["addressType"] == family}
        packer = _packer(service, family, shelf.ports, around)
        if not _apply_family(packer, changed, fresh, touched, shelf, changes):
            return None
    return changes


def _apply_family(
    packer: Packer,
    changed: Mapping[str, Object | None],
    fresh: dict[Hashable, Object],
    touched: Mapping[str, Object],
    shelf: Shelf,
    changes: Changes,
) -> bool:
    written: list[tuple[Object, list[Object]]] = []
    emptied = []
    for old in touched.values():
        endpoints, differs = [], False
        for endpoint in old.get("endpoints") or ():
            uid = packer.identity(endpoint)
            if uid not in changed:
                endpoints.append(endpoint)
                continue
            new = fresh.pop(uid, None)
            differs = differs or new != endpoint
            if new is not None:
                endpoints.append(new)
        if not endpoints:
            emptied.append(old)
        elif differs:
            written.append((old, endpoints))
    if len(emptied) == len(shelf):
        return False
    changes.delete += emptied
    besides = {meta.name(old) for old in (*emptied, *(old for old, _ in written))}

    def fitting(count: int) -> Object | None:
        return shelf.fitting(count, packer.maximum, besides)

    packer.place(written, fitting, list(fresh.values()), changes)
    return True


def _packer(service: Object, family: str, ports: list[Object], around: Surroundings) -> Packer:
    labels = _labels(service)
    auto = wants_auto(service)

    def refreshed(old: Object) -> Object:
        if meta.labels(old) == labels:
            return old
        return {**old, "metadata": {**old["metadata"], "labels": labels}}

    def fresh(endpoints: list[Object]) -> Object:
        return _slice(service, family, endpoints, ports)

    return Packer(identity, refreshed, fresh, around.maximum, keeps_hints=auto)


def identity(endpoint: Object) -> str:
    """The uid of the endpoint's pod."""
    return str((endpoint.get("targetRef") or {}).get("uid", ""))


def _keep_placeholder(service: Object, family: str, slices: list[Object], changes: Changes) -> None:
    if not slices:
        changes.create.append(_slice(service, family, None, None))
        return
    kept, *others = slices
    changes.delete += others
    labels = _labels(service)
    if kept.get("endpoints") or kept.get("ports") or meta.labels(kept) != labels:
        metadata = {**kept["metadata"], "labels": labels}
        changes.update.append({**kept, "metadata": metadata, "endpoints": None, "ports": None})


def endpoint_of(
    service: Object, pod: Object, family: str, zones: Mapping[str, str]
) -> tuple[list[Object], Object] | None:
    """(ports, endpoint) of a pod that the service selects; None when it is no endpoint.

    A pod whose node is not known is left out, unless the service publishes whatever there is.
    """
    if not should_appear(pod, terminating=True):
        return None
    if pod["spec"].get("nodeName", "") not in zones and not service["spec"].get("publishNotReadyAddresses"):
        return None
    ips = addresses(pod, family)
    if not ips:
        return None
    return _ports(service, pod), _endpoint(service, pod, ips, zones)


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
    if node:
        endpoint["nodeName"] = node
    endpoint["targetRef"] = target_ref(pod)
    if zones.get(node):
        endpoint["zone"] = zones[node]
    hints = close_hints(endpoint, distribution(service))
    if hints is not None:
        endpoint["hints"] = hints
    return endpoint


def _labels(service: Object) -> dict[str, str]:
    labels = {key: value for key, value in meta.labels(service).items() if key != HEADLESS_LABEL}
    labels[SERVICE_NAME] = meta.name(service)
    labels[MANAGED_BY] = CONTROLLER
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    return labels


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
