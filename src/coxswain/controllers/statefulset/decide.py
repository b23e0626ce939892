"""What a StatefulSet's state calls for (Kubernetes' ``stateful_set_control.go``), without IO.

    make what is missing, lowest ordinal first  --> claims of surplus pods --> remove the surplus, highest
    first --> replace pods of older revisions, highest first

OrderedReady stops at the first pod that is not available (or has still to go); Parallel goes through all of
them in one step. A step that failed is decided anew: nothing here depends on what was done before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.history.revisions import template_of
from coxswain.controllers.intorpercent import scaled
from coxswain.controllers.pods import until_available
from coxswain.controllers.statefulset.claims import claims_of, is_owned_rightly, is_stale, with_owners
from coxswain.controllers.statefulset.identity import (
    identity_matches,
    in_range,
    new_pod,
    ordinal_of,
    replicas_of,
    revision_of,
    start_of,
    storage_matches,
)


@dataclass(frozen=True, slots=True)
class CreatePod:
    """Create the claims that are missing, then the pod. Without ``pod``, only the claims (for ``name``)."""

    name: str
    pod: Object | None
    claims: Sequence[Object] = ()


@dataclass(frozen=True, slots=True)
class RepairPod:
    """Give the pod its labels and volumes back."""

    pod: Object


@dataclass(frozen=True, slots=True)
class UpdateClaim:
    """Change a claim's owners."""

    claim: Object


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete the pod; its claims stay. ``as_seen``: only if it has not changed since."""

    pod: Object
    as_seen: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """This cannot go on now: ``message`` is said in an event about the pod's claim, and tried again."""

    message: str


Instruction = CreatePod | RepairPod | UpdateClaim | DeletePod | Fail


@dataclass(slots=True)
class Plan:
    """Instructions in order (one that fails ends the step), and seconds until time alone changes something.

    ``waits`` names the claims that have to go first: their going calls for the next step.
    """

    instructions: list[Instruction] = field(default_factory=list)
    again: float | None = None
    waits: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class State:
    """One set and all that belongs to it. ``claim`` looks up a claim by name."""

    owner: Object
    current: Object
    update: Object
    pods: Sequence[Object]
    claim: Callable[[str], Object | None]
    now: float

    @property
    def min_ready(self) -> int:
        return int(self.owner["spec"].get("minReadySeconds") or 0)

    def is_available(self, pod: Object) -> bool:
        """Running, ready for long enough, and not going."""
        return (
            meta.pod_phase(pod) == "Running"
            and not meta.is_terminating(pod)
            and meta.is_pod_available(pod, self.min_ready, self.now)
        )


def plan(state: State) -> Plan:
    """The next step for the set."""
    owner = state.owner
    if meta.is_terminating(owner):
        return Plan()
    replicas: list[Object | None] = [None] * replicas_of(owner)
    condemned: list[Object] = []
    for pod in state.pods:
        ordinal = ordinal_of(pod)
        if in_range(owner, ordinal):
            replicas[ordinal - start_of(owner)] = pod
        elif ordinal >= 0:
            condemned.append(pod)
    condemned.sort(key=ordinal_of, reverse=True)
    step = Plan(again=until_available(state.pods, state.min_ready, state.now))
    ordered = owner["spec"].get("podManagementPolicy") != "Parallel"
    if _keep_replicas(state, step, replicas, ordered):
        return step
    for pod in condemned:
        step.instructions += _claim_updates(state, pod)
    if _remove_condemned(state, step, replicas, condemned, ordered):
        return step
    if (owner["spec"].get("updateStrategy") or {}).get("type") != "OnDelete":
        _replace_old(state, step, replicas)
    return step


def _keep_replicas(state: State, step: Plan, replicas: Sequence[Object | None], ordered: bool) -> bool:
    """Make what is missing and repair what is there; whether the step ends here."""
    for position, pod in enumerate(replicas):
        if pod is None:
            waits = _make(state, step, start_of(state.owner) + position)
        else:
            waits = _keep(state, step, pod, ordered)
        if waits and ordered:
            return True
    return any(isinstance(instruction, Fail) for instruction in step.instructions)


def _make(state: State, step: Plan, ordinal: int) -> bool:
    revision = _revision_for(state, ordinal)
    pod = new_pod(state.owner, template_of(revision), meta.name(revision), ordinal)
    missing = _missing_claims(state, step, pod, ordinal)
    if missing is not None:
        step.instructions.append(CreatePod(meta.name(pod), pod, missing))
    return True


