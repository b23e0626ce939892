"""Replica sets: the right number of pods, adoption and release, failures, and no write when nothing changed."""

from __future__ import annotations

import pytest

from controllers.workloads import replica_set, template, world
from coxswain.api import meta
from coxswain.api.errors import Forbidden
from coxswain.api.names import PODS, REPLICA_SETS
from coxswain.base import clock
from coxswain.client.events import EventRecorder
from coxswain.controllers.expectations import TIMEOUT, Expectations
from coxswain.controllers.pods import PodControl, deletion_rank
from coxswain.controllers.replicaset.decide import BURST, new_status, plan_replicas
from fakeapi import FakeApi


def pod(
    name: str, *, node: str = "n", phase: str = "Running", ready: bool = True, **annotations: str
) -> dict:
    conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    return {
        "metadata": {
            "name": name,
            "namespace": "d",
            "uid": name,
            "labels": {"app": "web"},
            "annotations": annotations,
        },
        "spec": {"nodeName": node},
        "status": {"phase": phase, "conditions": conditions},
    }


def test_a_plan_is_bounded_by_the_burst() -> None:
    assert plan_replicas(replica_set(replicas=2000), [], [], 0).create == BURST


def test_pods_go_in_the_order_of_least_regret() -> None:
    pods = [
        pod("ready"),
        pod("costly", **{"controller.kubernetes.io/pod-deletion-cost": "100"}),
        pod("cheap", **{"controller.kubernetes.io/pod-deletion-cost": "-5"}),
        pod("not-ready", ready=False),
        pod("pending", phase="Pending", ready=False),
        pod("unassigned", node="", phase="Pending", ready=False),
    ]
    ranked = sorted(pods, key=lambda p: deletion_rank(p, {}, 1e9))
    assert [meta.name(p) for p in ranked] == [
        "unassigned",
        "pending",
        "not-ready",
        "cheap",
        "ready",
        "costly",
    ]


def test_of_two_pods_on_one_node_one_goes_first() -> None:
    pods = [pod("alone", node="a"), pod("together", node="b"), pod("sibling", node="b")]
    plan = plan_replicas(replica_set(replicas=1), pods[:2], pods, 1e9)
    assert [meta.name(p) for p in plan.delete] == ["together"]


@pytest.mark.virtual
async def test_a_pod_whose_deletion_got_no_answer_goes_again_before_others() -> None:
    """The cache shows it still, and would rank another first: that one would be a pod too many."""
    api, owner = FakeApi(), replica_set(replicas=1)
    pods = [api.add(PODS, pod(name, node=name)) for name in ("a", "b", "c")]
    client, expectations = api.client(), Expectations()
    recorder = EventRecorder(client, "test")
    control = PodControl(client, recorder, expectations)
    api.lose_answer("delete", PODS)
    failure = await control.delete("d/rs", owner, [pods[1], pods[2]])
    assert failure is not None and failure.code >= 500
    expectations.deleted("d/rs", meta.uid(pods[2]))  # the cache has seen this one go
    assert expectations.satisfied("d/rs")
    crowd = [*pods[:2], pod("sibling", node="a")]
    plan = plan_replicas(owner, pods[:2], crowd, 1e9, expectations.doubtful("d/rs"))
    assert [meta.name(p) for p in plan.delete] == ["b"]
    api.remove(PODS, "b", "d")
    assert await control.delete("d/rs", owner, plan.delete) is None  # not found, but still in the cache
    assert expectations.doubtful("d/rs") == {meta.uid(pods[1])}
    expectations.deleted("d/rs", meta.uid(pods[1]))
    assert not expectations.doubtful("d/rs")
    await recorder.close()


@pytest.mark.virtual
async def test_doubts_about_a_deletion_end() -> None:
    expectations = Expectations()
    expectations.expect_deletions("d/rs", ["a", "b"])
    expectations.deleted("d/rs", "a")
    expectations.doubt("d/rs", "a")  # it was seen to go before the answer failed
    expectations.doubt("d/rs", "b")
    assert expectations.satisfied("d/rs") and expectations.doubtful("d/rs") == {"b"}
    await clock.sleep(TIMEOUT + 1)
    assert not expectations.doubtful("d/rs")


def test_the_first_failure_stays_in_the_condition() -> None:
    owner = replica_set()
    owner["status"] = new_status(owner, [], 0, ("FailedCreate", "quota"), "t1", 0)
    again = new_status(owner, [], 0, ("FailedCreate", "other"), "t2", 0)
    assert again["conditions"] == owner["status"]["conditions"]
    assert "conditions" not in new_status(owner, [], 0, None, "t3", 0)


