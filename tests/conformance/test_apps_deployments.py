"""Deployments do what conformance asks of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.endpoint_checks import check_scale, check_status_endpoints
from conformance.pretended_runtime import Process
from conformance.whole_cluster import Whole, whole_cluster
from conformance.workload_objects import READINESS, workload
from coxswain.api import meta
from coxswain.api.names import DEPLOYMENTS, PODS, REPLICA_SETS, Object
from coxswain.client.interface import STRATEGIC_MERGE_PATCH

NAMED = "[sig-apps] Deployment "
REVISION = "deployment.kubernetes.io/revision"


async def never_ready(process: Process) -> int:
    process.healthy = False
    await process.stopping.wait()
    return 0


def image_of(obj: Object) -> str:
    return str(obj["spec"]["template"]["spec"]["containers"][0]["image"])


def to(image: str) -> Any:
    """An edit: another image."""
    return lambda obj: obj["spec"]["template"]["spec"]["containers"][0].update(image=image)


async def sizes(it: Whole) -> dict[str, int]:
    """spec.replicas of each replica set by its image."""
    return {image_of(each): each["spec"]["replicas"] for each in await it.list(REPLICA_SETS)}


async def until_sizes(it: Whole, **wanted: int) -> None:
    expected = {image.replace("_", ":"): size for image, size in wanted.items()}

    async def reached() -> bool:
        return await sizes(it) == expected

    await it.until(reached)


async def until_complete(it: Whole, name: str, replicas: int) -> Object:
    return await it.until_status(
        DEPLOYMENTS, name, replicas=replicas, updatedReplicas=replicas, availableReplicas=replicas
    )


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}Deployment should have a working scale subresource [Conformance]")
async def test_scale_is_read_and_written(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(DEPLOYMENTS, workload("Deployment", "web", 1))
        await until_complete(it, "web", 1)
        await check_scale(it, DEPLOYMENTS, "web", "web")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}RecreateDeployment should delete old pods and create new ones [Conformance]"
)
async def test_recreate_never_runs_new_pods_beside_old_ones(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(DEPLOYMENTS, workload("Deployment", "web", 3, strategy={"type": "Recreate"}))
        await until_complete(it, "web", 3)
        async with it.following(PODS) as pods, it.following(DEPLOYMENTS) as states:
            await it.edit(DEPLOYMENTS, "web", to("web:2"))
            await until_complete(it, "web", 3)
        images: dict[str, set[str]] = {"web:1": set(), "web:2": set()}
        for kind, obj in pods.events:
            running = images[obj["spec"]["containers"][0]["image"]]
            (running.discard if kind == "DELETED" else running.add)(meta.name(obj))
            if meta.pod_phase(obj) == "Running" and not meta.is_terminating(obj) and images["web:2"]:
                assert not images["web:1"]
        assert len(images["web:2"]) == 3
        for _, obj in states.events:
            status = obj["status"]
            if (
                status.get("updatedReplicas")
                and status["observedGeneration"] == obj["metadata"]["generation"]
            ):
                assert status["replicas"] == status["updatedReplicas"]
        assert await sizes(it) == {"web:1": 0, "web:2": 3}


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}RollingUpdateDeployment should delete old pods and create new ones [Conformance]"
)
async def test_a_rolling_update_takes_over_an_old_set_and_counts_on_from_its_revision(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        old = workload("ReplicaSet", "old", 1, labels={"app": "web", "pod": "httpd"})
        old["spec"]["selector"] = {"matchLabels": {"app": "web"}}
        old["spec"]["selector"]["matchLabels"]["pod"] = "httpd"
        old["metadata"]["annotations"] = {REVISION: "3546343826724305832"}
        await it.create(REPLICA_SETS, old)
        await it.until_status(REPLICA_SETS, "old", readyReplicas=1)
        await it.create(
            DEPLOYMENTS,
            workload("Deployment", "web", 1, labels={"app": "web", "pod": "httpd"}, image="web:2"),
        )
        await until_complete(it, "web", 1)
        await until_sizes(it, web_1=0, web_2=1)
        deployment = await it.get(DEPLOYMENTS, "web")
        assert deployment["metadata"]["annotations"][REVISION] == "3546343826724305833"
        sets = {meta.name(each): each for each in await it.list(REPLICA_SETS)}
        assert all(meta.is_controlled_by(each, deployment) for each in sets.values())
        (new,) = [each for each in sets.values() if meta.name(each) != "old"]
        assert new["metadata"]["annotations"][REVISION] == "3546343826724305833"
        (pod,) = await it.until_pods(1, app="web")
        assert pod["spec"]["containers"][0]["image"] == "web:2"


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}deployment should delete old replica sets [Conformance]")
async def test_sets_beyond_the_history_limit_go(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(REPLICA_SETS, workload("ReplicaSet", "old", 1, labels={"app": "web"}))
        await it.until_status(REPLICA_SETS, "old", readyReplicas=1)
        async with it.following(PODS) as pods:
            await it.create(
                DEPLOYMENTS, workload("Deployment", "web", 1, image="web:2", revisionHistoryLimit=0)
            )
            await until_complete(it, "web", 1)
            await it.until_gone(REPLICA_SETS, "old")
        assert pods.types().count("ADDED") == 1
        assert await sizes(it) == {"web:2": 1}


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}deployment should support proportional scaling [Conformance]")
async def test_scaling_in_the_middle_of_a_rollout_is_shared_out_in_proportion(tmp_path: Path) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    probe = {"container": {"readinessProbe": READINESS}}
    async with whole_cluster(tmp_path, programs={"web:2": never_ready}) as it:
        await it.create(DEPLOYMENTS, workload("Deployment", "web", 10, strategy=rolling, pod=probe))
        await until_complete(it, "web", 10)
        await it.edit(DEPLOYMENTS, "web", to("web:2"))
        await until_sizes(it, web_1=8, web_2=5)
        await it.until_status(DEPLOYMENTS, "web", availableReplicas=8, updatedReplicas=5)
        await it.edit(DEPLOYMENTS, "web", lambda obj: obj["spec"].update(replicas=30))
        await until_sizes(it, web_1=20, web_2=13)
        await it.until_status(DEPLOYMENTS, "web", replicas=33, availableReplicas=20, updatedReplicas=13)


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}deployment should support rollover [Conformance]")
async def test_a_rollout_is_overtaken_by_the_next(tmp_path: Path) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    probe = {"container": {"readinessProbe": READINESS}}
    async with whole_cluster(tmp_path, programs={"web:bad": never_ready}) as it:
        await it.create(REPLICA_SETS, workload("ReplicaSet", "old", 1, labels={"app": "web"}, pod=probe))
        await it.until_status(REPLICA_SETS, "old", readyReplicas=1)
        made = workload(
            "Deployment", "web", 1, image="web:bad", strategy=rolling, minReadySeconds=10, pod=probe
        )
        await it.create(DEPLOYMENTS, made)
        await until_sizes(it, web_1=1, web_bad=1)
        await it.until_status(DEPLOYMENTS, "web", updatedReplicas=1, availableReplicas=1)
        await it.edit(DEPLOYMENTS, "web", to("web:3"))
        await until_complete(it, "web", 1)
        await until_sizes(it, web_1=0, web_bad=0, web_3=1)
        (pod,) = await it.until_pods(1, app="web")
        assert pod["spec"]["containers"][0]["image"] == "web:3"


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should run the lifecycle of a Deployment [Conformance]")
async def test_a_deployment_is_watched_patched_updated_and_deleted_as_a_collection(tmp_path: Path) -> None:
    chosen = {"label_selector": "batch=one"}
    async with whole_cluster(tmp_path) as it, it.following(DEPLOYMENTS, **chosen) as seen:
        made = workload("Deployment", "web", 2)
        made["metadata"]["labels"]["batch"] = "one"
        await it.create(DEPLOYMENTS, made)
        await seen.until("ADDED")
        await seen.until("MODIFIED", lambda obj: obj["status"].get("readyReplicas") == 2)
        inner = {"spec": {"containers": [{"name": "c", "image": "web:2"}]}}
        patch = {"metadata": {"labels": {"patched": "yes"}}, "spec": {"replicas": 1, "template": inner}}
        await it.patch(DEPLOYMENTS, "web", patch, kind=STRATEGIC_MERGE_PATCH)
        await seen.until("MODIFIED", lambda obj: obj["metadata"]["labels"].get("patched") == "yes")
        await until_complete(it, "web", 1)
        (listed,) = await it.list(DEPLOYMENTS, "", **chosen)
        assert (image_of(listed), listed["spec"]["replicas"]) == ("web:2", 1)

        def lie(obj: Object) -> None:
            obj["status"]["readyReplicas"] = 7
            obj["status"]["replicas"] = 9

        assert (await it.edit(DEPLOYMENTS, "web", lie, subresource="status"))["status"]["readyReplicas"] == 7
        await seen.until("MODIFIED", lambda obj: obj["status"].get("readyReplicas") == 7)
        await seen.until("MODIFIED", lambda obj: obj["metadata"]["generation"] > 1)
        await until_complete(it, "web", 1)
        lie_too = {"status": {"replicas": 6, "readyReplicas": 5}}
        await it.patch(DEPLOYMENTS, "web", lie_too, kind=STRATEGIC_MERGE_PATCH, subresource="status")
        await seen.until("MODIFIED", lambda obj: obj["status"].get("readyReplicas") == 5)
        await until_complete(it, "web", 1)
        await it.delete_collection(DEPLOYMENTS, **chosen)
        await seen.until("DELETED")
        await it.until_pods(0, app="web")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should validate Deployment Status endpoints [Conformance]")
async def test_status_is_read_and_written(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(DEPLOYMENTS, workload("Deployment", "web", 1))
        await until_complete(it, "web", 1)
        await check_status_endpoints(it, DEPLOYMENTS, "web")