def _revision_for(state: State, ordinal: int) -> Object:
    """Below the partition a new pod is still made from the current revision."""
    strategy = state.owner["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return state.update
    rolling = strategy.get("rollingUpdate")
    if rolling is None:
        kept = int((state.owner.get("status") or {}).get("currentReplicas") or 0)
    else:
        kept = int(rolling.get("partition") or 0)
    return state.current if ordinal < start_of(state.owner) + kept else state.update


def _missing_claims(state: State, step: Plan, pod: Object, ordinal: int) -> list[Object] | None:
    """The claims to create; None when the pod has to wait for an old claim to go, as ``step`` then says."""
    missing: list[Object] = []
    for wanted in claims_of(state.owner, ordinal):
        found = state.claim(meta.name(wanted))
        if found is None:
            missing.append(with_owners(state.owner, pod, wanted) if _set_owns(state) else wanted)
        elif is_stale(state.owner, pod, found):
            step.waits.append(meta.name(found))
            return None
        elif meta.is_terminating(found):
            step.instructions.append(Fail(f"pvc {meta.name(found)} is being deleted"))
            return None
    return missing


def _set_owns(state: State) -> bool:
    policy = state.owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return bool(policy.get("whenDeleted") == "Delete")


def _keep(state: State, step: Plan, pod: Object, ordered: bool) -> bool:
    """One pod that is there; whether those after it have to wait for it."""
    if meta.is_pod_finished(pod):
        if not meta.is_terminating(pod):
            step.instructions.append(DeletePod(pod))
        return True  # made again when it is gone
    if meta.pod_phase(pod) == "Pending":
        missing = _missing_claims(state, step, pod, ordinal_of(pod))
        if missing:
            step.instructions.append(CreatePod(meta.name(pod), None, missing))
    if ordered and not state.is_available(pod):
        return True
    if not (identity_matches(state.owner, pod) and storage_matches(state.owner, pod)):
        step.instructions.append(RepairPod(pod))
    step.instructions += _claim_updates(state, pod)
    return False


def _claim_updates(state: State, pod: Object) -> list[Instruction]:
    found = (state.claim(meta.name(wanted)) for wanted in claims_of(state.owner, ordinal_of(pod)))
    return [
        UpdateClaim(with_owners(state.owner, pod, claim))
        for claim in found
        if claim is not None and not is_owned_rightly(state.owner, pod, claim)
    ]


def _remove_condemned(
    state: State,
    step: Plan,
    replicas: Sequence[Object | None],
    condemned: Sequence[Object],
    ordered: bool,
) -> bool:
    if not ordered:
        step.instructions += [DeletePod(pod) for pod in condemned if not meta.is_terminating(pod)]
        return False
    kept = [pod for pod in replicas if pod is not None]
    sick = next((pod for pod in (*kept, *reversed(condemned)) if not state.is_available(pod)), None)
    for pod in condemned:
        if not meta.is_terminating(pod) and (state.is_available(pod) or pod is sick):
            step.instructions.append(DeletePod(pod))
        return True
    return False


def _replace_old(state: State, step: Plan, replicas: Sequence[Object | None]) -> None:
    """Delete pods of older revisions, as many as may be unavailable.

    One that is not ready anyway costs nothing, if it still is: it may have become ready since. One that is ready,
    not for long enough, serves: after the wall clock was set back, that may be all. A pod that this very step makes
    is unavailable.
    """
    rolling = (state.owner["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    budget = max(1, scaled(rolling.get("maxUnavailable") or 1, len(replicas), round_up=False))
    budget -= sum(1 for pod in replicas if pod is None or not state.is_available(pod))
    lowest = int(rolling.get("partition") or 0)
    for pod in reversed(replicas[lowest:]):
        if pod is None or meta.is_terminating(pod) or revision_of(pod) == meta.name(state.update):
            continue
        is_ready = meta.is_pod_ready(pod)
        if is_ready:
            if budget <= 0:
                continue
            budget -= 1
        if not meta.is_pod_finished(pod):  # those are deleted already
            step.instructions.append(DeletePod(pod, as_seen=not is_ready))


def new_status(state: State, collisions: int) -> Object:
    """The status that the set's pods give."""
    owner, current, update = state.owner, meta.name(state.current), meta.name(state.update)
    ready = available = on_current = on_update = 0
    for pod in state.pods:
        if meta.pod_phase(pod) == "Running" and meta.is_pod_ready(pod):
            ready += 1
            available += meta.is_pod_available(pod, state.min_ready, state.now)
        if not meta.is_terminating(pod):
            on_current += revision_of(pod) == current
            on_update += revision_of(pod) == update
    rolling = (owner["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"
    if rolling and on_update == ready == len(state.pods) == replicas_of(owner):
        current, on_current = update, on_update
    status: Object = {"observedGeneration": meta.generation(owner), "replicas": len(state.pods)}
    counts = {"readyReplicas": ready, "currentReplicas": on_current, "updatedReplicas": on_update}
    status.update({name: count for name, count in counts.items() if count})
    status |= {"currentRevision": current, "updateRevision": update}
    status |= {"collisionCount": collisions, "availableReplicas": available}
    if conditions := (owner.get("status") or {}).get("conditions"):
        status["conditions"] = conditions
    return status


def same_status(old: Object, new: Object) -> bool:
    """Whether writing ``new`` would change nothing (an absent count is zero)."""
    return all((old.get(name) or 0) == (new.get(name) or 0) for name in old.keys() | new.keys())
