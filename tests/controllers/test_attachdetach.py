"""Volumes are attached where pods need them, to one node at a time, and taken away when nobody uses them."""

from __future__ import annotations

from typing import Any

import pytest

from controllerbench import running
from coxswain.api.names import EVENTS, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, Object
from coxswain.base import clock
from coxswain.controllers.attachdetach import controller, decide
from coxswain.controllers.attachdetach.controller import CSI_DRIVERS, VOLUME_ATTACHMENTS
from fakeapi import FakeApi

NAME = "kubernetes.io/csi/example.com^handle"


def cluster(*modes: str, required: bool | None = None) -> FakeApi:
    api = FakeApi()
    for name in "ab":
        add_node(api, name)
    claim = {"metadata": {"name": "c", "namespace": "d", "uid": "u"}, "spec": {"volumeName": "v"}}
    api.add(PERSISTENT_VOLUME_CLAIMS, claim)
    spec = {
        "csi": {"driver": "example.com", "volumeHandle": "handle"},
        "accessModes": list(modes or ["ReadWriteOnce"]),
        "claimRef": {"namespace": "d", "name": "c", "uid": "u"},
    }
    api.add(PERSISTENT_VOLUMES, {"metadata": {"name": "v"}, "spec": spec})
    if required is not None:
        api.add(CSI_DRIVERS, {"metadata": {"name": "example.com"}, "spec": {"attachRequired": required}})
    return api


def add_node(api: FakeApi, name: str, **status: Any) -> None:
    conditions = [{"type": "Ready", "status": "True"}]
    meta = {"name": name, "annotations": {decide.MANAGED: "true"}}
    api.add(NODES, {"metadata": meta, "spec": {}, "status": {"conditions": conditions, **status}})


def add_pod(api: FakeApi, name: str, node: str) -> None:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    spec = {"nodeName": node, "volumes": volumes}
    api.add(
        PODS, {"metadata": {"name": name, "namespace": "d"}, "spec": spec, "status": {"phase": "Running"}}
    )


def attached(api: FakeApi) -> list[str]:
    return [one["spec"]["nodeName"] for one in api.objects(VOLUME_ATTACHMENTS)]


def report(api: FakeApi, **status: Any) -> None:
    """The external attacher's word on every attachment."""
    for one in api.objects(VOLUME_ATTACHMENTS):
        api.change(VOLUME_ATTACHMENTS, one["metadata"]["name"], "", lambda obj: obj.update(status=status))


def on_node(api: FakeApi, name: str) -> list[str]:
    status = api.object(NODES, name)["status"]
    return [entry["name"] for entry in status.get("volumesAttached") or ()]


def uses(api: FakeApi, node: str, *names: str) -> None:
    api.change(NODES, node, "", lambda obj: obj["status"].update(volumesInUse=list(names)))


def messages(api: FakeApi) -> list[str]:
    return [event["message"] for event in api.objects(EVENTS)]


@pytest.mark.virtual
@pytest.mark.parametrize("fault", ["none", "failure", "lost answer", "restart"])
async def test_a_volume_comes_with_its_first_pod_and_goes_after_its_last(fault: str) -> None:
    api = cluster(required=True)
    if fault == "failure":
        api.fail("create", VOLUME_ATTACHMENTS, times=2)
        api.fail("delete", VOLUME_ATTACHMENTS, times=2)
        api.fail("patch", NODES, times=2)
    elif fault == "lost answer":
        for verb in ("create", "delete"):
            api.lose_answer(verb, VOLUME_ATTACHMENTS)
        api.lose_answer("patch", NODES)
    add_pod(api, "p", "a")
    if fault == "restart":
        async with running(api, controller.DESCRIPTOR):
            await clock.sleep(1)
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(10)
        assert attached(api) == ["a"]
        assert on_node(api, "a") == []
        report(api, attached=True)
        await clock.sleep(10)
        assert on_node(api, "a") == [NAME]
        assert messages(api) == ['AttachVolume.Attach succeeded for volume "v" ']
        writes = len(api.writes())
        await clock.sleep(3600)
        assert len(api.writes()) == writes
        uses(api, "a", NAME)
        api.remove(PODS, "p", "d")
        await clock.sleep(100)
        assert attached(api) == ["a"]
        uses(api, "a")
        await clock.sleep(10)
        assert attached(api) == []
        assert on_node(api, "a") == []


