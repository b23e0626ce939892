"""Two API servers that share nothing but etcd act as one."""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pytest

from apiserver.core_support import ADMIN, CONFIGMAPS, Cluster, configmap, labelled
from apiserver.shared_servers import etcd_store, two_clusters, two_servers
from coxswain.api.errors import AlreadyExists, Conflict, Expired, NotFound
from coxswain.api.names import (
    CLUSTER_ROLES,
    CUSTOM_RESOURCE_DEFINITIONS,
    EVENTS,
    GVR,
    NAMESPACES,
    SECRETS,
    SERVICE_ACCOUNTS,
    Object,
)
from coxswain.apiserver import bootstrap
from coxswain.apiserver.expiry import Expiry
from coxswain.apiserver.pki import Pki
from coxswain.client.client import ApiClient
from coxswain.client.inprocess import InProcessTransport
from coxswain.client.interface import Call, WatchEvent
from coxswain.client.leaderelection import ElectionSettings, LeaderElector
from store.etcd_server import Etcd, needs_etcd, running

pytestmark = needs_etcd
QUOTAS = GVR("", "v1", "resourcequotas")
TOKEN_REVIEWS = GVR("authentication.k8s.io", "v1", "tokenreviews")


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with running() as server:
        yield server


async def test_what_one_server_acknowledged_the_other_shows(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path) as (one, two):
        for number in range(20):
            name = f"c{number}"
            made = await one.do("create", CONFIGMAPS, body=configmap(name, a="1"))
            seen = await two.do("get", CONFIGMAPS, name)
            assert seen == made
            seen["data"]["a"] = "2"
            changed = await two.do("update", CONFIGMAPS, name, seen)
            assert await one.do("get", CONFIGMAPS, name) == changed
            listed = (await one.do("list", CONFIGMAPS))["items"]
            assert [item["data"]["a"] for item in listed if item["metadata"]["name"] == name] == ["2"]
            await one.do("delete", CONFIGMAPS, name)
            with pytest.raises(NotFound):
                await two.do("get", CONFIGMAPS, name)
            # Gone for the other one, too: the name is free.
            await two.do("create", CONFIGMAPS, body=configmap(name, a="3"))


async def test_a_namespace_of_one_server_can_be_used_at_the_other_at_once(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path) as (one, two):
        for number in range(20):
            name = f"n{number}"
            await one.do("create", NAMESPACES, body={"metadata": {"name": name}})
            await two.do("create", CONFIGMAPS, body=configmap("c"), namespace=name)


async def test_resource_versions_never_go_back_for_a_client_that_changes_servers(
    etcd: Etcd, tmp_path: Path
) -> None:
    async with two_clusters(etcd, tmp_path) as servers:
        chance, newest = random.Random(1), 0
        for number in range(60):
            server = chance.choice(servers)
            if chance.random() < 0.4:
                await server.do("create", CONFIGMAPS, body=configmap(f"c{number}"))
            revision = int(
                (await chance.choice(servers).do("list", CONFIGMAPS))["metadata"]["resourceVersion"]
            )
            assert revision >= newest
            newest = revision
            # The newest of one is understood by the other, which waits for it.
            found = await server.do("list", CONFIGMAPS, resourceVersion=str(newest))
            assert int(found["metadata"]["resourceVersion"]) >= newest


async def test_an_update_of_what_the_other_server_changed_is_a_conflict(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path) as (one, two):
        made = await one.do("create", CONFIGMAPS, body=configmap("c", a="1"))
        await two.do("update", CONFIGMAPS, "c", {**made, "data": {"a": "2"}})
        with pytest.raises(Conflict):
            await one.do("update", CONFIGMAPS, "c", {**made, "data": {"a": "3"}})
        assert (await one.do("get", CONFIGMAPS, "c"))["data"] == {"a": "2"}


async def test_of_two_creations_of_one_name_one_succeeds(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path) as servers:
        for number in range(10):
            body = configmap(f"c{number}")
            outcomes = await asyncio.gather(
                *(server.do("create", CONFIGMAPS, body=body) for server in servers), return_exceptions=True
            )
            assert sorted(type(outcome) for outcome in outcomes if not isinstance(outcome, dict)) == [
                AlreadyExists
            ]


