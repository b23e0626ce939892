"""VolumeRestrictions: disks that are not shared, and claims that one pod of the cluster uses at a time."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from coxswain.scheduler.framework import (
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Codes,
    Event,
    Narrowed,
    Rejection,
    Scope,
)
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.template import Template
from coxswain.scheduler.volumes import Object, claims_of, disks_of

REASON_DISK = "node(s) had no available disk"
REASON_ONE_POD = (
    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
)
_REASONS = {1: REASON_DISK, 2: REASON_ONE_POD}
_ONE_POD = "ReadWriteOncePod"


def not_found(kind: str, name: str) -> str:
    """The API's words."""
    return f'{kind} "{name}" not found'


class VolumeRestrictions:
    NAME: ClassVar[str] = "VolumeRestrictions"
    SCOPE: ClassVar[Scope] = Scope.CLUSTER
    EVENTS: ClassVar[Event] = Event.POD_DELETE | Event.NODE_ADD | Event.PVC

    def needed(self, template: Template) -> bool:
        return bool(claims_of(template, with_ephemeral=False)) or bool(disks_of(template))

    def narrow(self, template: Template, table: NodeTable) -> Narrowed:
        """Every claim must exist."""
        for name, _ in claims_of(template, with_ephemeral=False):
            if table.volumes.claim(template.namespace, name) is None:
                return Rejection(UNRESOLVABLE, (not_found("persistentvolumeclaim", name),))
        return None

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        taken = self._taken(template, table)
        if self._in_use(template, table):
            codes = np.full(len(rows), 2, np.uint8)
        else:
            codes = np.zeros(len(rows), np.uint8)
        if taken:
            codes[np.isin(rows, np.fromiter(taken, np.int32, len(taken)))] = 1
        return codes

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        return Rejection(UNSCHEDULABLE, (_REASONS[code],))

    @staticmethod
    def _taken(template: Template, table: NodeTable) -> set[int]:
        """Rows where a pod has a disk that this one cannot share."""
        return {
            row
            for disk in disks_of(template)
            for row, others in table.volumes.disks.get((disk.kind, disk.identity), {}).items()
            if any(disk.conflicts(other) for other in others)
        }

    @staticmethod
    def _in_use(template: Template, table: NodeTable) -> bool:
        """Whether a placed pod uses a claim of ours that allows one pod only."""
        volumes = table.volumes
        return any(
            (template.namespace, name) in volumes.claim_users
            and _is_for_one_pod(volumes.claim(template.namespace, name))
            for name, _ in claims_of(template, with_ephemeral=False)
        )


def _is_for_one_pod(claim: Object | None) -> bool:
    return claim is not None and _ONE_POD in (claim["spec"].get("accessModes") or ())
