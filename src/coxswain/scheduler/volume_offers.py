"""Volumes that claims may have: the free ones of each class by size, and those kept for a certain claim.

Parsed once for each version of a volume, and kept in order as volumes come, go and are assumed.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, TypeAlias

from coxswain.api.quantity import Quantity

Object = dict[str, Any]
#: Size in billionths of a byte, then name: the order in which volumes are preferred.
Place: TypeAlias = tuple[int, str]


@dataclass(eq=False, slots=True)
class Offer:
    """A volume, as matching reads it."""

    volume: Object
    name: str
    room: int
    #: (class, volumeMode, volumeAttributesClassName).
    kind: tuple[str, str, str]
    modes: frozenset[str]
    labels: dict[str, str]
    #: (namespace, name, uid) of the claim that it is kept for.
    kept: tuple[str, str, str | None] | None
    #: Whether a claim may take it that it is not kept for.
    free: bool
    #: Where its node affinity is one key's values; None: nowhere special (``everywhere``) or more complicated.
    near: tuple[str, list[str]] | None
    everywhere: bool


def storage_of(quantities: Object | None) -> int:
    """``storage`` of a resource list, in billionths of a byte; 0 where absent."""
    text = (quantities or {}).get("storage")
    return 0 if text is None else Quantity.parse(text).nano


def parse(volume: Object, class_name: str) -> Offer:
    """An offer from a PersistentVolume."""
    metadata, spec = volume["metadata"], volume["spec"]
    reference = spec.get("claimRef")
    required = (spec.get("nodeAffinity") or {}).get("required")
    phase = (volume.get("status") or {}).get("phase")
    return Offer(
        volume=volume,
        name=metadata["name"],
        room=storage_of(spec.get("capacity")),
        kind=(
            class_name,
            spec.get("volumeMode") or "Filesystem",
            spec.get("volumeAttributesClassName") or "",
        ),
        modes=frozenset(spec.get("accessModes") or ()),
        labels=metadata.get("labels") or {},
        kept=(reference.get("namespace") or "", reference.get("name") or "", reference.get("uid") or None)
        if reference
        else None,
        free=not reference and phase == "Available" and not metadata.get("deletionTimestamp"),
        near=_near(required),
        everywhere=required is None,
    )


def _near(required: Object | None) -> tuple[str, list[str]] | None:
    terms = (required or {}).get("nodeSelectorTerms") or []
    if len(terms) != 1 or terms[0].get("matchFields"):
        return None
    expressions = terms[0].get("matchExpressions") or []
    if len(expressions) != 1 or expressions[0]["operator"] != "In":
        return None
    return expressions[0]["key"], expressions[0].get("values") or []


class Offers:
    """See the module's text."""

    def __init__(self) -> None:
        self._known: dict[str, Offer] = {}
        #: kind -> the places of free offers, in order, and the offers.
        self._free: dict[tuple[str, str, str], tuple[list[Place], list[Offer]]] = {}
        #: claim -> names of the volumes kept for it.
        self._kept: dict[tuple[str, str], set[str]] = {}

    def put(self, name: str, volume: Object | None, class_name: str) -> None:
        """A volume came, changed, or is gone (None)."""
        old = self._known.get(name)
        if old is not None and old.volume is volume:
            return
        if old is not None:
            self._drop(old)
        if volume is not None:
            self._add(parse(volume, class_name))

    def _drop(self, offer: Offer) -> None:
        del self._known[offer.name]
        if offer.free:
            places, offers = self._free[offer.kind]
            at = bisect_left(places, (offer.room, offer.name))
            del places[at], offers[at]
            if not places:
                del self._free[offer.kind]
        if offer.kept is not None:
            claim = offer.kept[:2]
            self._kept[claim].discard(offer.name)
            if not self._kept[claim]:
                del self._kept[claim]

    def _add(self, offer: Offer) -> None:
        self._known[offer.name] = offer
        if offer.free:
            places, offers = self._free.setdefault(offer.kind, ([], []))
            place = (offer.room, offer.name)
            at = bisect_left(places, place)
            places.insert(at, place)
            offers.insert(at, offer)
        if offer.kept is not None:
            self._kept.setdefault(offer.kept[:2], set()).add(offer.name)

    def free(self, kind: tuple[str, str, str], room: int) -> list[Offer]:
        """Free offers of a kind with at least ``room``, the smallest first."""
        if kind not in self._free:
            return []
        places, offers = self._free[kind]
        return offers[bisect_left(places, (room, "")) :]

    def names(self) -> dict[str, dict[str, list[str]]]:
        """Names of the free volumes of each kind in order, and of those kept for each claim."""
        free = {repr(kind): [name for _, name in places] for kind, (places, _) in self._free.items()}
        kept = {"/".join(claim): sorted(names) for claim, names in self._kept.items()}
        return {"free": free, "kept": kept}

    def kept_for(self, namespace: str, name: str) -> list[Offer]:
        """Offers kept for claims of this name, whatever their uid, by name."""
        return [self._known[each] for each in sorted(self._kept.get((namespace, name), ()))]
