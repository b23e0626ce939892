"""Which volume suits a claim: the smallest that is big enough, of the class, modes and labels asked for."""

from __future__ import annotations

from collections.abc import Iterable

from coxswain.api import meta, selectors
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity

CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def storage_class(obj: Object) -> str:
    """The class of a claim or a volume; empty where it has none."""
    beta = meta.annotations(obj).get(CLASS_ANNOTATION)
    return beta if beta is not None else str(obj["spec"].get("storageClassName") or "")


def is_bound_to(volume: Object, claim: Object) -> bool:
    """Whether the volume's claimRef means ``claim``: by name, and by uid once the volume knows it."""
    reference = volume["spec"].get("claimRef")
    if not reference:
        return False
    if (reference.get("namespace"), reference.get("name")) != (meta.namespace(claim), meta.name(claim)):
        return False
    return reference.get("uid") in (None, "", meta.uid(claim))


def capacity(volume: Object) -> Quantity:
    """How much the volume holds."""
    return Quantity.parse((volume["spec"].get("capacity") or {}).get("storage", 0))


def requested(claim: Object) -> Quantity:
    """How much the claim asks for."""
    resources = claim["spec"].get("resources") or {}
    return Quantity.parse((resources.get("requests") or {}).get("storage", 0))


def mismatch(volume: Object, claim: Object) -> str:
    """Why a volume that a claim names cannot serve it; empty when it can. The event says it."""
    if capacity(volume) < requested(claim):
        return "requested PV is too small"
    if storage_class(volume) != storage_class(claim):
        return "storageClassName does not match"
    if _mode(volume) != _mode(claim):
        return "incompatible volumeMode"
    if volume["spec"].get("volumeAttributesClassName") != claim["spec"].get("volumeAttributesClassName"):
        return "volumeAttributesClassName does not match"
    return "" if _has_modes(volume, claim) else "incompatible accessMode"


def best_match(claim: Object, volumes: Iterable[Object], *, delayed: bool = False) -> Object | None:
    """The volume that was reserved for ``claim``, else the smallest free one that suits it.

    ``delayed``: the class waits for a pod, so only a reserved volume is taken here; the scheduler reserves.
    """
    best: Object | None = None
    selector = claim["spec"].get("selector")
    matches = selectors.label_selector_from(selector).matches if selector else lambda _: True
    for volume in volumes:
        if is_bound_to(volume, claim):
            if not mismatch(volume, claim):
                return volume
            continue
        if delayed or volume["spec"].get("claimRef") or meta.is_terminating(volume):
            continue
        if (volume.get("status") or {}).get("phase") != "Available":
            continue
        if mismatch(volume, claim) or not matches(meta.labels(volume)):
            continue
        if best is None or (capacity(volume), meta.name(volume)) < (capacity(best), meta.name(best)):
            best = volume
    return best


def _mode(obj: Object) -> str:
    return obj["spec"].get("volumeMode") or "Filesystem"


def _has_modes(volume: Object, claim: Object) -> bool:
    return set(claim["spec"].get("accessModes") or ()) <= set(volume["spec"].get("accessModes") or ())
