"""The slices that say what an Endpoints object says; sans-IO.

Mirrored are Endpoints of services without a selector, unless they ask not to be (label ``skip-mirror``), or
only serve an election of old. A subset's addresses beyond a thousand, and what is no address, are left out and
an event says how many. Labels and annotations are copied, but for those that belong to other hands.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import orjson

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.endpointslice.decide import MANAGED_BY, SERVICE_NAME
from coxswain.controllers.endpointslice.packing import MAX_ENDPOINTS, Changes, Packer, reuse

CONTROLLER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
#: Addresses of one subset that are mirrored (``--mirroring-max-endpoints-per-subset``).
MAX_PER_SUBSET = 1000
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_NOT_COPIED = frozenset(
    {"kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"}
)
_ADDRESS_FIELDS = ("hostname", "nodeName", "targetRef")

_Groups = dict[tuple[str, bytes], dict[Hashable, Object]]


@dataclass(slots=True)
class Outcome:
    """The writes, and (reason, message) of what had to be left out."""

    changes: Changes = field(default_factory=Changes)
    warnings: list[tuple[str, str]] = field(default_factory=list)


def should_mirror(endpoints: Object | None, service: Object | None) -> bool:
    """Whether slices are to follow ``endpoints``."""
    if endpoints is None or service is None or service["spec"].get("selector"):
        return False
    if meta.is_terminating(endpoints) or meta.labels(endpoints).get(SKIP) == "true":
        return False
    return _LEADER not in meta.annotations(endpoints)


def plan(endpoints: Object, slices: Sequence[Object], maximum: int = MAX_ENDPOINTS) -> Outcome:
    """What makes ``slices`` (this controller's, of this service) say what ``endpoints`` says."""
    outcome = Outcome()
    wanted, ports_of = _wanted(endpoints, outcome)
    existing: dict[tuple[str, bytes], list[Object]] = {}
    for old in slices:
        existing.setdefault((old["addressType"], _key(old.get("ports") or [])), []).append(old)
    for group in existing.keys() - wanted.keys():
        outcome.changes.delete += existing[group]
    labels, annotations = _labels(endpoints), _annotations(endpoints)
    for group, found in wanted.items():
        packer = _packer(endpoints, group[0], ports_of[group], (labels, annotations), maximum)
        packer.pack(existing.get(group, ()), found, outcome.changes)
    reuse(outcome.changes)
    return outcome


def _wanted(endpoints: Object, outcome: Outcome) -> tuple[_Groups, dict[tuple[str, bytes], list[Object]]]:
    wanted: _Groups = {}
    ports_of: dict[tuple[str, bytes], list[Object]] = {}
    skipped = invalid = 0
    for subset in endpoints.get("subsets") or ():
        ports = [_port(port) for port in subset.get("ports") or ()]
        room = MAX_PER_SUBSET
        addresses = [(each, True) for each in subset.get("addresses") or ()]
        addresses += [(each, False) for each in subset.get("notReadyAddresses") or ()]
        for address, ready in addresses:
            family = _family(address["ip"])
            if family is None:
                invalid += 1
            elif not room:
                skipped += 1
            else:
                room -= 1
                group = (family, _key(ports))
                ports_of[group] = ports
                endpoint = _endpoint(address, ready)
                wanted.setdefault(group, {})[_identity(endpoint)] = endpoint
    if invalid:
        text = f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
        outcome.warnings.append(("InvalidIPAddressesSkipped", text))
    if skipped:
        text = (
            f"A max of {MAX_PER_SUBSET} addresses can be mirrored to EndpointSlices per Endpoints subset. "
            f"{skipped} addresses were skipped"
        )
        outcome.warnings.append(("TooManyAddressesToMirror", text))
    return wanted, ports_of


def _packer(
    endpoints: Object, family: str, ports: list[Object], marks: tuple[Object, Object], maximum: int
) -> Packer:
    labels, annotations = marks

    def refreshed(old: Object) -> Object:
        if meta.labels(old) == labels and meta.annotations(old) == annotations:
            return old
        return {**old, "metadata": {**old["metadata"], "labels": labels, "annotations": annotations}}

    def fresh(found: list[Object]) -> Object:
        metadata = {
            "generateName": f"{meta.name(endpoints)}-",
            "namespace": meta.namespace(endpoints),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [meta.owner_reference({"apiVersion": "v1", "kind": "Endpoints", **endpoints})],
        }
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata,
            "addressType": family,
            "endpoints": found,
            "ports": ports,
        }

    return Packer(_identity, refreshed, fresh, maximum)


def _identity(endpoint: Object) -> Hashable:
    target = endpoint.get("targetRef") or {}
    return endpoint["addresses"][0], endpoint.get("hostname"), target.get("uid"), target.get("name")


def _endpoint(address: Object, ready: bool) -> Object:
    endpoint: Object = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    endpoint |= {name: address[name] for name in _ADDRESS_FIELDS if address.get(name)}
    return endpoint


def _port(port: Object) -> Object:
    entry: Object = {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP")}
    entry["port"] = port["port"]
    if port.get("appProtocol"):
        entry["appProtocol"] = port["appProtocol"]
    return entry


def _key(ports: list[Object]) -> bytes:
    return orjson.dumps(
        sorted(ports, key=lambda port: (port.get("name") or "", port.get("port") or 0)),
        option=orjson.OPT_SORT_KEYS,
    )


def _family(ip: str) -> str | None:
    try:
        return f"IPv{ipaddress.ip_address(ip).version}"
    except ValueError:
        return None


def _labels(endpoints: Object) -> dict[str, str]:
    name = meta.name(endpoints)
    return {**meta.labels(endpoints), SERVICE_NAME: name, MANAGED_BY: CONTROLLER}


def _annotations(endpoints: Object) -> dict[str, str]:
    return {key: value for key, value in meta.annotations(endpoints).items() if key not in _NOT_COPIED}
