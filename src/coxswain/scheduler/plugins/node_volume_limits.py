"""NodeVolumeLimits: a CSI driver attaches no more volumes to a node than its CSINode says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from coxswain.scheduler.framework import UNRESOLVABLE, UNSCHEDULABLE, Codes, Event, Rejection, Scope
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.plugins.volume_restrictions import not_found
from coxswain.scheduler.template import Template
from coxswain.scheduler.volume_migration import ANNOUNCED, MIGRATED, attachable, migrated_on
from coxswain.scheduler.volume_usage import Name, Usage, names_of, usage_of
from coxswain.scheduler.volumes import Object, Volumes, claims_of

REASON = "node(s) exceed max volume count"
#: Volumes of in-tree plugins count on every node with a CSINode, others have no limits; but for plugins whose
#: migration the CSINode announces.
_PLAIN: Final[Object] = {"metadata": {}}
_ANNOUNCING: Final[Object] = {"metadata": {"annotations": {MIGRATED: ",".join(ANNOUNCED)}}}


class NodeVolumeLimits:
    NAME: ClassVar[str] = "NodeVolumeLimits"
    SCOPE: ClassVar[Scope] = Scope.CLUSTER
    EVENTS: ClassVar[Event] = (
        Event.CSI_NODE | Event.POD_DELETE | Event.PVC | Event.VOLUME_ATTACHMENT | Event.NODE_ADD
    )

    def needed(self, template: Template) -> bool:
        return any(
            "persistentVolumeClaim" in volume or "ephemeral" in volume or attachable(volume) is not None
            for volume in template.spec.get("volumes") or ()
        )

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        if _missing(template, table.volumes):
            return np.full(len(rows), 2, np.uint8)
        usage = usage_of(table)
        codes = self._exceeding(names_of(template, table.volumes, _PLAIN), usage)[rows]
        announced = set(names_of(template, table.volumes, _ANNOUNCING))
        if announced != set(names_of(template, table.volumes, _PLAIN)):
            csi_nodes = [table.volumes.csi_node(table.node(row).name) for row in rows.tolist()]
            there = [any(migrated_on(each, plugin) for plugin in ANNOUNCED) for each in csi_nodes]
            codes = np.where(there, self._exceeding(announced, usage)[rows], codes)
        return codes.view(np.uint8)

    @staticmethod
    def _exceeding(names: Iterable[Name], usage: Usage) -> NDArray[np.bool_]:
        """Where these volumes beside those that are there are more than a driver may attach, by row."""
        wanted: dict[str, set[Name]] = {}
        for name in names:
            wanted.setdefault(name[0], set()).add(name)
        exceeds = np.zeros(usage.capacity, np.bool_)
        for driver, new in wanted.items():
            used, limit = usage.used(driver), usage.limit(driver)
            total = used + np.int32(len(new))
            for name in new:
                if there := usage.where.get(name):
                    total[np.fromiter(there, np.int64, len(there))] -= 1
            # A pod whose volumes are all there adds none, and may come though there are too many.
            exceeds |= (limit >= 0) & (total > limit) & (total > used)
        return exceeds

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        if code == 2:
            return Rejection(UNRESOLVABLE, (_missing(template, table.volumes),))
        return Rejection(UNSCHEDULABLE, (REASON,))


def _missing(template: Template, volumes: Volumes) -> str:
    """What is said of the first claim that does not exist, or empty."""
    for name, _ in claims_of(template):
        if volumes.claim(template.namespace, name) is None:
            text = not_found("persistentvolumeclaim", name)
            return f"looking up PVC {template.namespace}/{name}: {text}"
    return ""
