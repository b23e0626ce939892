"""Pods on their nodes do what conformance asks: init containers, probes, hooks, taints, generations, resizing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.pretended_runtime import Process
from conformance.whole_cluster import WORK, Whole, whole_cluster
from conformance.workload_objects import READINESS, pod
from coxswain.api import meta
from coxswain.api.errors import Forbidden, Invalid
from coxswain.api.names import NODES, PODS, SERVICES, Object
from coxswain.base import clock
from coxswain.client.interface import STRATEGIC_MERGE_PATCH

NODE = "[sig-node] "
TAINTED = {"key": "kubernetes.io/e2e-evict-taint-key", "value": "evictTaintVal", "effect": "NoExecute"}


async def succeed(process: Process) -> int:
    await clock.sleep(1)
    return 0


async def fail(process: Process) -> int:
    await clock.sleep(1)
    return 1


PROGRAMS = {"succeed": succeed, "fail": fail}


async def until_phase(it: Whole, name: str, phase: str) -> Object:
    return await it.until_status(PODS, name, phase=phase, seconds=600)


def box(name: str, image: str = "web:1", **more: Any) -> Object:
    return {"name": name, "image": image, **more}


# -- init containers


@pytest.mark.virtual
@pytest.mark.parametrize("policy", ["Never", "Always"])
@pytest.mark.conformance(
    f"{NODE}InitContainer [NodeConformance] should invoke init containers on a RestartNever pod [Conformance]",
    f"{NODE}InitContainer [NodeConformance] should invoke init containers on a RestartAlways pod [Conformance]",
)
async def test_init_containers_run_before_the_others(tmp_path: Path, policy: str) -> None:
    init = [box("init1", "succeed"), box("init2", "succeed")]
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        image = "succeed" if policy == "Never" else "web:1"
        await it.create(PODS, pod("p", image=image, initContainers=init, restartPolicy=policy))
        found = await until_phase(it, "p", "Succeeded" if policy == "Never" else "Running")
        states = found["status"]["initContainerStatuses"]
        assert [each["state"]["terminated"]["exitCode"] for each in states] == [0, 0]
        assert all(each["ready"] for each in states)
        assert (meta.condition(found, "Initialized") or {})["status"] == "True"
        ends = [each["state"]["terminated"]["finishedAt"] for each in states]
        starts = [each["state"]["terminated"]["startedAt"] for each in states]
        assert ends[0] <= starts[1]


@pytest.mark.virtual
@pytest.mark.parametrize("policy", ["Never", "Always"])
@pytest.mark.conformance(
    f"{NODE}InitContainer [NodeConformance] should not start app containers and fail the pod if init containers fail on a RestartNever pod [Conformance]",
    f"{NODE}InitContainer [NodeConformance] should not start app containers if init containers fail on a RestartAlways pod [Conformance]",
)
async def test_nothing_starts_behind_an_init_container_that_fails(tmp_path: Path, policy: str) -> None:
    init = [box("init1", "fail"), box("init2", "succeed")]
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        await it.create(PODS, pod("p", initContainers=init, restartPolicy=policy))
        if policy == "Never":
            found = await until_phase(it, "p", "Failed")
        else:
            await clock.sleep(120)
            found = await it.get(PODS, "p")
            assert found["status"]["phase"] == "Pending"
            assert found["status"]["initContainerStatuses"][0]["restartCount"] >= 3
        first, second = found["status"]["initContainerStatuses"]
        assert not first["ready"] and "waiting" in second["state"]
        (main,) = found["status"]["containerStatuses"]
        assert main["state"]["waiting"]["reason"] == "PodInitializing" and not main.get("started")
        initialized = meta.condition(found, "Initialized") or {}
        assert (initialized["status"], initialized["reason"]) == ("False", "ContainersNotInitialized")


# -- how containers end and begin again


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NODE}Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason [NodeConformance] [Conformance]",
    f"{NODE}Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete [NodeConformance] [Conformance]",
    f"{NODE}Probing container should have monotonically increasing restart count [NodeConformance] [Conformance]",
)
async def test_a_container_that_fails_says_so_and_is_started_again_until_it_is_deleted(
    tmp_path: Path,
) -> None:
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        await it.create(PODS, pod("p", image="fail"))
        counts = []
        for _ in range(6):
            await clock.sleep(60)
            (status,) = (await it.get(PODS, "p"))["status"]["containerStatuses"]
            counts.append(status["restartCount"])
        assert counts == sorted(counts) and counts[-1] >= 4
        assert status["lastState"]["terminated"]["reason"] == "Error"
        assert status["lastState"]["terminated"]["exitCode"] == 1
        await it.delete(PODS, "p", grace_period_seconds=0)
        await it.until_gone(PODS, "p")


@pytest.mark.virtual
@pytest.mark.conformance(
    f'{NODE}Probing container should be restarted with a exec "cat /tmp/health" liveness probe [NodeConformance] [Conformance]',
    f'{NODE}Probing container should *not* be restarted with a exec "cat /tmp/health" liveness probe [NodeConformance] [Conformance]',
    f"{NODE}Probing container with readiness probe should not be ready before initial delay and never restart [NodeConformance] [Conformance]",
    f"{NODE}Probing container with readiness probe that fails should never be ready and never restart [NodeConformance] [Conformance]",
)
async def test_probes_decide_on_readiness_and_restarts(tmp_path: Path) -> None:
    async def sick(process: Process) -> int:
        process.healthy = False
        return 0 if await process.stopping.wait() else 1

    liveness: Object = {"livenessProbe": {**READINESS, "initialDelaySeconds": 5}}
    late: Object = {"readinessProbe": {**READINESS, "initialDelaySeconds": 30}}
    async with whole_cluster(tmp_path, programs={"sick": sick}) as it:
        await it.create(PODS, pod("live", container=liveness))
        await it.create(PODS, pod("dying", image="sick", container=liveness))
        await it.create(PODS, pod("late", container=late))
        await it.create(PODS, pod("never", image="sick", container=late))
        await it.until_pods(1, app="live")
        await clock.sleep(20)
        assert not meta.is_pod_ready(await it.get(PODS, "late"))
        await it.until_pods(1, app="late")
        await clock.sleep(200)

        async def restarts(name: str) -> int:
            return int((await it.get(PODS, name))["status"]["containerStatuses"][0]["restartCount"])

        assert [await restarts(name) for name in ("live", "late", "never")] == [0, 0, 0]
        assert await restarts("dying") >= 2
        assert not meta.is_pod_ready(await it.get(PODS, "never"))


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NODE}Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart exec hook properly [NodeConformance] [Conformance]",
    f"{NODE}Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop exec hook properly [NodeConformance] [Conformance]",
    f"{NODE}PreStop should call prestop when killing a pod [Conformance]",
)
async def test_hooks_are_run_after_a_container_starts_and_before_it_stops(tmp_path: Path) -> None:
    hooks = {"postStart": {"exec": {"command": ["started"]}}, "preStop": {"exec": {"command": ["stopping"]}}}
    stopped: list[float] = []

    async def serve(process: Process) -> int:
        await process.stopping.wait()
        stopped.append(clock.now())
        return 0

    async with whole_cluster(tmp_path, programs={"server": serve}) as it:
        await it.create(
            PODS, pod("p", image="server", container={"lifecycle": hooks}, terminationGracePeriodSeconds=30)
        )
        await it.until_pods(1)
        process = it.process("p")
        assert [command for _, command in process.commands] == [["started"]]
        await it.delete(PODS, "p")
        await it.until_gone(PODS, "p")
        assert [command for _, command in process.commands] == [["started"], ["stopping"]]
        assert process.commands[1][0] <= stopped[0]


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("policy", "phase", "ready", "restarts", "state"),
    [
        ("Always", "Running", True, 2, "running"),
        ("OnFailure", "Succeeded", False, 1, "terminated"),
        ("Never", "Failed", False, 0, "terminated"),
    ],
)
@pytest.mark.conformance(
    f"{NODE}Container Runtime blackbox test when starting a container that exits should run with the expected status [NodeConformance] [Conformance]"
)
async def test_how_a_container_ends_shows_in_the_status_of_its_pod(
    tmp_path: Path, policy: str, phase: str, ready: bool, restarts: int, state: str
) -> None:
    async def three_times(process: Process) -> int:
        """Fails, then succeeds, then stays."""
        await clock.sleep(1)
        if process.config.attempt >= 2:
            await process.stopping.wait()
        return 0 if process.config.attempt else 1

    async with whole_cluster(tmp_path, programs={"exits": three_times}) as it:
        await it.create(PODS, pod("p", image="exits", restartPolicy=policy))
        await clock.sleep(60)
        status = (await it.get(PODS, "p"))["status"]
        (container,) = status["containerStatuses"]
        assert (status["phase"], container["ready"], container["restartCount"]) == (phase, ready, restarts)
        assert list(container["state"]) == [state]


# -- what may be changed in a pod


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NODE}Pods should be updated [NodeConformance] [Conformance]",
    f"{NODE}Pods should get a host IP [NodeConformance] [Conformance]",
    f"{NODE}Pods should be submitted and removed [NodeConformance] [Conformance]",
    f"{NODE}Pods should allow activeDeadlineSeconds to be updated [NodeConformance] [Conformance]",
    f"{NODE}Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory and cpu [Conformance]",
)
async def test_a_pod_is_submitted_updated_given_a_deadline_and_removed(tmp_path: Path) -> None:
    amounts = {"cpu": "100m", "memory": "100Mi"}
    resources = {"container": {"resources": {"requests": amounts, "limits": amounts}}}
    async with whole_cluster(tmp_path) as it, it.following(PODS) as seen:
        made = await it.create(PODS, pod("p", **resources))
        assert made["status"]["qosClass"] == "Guaranteed"
        await seen.until("ADDED")
        (running,) = await it.until_pods(1)
        nodes = {each["status"]["addresses"][0]["address"] for each in await it.list(NODES)}
        assert running["status"]["hostIP"] in nodes
        await it.edit(PODS, "p", lambda obj: obj["metadata"]["labels"].update(time="now"))
        assert len(await it.pods(time="now")) == 1
        await it.edit(PODS, "p", lambda obj: obj["spec"].update(activeDeadlineSeconds=5))
        failed = await until_phase(it, "p", "Failed")
        assert failed["status"]["reason"] == "DeadlineExceeded"
        with pytest.raises(Invalid, match="activeDeadlineSeconds"):
            await it.edit(PODS, "p", lambda obj: obj["spec"].update(activeDeadlineSeconds=50))
        await it.delete(PODS, "p")
        await seen.until("DELETED")
        assert not await it.pods()


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NODE}Pods Extended (pod generation) Pod Generation pod generation should start at 1 and increment per update [MinimumKubeletVersion:1.34] [Conformance]",
    f"{NODE}Pods Extended (pod generation) Pod Generation issue 500 podspec updates and verify generation and observedGeneration eventually converge [MinimumKubeletVersion:1.34] [Conformance]",
)
async def test_a_pods_generation_counts_the_changes_of_its_spec(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        amounts = {"cpu": "100m", "memory": "100Mi"}
        spec = {"resources": {"requests": amounts}}
        await it.create(PODS, pod("p", container=spec))
        await it.until_pods(1)

        async def generation() -> int:
            return int((await it.get(PODS, "p"))["metadata"]["generation"])

        async def observed() -> bool:
            found = await it.get(PODS, "p")
            return bool(found["status"]["observedGeneration"] == found["metadata"]["generation"])

        assert await generation() == 1
        await it.edit(PODS, "p", lambda obj: obj["metadata"].update(annotations={"key": "value"}))
        assert await generation() == 1
        key = {"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
        await it.edit(PODS, "p", lambda obj: obj["spec"]["tolerations"].append(key))
        assert await generation() == 2
        await it.edit(PODS, "p", lambda obj: obj["spec"].update(activeDeadlineSeconds=5000))
        assert await generation() == 3
        more = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "200m"}}}]}}
        await it.patch(PODS, "p", more, kind=STRATEGIC_MERGE_PATCH, subresource="resize")
        assert await generation() == 4
        extra = {"spec": {"ephemeralContainers": [box("debug")]}}
        await it.patch(PODS, "p", extra, kind=STRATEGIC_MERGE_PATCH, subresource="ephemeralcontainers")
        assert await generation() == 5
        await it.until(observed, 60)
        for number in range(50):
            await it.edit(PODS, "p", lambda obj, n=number: obj["spec"].update(activeDeadlineSeconds=4000 - n))  # type: ignore[misc]
        assert await generation() == 55
        await it.until(observed, 60)


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NODE}Ephemeral Containers [NodeConformance] will start an ephemeral container in an existing pod [Conformance]",
    f"{NODE}Ephemeral Containers [NodeConformance] should update the ephemeral containers in an existing pod [Conformance]",
)
async def test_an_ephemeral_container_joins_a_running_pod(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(PODS, pod("p"))
        await it.until_pods(1)
        extra = {"spec": {"ephemeralContainers": [box("debugger", "debug:1", targetContainerName="c")]}}
        await it.patch(PODS, "p", extra, kind=STRATEGIC_MERGE_PATCH, subresource="ephemeralcontainers")

        async def running() -> Object | None:
            states = (await it.get(PODS, "p"))["status"].get("ephemeralContainerStatuses") or ()
            return next((each for each in states if "running" in each["state"]), None)

        status = await it.until(running, 60)
        assert (status["name"], status["image"]) == ("debugger", "debug:1")
        assert len(await it.until_pods(1)) == 1
        found = await it.edit(
            PODS,
            "p",
            lambda obj: obj["spec"]["ephemeralContainers"].append(box("second")),
            subresource="ephemeralcontainers",
        )
        assert [each["name"] for each in found["spec"]["ephemeralContainers"]] == ["debugger", "second"]
        with pytest.raises((Invalid, Forbidden)):
            await it.edit(
                PODS,
                "p",
                lambda obj: obj["spec"]["ephemeralContainers"].pop(),
                subresource="ephemeralcontainers",
            )


# -- taints


def tolerating(name: str, seconds: int | None = None) -> Object:
    toleration: Object = {"key": TAINTED["key"], "value": TAINTED["value"], "effect": "NoExecute"}
    if seconds is not None:
        toleration["tolerationSeconds"] = seconds
    return pod(name, tolerations=[toleration], nodeSelector={"kubernetes.io/hostname": "node-0"})


async def taint(it: Whole, *taints: Object) -> None:
    await it.edit(NODES, "node-0", lambda obj: obj["spec"].update(taints=list(taints)))


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NODE}NoExecuteTaintManager Single Pod [Serial] removing taint cancels eviction [Disruptive] [Conformance]",
    f"{NODE}NoExecuteTaintManager Multiple Pods [Serial] evicts pods with minTolerationSeconds [Disruptive] [Conformance]",
)
async def test_pods_leave_a_tainted_node_when_their_time_is_up_unless_the_taint_goes(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        for name, seconds in (("soon", 5), ("later", 25), ("stays", None)):
            await it.create(PODS, tolerating(name, seconds))
        await it.create(PODS, pod("at-once", nodeSelector={"kubernetes.io/hostname": "node-0"}))
        await it.until_pods(4)
        async with it.following(PODS) as seen:
            await taint(it, TAINTED)
            await clock.sleep(3)
            assert {meta.name(each) for each in await it.pods()} == {"soon", "later", "stays"}
            await clock.sleep(12)
            assert {meta.name(each) for each in await it.pods()} == {"later", "stays"}
            evicted = await seen.until("DELETED", lambda obj: meta.name(obj) == "soon")
        condition = meta.condition(evicted, "DisruptionTarget") or {}
        assert (condition["status"], condition["reason"]) == ("True", "DeletionByTaintManager")
        await taint(it)
        await clock.sleep(120)
        assert {meta.name(each) for each in await it.pods()} == {"later", "stays"}


# -- what a container is told of services


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NODE}Pods should contain environment variables for services [NodeConformance] [Conformance]"
)
async def test_a_container_knows_the_services_of_its_namespace(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        ports = [{"port": 8765, "targetPort": 8080}]
        made = await it.create(
            SERVICES, {"metadata": {"name": "fooservice"}, "spec": {"ports": ports, "selector": {"a": "b"}}}
        )
        await clock.sleep(1)
        await it.create(PODS, pod("p"))
        await it.until_pods(1)
        env = it.process("p").env
        assert env["FOOSERVICE_SERVICE_HOST"] == made["spec"]["clusterIP"]
        assert env["FOOSERVICE_SERVICE_PORT"] == "8765"
        assert env["FOOSERVICE_PORT_8765_TCP_ADDR"] == made["spec"]["clusterIP"]
        assert env["KUBERNETES_SERVICE_PORT"] == "443"


# -- resizing


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NODE}Pod InPlace Resize Container resize pod via the replace endpoint [MinimumKubeletVersion:1.34] [Conformance]",
    note="the API's part: what is asked for changes, what the node gives is not looked at",
)
async def test_a_pods_resources_are_replaced_through_resize_alone(tmp_path: Path) -> None:
    amounts = {"cpu": "100m", "memory": "100Mi"}
    more = {"cpu": "200m", "memory": "200Mi"}

    def grow(obj: Object) -> None:
        obj["spec"]["containers"][0]["resources"] = {"requests": more, "limits": more}

    async with whole_cluster(tmp_path) as it:
        await it.create(PODS, pod("p", container={"resources": {"requests": amounts, "limits": amounts}}))
        await it.until_pods(1)
        with pytest.raises(Invalid):
            await it.edit(PODS, "p", grow)
        found = await it.edit(PODS, "p", grow, subresource="resize")
        assert found["spec"]["containers"][0]["resources"]["requests"] == more
        assert meta.namespace(found) == WORK
