"""Directories for claims: made private, tied to a node, removed with their volumes, and nothing else touched."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from controllerbench import running
from coxswain.api.names import EVENTS, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Object
from coxswain.base import clock
from coxswain.controllers.localpath import controller, decide
from coxswain.controllers.localpath.controller import STORAGE_CLASSES
from coxswain.controllers.pvbinder import controller as binder
from coxswain.controllers.pvbinder.decide import PROVISIONED_BY, PROVISIONER, SELECTED_NODE
from fakeapi import FakeApi

BOTH = (controller.DESCRIPTOR, binder.DESCRIPTOR)
UID = "0a1b2c3d-0000-4000-8000-000000000001"


def cluster(*nodes: str, **storage: Any) -> FakeApi:
    api = FakeApi()
    for name in nodes or ("n",):
        api.add(NODES, {"metadata": {"name": name, "labels": {decide.HOSTNAME: f"host-{name}"}}, "spec": {}})
    api.add(STORAGE_CLASSES, {"metadata": {"name": "local"}, "provisioner": decide.NAME, **storage})
    return api


def add_claim(api: FakeApi, **spec: Any) -> None:
    full = {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]}
    full |= {"storageClassName": "local", **spec}
    meta = {"name": "c", "namespace": "d", "uid": UID}
    api.add(PERSISTENT_VOLUME_CLAIMS, {"metadata": meta, "spec": full, "status": {"phase": "Pending"}})


def asked(api: FakeApi) -> None:
    """What the binder writes when it hands a claim over."""
    marks = {PROVISIONER: decide.NAME}
    api.change(PERSISTENT_VOLUME_CLAIMS, "c", "d", lambda c: c["metadata"].update(annotations=marks))


def phase(api: FakeApi) -> str:
    found: str = api.object(PERSISTENT_VOLUME_CLAIMS, "c", "d")["status"]["phase"]
    return found


def said(api: FakeApi, reason: str) -> list[str]:
    return [event["message"] for event in api.objects(EVENTS) if event["reason"] == reason]


@pytest.mark.virtual
@pytest.mark.parametrize("fault", ["none", "failure", "lost answer", "restart"])
async def test_a_claim_gets_a_directory_and_loses_it_with_its_volume(fault: str, tmp_path: Path) -> None:
    api, root = cluster(), tmp_path / "volumes"
    add_claim(api)
    if fault == "failure":
        for verb in ("create", "delete"):
            api.fail(verb, PERSISTENT_VOLUMES, times=2)
    elif fault == "lost answer":
        for verb in ("create", "delete"):
            api.lose_answer(verb, PERSISTENT_VOLUMES)
    elif fault == "restart":
        api.latency = 0.01
        async with running(api, *BOTH, directory=str(root)):
            await clock.sleep(0.04)
    async with running(api, *BOTH, directory=str(root)):
        await clock.sleep(30)
        assert phase(api) == "Bound"
        (volume,) = api.objects(PERSISTENT_VOLUMES)
        path = Path(volume["spec"]["hostPath"]["path"])
        assert path == root / f"pvc-{UID}"
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(root.stat().st_mode) == 0o700
        (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        assert term["matchExpressions"][0]["values"] == ["host-n"]
        (path / "data").write_text("x")
        writes = len(api.writes())
        await clock.sleep(3600)
        assert len(api.writes()) == writes
        api.remove(PERSISTENT_VOLUME_CLAIMS, "c", "d")
        await clock.sleep(60)
        assert api.objects(PERSISTENT_VOLUMES) == []
        assert list(root.iterdir()) == []


@pytest.mark.virtual
async def test_retained_volumes_keep_their_data(tmp_path: Path) -> None:
    api = cluster(reclaimPolicy="Retain")
    add_claim(api)
    async with running(api, *BOTH, directory=str(tmp_path)):
        await clock.sleep(5)
        api.remove(PERSISTENT_VOLUME_CLAIMS, "c", "d")
        await clock.sleep(60)
    (volume,) = api.objects(PERSISTENT_VOLUMES)
    assert volume["status"]["phase"] == "Released"
    assert Path(volume["spec"]["hostPath"]["path"]).is_dir()


@pytest.mark.virtual
async def test_a_delayed_class_uses_the_node_that_the_scheduler_chose(tmp_path: Path) -> None:
    api = cluster("a", "b", volumeBindingMode="WaitForFirstConsumer")
    add_claim(api)
    async with running(api, *BOTH, directory=str(tmp_path)):
        await clock.sleep(5)
        assert list(tmp_path.iterdir()) == []
        chosen = {SELECTED_NODE: "b"}
        api.change(PERSISTENT_VOLUME_CLAIMS, "c", "d", lambda c: c["metadata"].update(annotations=chosen))
        await clock.sleep(5)
        assert phase(api) == "Bound"
    (volume,) = api.objects(PERSISTENT_VOLUMES)
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == ["host-b"]


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("spec", "nodes", "why"),
    [
        ({"volumeMode": "Block"}, ("n",), "volumeMode Block"),
        ({"accessModes": ["ReadWriteMany"]}, ("n",), "ReadWriteMany"),
        ({"selector": {"matchLabels": {"a": "b"}}}, ("n",), "Selector"),
        ({"dataSource": {"kind": "VolumeSnapshot", "name": "s"}}, ("n",), "data source"),
        ({}, ("a", "b"), "WaitForFirstConsumer"),
    ],
)
async def test_what_cannot_be_is_refused_once(
    spec: Object, nodes: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    api = cluster(*nodes)
    add_claim(api, **spec)
    asked(api)
    async with running(api, controller.DESCRIPTOR, directory=str(tmp_path)):
        await clock.sleep(3600)
    (message,) = said(api, "ProvisioningFailed")
    assert why in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.virtual
async def test_without_a_directory_nothing_is_made(tmp_path: Path) -> None:
    api = cluster()
    add_claim(api)
    asked(api)
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(60)
    assert "no directory" in said(api, "ProvisioningFailed")[0]


@pytest.mark.virtual
async def test_a_path_that_is_not_ours_is_never_removed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    api = cluster()
    for number, path in enumerate([precious, tmp_path / "root" / ".." / "precious"]):
        spec = {"hostPath": {"path": str(path)}, "persistentVolumeReclaimPolicy": "Delete"}
        meta = {"name": f"pvc-{number}{UID[1:]}", "annotations": {PROVISIONED_BY: decide.NAME}}
        api.add(PERSISTENT_VOLUMES, {"metadata": meta, "spec": spec, "status": {"phase": "Released"}})
    async with running(api, controller.DESCRIPTOR, directory=str(tmp_path / "root")):
        await clock.sleep(60)
    assert precious.is_dir()
    assert len(said(api, "VolumeFailedDelete")) == 2


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    kept, link = tmp_path / "kept", tmp_path / "link"
    kept.mkdir()
    (kept / "data").write_text("x")
    link.symlink_to(kept)
    controller.remove_directory(link)
    controller.remove_directory(tmp_path / "absent")
    assert (kept / "data").read_text() == "x"
    assert not link.exists()
