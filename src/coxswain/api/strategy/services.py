"""What the server writes into services before addresses are assigned: families, policies, kept values.

The cluster has one stack, IPv4, as ``--service-cluster-ip-range`` says by default.
"""

from __future__ import annotations

from coxswain.api.names import Object

#: The families that the cluster serves, the first one by default.
FAMILIES = ("IPv4",)
_ALL_FAMILIES = ("IPv4", "IPv6")


def is_headless(spec: Object) -> bool:
    """No cluster address, by choice."""
    return bool(spec.get("clusterIP") == "None" or (spec.get("clusterIPs") or [""])[0] == "None")


def create_service(service: Object) -> None:
    """Families and policy; ``clusterIP`` and ``clusterIPs`` made to agree."""
    spec = service.setdefault("spec", {})
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    if spec.get("type") != "ExternalName":
        _default_families(spec)


def _default_families(spec: Object) -> None:
    families = list(spec.get("ipFamilies") or ())
    policy = spec.get("ipFamilyPolicy")
    if is_headless(spec) and not spec.get("selector"):
        # Its endpoints are somebody else's business: every family is possible.
        policy = policy or "RequireDualStack"
        families = families or [FAMILIES[0]]
        if policy != "SingleStack" and len(families) == 1:
            families += [family for family in _ALL_FAMILIES if family not in families]
    else:
        policy = policy or "SingleStack"
        families = families or [_family_of(spec)]
    spec["ipFamilyPolicy"] = policy
    spec["ipFamilies"] = families


def _family_of(spec: Object) -> str:
    address = (spec.get("clusterIPs") or [""])[0]
    return "IPv6" if ":" in address else FAMILIES[0]


def update_service(new: Object, old: Object) -> None:
    """Keep what was assigned where the update says nothing, and drop what the new type has no use for."""
    spec, before = new.setdefault("spec", {}), old.get("spec") or {}
    _keep_assigned(spec, before)
    _agree_on_addresses(spec, before)
    _drop_what_type_forbids(spec, before)
    if spec.get("type") != "ExternalName":
        if before.get("type") != "ExternalName" and not spec.get("ipFamilyPolicy"):
            for field in ("ipFamilyPolicy", "ipFamilies"):
                if before.get(field) and not spec.get(field):
                    spec[field] = before[field]
        _default_families(spec)


def _needs_address(spec: Object) -> bool:
    return spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer")


def _needs_node_port(spec: Object) -> bool:
    kind = spec.get("type")
    return kind == "NodePort" or (
        kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    )


def needs_health_check(spec: Object) -> bool:
    """A load balancer that keeps client addresses asks nodes whether they have endpoints."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _keep_assigned(spec: Object, before: Object) -> None:
    if (
        _needs_address(before)
        and _needs_address(spec)
        and not spec.get("clusterIP")
        and not spec.get("clusterIPs")
    ):
        for field in ("clusterIP", "clusterIPs"):
            if before.get(field):
                spec[field] = before[field]
    if _needs_node_port(before) and _needs_node_port(spec):
        ports = {
            (each.get("protocol"), each.get("port")): each.get("nodePort")
            for each in before.get("ports") or ()
        }
        taken = {each.get("nodePort") for each in spec.get("ports") or ()}
        for port in spec.get("ports") or ():
            kept = ports.get((port.get("protocol"), port.get("port")))
            if not port.get("nodePort") and kept and kept not in taken:
                port["nodePort"] = kept
    kept_check = before.get("healthCheckNodePort")
    if needs_health_check(before) and needs_health_check(spec) and kept_check:
        spec["healthCheckNodePort"] = spec.get("healthCheckNodePort") or kept_check


def _agree_on_addresses(spec: Object, before: Object) -> None:
    """Clients that know only ``clusterIP`` change it alone; ``clusterIPs`` follows."""
    if spec.get("clusterIP") == before.get("clusterIP"):
        if not spec.get("clusterIPs") and before.get("clusterIPs") and spec.get("clusterIP"):
            spec["clusterIPs"] = before["clusterIPs"]
        return
    if not spec.get("clusterIP"):
        if spec.get("clusterIPs") == before.get("clusterIPs"):
            spec.pop("clusterIPs", None)
    elif not spec.get("clusterIPs") or spec.get("clusterIPs") == before.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"], *(spec.get("clusterIPs") or [])[1:]]


def _drop_what_type_forbids(spec: Object, before: Object) -> None:
    if _needs_address(before) and not _needs_address(spec):
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if spec.get(field) == before.get(field):
                spec.pop(field, None)
    if _needs_node_port(before) and not _needs_node_port(spec):
        old_ports = {each.get("nodePort") for each in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") in old_ports:
                port.pop("nodePort", None)
    unchanged = spec.get("healthCheckNodePort") == before.get("healthCheckNodePort")
    if needs_health_check(before) and not needs_health_check(spec) and unchanged:
        spec.pop("healthCheckNodePort", None)
    if before.get("type") == "LoadBalancer" != spec.get("type"):
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(field) == before.get(field):
                spec.pop(field, None)
    external = spec.get("type") in ("NodePort", "LoadBalancer") or (
        spec.get("type") == "ClusterIP" and spec.get("externalIPs")
    )
    if not external and spec.get("externalTrafficPolicy") == before.get("externalTrafficPolicy"):
        spec.pop("externalTrafficPolicy", None)
