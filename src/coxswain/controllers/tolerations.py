"""Whether a toleration bears a taint: one rule for eviction, daemon pods and whoever else asks; sans-IO."""

from __future__ import annotations

from coxswain.api.names import Object


def tolerates(toleration: Object, taint: Object) -> bool:
    """Kubernetes' ``ToleratesTaint``: effect, key and value match, where they are given."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return operator == "Equal" and (toleration.get("value") or "") == (taint.get("value") or "")
