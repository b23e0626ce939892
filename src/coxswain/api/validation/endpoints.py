"""Endpoints and EndpointSlices: addresses that traffic can reach, and their ports."""

from __future__ import annotations

from coxswain.api.fields import Errors, duplicate, invalid, not_supported, required, too_many
from coxswain.api.names import Object
from coxswain.api.validation.formats import (
    IMMUTABLE,
    Check,
    dns_label,
    dns_subdomain,
    ip,
    parse_ip,
    port_number,
    qualified_name,
    report,
)
from coxswain.api.validation.objectmeta import validate_labels
from coxswain.api.validation.rules import Rules
from coxswain.api.validation.services import non_special_ip

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_TYPES = ("FQDN", "IPv4", "IPv6")
_MAX_ENDPOINTS = 1000
_MAX_PORTS = 20000
_MAX_TOPOLOGY = 16
_MAX_HINTS = 8
_MAX_ADDRESSES = 100


def _validate_endpoints(endpoints: Object, errors: Errors) -> None:
    for position, subset in enumerate(endpoints.get("subsets") or ()):
        path = f"subsets[{position}]"
        ready, waiting = subset.get("addresses") or [], subset.get("notReadyAddresses") or []
        if not ready and not waiting:
            errors.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for kind, addresses in (("addresses", ready), ("notReadyAddresses", waiting)):
            for number, address in enumerate(addresses):
                _validate_address(address, f"{path}.{kind}[{number}]", errors)
        ports = subset.get("ports") or []
        for number, port in enumerate(ports):
            _validate_port(port, len(ports) > 1, f"{path}.ports[{number}]", errors)


def _validate_address(address: Object, path: str, errors: Errors) -> None:
    text = address.get("ip") or ""
    ip(f"{path}.ip", text, errors)
    if address.get("hostname"):
        report(dns_label(address["hostname"]), f"{path}.hostname", address["hostname"], errors)
    if address.get("nodeName") is not None:
        report(dns_subdomain(address["nodeName"]), f"{path}.nodeName", address["nodeName"], errors)
    non_special_ip(f"{path}.ip", text, errors)


def _validate_port(port: Object, needs_name: bool, path: str, errors: Errors) -> None:
    name, protocol = port.get("name") or "", port.get("protocol") or ""
    if needs_name and not name:
        errors.append(required(f"{path}.name"))
    elif name:
        report(dns_label(name), f"{path}.name", name, errors)
    port_number(f"{path}.port", port.get("port") or 0, errors)
    if not protocol:
        errors.append(required(f"{path}.protocol"))
    elif protocol not in _PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
    if port.get("appProtocol") is not None:
        report(qualified_name(port["appProtocol"]), f"{path}.appProtocol", port["appProtocol"], errors)


def _validate_slice(endpoint_slice: Object, errors: Errors) -> None:
    kind = endpoint_slice.get("addressType") or ""
    if not kind:
        errors.append(required("addressType"))
    elif kind not in _TYPES:
        errors.append(not_supported("addressType", kind, _TYPES))
    endpoints = endpoint_slice.get("endpoints") or []
    if len(endpoints) > _MAX_ENDPOINTS:
        errors.append(too_many("endpoints", len(endpoints), _MAX_ENDPOINTS))
        return
    for position, endpoint in enumerate(endpoints):
        _validate_endpoint(endpoint, kind, f"endpoints[{position}]", errors)
    _validate_slice_ports(endpoint_slice.get("ports") or [], errors)


def _validate_endpoint(endpoint: Object, kind: str, path: str, errors: Errors) -> None:
    addresses = endpoint.get("addresses") or []
    if not addresses:
        errors.append(required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(addresses) > _MAX_ADDRESSES:
        errors.append(too_many(f"{path}.addresses", len(addresses), _MAX_ADDRESSES))
    for position, address in enumerate(addresses):
        here = f"{path}.addresses[{position}]"
        if kind == "FQDN":
            report(dns_subdomain(address), here, address, errors)
        elif kind in _TYPES:
            parsed = parse_ip(address)
            if parsed is None or f"IPv{parsed.version}" != kind:
                example = "10.9.8.7" if kind == "IPv4" else "2001:db8::ffff"
                why = f"must be a valid {kind} address, (e.g. {example})"
                errors.append(invalid(here, address, why))
            non_special_ip(here, address, errors)
    if endpoint.get("nodeName") is not None:
        name = endpoint["nodeName"]
        report(dns_subdomain(name), f"{path}.nodeName", name, errors)
    topology = endpoint.get("deprecatedTopology") or {}
    if len(topology) > _MAX_TOPOLOGY:
        errors.append(too_many(f"{path}.deprecatedTopology", len(topology), _MAX_TOPOLOGY))
    validate_labels(topology, f"{path}.deprecatedTopology", errors)
    if endpoint.get("hostname") is not None:
        report(dns_label(endpoint["hostname"]), f"{path}.hostname", endpoint["hostname"], errors)
    hints = endpoint.get("hints")
    if hints and _validate_hints(hints.get("forZones"), qualified_name, f"{path}.hints.forZones", errors):
        _validate_hints(hints.get("forNodes"), dns_subdomain, f"{path}.hints.forNodes", errors)


def _validate_hints(hints: list[Object] | None, check: Check, path: str, errors: Errors) -> bool:
    """Names of zones or nodes, each once; whether there were few enough to look at."""
    if hints and len(hints) > _MAX_HINTS:
        errors.append(too_many(path, len(hints), _MAX_HINTS))
        return False
    seen: set[str] = set()
    for position, hint in enumerate(hints or ()):
        name, here = hint.get("name") or "", f"{path}[{position}].name"
        if name in seen:
            errors.append(duplicate(here, name))
        seen.add(name)
        report(check(name), here, name, errors)
    return True


def _validate_slice_ports(ports: list[Object], errors: Errors) -> None:
    if len(ports) > _MAX_PORTS:
        errors.append(too_many("ports", len(ports), _MAX_PORTS))
        return
    seen: set[str] = set()
    for position, port in enumerate(ports):
        path = f"ports[{position}]"
        name, protocol = port.get("name") or "", port.get("protocol")
        if name:
            report(dns_label(name), f"{path}.name", name, errors)
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
        if port.get("port") is not None:
            port_number(f"{path}.port", port["port"], errors)
        if protocol is None:
            errors.append(required(f"{path}.protocol"))
        elif protocol not in _PROTOCOLS:
            errors.append(not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
        if port.get("appProtocol") is not None:
            report(qualified_name(port["appProtocol"]), f"{path}.appProtocol", port["appProtocol"], errors)


def _validate_slice_update(new: Object, old: Object, errors: Errors) -> None:
    if new.get("addressType") != old.get("addressType"):
        errors.append(invalid("addressType", new.get("addressType") or "", IMMUTABLE))


RULES = {
    ("", "Endpoints"): Rules(validate=_validate_endpoints),
    ("discovery.k8s.io", "EndpointSlice"): Rules(
        validate=_validate_slice, update=_validate_slice_update, metadata_on_update=True
    ),
}
