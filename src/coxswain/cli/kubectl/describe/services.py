"""Services with their endpoints."""

from __future__ import annotations

from collections.abc import Sequence

from coxswain.api.errors import ApiError
from coxswain.api.names import ENDPOINT_SLICES, Object
from coxswain.cli.kubectl.describe.sheet import NONE, UNSET, Sheet, events, pairs
from coxswain.cli.kubectl.resources import items_of
from coxswain.cli.kubectl.session import Session

_SHOWN = 3


async def service(session: Session, obj: Object, found: Sequence[Object] | None) -> str:
    """A Service: addresses, ports, and who is behind them."""
    spec = obj.get("spec") or {}
    slices = await _slices(session, obj)
    sheet = Sheet()
    sheet.head(obj)
    sheet.meta(obj)
    sheet.row("Selector", pairs(spec.get("selector")))
    sheet.row("Type", spec.get("type") or "")
    if spec.get("ipFamilyPolicy"):
        sheet.row("IP Family Policy", spec["ipFamilyPolicy"])
    sheet.row("IP Families", ",".join(spec.get("ipFamilies") or ()) or NONE)
    sheet.row("IP", spec.get("clusterIP") or "")
    sheet.row("IPs", ",".join(spec.get("clusterIPs") or ()) or NONE)
    if spec.get("externalIPs"):
        sheet.row("External IPs", ",".join(spec["externalIPs"]))
    for name, field in (("Desired LoadBalancer IP", "loadBalancerIP"), ("External Name", "externalName")):
        if spec.get(field):
            sheet.row(name, spec[field])
    ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    if ingress:
        sheet.row("LoadBalancer Ingress", ", ".join(_ingress(one) for one in ingress))
    for port in spec.get("ports") or ():
        _port(sheet, port, slices)
    sheet.row("Session Affinity", spec.get("sessionAffinity") or "")
    for name, field in (
        ("External Traffic Policy", "externalTrafficPolicy"),
        ("Internal Traffic Policy", "internalTrafficPolicy"),
        ("HealthCheck NodePort", "healthCheckNodePort"),
    ):
        if spec.get(field):
            sheet.row(name, spec[field])
    if spec.get("loadBalancerSourceRanges"):
        sheet.row("LoadBalancer Source Ranges", ",".join(spec["loadBalancerSourceRanges"]))
    if spec.get("trafficDistribution"):
        sheet.row("Traffic Distribution", spec["trafficDistribution"])
    events(sheet, found)
    return sheet.text()


async def _slices(session: Session, obj: Object) -> list[Object]:
    meta = obj["metadata"]
    query = {"labelSelector": f"kubernetes.io/service-name={meta['name']}"}
    try:
        return items_of(await session.request("list", ENDPOINT_SLICES, meta["namespace"], query=query))
    except ApiError:
        return []


def _ingress(one: Object) -> str:
    if not one.get("ip"):
        return str(one.get("hostname") or "")
    return f"{one['ip']} ({one['ipMode']})" if one.get("ipMode") else str(one["ip"])


def _port(sheet: Sheet, port: Object, slices: Sequence[Object]) -> None:
    name, protocol = port.get("name") or UNSET, port.get("protocol") or "TCP"
    sheet.row("Port", f"{name}\t{port.get('port')}/{protocol}")
    sheet.row("TargetPort", f"{port.get('targetPort')}/{protocol}")
    if port.get("appProtocol"):
        sheet.row("AppProtocol", port["appProtocol"])
    if port.get("nodePort"):
        sheet.row("NodePort", f"{name}\t{port['nodePort']}/{protocol}")
    sheet.row("Endpoints", _endpoints(slices, port.get("name") or ""))


def _endpoints(slices: Sequence[Object], name: str) -> str:
    """The ready addresses behind a port; no more than three are listed."""
    if not slices:
        return NONE
    found: list[str] = []
    for one in slices:
        ready = [
            endpoint["addresses"][0]
            for endpoint in one.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready") is not False
        ]
        if not one.get("ports"):
            found += ready
        for port in one.get("ports") or ():
            if (port.get("name") or "") == name:
                found += [_joined(address, port.get("port")) for address in ready]
    text = ",".join(found[:_SHOWN])
    return f"{text} + {len(found) - _SHOWN} more..." if len(found) > _SHOWN else text


def _joined(address: str, port: object) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
