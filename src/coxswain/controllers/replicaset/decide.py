"""What a ReplicaSet's state calls for (Kubernetes' ``replicaset/replica_set.go``), without IO."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.pods import deletion_rank

#: Pods created or deleted in one sync (``BurstReplicas``).
BURST = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """How many pods to create, or which to delete; never both."""

    create: int = 0
    delete: Sequence[Object] = ()


def plan_replicas(
    owner: Object,
    active: Sequence[Object],
    siblings: Sequence[Object],
    now: float,
    doubtful: Set[str] = frozenset(),
) -> Plan:
    """Bring ``active`` pods to ``spec.replicas``.

    ``siblings`` are the active pods of every replica set of the same Deployment: where two replicas crowd
    a node, one of those goes first. Before all go the pods with the uids ``doubtful``, which may be gone already:
    with another in the place of such a one there would be too few. (Kubernetes ranks them anew.)
    """
    wanted = owner["spec"].get("replicas", 1)
    missing = wanted - len(active)
    if missing > 0:
        return Plan(create=min(missing, BURST))
    if missing == 0:
        return Plan()
    surplus = min(-missing, BURST)
    if surplus == len(active):
        return Plan(delete=active)
    related = Counter(pod["spec"].get("nodeName", "") for pod in siblings)
    ranked = sorted(active, key=lambda pod: (meta.uid(pod) not in doubtful, deletion_rank(pod, related, now)))
    return Plan(delete=ranked[:surplus])


def new_status(
    owner: Object,
    active: Sequence[Object],
    terminating: int,
    failure: tuple[str, str] | None,
    now_stamp: str,
    now: float,
) -> Object:
    """The status that ``active`` pods give; ``failure`` is (reason, message) of what could not be done."""
    spec, old = owner["spec"], owner.get("status") or {}
    template_labels: Mapping[str, str] = (spec["template"].get("metadata") or {}).get("labels") or {}
    min_ready = spec.get("minReadySeconds", 0)
    labelled = ready = available = 0
    for pod in active:
        labels = meta.labels(pod)
        if all(labels.get(key) == value for key, value in template_labels.items()):
            labelled += 1
        if meta.is_pod_ready(pod):
            ready += 1
            if meta.is_pod_available(pod, min_ready, now):
                available += 1
    status: Object = {"replicas": len(active)}
    counts = {"fullyLabeledReplicas": labelled, "readyReplicas": ready, "availableReplicas": available}
    status.update({name: count for name, count in counts.items() if count})
    if terminating:
        status["terminatingReplicas"] = terminating
    status["observedGeneration"] = meta.generation(owner)
    conditions = [c for c in old.get("conditions") or () if c["type"] != "ReplicaFailure"]
    if failure is not None:
        conditions.append(_failure_condition(old, failure, now_stamp))
    if conditions:
        status["conditions"] = conditions
    return status


def _failure_condition(old: Object, failure: tuple[str, str], now_stamp: str) -> Object:
    for condition in old.get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return condition  # type: ignore[no-any-return]  # the first failure is kept, as Kubernetes does
    reason, message = failure
    return {
        "type": "ReplicaFailure",
        "status": "True",
        "lastTransitionTime": now_stamp,
        "reason": reason,
        "message": message,
    }


def same_status(old: Object, new: Object) -> bool:
    """Whether writing ``new`` would change nothing (absent counts are zero)."""
    names = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "terminatingReplicas")
    return (
        all(old.get(name, 0) == new.get(name, 0) for name in names)
        and old.get("observedGeneration", 0) == new.get("observedGeneration", 0)
        and (old.get("conditions") or []) == (new.get("conditions") or [])
    )
