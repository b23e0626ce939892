"""A pod's status from what the runtime has: kubelet's ``generateAPIPodStatus``.

Container statuses first (state, last state, restart count, started, ready), from them the phase, then the
conditions. Pure; ``reasons`` holds why a container that should run does not (CrashLoopBackOff, ...).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock
from coxswain.kubelet.pod import conditions
from coxswain.kubelet.pod.view import (
    PodView,
    container_restart_policy,
    containers_of,
    ephemeral_containers_of,
    init_containers_of,
    is_sidecar,
    matches_restart_rules,
    restart_policy,
    should_restart,
)
from coxswain.kubelet.runtime.interface import Container, ContainerState

#: Exit code and message of a container of which nothing is left (kubelet's words).
_LOST_CODE = 137
_LOST_MESSAGE = "The container could not be located when the pod was terminated"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a status needs beyond the pod and its view. Times are seconds since the epoch.

    ``terminal``: the pod was stopped for good, so its phase is final. ``reason`` and ``message`` say why the
    kubelet itself ended or refused the pod (then the phase is Failed).
    """

    now: float
    start_time: float
    scheme: str
    host_ips: Sequence[str] = ()
    reasons: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    terminal: bool = False
    reason: str = ""
    message: str = ""


def generate(pod: Object, view: PodView, about: Circumstances) -> Object:
    """The whole ``status`` of ``pod``; its present one supplies times and what belongs to others."""
    old: Object = pod.get("status") or {}
    init = [_container_status(pod, box, view, about, True) for box in init_containers_of(pod)]
    regular = [_container_status(pod, box, view, about, False) for box in containers_of(pod)]
    phase = _phase(pod, init, regular, old, about)
    generation = int(pod["metadata"].get("generation") or 0)
    status: Object = {"phase": phase}
    if generation:
        status["observedGeneration"] = generation
    status["conditions"] = _conditions(pod, view, init, regular, phase, generation, about)
    for key, text in (("reason", about.reason), ("message", about.message)):
        if text or old.get(key):
            status[key] = text or old[key]
    status.update(_addresses(pod, view, old, about))
    status["startTime"] = old.get("startTime") or clock.format_time(about.start_time)
    if init:
        status["initContainerStatuses"] = init
    status["containerStatuses"] = regular
    if added := ephemeral_containers_of(pod):
        status["ephemeralContainerStatuses"] = [_ephemeral_status(pod, box, view, about) for box in added]
    status["qosClass"] = old.get("qosClass") or meta.qos_class(pod)
    return status


def _conditions(
    pod: Object,
    view: PodView,
    init: list[Object],
    regular: list[Object],
    phase: str,
    generation: int,
    about: Circumstances,
) -> list[Object]:
    present = (pod.get("status") or {}).get("conditions") or ()
    sandbox = view.sandbox
    network = sandbox is not None and sandbox.ready and bool(sandbox.ips or sandbox.config.host_network)
    containers = conditions.containers_ready(pod, init, regular, phase)
    new = [
        conditions.ready_to_start(network),
        conditions.initialized(pod, init, regular, phase),
        conditions.ready(pod, containers, present),
        containers,
        conditions.scheduled(),
    ]
    return conditions.merge(present, new, generation, clock.format_time(about.now))


def _addresses(pod: Object, view: PodView, old: Object, about: Circumstances) -> Object:
    found: Object = {}
    if about.host_ips:
        found["hostIP"] = about.host_ips[0]
        found["hostIPs"] = [{"ip": ip} for ip in about.host_ips]
    if pod["spec"].get("hostNetwork"):
        ips = list(about.host_ips)
    elif view.sandbox is not None:
        ips = list(view.sandbox.ips)
    else:
        ips = []
    if ips:
        found["podIP"] = ips[0]
        found["podIPs"] = [{"ip": ip} for ip in ips]
    elif old.get("podIP"):
        # An address once reported stays in the status of a pod that has ended.
        found["podIP"] = old["podIP"]
        found["podIPs"] = old.get("podIPs") or [{"ip": old["podIP"]}]
    return found


def _container_status(pod: Object, spec: Object, view: PodView, about: Circumstances, init: bool) -> Object:
    name = spec["name"]
    found = view.find(name)
    status: Object = {"name": name, "image": spec.get("image", ""), "imageID": ""}
    if found is None:
        state, last = _state_without_container(pod, name, about, init)
    else:
        state, last = _state(found, about.scheme), {}
        if (previous := view.previous(name)) is not None:
            last = _state(previous, about.scheme)
    restarts = found.attempt if found is not None else _old_restarts(pod, name)
    if name in about.reasons and should_restart(pod, spec, view) and not about.terminal:
        reason, message = about.reasons[name]
        if "terminated" in state:
            last = state
        state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    started, ready = _started_and_ready(spec, found, view, init)
    status.update(state=state, lastState=last, ready=ready, restartCount=restarts, started=started)
    if found is not None:
        status["image"] = found.image or status["image"]
        status["imageID"] = found.image_id
        status["containerID"] = f"{about.scheme}://{found.id}"
    _describe_resources(spec, status)
    return status


def _ephemeral_status(pod: Object, spec: Object, view: PodView, about: Circumstances) -> Object:
    """Nobody asks an ephemeral container whether it is ready, or has it started again."""
    status = _container_status(pod, spec, view, about, False)
    status.pop("started")
    return {**status, "ready": False}


