"""Tables of services, endpoints, ingresses and network policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from coxswain.api.names import Object
from coxswain.api.tables.text import (
    NONE,
    UNKNOWN,
    UNSET,
    Printer,
    addresses,
    age,
    first_of,
    labels,
    name,
    selector,
    spec,
    status,
)


def _service(obj: Object, now: float) -> list[Any]:
    wanted = spec(obj)
    ips = wanted.get("clusterIPs") or [wanted.get("clusterIP") or NONE]
    return [
        name(obj),
        wanted.get("type", ""),
        ips[0],
        _external_address(obj),
        ",".join(map(_port, wanted.get("ports") or ())) or NONE,
        age(obj, now),
        labels(wanted.get("selector")),
    ]


def _port(port: Object) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}"


def _external_address(obj: Object) -> str:
    wanted = spec(obj)
    kind = wanted.get("type", "")
    external = wanted.get("externalIPs") or []
    if kind in ("ClusterIP", "NodePort"):
        return ",".join(external) or NONE
    if kind == "LoadBalancer":
        balanced = addresses(status(obj).get("loadBalancer"))
        return ",".join(filter(None, [balanced, *external])) or "<pending>"
    return str(wanted.get("externalName", "")) if kind == "ExternalName" else UNKNOWN


def _endpoints(obj: Object, now: float) -> list[Any]:
    listed: list[str] = []
    for subset in obj.get("subsets") or ():
        ips = [address.get("ip", "") for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        listed += [_host_port(ip, port.get("port", 0)) for port in ports for ip in ips] if ports else ips
    text = first_of(listed, 3) if obj.get("subsets") else NONE
    return [name(obj), text, age(obj, now)]


def _host_port(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _endpoint_slice(obj: Object, now: float) -> list[Any]:
    ports = [str(port.get("port") or port.get("name") or "*") for port in obj.get("ports") or ()]
    ips = [ip for endpoint in obj.get("endpoints") or () for ip in endpoint.get("addresses") or ()]
    return [
        name(obj),
        obj.get("addressType", ""),
        first_of(ports, 3) or UNSET,
        first_of(ips, 3) or UNSET,
        age(obj, now),
    ]


def _ingress(obj: Object, now: float) -> list[Any]:
    rules = spec(obj).get("rules") or []
    hosts = [rule["host"] for rule in rules if rule.get("host")]
    text = ",".join(hosts[:3]) or "*"
    if hosts and len(rules) > 3:
        text += f" + {len(rules) - 3} more..."
    return [
        name(obj),
        spec(obj).get("ingressClassName") or NONE,
        text,
        addresses(status(obj).get("loadBalancer")),
        "80, 443" if spec(obj).get("tls") else "80",
        age(obj, now),
    ]


def _ingress_class(obj: Object, now: float) -> list[Any]:
    wanted = spec(obj).get("parameters")
    parameters = NONE
    if wanted:
        group = f".{wanted['apiGroup']}" if wanted.get("apiGroup") else ""
        parameters = f"{wanted.get('kind', '')}{group}/{wanted.get('name', '')}"
    return [name(obj), spec(obj).get("controller", ""), parameters, age(obj, now)]


def _network_policy(obj: Object, now: float) -> list[Any]:
    return [name(obj), selector(spec(obj).get("podSelector")), age(obj, now)]


def _ip_address(obj: Object, now: float) -> list[Any]:
    parent = spec(obj).get("parentRef")
    if not parent:
        return [name(obj), NONE]
    group = f".{parent['group']}" if parent.get("group") else ""
    parts = [f"{parent.get('resource', '')}{group}".lower(), parent.get("namespace"), parent.get("name")]
    return [name(obj), "/".join(filter(None, parts))]


def _service_cidr(obj: Object, now: float) -> list[Any]:
    return [name(obj), ",".join(spec(obj).get("cidrs") or ()), age(obj, now)]


PRINTERS: Final[Mapping[tuple[str, str], Printer]] = {
    ("", "endpoints"): _endpoints,
    ("", "services"): _service,
    ("discovery.k8s.io", "endpointslices"): _endpoint_slice,
    ("networking.k8s.io", "ingressclasses"): _ingress_class,
    ("networking.k8s.io", "ingresses"): _ingress,
    ("networking.k8s.io", "ipaddresses"): _ip_address,
    ("networking.k8s.io", "networkpolicies"): _network_policy,
    ("networking.k8s.io", "servicecidrs"): _service_cidr,
}
