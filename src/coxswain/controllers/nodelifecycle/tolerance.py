"""How long a pod bears the NoExecute taints of its node; sans-IO."""

from __future__ import annotations

from collections.abc import Iterable

from coxswain.api.names import Object
from coxswain.controllers.tolerations import tolerates


def execute_taints(node: Object) -> list[Object]:
    """The taints of a node that drive pods away."""
    return [taint for taint in (node.get("spec") or {}).get("taints") or () if taint["effect"] == "NoExecute"]


def seconds_tolerated(pod: Object, taints: Iterable[Object]) -> float | None:
    """How long the pod may stay: 0 when it does not tolerate a taint, None for ever.

    Of several tolerations that matter the shortest counts (kube-controller-manager's
    ``getMinTolerationTime``); a negative time means at once.
    """
    tolerations = (pod.get("spec") or {}).get("tolerations") or ()
    shortest: float | None = None
    for taint in taints:
        matching = [toleration for toleration in tolerations if tolerates(toleration, taint)]
        if not matching:
            return 0.0
        for toleration in matching[:1]:
            seconds = toleration.get("tolerationSeconds")
            if seconds is not None:
                bounded = max(0.0, float(seconds))
                shortest = bounded if shortest is None else min(shortest, bounded)
    return shortest
