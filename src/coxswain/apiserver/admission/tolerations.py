"""DefaultTolerationSeconds and TaintNodesByCondition: what keeps pods and young nodes calm.

A pod that says nothing of it stays five minutes on a node that became not ready or unreachable. A new node
is not ready until its agent says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from coxswain.api.names import GVR, NODES, PODS, Object
from coxswain.apiserver.admission.request import Operation, Plugin, Request

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
SECONDS = 300


class DefaultTolerationSeconds(Plugin):
    """Tolerates NoExecute of not-ready and unreachable for five minutes, unless the pod says otherwise."""

    NAME = "DefaultTolerationSeconds"

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return resource == PODS and not subresource and operation in ("CREATE", "UPDATE")

    def repeats(self, request: Request) -> bool:
        return True

    def admit(self, request: Request) -> None:
        assert request.object is not None
        spec = request.object.setdefault("spec", {})
        tolerations = spec.get("tolerations") or []
        missing = [key for key in (NOT_READY, UNREACHABLE) if not any(_covers(t, key) for t in tolerations)]
        if missing:
            spec["tolerations"] = [*tolerations, *map(_toleration, missing)]


def _covers(toleration: Object, key: str) -> bool:
    return (not toleration.get("key") or toleration["key"] == key) and (
        not toleration.get("effect") or toleration["effect"] == "NoExecute"
    )


def _toleration(key: str) -> Object:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}


def merged(tolerations: Sequence[Object]) -> list[Object]:
    """``tolerations`` without those that another of them covers (``util/tolerations.MergeTolerations``)."""
    kept: list[Object] = []
    for position, one in enumerate(tolerations):
        rest = tolerations[position + 1 :]
        if any(_is_superset(other, one) for other in kept):
            continue
        if any(other != one and _is_superset(other, one) for other in rest):
            continue
        kept.append(one)
    return kept


def _is_superset(wide: Object, one: Object) -> bool:
    """Whether ``wide`` tolerates all that ``one`` tolerates."""
    if wide == one:
        return True
    operator = wide.get("operator") or "Equal"
    if one.get("key") != wide.get("key") and (wide.get("key") or operator != "Exists"):
        return False
    if wide.get("effect") and one.get("effect") != wide["effect"]:
        return False
    limit, seconds = wide.get("tolerationSeconds"), one.get("tolerationSeconds")
    if wide.get("effect") == "NoExecute" and limit is not None and (seconds is None or seconds > limit):
        return False
    if operator == "Exists":
        return True
    return operator == (one.get("operator") or "Equal") and (wide.get("value") or "") == (
        one.get("value") or ""
    )


class TaintNodesByCondition(Plugin):
    """A new node is tainted not ready; the node lifecycle controller takes the taint away."""

    NAME = "TaintNodesByCondition"

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation == "CREATE" and resource == NODES and not subresource

    def admit(self, request: Request) -> None:
        assert request.object is not None
        spec = request.object.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
            spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]
