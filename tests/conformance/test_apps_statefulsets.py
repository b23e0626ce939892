"""StatefulSets do what conformance asks of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.endpoint_checks import check_collection, check_scale, check_status_endpoints
from conformance.whole_cluster import Whole, whole_cluster
from conformance.workload_objects import READINESS, pod, workload
from coxswain.api import meta
from coxswain.api.names import PODS, STATEFUL_SETS, Object
from coxswain.base import clock

NAMED = "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] "
REVISION = "controller-revision-hash"
PROBED: dict[str, Any] = {"container": {"readinessProbe": READINESS}}


def stateful(replicas: int, **spec: Any) -> Object:
    return workload("StatefulSet", "ss", replicas, pod=PROBED, **spec)


def to(image: str) -> Any:
    """An edit: another image."""
    return lambda obj: obj["spec"]["template"]["spec"]["containers"][0].update(image=image)


async def scale(it: Whole, replicas: int) -> None:
    await it.patch(STATEFUL_SETS, "ss", {"spec": {"replicas": replicas}}, subresource="scale")


async def turn(it: Whole, healthy: bool) -> None:
    """Break or mend the readiness of every pod that is there."""
    for each in await it.pods(app="ss"):
        it.process(meta.name(each)).healthy = healthy


async def revisions(it: Whole) -> dict[str, str]:
    return {meta.name(each): meta.labels(each)[REVISION] for each in await it.pods(app="ss")}


def images(pods: list[Object]) -> list[str]:
    return [each["spec"]["containers"][0]["image"] for each in sorted(pods, key=meta.name)]


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}Burst scaling should run to completion even with unhealthy pods [Slow] [Conformance]"
)
async def test_parallel_pods_are_scaled_whether_healthy_or_not(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(STATEFUL_SETS, stateful(1, podManagementPolicy="Parallel"))
        await it.until_status(STATEFUL_SETS, "ss", readyReplicas=1)
        await turn(it, healthy=False)
        await it.until_status(STATEFUL_SETS, "ss", replicas=1, readyReplicas=0)
        await scale(it, 3)
        await it.until_status(STATEFUL_SETS, "ss", replicas=3, readyReplicas=2)
        await turn(it, healthy=True)
        await it.until_status(STATEFUL_SETS, "ss", replicas=3, readyReplicas=3)
        await turn(it, healthy=False)
        await it.until_status(STATEFUL_SETS, "ss", replicas=3, readyReplicas=0)
        await scale(it, 0)
        await it.until_status(STATEFUL_SETS, "ss", replicas=0)
        await it.until_pods(0, app="ss")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}Scaling should happen in predictable order and halt if any stateful pod is unhealthy [Slow] [Conformance]"
)
async def test_ordered_pods_come_and_go_one_by_one_and_wait_for_unhealthy_ones(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        async with it.following(PODS, label_selector="app=ss") as up:
            await it.create(STATEFUL_SETS, stateful(1))
            await it.until_status(STATEFUL_SETS, "ss", readyReplicas=1)
            await turn(it, healthy=False)
            await it.until_status(STATEFUL_SETS, "ss", replicas=1, readyReplicas=0)
            await scale(it, 3)
            await clock.sleep(30)
            assert len(await it.pods(app="ss")) == 1
            await turn(it, healthy=True)
            await it.until_status(STATEFUL_SETS, "ss", readyReplicas=3)
        assert [meta.name(o) for kind, o in up.events if kind == "ADDED"] == ["ss-0", "ss-1", "ss-2"]
        async with it.following(PODS, label_selector="app=ss") as down:
            await turn(it, healthy=False)
            await it.until_status(STATEFUL_SETS, "ss", replicas=3, readyReplicas=0)
            await scale(it, 0)
            await clock.sleep(30)
            # The highest may go; those below it have to be ready first.
            assert len(await it.pods(app="ss")) == 3
            await turn(it, healthy=True)
            await it.until_pods(0, app="ss")
        assert [meta.name(o) for kind, o in down.events if kind == "DELETED"] == ["ss-2", "ss-1", "ss-0"]


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}Should recreate evicted statefulset [Conformance]")
async def test_a_pod_that_its_node_refused_is_made_anew_until_there_is_room(tmp_path: Path) -> None:
    port: dict[str, Any] = {"container": {"ports": [{"containerPort": 21017, "hostPort": 21017}]}}
    async with whole_cluster(tmp_path) as it:
        await it.create(PODS, pod("first", nodeName="node-0", **port))
        await it.until_pods(1, app="first")
        inner = {**port, "nodeName": "node-0"}
        async with it.following(PODS, label_selector="app=ss") as seen:
            await it.create(STATEFUL_SETS, workload("StatefulSet", "ss", 1, pod=inner))
            failed = await seen.until("MODIFIED", lambda obj: meta.pod_phase(obj) == "Failed")
            assert failed["status"]["reason"] == "NodePorts"
            await seen.until("DELETED", lambda obj: meta.uid(obj) == meta.uid(failed))
            await it.delete(PODS, "first")
            (running,) = await it.until_pods(1, app="ss")
        assert (meta.name(running), meta.uid(running) != meta.uid(failed)) == ("ss-0", True)


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should have a working scale subresource [Conformance]")
async def test_scale_is_read_and_written(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(STATEFUL_SETS, stateful(1))
        await it.until_status(STATEFUL_SETS, "ss", readyReplicas=1)
        await check_scale(it, STATEFUL_SETS, "ss", "ss")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should list, patch and delete a collection of StatefulSets [Conformance]")
async def test_sets_are_listed_patched_and_deleted_as_a_collection(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(STATEFUL_SETS, stateful(1))
        await it.until_status(STATEFUL_SETS, "ss", readyReplicas=1)
        inner = {
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "web:2"}]}
        }
        patch = {"metadata": {"labels": {"patched": "yes"}}, "spec": {"replicas": 2, "template": inner}}
        await it.patch(STATEFUL_SETS, "ss", patch)
        await it.until_status(
            STATEFUL_SETS, "ss", replicas=2, readyReplicas=2, updatedReplicas=2, currentReplicas=2
        )
        assert images(await it.pods(app="ss")) == ["web:2", "web:2"]
        assert (await it.get(STATEFUL_SETS, "ss"))["metadata"]["labels"]["patched"] == "yes"
        others = [workload("StatefulSet", f"other-{number}", 1) for number in range(3)]
        await check_collection(it, STATEFUL_SETS, others, "some")
        await it.until_pods(1, app="other-2")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should perform canary updates and phased rolling updates of template modifications [Conformance]"
)
async def test_a_partition_holds_back_an_update_which_then_goes_down_phase_by_phase(tmp_path: Path) -> None:
    def strategy(partition: int) -> Object:
        return {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}

    async with whole_cluster(tmp_path) as it:
        await it.create(STATEFUL_SETS, stateful(3, updateStrategy=strategy(3)))
        status = (await it.until_status(STATEFUL_SETS, "ss", readyReplicas=3))["status"]
        old = status["currentRevision"]
        assert old == status["updateRevision"] and set((await revisions(it)).values()) == {old}
        await it.edit(STATEFUL_SETS, "ss", to("web:2"))

        async def announced() -> str:
            status = (await it.get(STATEFUL_SETS, "ss"))["status"]
            return str(status["updateRevision"]) if status["updateRevision"] != old else ""

        new = await it.until(announced)
        await clock.sleep(30)
        assert (await it.get(STATEFUL_SETS, "ss"))["status"]["currentRevision"] == old
        assert set((await revisions(it)).values()) == {old}

        async def reached(wanted: list[str]) -> None:
            expected = {f"ss-{number}": revision for number, revision in enumerate(wanted)}

            async def same() -> bool:
                return await revisions(it) == expected

            await it.until_pods(3, app="ss")
            await it.until(same)
            await it.until_pods(3, app="ss")

        await it.patch(STATEFUL_SETS, "ss", {"spec": {"updateStrategy": strategy(2)}})
        await reached([old, old, new])
        # Pods that are made anew keep the side of the partition on which they are.
        for name in ("ss-0", "ss-2"):
            await it.delete(PODS, name)
        await clock.sleep(5)
        await reached([old, old, new])
        assert images(await it.pods(app="ss")) == ["web:1", "web:1", "web:2"]
        for partition, wanted in ((1, [old, new, new]), (0, [new, new, new])):
            await it.patch(STATEFUL_SETS, "ss", {"spec": {"updateStrategy": strategy(partition)}})
            await reached(wanted)
        found = await it.until_status(STATEFUL_SETS, "ss", currentReplicas=3, updatedReplicas=3)
        assert found["status"]["currentRevision"] == found["status"]["updateRevision"] == new


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should perform rolling updates and roll backs of template modifications [Conformance]"
)
async def test_an_update_goes_from_the_last_to_the_first_and_so_does_its_undoing(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(STATEFUL_SETS, stateful(3))
        old = (await it.until_status(STATEFUL_SETS, "ss", readyReplicas=3))["status"]["currentRevision"]
        # One pod that is not ready holds everything back, as pods are looked at in their order.
        it.process("ss-1").healthy = False
        await it.until_status(STATEFUL_SETS, "ss", readyReplicas=2)
        async with it.following(PODS, label_selector="app=ss") as seen:
            await it.edit(STATEFUL_SETS, "ss", to("web:2"))
            await clock.sleep(30)
            new = (await it.get(STATEFUL_SETS, "ss"))["status"]["updateRevision"]
            assert images(await it.pods(app="ss")) == ["web:1"] * 3
            it.process("ss-1").healthy = True
            await it.until_status(STATEFUL_SETS, "ss", currentRevision=new, readyReplicas=3)
        assert [meta.name(o) for kind, o in seen.events if kind == "DELETED"] == ["ss-2", "ss-1", "ss-0"]
        assert new != old and set((await revisions(it)).values()) == {new}
        async with it.following(PODS, label_selector="app=ss") as seen:
            await it.edit(STATEFUL_SETS, "ss", to("web:1"))
            await it.until_status(STATEFUL_SETS, "ss", currentRevision=old, readyReplicas=3)
        assert [meta.name(o) for kind, o in seen.events if kind == "DELETED"] == ["ss-2", "ss-1", "ss-0"]
        assert set((await revisions(it)).values()) == {old}
        assert images(await it.pods(app="ss")) == ["web:1"] * 3


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should validate Statefulset Status endpoints [Conformance]")
async def test_status_is_read_and_written(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(STATEFUL_SETS, stateful(1))
        await it.until_status(STATEFUL_SETS, "ss", readyReplicas=1)
        await check_status_endpoints(it, STATEFUL_SETS, "ss")
