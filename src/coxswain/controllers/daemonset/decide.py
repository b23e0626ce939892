"""What a DaemonSet's state calls for (Kubernetes' ``pkg/controller/daemon``), without IO.

``manage`` puts pods where they belong; only when it has nothing to do does ``roll`` replace old ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.daemonset.placement import GENERATION_ANNOTATION, GENERATION_LABEL, Verdict
from coxswain.controllers.history.revisions import REVISION_LABEL
from coxswain.controllers.intorpercent import scaled


@dataclass(slots=True)
class Plan:
    """Nodes to make pods for, pods to delete, failed or finished pods to speak of, seconds to look again."""

    create: list[str] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    ended: list[tuple[str, Object]] = field(default_factory=list)
    again: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """One set, the nodes with their verdicts, and its pods by node. ``hashed`` is the present revision's."""

    owner: Object
    hashed: str
    verdicts: Mapping[str, Verdict]
    pods: Mapping[str, Sequence[Object]]
    now: float

    @property
    def min_ready(self) -> int:
        return int(self.owner["spec"].get("minReadySeconds") or 0)

    @property
    def desired(self) -> int:
        """Nodes that should have a pod."""
        return sum(1 for should, _ in self.verdicts.values() if should)

    def limits(self) -> tuple[int, int]:
        """(max surge, max unavailable) in pods; never both zero."""
        rolling = (self.owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
        surge = scaled(rolling.get("maxSurge") or 0, self.desired, round_up=True)
        unavailable = scaled(rolling.get("maxUnavailable", 1), self.desired, round_up=True)
        return surge, unavailable if surge or unavailable else 1

    def is_available(self, pod: Object) -> bool:
        return meta.is_pod_available(pod, self.min_ready, self.now)

    def is_updated(self, pod: Object) -> bool:
        """Whether the pod is of the present template, by hash or by the old generation label."""
        labels = meta.labels(pod)
        generation = meta.annotations(self.owner).get(GENERATION_ANNOTATION)
        by_generation = generation is not None and labels.get(GENERATION_LABEL) == generation
        return by_generation or labels.get(REVISION_LABEL) == self.hashed


def _by_age(pods: Sequence[Object]) -> list[Object]:
    return sorted(
        pods,
        key=lambda pod: (
            not pod["spec"].get("nodeName"),
            pod["metadata"].get("creationTimestamp", ""),
            meta.name(pod),
        ),
    )


def manage(state: State, delay: Callable[[Object, str], float]) -> Plan:
    """Pods to create and delete so that every node has what it should.

    ``delay(pod, node)`` gives the seconds to wait before a failed pod is deleted (0: now), so that a node
    that refuses pods is not asked without end.
    """
    plan = Plan()
    surging = _surges(state)
    for node, (should, may_stay) in state.verdicts.items():
        pods = state.pods.get(node, ())
        alive = [pod for pod in pods if not meta.is_terminating(pod)]
        if should and not pods:
            plan.create.append(node)
        elif may_stay:
            running = _without_ended(plan, alive, node, delay)
            if surging and not running and should:
                plan.create.append(node)
            elif len(running) > 1:
                plan.delete += _surplus(state, running) if surging else _by_age(running)[1:]
        else:
            plan.delete += alive
    for node, pods in state.pods.items():
        if node not in state.verdicts:
            plan.delete += [
                pod for pod in pods if not pod["spec"].get("nodeName") and not meta.is_terminating(pod)
            ]
    return plan


def _surges(state: State) -> bool:
    strategy = (state.owner["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate")
    return strategy == "RollingUpdate" and state.limits()[0] > 0


def _without_ended(
    plan: Plan, pods: Sequence[Object], node: str, delay: Callable[[Object, str], float]
) -> list[Object]:
    running: list[Object] = []
    for pod in pods:
        phase = meta.pod_phase(pod)
        if phase == "Failed" and (wait := delay(pod, node)) > 0:
            plan.again = wait if plan.again is None else min(plan.again, wait)
        elif phase in ("Failed", "Succeeded"):
            plan.ended.append((node, pod))
            plan.delete.append(pod)
        else:
            running.append(pod)
    return running


def _surplus(state: State, running: Sequence[Object]) -> list[Object]:
    """While surging, one old pod that is ready may stay beside one new pod that is not available yet."""
    ordered = _by_age(running)
    new = [pod for pod in ordered if meta.labels(pod).get(REVISION_LABEL) == state.hashed]
    old = [pod for pod in ordered if meta.labels(pod).get(REVISION_LABEL) != state.hashed]
    surplus = new[1:] + old[1:]
    if new and old and (not meta.is_pod_ready(old[0]) or state.is_available(new[0])):
        surplus.append(old[0])
    return surplus


def _pair(state: State, pods: Sequence[Object]) -> tuple[Object | None, Object | None] | None:
    """(new, old) pod of a node; None when there are several of one sort."""
    alive = [pod for pod in pods if not meta.is_terminating(pod)]
    new = [pod for pod in alive if state.is_updated(pod)]
    old = [pod for pod in alive if not state.is_updated(pod)]
    if len(new) > 1 or len(old) > 1:
        return None
    return (new[0] if new else None, old[0] if old else None)


def roll(state: State) -> Plan:
    """The next step of a rolling update."""
    if (state.owner["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") != "RollingUpdate":
        return Plan()
    surge, unavailable = state.limits()
    return _roll_by_surge(state, surge) if surge else _roll_by_deletion(state, unavailable)


def _roll_by_deletion(state: State, most: int) -> Plan:
    """Old pods go as far as availability allows; one that is unavailable costs nothing."""
    down = 0
    replaceable: list[Object] = []
    candidates: list[Object] = []
    for pods in state.pods.values():
        pair = _pair(state, pods)
        if pair is None or (pair[0] is None) == (pair[1] is None):
            down += 1
            continue
        new, old = pair
        if new is not None:
            down += not state.is_available(new)
        elif old is not None and state.is_available(old):
            candidates.append(old)
        elif old is not None:
            replaceable.append(old)
            down += 1
    return Plan(delete=replaceable + candidates[: max(0, most - down)])


def _roll_by_surge(state: State, most: int) -> Plan:
    """New pods come beside old ones, which go when those are available."""
    plan = Plan()
    surging = available = 0
    candidates: list[str] = []
    unwanted: list[Object] = []
    for node, pods in state.pods.items():
        pair = _pair(state, pods)
        if pair is None:
            surging += 1
            continue
        new, old = pair
        counted = old if old is not None else new
        available += counted is not None and state.is_available(counted)
        if old is None:
            continue
        if new is not None:
            if state.is_available(new):
                plan.delete.append(old)
            else:
                surging += 1
            continue
        should = state.verdicts.get(node, (False, False))[0]
        if not state.is_available(old):
            (plan.create.append(node) if should else plan.delete.append(old))
        elif should:
            candidates.append(node)
        else:
            unwanted.append(old)
    plan.delete += unwanted[: max(0, available - state.desired)]
    plan.create += candidates[: max(0, most - surging)]
    return plan


def new_status(state: State, *, observed: bool) -> Object:
    """The status that the pods give; ``observed`` when this step acted on the present generation."""
    old = state.owner.get("status") or {}
    current = misscheduled = ready = available = updated = 0
    for node, (should, _) in state.verdicts.items():
        pods = state.pods.get(node)
        if not pods:
            continue
        if not should:
            misscheduled += 1
            continue
        current += 1
        pod = _by_age(pods)[0]
        if meta.is_pod_ready(pod):
            ready += 1
            available += state.is_available(pod)
        updated += state.is_updated(pod)
    desired = state.desired
    status: Object = {
        "currentNumberScheduled": current,
        "numberMisscheduled": misscheduled,
        "desiredNumberScheduled": desired,
        "numberReady": ready,
    }
    generation = meta.generation(state.owner) if observed else old.get("observedGeneration", 0)
    optional = {
        "observedGeneration": generation,
        "updatedNumberScheduled": updated,
        "numberAvailable": available,
        "numberUnavailable": desired - available,
    }
    status.update({name: count for name, count in optional.items() if count})
    status.update({name: old[name] for name in ("collisionCount", "conditions") if name in old})
    return status


def same_status(old: Object, new: Object) -> bool:
    """Whether writing ``new`` would change nothing (an absent count is zero)."""
    written = bool(old) or not any(new.values())
    return written and all((old.get(name) or 0) == (new.get(name) or 0) for name in old.keys() | new.keys())
