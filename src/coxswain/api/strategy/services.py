"""What the server does to services before addresses are given out: fields made to agree, assigned values kept.

Families depend on what the cluster has: the API server's allocator fills them in.
"""

from __future__ import annotations

from coxswain.api.names import Object


def create_service(service: Object) -> None:
    """``clusterIPs`` follows ``clusterIP``, for clients that know that one alone."""
    spec = service.setdefault("spec", {})
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]


def update_service(new: Object, old: Object) -> None:
    """Keep what was assigned where the update says nothing, and drop what the new type has no use for."""
    spec, before = new.setdefault("spec", {}), old.get("spec") or {}
    _keep_assigned(spec, before)
    _agree_on_addresses(spec, before)
    _drop_what_type_forbids(spec, before)


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
    kept_address = before.get("clusterIP")
    if kept_address and _needs_address(before) and _needs_address(spec):
        spec["clusterIP"] = spec.get("clusterIP") or kept_address
    if _needs_node_port(before) and _needs_node_port(spec):
        ports = {each.get("name") or "": each.get("nodePort") for each in before.get("ports") or ()}
        taken = {each.get("nodePort") for each in spec.get("ports") or ()}
        for port in spec.get("ports") or ():
            kept = ports.get(port.get("name") or "")
            if not port.get("nodePort") and kept and kept not in taken:
                port["nodePort"] = kept
    kept_check = before.get("healthCheckNodePort")
    if needs_health_check(before) and needs_health_check(spec) and kept_check:
        spec["healthCheckNodePort"] = spec.get("healthCheckNodePort") or kept_check


def _agree_on_addresses(spec: Object, before: Object) -> None:
    """Clients that know only ``clusterIP`` change it alone; ``clusterIPs`` follows."""
    address, addresses = spec.get("clusterIP"), spec.get("clusterIPs") or []
    if address == before.get("clusterIP"):
        if not addresses and before.get("clusterIPs"):
            spec["clusterIPs"] = list(before["clusterIPs"])
    elif not addresses or addresses == before.get("clusterIPs"):
        if address:
            spec["clusterIPs"] = [address]
        else:
            spec.pop("clusterIPs", None)


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
