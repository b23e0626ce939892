"""Classes, provisioners and what waiting claims are told; volumes are found without a look at all of them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllerbench import running
from coxswain.api.names import EVENTS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, Object
from coxswain.base import clock
from coxswain.controllers.pvbinder import controller, decide
from coxswain.controllers.pvbinder.controller import STORAGE_CLASSES
from coxswain.controllers.pvbinder.free import VolumeIndex
from coxswain.controllers.pvbinder.match import capacity, is_free, mismatch
from fakeapi import FakeApi


def volume(name: str, size: str = "1Gi", *modes: str, **spec: Any) -> Object:
    full = {"capacity": {"storage": size}, "accessModes": list(modes or ["ReadWriteOnce"]), **spec}
    return {"metadata": {"name": name}, "spec": full, "status": {"phase": "Available"}}


def add_claim(api: FakeApi, name: str = "c", *, annotations: Object | None = None, **spec: Any) -> Object:
    full = {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"], **spec}
    meta = {"name": name, "namespace": "d", "annotations": annotations or {}}
    return api.add(PERSISTENT_VOLUME_CLAIMS, {"metadata": meta, "spec": full, "status": {"phase": "Pending"}})


def add_class(api: FakeApi, name: str, *, default: bool = False, **fields: Any) -> None:
    marks = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    storage = {"metadata": {"name": name, "annotations": marks}, "provisioner": "example.com/disk", **fields}
    api.add(STORAGE_CLASSES, storage)


def claim(api: FakeApi, name: str = "c") -> Object:
    return api.object(PERSISTENT_VOLUME_CLAIMS, name, "d")


def told(api: FakeApi) -> list[tuple[str, int]]:
    return [(event["reason"], event.get("count", 1)) for event in api.objects(EVENTS)]


@pytest.mark.virtual
async def test_what_a_claim_waits_for_is_told_once() -> None:
    api = FakeApi()
    add_class(api, "disk")
    add_claim(api, storageClassName="disk")
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
        assert told(api) == [("ExternalProvisioning", 1)]
        writes = len(api.writes())
        await clock.sleep(3600)
        assert len(api.writes()) == writes
        marks = claim(api)["metadata"]["annotations"]
        assert marks[decide.PROVISIONER] == marks[decide.BETA_PROVISIONER] == "example.com/disk"
        reference = {"namespace": "d", "name": "c", "uid": claim(api)["metadata"]["uid"]}
        api.add(PERSISTENT_VOLUMES, volume("made", storageClassName="disk", claimRef=reference))
        await clock.sleep(5)
        assert claim(api)["status"]["phase"] == "Bound"


@pytest.mark.virtual
async def test_a_claim_without_a_class_gets_the_newest_default_when_no_volume_suits() -> None:
    api = FakeApi()
    add_claim(api)
    add_claim(api, "wants-none", storageClassName="")
    add_claim(api, "has-a-volume", selector={"matchLabels": {}})
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
        assert told(api) == [("FailedBinding", 1)] * 3
        api.add(PERSISTENT_VOLUMES, volume("v"))
        await clock.sleep(5)
        add_class(api, "old", default=True)
        await clock.sleep(5)
        waiting = [name for name in ("c", "has-a-volume") if claim(api, name)["status"]["phase"] == "Pending"]
        for name in waiting:
            assert claim(api, name)["spec"]["storageClassName"] == "old"
        assert claim(api, "wants-none")["spec"]["storageClassName"] == ""
        await clock.sleep(5)
        add_class(api, "new", default=True)
        add_claim(api, "later")
        await clock.sleep(5)
        assert claim(api, "later")["spec"]["storageClassName"] == "new"


@pytest.mark.virtual
async def test_a_waiting_claim_names_the_pods_that_are_not_scheduled_yet() -> None:
    api = FakeApi()
    add_class(api, "late", volumeBindingMode="WaitForFirstConsumer")
    add_claim(api, storageClassName="late")
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(1)
        volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
        api.add(PODS, {"metadata": {"name": "p", "namespace": "d"}, "spec": {"volumes": volumes}})
        await clock.sleep(1)
    assert [event["message"] for event in api.objects(EVENTS)] == [
        "waiting for first consumer to be created before binding",
        "waiting for pod p to be scheduled",
    ]


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("provisioner", "reason", "annotation"),
    [
        ("kubernetes.io/no-provisioner", "ProvisioningFailed", None),
        ("kubernetes.io/glusterfs", "ProvisioningFailed", None),
        ("kubernetes.io/aws-ebs", "ExternalProvisioning", "ebs.csi.aws.com"),
        ("example.com/x", "ExternalProvisioning", "example.com/x"),
    ],
)
async def test_who_provisions(provisioner: str, reason: str, annotation: str | None) -> None:
    api = FakeApi()
    add_class(api, "disk", provisioner=provisioner)
    add_claim(api, storageClassName="disk")
    add_claim(api, "nobody", storageClassName="unknown")
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
    assert sorted(told(api)) == sorted([(reason, 1), ("ProvisioningFailed", 1)])
    assert claim(api)["metadata"]["annotations"].get(decide.PROVISIONER) == annotation


@pytest.mark.virtual
async def test_a_reserved_volume_serves_whatever_its_class_and_others_take_the_fewest_modes() -> None:
    api = FakeApi()
    api.add(PERSISTENT_VOLUMES, volume("many", "1Gi", "ReadWriteOnce", "ReadWriteMany"))
    api.add(PERSISTENT_VOLUMES, volume("one", "9Gi", "ReadWriteOnce"))
    reserved = volume("kept", "1Gi", storageClassName="x", claimRef={"namespace": "d", "name": "mine"})
    api.add(PERSISTENT_VOLUMES, reserved)
    add_claim(api)
    add_claim(api, "mine")
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
    assert claim(api)["spec"]["volumeName"] == "one"
    assert claim(api, "mine")["spec"]["volumeName"] == "kept"


@pytest.mark.virtual
async def test_a_reservation_that_lost_its_claim_to_another_volume_is_a_reservation_again() -> None:
    api = FakeApi()
    bound = add_claim(api, volumeName="other", annotations={decide.BIND_COMPLETED: "yes"})
    reference = {"namespace": "d", "name": "c", "uid": bound["metadata"]["uid"]}
    api.add(PERSISTENT_VOLUMES, volume("other", claimRef=reference))
    api.add(PERSISTENT_VOLUMES, volume("kept", claimRef=reference))
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
    kept = api.object(PERSISTENT_VOLUMES, "kept")
    assert kept["spec"]["claimRef"] == {"namespace": "d", "name": "c"}
    assert kept["status"]["phase"] == "Available"


def test_deleting_is_left_to_the_external_provisioner_that_made_the_volume() -> None:
    made = volume("v", csi={"driver": "x", "volumeHandle": "h"})
    made["metadata"]["annotations"] = {decide.PROVISIONED_BY: "example.com/disk"}
    assert decide.plan_deletion(made).volume is made
    made["metadata"]["annotations"] = {}
    assert decide.plan_deletion(made).volume["status"]["phase"] == "Failed"


def test_absent_and_empty_attributes_classes_are_the_same() -> None:
    wanted = {"metadata": {"name": "c"}, "spec": {"volumeAttributesClassName": ""}}
    assert mismatch(volume("v"), wanted) == ""
    wanted["spec"]["volumeAttributesClassName"] = "gold"
    assert mismatch(volume("v"), wanted) == "volumeAttributesClassName does not match"


@settings(max_examples=40, deadline=None)
@given(st.integers())
def test_the_index_offers_what_a_look_at_all_volumes_finds(seed: int) -> None:
    rng = random.Random(seed)
    index, all_of = VolumeIndex(), {}
    for _ in range(60):
        name = f"v{rng.randrange(25)}"
        if rng.random() < 0.2:
            index.drop(name)
            all_of.pop(name, None)
            continue
        modes = rng.sample(["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"], rng.randint(1, 3))
        one = volume(name, f"{rng.randint(1, 9)}Gi", *modes, storageClassName=rng.choice(["", "a"]))
        if rng.random() < 0.3:
            one["spec"]["claimRef"] = {"namespace": "d", "name": rng.choice("xy")}
        index.put(one)
        all_of[name] = one
    wanted = {"metadata": {"name": "x", "namespace": "d"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    wanted["spec"] |= {"storageClassName": "a", "resources": {"requests": {"storage": "3Gi"}}}
    offered = list(index.free_for(wanted))
    suiting = [one for one in all_of.values() if is_free(one) and not mismatch(one, wanted)]
    assert {one["metadata"]["name"] for one in offered} == {one["metadata"]["name"] for one in suiting}
    ranks = [(len(one["spec"]["accessModes"]), capacity(one)) for one in offered]
    assert [rank[0] for rank in ranks] == sorted(rank[0] for rank in ranks)
    held = {one["metadata"]["name"] for one in index.reserved("d/x")}
    references = {name: one["spec"].get("claimRef") for name, one in all_of.items()}
    assert held == {name for name, reference in references.items() if reference and reference["name"] == "x"}
