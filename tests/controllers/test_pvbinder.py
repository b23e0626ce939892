"""Claims are bound to the smallest volume that suits them, whatever fails on the way."""

from __future__ import annotations

from typing import Any

import pytest

from controllerbench import running
from coxswain.api.errors import Conflict
from coxswain.api.names import EVENTS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Object
from coxswain.base import clock
from coxswain.controllers.pvbinder import controller, decide
from coxswain.controllers.pvbinder.controller import STORAGE_CLASSES
from fakeapi import FakeApi


def add_volume(api: FakeApi, name: str, size: str = "1Gi", **spec: Any) -> Object:
    full = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], **spec}
    meta = {"name": name, "labels": {"name": name}}
    return api.add(PERSISTENT_VOLUMES, {"metadata": meta, "spec": full, "status": {"phase": "Pending"}})


def add_claim(api: FakeApi, size: str = "1Gi", name: str = "c", **spec: Any) -> Object:
    full = {"resources": {"requests": {"storage": size}}, "accessModes": ["ReadWriteOnce"], **spec}
    meta = {"name": name, "namespace": "d"}
    return api.add(PERSISTENT_VOLUME_CLAIMS, {"metadata": meta, "spec": full, "status": {"phase": "Pending"}})


def claim(api: FakeApi, name: str = "c") -> tuple[str, str]:
    """(phase, volume) of a claim."""
    found = api.object(PERSISTENT_VOLUME_CLAIMS, name, "d")
    return found["status"]["phase"], found["spec"].get("volumeName", "")


def phase(api: FakeApi, name: str) -> str:
    return api.object(PERSISTENT_VOLUMES, name)["status"]["phase"]


def reasons(api: FakeApi) -> set[str]:
    return {event["reason"] for event in api.objects(EVENTS)}


@pytest.mark.virtual
async def test_the_smallest_volume_that_is_big_enough_is_bound() -> None:
    api = FakeApi()
    for name, size in (("small", "1Gi"), ("fits", "5Gi"), ("large", "50Gi")):
        add_volume(api, name, size)
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(1)
        add_claim(api, "2Gi")
        await clock.sleep(1)
        assert claim(api) == ("Bound", "fits")
        assert phase(api, "fits") == "Bound"
        stored = api.object(PERSISTENT_VOLUME_CLAIMS, "c", "d")
        assert stored["status"]["capacity"] == {"storage": "5Gi"}
        assert stored["metadata"]["annotations"] == {
            decide.BIND_COMPLETED: "yes",
            decide.BOUND_BY_CONTROLLER: "yes",
        }
        writes = len(api.writes())
        await clock.sleep(3600)
        assert len(api.writes()) == writes


@pytest.mark.virtual
@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("fault", ["conflict", "lost answer", "restart"])
async def test_binding_is_finished_after_a_fault_at_any_step(fault: str, at: int) -> None:
    api = FakeApi()
    add_volume(api, "v")
    add_claim(api)
    failing = at + 1
    if fault == "conflict":
        api.fail("update", error=Conflict, times=failing)
    elif fault == "lost answer":
        api.lose_answer("update", times=failing)
    if fault == "restart":
        api.latency = 0.01
        async with running(api, controller.DESCRIPTOR):
            await clock.sleep(0.011 * at)
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(60)
    assert claim(api) == ("Bound", "v")
    assert phase(api, "v") == "Bound"


@pytest.mark.virtual
async def test_two_claims_never_share_a_volume() -> None:
    api = FakeApi()
    for number in range(20):
        add_volume(api, f"v{number}")
        add_claim(api, name=f"c{number}")
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(30)
    assert {claim(api, f"c{number}") for number in range(20)} == {("Bound", f"v{n}") for n in range(20)}


@pytest.mark.virtual
async def test_selector_class_and_modes_must_match() -> None:
    api = FakeApi()
    add_volume(api, "other-class", storageClassName="slow")
    add_volume(api, "block", volumeMode="Block")
    add_volume(api, "other-label")
    add_volume(api, "wanted", "9Gi")
    add_claim(api, selector={"matchLabels": {"name": "wanted"}})
    add_claim(api, name="many", accessModes=["ReadWriteMany"])
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
    assert claim(api) == ("Bound", "wanted")
    assert claim(api, "many") == ("Pending", "")
    assert reasons(api) == {"FailedBinding"}


@pytest.mark.virtual
async def test_a_claim_gets_the_volume_that_it_names_or_that_is_reserved_for_it() -> None:
    api = FakeApi()
    add_volume(api, "reserved", "9Gi", claimRef={"namespace": "d", "name": "c"})
    add_volume(api, "free")
    add_volume(api, "named", "9Gi")
    add_claim(api)
    add_claim(api, name="asks", volumeName="named")
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
        assert claim(api) == ("Bound", "reserved")
        assert claim(api, "asks") == ("Bound", "named")
        api.remove(PERSISTENT_VOLUME_CLAIMS, "c", "d")
        await clock.sleep(5)
        assert phase(api, "reserved") == "Released"


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("policy", "after", "reason"),
    [
        ("Retain", "Released", None),
        ("Delete", "Failed", "VolumeFailedDelete"),
        ("Recycle", "Failed", "VolumeFailedRecycle"),
    ],
)
async def test_reclaiming(policy: str, after: str, reason: str | None) -> None:
    api = FakeApi()
    add_volume(api, "v", persistentVolumeReclaimPolicy=policy)
    add_claim(api)
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
        api.remove(PERSISTENT_VOLUME_CLAIMS, "c", "d")
        await clock.sleep(60)
        assert phase(api, "v") == after
    assert reasons(api) == ({reason} if reason else set())


@pytest.mark.virtual
async def test_a_claim_that_loses_its_volume_is_lost() -> None:
    api = FakeApi()
    add_volume(api, "v")
    add_claim(api)
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
        api.remove(PERSISTENT_VOLUMES, "v")
        await clock.sleep(5)
    assert claim(api) == ("Lost", "v")
    assert reasons(api) == {"ClaimLost"}


@pytest.mark.virtual
async def test_a_delayed_class_waits_for_a_node_then_for_its_provisioner() -> None:
    api = FakeApi()
    late = {"provisioner": "example.com/disk", "volumeBindingMode": "WaitForFirstConsumer"}
    api.add(STORAGE_CLASSES, {"metadata": {"name": "late"}, **late})
    add_volume(api, "v", storageClassName="late")
    add_claim(api, "5Gi", storageClassName="late")
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
        assert claim(api) == ("Pending", "")
        chosen = {decide.SELECTED_NODE: "n"}
        api.change(PERSISTENT_VOLUME_CLAIMS, "c", "d", lambda obj: obj["metadata"].update(annotations=chosen))
        await clock.sleep(5)
    assert reasons(api) == {"WaitForFirstConsumer", "ExternalProvisioning"}
    annotations = api.object(PERSISTENT_VOLUME_CLAIMS, "c", "d")["metadata"]["annotations"]
    assert annotations[decide.PROVISIONER] == "example.com/disk"