@pytest.mark.virtual
async def test_pods_are_created_counted_and_replaced() -> None:
    async with world() as it:
        it.api.add(REPLICA_SETS, replica_set(replicas=3))
        await it.settle()
        assert len(it.ready()) == 3
        status = it.sets()[0]["status"]
        assert (status["replicas"], status["readyReplicas"], status["availableReplicas"]) == (3, 3, 3)
        it.api.remove(PODS, meta.name(it.pods()[0]), "d")
        await it.settle()
        assert len(it.ready()) == 3
        it.api.change(REPLICA_SETS, "rs", "d", lambda rs: rs["spec"].update(replicas=1))
        await it.settle()
        assert len(it.pods()) == 1
        assert sum(reason == "SuccessfulCreate" for _, reason, _ in it.events()) == 4
        assert sum(reason == "SuccessfulDelete" for _, reason, _ in it.events()) == 2


@pytest.mark.virtual
async def test_a_pod_that_came_and_went_unseen_is_replaced_soon() -> None:
    async with world() as it:
        it.api.hold(PODS)
        it.api.add(REPLICA_SETS, replica_set(replicas=3))
        await it.settle(1)
        it.api.remove(PODS, meta.name(it.pods()[0]), "d")
        it.api.compact()
        it.api.drop_watches()
        await it.settle(10)
        it.api.let_go(PODS)
        await it.settle(30)
        assert len(it.ready()) == 3


@pytest.mark.virtual
async def test_pods_just_deleted_are_not_available_whatever_the_cache_shows() -> None:
    """A Deployment would take down as many others."""
    async with world() as it:
        it.api.add(REPLICA_SETS, replica_set(replicas=3))
        await it.settle()
        it.api.hold(PODS)
        it.api.change(REPLICA_SETS, "rs", "d", lambda rs: rs["spec"].update(replicas=1))
        await it.settle(5)
        for _ in range(2):
            status = it.sets()[0]["status"]
            assert (status["replicas"], status["availableReplicas"]) == (1, 1)
            # Whatever else happens to the set meanwhile.
            it.api.change(REPLICA_SETS, "rs", "d", lambda rs: rs["metadata"].update(annotations={"a": "b"}))
            await it.settle(5)
        it.api.let_go(PODS)
        await it.settle(60)
        after = it.sets()[0]["status"]
        assert after["replicas"] == 1 and "terminatingReplicas" not in after


@pytest.mark.virtual
async def test_a_steady_set_is_not_written() -> None:
    async with world() as it:
        it.api.add(REPLICA_SETS, replica_set())
        await it.settle()
        before = len(it.api.writes())
        await it.settle(3600)
        assert it.api.writes()[before:] == []


@pytest.mark.virtual
async def test_orphans_are_adopted_and_strangers_released() -> None:
    async with world() as it:
        orphan = {"metadata": {"name": "orphan", "namespace": "d", "labels": {"app": "web"}}, **_running()}
        it.api.add(PODS, orphan)
        it.api.add(REPLICA_SETS, replica_set(replicas=2))
        await it.settle()
        assert len(it.pods()) == 2
        assert meta.is_controlled_by(it.api.object(PODS, "orphan", "d"), it.sets()[0])
        it.api.change(PODS, "orphan", "d", lambda p: p["metadata"]["labels"].update(app="other"))
        await it.settle()
        assert meta.controller_of(it.api.object(PODS, "orphan", "d")) is None
        assert len(it.pods(app="web")) == 2


def _running() -> dict:
    return {"spec": {**template()["spec"], "nodeName": "n"}, "status": {"phase": "Running"}}


@pytest.mark.virtual
async def test_refused_pods_are_reported_and_tried_again_with_back_off() -> None:
    async with world() as it:
        it.api.fail("create", PODS, Forbidden("exceeded quota: q"), times=3)
        it.api.add(REPLICA_SETS, replica_set(replicas=2))
        await it.settle()
        assert ("Warning", "FailedCreate", "Error creating: exceeded quota: q") in it.events()
        assert len(it.ready()) == 2
        assert "conditions" not in it.sets()[0]["status"]


@pytest.mark.virtual
async def test_a_created_pod_whose_answer_was_lost_is_not_made_twice() -> None:
    async with world() as it:
        it.api.lose_answer("create", PODS)
        it.api.add(REPLICA_SETS, replica_set(replicas=3))
        await it.settle(900)
        assert len(it.active()) == 3


@pytest.mark.virtual
async def test_min_ready_seconds_delay_availability() -> None:
    async with world() as it:
        it.api.add(REPLICA_SETS, replica_set(replicas=1, minReadySeconds=60))
        await it.settle(20)
        assert "availableReplicas" not in it.sets()[0]["status"]
        await it.settle(60)
        assert it.sets()[0]["status"]["availableReplicas"] == 1
