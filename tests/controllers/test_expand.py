"""Claims that ask for more hear once who is to grow their volumes, or that nobody will."""

from __future__ import annotations

from typing import Any

import pytest

from controllerbench import running
from coxswain.api.names import EVENTS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Object
from coxswain.base import clock
from coxswain.controllers.expand import controller, decide
from fakeapi import FakeApi


def bound(api: FakeApi, **source: Any) -> None:
    meta = {"name": "c", "namespace": "d", "uid": "u"}
    spec = {"volumeName": "v", "resources": {"requests": {"storage": "1Gi"}}}
    status = {"phase": "Bound", "capacity": {"storage": "1Gi"}}
    api.add(PERSISTENT_VOLUME_CLAIMS, {"metadata": meta, "spec": spec, "status": status})
    reference = {"namespace": "d", "name": "c", "uid": "u"}
    volume = {"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"}, "claimRef": reference}}
    volume["spec"] |= source
    api.add(PERSISTENT_VOLUMES, volume)


def ask_for(api: FakeApi, size: str) -> None:
    def edit(claim: Object) -> None:
        claim["spec"]["resources"]["requests"]["storage"] = size

    api.change(PERSISTENT_VOLUME_CLAIMS, "c", "d", edit)


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"csi": {"driver": "x", "volumeHandle": "h"}}, "ExternalExpanding"),
        ({"cinder": {"volumeID": "h"}}, "ExternalExpanding"),
        ({"nfs": {"server": "s", "path": "/"}}, "VolumeResizeFailed"),
        ({"hostPath": {"path": "/x"}}, "VolumeResizeFailed"),
    ],
)
async def test_one_event_for_each_size_asked_for(source: Object, reason: str) -> None:
    api = FakeApi()
    bound(api, **source)
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
        assert api.writes() == []
        ask_for(api, "2Gi")
        await clock.sleep(600)
        (event,) = api.objects(EVENTS)
        assert event["reason"] == reason
        writes = len(api.writes())
        api.change(PERSISTENT_VOLUME_CLAIMS, "c", "d", lambda c: c["metadata"].update(labels={"a": "b"}))
        await clock.sleep(600)
        assert len(api.writes()) == writes
        ask_for(api, "1Gi")
        await clock.sleep(600)
        assert len(api.writes()) == writes


def test_what_an_external_provisioner_made_it_also_grows() -> None:
    api = FakeApi()
    bound(api, nfs={"server": "s", "path": "/"})
    ask_for(api, "3Gi")
    claim = api.object(PERSISTENT_VOLUME_CLAIMS, "c", "d")
    volume = api.object(PERSISTENT_VOLUMES, "v")
    volume["metadata"]["annotations"] = {"pv.kubernetes.io/provisioned-by": "example.com/nfs"}
    word = decide.plan(claim, volume)
    assert word is not None
    assert word.reason == "ExternalExpanding"
    volume["spec"]["claimRef"]["uid"] = "another"
    assert decide.plan(claim, volume) is None
