"""Services on a cluster with two families: which they get, how they gain and give up the second one."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from apiserver.core_support import ADMIN, Cluster, cluster
from apiserver.dict_lookup import DictLookup
from coxswain.api.names import IP_ADDRESSES, SERVICE_CIDRS, SERVICES, Object
from coxswain.apiserver import bootstrap
from coxswain.apiserver.allocators import MISMATCH, ServiceAllocator
from coxswain.apiserver.bootstrap import BootstrapConfig
from coxswain.apiserver.service_ranges import networks
from coxswain.apiserver.service_repair import ServiceRepair, examine
from coxswain.base.errors import ConfigurationError
from coxswain.client.interface import Call

RANGES = "10.96.0.0/16,fd00:10:96::/112"
NET4, NET6 = networks(RANGES)
MULTIPLE = "Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"


@asynccontextmanager
async def dual() -> AsyncIterator[Cluster]:
    async with cluster() as made:
        made.core.allocator = ServiceAllocator(made.core.registry.lookup, RANGES)
        yield made


async def create(c: Cluster, name: str = "s", **spec: Any) -> Object:
    body = {"metadata": {"name": name}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}], **spec}}
    return await c.do("create", SERVICES, body=body)


async def refused(c: Cluster, verb: str, body: Object, name: str = "") -> list[tuple[str, str]]:
    answer = await c.pipeline.call(Call(verb, SERVICES, "default", name, body=orjson.dumps(body)), ADMIN)
    status = orjson.loads(answer.body)
    assert answer.code == 422, status
    return [(cause["field"], cause["message"]) for cause in status["details"]["causes"]]


def families_of(addresses: list[str]) -> list[str]:
    for each in addresses:
        parsed = ipaddress.ip_address(each)
        assert parsed in (NET4 if parsed.version == 4 else NET6)
    return [f"IPv{ipaddress.ip_address(each).version}" for each in addresses]


@pytest.mark.parametrize(
    ("spec", "policy", "families"),
    [
        ({}, "SingleStack", ["IPv4"]),
        ({"ipFamilies": ["IPv6"]}, "SingleStack", ["IPv6"]),
        ({"ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", ["IPv4", "IPv6"]),
        ({"ipFamilyPolicy": "RequireDualStack"}, "RequireDualStack", ["IPv4", "IPv6"]),
        (
            {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6"]},
            "PreferDualStack",
            ["IPv6", "IPv4"],
        ),
        (
            {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"]},
            "RequireDualStack",
            ["IPv6", "IPv4"],
        ),
        ({"type": "NodePort", "ipFamilies": ["IPv6"]}, "SingleStack", ["IPv6"]),
    ],
)
async def test_families_follow_from_what_is_asked_for(spec: Object, policy: str, families: list[str]) -> None:
    async with dual() as c:
        made = (await create(c, **spec))["spec"]
        assert (made["ipFamilyPolicy"], made["ipFamilies"]) == (policy, families)
        assert families_of(made["clusterIPs"]) == families
        assert made["clusterIP"] == made["clusterIPs"][0]


async def test_families_are_inferred_from_addresses() -> None:
    async with dual() as c:
        one = (await create(c, "one", clusterIP="fd00:10:96::9"))["spec"]
        assert (one["ipFamilies"], one["clusterIPs"]) == (["IPv6"], ["fd00:10:96::9"])
        both = ["10.96.0.7", "fd00:10:96::7"]
        two = await create(c, "two", clusterIP=both[0], clusterIPs=both, ipFamilyPolicy="PreferDualStack")
        assert (two["spec"]["ipFamilies"], two["spec"]["clusterIPs"]) == (["IPv4", "IPv6"], both)
        half = await create(c, "half", clusterIP="fd00:10:96::8", ipFamilyPolicy="RequireDualStack")
        assert half["spec"]["ipFamilies"] == ["IPv6", "IPv4"]
        assert families_of(half["spec"]["clusterIPs"]) == ["IPv6", "IPv4"]


@pytest.mark.parametrize(
    ("spec", "policy", "families"),
    [
        ({}, "SingleStack", ["IPv4"]),
        ({"ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", ["IPv4", "IPv6"]),
        ({"selector": None}, "RequireDualStack", ["IPv4", "IPv6"]),
        ({"selector": None, "ipFamilies": ["IPv6"]}, "RequireDualStack", ["IPv6", "IPv4"]),
        ({"selector": None, "ipFamilyPolicy": "SingleStack"}, "SingleStack", ["IPv4"]),
    ],
)
async def test_headless_services_have_families_and_no_addresses(
    spec: Object, policy: str, families: list[str]
) -> None:
    async with dual() as c:
        made = (await create(c, clusterIP="None", **spec))["spec"]
        assert (made["ipFamilyPolicy"], made["ipFamilies"]) == (policy, families)
        assert made["clusterIPs"] == ["None"]


async def test_an_external_name_has_neither() -> None:
    async with dual() as c:
        made = (await create(c, type="ExternalName", externalName="a.b"))["spec"]
        assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & set(made)
        made["type"], made["ipFamilyPolicy"] = "ClusterIP", "RequireDualStack"
        del made["externalName"]
        turned = (await c.do("update", SERVICES, "s", body={"metadata": {"name": "s"}, "spec": made}))["spec"]
        assert families_of(turned["clusterIPs"]) == turned["ipFamilies"] == ["IPv4", "IPv6"]
        turned = {"type": "ExternalName", "externalName": "a.b", "ports": turned["ports"]}
        back = await c.do("update", SERVICES, "s", body={"metadata": {"name": "s"}, "spec": turned})
        assert "clusterIPs" not in back["spec"]


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        (
            {"ipFamilies": ["IPv4", "IPv6"]},
            [("spec.ipFamilyPolicy", MULTIPLE.format("IP families"))],
        ),
        (
            {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00:10:96::7"]},
            [("spec.ipFamilyPolicy", MULTIPLE.format("cluster IPs"))],
        ),
        (
            {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "10.96.0.8"]},
            [
                (
                    "spec.clusterIPs",
                    'Invalid value: ["10.96.0.7","10.96.0.8"]: may specify no more than one IP for each IP family',
                )
            ],
        ),
        (
            {"clusterIPs": ["10.96.0.7"]},
            [
                (
                    "spec.clusterIPs",
                    'Invalid value: ["10.96.0.7"]: must be empty when `clusterIP` is not specified',
                )
            ],
        ),
        (
            {"clusterIP": "fd00:10:97::7", "ipFamilyPolicy": "PreferDualStack"},
            [
                (
                    "spec.clusterIPs",
                    'Invalid value: ["fd00:10:97::7",""]: failed to allocate IP fd00:10:97::7: ' + MISMATCH,
                )
            ],
        ),
        (
            {"clusterIP": "10.96.0.7", "ipFamilies": ["IPv6"]},
            [
                (
                    "spec.clusterIPs[0]",
                    'Invalid value: "10.96.0.7": expected an IPv6 value as indicated by `ipFamilies[0]`',
                )
            ],
        ),
    ],
)
async def test_contradictions_are_refused(spec: Object, causes: list[tuple[str, str]]) -> None:
    async with dual() as c:
        body = {"metadata": {"name": "s"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}], **spec}}
        assert await refused(c, "create", body) == causes


async def test_a_service_gains_a_second_address_and_gives_it_up() -> None:
    async with dual() as c:
        made = await create(c)
        first = made["spec"]["clusterIP"]
        made["spec"]["ipFamilyPolicy"] = "PreferDualStack"
        both = await c.do("update", SERVICES, "s", body=made)
        assert families_of(both["spec"]["clusterIPs"]) == both["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
        assert both["spec"]["clusterIPs"][0] == first
        second = both["spec"]["clusterIPs"][1]
        taken = {
            "metadata": {"name": "t"},
            "spec": {"selector": {"a": "b"}, "ports": [{"port": 1}], "clusterIP": second},
        }
        assert "already allocated" in (await refused(c, "create", taken))[0][1]
        both["spec"]["ipFamilyPolicy"] = "SingleStack"
        single = (await c.do("update", SERVICES, "s", body=both))["spec"]
        assert (single["clusterIPs"], single["ipFamilies"]) == ([first], ["IPv4"])
        assert (await c.do("create", SERVICES, body=taken))["spec"]["clusterIP"] == second


async def test_the_second_address_may_be_named() -> None:
    async with dual() as c:
        made = await create(c)
        spec = made["spec"]
        spec["ipFamilyPolicy"], spec["clusterIPs"] = "RequireDualStack", [spec["clusterIP"], "fd00:10:96::77"]
        both = await c.do("update", SERVICES, "s", body=made)
        assert both["spec"]["clusterIPs"] == [spec["clusterIP"], "fd00:10:96::77"]
        assert both["spec"]["ipFamilies"] == ["IPv4", "IPv6"]


async def test_a_second_address_is_only_given_up_by_saying_so() -> None:
    async with dual() as c:
        made = await create(c, ipFamilyPolicy="RequireDualStack")
        spec = made["spec"]
        less = {**made, "spec": {**spec, "clusterIPs": spec["clusterIPs"][:1]}}
        why = "Invalid value: \"RequireDualStack\": must be 'SingleStack' to release the secondary cluster IP"
        assert await refused(c, "update", less, "s") == [("spec.ipFamilyPolicy", why)]
        less = {**made, "spec": {**spec, "ipFamilies": ["IPv4"]}}
        why = why.replace("cluster IP", "IP family")
        assert await refused(c, "update", less, "s") == [("spec.ipFamilyPolicy", why)]
        swapped = {**made, "spec": {**spec, "ipFamilies": ["IPv6", "IPv4"]}}
        assert (await refused(c, "update", swapped, "s"))[0][0] == "spec.clusterIPs[0]"


async def test_an_update_that_says_nothing_changes_nothing() -> None:
    async with dual() as c:
        made = await create(c, ipFamilyPolicy="PreferDualStack", ipFamilies=["IPv6"])
        body = {"metadata": {"name": "s"}, "spec": {"selector": {"a": "c"}, "ports": [{"port": 80}]}}
        kept = await c.do("update", SERVICES, "s", body=body)
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            assert kept["spec"][field] == made["spec"][field]


async def test_a_cluster_that_becomes_dual_leaves_its_services_alone() -> None:
    async with dual() as c:
        c.core.allocator = ServiceAllocator(c.core.registry.lookup, "10.96.0.0/16")
        made = await create(c, ipFamilyPolicy="PreferDualStack")
        assert made["spec"]["ipFamilies"] == ["IPv4"]
        c.core.allocator = ServiceAllocator(c.core.registry.lookup, RANGES)
        made["spec"]["selector"] = {"a": "c"}
        made = await c.do("update", SERVICES, "s", body=made)
        assert made["spec"]["ipFamilies"] == ["IPv4"]
        made["spec"]["ipFamilyPolicy"] = "RequireDualStack"
        made = await c.do("update", SERVICES, "s", body=made)
        assert families_of(made["spec"]["clusterIPs"]) == ["IPv4", "IPv6"]


async def test_a_changed_address_is_refused_as_a_change() -> None:
    async with dual() as c:
        made = await create(c, clusterIP="10.96.0.7")
        made["spec"] |= {"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8"]}
        assert await refused(c, "update", made, "s") == [
            ("spec.clusterIPs[0]", 'Invalid value: ["10.96.0.8"]: may not change once set')
        ]
        # What was refused holds nothing.
        await create(c, "t", clusterIP="10.96.0.8")


async def test_a_deleted_service_gives_both_back() -> None:
    async with dual() as c:
        both = ["10.96.0.7", "fd00:10:96::7"]
        for name in ("s", "t"):
            await create(c, name, clusterIP=both[0], clusterIPs=both, ipFamilyPolicy="RequireDualStack")
            await c.do("delete", SERVICES, name)


async def test_records_are_kept_of_both_families() -> None:
    async with dual() as c:
        made = await create(c, clusterIP="FD00:10:96::7", ipFamilyPolicy="RequireDualStack")
        allocator = c.core.allocator
        assert isinstance(allocator, ServiceAllocator)
        repair = ServiceRepair(c.pipeline, c.core.registry.lookup, allocator, ADMIN)
        await repair.repair()
        found = await c.do("list", IP_ADDRESSES, namespace="")
        labels = {
            each["metadata"]["name"]: each["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"]
            for each in found["items"]
        }
        assert labels == {"fd00:10:96::7": "IPv6", made["spec"]["clusterIPs"][1]: "IPv4"}
        again = await repair.repair()
        assert not again.missing and not again.orphaned


def test_records_of_a_family_given_up_go() -> None:
    service = {"metadata": {"name": "s", "namespace": "n"}, "spec": {"clusterIPs": ["10.96.0.7"]}}
    records = [
        {
            "metadata": {
                "name": address,
                "uid": "u",
                "labels": {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"},
            },
            "spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}},
        }
        for address in ("10.96.0.7", "fd00:10:96::7")
    ]
    found = examine([service], records)
    assert (found.orphaned, found.missing) == ([("fd00:10:96::7", "u")], [])


def test_each_family_has_its_own_further_ranges() -> None:
    lookup = DictLookup()
    allocator = ServiceAllocator(lookup, "10.96.0.0/30,fd00::/126")
    lookup.put(SERVICE_CIDRS, "more", spec={"cidrs": ["10.97.0.0/28", "fd01::/112"]})
    given = []
    for number in range(4):
        made: Object = {
            "metadata": {"name": f"s{number}", "namespace": "n"},
            "spec": {"type": "ClusterIP", "selector": {"a": "b"}, "ipFamilyPolicy": "RequireDualStack"},
        }
        allocator.assign(made).commit()
        lookup.put(SERVICES, made["metadata"]["name"], "n", spec=made["spec"])
        given.append(made["spec"]["clusterIPs"])
    assert len({address for pair in given for address in pair}) == 8
    assert sum(pair[0].startswith("10.97.") for pair in given) == 2
    assert sum(pair[1].startswith("fd01::") for pair in given) == 1
    assert allocator.repair() == (0, 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.96.0.0/16,10.97.0.0/16", "two networks of one family"),
        ("10.96.0.0/16,fd00::/112,fd01::/112", "more than two networks"),
        ("fd00::/48", "for 128-bit addresses, the mask must be >= 64"),
        ("10.96.0.0/16,", "'' is not a network"),
    ],
)
def test_networks_that_cannot_be_served_are_refused_at_the_start(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        networks(text)


def test_the_first_objects_tell_of_both_networks() -> None:
    made = {item.name: item.object for item in bootstrap.items(BootstrapConfig(service_cidr=RANGES))}
    cidr = {
        each.name: each.object
        for each in bootstrap.items(BootstrapConfig(RANGES))
        if each.resource == SERVICE_CIDRS
    }["kubernetes"]
    assert cidr["spec"]["cidrs"] == ["10.96.0.0/16", "fd00:10:96::/112"]
    assert made["kubernetes"]["spec"]["ipFamilies"] == ["IPv4"]
    old = {**cidr, "spec": {"cidrs": ["10.96.0.0/16"]}}
    grown = bootstrap.reconcile(old, cidr)
    assert grown is not None and grown["spec"] == cidr["spec"]
    assert bootstrap.reconcile(cidr, cidr) is None
    assert bootstrap.reconcile({**cidr, "spec": {"cidrs": ["10.0.0.0/8"]}}, cidr) is None


def test_the_default_family_is_that_of_the_first_network() -> None:
    allocator = ServiceAllocator(DictLookup(), "fd00:10:96::/112,10.96.0.0/16")
    assert allocator.api_server_address == "fd00:10:96::1"
    made: Object = {"metadata": {"name": "s"}, "spec": {"type": "ClusterIP", "selector": {"a": "b"}}}
    allocator.assign(made).commit()
    assert made["spec"]["ipFamilies"] == ["IPv6"]
