"""Budgets count what is healthy, whoever owns it; announcements of disruptions that did not happen are taken back."""

from __future__ import annotations

from typing import Any

import pytest

from controllerbench import running
from coxswain.api import meta
from coxswain.api.errors import Conflict
from coxswain.api.names import DEPLOYMENTS, EVENTS, PODS, REPLICA_SETS, Object
from coxswain.base import clock
from coxswain.controllers.disruption.controller import BUDGETS, DESCRIPTOR
from fakeapi import FakeApi


def add_budget(api: FakeApi, *, selector: Object | None = None, **spec: Any) -> None:
    wanted = selector if selector is not None else {"matchLabels": {"app": "web"}}
    api.add(BUDGETS, {"metadata": {"name": "b", "namespace": "d"}, "spec": {"selector": wanted, **spec}})


def add_owner(api: FakeApi, replicas: int) -> Object:
    """A Deployment of so many replicas; its replica set says otherwise, in the middle of a rollout."""
    spec = {"replicas": replicas}
    deployment = api.add(DEPLOYMENTS, {"metadata": {"name": "web", "namespace": "d"}, "spec": spec})
    owners = [meta.owner_reference({**deployment, "apiVersion": "apps/v1", "kind": "Deployment"})]
    metadata = {"name": "rs", "namespace": "d", "ownerReferences": owners}
    replica_set = api.add(REPLICA_SETS, {"metadata": metadata, "spec": {"replicas": replicas - 1}})
    return meta.owner_reference({**replica_set, "apiVersion": "apps/v1", "kind": "ReplicaSet"})


def add_pods(
    api: FakeApi, count: int, owner: Object | None = None, *, ready: bool = True, first: int = 0
) -> None:
    for number in range(first, first + count):
        metadata = {"name": f"p{number}", "namespace": "d", "labels": {"app": "web"}}
        metadata["ownerReferences"] = [owner] if owner else []
        conditions = [{"type": "Ready", "status": str(ready)}]
        status = {"phase": "Running", "conditions": conditions}
        api.add(PODS, {"metadata": metadata, "spec": {"nodeName": "n"}, "status": status})


def status(api: FakeApi) -> tuple[int, int, int, int]:
    """(allowed, healthy, desired, expected)"""
    found = api.object(BUDGETS, "b", "d")["status"]
    names = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    return tuple(found[name] for name in names)  # type: ignore[return-value]


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 7}, (2, 9, 7, 10)),
        ({"minAvailable": "75%"}, (1, 9, 8, 10)),
        ({"minAvailable": "100%"}, (0, 9, 10, 10)),
        ({"minAvailable": 0}, (9, 9, 0, 10)),
        ({"maxUnavailable": 3}, (2, 9, 7, 10)),
        ({"maxUnavailable": "25%"}, (2, 9, 7, 10)),
        ({"maxUnavailable": "0%"}, (0, 9, 10, 10)),
        ({"maxUnavailable": 99}, (9, 9, 0, 10)),
    ],
)
async def test_shares_are_of_the_deployments_scale_and_rounded_up(
    spec: Object, expected: tuple[int, ...]
) -> None:
    api = FakeApi()
    owner = add_owner(api, 10)
    add_pods(api, 9, owner)
    add_pods(api, 1, owner, ready=False, first=9)
    add_budget(api, **spec)
    async with running(api, DESCRIPTOR):
        await clock.sleep(5)
        assert status(api) == expected
        writes = len(api.writes())
        await clock.sleep(3600)
        assert len(api.writes()) == writes


@pytest.mark.virtual
async def test_pods_without_a_controller_count_for_numbers_and_not_for_shares() -> None:
    api = FakeApi()
    add_pods(api, 4)
    add_budget(api, minAvailable=3)
    async with running(api, DESCRIPTOR):
        await clock.sleep(5)
        assert status(api) == (1, 4, 3, 4)
        api.change(BUDGETS, "b", "d", lambda one: one["spec"].update(minAvailable="50%"))
        await clock.sleep(5)
        assert status(api) == (0, 4, 0, 0)


