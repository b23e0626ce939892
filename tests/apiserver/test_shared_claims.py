"""Addresses and node ports of services are given out once, whichever server gives them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.core_support import Cluster
from apiserver.shared_servers import etcd_store, two_clusters
from coxswain.api.errors import ApiError, InternalError, Invalid, RequestTooLarge
from coxswain.api.names import IP_ADDRESSES, SERVICES, Object
from coxswain.apiserver.shared.service_claims import PORTS, Claims
from coxswain.apiserver.shared.storage import SharedStorage
from coxswain.store.interface import ABSENT, ANY, Op
from store.etcd_server import Etcd, needs_etcd, running


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with running() as server:
        yield server


def service(name: str, **spec: Any) -> Object:
    ports = [{"port": 80}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": ports, **spec},
    }


async def create(server: Cluster, name: str, **spec: Any) -> Object | ApiError:
    try:
        return await server.do("create", SERVICES, body=service(name, **spec))
    except ApiError as error:
        return error


async def claimed(server: Cluster) -> set[str]:
    """The addresses and ports that are claimed in the store."""
    await server.core.storage.catch_up()
    records = {record["metadata"]["name"] for record in server.core.registry.lookup.list(IP_ADDRESSES)}
    ports = await etcd_store(server).list(PORTS)
    return records | {entry.key[len(PORTS) :] for entry in ports.entries}


async def in_use(server: Cluster) -> set[str]:
    """The addresses and ports that services have."""
    found: set[str] = set()
    for item in (await server.do("list", SERVICES, namespace=""))["items"]:
        found |= {address for address in item["spec"].get("clusterIPs") or () if address != "None"}
        found |= {str(port["nodePort"]) for port in item["spec"].get("ports") or () if port.get("nodePort")}
        if item["spec"].get("healthCheckNodePort"):
            found.add(str(item["spec"]["healthCheckNodePort"]))
    return found


@needs_etcd
async def test_two_servers_never_give_out_the_same_address(etcd: Etcd, tmp_path: Path) -> None:
    # 14 addresses, of which the service kubernetes has the first: both servers choose from 13.
    async with two_clusters(etcd, tmp_path, service_cidr="10.96.0.0/28") as servers:
        for turn in range(3):
            made = await asyncio.gather(*(create(servers[n % 2], f"s{n}") for n in range(13)))
            assert [error for error in made if isinstance(error, ApiError)] == []
            addresses = [one["spec"]["clusterIP"] for one in made if isinstance(one, dict)]
            assert sorted(addresses) == sorted(f"10.96.0.{n}" for n in range(2, 15))
            assert isinstance(await create(servers[turn % 2], "more"), InternalError)
            assert await claimed(servers[0]) == await in_use(servers[1])
            # What is given back at one server can be had at the other.
            await asyncio.gather(*(servers[(n + 1) % 2].do("delete", SERVICES, f"s{n}") for n in range(13)))
            assert await claimed(servers[1]) == {"10.96.0.1"}


@needs_etcd
async def test_two_servers_never_give_out_the_same_node_port(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path, node_port_range="30000-30019") as servers:
        made = await asyncio.gather(*(create(servers[n % 2], f"s{n}", type="NodePort") for n in range(20)))
        assert [error for error in made if isinstance(error, ApiError)] == []
        ports = [one["spec"]["ports"][0]["nodePort"] for one in made if isinstance(one, dict)]
        assert sorted(ports) == list(range(30000, 30020))
        assert await claimed(servers[0]) == await in_use(servers[1])
        # A type that needs no port gives it back, and the address of an ExternalName, too.
        for number, kind in enumerate(("ClusterIP", "ExternalName")):
            body = {"spec": {"type": kind, "externalName": "example.org" if number else None}}
            merge = "application/merge-patch+json"
            await servers[number].do("patch", SERVICES, f"s{number}", body, content_type=merge)
        assert await claimed(servers[1]) == await in_use(servers[0])
        free = await create(servers[1], "again", type="NodePort")
        assert isinstance(free, dict)


@needs_etcd
async def test_an_address_and_a_port_that_are_asked_for_are_had_once(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path) as servers:
        wanted = {"clusterIP": "10.96.0.77"}
        made = await asyncio.gather(*(create(servers[n % 2], f"a{n}", **wanted) for n in range(8)))
        assert [type(one) for one in made].count(dict) == 1
        refused = [one for one in made if isinstance(one, Invalid)]
        assert len(refused) == 7
        assert all("provided IP is already allocated" in one.message for one in refused)
        port = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30077}]}
        made = await asyncio.gather(*(create(servers[n % 2], f"p{n}", **port) for n in range(8)))
        assert [type(one) for one in made].count(dict) == 1
        assert all("already allocated" in one.message for one in made if isinstance(one, ApiError))
        # A refused one leaves nothing behind, and a dry run neither.
        dry = service("dry", type="NodePort")
        await servers[0].do("create", SERVICES, body=dry, dryRun="All")
        assert await claimed(servers[0]) == await in_use(servers[1])


@needs_etcd
async def test_the_record_of_an_address_is_as_kubernetes_writes_it(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path) as (one, two):
        made = await one.do("create", SERVICES, body=service("s"))
        record = await two.do("get", IP_ADDRESSES, made["spec"]["clusterIP"], namespace="")
        assert record["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        assert record["metadata"]["uid"]
        assert record["metadata"]["creationTimestamp"]
        assert record["spec"] == {"parentRef": {"resource": "services", "namespace": "default", "name": "s"}}


@needs_etcd
async def test_a_service_with_more_ports_than_one_commit_takes_is_refused(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path) as (one, two):
        ports = [{"name": f"p{number}", "port": number + 1} for number in range(130)]
        assert isinstance(await create(one, "wide", ports=ports), dict)
        refused = await create(one, "wider", type="NodePort", ports=ports)
        assert isinstance(refused, RequestTooLarge)
        assert isinstance(await create(two, "most", type="NodePort", ports=ports[:126]), dict)
        assert await claimed(one) == await in_use(two)


@needs_etcd
async def test_a_claim_that_no_service_has_is_taken_back(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path, node_port_range="30000-30001") as (one, two):
        for number in range(2):
            await one.do("create", SERVICES, body=service(f"s{number}", type="NodePort"))
        # Somebody takes a service out of etcd by hand.
        await etcd_store(two).commit([Op("/registry/services/specs/default/s0", None)])
        assert isinstance(one.core.storage, SharedStorage)
        assert [await one.core.storage.mend_claims() for _ in range(2)] == [1, 0]
        assert isinstance(await create(two, "again", type="NodePort"), dict)
        ports = {entry.key for entry in (await etcd_store(one).list(PORTS)).entries}
        assert ports == {f"{PORTS}30000", f"{PORTS}30001"}


_SPEC = st.fixed_dictionaries(
    {
        "clusterIPs": st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"]), max_size=2, unique=True),
        "ports": st.lists(
            st.fixed_dictionaries({"port": st.just(80)}, optional={"nodePort": st.integers(30000, 30003)}),
            max_size=3,
        ),
    },
    optional={"healthCheckNodePort": st.integers(30000, 30003)},
)


@given(st.lists(st.one_of(st.none(), _SPEC), max_size=8))
def test_claims_are_always_what_the_service_has(states: list[Object | None]) -> None:
    claims, held, before = Claims(), set[str](), None
    for spec in [*states, None]:
        now = None if spec is None else {"metadata": {"name": "s", "namespace": "n"}, "spec": spec}
        value = None if now is None else orjson.dumps(now)
        for op in claims.beside(Op(f"{claims.services}n/s", value, ANY), before):
            assert op.expect == (ABSENT if op.value is not None else ANY)
            assert (op.key in held) == (op.value is None)
            held ^= {op.key}
        wanted = set(claims._keys(now)) if now is not None else set()
        assert held == wanted
        before = now
    assert not held
