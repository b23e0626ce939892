"""The component and pods with claims, against an API in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from coxswain.api.names import GVR, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.scheduler import Scheduler, SchedulerConfig
from coxswain.scheduler.volumes import SELECTED_NODE
from fakeapi import FakeApi
from scheduler.sched_objects import node
from scheduler.test_volume_plugins import HOST, bound, claim, on, pvc, storage_class, using, volume

CLASSES = GVR("storage.k8s.io", "v1", "storageclasses")


@asynccontextmanager
async def scheduling(api: FakeApi) -> AsyncIterator[None]:
    task = asyncio.ensure_future(Scheduler(api.client(), SchedulerConfig()).run())
    try:
        yield
    finally:
        await cancel_and_wait(task)


def unversioned(obj: dict[str, Any]) -> dict[str, Any]:
    obj["metadata"].pop("resourceVersion", None)
    return obj


def add_claim(api: FakeApi, name: str, class_name: str = "wait") -> None:
    api.add(PERSISTENT_VOLUME_CLAIMS, unversioned(claim(name, class_name)))


def bind(api: FakeApi, name: str, volume_name: str) -> None:
    """What the volume controller does."""

    def change(obj: dict[str, Any]) -> None:
        done = bound(name, volume_name)
        obj["spec"]["volumeName"] = volume_name
        obj["metadata"].setdefault("annotations", {}).update(done["metadata"]["annotations"])
        obj["status"] = done["status"]

    api.change(PERSISTENT_VOLUME_CLAIMS, name, "d", change)


def node_of(api: FakeApi, name: str) -> str:
    return str(api.object(PODS, name, "d")["spec"].get("nodeName") or "")


@pytest.mark.virtual
async def test_two_pods_share_out_two_local_volumes_and_a_third_waits_for_another() -> None:
    api = FakeApi()
    for i in range(3):
        api.add(NODES, node(f"n{i}"))
    api.add(CLASSES, storage_class("wait", "kubernetes.io/no-provisioner"))
    for i in range(2):
        api.add(PERSISTENT_VOLUMES, unversioned(volume(f"pv{i}", terms=[on(HOST, f"n{i}")])))
    for i in range(3):
        add_claim(api, f"c{i}")
        api.add(PODS, using(f"p{i}", pvc(f"c{i}")))
    async with scheduling(api):
        await clock.sleep(1)
        kept = {}
        for i in range(2):
            reference = api.object(PERSISTENT_VOLUMES, f"pv{i}")["spec"]["claimRef"]
            kept[reference["name"]] = i
        assert len(kept) == 2
        assert not any(node_of(api, f"p{i}") for i in range(3)), "nothing is bound to a node yet"
        for name, i in kept.items():
            bind(api, name, f"pv{i}")
        await clock.sleep(1)
        for name, i in kept.items():
            assert node_of(api, f"p{name[1:]}") == f"n{i}"
        (left,) = {"c0", "c1", "c2"} - kept.keys()
        assert node_of(api, f"p{left[1:]}") == ""
        api.add(PERSISTENT_VOLUMES, unversioned(volume("pv2", terms=[on(HOST, "n2")])))
        await clock.sleep(15)
        assert api.object(PERSISTENT_VOLUMES, "pv2")["spec"]["claimRef"]["name"] == left
        bind(api, left, "pv2")
        await clock.sleep(1)
        assert node_of(api, f"p{left[1:]}") == "n2"


@pytest.mark.virtual
async def test_a_volume_that_cannot_be_provisioned_sends_the_pod_back() -> None:
    api = FakeApi()
    api.add(NODES, node("n0"))
    api.add(CLASSES, storage_class("wait", "csi.example.com"))
    add_claim(api, "c0")
    api.add(PODS, using("p0", pvc("c0")))
    async with scheduling(api):
        await clock.sleep(1)
        annotations = api.object(PERSISTENT_VOLUME_CLAIMS, "c0", "d")["metadata"]["annotations"]
        assert annotations[SELECTED_NODE] == "n0"
        # The provisioner gives up and says so by removing the node; the scheduler decides anew.
        api.change(
            PERSISTENT_VOLUME_CLAIMS, "c0", "d", lambda c: c["metadata"]["annotations"].pop(SELECTED_NODE)
        )
        await clock.sleep(30)
        annotations = api.object(PERSISTENT_VOLUME_CLAIMS, "c0", "d")["metadata"]["annotations"]
        assert annotations[SELECTED_NODE] == "n0"
        assert node_of(api, "p0") == ""
        bind(api, "c0", "pv9")
        api.add(PERSISTENT_VOLUMES, unversioned(volume("pv9")))
        await clock.sleep(1)
        assert node_of(api, "p0") == "n0"
