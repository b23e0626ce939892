"""What a pod asks and what a node has, worked out from the API's objects alone.

This is the soak's own arithmetic, written without a look at the scheduler's: it knows just the constraints that
``churn`` makes, and it is slow and plain. Amounts are integers: cpu in thousandths, all else in units.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

Object = dict[str, Any]
Port = tuple[str, int, str]
_SUFFIX = {"m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def amount(text: str, name: str) -> int:
    """A quantity as an integer."""
    digits = text.rstrip("kMGTiKm")
    value = Decimal(digits) * _SUFFIX.get(text[len(digits) :], 1)
    return int(value * 1000) if name == "cpu" else int(value)


def requests(pod: Object) -> Counter[str]:
    """What a pod asks for, itself (one of ``pods``) included."""
    total: Counter[str] = Counter(pods=1)
    for container in pod["spec"]["containers"]:
        for name, text in (container.get("resources", {}).get("requests") or {}).items():
            total[name] += amount(text, name)
    return total


def allocatable(node: Object) -> dict[str, int]:
    """What a node has."""
    return {name: amount(text, name) for name, text in node["status"].get("allocatable", {}).items()}


def host_ports(pod: Object) -> set[Port]:
    """(protocol, port, address) that a pod takes on its node."""
    return {
        (port.get("protocol", "TCP"), port["hostPort"], port.get("hostIP") or "0.0.0.0")
        for container in pod["spec"]["containers"]
        for port in container.get("ports", ())
        if port.get("hostPort")
    }


def ports_clash(one: set[Port], other: set[Port]) -> bool:
    """Whether two pods cannot share a node for their ports."""
    return any(a[:2] == b[:2] and (a[2] == b[2] or "0.0.0.0" in (a[2], b[2])) for a in one for b in other)


def labels(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def selects(selector: Object | None, obj: Object) -> bool:
    """``churn`` uses matchLabels only."""
    if selector is None:
        return False
    assert set(selector) <= {"matchLabels"}, selector
    return (selector.get("matchLabels") or {}).items() <= labels(obj).items()


def finished(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def ending(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def preempted(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("reason") == "PreemptionByScheduler" for one in conditions)


def node_of(pod: Object) -> str:
    return str(pod["spec"].get("nodeName") or "")


def priority(pod: Object) -> int:
    return int(pod["spec"].get("priority") or 0)


def tolerates(pod: Object, taint: Object) -> bool:
    for toleration in pod["spec"].get("tolerations") or ():
        if toleration.get("effect") not in (None, "", taint["effect"]):
            continue
        if not toleration.get("key"):
            return True
        if toleration["key"] == taint["key"] and (
            toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")
        ):
            return True
    return False


def shunned(pod: Object, node: Object) -> str:
    """Why the node takes no such pod: a cordon or a taint; empty if it does."""
    if node["spec"].get("unschedulable"):
        cordon = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        if not tolerates(pod, cordon):
            return "is cordoned"
    for taint in node["spec"].get("taints") or ():
        if taint["effect"] in ("NoSchedule", "NoExecute") and not tolerates(pod, taint):
            return f"has the taint {taint['key']}"
    return ""


def wants_node(pod: Object, node: Object) -> bool:
    """Whether the pod's node selector and required node affinity match the node."""
    if not (pod["spec"].get("nodeSelector") or {}).items() <= labels(node).items():
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(
        all(_holds(expression, labels(node)) for expression in term["matchExpressions"])
        for term in required["nodeSelectorTerms"]
    )


def _holds(expression: Object, have: dict[str, str]) -> bool:
    value = have.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
    raise AssertionError(expression)


def terms(pod: Object, kind: str) -> list[Object]:
    """Required terms of ``podAffinity`` or ``podAntiAffinity``."""
    affinity = (pod["spec"].get("affinity") or {}).get(kind) or {}
    found: list[Object] = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or []
    return found


def means(term: Object, owner: Object, other: Object) -> bool:
    """Whether a term of ``owner`` means the pod ``other`` (of its own namespace)."""
    same = owner["metadata"]["namespace"] == other["metadata"]["namespace"]
    return same and selects(term["labelSelector"], other)


def spreads(pod: Object) -> list[Object]:
    """Constraints that must hold."""
    return [
        one
        for one in pod["spec"].get("topologySpreadConstraints") or ()
        if one["whenUnsatisfiable"] == "DoNotSchedule"
    ]
