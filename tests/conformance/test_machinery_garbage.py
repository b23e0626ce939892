"""The garbage collector does what conformance asks of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.whole_cluster import whole_cluster
from conformance.workload_objects import pod, replication_controller, workload
from coxswain.api import meta
from coxswain.api.names import DEPLOYMENTS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS
from coxswain.base import clock

NAMED = "[sig-api-machinery] Garbage collector should "


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}delete pods created by rc when not orphaning [Conformance]")
async def test_pods_go_after_their_controller(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        rc = await it.create(REPLICATION_CONTROLLERS, replication_controller("rc", 2))
        await it.until_pods(2, app="rc")
        await it.delete(REPLICATION_CONTROLLERS, "rc", propagation="Background", uid=meta.uid(rc))
        assert not await it.exists(REPLICATION_CONTROLLERS, "rc")
        await it.until_pods(0, app="rc")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}orphan pods created by rc if delete options say so [Serial] [Conformance]")
async def test_pods_stay_where_the_deletion_orphans_them(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(REPLICATION_CONTROLLERS, replication_controller("rc", 5))
        await it.until_pods(5, app="rc")
        await it.delete(REPLICATION_CONTROLLERS, "rc", propagation="Orphan")
        await it.until_gone(REPLICATION_CONTROLLERS, "rc")
        await clock.sleep(60)
        left = await it.until_pods(5, app="rc")
        assert [meta.owner_references(each) for each in left] == [[]] * 5


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}delete RS created by deployment when not orphaning [Conformance]")
async def test_replica_sets_go_after_their_deployment(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(DEPLOYMENTS, workload("Deployment", "web", 2))
        await it.until_pods(2, app="web")
        await it.delete(DEPLOYMENTS, "web", propagation="Background")

        async def gone() -> bool:
            return not await it.list(REPLICA_SETS)

        await it.until(gone)
        await it.until_pods(0, app="web")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan [Conformance]"
)
async def test_replica_sets_stay_where_the_deletion_orphans_them(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(DEPLOYMENTS, workload("Deployment", "web", 2))
        before = {meta.uid(each) for each in await it.until_pods(2, app="web")}
        await it.delete(DEPLOYMENTS, "web", propagation="Orphan")
        await it.until_gone(DEPLOYMENTS, "web")
        await clock.sleep(60)
        (left,) = await it.list(REPLICA_SETS)
        assert not meta.owner_references(left)
        assert {meta.uid(each) for each in await it.until_pods(2, app="web")} == before


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}keep the rc around until all its pods are deleted if the deleteOptions says so [Serial] [Conformance]"
)
async def test_a_controller_waits_for_its_pods_where_the_deletion_is_in_the_foreground(
    tmp_path: Path,
) -> None:
    async with (
        whole_cluster(tmp_path) as it,
        it.following(PODS) as pods,
        it.following(REPLICATION_CONTROLLERS) as controllers,
    ):
        made = replication_controller("rc", 10)
        # Each pod holds on for a while, so that the controller has to wait.
        made["spec"]["template"]["metadata"]["finalizers"] = ["example.com/slow"]
        await it.create(REPLICATION_CONTROLLERS, made)
        await it.until_pods(10, app="rc")
        await it.delete(REPLICATION_CONTROLLERS, "rc", propagation="Foreground")
        waiting = await it.get(REPLICATION_CONTROLLERS, "rc")
        assert meta.is_terminating(waiting) and meta.finalizers(waiting) == ["foregroundDeletion"]
        for each in await it.pods(app="rc"):
            await clock.sleep(5)
            assert await it.exists(REPLICATION_CONTROLLERS, "rc")
            await it.patch(PODS, meta.name(each), {"metadata": {"finalizers": None}})
        await it.until_gone(REPLICATION_CONTROLLERS, "rc")
        assert not await it.pods(app="rc")
        ended = await controllers.until("DELETED")
        last = max(int(obj["metadata"]["resourceVersion"]) for kind, obj in pods.events if kind == "DELETED")
        assert last < int(ended["metadata"]["resourceVersion"])
        assert pods.types().count("ADDED") == 10


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}not delete dependents that have both valid owner and owner that's waiting for dependents to be "
    "deleted [Serial] [Conformance]"
)
async def test_a_pod_with_another_owner_stays(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(REPLICATION_CONTROLLERS, replication_controller("goes", 6))
        stays = await it.create(REPLICATION_CONTROLLERS, replication_controller("stays", 0))
        pods = await it.until_pods(6, app="goes")
        reference = {**meta.owner_reference({**stays, "kind": "ReplicationController"}), "apiVersion": "v1"}
        reference.pop("controller")
        reference.pop("blockOwnerDeletion")
        shared = {meta.name(each) for each in pods[:3]}
        for name in shared:
            await it.edit(PODS, name, lambda obj: obj["metadata"]["ownerReferences"].append(reference))
        await it.delete(REPLICATION_CONTROLLERS, "goes", propagation="Foreground")
        await it.until_gone(REPLICATION_CONTROLLERS, "goes")
        left = await it.pods(app="goes")
        assert {meta.name(each) for each in left} == shared
        assert {r["name"] for each in left for r in meta.owner_references(each)} == {"stays"}


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}not be blocked by dependency circle [Conformance]")
async def test_a_circle_of_owners_goes_as_a_whole(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        made = [await it.create(PODS, pod(f"pod{number}", {"app": "circle"})) for number in (1, 2, 3)]
        for number, each in enumerate(made):
            owner = made[number - 1]
            reference = {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": meta.name(owner),
                "uid": meta.uid(owner),
                "controller": True,
                "blockOwnerDeletion": True,
            }
            await it.patch(PODS, meta.name(each), {"metadata": {"ownerReferences": [reference]}})
        await it.until_pods(3, app="circle")
        await it.delete(PODS, "pod1", propagation="Foreground", uid=meta.uid(made[0]))
        await it.until_pods(0, app="circle")
