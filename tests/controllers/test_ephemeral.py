"""Ephemeral volumes get claims of their own, which go and come with their pods."""

from __future__ import annotations

import pytest

from controllerbench import running
from coxswain.api.errors import Forbidden
from coxswain.api.names import EVENTS, PERSISTENT_VOLUME_CLAIMS, PODS, Object
from coxswain.base import clock
from coxswain.controllers.ephemeral import controller, decide
from fakeapi import FakeApi

TEMPLATE = {
    "metadata": {"labels": {"of": "p"}, "annotations": {"a": "b"}},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def add_pod(api: FakeApi, name: str = "p", **meta: object) -> Object:
    volumes = [
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": TEMPLATE}},
        {"name": "other", "emptyDir": {}},
    ]
    return api.add(PODS, {"metadata": {"name": name, "namespace": "d", **meta}, "spec": {"volumes": volumes}})


def claims(api: FakeApi) -> list[Object]:
    return api.objects(PERSISTENT_VOLUME_CLAIMS, "d")


@pytest.mark.virtual
@pytest.mark.parametrize("fault", ["none", "failure", "lost answer"])
async def test_a_claim_is_made_and_owned_by_the_pod(fault: str) -> None:
    api = FakeApi()
    pod = add_pod(api)
    if fault == "failure":
        api.fail("create", PERSISTENT_VOLUME_CLAIMS, times=2)
    elif fault == "lost answer":
        api.lose_answer("create", PERSISTENT_VOLUME_CLAIMS)
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(30)
        (claim,) = claims(api)
        assert claim["metadata"]["name"] == "p-scratch"
        assert claim["metadata"]["labels"] == {"of": "p"}
        assert claim["metadata"]["annotations"] == {"a": "b"}
        assert claim["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": "p",
                "uid": pod["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
        assert claim["spec"] == TEMPLATE["spec"]
        writes = len(api.writes())
        await clock.sleep(3600)
        assert len(api.writes()) == writes


@pytest.mark.virtual
async def test_a_claim_of_somebody_else_is_not_taken_and_said_once_until_it_goes() -> None:
    api = FakeApi()
    api.add(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "p-scratch", "namespace": "d"}, "spec": {}})
    add_pod(api)
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(600)
        (event,) = api.objects(EVENTS)
        assert (event["reason"], event["type"], event.get("count", 1)) == ("FailedBinding", "Warning", 1)
        assert event["message"] == (
            "ephemeral volume scratch: PVC d/p-scratch was not created for pod d/p (pod is not owner)"
        )
        api.remove(PERSISTENT_VOLUME_CLAIMS, "p-scratch", "d")
        await clock.sleep(5)
        assert claims(api)[0]["metadata"]["ownerReferences"][0]["name"] == "p"


@pytest.mark.virtual
async def test_a_refused_claim_is_tried_again_and_the_pod_is_told_why() -> None:
    api = FakeApi()
    api.fail("create", PERSISTENT_VOLUME_CLAIMS, Forbidden("exceeded quota"), times=3)
    add_pod(api)
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(60)
    assert len(claims(api)) == 1
    (event,) = api.objects(EVENTS)
    assert "create PVC p-scratch: exceeded quota" in event["message"]


def test_a_pod_that_is_going_gets_no_claims() -> None:
    pod = add_pod(FakeApi(), deletionTimestamp="2026-01-01T00:00:00Z")
    assert decide.plan(pod, lambda _: None) == []
    assert list(decide.claim_keys(pod)) == []