@pytest.mark.virtual
async def test_an_owner_that_cannot_be_found_allows_nothing_and_says_why() -> None:
    api = FakeApi()
    owner = add_owner(api, 3)
    add_pods(api, 3, {**owner, "uid": "another"})
    add_budget(api, maxUnavailable=1)
    async with running(api, DESCRIPTOR):
        await clock.sleep(5)
    found = api.object(BUDGETS, "b", "d")["status"]
    assert found["disruptionsAllowed"] == 0
    assert found["conditions"][0]["reason"] == "SyncFailed"
    assert "CalculateExpectedPodCountFailed" in {event["reason"] for event in api.objects(EVENTS)}


@pytest.mark.virtual
@pytest.mark.parametrize(("selector", "expected"), [({}, 2), (None, 0)])
async def test_an_empty_selector_means_all_pods_and_none_means_none(
    selector: Object | None, expected: int
) -> None:
    api = FakeApi()
    add_pods(api, 2)
    add_budget(api, selector={}, minAvailable=0)
    api.change(BUDGETS, "b", "d", lambda one: one["spec"].update(selector=selector))
    async with running(api, DESCRIPTOR):
        await clock.sleep(5)
        assert status(api)[3] == expected


@pytest.mark.virtual
async def test_a_granted_eviction_is_waited_for_two_minutes_and_then_given_up_with_a_word() -> None:
    api = FakeApi()
    add_pods(api, 3)
    add_budget(api, minAvailable=2)
    async with running(api, DESCRIPTOR):
        await clock.sleep(5)
        granted = {"disruptedPods": {"p0": clock.timestamp()}, "disruptionsAllowed": 0}
        api.change(BUDGETS, "b", "d", lambda one: one["status"].update(granted))
        await clock.sleep(60)
        assert status(api) == (0, 2, 2, 3)
        await clock.sleep(70)
        assert status(api) == (1, 3, 2, 3)
        assert "disruptedPods" not in api.object(BUDGETS, "b", "d")["status"]
    said = [event["message"] for event in api.objects(EVENTS) if event["reason"] == "NotDeleted"]
    assert said == ["Pod was expected by PDB d/b to be deleted but it wasn't"]


@pytest.mark.virtual
@pytest.mark.parametrize("fault", ["conflict", "lost answer"])
async def test_the_status_follows_whatever_fails(fault: str) -> None:
    api = FakeApi()
    add_pods(api, 3)
    add_budget(api, minAvailable=1)
    if fault == "conflict":
        api.fail("update", BUDGETS, Conflict, times=2)
    else:
        api.lose_answer("update", BUDGETS)
    async with running(api, DESCRIPTOR):
        await clock.sleep(10)
        assert status(api) == (2, 3, 1, 3)
        api.remove(PODS, "p0", "d")
        await clock.sleep(10)
        assert status(api) == (1, 2, 1, 2)


def announce(api: FakeApi, reason: str) -> None:
    new = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}
    new["lastTransitionTime"] = clock.timestamp()
    api.change(PODS, "p0", "d", lambda pod: pod["status"]["conditions"].append(new))


@pytest.mark.virtual
@pytest.mark.parametrize("fault", ["none", "conflict", "lost answer"])
async def test_a_disruption_that_did_not_happen_is_taken_back_after_two_minutes(fault: str) -> None:
    api = FakeApi()
    add_pods(api, 1)
    async with running(api, DESCRIPTOR):
        announce(api, "EvictionByEvictionAPI")
        await clock.sleep(110)
        assert meta.is_condition_true(api.object(PODS, "p0", "d"), "DisruptionTarget")
        if fault == "conflict":
            api.fail("patch", PODS, Conflict)
        elif fault == "lost answer":
            api.lose_answer("patch", PODS)
        await clock.sleep(20)
        taken_back = meta.condition(api.object(PODS, "p0", "d"), "DisruptionTarget")
        assert taken_back is not None
        assert (taken_back["status"], "reason" in taken_back) == ("False", False)
        assert meta.is_condition_true(api.object(PODS, "p0", "d"), "Ready")
        writes = len(api.writes())
        await clock.sleep(3600)
        assert len(api.writes()) == writes


@pytest.mark.virtual
async def test_what_the_kubelet_announces_stands() -> None:
    api = FakeApi()
    add_pods(api, 1)
    async with running(api, DESCRIPTOR):
        announce(api, "TerminationByKubelet")
        await clock.sleep(3600)
        assert api.writes() == []