@pytest.mark.virtual
async def test_a_restart_writes_nothing() -> None:
    api = cluster()
    add_pod(api, "p", "a")
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
        report(api, attached=True)
        await clock.sleep(5)
    writes = len(api.writes())
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(60)
    assert len(api.writes()) == writes


@pytest.mark.virtual
async def test_drivers_without_attaching_and_nodes_that_attach_for_themselves_are_left_alone() -> None:
    api = cluster(required=False)
    add_pod(api, "p", "a")
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(10)
    assert api.writes() == []
    api = cluster()
    api.change(NODES, "a", "", lambda node: node["metadata"].pop("annotations"))
    add_pod(api, "p", "a")
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(10)
    assert api.writes() == []


@pytest.mark.virtual
async def test_a_volume_for_one_node_makes_the_other_wait_and_say_so_once() -> None:
    api = cluster()
    add_pod(api, "p", "a")
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(1)
        report(api, attached=True)
        add_pod(api, "q", "b")
        await clock.sleep(600)
        assert attached(api) == ["a"]
        said = [text for text in messages(api) if "Multi-Attach" in text]
        assert said == ['Multi-Attach error for volume "v" Volume is already used by pod(s) p']
        api.remove(PODS, "p", "d")
        await clock.sleep(10)
        assert attached(api) == ["b"]


@pytest.mark.virtual
async def test_a_shared_volume_is_attached_to_both() -> None:
    api = cluster("ReadWriteMany")
    add_pod(api, "p", "a")
    add_pod(api, "q", "b")
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(10)
    assert sorted(attached(api)) == ["a", "b"]


@pytest.mark.virtual
@pytest.mark.parametrize("state", ["not ready", "ready", "out of service", "gone"])
async def test_a_volume_in_use_is_taken_from_a_node_that_is_lost(state: str) -> None:
    api = cluster()
    add_pod(api, "p", "a")
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(1)
        report(api, attached=True)
        uses(api, "a", NAME)
        await clock.sleep(1)
        if state == "not ready":
            broken = [{"type": "Ready", "status": "Unknown"}]
            api.change(NODES, "a", "", lambda node: node["status"].update(conditions=broken))
        api.remove(PODS, "p", "d")
        if state == "out of service":
            taints = [{"key": decide.OUT_OF_SERVICE, "effect": "NoExecute"}]
            api.change(NODES, "a", "", lambda node: node["spec"].update(taints=taints))
        elif state == "gone":
            api.remove(NODES, "a")
        await clock.sleep(350)
        soon = state in ("out of service", "gone")
        assert attached(api) == ([] if soon else ["a"])
        await clock.sleep(20)
        assert attached(api) == (["a"] if state == "ready" else [])


@pytest.mark.virtual
async def test_a_failed_attachment_is_told_to_the_pods_that_wait() -> None:
    api = cluster()
    add_pod(api, "p", "a")
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(1)
        report(api, attached=False, attachError={"message": "no such disk"})
        await clock.sleep(1)
    assert messages(api) == ['AttachVolume.Attach failed for volume "v" : no such disk']


def test_users_in_other_namespaces_are_only_counted() -> None:
    def pod(name: str, namespace: str, node: str) -> Object:
        meta = {"name": name, "namespace": namespace}
        return {"metadata": meta, "spec": {"nodeName": node}, "status": {"phase": "Running"}}

    volume = {"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    volume["spec"]["csi"] = {"driver": "x", "volumeHandle": "h"}
    held = decide.new_attachment(volume, "a")
    node = {"metadata": {"name": "b", "annotations": {decide.MANAGED: "true"}}}
    pods = [pod("p", "d", "b"), pod("q", "d", "a"), pod("r", "other", "a")]
    plan = decide.plan(decide.Situation(volume, pods, [held], {"b": node}))
    assert [event.message for event in plan.events] == [
        'Multi-Attach error for volume "v" Volume is already used by pod(s) q and 1 pod(s) in different namespaces'
    ]
