"""ReplicaSets and ReplicationControllers do what conformance asks of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.endpoint_checks import check_collection, check_scale, check_status_endpoints
from conformance.whole_cluster import Whole, whole_cluster
from conformance.workload_objects import pod, replication_controller, workload
from coxswain.api import meta
from coxswain.api.names import GVR, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, Object
from coxswain.base import clock

QUOTAS = GVR("", "v1", "resourcequotas")
RC = "[sig-apps] ReplicationController "
RS = "[sig-apps] ReplicaSet "


async def adopted(it: Whole, kind: str, name: str) -> Object:
    """The pod ``orphan``, once ``kind``/``name`` has adopted it."""

    async def reached() -> Object | None:
        found = await it.get(PODS, "orphan")
        owner = meta.controller_of(found)
        return found if owner is not None and (owner["kind"], owner["name"]) == (kind, name) else None

    return await it.until(reached)


async def released(it: Whole, name: str) -> None:
    async def reached() -> bool:
        return meta.controller_of(await it.get(PODS, name)) is None

    await it.until(reached)


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{RC}should adopt matching pods on creation [Conformance]",
    f"{RC}should release no longer matching pods [Conformance]",
)
async def test_a_controller_adopts_the_pod_that_matches_and_lets_go_of_one_that_no_longer_does(
    tmp_path: Path,
) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(PODS, pod("orphan", {"app": "rc"}))
        await it.create(REPLICATION_CONTROLLERS, replication_controller("rc", 1))
        first = await adopted(it, "ReplicationController", "rc")
        await it.until_status(REPLICATION_CONTROLLERS, "rc", readyReplicas=1)
        assert [meta.uid(p) for p in await it.pods(app="rc")] == [meta.uid(first)]
        await it.patch(PODS, "orphan", {"metadata": {"labels": {"app": "other"}}})
        await released(it, "orphan")
        (successor,) = await it.until_pods(1, app="rc")
        assert meta.name(successor) != "orphan" and await it.exists(PODS, "orphan")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{RS}should adopt matching pods on creation and release no longer matching pods [Conformance]"
)
async def test_a_set_adopts_the_pod_that_matches_and_lets_go_of_one_that_no_longer_does(
    tmp_path: Path,
) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(PODS, pod("orphan", {"app": "rs"}))
        await it.create(REPLICA_SETS, workload("ReplicaSet", "rs", 1))
        await adopted(it, "ReplicaSet", "rs")
        await it.patch(PODS, "orphan", {"metadata": {"labels": {"app": "other"}}})
        await released(it, "orphan")
        (successor,) = await it.until_pods(1, app="rs")
        assert meta.name(successor).startswith("rs-")


@pytest.mark.virtual
@pytest.mark.conformance(f"{RC}should get and update a ReplicationController scale [Conformance]")
async def test_a_controllers_scale_is_read_and_written(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(REPLICATION_CONTROLLERS, replication_controller("rc", 1))
        await it.until_status(REPLICATION_CONTROLLERS, "rc", readyReplicas=1)
        await check_scale(it, REPLICATION_CONTROLLERS, "rc", "rc")


@pytest.mark.virtual
@pytest.mark.conformance(f"{RS}Replicaset should have a working scale subresource [Conformance]")
async def test_a_sets_scale_is_read_and_written(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(REPLICA_SETS, workload("ReplicaSet", "rs", 1))
        await it.until_status(REPLICA_SETS, "rs", readyReplicas=1)
        await check_scale(it, REPLICA_SETS, "rs", "rs")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{RC}should surface a failure condition on a common issue like exceeded quota [Conformance]"
)
async def test_a_controller_says_that_a_quota_holds_it_back_until_it_no_longer_does(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        quota: dict[str, Any] = {"metadata": {"name": "two"}, "spec": {"hard": {"pods": "2"}}}
        await it.create(QUOTAS, quota)
        await it.until_status(QUOTAS, "two", hard={"pods": "2"})
        await it.create(REPLICATION_CONTROLLERS, replication_controller("rc", 3))

        async def failing() -> Object | None:
            found = await it.get(REPLICATION_CONTROLLERS, "rc")
            return meta.condition(found, "ReplicaFailure")

        condition = await it.until(failing)
        assert (condition["status"], condition["reason"]) == ("True", "FailedCreate")
        assert "exceeded quota: two, requested: pods=1, used: pods=2, limited: pods=2" in condition["message"]
        await it.patch(REPLICATION_CONTROLLERS, "rc", {"spec": {"replicas": 2}})

        async def mended() -> bool:
            return await failing() is None

        await it.until(mended)
        assert len(await it.pods(app="rc")) == 2


@pytest.mark.virtual
@pytest.mark.conformance(f"{RC}should test the lifecycle of a ReplicationController [Conformance]")
async def test_a_controller_is_watched_patched_scaled_and_deleted_as_a_collection(tmp_path: Path) -> None:
    async with (
        whole_cluster(tmp_path) as it,
        it.following(REPLICATION_CONTROLLERS, label_selector="batch=rc") as seen,
    ):
        made = replication_controller("rc", 1)
        made["metadata"]["labels"] = {"batch": "rc"}
        await it.create(REPLICATION_CONTROLLERS, made)
        await seen.until("ADDED")
        await seen.until("MODIFIED", lambda rc: rc["status"].get("readyReplicas") == 1)
        await it.patch(REPLICATION_CONTROLLERS, "rc", {"metadata": {"labels": {"patched": "yes"}}})
        await seen.until("MODIFIED", lambda rc: rc["metadata"]["labels"].get("patched") == "yes")
        wrong = {"status": {"readyReplicas": 0, "availableReplicas": 0}}
        answer = await it.patch(REPLICATION_CONTROLLERS, "rc", wrong, subresource="status")
        assert not answer["status"].get("readyReplicas")
        await seen.until("MODIFIED", lambda rc: not rc["status"].get("readyReplicas"))
        await it.until_status(REPLICATION_CONTROLLERS, "rc", readyReplicas=1, availableReplicas=1)
        status = await it.get(REPLICATION_CONTROLLERS, "rc", subresource="status")
        assert (status["kind"], status["status"]["replicas"]) == ("ReplicationController", 1)
        await it.patch(REPLICATION_CONTROLLERS, "rc", {"spec": {"replicas": 2}}, subresource="scale")
        await seen.until("MODIFIED", lambda rc: rc["status"].get("availableReplicas") == 2)
        (listed,) = await it.list(REPLICATION_CONTROLLERS, "", label_selector="batch=rc")
        assert listed["spec"]["replicas"] == 2
        await it.delete_collection(REPLICATION_CONTROLLERS, label_selector="batch=rc")
        await seen.until("DELETED")
        # A ReplicationController's pods are left alone unless the deletion says otherwise.
        await clock.sleep(30)
        assert [meta.owner_references(each) for each in await it.pods(app="rc")] == [[], []]


@pytest.mark.virtual
@pytest.mark.conformance(f"{RS}Replace and Patch tests [Conformance]")
async def test_a_set_is_replaced_and_patched(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(REPLICA_SETS, workload("ReplicaSet", "rs", 1))
        await it.until_status(REPLICA_SETS, "rs", readyReplicas=1)
        async with it.following(REPLICA_SETS) as seen:
            await it.edit(REPLICA_SETS, "rs", lambda rs: rs["spec"].update(replicas=2))
            await seen.until("MODIFIED", lambda rs: rs["status"].get("readyReplicas") == 2)
            inner = {
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "web:2"}]}
            }
            patch = {
                "metadata": {"labels": {"test-rs": "patched"}},
                "spec": {"replicas": 3, "template": inner},
            }
            await it.patch(REPLICA_SETS, "rs", patch)
            await seen.until(
                "MODIFIED",
                lambda rs: (
                    rs["metadata"]["labels"].get("test-rs") == "patched"
                    and rs["status"].get("readyReplicas") == 3
                ),
            )
        images = sorted(p["spec"]["containers"][0]["image"] for p in await it.pods(app="rs"))
        assert images == ["web:1", "web:1", "web:2"]


@pytest.mark.virtual
@pytest.mark.conformance(f"{RS}should list and delete a collection of ReplicaSets [Conformance]")
async def test_sets_are_listed_and_deleted_as_a_collection(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        sets = [workload("ReplicaSet", f"rs-{number}", number) for number in (3, 2, 1)]
        await check_collection(it, REPLICA_SETS, sets, "some")
        await it.until_pods(0, app="rs-0")
        await it.until_pods(1, app="rs-1")


@pytest.mark.virtual
@pytest.mark.conformance(f"{RS}should validate Replicaset Status endpoints [Conformance]")
async def test_a_sets_status_is_read_and_written(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(REPLICA_SETS, workload("ReplicaSet", "rs", 1))
        await it.until_status(REPLICA_SETS, "rs", readyReplicas=1)
        await check_status_endpoints(it, REPLICA_SETS, "rs")


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("resource", "made"),
    [
        (REPLICA_SETS, workload("ReplicaSet", "web", 2)),
        (REPLICATION_CONTROLLERS, replication_controller("web", 2)),
    ],
    ids=["replica set", "controller"],
)
@pytest.mark.conformance(
    f"{RS}should serve a basic image on each replica with a public image [Conformance]",
    f"{RC}should serve a basic image on each replica with a public image [Conformance]",
    note="each replica runs its container with an address and host name of its own; no page is fetched from it",
)
async def test_every_replica_runs_the_image_under_its_own_name(
    tmp_path: Path, resource: GVR, made: Object
) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(resource, made)
        pods = await it.until_pods(2, app="web")
        processes = [it.process(meta.name(each)) for each in pods]
        assert {p.sandbox.hostname for p in processes} == {meta.name(each) for each in pods}
        assert all(p.task is not None and not p.task.done() for p in processes)
        assert len({each["status"]["podIP"] for each in pods}) == 2
        await clock.sleep(120)
        assert not any(each["status"]["containerStatuses"][0]["restartCount"] for each in await it.pods())
