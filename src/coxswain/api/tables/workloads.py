"""Tables of what runs: pods, and the workloads that make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from coxswain.api.names import Object
from coxswain.api.tables.text import (
    NONE,
    Printer,
    age,
    boolean,
    containers,
    holds,
    human_duration,
    labels,
    meta,
    name,
    selector,
    since,
    spec,
    status,
    template_containers,
)
from coxswain.base.clock import parse_time


class _PodSummary:
    """What the containers' statuses add up to: kubectl's READY, STATUS and RESTARTS."""

    def __init__(self, pod: Object) -> None:
        self.pod = pod
        self.ready = 0
        self.restarts = 0
        self.last_restart = ""
        current = status(pod)
        self.reason: str = current.get("reason") or current.get("phase", "")
        for condition in current.get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
                self.reason = "SchedulingGated"
        init = spec(pod).get("initContainers") or []
        self._sidecars = {each["name"] for each in init if each.get("restartPolicy") == "Always"}
        self.total = len(spec(pod).get("containers") or []) + len(self._sidecars)
        initializing = self._initialization(current, len(init))
        if not initializing or holds(pod, "Initialized"):
            self._running(current)
        self._deletion(current)

    def _count_restarts(self, container: Object) -> None:
        self.restarts += container.get("restartCount", 0)
        terminated = (container.get("lastState") or {}).get("terminated")
        if terminated and (terminated.get("finishedAt") or "") > self.last_restart:
            self.last_restart = terminated["finishedAt"]

    def _initialization(self, current: Object, total: int) -> bool:
        """Walk the init containers up to the first that is not done; whether there is one."""
        for position, container in enumerate(current.get("initContainerStatuses") or ()):
            self._count_restarts(container)
            state = container.get("state") or {}
            terminated, waiting = state.get("terminated"), state.get("waiting")
            if terminated and not terminated.get("exitCode", 0):
                continue
            if container.get("name") in self._sidecars and container.get("started"):
                self.ready += bool(container.get("ready"))
                continue
            if terminated:
                self.reason = "Init:" + _ending(terminated)
            elif waiting and waiting.get("reason") and waiting["reason"] != "PodInitializing":
                self.reason = "Init:" + waiting["reason"]
            else:
                self.reason = f"Init:{position}/{total}"
            return True
        return False

    def _running(self, current: Object) -> None:
        self.restarts, self.last_restart = 0, ""
        for container in current.get("initContainerStatuses") or ():
            if container.get("name") in self._sidecars:
                self._count_restarts(container)
        has_running = False
        for container in reversed(current.get("containerStatuses") or ()):
            self._count_restarts(container)
            state = container.get("state") or {}
            terminated, waiting = state.get("terminated"), state.get("waiting")
            if waiting and waiting.get("reason"):
                self.reason = waiting["reason"]
            elif terminated:
                self.reason = _ending(terminated)
            elif container.get("ready") and state.get("running") is not None:
                has_running = True
                self.ready += 1
        if self.reason == "Completed" and has_running:
            self.reason = "Running" if holds(self.pod, "Ready") else "NotReady"

    def _deletion(self, current: Object) -> None:
        if not meta(self.pod).get("deletionTimestamp"):
            return
        if current.get("reason") == "NodeLost":
            self.reason = "Unknown"
        elif current.get("phase") not in ("Succeeded", "Failed"):
            self.reason = "Terminating"


def _ending(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _pod(pod: Object, now: float) -> list[Any]:
    summary = _PodSummary(pod)
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts = f"{restarts} ({since(summary.last_restart, now)} ago)"
    current = status(pod)
    addresses = current.get("podIPs") or [{}]
    return [
        name(pod),
        f"{summary.ready}/{summary.total}",
        summary.reason,
        restarts,
        age(pod, now),
        addresses[0].get("ip") or NONE,
        spec(pod).get("nodeName") or NONE,
        current.get("nominatedNodeName") or NONE,
        _readiness_gates(pod),
    ]


def _readiness_gates(pod: Object) -> str:
    gates = spec(pod).get("readinessGates") or []
    if not gates:
        return NONE
    return f"{sum(holds(pod, gate.get('conditionType', '')) for gate in gates)}/{len(gates)}"


def _pod_template(obj: Object, now: float) -> list[Any]:
    template = obj.get("template") or {}
    return [name(obj), *containers(template.get("spec")), labels(meta(template).get("labels"))]


def _deployment(obj: Object, now: float) -> list[Any]:
    current = status(obj)
    return [
        name(obj),
        f"{current.get('readyReplicas', 0)}/{spec(obj).get('replicas', 0)}",
        current.get("updatedReplicas", 0),
        current.get("availableReplicas", 0),
        age(obj, now),
        *template_containers(obj),
        selector(spec(obj).get("selector")),
    ]


def _replica_set(obj: Object, now: float) -> list[Any]:
    return [*_replicas(obj, now), selector(spec(obj).get("selector"))]


def _replication_controller(obj: Object, now: float) -> list[Any]:
    return [*_replicas(obj, now), labels(spec(obj).get("selector"))]


def _replicas(obj: Object, now: float) -> list[Any]:
    current = status(obj)
    return [
        name(obj),
        spec(obj).get("replicas", 0),
        current.get("replicas", 0),
        current.get("readyReplicas", 0),
        age(obj, now),
        *template_containers(obj),
    ]


def _stateful_set(obj: Object, now: float) -> list[Any]:
    ready = f"{status(obj).get('readyReplicas', 0)}/{spec(obj).get('replicas', 0)}"
    return [name(obj), ready, age(obj, now), *template_containers(obj)]


def _daemon_set(obj: Object, now: float) -> list[Any]:
    current = status(obj)
    pod_spec = (spec(obj).get("template") or {}).get("spec") or {}
    return [
        name(obj),
        current.get("desiredNumberScheduled", 0),
        current.get("currentNumberScheduled", 0),
        current.get("numberReady", 0),
        current.get("updatedNumberScheduled", 0),
        current.get("numberAvailable", 0),
        labels(pod_spec.get("nodeSelector")),
        age(obj, now),
        *template_containers(obj),
        selector(spec(obj).get("selector")),
    ]


def _controller_revision(obj: Object, now: float) -> list[Any]:
    controller = NONE
    for owner in meta(obj).get("ownerReferences") or ():
        if owner.get("controller"):
            group, slash, _ = owner.get("apiVersion", "").rpartition("/")
            kind = owner.get("kind", "").lower() + (f".{group}" if slash else "")
            controller = f"{kind}/{owner.get('name', '')}"
    return [name(obj), controller, obj.get("revision", 0), age(obj, now)]


#: The first of these conditions that holds is a job's status.
_JOB_STATES: Final = (
    ("Complete", "Complete"),
    ("Failed", "Failed"),
    ("Suspended", "Suspended"),
    ("FailureTarget", "FailureTarget"),
    ("SuccessCriteriaMet", "SuccessCriteriaMet"),
)


def _job(obj: Object, now: float) -> list[Any]:
    current, wanted = status(obj), spec(obj)
    succeeded, parallelism = current.get("succeeded", 0), wanted.get("parallelism") or 0
    if wanted.get("completions") is not None:
        completions = f"{succeeded}/{wanted['completions']}"
    elif parallelism > 1:
        completions = f"{succeeded}/1 of {parallelism}"
    else:
        completions = f"{succeeded}/1"
    duration = ""
    if current.get("startTime"):
        end = parse_time(current["completionTime"]) if current.get("completionTime") else now
        duration = human_duration(end - parse_time(current["startTime"]))
    state = next((shown for kind, shown in _JOB_STATES if holds(obj, kind)), "")
    if not state:
        state = "Terminating" if meta(obj).get("deletionTimestamp") else "Running"
    return [
        name(obj),
        state,
        completions,
        duration,
        age(obj, now),
        *template_containers(obj),
        selector(wanted.get("selector")),
    ]


def _cron_job(obj: Object, now: float) -> list[Any]:
    wanted, current = spec(obj), status(obj)
    job = (wanted.get("jobTemplate") or {}).get("spec") or {}
    last = current.get("lastScheduleTime")
    return [
        name(obj),
        wanted.get("schedule", ""),
        wanted.get("timeZone") or NONE,
        boolean(wanted.get("suspend")),
        len(current.get("active") or ()),
        since(last, now) if last else NONE,
        age(obj, now),
        *containers((job.get("template") or {}).get("spec")),
        selector(job.get("selector")),
    ]


PRINTERS: Final[Mapping[tuple[str, str], Printer]] = {
    ("", "pods"): _pod,
    ("", "podtemplates"): _pod_template,
    ("", "replicationcontrollers"): _replication_controller,
    ("apps", "controllerrevisions"): _controller_revision,
    ("apps", "daemonsets"): _daemon_set,
    ("apps", "deployments"): _deployment,
    ("apps", "replicasets"): _replica_set,
    ("apps", "statefulsets"): _stateful_set,
    ("batch", "cronjobs"): _cron_job,
    ("batch", "jobs"): _job,
}
