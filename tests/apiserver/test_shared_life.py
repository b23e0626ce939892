"""Who says that it lives is listed, who stops saying so is not; and what a server does while etcd is away."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from apiserver.core_support import ADMIN, CONFIGMAPS, Cluster, cluster, configmap
from apiserver.shared_servers import config, etcd_store, two_clusters
from coxswain.api.errors import ApiError, ServiceUnavailable, Timeout
from coxswain.api.names import ENDPOINT_SLICES, ENDPOINTS, LEASES, NAMESPACES, SERVICES
from coxswain.apiserver.advertising import advertised
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.shared.identity import LABEL, NAMESPACE, IdentityLease
from coxswain.apiserver.shared.masterleases import INTERVAL, LIFETIME, PREFIX, LifeSigns, MasterLeases
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError
from coxswain.base.tasks import cancel_and_wait
from coxswain.store.interface import Entry
from store.etcd_server import needs_etcd, running

# -- life


def key(address: str, revision: int) -> Entry:
    return Entry(PREFIX + address, b"{}", 1, revision)


def test_who_writes_lives_and_who_does_not_is_dead_after_its_time() -> None:
    signs = LifeSigns(15.0)
    assert signs.judge([key("a", 1), key("b", 2)], 0.0) == ([key("a", 1), key("b", 2)], [])
    assert signs.judge([key("a", 5), key("b", 2)], 14.0) == ([key("a", 5), key("b", 2)], [])
    assert signs.judge([key("a", 9), key("b", 2)], 15.0) == ([key("a", 9)], [key("b", 2)])
    # Who comes back is seen anew, and so is who was not there for a while.
    assert signs.judge([key("a", 9), key("b", 12)], 16.0) == ([key("a", 9), key("b", 12)], [])
    assert signs.judge([key("b", 12)], 30.9) == ([key("b", 12)], [])
    assert signs.judge([key("a", 9), key("b", 12)], 31.0) == ([key("a", 9)], [key("b", 12)])


async def listed(running: Cluster) -> list[str]:
    """The addresses of the service ``kubernetes``, as both of its records have them."""
    endpoints = await running.do("get", ENDPOINTS, "kubernetes")
    piece = await running.do("get", ENDPOINT_SLICES, "kubernetes")
    addresses = [one["ip"] for subset in endpoints["subsets"] for one in subset["addresses"]]
    assert addresses == [one for each in piece["endpoints"] for one in each["addresses"]]
    assert endpoints["subsets"][0]["ports"][0]["port"] == piece["ports"][0]["port"]
    return addresses


def leases_of(running: Cluster, address: str, port: int = 6443) -> MasterLeases:
    return MasterLeases(running.core.storage.store, running.pipeline, ADMIN, address=address, port=port)


@pytest.mark.conformance(
    "[sig-network] API Server should have Endpoints and EndpointSlices pointing to API Server [Conformance]"
)
@pytest.mark.virtual
async def test_the_endpoints_of_kubernetes_are_the_servers_that_live() -> None:
    async with cluster() as one:
        a, b = leases_of(one, "10.0.0.1"), leases_of(one, "10.0.0.2")
        tasks = [asyncio.create_task(each.run()) for each in (a, b)]
        await clock.sleep(1)
        assert await listed(one) == ["10.0.0.1", "10.0.0.2"]
        written = (await one.do("get", ENDPOINTS, "kubernetes"))["metadata"]["resourceVersion"]
        await clock.sleep(300)
        assert (await one.do("get", ENDPOINTS, "kubernetes"))["metadata"]["resourceVersion"] == written
        # One dies without a word ...
        await cancel_and_wait(tasks[1])
        await clock.sleep(LIFETIME + 2 * INTERVAL)
        assert await listed(one) == ["10.0.0.1"]
        assert [entry.key for entry in (await one.core.storage.store.list(PREFIX)).entries] == [
            f"{PREFIX}10.0.0.1"
        ]
        # ... comes back, and then goes as it should.
        tasks[1] = asyncio.create_task(b.run())
        await clock.sleep(1)
        assert await listed(one) == ["10.0.0.1", "10.0.0.2"]
        await cancel_and_wait(tasks[1])
        await b.leave()
        assert await listed(one) == ["10.0.0.1"]
        await cancel_and_wait(tasks[0])


@pytest.mark.virtual
async def test_servers_that_were_told_different_ports_do_not_quarrel() -> None:
    async with cluster() as one:
        tasks = [asyncio.create_task(leases_of(one, f"10.0.0.{n}", 6440 + n).run()) for n in (1, 2)]
        await clock.sleep(5)
        before = await one.do("get", ENDPOINTS, "kubernetes")
        await clock.sleep(60)
        assert await one.do("get", ENDPOINTS, "kubernetes") == before
        for task in tasks:
            await cancel_and_wait(task)


@pytest.mark.virtual
async def test_each_server_has_a_lease_and_those_of_the_dead_go() -> None:
    async with cluster() as one:
        await one.do("create", NAMESPACES, body={"metadata": {"name": NAMESPACE}})
        servers = [IdentityLease(one.pipeline, ADMIN, "host", port) for port in (6443, 6444)]
        tasks = [asyncio.create_task(server.run()) for server in servers]
        await clock.sleep(25)
        found = (await one.do("list", LEASES, namespace=NAMESPACE))["items"]
        assert {lease["metadata"]["name"] for lease in found} == {server.name for server in servers}
        assert all(lease["metadata"]["labels"][LABEL] == "kube-apiserver" for lease in found)
        assert all(clock.parse_time(lease["spec"]["renewTime"]) > clock.now() - 11 for lease in found)
        await cancel_and_wait(tasks[1])
        await clock.sleep(3700)
        assert len((await one.do("list", LEASES, namespace=NAMESPACE))["items"]) == 2
        await clock.sleep(3700)
        left = (await one.do("list", LEASES, namespace=NAMESPACE))["items"]
        assert [lease["metadata"]["name"] for lease in left] == [servers[0].name]
        await cancel_and_wait(tasks[0])


def test_what_is_advertised_can_be_reached() -> None:
    assert advertised("127.0.0.1") == "127.0.0.1"
    assert advertised("127.0.0.1", "10.1.2.3") == "10.1.2.3"
    assert advertised("0.0.0.0", "fd00::1") == "fd00::1"
    assert advertised("0.0.0.0") not in ("0.0.0.0", "")
    assert advertised("localhost") == "127.0.0.1"
    for wrong in ("no address", "0.0.0.0", "::"):
        with pytest.raises(ConfigurationError, match="advertise-address"):
            advertised("127.0.0.1", wrong)


# -- etcd away


async def outcome(server: Cluster, name: str) -> dict[str, object] | ApiError:
    try:
        return await server.do("create", CONFIGMAPS, body=configmap(name))
    except ApiError as error:
        return error


async def until_created(server: Cluster, name: str) -> None:
    async with asyncio.timeout(20):
        while True:
            made = await outcome(server, name)
            if isinstance(made, dict):
                return
            assert isinstance(made, ServiceUnavailable | Timeout), made
            await asyncio.sleep(0.05)


@needs_etcd
async def test_servers_say_that_etcd_is_away_and_go_on_when_it_is_back(tmp_path: Path) -> None:
    with running() as etcd:
        async with two_clusters(etcd, tmp_path) as servers:
            await servers[0].do("create", CONFIGMAPS, body=configmap("before"))
            await servers[1].do("get", CONFIGMAPS, "before")
            etcd.stop()
            for server in servers:
                # The first one may have been on its way when the connection broke.
                failed = [await outcome(server, f"during{number}") for number in range(2)][-1]
                assert isinstance(failed, ServiceUnavailable)
                assert failed.retry_after
                for verb, name in (("get", "before"), ("list", "")):
                    with pytest.raises(ServiceUnavailable, match="does not answer"):
                        await server.do(verb, CONFIGMAPS, name)
                # Who takes what the cache has is served all the same.
                assert await server.do("get", CONFIGMAPS, "before", resourceVersion="0")
            etcd.start()
            for number, server in enumerate(servers):
                await until_created(server, f"after{number}")
            names = {item["metadata"]["name"] for item in (await servers[0].do("list", CONFIGMAPS))["items"]}
            assert {"before", "after0", "after1"} <= names


@asynccontextmanager
async def one_server(directory: Path, url_of: object) -> AsyncIterator[ApiServer]:
    server = ApiServer(url_of)  # type: ignore[arg-type]
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@needs_etcd
async def test_health_says_that_etcd_hangs(tmp_path: Path) -> None:
    with running() as etcd:
        async with one_server(tmp_path, config(etcd, tmp_path / "one", "/h")) as server:
            health = server._health()

            async def until(path: str, code: int) -> str:
                async with asyncio.timeout(20):
                    while True:
                        answer = health.answer(path, {})
                        assert answer is not None
                        if answer.code == code:
                            return answer.text
                        await asyncio.sleep(0.05)

            await until("/readyz", 200)
            etcd.signal(signal.SIGSTOP)
            for path in ("/readyz", "/healthz"):
                assert "[-]etcd failed" in await until(path, 500)
            etcd.signal(signal.SIGCONT)
            await until("/healthz", 200)
            await until_created(Cluster(server.pipeline), "after")


@needs_etcd
async def test_what_etcd_finds_too_large_is_refused_as_such(tmp_path: Path) -> None:
    with running(["--max-request-bytes=100000"]) as etcd:
        async with two_clusters(etcd, tmp_path) as (one, two):
            large = await one.call("create", CONFIGMAPS, body=configmap("c", a="x" * 200_000))
            assert large.code == 413
            service = {
                "metadata": {"name": "s", "annotations": {"a": "x" * 200_000}},
                "spec": {"ports": [{"port": 1}]},
            }
            assert (await two.call("create", SERVICES, body=service)).code == 413
            # It is not taken for an etcd that fails. (A busy machine may be late to answer the store's own question.)
            async with asyncio.timeout(20):
                while etcd_store(one).problem:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert (await one.call("create", CONFIGMAPS, body=configmap("small"))).code == 201


@needs_etcd
async def test_a_full_etcd_refuses_writes_in_words_and_takes_deletions(tmp_path: Path) -> None:
    with running(["--quota-backend-bytes=2500000"]) as etcd:
        async with two_clusters(etcd, tmp_path) as (one, two):
            made: list[str] = []
            for number in range(50):
                answer = await one.call("create", CONFIGMAPS, body=configmap(f"c{number}", a="x" * 200_000))
                if answer.code != 201:
                    break
                made.append(f"c{number}")
            assert answer.code == 507
            assert b"no space is left in the store" in answer.body
            listed = (await two.do("list", CONFIGMAPS))["items"]
            assert sorted(item["metadata"]["name"] for item in listed) == sorted(made)
            await two.do("delete", CONFIGMAPS, made[0])
