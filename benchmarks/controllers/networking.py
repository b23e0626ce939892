"""Services: all in one namespace, each with two pods of its own and a selector that shares a label with all."""

from __future__ import annotations

from benchmarks.controllers.world import Api, Case
from coxswain.api.names import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES, Object

NAMESPACE = "d"
_PORTS = [{"name": "http", "port": 80, "protocol": "TCP"}]


def pod(name: str, address: int, labels: dict[str, str], ready: bool = True, **spec: object) -> Object:
    """A running pod on node ``n``."""
    ip = f"10.{address >> 16}.{address >> 8 & 255}.{address & 255}"
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"nodeName": "n", "containers": [{"name": "c"}], **spec},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions},
    }


def _node(api: Api) -> None:
    ready = [{"type": "Ready", "status": "True"}]
    api.seed(NODES, {"metadata": {"name": "n"}, "spec": {}, "status": {"conditions": ready}})


def _services(api: Api, count: int) -> None:
    _node(api)
    for number in range(count):
        labels = {"tier": "web", "app": f"a{number}"}
        spec = {"clusterIP": "10.96.0.1", "ipFamilies": ["IPv4"], "ports": _PORTS, "selector": labels}
        api.seed(
            SERVICES,
            {"kind": "Service", "metadata": {"name": f"w{number}", "namespace": NAMESPACE}, "spec": spec},
        )
        for which in (0, 1):
            api.seed(PODS, pod(f"w{number}-{which}", 2 * number + which, labels))


def unready(api: Api, number: int) -> None:
    """The first pod of an owner stops being ready."""

    def edit(obj: Object) -> None:
        obj["status"]["conditions"] = [{"type": "Ready", "status": "False"}]

    api.change(PODS, f"w{number}-0", NAMESPACE, edit)


def _without_one(api: Api) -> int:
    found = api.objects(ENDPOINTS)
    return sum("notReadyAddresses" in subset for one in found for subset in one.get("subsets") or ())


def _shown_no_more(api: Api) -> int:
    """Of many ready pods a thousand are shown; the changed ones were among them."""
    (found,) = api.objects(ENDPOINTS)
    (subset,) = found["subsets"]
    shown = {each["targetRef"]["name"] for each in subset["addresses"]}
    lost = sum(f"w{number}-0" not in shown for number in range(api.changes))
    assert len(shown) == min(api.count(PODS) - lost, 1000)
    return lost


def _slices_without_one(api: Api) -> int:
    found = api.objects(ENDPOINT_SLICES)
    return sum(not each["conditions"]["ready"] for one in found for each in one["endpoints"] or ())


def _own_endpoints(api: Api, count: int) -> None:
    for number in range(count):
        name = {"name": f"w{number}", "namespace": NAMESPACE}
        spec = {"clusterIP": "10.96.0.1", "ports": _PORTS}
        api.seed(SERVICES, {"kind": "Service", "metadata": dict(name), "spec": spec})
        subsets = [{"addresses": [{"ip": "10.1.2.3"}], "ports": _PORTS}]
        api.seed(ENDPOINTS, {"kind": "Endpoints", "metadata": dict(name), "subsets": subsets})


def _another_address(api: Api, number: int) -> None:
    def edit(obj: Object) -> None:
        obj["subsets"][0]["addresses"][0]["ip"] = "10.1.2.4"

    api.change(ENDPOINTS, f"w{number}", NAMESPACE, edit)


def _mirrored(api: Api) -> int:
    slices = api.objects(ENDPOINT_SLICES)
    return sum(each["addresses"] == ["10.1.2.4"] for one in slices for each in one["endpoints"] or ())


def _one_service(api: Api, count: int) -> None:
    """One service of so many pods."""
    _node(api)
    labels = {"app": "web"}
    spec = {"clusterIP": "10.96.0.1", "ipFamilies": ["IPv4"], "ports": _PORTS, "selector": labels}
    metadata = {"name": "web", "namespace": NAMESPACE}
    api.seed(SERVICES, {"kind": "Service", "metadata": metadata, "spec": spec})
    for number in range(count):
        api.seed(PODS, pod(f"w{number}-0", number, labels))


CASES = {
    "endpoints": Case(("endpoints",), _services, unready, _without_one),
    "endpoints, one service": Case(("endpoints",), _one_service, unready, _shown_no_more),
    "endpointslice": Case(("endpointslice",), _services, unready, _slices_without_one),
    "endpointslice, one service": Case(("endpointslice",), _one_service, unready, _slices_without_one),
    "endpointslice-mirroring": Case(
        ("endpointslice-mirroring",), _own_endpoints, _another_address, _mirrored
    ),
}
