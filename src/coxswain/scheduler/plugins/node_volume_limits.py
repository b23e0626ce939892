"""NodeVolumeLimits: a CSI driver attaches no more volumes to a node than its CSINode says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from coxswain.scheduler.framework import UNRESOLVABLE, UNSCHEDULABLE, Codes, Event, Rejection, Scope
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.plugins.volume_restrictions import not_found
from coxswain.scheduler.template import Template
from coxswain.scheduler.volume_migration import DRIVERS, attachable, migrated_on
from coxswain.scheduler.volumes import Object, Volumes, class_of

REASON = "node(s) exceed max volume count"


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
        if self._missing(template, table.volumes):
            return np.full(len(rows), 2, np.uint8)
        limits: dict[int, dict[str, int]] = {}
        for place, row in enumerate(rows.tolist()):
            if found := _limits(table.volumes.csi_node(table.node(row).name)):
                limits[place] = found
        codes = np.zeros(len(rows), np.uint8)
        for place, allowed in limits.items():
            codes[place] = self._exceeds(template, table, int(rows[place]), allowed)
        return codes

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        if code == 2:
            return Rejection(UNRESOLVABLE, (self._missing(template, table.volumes),))
        return Rejection(UNSCHEDULABLE, (REASON,))

    @staticmethod
    def _missing(template: Template, volumes: Volumes) -> str:
        """What is said of the first claim that does not exist, or empty."""
        for name in _claim_names(template):
            if volumes.claim(template.namespace, name) is None:
                text = not_found("persistentvolumeclaim", name)
                return f"looking up PVC {template.namespace}/{name}: {text}"
        return ""

    @staticmethod
    def _exceeds(template: Template, table: NodeTable, row: int, allowed: dict[str, int]) -> bool:
        volumes, name = table.volumes, table.node(row).name
        csi_node = volumes.csi_node(name)
        new = dict(_attached(template, volumes, csi_node))
        if not new:
            return False
        there = dict(_by_attachments(volumes, name, csi_node))
        for other in volumes.users.get(row, ()):
            there.update(_attached(other, volumes, csi_node))
        used = Counter(there.values())
        wanted = Counter(driver for volume, driver in new.items() if volume not in there)
        return any(
            driver in allowed and used[driver] + count > allowed[driver] for driver, count in wanted.items()
        )


def _limits(csi_node: Object | None) -> dict[str, int]:
    if csi_node is None:
        return {}
    return {
        driver["name"]: count
        for driver in csi_node["spec"].get("drivers") or ()
        if (count := (driver.get("allocatable") or {}).get("count")) is not None
    }


def _claim_names(template: Template) -> Iterator[str]:
    for volume in template.spec.get("volumes") or ():
        source = volume.get("persistentVolumeClaim") or volume.get("ephemeral")
        if source is not None:
            yield source["claimName"]


def _attached(
    template: Template, volumes: Volumes, csi_node: Object | None
) -> Iterator[tuple[tuple[str, str], str]]:
    """((driver, handle), driver) of what a pod of this template attaches."""
    for volume in template.spec.get("volumes") or ():
        source = volume.get("persistentVolumeClaim") or volume.get("ephemeral")
        if source is None:
            found = attachable(volume)
            if found is not None and migrated_on(csi_node, found.plugin):
                driver = DRIVERS[found.plugin]
                yield (driver, found.handle), driver
            continue
        claim = volumes.claim(template.namespace, source["claimName"])
        if claim is not None:
            named = _of_claim(claim, volumes, csi_node)
            if named is not None:
                yield named, named[0]


def _of_claim(claim: Object, volumes: Volumes, csi_node: Object | None) -> tuple[str, str] | None:
    """(driver, handle) of a claim's volume; of one to come when it has none yet (``getCSIDriverInfo``)."""
    name = claim["spec"].get("volumeName")
    volume = volumes.volume(name) if name else None
    if volume is not None:
        return _of_volume(volume, csi_node)
    storage_class = volumes.storage_class(class_of(claim))
    if storage_class is None:
        return None
    driver = storage_class.get("provisioner") or ""
    if driver in DRIVERS:
        if not migrated_on(csi_node, driver):
            return None
        driver = DRIVERS[driver]
    metadata = claim["metadata"]
    # No driver gives such a handle, so it is never taken for an existing volume.
    return (driver, f"\0{metadata.get('namespace') or ''}/{metadata['name']}") if driver else None


def _of_volume(volume: Object, csi_node: Object | None) -> tuple[str, str] | None:
    csi = volume["spec"].get("csi")
    if csi is not None:
        return csi["driver"], csi["volumeHandle"]
    found = attachable(volume["spec"], volume)
    if found is None or not migrated_on(csi_node, found.plugin):
        return None
    return DRIVERS[found.plugin], found.handle


def _by_attachments(
    volumes: Volumes, node_name: str, csi_node: Object | None
) -> Iterator[tuple[tuple[str, str], str]]:
    """What VolumeAttachments say is attached to a node, whether or not a pod there uses it."""
    for attachment in volumes.attachments(node_name):
        name = (attachment["spec"].get("source") or {}).get("persistentVolumeName")
        volume = volumes.volume(name) if name else None
        if volume is not None and (found := _of_volume(volume, csi_node)) is not None:
            yield found, found[0]
