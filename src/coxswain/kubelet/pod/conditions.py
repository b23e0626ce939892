"""The pod conditions that kubelet owns, with Kubernetes' reasons and messages.

    PodReadyToStartContainers, Initialized, Ready, ContainersReady, PodScheduled

Each takes the new container statuses (and the phase) and gives a condition without times.
"""

from __future__ import annotations

from collections.abc import Sequence

from coxswain.api.names import Object
from coxswain.kubelet.pod.view import containers_of, init_containers_of, is_sidecar

OWNED = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


def _condition(kind: str, ok: bool, reason: str = "", message: str = "") -> Object:
    condition: Object = {"type": kind, "status": "True" if ok else "False"}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _listing(names: list[str]) -> str:
    return f"[{' '.join(names)}]"


def _explain(unknown: list[str], other: list[str], word: str) -> str:
    parts = []
    if unknown:
        parts.append(f"containers with unknown status: {_listing(unknown)}")
    if other:
        parts.append(f"containers with {word} status: {_listing(other)}")
    return ", ".join(parts)


def ready_to_start(has_network: bool) -> Object:
    """The sandbox exists and has its network."""
    return _condition("PodReadyToStartContainers", has_network)


def initialized(pod: Object, init: Sequence[Object], regular: Sequence[Object], phase: str) -> Object:
    """All init containers have succeeded (sidecars: have started)."""
    by_name = {status["name"]: status for status in init}
    unknown, incomplete = [], []
    for container in init_containers_of(pod):
        status = by_name.get(container["name"])
        if status is None:
            unknown.append(container["name"])
        elif not status.get("started" if is_sidecar(container) else "ready"):
            incomplete.append(container["name"])
    if phase == "Succeeded" and not unknown:
        return _condition("Initialized", True, "PodCompleted")
    # A regular container that ever ran says that the pod was initialized, whatever its sidecars do now.
    if any("running" in s["state"] or s.get("lastState") or "terminated" in s["state"] for s in regular):
        return _condition("Initialized", True)
    if unknown or incomplete:
        message = _explain(unknown, incomplete, "incomplete")
        return _condition("Initialized", False, "ContainersNotInitialized", message)
    return _condition("Initialized", True)


def containers_ready(pod: Object, init: Sequence[Object], regular: Sequence[Object], phase: str) -> Object:
    """Every container (and sidecar) is ready."""
    by_name = {status["name"]: status for status in (*init, *regular)}
    unknown, unready = [], []
    for container in (*filter(is_sidecar, init_containers_of(pod)), *containers_of(pod)):
        status = by_name.get(container["name"])
        if status is None:
            unknown.append(container["name"])
        elif not status.get("ready"):
            unready.append(container["name"])
    if not unknown and phase in ("Succeeded", "Failed"):
        return _condition("ContainersReady", False, "PodCompleted" if phase == "Succeeded" else "PodFailed")
    if unknown or unready:
        message = _explain(unknown, unready, "unready")
        return _condition("ContainersReady", False, "ContainersNotReady", message)
    return _condition("ContainersReady", True)


def ready(pod: Object, containers: Object, present: Sequence[Object]) -> Object:
    """Containers are ready and so is every readiness gate (among the conditions ``present``)."""
    if containers["status"] != "True":
        return {**containers, "type": "Ready"}
    states = {condition["type"]: condition.get("status") for condition in present}
    missing = []
    for gate in pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        if kind not in states:
            missing.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif states[kind] != "True":
            missing.append(f'the status of pod readiness gate "{kind}" is not "True", but {states[kind]}')
    if missing:
        return _condition("Ready", False, "ReadinessGatesNotReady", ", ".join(missing))
    return _condition("Ready", True)


def scheduled() -> Object:
    """The pod has a node: this one."""
    return _condition("PodScheduled", True)


def merge(old: Sequence[Object], new: Sequence[Object], generation: int, now: str) -> list[Object]:
    """``new`` with their times, and every condition of ``old`` that belongs to others.

    ``lastTransitionTime`` moves only when the status does (metav1's rule).
    """
    before = {condition["type"]: condition for condition in old}
    merged = [condition for condition in old if condition["type"] not in OWNED]
    for condition in new:
        previous = before.get(condition["type"])
        same = previous is not None and previous.get("status") == condition["status"]
        since = previous.get("lastTransitionTime") if same and previous else None
        entry: Object = {
            "type": condition["type"],
            "status": condition["status"],
            "lastProbeTime": None,
            "lastTransitionTime": since or now,
            **{field: condition[field] for field in ("reason", "message") if field in condition},
        }
        if generation:
            entry["observedGeneration"] = generation
        merged.append(entry)
    return merged
