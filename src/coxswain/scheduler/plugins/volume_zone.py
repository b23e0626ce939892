"""VolumeZone: a node must lie in the zone and region that its pod's volumes are labelled with."""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple

import numpy as np

from coxswain.scheduler.framework import UNRESOLVABLE, Codes, Event, Narrowed, Rejection, Scope
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.plugins.volume_restrictions import not_found
from coxswain.scheduler.selection import match_expression
from coxswain.scheduler.template import Template
from coxswain.scheduler.volume_matching import DELAYED
from coxswain.scheduler.volumes import Object, Volumes, claims_of, class_of

REASON = "node(s) had no available volume zone"
_BETA_ZONE: Final = "failure-domain.beta.kubernetes.io/zone"
_BETA_REGION: Final = "failure-domain.beta.kubernetes.io/region"
_ZONE: Final = "topology.kubernetes.io/zone"
_REGION: Final = "topology.kubernetes.io/region"
_LABELS: Final = (_BETA_ZONE, _BETA_REGION, _ZONE, _REGION)
_TODAY: Final = {_BETA_ZONE: _ZONE, _BETA_REGION: _REGION}


class Topology(NamedTuple):
    """One label of a volume: the values that a node may have."""

    key: str
    values: tuple[str, ...]


class VolumeZone:
    NAME: ClassVar[str] = "VolumeZone"
    SCOPE: ClassVar[Scope] = Scope.CLUSTER
    EVENTS: ClassVar[Event] = Event.STORAGE_CLASS | Event.NODE_ADD | Event.NODE_LABEL | Event.PVC | Event.PV

    def needed(self, template: Template) -> bool:
        return bool(claims_of(template, with_ephemeral=False))

    def narrow(self, template: Template, table: NodeTable) -> Narrowed:
        """Claims must exist, and have a volume or wait for their first consumer."""
        found = self._topologies(template, table.volumes)
        return found if isinstance(found, Rejection) else None

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        topologies = self._topologies(template, table.volumes)
        if isinstance(topologies, Rejection) or not topologies:
            return np.zeros(len(rows), np.uint8)
        # A node without any such label is in a cluster of one zone.
        placed = np.zeros(len(rows), np.bool_)
        for key in _LABELS:
            placed |= table.column(key).ids[rows] >= 0
        fits = np.ones(len(rows), np.bool_)
        for key, values in topologies:
            wanted = {"key": key, "operator": "In", "values": values}
            match = match_expression(wanted, table, rows)
            if key in _TODAY:
                absent = table.column(key).ids[rows] < 0
                match |= absent & match_expression({**wanted, "key": _TODAY[key]}, table, rows)
            fits &= match
        return (placed & ~fits).view(np.uint8)

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        return Rejection(UNRESOLVABLE, (REASON,))

    def _topologies(self, template: Template, volumes: Volumes) -> list[Topology] | Rejection:
        found: list[Topology] = []
        for name, _ in claims_of(template, with_ephemeral=False):
            volume = self._volume(template.namespace, name, volumes)
            if isinstance(volume, str):
                return Rejection(UNRESOLVABLE, (volume,))
            if volume is not None:
                found += _labels(volume)
        return found

    @staticmethod
    def _volume(namespace: str, name: str, volumes: Volumes) -> Object | str | None:
        """A claim's volume, None while it waits for its consumer, or what is wrong."""
        if not name:
            return "PersistentVolumeClaim had no name"
        claim = volumes.claim(namespace, name)
        if claim is None:
            return not_found("persistentvolumeclaim", name)
        volume_name = claim["spec"].get("volumeName")
        if volume_name:
            return volumes.volume(volume_name) or not_found("persistentvolume", volume_name)
        class_name = class_of(claim)
        if not class_name:
            return "PersistentVolumeClaim had no pv name and storageClass name"
        storage_class = volumes.storage_class(class_name)
        if storage_class is None:
            return not_found("storageclass.storage.k8s.io", class_name)
        mode = storage_class.get("volumeBindingMode")
        if mode is None:
            return f'VolumeBindingMode not set for StorageClass "{class_name}"'
        return None if mode == DELAYED else "PersistentVolume had no name"


def _labels(volume: Object) -> list[Topology]:
    labels = volume["metadata"].get("labels") or {}
    found = []
    for key in _LABELS:
        if key in labels:
            values = tuple(value.strip() for value in labels[key].split("__"))
            if all(values):  # a list with a hole says nothing
                found.append(Topology(key, values))
    return found
