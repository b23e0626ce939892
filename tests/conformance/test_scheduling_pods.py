"""Where pods are placed and whom they displace, as conformance asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.whole_cluster import Whole, whole_cluster
from conformance.workload_objects import pod, workload
from coxswain.api import meta
from coxswain.api.errors import Invalid
from coxswain.api.names import EVENTS, GVR, NODES, PODS, REPLICA_SETS, Object

PREDICATES = "[sig-scheduling] SchedulerPredicates [Serial] "
PREEMPTION = "[sig-scheduling] SchedulerPreemption [Serial] "
PRIORITY_CLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses")
FOO = "example.com/foo"


def asking(amount: str, resource: str = "cpu") -> dict[str, Any]:
    """A container's resources: extended ones need a limit, too."""
    return {"container": {"resources": {"requests": {resource: amount}, "limits": {resource: amount}}}}


async def provide(it: Whole, amount: str, *nodes: str) -> None:
    """Give nodes an extended resource, as an administrator does."""
    for name in nodes:
        await it.patch(NODES, name, {"status": {"capacity": {FOO: amount}}}, subresource="status")
        await it.until_status(NODES, name, seconds=60)
        patch = {"status": {"allocatable": {FOO: amount}}}
        await it.patch(NODES, name, patch, subresource="status")


async def priority(it: Whole, name: str, value: int) -> None:
    await it.create(PRIORITY_CLASSES, {"metadata": {"name": name}, "value": value})


async def until_refused(it: Whole, name: str) -> str:
    """Why the scheduler found no node, as its event says."""

    async def told() -> str:
        found = await it.list(EVENTS, field_selector=f"involvedObject.name={name},reason=FailedScheduling")
        return str(found[0].get("message") or found[0].get("note")) if found else ""

    message = await it.until(told)
    assert not (await it.get(PODS, name))["spec"].get("nodeName")
    return message


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{PREDICATES}validates resource limits of pods that are allowed to run [Conformance]"
)
async def test_a_pod_waits_where_the_requests_of_others_leave_no_room(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        for number in range(2):
            filler = pod(f"filler-{number}", {"app": "filler"}, nodeName=f"node-{number}", **asking("7500m"))
            await it.create(PODS, filler)
        await it.until_pods(2, app="filler")
        await it.create(PODS, pod("additional", **asking("600m")))
        assert (await until_refused(it, "additional")).startswith(
            "0/2 nodes are available: 2 Insufficient cpu."
        )
        await it.delete(PODS, "filler-1")
        (placed,) = await it.until_pods(1, app="additional")
        assert placed["spec"]["nodeName"] == "node-1"


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{PREDICATES}validates that NodeSelector is respected if matching [Conformance]",
    f"{PREDICATES}validates that NodeSelector is respected if not matching [Conformance]",
)
async def test_a_pod_goes_only_to_a_node_with_the_labels_that_it_selects(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(PODS, pod("restricted", nodeSelector={"label": "nonempty"}))
        message = await until_refused(it, "restricted")
        assert message.startswith(
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
        )
        await it.patch(NODES, "node-1", {"metadata": {"labels": {"example.com/e2e": "42"}}})
        await it.create(PODS, pod("with-labels", nodeSelector={"example.com/e2e": "42"}))
        (placed,) = await it.until_pods(1, app="with-labels")
        assert placed["spec"]["nodeName"] == "node-1"


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{PREDICATES}validates that there exists conflict between pods with same hostPort and protocol but one "
    "using 0.0.0.0 hostIP [Conformance]"
)
async def test_a_host_port_at_every_address_is_taken_at_each(tmp_path: Path) -> None:
    def bound(name: str, address: str, protocol: str = "TCP") -> Object:
        port = {"containerPort": 8080, "hostPort": 21054, "protocol": protocol, "hostIP": address}
        return pod(name, nodeSelector={"kubernetes.io/hostname": "node-0"}, container={"ports": [port]})

    async with whole_cluster(tmp_path) as it:
        await it.create(PODS, bound("pod4", "0.0.0.0"))
        await it.until_pods(1, app="pod4")
        await it.create(PODS, bound("pod5", "192.0.2.1"))
        message = await until_refused(it, "pod5")
        assert "1 node(s) didn't have free ports for the requested pod ports" in message


