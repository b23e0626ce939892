"""Which volume suits a claim: the smallest that is big enough, of the class, modes and labels asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

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
    """Why a free volume that a claim names cannot serve it; empty when it can. The event says it."""
    if capacity(volume) < requested(claim):
        return "requested PV is too small"
    if storage_class(volume) != storage_class(claim):
        return "storageClassName does not match"
    if attributes_class(volume) != attributes_class(claim):
        return "volumeAttributesClassName does not match"
    if mode(volume) != mode(claim):
        return "incompatible volumeMode"
    return "" if _has_modes(volume, claim) else "incompatible accessMode"


def best_match(
    claim: Object, reserved: Iterable[Object], free: Callable[[], Iterable[Object]], *, delayed: bool = False
) -> Object | None:
    """The volume that was ``reserved`` for ``claim``, else the best of ``free`` ones that suits it.

    A reserved volume's class does not matter: who reserved it knew. ``free`` gives volumes that are large
    enough, of the claim's class and modes, the best first. ``delayed``: the class waits for a pod, so only a
    reserved volume is taken here; the scheduler reserves.
    """
    for volume in reserved:
        if is_bound_to(volume, claim) and not meta.is_terminating(volume) and _suits_reserved(volume, claim):
            return volume
    if delayed:
        return None
    selector = claim["spec"].get("selector")
    matches = selectors.label_selector_from(selector).matches if selector else lambda _: True
    return next((volume for volume in free() if matches(meta.labels(volume))), None)


def is_free(volume: Object) -> bool:
    """Whether any claim may have the volume."""
    if volume["spec"].get("claimRef") or meta.is_terminating(volume):
        return False
    return (volume.get("status") or {}).get("phase") == "Available"


def attributes_class(obj: Object) -> str:
    """The VolumeAttributesClass of a claim or a volume; empty where it has none."""
    return str(obj["spec"].get("volumeAttributesClassName") or "")


def mode(obj: Object) -> str:
    """``Filesystem`` or ``Block``."""
    return str(obj["spec"].get("volumeMode") or "Filesystem")


def access_modes(obj: Object) -> frozenset[str]:
    """The access modes that a volume offers or a claim asks for."""
    return frozenset(obj["spec"].get("accessModes") or ())


def _suits_reserved(volume: Object, claim: Object) -> bool:
    if capacity(volume) < requested(claim) or mode(volume) != mode(claim):
        return False
    return attributes_class(volume) == attributes_class(claim) and _has_modes(volume, claim)


def _has_modes(volume: Object, claim: Object) -> bool:
    return access_modes(claim) <= access_modes(volume)
