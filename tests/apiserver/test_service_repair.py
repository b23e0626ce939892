"""Services' addresses, the records of them, and the allocator: brought into agreement."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from apiserver.core_support import ADMIN, Cluster, cluster
from apiserver.dict_lookup import DictLookup
from coxswain.api.names import IP_ADDRESSES, SERVICES, Object
from coxswain.apiserver.allocators import ServiceAllocator
from coxswain.apiserver.service_repair import ServiceRepair, examine


def service(name: str, *addresses: str) -> Object:
    return {"metadata": {"name": name, "namespace": "n"}, "spec": {"clusterIPs": list(addresses)}}


def record(address: str, name: str, *, ours: bool = True) -> Object:
    labels = {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io" if ours else "somebody"}
    parent = {"resource": "services", "namespace": "n", "name": name}
    return {"metadata": {"name": address, "uid": "u", "labels": labels}, "spec": {"parentRef": parent}}


def test_addresses_without_a_record_get_one() -> None:
    (made,) = examine([service("s", "10.96.0.5")], []).missing
    assert made["metadata"]["name"] == "10.96.0.5"
    assert made["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"] == "IPv4"
    assert made["spec"]["parentRef"] == {"resource": "services", "namespace": "n", "name": "s"}


def test_headless_services_have_none() -> None:
    assert not examine([service("s", "None")], []).missing


def test_records_of_what_is_gone_go() -> None:
    found = examine([], [record("10.96.0.5", "s"), record("10.96.0.6", "s", ours=False)])
    assert found.orphaned == [("10.96.0.5", "u")]


def test_a_record_of_the_wrong_service_is_made_anew() -> None:
    found = examine([service("t", "10.96.0.5")], [record("10.96.0.5", "s")])
    assert found.orphaned == [("10.96.0.5", "u")]
    assert found.missing[0]["spec"]["parentRef"]["name"] == "t"


def test_an_address_that_two_services_have_is_told() -> None:
    found = examine([service("s", "10.96.0.5"), service("t", "10.96.0.5")], [record("10.96.0.5", "t")])
    assert found.shared == [("10.96.0.5", ["n/s", "n/t"])]
    assert not found.orphaned and not found.missing


def test_leaks_are_found_both_ways() -> None:
    lookup = DictLookup()
    allocator = ServiceAllocator(lookup)
    held: Object = {"metadata": {"name": "s", "namespace": "n"}, "spec": {"type": "ClusterIP", "ports": []}}
    allocator.assign(held).commit()  # and never stored
    lookup.put(SERVICES, "t", "n", spec={"clusterIPs": ["10.96.7.7"], "ports": [{"nodePort": 30001}]})
    assert allocator.repair() == (1, 2)
    assert allocator.repair() == (0, 0)


def test_addresses_of_others_are_not_given_out() -> None:
    lookup = DictLookup()
    parent = {"group": "gateway.networking.k8s.io", "resource": "gateways", "name": "g"}
    lookup.put(IP_ADDRESSES, "10.96.0.9", spec={"parentRef": parent})
    allocator = ServiceAllocator(lookup)
    wanted: Object = {
        "metadata": {"name": "s", "namespace": "n"},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "10.96.0.9",
            "clusterIPs": ["10.96.0.9"],
            "selector": {"a": "b"},
        },
    }
    with pytest.raises(Exception, match="provided IP is already allocated"):
        allocator.assign(wanted)


def a_service(name: str) -> Object:
    return {"metadata": {"name": name}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}


async def recorded(c: Cluster) -> dict[str, Any]:
    found = await c.do("list", IP_ADDRESSES, namespace="")
    return {each["metadata"]["name"]: each["spec"]["parentRef"]["name"] for each in found["items"]}


@pytest.mark.virtual
async def test_records_follow_services() -> None:
    async with cluster() as c:
        allocator = c.core.allocator
        assert isinstance(allocator, ServiceAllocator)
        repair = ServiceRepair(c.pipeline, c.core.registry.lookup, allocator, ADMIN)
        task = asyncio.create_task(repair.run())
        made = await c.do("create", SERVICES, body=a_service("s"))
        await asyncio.sleep(3)
        assert await recorded(c) == {made["spec"]["clusterIP"]: "s"}
        await c.do("delete", SERVICES, "s")
        await asyncio.sleep(3)
        assert await recorded(c) == {}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
