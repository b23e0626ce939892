"""What a PodDisruptionBudget's status should be (Kubernetes' ``disruption.go``), without IO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock

#: Seconds after which a pod that was to be evicted, and is still here, counts again.
DELETION_TIMEOUT = 120.0


def needs_scale(budget: Object) -> bool:
    """The budget is a share, or a maximum of unavailable pods: its owners' scales matter."""
    spec = budget["spec"]
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def scaled(value: int | str, total: int) -> int:
    """An int-or-percent of ``total``, rounded up."""
    return -(-int(value[:-1]) * total // 100) if isinstance(value, str) else value


def disrupted(budget: Object, pods: Sequence[Object], now: float) -> tuple[dict[str, str], float | None]:
    """Evictions that were granted and are still awaited; seconds until the first is given up."""
    granted = (budget.get("status") or {}).get("disruptedPods") or {}
    kept: dict[str, str] = {}
    again: float | None = None
    for pod in pods:
        stamp = granted.get(meta.name(pod))
        if stamp is None or meta.is_terminating(pod):
            continue
        left = clock.parse_time(stamp) + DELETION_TIMEOUT - now
        if left > 0:
            kept[meta.name(pod)] = stamp
            again = left if again is None else min(again, left)
    return kept, again


def overdue(budget: Object, pods: Sequence[Object], now: float) -> list[Object]:
    """Pods whose eviction was granted and given up: they are still here."""
    granted = (budget.get("status") or {}).get("disruptedPods") or {}
    return [
        pod
        for pod in pods
        if not meta.is_terminating(pod)
        and meta.name(pod) in granted
        and clock.parse_time(granted[meta.name(pod)]) + DELETION_TIMEOUT <= now
    ]


def new_status(
    budget: Object, pods: Sequence[Object], expected: int, kept: Mapping[str, str], stamp: str
) -> Object:
    """The status; ``expected`` is the sum of the owners' scales, or the number of pods."""
    spec, old = budget["spec"], budget.get("status") or {}
    if spec.get("maxUnavailable") is not None:
        desired = max(0, expected - scaled(spec["maxUnavailable"], expected))
    elif spec.get("minAvailable") is not None:
        desired = scaled(spec["minAvailable"], expected)
    else:
        desired = expected = 0
    healthy = sum(
        meta.is_pod_ready(pod) and not meta.is_terminating(pod) and meta.name(pod) not in kept for pod in pods
    )
    allowed = max(0, healthy - desired) if expected > 0 else 0
    status: Object = {
        "observedGeneration": meta.generation(budget),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
    }
    if kept:
        status["disruptedPods"] = dict(kept)
    reason = "SufficientPods" if allowed else "InsufficientPods"
    status["conditions"] = _conditions(budget, old, bool(allowed), reason, "", stamp)
    return status


def failed_status(budget: Object, message: str, stamp: str) -> Object:
    """The safe status when the right one cannot be found out: nothing may be evicted."""
    old = budget.get("status") or {}
    conditions = _conditions(budget, old, False, "SyncFailed", message, stamp)
    return {**old, "disruptionsAllowed": 0, "conditions": conditions}


def _conditions(
    budget: Object, old: Object, allowed: bool, reason: str, message: str, stamp: str
) -> list[Object]:
    before = meta.condition(budget, "DisruptionAllowed")
    status = str(allowed)
    same = before is not None and before["status"] == status
    new = {
        "type": "DisruptionAllowed",
        "status": status,
        "observedGeneration": meta.generation(budget),
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and same else stamp,
        "reason": reason,
        "message": message,
    }
    others = [each for each in old.get("conditions") or () if each["type"] != "DisruptionAllowed"]
    return [*others, new]
