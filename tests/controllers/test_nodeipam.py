"""Every node gets a range of its own, and keeps it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllerbench import running
from coxswain.api.names import EVENTS, NODES
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError
from coxswain.controllers import nodeipam
from coxswain.controllers.nodeipam import CidrSet
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
    assert [event["reason"] for event in api.objects(EVENTS)] == ["CIDRNotAvailable"]


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
