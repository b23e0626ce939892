"""Volumes by what claims ask for: nobody looks at all volumes to find one.

    claimRef     namespace/name -> the volumes reserved for (or bound to) that claim
    free         (class, mode, attributes class, access modes) -> (capacity, name), sorted

A claim's candidates are the groups of its class and modes, those with the fewest access modes first and each
from the smallest volume that is large enough: Kubernetes' order of preference.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import NamedTuple

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.controllers.pvbinder.match import (
    access_modes,
    attributes_class,
    capacity,
    is_free,
    mode,
    requested,
    storage_class,
)


class Group(NamedTuple):
    """What all volumes of a group share."""

    storage_class: str
    mode: str
    attributes_class: str
    access_modes: frozenset[str]


class VolumeIndex:
    """Kept up to date by ``put`` and ``drop``; sans-IO."""

    def __init__(self) -> None:
        self._volumes: dict[str, Object] = {}
        self._of_claim: dict[str, dict[str, None]] = {}
        self._free: dict[Group, list[tuple[Quantity, str]]] = {}
        self._groups: dict[str, set[Group]] = {}

    def put(self, volume: Object) -> None:
        """``volume`` is like this now."""
        self.drop(meta.name(volume))
        name = meta.name(volume)
        self._volumes[name] = volume
        if holder := claim_of(volume):
            self._of_claim.setdefault(holder, {})[name] = None
        if is_free(volume):
            group = _group(volume)
            self._groups.setdefault(group.storage_class, set()).add(group)
            insort(self._free.setdefault(group, []), (capacity(volume), name))

    def drop(self, name: str) -> None:
        """The volume is not there (any more)."""
        volume = self._volumes.pop(name, None)
        if volume is None:
            return
        if holder := claim_of(volume):
            members = self._of_claim[holder]
            members.pop(name, None)
            if not members:
                del self._of_claim[holder]
        if is_free(volume):
            self._drop_free(_group(volume), (capacity(volume), name))

    def _drop_free(self, group: Group, entry: tuple[Quantity, str]) -> None:
        entries = self._free[group]
        del entries[bisect_left(entries, entry)]
        if not entries:
            del self._free[group]
            alike = self._groups[group.storage_class]
            alike.discard(group)
            if not alike:
                del self._groups[group.storage_class]

    def reserved(self, claim_key: str) -> list[Object]:
        """Volumes whose claimRef names the claim."""
        return [self._volumes[name] for name in self._of_claim.get(claim_key, ())]

    def free_for(self, claim: Object) -> Iterator[Object]:
        """Free volumes that suit ``claim`` but for its selector, the best first."""
        wanted = access_modes(claim)
        groups = [
            group
            for group in self._groups.get(storage_class(claim), ())
            if group.mode == mode(claim)
            and group.attributes_class == attributes_class(claim)
            and wanted <= group.access_modes
        ]
        least = requested(claim)
        for group in sorted(groups, key=lambda group: (len(group.access_modes), sorted(group.access_modes))):
            entries = self._free[group]
            for position in range(bisect_left(entries, (least, "")), len(entries)):
                yield self._volumes[entries[position][1]]


def claim_of(volume: Object) -> str:
    """``namespace/name`` of the claim that a volume is for; empty when it is for any."""
    reference = volume["spec"].get("claimRef")
    return f"{reference.get('namespace', '')}/{reference['name']}" if reference else ""


def _group(volume: Object) -> Group:
    return Group(storage_class(volume), mode(volume), attributes_class(volume), access_modes(volume))
