"""Objects go when their owners are gone, in the order their owners asked for, whatever fails on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from coxswain.api import errors
from coxswain.api.names import (
    CONFIGMAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    EVENTS,
    GVR,
    NODES,
    PODS,
    REPLICA_SETS,
    Object,
)
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.events import EventRecorder
from coxswain.client.informer import InformerFactory
from coxswain.controllers.descriptor import ControllerContext
from coxswain.controllers.garbagecollector.controller import GarbageCollector
from fakeapi import FakeApi


def owned(name: str, *owners: Object, namespace: str = "d", block: bool = True, **meta: Any) -> Object:
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "controller": index == 0,
            "blockOwnerDeletion": block,
        }
        for index, owner in enumerate(owners)
    ]
    return {
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": references, **meta},
        "spec": {},
    }


@asynccontextmanager
async def collecting(api: FakeApi) -> AsyncIterator[GarbageCollector]:
    client = api.client()
    informers = InformerFactory(client)
    recorder = EventRecorder(client, "garbage-collector-controller")
    collector = GarbageCollector(ControllerContext(client, informers, lambda _: recorder))
    task = asyncio.ensure_future(collector.run())
    await clock.sleep(1)
    try:
        yield collector
    finally:
        await cancel_and_wait(task)
        await informers.stop()
        await recorder.close()


def family(api: FakeApi, pods: int = 3) -> Object:
    deployment = api.add(DEPLOYMENTS, {"metadata": {"name": "web", "namespace": "d"}, "spec": {}})
    replica_set = api.add(REPLICA_SETS, owned("web-1", deployment))
    for number in range(pods):
        pod = owned(f"web-1-{number}", replica_set)
        pod["spec"]["nodeName"] = "n"
        api.add(PODS, pod)
    return deployment


async def kubelet(api: FakeApi) -> None:
    """Ends pods a second after their deletion was asked for."""
    while True:
        await clock.sleep(1)
        for pod in api.objects(PODS):
            if "deletionTimestamp" in pod["metadata"]:
                await api.client().delete(PODS, pod["metadata"]["name"], "d", grace_period_seconds=0)


def left(api: FakeApi, *resources: GVR) -> list[str]:
    return [obj["metadata"]["name"] for resource in resources for obj in api.objects(resource)]


@pytest.mark.virtual
async def test_background_deletion_takes_the_dependents_after_the_owner() -> None:
    api = FakeApi()
    family(api)
    async with collecting(api):
        node = asyncio.ensure_future(kubelet(api))
        await api.client().delete(DEPLOYMENTS, "web", "d", propagation="Background")
        await clock.sleep(20)
        assert left(api, DEPLOYMENTS, REPLICA_SETS, PODS) == []
        await cancel_and_wait(node)


@pytest.mark.virtual
async def test_foreground_deletion_takes_the_owner_last() -> None:
    api = FakeApi()
    family(api)
    async with collecting(api):
        await api.client().delete(DEPLOYMENTS, "web", "d", propagation="Foreground")
        await clock.sleep(20)
        assert left(api, DEPLOYMENTS, REPLICA_SETS) == ["web", "web-1"]
        assert all("deletionTimestamp" in pod["metadata"] for pod in api.objects(PODS))
        node = asyncio.ensure_future(kubelet(api))
        await clock.sleep(20)
        assert left(api, DEPLOYMENTS, REPLICA_SETS, PODS) == []
        await cancel_and_wait(node)


@pytest.mark.virtual
async def test_orphaned_dependents_stay_without_owner() -> None:
    api = FakeApi()
    family(api)
    async with collecting(api):
        await api.client().delete(DEPLOYMENTS, "web", "d", propagation="Orphan")
        await clock.sleep(20)
        assert left(api, DEPLOYMENTS) == []
        assert api.object(REPLICA_SETS, "web-1", "d")["metadata"]["ownerReferences"] == []
        assert len(left(api, PODS)) == 3


@pytest.mark.virtual
async def test_an_owner_that_never_existed_takes_its_dependents() -> None:
    api = FakeApi()
    ghost = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ghost", "uid": "nobody"}}
    api.add(CONFIGMAPS, owned("a", ghost))
    async with collecting(api):
        await clock.sleep(5)
        assert left(api, CONFIGMAPS) == []


@pytest.mark.virtual
async def test_a_new_object_of_the_owners_name_is_not_the_owner() -> None:
    api = FakeApi()
    owner = api.add(CONFIGMAPS, {"metadata": {"name": "owner", "namespace": "d"}})
    api.add(CONFIGMAPS, owned("a", owner))
    api.remove(CONFIGMAPS, "owner", "d")
    api.add(CONFIGMAPS, {"metadata": {"name": "owner", "namespace": "d"}})
    async with collecting(api):
        await clock.sleep(5)
        assert left(api, CONFIGMAPS) == ["owner"]


@pytest.mark.virtual
async def test_one_solid_owner_is_enough_and_the_dangling_reference_goes() -> None:
    api = FakeApi()
    first = api.add(CONFIGMAPS, {"metadata": {"name": "first", "namespace": "d"}})
    second = api.add(CONFIGMAPS, {"metadata": {"name": "second", "namespace": "d"}})
    api.add(CONFIGMAPS, owned("a", first, second))
    async with collecting(api):
        api.remove(CONFIGMAPS, "first", "d")
        await clock.sleep(5)
        references = api.object(CONFIGMAPS, "a", "d")["metadata"]["ownerReferences"]
        assert [reference["name"] for reference in references] == ["second"]
        writes = len(api.writes())
        await clock.sleep(300)
        assert len(api.writes()) == writes


@pytest.mark.virtual
async def test_a_foreground_owner_does_not_wait_for_those_that_do_not_block() -> None:
    api = FakeApi()
    owner = api.add(CONFIGMAPS, {"metadata": {"name": "owner", "namespace": "d"}})
    api.add(CONFIGMAPS, owned("a", owner, block=False, finalizers=["example.com/slow"]))
    async with collecting(api):
        await api.client().delete(CONFIGMAPS, "owner", "d", propagation="Foreground")
        await clock.sleep(10)
        assert left(api, CONFIGMAPS) == ["a"]
        assert "deletionTimestamp" in api.object(CONFIGMAPS, "a", "d")["metadata"]


@pytest.mark.virtual
async def test_a_circle_of_owners_that_wait_for_each_other_ends() -> None:
    api = FakeApi()
    one = api.add(CONFIGMAPS, {"metadata": {"name": "one", "namespace": "d"}})
    two = api.add(CONFIGMAPS, owned("two", one))
    back = owned("one", two)["metadata"]["ownerReferences"]
    api.change(CONFIGMAPS, "one", "d", lambda obj: obj["metadata"].update(ownerReferences=back))
    async with collecting(api):
        await api.client().delete(CONFIGMAPS, "one", "d", propagation="Foreground")
        await clock.sleep(30)
        assert left(api, CONFIGMAPS) == []


@pytest.mark.virtual
async def test_an_owner_in_another_namespace_is_absent_and_the_user_is_told() -> None:
    api = FakeApi()
    owner = api.add(CONFIGMAPS, {"metadata": {"name": "owner", "namespace": "other"}})
    api.add(CONFIGMAPS, owned("a", owner))
    async with collecting(api):
        await clock.sleep(5)
        assert left(api, CONFIGMAPS) == ["owner"]
        (event,) = api.objects(EVENTS)
        assert event["reason"] == "OwnerRefInvalidNamespace"
        assert event["message"].endswith('does not exist in namespace "d"')


@pytest.mark.virtual
async def test_a_cluster_scoped_dependent_of_a_namespaced_owner_is_left_alone() -> None:
    api = FakeApi()
    owner = api.add(CONFIGMAPS, {"metadata": {"name": "owner", "namespace": "d"}})
    node = owned("n", owner)
    del node["metadata"]["namespace"]
    api.add(NODES, node)
    api.remove(CONFIGMAPS, "owner", "d")
    async with collecting(api):
        await clock.sleep(60)
        assert left(api, NODES) == ["n"]


@pytest.mark.virtual(seed=11)
async def test_everything_goes_in_the_end_however_the_server_fails() -> None:
    api = FakeApi()
    family(api, pods=5)
    async with collecting(api):
        node = asyncio.ensure_future(kubelet(api))
        api.fail("delete", None, errors.InternalError, times=4)
        api.fail("patch", None, errors.Conflict, times=3)
        api.lose_answer("delete", None, times=3)
        api.drop_watches()
        try:
            await api.client().delete(DEPLOYMENTS, "web", "d", propagation="Foreground")
        except errors.ApiError:
            await clock.sleep(1)
        for _ in range(20):
            await clock.sleep(1)
            if api.exists(DEPLOYMENTS, "web", "d") and "deletionTimestamp" not in api.object(
                DEPLOYMENTS, "web", "d"
            ).get("metadata", {}):
                try:
                    await api.client().delete(DEPLOYMENTS, "web", "d", propagation="Foreground")
                except errors.ApiError:
                    continue
            if node.done():
                node = asyncio.ensure_future(kubelet(api))
            if clock.random().random() < 0.3:
                api.compact()
                api.drop_watches()
        await clock.sleep(200)
        if node.done():
            node.exception()
            node = asyncio.ensure_future(kubelet(api))
        await clock.sleep(200)
        assert left(api, DEPLOYMENTS, REPLICA_SETS, PODS) == []
        await cancel_and_wait(node)


@pytest.mark.virtual
async def test_a_quiet_cluster_is_not_written_to() -> None:
    api = FakeApi()
    family(api)
    async with collecting(api) as collector:
        await clock.sleep(600)
        assert api.writes() == []
        assert not any(call.verb == "get" for call in api.calls)
        assert len(collector.graph.nodes) == 5


@pytest.mark.virtual
async def test_custom_resources_own_and_are_owned_as_soon_as_they_are_served() -> None:
    api = FakeApi()
    widgets = GVR("example.com", "v1", "widgets")
    async with collecting(api):
        api.add(
            CUSTOM_RESOURCE_DEFINITIONS,
            {
                "metadata": {"name": "widgets.example.com"},
                "spec": {
                    "group": "example.com",
                    "scope": "Namespaced",
                    "names": {"plural": "widgets", "kind": "Widget"},
                    "versions": [{"name": "v1", "served": True}],
                },
                "status": {"conditions": [{"type": "Established", "status": "True"}]},
            },
        )
        await clock.sleep(1)
        widget = api.add(widgets, {"kind": "Widget", "metadata": {"name": "w", "namespace": "d"}})
        api.add(CONFIGMAPS, owned("a", widget))
        await clock.sleep(5)
        assert left(api, CONFIGMAPS) == ["a"]
        await api.client().delete(widgets, "w", "d", propagation="Foreground")
        await clock.sleep(5)
        assert left(api, widgets, CONFIGMAPS) == []
        again = api.add(widgets, {"kind": "Widget", "metadata": {"name": "w", "namespace": "d"}})
        api.add(CONFIGMAPS, owned("b", again))
        api.remove(CUSTOM_RESOURCE_DEFINITIONS, "widgets.example.com")
        await clock.sleep(5)
        assert left(api, CONFIGMAPS) == ["b"]  # its owner's kind is unknown now: nobody may judge it


@pytest.mark.virtual
async def test_an_owner_that_is_seen_after_its_dependents_keeps_them() -> None:
    api = FakeApi()
    family(api)
    async with collecting(api) as collector:
        api.end_watches()
        late = api.add(DEPLOYMENTS, {"metadata": {"name": "late", "namespace": "d"}, "spec": {}})
        api.add(REPLICA_SETS, owned("late-1", late))
        api.remove(DEPLOYMENTS, "web", "d")
        await clock.sleep(120)
        assert left(api, REPLICA_SETS) == ["late-1"]
        assert not collector.graph.nodes[late["metadata"]["uid"]].virtual