@pytest.mark.virtual
@pytest.mark.conformance(f"{PREEMPTION}validates basic preemption works [Conformance]")
async def test_the_least_of_the_pods_makes_room_for_one_that_is_more_important(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        for name, value in (("low", 1), ("medium", 100), ("high", 1000)):
            await priority(it, name, value)
        await provide(it, "5", "node-0", "node-1")
        for number, (node, each) in enumerate(
            (("node-0", "low"), ("node-0", "medium"), ("node-1", "medium"), ("node-1", "medium"))
        ):
            spec = {"priorityClassName": each, "nodeSelector": {"kubernetes.io/hostname": node}}
            await it.create(PODS, pod(f"pod-{number}", {"app": "victims"}, **spec, **asking("2", FOO)))
        before = {meta.name(each): meta.uid(each) for each in await it.until_pods(4, app="victims")}
        await it.create(PODS, pod("preemptor", priorityClassName="high", **asking("2", FOO)))
        (placed,) = await it.until_pods(1, app="preemptor")
        assert placed["spec"]["nodeName"] == "node-0"
        after = {meta.name(each): meta.uid(each) for each in await it.pods(app="victims")}
        assert after == {name: uid for name, uid in before.items() if name != "pod-0"}


@pytest.mark.virtual
@pytest.mark.conformance(f"{PREEMPTION}validates lower priority pod preemption by critical pod [Conformance]")
async def test_a_critical_pod_of_the_system_displaces_others(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, nodes=1) as it:
        await priority(it, "low", 1)
        await provide(it, "3", "node-0")
        await it.create(PODS, pod("low", priorityClassName="low", **asking("2", FOO)))
        await it.until_pods(1, app="low")
        critical = pod("critical", priorityClassName="system-cluster-critical", **asking("2", FOO))
        made = await it.create(PODS, critical, "kube-system")
        assert made["spec"]["priority"] == 2_000_000_000
        await it.until_pods(1, "kube-system", app="critical")
        assert not await it.exists(PODS, "low")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{PREEMPTION}validates pod disruption condition is added to the preempted pod [Conformance]"
)
async def test_a_displaced_pod_is_told_why(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, nodes=1) as it:
        await priority(it, "low", 1)
        await priority(it, "high", 1000)
        await provide(it, "1", "node-0")
        victim = pod("victim", priorityClassName="low", **asking("1", FOO))
        victim["metadata"]["finalizers"] = ["example.com/test-finalizer"]
        await it.create(PODS, victim)
        await it.until_pods(1, app="victim")
        await it.create(PODS, pod("preemptor", priorityClassName="high", **asking("1", FOO)))

        async def ended() -> Object | None:
            found = await it.get(PODS, "victim")
            return found if meta.is_terminating(found) and meta.pod_phase(found) != "Running" else None

        found = await it.until(ended)
        condition = meta.condition(found, "DisruptionTarget") or {}
        assert (condition["status"], condition["reason"]) == ("True", "PreemptionByScheduler")
        assert condition["message"] == "default-scheduler: preempting to accommodate a higher priority pod"
        await it.patch(PODS, "victim", {"metadata": {"finalizers": None}})
        await it.until_pods(1, app="preemptor")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{PREEMPTION}PreemptionExecutionPath runs ReplicaSets to verify preemption running path [Conformance]"
)
async def test_sets_lose_as_many_pods_as_a_more_important_one_needs(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, nodes=1) as it:
        await provide(it, "1000", "node-0")
        for number in range(1, 5):
            await priority(it, f"p{number}", number)
        async with it.following(PODS) as seen:
            for number, size in ((1, "200"), (2, "300"), (3, "450")):
                inner = {"priorityClassName": f"p{number}", **asking(size, FOO)}
                await it.create(REPLICA_SETS, workload("ReplicaSet", f"rs-{number}", 1, pod=inner))
                await it.until_pods(1, app=f"rs-{number}")
            inner = {"priorityClassName": "p4", **asking("500", FOO)}
            await it.create(REPLICA_SETS, workload("ReplicaSet", "rs-4", 1, pod=inner))
            await it.until_pods(1, app="rs-4")
            for number in (1, 2):
                (waiting,) = await it.until_pods(1, app=f"rs-{number}", ready=False)
                assert not waiting["spec"].get("nodeName")
        made = [meta.labels(obj)["app"] for kind, obj in seen.events if kind == "ADDED"]
        assert {name: made.count(name) for name in made} == {"rs-1": 2, "rs-2": 2, "rs-3": 1, "rs-4": 1}


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{PREEMPTION}PriorityClass endpoints verify PriorityClass endpoints can be operated with different HTTP "
    "methods [Conformance]"
)
async def test_priority_classes_are_handled_by_their_endpoints_and_keep_their_value(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, controllers="", nodes=0) as it:
        for name, value in (("p1", 1), ("p2", 2)):
            labelled = {"name": name, "labels": {"batch": "one"}}
            made = await it.create(PRIORITY_CLASSES, {"metadata": labelled, "value": value})
            assert made["preemptionPolicy"] == "PreemptLowerPriority"
        with pytest.raises(Invalid, match="may not be changed in an update"):
            await it.edit(PRIORITY_CLASSES, "p1", lambda obj: obj.update(value=10))
        with pytest.raises(Invalid, match="may not be changed in an update"):
            await it.patch(PRIORITY_CLASSES, "p2", {"value": 20})
        updated = await it.edit(PRIORITY_CLASSES, "p1", lambda obj: obj.update(description="updated"))
        assert updated["description"] == "updated"
        patched = await it.patch(PRIORITY_CLASSES, "p2", {"description": "patched"})
        assert patched["description"] == "patched"
        listed = await it.list(PRIORITY_CLASSES, label_selector="batch=one")
        assert {meta.name(each): each["value"] for each in listed} == {"p1": 1, "p2": 2}
        await it.delete_collection(PRIORITY_CLASSES, label_selector="batch=one")
        left = {meta.name(each) for each in await it.list(PRIORITY_CLASSES)}
        assert left == {"system-cluster-critical", "system-node-critical"}