async def test_patches_through_both_servers_are_all_kept(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path) as servers:
        await servers[0].do("create", CONFIGMAPS, body=configmap("c"))

        async def patch(number: int) -> None:
            body = {"data": {f"k{number}": "v"}}
            kind = "application/merge-patch+json"
            await servers[number % 2].do("patch", CONFIGMAPS, "c", body, content_type=kind)

        await asyncio.gather(*(patch(number) for number in range(40)))
        assert len((await servers[0].do("get", CONFIGMAPS, "c"))["data"]) == 40


async def test_applies_of_one_new_object_through_both_servers_merge(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path) as servers:
        for number in range(10):
            name = f"c{number}"
            for turn, server in enumerate(servers):
                await server.do(
                    "patch",
                    CONFIGMAPS,
                    name,
                    labelled(name, **{f"by{turn}": "x"}),
                    content_type="application/apply-patch+yaml",
                    fieldManager=f"m{turn}",
                )
            found = await servers[0].do("get", CONFIGMAPS, name)
            assert found["metadata"]["labels"] == {"by0": "x", "by1": "x"}


# -- watches


async def events(server: Cluster, count: int, **query: str) -> list[WatchEvent]:
    """The next ``count`` events of a watch of the ConfigMaps."""
    seen: list[WatchEvent] = []
    async with server.pipeline.watch_events(
        Call("watch", CONFIGMAPS, "default", query=query), ADMIN
    ) as watch:
        async with asyncio.timeout(10):
            while len(seen) < count:
                seen += await watch.__anext__()
    return seen


def told(seen: Sequence[WatchEvent]) -> list[tuple[str, str, int]]:
    found = []
    for event in seen:
        metadata = orjson.loads(event.raw)["metadata"]
        found.append((event.type, metadata["name"], int(metadata["resourceVersion"])))
    return found


async def test_a_watch_at_either_server_tells_what_happens_at_both(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path) as servers:
        start = (await servers[0].do("list", CONFIGMAPS))["metadata"]["resourceVersion"]
        watches = [asyncio.create_task(events(server, 40, resourceVersion=start)) for server in servers]
        await asyncio.gather(
            *(
                servers[number % 2].do("create", CONFIGMAPS, body=configmap(f"c{number}"))
                for number in range(40)
            )
        )
        first, second = [told(await watch) for watch in watches]
        assert first == second
        revisions = [revision for _, _, revision in first]
        assert revisions == sorted(set(revisions))
        # Who has read half at one server goes on at the other, without gap and without repetition.
        rest = told(await events(servers[1], 20, resourceVersion=str(revisions[19])))
        assert rest == first[20:]


async def test_compaction_of_what_a_client_still_reads_is_410_and_it_lists_again(
    etcd: Etcd, tmp_path: Path
) -> None:
    async with two_clusters(etcd, tmp_path) as (one, two):
        for number in range(6):
            await one.do("create", CONFIGMAPS, body=configmap(f"c{number}"))
        first = await one.do("list", CONFIGMAPS, limit="2")
        token = first["metadata"]["continue"]
        again = await two.do("list", CONFIGMAPS, limit="2", **{"continue": token})
        assert [item["metadata"]["name"] for item in again["items"]] == ["c2", "c3"]
        await two.do("create", CONFIGMAPS, body=configmap("c9"))
        await etcd_store(two).compact(await etcd_store(two).newest())
        with pytest.raises(Expired):
            await one.do("list", CONFIGMAPS, limit="2", **{"continue": token})