def _describe_resources(spec: Object, status: Object) -> None:
    resources = spec.get("resources") or {}
    if resources.get("requests"):
        status["allocatedResources"] = resources["requests"]
    shown = {key: resources[key] for key in ("limits", "requests") if resources.get(key)}
    if shown:
        status["resources"] = shown
    mounts = []
    for mount in spec.get("volumeMounts") or ():
        entry = {"name": mount["name"], "mountPath": mount["mountPath"]}
        if mount.get("readOnly"):
            entry.update(readOnly=True, recursiveReadOnly="Disabled")
        mounts.append(entry)
    if mounts:
        status["volumeMounts"] = mounts


def _old_status(pod: Object, name: str) -> Object:
    status = pod.get("status") or {}
    for key in ("containerStatuses", "initContainerStatuses"):
        for entry in status.get(key) or ():
            if entry.get("name") == name:
                return entry  # type: ignore[no-any-return]
    return {}


def _old_restarts(pod: Object, name: str) -> int:
    return int(_old_status(pod, name).get("restartCount") or 0)


def _state_without_container(
    pod: Object, name: str, about: Circumstances, init: bool
) -> tuple[Object, Object]:
    """The states of a container that the runtime does not have: never made, removed, or lost."""
    old = _old_status(pod, name)
    if "terminated" in (old.get("state") or {}):
        return old["state"], old.get("lastState") or {}
    if about.terminal and "running" in (old.get("state") or {}):
        lost = {"exitCode": _LOST_CODE, "reason": "ContainerStatusUnknown", "message": _LOST_MESSAGE}
        lost.update(startedAt=None, finishedAt=None)
        return {"terminated": lost}, old.get("lastState") or {}
    waiting = "PodInitializing" if init_containers_of(pod) else "ContainerCreating"
    return {"waiting": {"reason": waiting}}, old.get("lastState") or {}


def _state(found: Container, scheme: str) -> Object:
    if found.state is ContainerState.RUNNING:
        return {"running": {"startedAt": clock.format_time(found.started_at)}}
    if found.state is ContainerState.EXITED:
        terminated: dict[str, Any] = {"exitCode": found.exit_code}
        terminated["reason"] = found.reason or ("Completed" if found.exit_code == 0 else "Error")
        if found.message:
            terminated["message"] = found.message
        if found.started_at:
            terminated["startedAt"] = clock.format_time(found.started_at)
        terminated["finishedAt"] = clock.format_time(found.finished_at)
        terminated["containerID"] = f"{scheme}://{found.id}"
        return {"terminated": terminated}
    return {"waiting": {}}


def _started_and_ready(spec: Object, found: Container | None, view: PodView, init: bool) -> tuple[bool, bool]:
    if found is None:
        return False, False
    if init and not is_sidecar(spec):
        running = found.state is ContainerState.RUNNING
        return running, found.state is ContainerState.EXITED and found.exit_code == 0
    if found.state is not ContainerState.RUNNING:
        return False, False
    started = not spec.get("startupProbe") or view.probes.get((found.id, "startup")) is True
    ready = started and (not spec.get("readinessProbe") or view.probes.get((found.id, "readiness")) is True)
    return started, ready


def _phase(pod: Object, init: list[Object], regular: list[Object], old: Object, about: Circumstances) -> str:
    """kubelet's ``getPhase``. A final phase stays; a pod that the kubelet ended or refused has failed."""
    if old.get("phase") in ("Succeeded", "Failed"):
        return str(old["phase"])
    if about.reason:
        return "Failed"
    pending_init, failed_init = _count_init(pod, init)
    if failed_init and restart_policy(pod) == "Never":
        return "Failed"
    running = waiting = stopped = succeeded = 0
    restarts = False
    for spec, status in zip(containers_of(pod), regular, strict=True):
        state, last = status["state"], status["lastState"]
        if "running" in state:
            running += 1
        elif "terminated" in state:
            stopped += 1
            succeeded += state["terminated"]["exitCode"] == 0
            policy = container_restart_policy(pod, spec)
            failed = state["terminated"]["exitCode"] != 0
            restarts |= policy == "Always" or (policy == "OnFailure" and failed)
            restarts |= matches_restart_rules(spec, state["terminated"]["exitCode"])
        elif "terminated" in last:
            stopped += 1
            restarts = True
        else:
            waiting += 1
    started = any("running" in s["state"] or "terminated" in s["state"] or s["lastState"] for s in regular)
    if about.terminal:
        done = stopped == succeeded == len(regular) and not (pending_init and not started)
        return "Succeeded" if done else "Failed"
    if (pending_init and not started) or waiting:
        return "Pending"
    if running:
        return "Running"
    if stopped and not restarts:
        return "Succeeded" if stopped == succeeded else "Failed"
    return "Running" if stopped else "Pending"


def _count_init(pod: Object, init: list[Object]) -> tuple[int, int]:
    pending = failed = 0
    for spec, status in zip(init_containers_of(pod), init, strict=True):
        state, last = status["state"], status["lastState"]
        if is_sidecar(spec):
            pending += not status["started"]
        elif "terminated" in state:
            failed += state["terminated"]["exitCode"] != 0
        elif "waiting" in state and "terminated" in last:
            failed += last["terminated"].get("exitCode", 0) != 0
            pending += last["terminated"].get("exitCode", 0) != 0
        else:
            pending += 1
    return pending, failed
