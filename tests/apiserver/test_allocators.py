"""Cluster IPs and node ports: what is given, what is refused, what is given back."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from apiserver.dict_lookup import DictLookup
from coxswain.api import errors
from coxswain.api.names import SERVICE_CIDRS, SERVICES, Object
from coxswain.api.strategy.services import create_service, update_service
from coxswain.apiserver.allocators import ServiceAllocator


@pytest.fixture
def lookup() -> DictLookup:
    return DictLookup()


@pytest.fixture
def allocator(lookup: DictLookup) -> ServiceAllocator:
    return ServiceAllocator(lookup)


def service(*ports: Object, **spec: Any) -> Object:
    made: Object = {
        "metadata": {"name": "s", "namespace": "ns"},
        "spec": {"type": "ClusterIP", "selector": {"a": "b"}, "ports": list(ports), **spec},
    }
    create_service(made)
    return made


def port(number: int = 80, protocol: str = "TCP", **more: Any) -> Object:
    return {"port": number, "protocol": protocol, **more}


def test_address_and_families_are_filled_in(allocator: ServiceAllocator) -> None:
    made = service(port())
    allocator.assign(made).commit()
    spec = made["spec"]
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert spec["clusterIP"].startswith("10.96.")
    assert int(spec["clusterIP"].split(".")[2]) >= 1  # the lower band is spared
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    assert allocator.api_server_address == "10.96.0.1"


def test_headless_gets_none(allocator: ServiceAllocator) -> None:
    made = service(port(), clusterIP="None")
    allocator.assign(made).commit()
    assert made["spec"]["clusterIPs"] == ["None"]
    assert made["spec"]["ipFamilies"] == ["IPv4"]
    loose = service(port(), clusterIP="None", selector=None)
    allocator.assign(loose).commit()
    assert loose["spec"]["ipFamilyPolicy"] == "RequireDualStack"
    assert loose["spec"]["ipFamilies"] == ["IPv4", "IPv6"]


def test_external_name_gets_nothing(allocator: ServiceAllocator) -> None:
    made = service(type="ExternalName", externalName="x")
    before = dict(made["spec"])
    allocator.assign(made).commit()
    assert made["spec"] == before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"clusterIP": "1.2.3.4"},
            "failed to allocate IP 1.2.3.4: the provided network does not match the current range",
        ),
        ({"clusterIP": "10.96.0.0"}, "is not in the valid range. The range of valid IPs is 10.96.0.0/16"),
        ({"ipFamilyPolicy": "RequireDualStack"}, "this cluster is not configured for dual-stack services"),
        (
            {"ipFamilies": ["IPv6"]},
            'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster',
        ),
        ({"clusterIP": "fd00::1"}, "IPv6 is not configured on this cluster"),
    ],
)
def test_refused_addresses(allocator: ServiceAllocator, spec: Object, message: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        allocator.assign(service(port(), **spec))
    assert message in refused.value.message


def test_address_is_given_once_and_given_back(lookup: DictLookup, allocator: ServiceAllocator) -> None:
    first = service(port(), clusterIP="10.96.0.9")
    reservation = allocator.assign(first)
    with pytest.raises(errors.Invalid, match="provided IP is already allocated"):
        allocator.assign(service(port(), clusterIP="10.96.0.9"))
    reservation.rollback()
    reservation.rollback()
    allocator.assign(service(port(), clusterIP="10.96.0.9")).commit()
    lookup.put(SERVICES, "s", "ns", **first)
    with pytest.raises(errors.Invalid, match="already allocated"):
        allocator.assign(service(port(), clusterIP="10.96.0.9"))
    lookup.drop(SERVICES, "s", "ns")  # nobody said so: found out when it seems taken
    allocator.assign(service(port(), clusterIP="10.96.0.9")).commit()
    allocator.release(first)
    allocator.assign(service(port(), clusterIP="10.96.0.9")).commit()


def test_full_range() -> None:
    allocator = ServiceAllocator(DictLookup(), "10.0.0.0/30", (30000, 30000))
    for _ in range(2):
        allocator.assign(service(port()))
    with pytest.raises(errors.InternalError, match="failed to allocate a serviceIP: range is full"):
        allocator.assign(service(port()))
    ports = ServiceAllocator(DictLookup(), node_ports=(30000, 30000))
    ports.assign(service(port(), type="NodePort"))
    with pytest.raises(errors.InternalError, match="failed to allocate a nodePort: range is full"):
        ports.assign(service(port(), type="NodePort"))


def test_lower_band_is_used_when_the_upper_one_is_full() -> None:
    allocator = ServiceAllocator(DictLookup(), "10.0.0.0/27")
    given = []
    for _ in range(30):
        made = service(port())
        allocator.assign(made).commit()
        given.append(int(made["spec"]["clusterIP"].rpartition(".")[2]))
    assert sorted(given) == list(range(1, 31))
    assert all(number > 16 for number in given[:14])


def test_node_ports(lookup: DictLookup, allocator: ServiceAllocator) -> None:
    made = service(port(), port(53), port(53, "UDP"), type="NodePort")
    allocator.assign(made).commit()
    lookup.put(SERVICES, "s", "ns", spec=made["spec"])
    tcp, dns, udp = (p["nodePort"] for p in made["spec"]["ports"])
    assert 30086 <= tcp <= 32767
    assert dns == udp != tcp
    with pytest.raises(
        errors.Invalid, match=r"spec.ports\[0\].nodePort: Invalid value: \d+: provided port is already"
    ):
        allocator.assign(service(port(nodePort=tcp), type="NodePort"))
    both = service(port(53, nodePort=30000), port(53, "UDP", nodePort=30000), type="NodePort")
    allocator.assign(both).commit()
    with pytest.raises(errors.Invalid) as refused:
        allocator.assign(service(port(nodePort=80), type="NodePort"))
    assert refused.value.message == (
        'Service "s" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid '
        "range. The range of valid ports is 30000-32767"
    )


def test_load_balancer_ports(lookup: DictLookup, allocator: ServiceAllocator) -> None:
    made = service(port(), type="LoadBalancer", externalTrafficPolicy="Local")
    allocator.assign(made).commit()
    lookup.put(SERVICES, "s", "ns", spec=made["spec"])
    assert made["spec"]["ports"][0]["nodePort"]
    health = made["spec"]["healthCheckNodePort"]
    bare = service(port(), type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    allocator.assign(bare).commit()
    assert "nodePort" not in bare["spec"]["ports"][0]
    taken = service(port(), type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=health)
    with pytest.raises(errors.InternalError, match=f"requested HealthCheck NodePort {health}"):
        allocator.assign(taken)


def test_update_keeps_what_the_service_has(allocator: ServiceAllocator) -> None:
    old = service(port(), type="LoadBalancer", externalTrafficPolicy="Local")
    allocator.assign(old).commit()
    new = service(port(targetPort=8080), type="LoadBalancer", externalTrafficPolicy="Local")
    update_service(new, old)
    allocator.assign(new, old).commit()
    for field in ("clusterIP", "clusterIPs", "healthCheckNodePort", "ipFamilies"):
        assert new["spec"][field] == old["spec"][field]
    assert new["spec"]["ports"][0]["nodePort"] == old["spec"]["ports"][0]["nodePort"]


def test_update_to_external_name_frees_the_address_once_stored(
    lookup: DictLookup, allocator: ServiceAllocator
) -> None:
    old = service(port(nodePort=30001), type="NodePort", clusterIP="10.96.0.7")
    allocator.assign(old).commit()
    lookup.put(SERVICES, "s", "ns", spec=old["spec"])
    allocator.assign(service(type="ExternalName", externalName="x"), old).rollback()
    with pytest.raises(errors.Invalid):
        allocator.assign(service(port(), clusterIP="10.96.0.7"))
    allocator.assign(service(type="ExternalName", externalName="x"), old).commit()
    allocator.assign(service(port(nodePort=30001), type="NodePort", clusterIP="10.96.0.7")).commit()


def test_further_ranges_come_from_service_networks(lookup: DictLookup) -> None:
    allocator = ServiceAllocator(lookup, "10.96.0.0/30")
    taken = [service(port()), service(port())]
    for each in taken:
        allocator.assign(each).commit()
        lookup.put(SERVICES, each["spec"]["clusterIP"], "ns", spec=each["spec"])
    with pytest.raises(errors.InternalError, match="range is full"):
        allocator.assign(service(port()))
    with pytest.raises(errors.Invalid, match="does not match the current range"):
        allocator.assign(service(port(), clusterIP="10.97.0.7"))
    lookup.put(SERVICE_CIDRS, "more", spec={"cidrs": ["10.97.0.0/28", "fd00::/64"]})
    named = service(port(), clusterIP="10.97.0.7")
    allocator.assign(named).commit()
    another = service(port())
    allocator.assign(another).commit()
    assert another["spec"]["clusterIP"].startswith("10.97.0.")
    lookup.put(SERVICES, "another", "ns", spec=another["spec"])
    with pytest.raises(errors.Invalid, match="already allocated"):
        allocator.assign(service(port(), clusterIP=another["spec"]["clusterIP"]))
    lookup.drop(SERVICES, "another", "ns")
    assert allocator.repair() == (1, 0)


def test_ranges_that_overlap_are_left_alone(lookup: DictLookup) -> None:
    allocator = ServiceAllocator(lookup, "10.96.0.0/28")
    lookup.put(SERVICE_CIDRS, "kubernetes", spec={"cidrs": ["10.96.0.0/28"]})
    lookup.put(SERVICE_CIDRS, "wide", spec={"cidrs": ["10.96.0.0/16"]})
    allocator.assign(service(port())).commit()
    with pytest.raises(errors.Invalid, match="does not match the current range"):
        allocator.assign(service(port(), clusterIP="10.96.7.7"))


@pytest.mark.parametrize("length", [28, 27, 29])
def test_a_small_range_is_given_out_to_its_last_address(lookup: DictLookup, length: int) -> None:
    network = ipaddress.IPv4Network(f"10.96.0.0/{length}")
    allocator = ServiceAllocator(lookup, str(network))
    given = []
    for number in range(network.num_addresses - 2):
        made = service(port())
        allocator.assign(made).commit()
        given.append(made["spec"]["clusterIP"])
        lookup.put(SERVICES, f"s{number}", "ns", spec=made["spec"])
    assert sorted(map(ipaddress.IPv4Address, given)) == list(network.hosts())
    with pytest.raises(errors.InternalError, match="range is full"):
        allocator.assign(service(port()))


def test_node_ports_that_are_named_are_held_though_none_are_given_out(
    lookup: DictLookup, allocator: ServiceAllocator
) -> None:
    named = service(port(nodePort=30007), port(81), type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    allocator.assign(named).commit()
    assert [each.get("nodePort") for each in named["spec"]["ports"]] == [30007, None]
    lookup.put(SERVICES, "s", "ns", spec=named["spec"])
    with pytest.raises(errors.Invalid, match="provided port is already allocated"):
        allocator.assign(service(port(nodePort=30007), type="NodePort"))
    lookup.drop(SERVICES, "s", "ns")
    allocator.release(named)
    allocator.assign(service(port(nodePort=30007), type="NodePort")).commit()
