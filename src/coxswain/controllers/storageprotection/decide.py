"""Who uses a claim, who uses a volume, and what is to be done with the finalizer that protects it.

A claim is used by pods that have a node: kubelet does not start a pod whose claim is being deleted, so a pod
that waits for a node does not count. A volume is used while it is bound (or not known to be unbound).
"""

from __future__ import annotations

from typing import Literal

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.podclaims import claims_of

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"

Step = Literal["add", "remove-if-unused"]


def next_step(obj: Object, finalizer: str) -> Step | None:
    """What the finalizer of ``obj`` needs; None: it is as it should be."""
    present = finalizer in meta.finalizers(obj)
    if meta.is_terminating(obj):
        return "remove-if-unused" if present else None
    return None if present else "add"


def with_finalizer(obj: Object, finalizer: str) -> Object:
    """A copy of ``obj`` that carries the finalizer."""
    return _with_finalizers(obj, [*meta.finalizers(obj), finalizer])


def without_finalizer(obj: Object, finalizer: str) -> Object:
    """A copy of ``obj`` without the finalizer."""
    return _with_finalizers(obj, [other for other in meta.finalizers(obj) if other != finalizer])


def uses_claim(pod: Object, claim: Object) -> bool:
    """Whether ``pod`` keeps ``claim`` (of its namespace) from going.

    The claim of an ephemeral volume is let go once the pod is shut down: the pod itself may wait for it.
    """
    if not (pod.get("spec") or {}).get("nodeName"):
        return False
    for name, ephemeral in claims_of(pod):
        if name != meta.name(claim):
            continue
        if not ephemeral or (not _is_shut_down(pod) and meta.is_controlled_by(claim, pod)):
            return True
    return False


def is_volume_used(volume: Object) -> bool:
    """Whether ``volume`` is bound."""
    return (volume.get("status") or {}).get("phase") == "Bound"


def _is_shut_down(pod: Object) -> bool:
    return meta.is_terminating(pod) and pod["metadata"].get("deletionGracePeriodSeconds") == 0


def _with_finalizers(obj: Object, finalizers: list[str]) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}}