async def test_a_server_that_missed_what_was_compacted_loads_everything_and_has_clients_list_again(
    etcd: Etcd, tmp_path: Path
) -> None:
    async with two_clusters(etcd, tmp_path) as (one, two):
        made = await one.do("create", CONFIGMAPS, body=configmap("before"))
        call = Call("watch", CONFIGMAPS, "default", query={"resourceVersion": "0"})
        async with two.pipeline.watch_events(call, ADMIN) as watch:
            assert [event.type for event in await watch.__anext__()] == ["ADDED"]
            store = etcd_store(two)
            kept = store._client.watch
            deaf: asyncio.Event = asyncio.Event()

            async def nothing(request: object, answer: object) -> object:
                await deaf.wait()
                async for response in kept(request, answer):
                    yield response

            store._client.watch = nothing  # type: ignore[method-assign,assignment]
            feeder = next(iter(store._watches._feeders.values()))
            held = next(iter(store._watches._seen))
            feeder.cancel()
            store._watches._feeders[held] = asyncio.create_task(store._watches._feed(held))
            await one.do("delete", CONFIGMAPS, "before")
            await one.do("create", CONFIGMAPS, body=configmap("after"))
            await etcd_store(one).compact(await etcd_store(one).newest())
            deaf.set()
            names = [item["metadata"]["name"] for item in (await two.do("list", CONFIGMAPS))["items"]]
            assert names == ["after"]
            with pytest.raises(StopAsyncIteration):
                await watch.__anext__()
        # Who goes on from where its watch ended is told to list again.
        with pytest.raises(Expired):
            await events(two, 1, resourceVersion=made["metadata"]["resourceVersion"])


# -- what servers keep in order beside requests


async def test_both_make_the_first_objects_of_a_cluster_without_a_quarrel(
    etcd: Etcd, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with two_servers(etcd, tmp_path) as (one, two):
            wanted = {(item.resource, item.namespace, item.name) for item in bootstrap.rbac()}
            for server in (one, two):
                await server.pipeline.core.storage.catch_up()
                lookup = server.pipeline.core.registry.lookup
                assert all(lookup.get(*key) is not None for key in wanted)
            lookups = [server.pipeline.core.registry.lookup for server in (one, two)]
            assert lookups[0].raw(CLUSTER_ROLES, "", "admin") == lookups[1].raw(CLUSTER_ROLES, "", "admin")
    assert [record.getMessage() for record in caplog.records if record.name.startswith("coxswain")] == []


WIDGETS = GVR("example.org", "v1", "widgets")


def definition() -> Object:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {"group": "example.org", "names": names, "scope": "Namespaced", "versions": [version]},
    }


async def until_served(server: Cluster, served: bool) -> None:
    async with asyncio.timeout(10):
        while (server.core.registry.get(WIDGETS) is not None) != served:  # noqa: ASYNC110 (a controller's turn)
            await asyncio.sleep(0.01)


async def test_custom_resources_of_one_server_are_served_by_the_other(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path) as (one, two):
        await one.do("create", CUSTOM_RESOURCE_DEFINITIONS, body=definition(), namespace="")
        await asyncio.gather(until_served(one, True), until_served(two, True))
        widget = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "size": 3}
        await one.do("create", WIDGETS, body=widget)
        assert (await two.do("get", WIDGETS, "w"))["size"] == 3
        await two.do("delete", CUSTOM_RESOURCE_DEFINITIONS, "widgets.example.org", namespace="")
        await asyncio.gather(until_served(one, False), until_served(two, False))


async def test_events_that_both_servers_find_expired_go_once(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path) as servers:
        for number in range(20):
            involved = {"kind": "Pod", "namespace": "default", "name": "p"}
            body = {"metadata": {"name": f"e{number}"}, "involvedObject": involved, "type": "Normal"}
            await servers[0].do("create", EVENTS, body={**body, "reason": "R", "message": "m"})
        expiries = []
        for server in servers:
            await server.core.storage.catch_up()
            entry = server.core.registry.get(EVENTS)
            assert entry is not None
            expiries.append(Expiry(server.core.storage, entry, lifetime=0.0))
        removed = await asyncio.gather(*(expiry.sweep() for expiry in expiries))
        assert sum(removed) == 20
        assert (await servers[1].do("list", EVENTS))["items"] == []
        await asyncio.gather(*(expiry.sweep() for expiry in expiries))


