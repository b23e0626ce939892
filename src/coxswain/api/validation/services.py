"""Services: ports, addresses and families, how traffic is handled, and what may change."""

from __future__ import annotations

import ipaddress
from typing import Any

from coxswain.api.fields import Errors, Shown, duplicate, forbidden, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.validation.formats import (
    cidr,
    dns_1035_label,
    dns_label,
    dns_subdomain,
    ip,
    ip_families,
    parse_ip,
    port_number,
    port_or_name,
    qualified_name,
    report,
)
from coxswain.api.validation.objectmeta import validate_labels
from coxswain.api.validation.rules import Rules

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("Cluster", "Local")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_MAX_AFFINITY = 86400
_ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'"
_SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"


def _is_headless(spec: Object) -> bool:
    return (spec.get("clusterIPs") or []) == ["None"]


def _externally_accessible(spec: Object) -> bool:
    kind = spec.get("type")
    return kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def _validate_service(service: Object, errors: Errors) -> None:
    spec = service.get("spec") or {}
    kind, ports = spec.get("type") or "", spec.get("ports") or []
    headless = _is_headless(spec)
    if not ports and not headless and kind != "ExternalName":
        errors.append(required("spec.ports"))
    if headless and kind in ("LoadBalancer", "NodePort"):
        errors.append(invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    if kind == "ExternalName":
        _validate_external_name(spec, errors)
    _validate_ports(ports, errors)
    if spec.get("selector"):
        validate_labels(spec["selector"], "spec.selector", errors)
    _validate_affinity(spec, errors)
    if kind != "ExternalName":
        validate_addresses(spec, errors)
    for position, address in enumerate(spec.get("externalIPs") or ()):
        if ip(f"spec.externalIPs[{position}]", address, errors):
            non_special_ip(f"spec.externalIPs[{position}]", address, errors)
    if not kind:
        errors.append(required("spec.type"))
    elif kind not in _TYPES:
        errors.append(not_supported("spec.type", kind, _TYPES))
    _validate_node_ports(kind, ports, errors)
    _validate_load_balancer(service, spec, kind, errors)
    _validate_policies(spec, kind, errors)


def _validate_external_name(spec: Object, errors: Errors) -> None:
    for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(field):
            errors.append(forbidden(f"spec.{field}", "may not be set for ExternalName services"))
    name = (spec.get("externalName") or "").removesuffix(".")
    if name:
        report(dns_subdomain(name), "spec.externalName", name, errors)
    else:
        errors.append(required("spec.externalName"))


def _validate_ports(ports: list[Object], errors: Errors) -> None:
    names: set[str] = set()
    for position, port in enumerate(ports):
        path = f"spec.ports[{position}]"
        name = port.get("name")
        if name:
            report(dns_label(name), f"{path}.name", name, errors)
            if name in names:
                errors.append(duplicate(f"{path}.name", name))
            names.add(name)
        elif len(ports) > 1:
            errors.append(required(f"{path}.name"))
        port_number(f"{path}.port", port.get("port") or 0, errors)
        protocol = port.get("protocol")
        if not protocol:
            errors.append(required(f"{path}.protocol"))
        elif protocol not in _PROTOCOLS:
            errors.append(not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
        port_or_name(f"{path}.targetPort", port.get("targetPort"), errors)
        if port.get("appProtocol") is not None:
            report(qualified_name(port["appProtocol"]), f"{path}.appProtocol", port["appProtocol"], errors)


def _validate_node_ports(kind: str, ports: list[Object], errors: Errors) -> None:
    if kind == "ClusterIP":
        for position, port in enumerate(ports):
            if port.get("nodePort"):
                why = "may not be used when `type` is 'ClusterIP'"
                errors.append(forbidden(f"spec.ports[{position}].nodePort", why))
    node_ports: set[tuple[Any, Any]] = set()
    for position, port in enumerate(ports):
        key = (port.get("protocol"), port.get("nodePort"))
        if port.get("nodePort"):
            if key in node_ports:
                errors.append(duplicate(f"spec.ports[{position}].nodePort", port["nodePort"]))
            node_ports.add(key)
    seen: set[tuple[Any, Any]] = set()
    for position, port in enumerate(ports):
        key = (port.get("protocol"), port.get("port"))
        if key in seen:
            text = (
                f'{{"Name":"","Protocol":"{key[0]}","AppProtocol":null,"Port":{key[1]},'
                '"TargetPort":0,"NodePort":0}'
            )
            errors.append(duplicate(f"spec.ports[{position}]", Shown(text)))
        seen.add(key)


def _validate_affinity(spec: Object, errors: Errors) -> None:
    affinity, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    path = "spec.sessionAffinityConfig"
    if not affinity:
        errors.append(required("spec.sessionAffinity"))
    elif affinity not in ("ClientIP", "None"):
        errors.append(not_supported("spec.sessionAffinity", affinity, ("ClientIP", "None")))
    if affinity == "ClientIP":
        why = "when session affinity type is ClientIP"
        if config is None:
            errors.append(required(path, why))
        elif config.get("clientIP") is None:
            errors.append(required(f"{path}.clientIP", why))
        elif config["clientIP"].get("timeoutSeconds") is None:
            errors.append(required(f"{path}.clientIP.timeoutSeconds", why))
        else:
            seconds = config["clientIP"]["timeoutSeconds"]
            if not 0 < seconds <= _MAX_AFFINITY:
                why = f"must be greater than 0 and less than {_MAX_AFFINITY}"
                errors.append(invalid(f"{path}.clientIP.timeoutSeconds", seconds, why))
    elif affinity == "None" and config is not None:
        errors.append(forbidden(path, "must not be set when session affinity is None"))


def validate_addresses(spec: Object, errors: Errors) -> None:
    """``clusterIP``, ``clusterIPs``, ``ipFamilies`` and ``ipFamilyPolicy`` of a service that has addresses.

    Allocation asks this first, too (Kubernetes: ``ValidateServiceClusterIPsRelatedFields``).
    """
    address, addresses = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    families = spec.get("ipFamilies") or []
    if address:
        if not addresses:
            errors.append(required("spec.clusterIPs"))
        elif addresses[0] != address:
            errors.append(invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`"))
    elif addresses:
        errors.append(
            invalid("spec.clusterIPs", addresses, "must be empty when `clusterIP` is not specified")
        )
    _validate_families(spec, families, errors)
    before = len(errors)
    for position, each in enumerate(addresses):
        if position == 0 and each == "None":
            if len(addresses) > 1:
                why = "'None' must be the first and only value"
                errors.append(invalid("spec.clusterIPs", addresses, why))
            continue
        ip(f"spec.clusterIPs[{position}]", each, errors)
    wrong = len(errors) > before
    if len(addresses) > 2:
        errors.append(invalid("spec.clusterIPs", addresses, "may only hold up to 2 values"))
    if wrong:
        return
    if len(addresses) > 1 and len(ip_families(addresses)) < 2:
        why = "may specify no more than one IP for each IP family"
        errors.append(invalid("spec.clusterIPs", addresses, why))
    if not _is_headless(spec):
        for position, (each, family) in enumerate(zip(addresses, families, strict=False)):
            actual = "IPv6" if ":" in each else "IPv4"
            if family in ("IPv4", "IPv6") and actual != family:
                why = f"expected an {family} value as indicated by `ipFamilies[{position}]`"
                errors.append(invalid(f"spec.clusterIPs[{position}]", each, why))


def _validate_families(spec: Object, families: list[str], errors: Errors) -> None:
    for position, family in enumerate(families):
        if family not in ("IPv4", "IPv6"):
            errors.append(not_supported(f"spec.ipFamilies[{position}]", family, ("IPv4", "IPv6")))
        if family in families[:position]:
            errors.append(duplicate(f"spec.ipFamilies[{position}]", family))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _FAMILY_POLICIES:
        errors.append(not_supported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES))


def _validate_load_balancer(service: Object, spec: Object, kind: str, errors: Errors) -> None:
    balanced = kind == "LoadBalancer"
    ranges = spec.get("loadBalancerSourceRanges")
    annotations = (service.get("metadata") or {}).get("annotations") or {}
    if ranges:
        if not balanced:
            errors.append(forbidden("spec.LoadBalancerSourceRanges", _ONLY_LOAD_BALANCER))
        for position, each in enumerate(ranges):
            cidr(f"spec.LoadBalancerSourceRanges[{position}]", each.strip(), errors)
    elif _SOURCE_RANGES in annotations:
        path = f"metadata.annotations[{_SOURCE_RANGES}]"
        if not balanced:
            errors.append(forbidden(path, _ONLY_LOAD_BALANCER))
        for each in annotations[_SOURCE_RANGES].split(",") if annotations[_SOURCE_RANGES].strip() else ():
            cidr(path, each.strip(), errors)
    if spec.get("allocateLoadBalancerNodePorts") is not None and not balanced:
        errors.append(forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_LOAD_BALANCER))
    if balanced and spec.get("allocateLoadBalancerNodePorts") is None:
        errors.append(required("allocateLoadBalancerNodePorts"))
    name = spec.get("loadBalancerClass")
    if name is not None:
        if balanced:
            report(qualified_name(name), "spec.loadBalancerClass", name, errors)
        else:
            errors.append(forbidden("spec.loadBalancerClass", _ONLY_LOAD_BALANCER))


def _validate_policies(spec: Object, kind: str, errors: Errors) -> None:
    external = spec.get("externalTrafficPolicy")
    if not _externally_accessible(spec):
        if external:
            why = "may only be set for externally-accessible services"
            errors.append(invalid("spec.externalTrafficPolicy", external, why))
    elif not external:
        errors.append(required("spec.externalTrafficPolicy"))
    elif external not in _POLICIES:
        errors.append(not_supported("spec.externalTrafficPolicy", external, _POLICIES))
    check = spec.get("healthCheckNodePort") or 0
    if kind == "LoadBalancer" and external == "Local":
        # A missing one is assigned after validation.
        if check:
            port_number("spec.healthCheckNodePort", check, errors)
    elif check:
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(invalid("spec.healthCheckNodePort", check, why))
    internal = spec.get("internalTrafficPolicy")
    if internal is None:
        if kind in ("ClusterIP", "NodePort", "LoadBalancer"):
            errors.append(required("spec.internalTrafficPolicy"))
    elif internal not in _POLICIES:
        errors.append(not_supported("spec.internalTrafficPolicy", internal, _POLICIES))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        errors.append(not_supported("spec.trafficDistribution", distribution, _DISTRIBUTIONS))


def non_special_ip(path: str, text: str, errors: Errors) -> None:
    """An address that traffic can be sent to: not unspecified, loopback, link-local or multicast."""
    address = parse_ip(text)
    if address is None:
        errors.append(invalid(path, text, "must be a valid IP address"))
        return
    if address.is_unspecified:
        errors.append(invalid(path, text, f"may not be unspecified ({text})"))
    if address.is_loopback:
        errors.append(invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if address.is_link_local:
        errors.append(invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if address.is_multicast and _is_link_local_multicast(address):
        why = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        errors.append(invalid(path, text, why))


def _is_link_local_multicast(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if address.version == 4:
        return address in ipaddress.ip_network("224.0.0.0/24")
    return (address.packed[0], address.packed[1] & 0x0F) == (0xFF, 0x02)


def _validate_service_update(new: Object, old: Object, errors: Errors) -> None:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        if not (_is_headless(spec) and _is_headless(before)):
            _validate_kept(spec, before, "clusterIPs", "clusterIP", errors)
        if not _is_headless(spec) and not _is_headless(before):
            _validate_kept(spec, before, "ipFamilies", "ipFamily", errors)
    name, old_name = spec.get("loadBalancerClass"), before.get("loadBalancerClass")
    if spec.get("type") == before.get("type") == "LoadBalancer" and name != old_name:
        errors.append(invalid("spec.loadBalancerClass", name, "may not change once set"))
    checks = all(
        each.get("type") == "LoadBalancer" and each.get("externalTrafficPolicy") == "Local"
        for each in (spec, before)
    )
    if checks and spec.get("healthCheckNodePort") != before.get("healthCheckNodePort"):
        errors.append(forbidden("spec.healthCheckNodePort", "field is immutable"))


def _validate_kept(spec: Object, before: Object, field: str, word: str, errors: Errors) -> None:
    """Assigned addresses and families stay; a second one may come and go."""
    values, old = spec.get(field) or [], before.get(field) or []
    path = f"spec.{field}"
    if len(old) == len(values):
        for position, (value, previous) in enumerate(zip(values, old, strict=True)):
            if value != previous:
                where = position if field == "clusterIPs" else 0
                errors.append(invalid(f"{path}[{where}]", values, "may not change once set"))
        return
    if old and not values:
        errors.append(invalid(f"{path}[0]", values, f"primary {word} can not be unset"))
    elif old and values[0] != old[0]:
        errors.append(invalid(f"{path}[0]", values, "may not change once set"))
    if len(old) > len(values) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        why = f"must be set to 'SingleStack' when releasing the secondary {word}"
        errors.append(invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), why))


def validate_load_balancer_status(status: Object, path: str, errors: Errors) -> None:
    """``status.loadBalancer`` of services and ingresses."""
    for position, ingress in enumerate(status.get("ingress") or ()):
        here = f"{path}.ingress[{position}]"
        if ingress.get("ip"):
            ip(f"{here}.ip", ingress["ip"], errors)
        mode = ingress.get("ipMode")
        if mode is not None and not ingress.get("ip"):
            errors.append(forbidden(f"{here}.ipMode", "may not be specified when `ip` is not set"))
        elif mode is not None and mode not in ("Proxy", "VIP"):
            errors.append(not_supported(f"{here}.ipMode", mode, ("Proxy", "VIP")))
        name = ingress.get("hostname")
        if name:
            report(dns_subdomain(name), f"{here}.hostname", name, errors)
            if parse_ip(name) is not None:
                errors.append(invalid(f"{here}.hostname", name, "must be a DNS name, not an IP address"))


def _validate_service_status(new: Object, old: Object, errors: Errors) -> None:
    status = (new.get("status") or {}).get("loadBalancer") or {}
    if status.get("ingress") and (new.get("spec") or {}).get("type") != "LoadBalancer":
        why = "may only be used when `spec.type` is 'LoadBalancer'"
        errors.append(forbidden("status.loadBalancer.ingress", why))
        return
    validate_load_balancer_status(status, "status.loadBalancer", errors)


RULES = {
    ("", "Service"): Rules(
        validate=_validate_service,
        update=_validate_service_update,
        status=_validate_service_status,
        name_check=dns_1035_label,
        metadata_on_update=True,
        update_first=True,
    )
}
