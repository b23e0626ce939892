"""Every node gets a range of its own, and keeps it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllerbench import running
from coxswain.api.names import EVENTS, NODES
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError
from coxswain.controllers.nodeipam import controller as nodeipam
from coxswain.controllers.nodeipam.ranges import CidrSet, NodeIpamSettings, Ranges
from fakeapi import FakeApi


def ranges(api: FakeApi) -> dict[str, str | None]:
    return {node["metadata"]["name"]: node["spec"].get("podCIDR") for node in api.objects(NODES)}


@pytest.mark.virtual
async def test_nodes_get_ranges_and_those_in_use_are_respected() -> None:
    api = FakeApi()
    api.add(NODES, {"metadata": {"name": "a"}, "spec": {}})
    api.add(NODES, {"metadata": {"name": "b"}, "spec": {"podCIDR": "10.244.0.0/24"}})
    async with running(api, nodeipam.DESCRIPTOR):
        api.lose_answer("patch", NODES)
        await clock.sleep(1)
        api.add(NODES, {"metadata": {"name": "c"}, "spec": {}})
        await clock.sleep(1)
        assert ranges(api) == {"a": "10.244.1.0/24", "b": "10.244.0.0/24", "c": "10.244.2.0/24"}
        assert api.object(NODES, "c")["spec"]["podCIDRs"] == ["10.244.2.0/24"]


@pytest.mark.virtual
async def test_a_node_waits_for_a_range_until_another_goes() -> None:
    api = FakeApi()
    for name in "abc":
        api.add(NODES, {"metadata": {"name": name}, "spec": {}})
    async with running(api, nodeipam.DESCRIPTOR, cluster_cidr="10.0.0.0/23"):
        await clock.sleep(1)
        assert ranges(api) == {"a": "10.0.0.0/24", "b": "10.0.1.0/24", "c": None}
        api.remove(NODES, "a")
        await clock.sleep(1)
        assert ranges(api) == {"b": "10.0.1.0/24", "c": "10.0.0.0/24"}
    assert [event["message"] for event in api.objects(EVENTS)] == [
        "Node c status is now: CIDRNotAvailable: all 2 ranges of 10.0.0.0/23 are taken"
    ]


@pytest.mark.virtual
async def test_a_node_of_both_families_gets_a_range_of_each_and_gives_both_back() -> None:
    api = FakeApi()
    brought = {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24", "fd00::/64"]}
    api.add(NODES, {"metadata": {"name": "a"}, "spec": brought})
    api.add(NODES, {"metadata": {"name": "b"}, "spec": {}})
    async with running(api, nodeipam.DESCRIPTOR, cluster_cidr="10.0.0.0/23,fd00::/48"):
        await clock.sleep(1)
        spec = api.object(NODES, "b")["spec"]
        assert spec == {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24", "fd00:0:0:1::/64"]}
        api.remove(NODES, "a")
        await clock.sleep(1)
        api.add(NODES, {"metadata": {"name": "c"}, "spec": {}})
        await clock.sleep(1)
        assert ranges(api)["c"] == "10.0.0.0/24"
        writes = len(api.writes())
        await clock.sleep(600)
        assert len(api.writes()) == writes


@pytest.mark.virtual
async def test_a_node_that_is_made_anew_before_its_range_was_written_wastes_none() -> None:
    api = FakeApi()
    api.fail("patch", NODES, times=1)
    api.add(NODES, {"metadata": {"name": "a"}, "spec": {}})
    async with running(api, nodeipam.DESCRIPTOR, cluster_cidr="10.0.0.0/24"):
        await clock.sleep(0.001)
        api.remove(NODES, "a")
        api.add(NODES, {"metadata": {"name": "a"}, "spec": {}})
        await clock.sleep(5)
        assert ranges(api) == {"a": "10.0.0.0/24"}


def test_mask_sizes_by_family_and_ranges_of_services() -> None:
    both = Ranges(
        NodeIpamSettings("10.0.0.0/16,fd00::/56", node_cidr_mask_size_ipv4=26, node_cidr_mask_size_ipv6=72)
    )
    assert both.allocate() == ["10.0.0.0/26", "fd00::/72"]
    kept = Ranges(NodeIpamSettings("10.0.0.0/16", service_cluster_ip_range="10.0.0.0/20,fd00::/108"))
    assert kept.allocate() == ["10.0.16.0/24"]
    assert Ranges(NodeIpamSettings("10.0.0.0/16", node_cidr_mask_size=20)).sets[0].size == 16


@pytest.mark.parametrize(
    "wrong",
    [
        NodeIpamSettings("10.0.0.0/16,10.1.0.0/16"),
        NodeIpamSettings("10.0.0.0/16,fd00::/48", node_cidr_mask_size=24),
        NodeIpamSettings(""),
    ],
)
def test_networks_that_contradict_each_other_are_refused(wrong: NodeIpamSettings) -> None:
    with pytest.raises(ConfigurationError, match=r"CIDR|cidr"):
        Ranges(wrong)


@given(st.lists(st.integers(0, 9)))
def test_no_range_is_given_twice(releases: list[int]) -> None:
    cidrs = CidrSet("10.0.0.0/21", 24)
    held: list[str] = []
    for release in releases:
        cidr = cidrs.allocate()
        assert (cidr is None) == (len(held) == 8)
        if cidr is not None:
            assert cidr not in held
            held.append(cidr)
        if release < len(held):
            cidrs.release(held.pop(release))


def test_a_larger_range_in_use_covers_its_parts() -> None:
    cidrs = CidrSet("10.0.0.0/22", 24)
    cidrs.occupy("10.0.0.0/23")
    cidrs.occupy("192.168.0.0/24")
    cidrs.occupy("no address")
    assert [cidrs.allocate() for _ in range(3)] == ["10.0.2.0/24", "10.0.3.0/24", None]


@pytest.mark.parametrize(("network", "prefix"), [("10.0.0.0/16", 8), ("10.0.0.0/99", 24), ("::/8", 64)])
def test_networks_that_cannot_work_are_refused(network: str, prefix: int) -> None:
    with pytest.raises(ConfigurationError, match="CIDR"):
        CidrSet(network, prefix)
