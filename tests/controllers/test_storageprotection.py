"""Claims and volumes that are in use outlive their deletion, and go when the last user went."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from controllerbench import running
from coxswain.api import meta
from coxswain.api.errors import Conflict
from coxswain.api.names import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, Object
from coxswain.base import clock
from coxswain.controllers.storageprotection import claims, volumes
from coxswain.controllers.storageprotection.decide import CLAIM_FINALIZER, VOLUME_FINALIZER
from fakeapi import FakeApi


def add_claim(api: FakeApi, name: str = "c", **meta: Any) -> Object:
    return api.add(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": name, "namespace": "d", **meta}})


def add_pod(api: FakeApi, name: str, volume: Object, node: str = "n") -> Object:
    spec = {"nodeName": node, "volumes": [{"name": "v", **volume}]}
    return api.add(PODS, {"metadata": {"name": name, "namespace": "d"}, "spec": spec})


def using(claim: str) -> Object:
    return {"persistentVolumeClaim": {"claimName": claim}}


def has_claim(api: FakeApi, name: str = "c") -> bool:
    return api.exists(PERSISTENT_VOLUME_CLAIMS, name, "d")


@pytest.mark.virtual
async def test_a_claim_in_use_goes_with_its_last_pod() -> None:
    api = FakeApi()
    add_claim(api, finalizers=[CLAIM_FINALIZER])
    add_pod(api, "p", using("c"))
    add_pod(api, "waits-for-a-node", using("c"), node="")
    async with running(api, claims.DESCRIPTOR):
        await api.client().delete(PERSISTENT_VOLUME_CLAIMS, "c", "d")
        await clock.sleep(5)
        assert has_claim(api)
        api.fail("update", PERSISTENT_VOLUME_CLAIMS, Conflict)
        api.lose_answer("update", PERSISTENT_VOLUME_CLAIMS)
        api.remove(PODS, "p", "d")
        await clock.sleep(5)
        assert not has_claim(api)


@pytest.mark.virtual
async def test_a_pod_that_the_informer_missed_keeps_its_claim() -> None:
    api = FakeApi()
    add_claim(api, finalizers=[CLAIM_FINALIZER])
    async with running(api, claims.DESCRIPTOR):
        add_pod(api, "p", using("c"))
        await api.client().delete(PERSISTENT_VOLUME_CLAIMS, "c", "d")
        await clock.sleep(5)
        assert has_claim(api)


@pytest.mark.virtual
async def test_an_ephemeral_claim_goes_once_its_pod_is_shut_down() -> None:
    api = FakeApi()
    pod = add_pod(api, "p", {"ephemeral": {}})
    owner = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "p",
        "uid": pod["metadata"]["uid"],
        "controller": True,
    }
    add_claim(api, "p-v", finalizers=[CLAIM_FINALIZER], ownerReferences=[owner])
    async with running(api, claims.DESCRIPTOR):
        await api.client().delete(PERSISTENT_VOLUME_CLAIMS, "p-v", "d")
        await clock.sleep(5)
        assert has_claim(api, "p-v")
        over = {"deletionTimestamp": clock.timestamp(), "deletionGracePeriodSeconds": 0}
        api.change(PODS, "p", "d", lambda pod: pod["metadata"].update(over))
        await clock.sleep(5)
        assert not has_claim(api, "p-v")


@pytest.mark.virtual
async def test_a_bound_volume_waits_for_its_release() -> None:
    api = FakeApi()
    meta = {"name": "v", "finalizers": [VOLUME_FINALIZER]}
    api.add(PERSISTENT_VOLUMES, {"metadata": meta, "status": {"phase": "Bound"}})
    async with running(api, volumes.DESCRIPTOR):
        await api.client().delete(PERSISTENT_VOLUMES, "v")
        await clock.sleep(5)
        assert api.exists(PERSISTENT_VOLUMES, "v")
        api.fail("update", PERSISTENT_VOLUMES, times=2)
        api.change(PERSISTENT_VOLUMES, "v", "", lambda volume: volume["status"].update(phase="Released"))
        await clock.sleep(5)
        assert not api.exists(PERSISTENT_VOLUMES, "v")


@pytest.mark.virtual
async def test_the_finalizer_is_added_once_and_then_nothing_is_written() -> None:
    api = FakeApi()
    add_claim(api)
    api.add(PERSISTENT_VOLUMES, {"metadata": {"name": "v"}, "status": {"phase": "Available"}})
    async with running(api, claims.DESCRIPTOR, volumes.DESCRIPTOR):
        await clock.sleep(600)
    assert sorted(api.writes()) == [
        ("update", "persistentvolumeclaims", "d/c"),
        ("update", "persistentvolumes", "/v"),
    ]


@pytest.mark.virtual
@pytest.mark.parametrize("ephemeral", [False, True])
async def test_a_pod_that_only_the_api_server_knows_keeps_its_claim(ephemeral: bool) -> None:
    api = FakeApi()
    async with running(api, claims.DESCRIPTOR):
        await clock.sleep(1)
        for watcher in api._watchers:
            watcher.call = dataclasses.replace(watcher.call, query={"labelSelector": "never=seen"})
        pod = {"metadata": {"name": "p", "namespace": "d"}, "spec": {"nodeName": "n", "volumes": []}}
        name = "p-v" if ephemeral else "c"
        source = {"ephemeral": {"volumeClaimTemplate": {}}} if ephemeral else using("c")
        pod["spec"]["volumes"] = [{"name": "v", **source}]  # type: ignore[index]
        owner = meta.owner_reference({**api.add(PODS, pod), "apiVersion": "v1", "kind": "Pod"})
        more = {"ownerReferences": [owner]} if ephemeral else {}
        for watcher in api._watchers:
            if watcher.call.resource == PERSISTENT_VOLUME_CLAIMS:
                watcher.call = dataclasses.replace(watcher.call, query={})
        add_claim(api, name, finalizers=[CLAIM_FINALIZER], **more)
        add_claim(api, "unused", finalizers=[CLAIM_FINALIZER])
        for each in (name, "unused"):
            await api.client().delete(PERSISTENT_VOLUME_CLAIMS, each, "d")
        await clock.sleep(5)
        assert has_claim(api, name)
        assert not has_claim(api, "unused")


@pytest.mark.virtual
async def test_pods_are_listed_only_while_the_informer_is_behind_the_claim() -> None:
    api = FakeApi()
    for name in ("used", "behind"):
        add_claim(api, name, finalizers=[CLAIM_FINALIZER])
    add_pod(api, "p", using("used"))

    def lists() -> int:
        return sum(call.verb == "list" and call.resource == PODS for call in api.calls)

    async with running(api, claims.DESCRIPTOR):
        await api.client().delete(PERSISTENT_VOLUME_CLAIMS, "used", "d")
        await clock.sleep(5)
        asked = lists()
        api.remove(PODS, "p", "d")  # its end is newer than the claim's deletion
        await clock.sleep(5)
        assert not has_claim(api, "used")
        assert lists() == asked
        await api.client().delete(PERSISTENT_VOLUME_CLAIMS, "behind", "d")
        await clock.sleep(5)
        assert not has_claim(api, "behind")
        assert lists() == asked + 1
