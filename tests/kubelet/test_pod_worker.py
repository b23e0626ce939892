"""The pod worker's decisions, without a runtime: a pretended one follows its instructions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coxswain.base import clock
from coxswain.kubelet.pod import worker as w
from coxswain.kubelet.pod.backoff import Backoff, go_duration
from coxswain.kubelet.pod.view import CONTAINER_HASH, PodView, container_hash
from coxswain.kubelet.pod.worker import PodWorker
from coxswain.kubelet.runtime.interface import Container, ContainerState, Sandbox, SandboxConfig

T0 = 1_767_225_600.0


class World:
    """A runtime that obeys at once, and one worker in it."""

    def __init__(self, pod: dict[str, Any]) -> None:
        self.now = T0
        self.sandboxes: list[Sandbox] = []
        self.containers: list[Container] = []
        self.probes: dict[tuple[str, str], bool] = {}
        self.worker = PodWorker(pod, "process", T0)
        self.log: list[str] = []
        self.number = 0

    @property
    def view(self) -> PodView:
        return PodView.of(self.sandboxes, self.containers, self.probes)

    def status(self) -> dict[str, Any]:
        return self.worker.status(self.view, self.now, ("10.0.0.1",))

    def step(self) -> list[w.Instruction]:
        """One decision, carried out."""
        plan = self.worker.decide(self.view, self.now)
        for step in plan:
            self.obey(step)
        return plan

    def settle(self) -> None:
        """Decide until nothing is left to do now."""
        for _ in range(20):
            plan = self.step()
            if not plan or all(isinstance(step, (w.BackOff, w.Finish)) for step in plan):
                return
        raise AssertionError(f"never settles: {self.log}")

    def obey(self, step: w.Instruction) -> None:
        self.number += 1
        match step:
            case w.CreateSandbox(attempt):
                self.log.append("sandbox")
                config = SandboxConfig("a", "d", "u", attempt, "a", "/logs")
                self.sandboxes.append(Sandbox(f"s{attempt}", True, self.now, ["10.1.0.2"], config))
            case w.StartContainer(spec, attempt, _):
                self.log.append(f"start {spec['name']}")
                self.containers.append(
                    Container(
                        f"{spec['name']}{attempt}", self.sandboxes[-1].id, spec["name"], attempt,
                        ContainerState.RUNNING, "img", "img", self.now, self.now,
                    )
                )  # fmt: skip
                self.worker.started(spec["name"])
            case w.KillContainer(kill, _, _):
                self.log.append(f"kill {kill.container.name}")
                self.exit(kill.container.name, 137)
            case w.StopPod() | w.StopSandboxes():
                self.log.append("stop pod")
                for box in list(self.containers):
                    if box.state is ContainerState.RUNNING:
                        self.exit(box.name, 143)
                self.sandboxes = [Sandbox(s.id, False, s.created_at, s.ips, s.config) for s in self.sandboxes]
            case w.Finish(delete):
                self.log.append("delete" if delete else "finish")

    def exit(self, name: str, code: int) -> None:
        """The running container of this name ends."""
        for index, box in enumerate(self.containers):
            if box.name == name and box.state is ContainerState.RUNNING:
                self.containers[index] = Container(
                    box.id, box.sandbox_id, name, box.attempt, ContainerState.EXITED, "img", "img",
                    box.created_at, box.started_at, self.now, code,
                )  # fmt: skip

    def state(self, name: str = "c") -> dict[str, Any]:
        status = self.status()
        every = [*status.get("initContainerStatuses", ()), *status["containerStatuses"]]
        return next(entry for entry in every if entry["name"] == name)


def pod(*containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **spec: Any) -> dict[str, Any]:
    full: dict[str, Any] = {"containers": list(containers) or [box("c")], "restartPolicy": "Always", **spec}
    if init:
        full["initContainers"] = list(init)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "namespace": "d", "uid": "u", "generation": 1},
        "spec": full,
        "status": {"phase": "Pending"},
    }


def box(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "img", "command": ["x"], **more}


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry["status"] for entry in status["conditions"]}


def test_a_new_pod_waits_then_gets_a_sandbox_and_its_containers() -> None:
    world = World(pod())
    status = world.status()
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    unready = next(c for c in status["conditions"] if c["type"] == "ContainersReady")
    assert (unready["reason"], unready["message"]) == (
        "ContainersNotReady",
        "containers with unready status: [c]",
    )
    assert conditions(status) == {
        "PodReadyToStartContainers": "False", "Initialized": "True", "Ready": "False",
        "ContainersReady": "False", "PodScheduled": "True",
    }  # fmt: skip
    world.settle()
    assert world.log == ["sandbox", "start c"]
    status = world.status()
    assert status["phase"] == "Running" and set(conditions(status).values()) == {"True"}
    assert (status["podIP"], status["hostIP"], status["qosClass"]) == ("10.1.0.2", "10.0.0.1", "BestEffort")
    assert status["observedGeneration"] == 1 and status["conditions"][0]["observedGeneration"] == 1


def test_init_containers_run_one_after_the_other_and_containers_wait_for_them() -> None:
    world = World(pod(init=(box("i"), box("j"))))
    world.settle()
    assert world.log == ["sandbox", "start i"]
    assert world.state("c")["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert conditions(world.status())["Initialized"] == "False"
    world.exit("i", 0)
    world.settle()
    world.exit("j", 0)
    world.settle()
    assert world.log == ["sandbox", "start i", "start j", "start c"]
    assert world.state("i")["ready"] and conditions(world.status())["Initialized"] == "True"


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    world = World(pod(init=(box("i"),), restartPolicy="Never"))
    world.settle()
    world.exit("i", 1)
    world.settle()
    assert world.status()["phase"] == "Failed"
    assert world.log == ["sandbox", "start i", "stop pod", "finish"]


def test_a_sidecar_starts_first_stays_and_is_restarted() -> None:
    world = World(pod(init=(box("side", restartPolicy="Always"), box("i"))))
    world.settle()
    assert world.log == ["sandbox", "start side", "start i"]
    world.exit("i", 0)
    world.settle()
    assert world.log[-1] == "start c"
    world.exit("side", 1)
    world.settle()
    assert world.log[-1] == "start side"
    assert world.status()["phase"] == "Running"


def test_a_sidecar_does_not_keep_a_finished_pod_alive() -> None:
    world = World(pod(init=(box("side", restartPolicy="Always"),), restartPolicy="OnFailure"))
    world.settle()
    world.exit("c", 0)
    world.settle()
    assert world.log[-2:] == ["stop pod", "finish"]
    assert world.status()["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [("Never", 0, "Succeeded"), ("Never", 3, "Failed"), ("OnFailure", 0, "Succeeded"),
     ("OnFailure", 3, "Running"), ("Always", 0, "Running"), ("Always", 3, "Running")],
)  # fmt: skip
def test_what_an_exit_means_depends_on_the_restart_policy(policy: str, code: int, phase: str) -> None:
    world = World(pod(restartPolicy=policy))
    world.settle()
    world.exit("c", code)
    world.settle()
    assert world.status()["phase"] == phase
    restarted = world.log.count("start c") == 2
    assert restarted == (phase == "Running")


def test_restarts_back_off_from_ten_seconds_to_five_minutes_and_forget_after_ten() -> None:
    world = World(pod())
    world.settle()
    waits = []
    for _ in range(8):
        world.exit("c", 1)
        world.settle()
        if world.worker.wake_at is not None:
            waits.append(round(world.worker.wake_at - world.now))
            assert world.state()["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            world.now = world.worker.wake_at
            world.settle()
    assert waits == [10, 20, 40, 80, 160, 300, 300]
    assert world.state()["restartCount"] == 8
    world.now += 601
    world.exit("c", 1)
    world.settle()
    assert world.state()["restartCount"] == 9 and world.worker.wake_at is None


def test_crash_loop_message_is_kubelets() -> None:
    world = World(pod())
    world.settle()
    for _ in range(2):
        world.exit("c", 1)
        world.settle()
    state = world.state()
    assert state["state"]["waiting"]["message"] == "back-off 10s restarting failed container=c pod=a_d(u)"
    assert state["lastState"]["terminated"]["exitCode"] == 1
    assert [go_duration(s) for s in (20, 80, 300, 3600)] == ["20s", "1m20s", "5m0s", "1h0m0s"]


def test_a_failed_liveness_probe_restarts_the_container() -> None:
    world = World(pod(box("c", livenessProbe={"exec": {}, "terminationGracePeriodSeconds": 3})))
    world.settle()
    world.probes["c0", "liveness"] = False
    plan = world.worker.decide(world.view, world.now)
    kill = plan[0]
    assert isinstance(kill, w.KillContainer) and kill.grace == 3
    assert kill.kill.message == "Container c failed liveness probe, will be restarted"
    world.settle()
    assert world.log[-2:] == ["kill c", "start c"]


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_another_image_restarts_the_container_whatever_the_policy(policy: str) -> None:
    first = pod(restartPolicy=policy)
    world = World(first)
    world.settle()
    made_from = {CONTAINER_HASH: container_hash(first["spec"]["containers"][0])}
    world.containers = [replace(each, annotations=made_from) for each in world.containers]
    assert world.step() == []
    world.worker.update(pod(box("c", image="img:2"), restartPolicy=policy))
    kill, start = world.step()
    assert isinstance(kill, w.KillContainer) and isinstance(start, w.StartContainer)
    assert kill.kill.message == "Container c definition changed, will be restarted"
    assert world.log[-2:] == ["kill c", "start c"]
    assert (world.status()["phase"], world.state()["restartCount"]) == ("Running", 1)


def test_an_ephemeral_container_is_started_once_and_is_of_no_account() -> None:
    world = World(pod(restartPolicy="OnFailure"))
    world.settle()
    world.worker.update(pod(restartPolicy="OnFailure", ephemeralContainers=[box("debug")]))
    world.settle()
    assert world.log == ["sandbox", "start c", "start debug"]
    (status,) = world.status()["ephemeralContainerStatuses"]
    assert "running" in status["state"] and not status["ready"] and "started" not in status
    assert conditions(world.status())["Ready"] == "True"
    world.exit("debug", 1)
    assert world.step() == []
    (status,) = world.status()["ephemeralContainerStatuses"]
    assert status["state"]["terminated"]["exitCode"] == 1
    world.exit("c", 0)
    world.step()
    assert world.status()["phase"] == "Succeeded"


def test_an_ephemeral_container_is_stopped_with_its_pod() -> None:
    world = World(pod(restartPolicy="Never", ephemeralContainers=[box("debug")]))
    world.settle()
    world.exit("c", 0)
    world.settle()
    assert world.status()["phase"] == "Succeeded" and not world.view.active


def test_readiness_and_startup_probes_rule_the_conditions() -> None:
    world = World(pod(box("c", readinessProbe={"exec": {}}, startupProbe={"exec": {}})))
    world.settle()
    assert (world.state()["started"], world.state()["ready"]) == (False, False)
    world.probes["c0", "startup"] = True
    assert (world.state()["started"], world.state()["ready"]) == (True, False)
    world.probes["c0", "readiness"] = True
    assert world.state()["ready"] and conditions(world.status())["Ready"] == "True"


def test_readiness_gates_hold_back_ready_only() -> None:
    world = World(pod(readinessGates=[{"conditionType": "x/y"}]))
    world.settle()
    found = conditions(world.status())
    assert (found["ContainersReady"], found["Ready"]) == ("True", "False")


def test_deletion_stops_the_pod_with_its_grace_and_then_deletes_it() -> None:
    world = World(pod(terminationGracePeriodSeconds=30))
    world.settle()
    meta = {
        **world.worker.pod["metadata"],
        "deletionTimestamp": "2026-01-01T00:00:30Z",
        "deletionGracePeriodSeconds": 7,
    }
    world.worker.update({**world.worker.pod, "metadata": meta})
    plan = world.step()
    assert plan == [w.StopPod(7.0)]
    world.settle()
    assert world.log[-1] == "delete"
    assert world.status()["phase"] == "Failed"


def test_a_pod_gone_by_force_is_stopped_and_not_deleted_again() -> None:
    world = World(pod())
    world.settle()
    world.worker.removed()
    world.settle()
    assert world.log[-2:] == ["stop pod", "finish"]


def test_the_active_deadline_fails_the_pod() -> None:
    world = World(pod(activeDeadlineSeconds=60))
    world.settle()
    assert world.worker.wake_at == T0 + 60
    world.now = T0 + 60
    world.settle()
    status = world.status()
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")


def test_a_lost_sandbox_is_made_again_with_everything_in_it() -> None:
    world = World(pod(init=(box("i"),)))
    world.settle()
    world.exit("i", 0)
    world.settle()
    first = world.sandboxes[0]
    world.sandboxes = [Sandbox(first.id, False, first.created_at, first.ips, first.config)]
    world.exit("c", 137)
    world.settle()
    assert "sandbox" in world.log[3:] and world.log.count("start i") == 2


def test_transition_times_move_only_with_the_status() -> None:
    world = World(pod())
    world.worker.said(world.status())
    world.settle()
    world.now += 100
    world.worker.said(world.status())
    times = {c["type"]: c["lastTransitionTime"] for c in world.worker.pod["status"]["conditions"]}
    assert times["PodScheduled"] == clock.format_time(T0)
    assert times["Ready"] == clock.format_time(T0 + 100)


def test_the_conditions_of_others_are_kept() -> None:
    world = World(pod())
    world.worker.said(world.status())
    foreign = {"type": "x/y", "status": "True"}
    world.worker.update({**world.worker.pod, "status": {"conditions": [foreign], "phase": "Pending"}})
    assert foreign in world.status()["conditions"]


def test_an_adopted_pod_is_left_as_it_runs() -> None:
    world = World(pod())
    world.settle()
    again = World(world.worker.pod)
    again.sandboxes, again.containers = world.sandboxes, world.containers
    assert again.step() == []
    assert again.status()["phase"] == "Running"


def test_a_container_level_rule_restarts_on_its_exit_code() -> None:
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    world = World(pod(box("c", restartPolicy="Never", restartPolicyRules=[rule]), restartPolicy="Never"))
    world.settle()
    world.exit("c", 42)
    world.settle()
    assert world.log.count("start c") == 2


def test_backoff_starts_anew_after_a_quiet_time() -> None:
    backoff = Backoff(10, 300)
    backoff.next("k", 0, 0)
    backoff.next("k", 1, 1)
    assert backoff.delay("k") == 20
    backoff.next("k", 700, 700)
    assert backoff.delay("k") == 10
