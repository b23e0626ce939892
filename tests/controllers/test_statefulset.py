"""Stateful sets: order, identity, revisions, partitions, claims, and convergence under faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controllerbench import running
from controllers.workloads import World, template
from coxswain.api import meta
from coxswain.api.errors import Conflict
from coxswain.api.names import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS, Object
from coxswain.base import clock
from coxswain.base.tasks import Supervisor
from coxswain.controllers.statefulset.controller import DESCRIPTOR


def stateful_set(replicas: int = 3, **spec: Any) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "d"},
        "spec": {
            "serviceName": "db",
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(),
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    it = World()
    async with running(it.api, DESCRIPTOR), Supervisor("kubelet") as tasks:
        tasks.start("kubelet", it.kubelet())
        yield it


def names(it: World) -> list[str]:
    return [meta.name(pod) for pod in it.pods()]


def edit(it: World, **spec: Any) -> None:
    def change(owner: Object) -> None:
        owner["spec"].update(spec)
        owner["metadata"]["generation"] += 1

    it.api.change(STATEFUL_SETS, "db", "d", change)


def status(it: World) -> Object:
    return it.api.object(STATEFUL_SETS, "db", "d")["status"]


@pytest.mark.virtual
async def test_pods_come_and_go_in_order_with_an_identity() -> None:
    async with world() as it:
        it.api.add(STATEFUL_SETS, stateful_set(ordinals={"start": 2}))
        await it.settle(1)
        assert names(it) == ["db-2"]
        await it.settle()
        assert names(it) == ["db-2", "db-3", "db-4"]
        pod = it.pods()[0]
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-2", "db")
        assert meta.labels(pod)["apps.kubernetes.io/pod-index"] == "2"
        assert status(it)["availableReplicas"] == status(it)["updatedReplicas"] == 3
        edit(it, replicas=1)
        await it.settle()
        assert names(it) == ["db-2"]
        assert ("Normal", "SuccessfulDelete", "Delete Pod db-4 in StatefulSet db successful") in it.events()
        before = len(it.api.writes())
        await it.settle(3600)
        assert it.api.writes()[before:] == []


@pytest.mark.virtual
async def test_a_broken_pod_holds_up_an_ordered_set_but_not_a_parallel_one() -> None:
    async with world() as it:
        it.broken.add("web:1")
        it.api.add(STATEFUL_SETS, stateful_set())
        await it.settle()
        assert names(it) == ["db-0"]
    async with world() as it:
        it.broken.add("web:1")
        it.api.add(STATEFUL_SETS, stateful_set(podManagementPolicy="Parallel"))
        await it.settle()
        assert names(it) == ["db-0", "db-1", "db-2"]


@pytest.mark.virtual
async def test_an_update_goes_down_to_the_partition_and_back_by_renumbering() -> None:
    async with world() as it:
        it.api.add(STATEFUL_SETS, stateful_set())
        await it.settle()
        least: list[int] = []
        it.watchers.append(lambda world: least.append(len(world.ready())))
        edit(it, template=template("web:2"))
        it.api.change(
            STATEFUL_SETS,
            "db",
            "d",
            lambda owner: owner["spec"]["updateStrategy"]["rollingUpdate"].update(partition=2),
        )
        await it.settle()
        assert it.images() == ["web:1", "web:1", "web:2"]
        assert status(it)["currentRevision"] != status(it)["updateRevision"]
        it.api.remove(PODS, "db-0", "d")
        await it.settle()
        assert it.images() == ["web:1", "web:1", "web:2"]
        edit(it, template=template("web:1"))
        await it.settle()
        assert it.images() == ["web:1"] * 3
        revisions = it.api.objects(CONTROLLER_REVISIONS, "d")
        assert sorted(one["revision"] for one in revisions) == [2, 3]
        assert status(it)["currentRevision"] == status(it)["updateRevision"]
        assert min(least) >= 2


@pytest.mark.virtual
async def test_an_update_takes_no_second_pod_that_became_ready_unseen() -> None:
    async with world() as it:
        it.broken.add("web:1")
        it.api.add(STATEFUL_SETS, stateful_set(2, podManagementPolicy="Parallel"))
        await it.settle(5)
        it.api.hold(PODS)
        before = [meta.uid(pod) for pod in it.pods()]
        now = {"type": "Ready", "status": "True", "lastTransitionTime": clock.timestamp()}
        for name in names(it):
            it.api.change(
                PODS, name, "d", lambda pod: pod["status"].update(phase="Running", conditions=[now])
            )
        edit(it, template=template("web:2"))
        await it.settle(5)
        assert [meta.uid(pod) for pod in it.pods() if not meta.is_terminating(pod)] == before
        it.api.let_go(PODS)
        await it.settle(30)
        assert [pod["spec"]["containers"][0]["image"] for pod in it.pods()] == ["web:2", "web:2"]


@pytest.mark.virtual
async def test_an_update_takes_no_two_ready_pods_after_the_clock_was_set_back() -> None:
    async with world() as it:
        it.api.add(STATEFUL_SETS, stateful_set(2, podManagementPolicy="Parallel", minReadySeconds=5))
        await it.settle(30)
        for name in names(it):
            later = clock.format_time(clock.now() + 20)
            it.api.change(
                PODS,
                name,
                "d",
                lambda pod, at=later: pod["status"]["conditions"][0].update(lastTransitionTime=at),
            )
        before = {meta.uid(pod) for pod in it.pods()}
        edit(it, template=template("web:2"))
        await it.settle(3)
        assert {meta.uid(pod) for pod in it.pods() if not meta.is_terminating(pod)} == before
        await it.settle(90)
        assert [pod["spec"]["containers"][0]["image"] for pod in it.pods()] == ["web:2", "web:2"]


@pytest.mark.virtual
async def test_on_delete_waits_and_old_revisions_are_dropped() -> None:
    async with world() as it:
        it.api.add(
            STATEFUL_SETS, stateful_set(1, updateStrategy={"type": "OnDelete"}, revisionHistoryLimit=1)
        )
        await it.settle()
        for number in range(2, 6):
            edit(it, template=template(f"web:{number}"))
            await it.settle()
        assert it.images() == ["web:1"]
        it.api.remove(PODS, "db-0", "d")
        await it.settle()
        assert it.images() == ["web:5"]


@pytest.mark.virtual
async def test_a_set_that_goes_unseen_takes_back_no_claim_that_was_orphaned() -> None:
    async with world() as it:
        claims = [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]
        policy = {"whenDeleted": "Delete", "whenScaled": "Retain"}
        wanted = stateful_set(1, volumeClaimTemplates=claims, persistentVolumeClaimRetentionPolicy=policy)
        it.api.add(STATEFUL_SETS, wanted)
        await it.settle()
        it.api.hold(STATEFUL_SETS)
        going = {"deletionTimestamp": clock.timestamp(), "finalizers": ["orphan"]}
        it.api.change(STATEFUL_SETS, "db", "d", lambda owner: owner["metadata"].update(going))
        it.api.change(
            PERSISTENT_VOLUME_CLAIMS, "data-db-0", "d", lambda one: one["metadata"].pop("ownerReferences")
        )
        it.api.change(
            PODS, "db-0", "d", lambda pod: pod["metadata"].setdefault("annotations", {}).update(a="b")
        )
        await it.settle()
        assert meta.owner_references(it.api.object(PERSISTENT_VOLUME_CLAIMS, "data-db-0", "d")) == []


@pytest.mark.virtual
async def test_claims_are_made_kept_and_given_to_the_pod_that_goes() -> None:
    async with world() as it:
        claims = [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]
        policy = {"whenDeleted": "Delete", "whenScaled": "Delete"}
        it.api.add(
            STATEFUL_SETS,
            stateful_set(2, volumeClaimTemplates=claims, persistentVolumeClaimRetentionPolicy=policy),
        )
        await it.settle()
        found = it.api.objects(PERSISTENT_VOLUME_CLAIMS, "d")
        assert [meta.name(claim) for claim in found] == ["data-db-0", "data-db-1"]
        assert {meta.owner_references(claim)[0]["kind"] for claim in found} == {"StatefulSet"}
        edit(it, replicas=1)
        await it.settle()
        owners = meta.owner_references(it.api.object(PERSISTENT_VOLUME_CLAIMS, "data-db-1", "d"))
        assert [owner["kind"] for owner in owners] == ["Pod"]


@pytest.mark.virtual
@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
async def test_a_pod_is_made_when_the_claim_of_its_predecessor_has_gone(policy: str) -> None:
    async with world() as it:
        claims = [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]
        retention = {"whenDeleted": "Retain", "whenScaled": "Delete"}
        it.api.add(
            STATEFUL_SETS,
            stateful_set(
                2,
                podManagementPolicy=policy,
                volumeClaimTemplates=claims,
                persistentVolumeClaimRetentionPolicy=retention,
            ),
        )
        await it.settle()
        edit(it, replicas=1)
        await it.settle()
        edit(it, replicas=2)
        await it.settle()
        assert names(it) == ["db-0"], "the claim is still to go with the earlier pod"
        it.api.remove(PERSISTENT_VOLUME_CLAIMS, "data-db-1", "d")
        await it.settle()
        assert names(it) == ["db-0", "db-1"]
        assert meta.owner_references(it.api.object(PERSISTENT_VOLUME_CLAIMS, "data-db-1", "d")) == []


@pytest.mark.virtual
@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
async def test_faults_do_not_change_where_it_ends(policy: str) -> None:
    async with world() as it:
        it.api.lose_answer("create", CONTROLLER_REVISIONS)
        it.api.lose_answer("create", PODS, times=2)
        it.api.fail("update", STATEFUL_SETS, Conflict, times=3)
        it.api.add(STATEFUL_SETS, stateful_set(podManagementPolicy=policy))
        await it.settle(2)
        it.api.drop_watches()
        await it.settle(120)
        it.api.lose_answer("delete", PODS, times=2)
        edit(it, template=template("web:2"))
        await it.settle(2)
        it.api.drop_watches()
        await it.settle(300)
        assert names(it) == ["db-0", "db-1", "db-2"]
        assert it.images() == ["web:2"] * 3
        assert status(it)["readyReplicas"] == 3


@pytest.mark.virtual
async def test_min_ready_seconds_space_the_pods() -> None:
    async with world() as it:
        it.api.add(STATEFUL_SETS, stateful_set(2, minReadySeconds=30))
        await it.settle(20)
        assert names(it) == ["db-0"]
        await it.settle(60)
        assert status(it)["availableReplicas"] == 2