async def test_a_quota_holds_whichever_server_is_asked(etcd: Etcd, tmp_path: Path) -> None:
    async with two_clusters(etcd, tmp_path) as servers:
        quota = {"metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "10"}}}
        await servers[0].do("create", QUOTAS, body=quota)
        quota = await servers[0].do("get", QUOTAS, "q")
        status = {"hard": {"count/configmaps": "10"}, "used": {"count/configmaps": "0"}}
        await servers[1].do("update", QUOTAS, "q", {**quota, "status": status}, subresource="status")
        # A quota counts from when a server has heard of it.
        assert (await servers[0].do("get", QUOTAS, "q"))["status"] == status
        await servers[0].core.storage.catch_up()
        answers = await asyncio.gather(
            *(servers[n % 2].call("create", CONFIGMAPS, body=configmap(f"c{n}")) for n in range(30))
        )
        made = [answer.code for answer in answers].count(201)
        assert made == 10
        assert {answer.code for answer in answers} == {201, 403}
        used = (await servers[1].do("get", QUOTAS, "q"))["status"]["used"]
        assert used == {"count/configmaps": "10"}


async def test_a_token_of_one_server_is_good_at_the_other(etcd: Etcd, tmp_path: Path) -> None:
    Pki(tmp_path / "one" / "pki").service_account_key()
    shutil.copytree(tmp_path / "one" / "pki", tmp_path / "two" / "pki")
    async with two_clusters(etcd, tmp_path) as (one, two):
        await one.do("create", SERVICE_ACCOUNTS, body={"metadata": {"name": "robot"}})
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        made = await one.do("create", SERVICE_ACCOUNTS, "robot", request, subresource="token")
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
        spec = {"token": made["status"]["token"]}
        await two.core.storage.catch_up()
        seen = await two.do("create", TOKEN_REVIEWS, body={**review, "spec": spec}, namespace="")
        assert seen["status"]["user"]["username"] == "system:serviceaccount:default:robot"


async def test_of_two_managers_at_two_servers_one_leads_and_the_other_takes_over(
    etcd: Etcd, tmp_path: Path
) -> None:
    async with two_servers(etcd, tmp_path) as servers:
        leading: list[str] = []
        settings = ElectionSettings(lease_seconds=4.0, renew_deadline=3.0, retry_period=0.1)
        changed = asyncio.Event()

        async def lead(name: str) -> None:
            leading.append(name)
            changed.set()
            try:
                await asyncio.Event().wait()
            finally:
                leading.remove(name)

        tasks = {}
        for name, server in zip("ab", servers, strict=True):
            client = ApiClient(InProcessTransport(server.backend, ADMIN))
            elector = LeaderElector(client, "manager", name, settings=settings)
            tasks[name] = asyncio.create_task(elector.run(lambda name=name: lead(name)))
        async with asyncio.timeout(10):
            await changed.wait()
            await asyncio.sleep(0.3)
            assert len(leading) == 1
            first = leading[0]
            changed.clear()
            tasks[first].cancel()
            await changed.wait()
        assert leading == ["b" if first == "a" else "a"]
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def test_secrets_are_cipher_text_in_etcd_and_plain_at_both_servers(etcd: Etcd, tmp_path: Path) -> None:
    key = base64.b64encode(b"k" * 32).decode()
    keys = tmp_path / "encryption.yaml"
    providers = [{"aesgcm": {"keys": [{"name": "k1", "secret": key}]}}]
    resources = [{"resources": ["secrets"], "providers": providers}]
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration"}
    keys.touch(mode=0o600)
    keys.write_bytes(orjson.dumps({**document, "resources": resources}))
    async with two_clusters(etcd, tmp_path, encryption=keys) as (one, two):
        await one.do("create", SECRETS, body={"metadata": {"name": "s"}, "stringData": {"a": "hush"}})
        seen = await two.do("get", SECRETS, "s")
        assert base64.b64decode(seen["data"]["a"]) == b"hush"
        await two.do("update", SECRETS, "s", {**seen, "stringData": {"a": "hush again"}})
        assert base64.b64decode((await one.do("get", SECRETS, "s"))["data"]["a"]) == b"hush again"
        sealed = one.core.storage.store
        entry = await sealed._store.get("/registry/secrets/default/s")  # type: ignore[attr-defined]
        assert entry.value.startswith(b"k8s:enc:aesgcm:v1:k1:")
