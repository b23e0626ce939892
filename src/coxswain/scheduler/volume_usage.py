"""Which CSI volumes are attached to which node, or will be: counts by driver and row, kept up to date.

    names[row]      unique volumes there: those of the pods, and those that VolumeAttachments tell of
    where[name]     the rows of a volume
    used(driver)    how many volumes of a driver each row has
    limit(driver)   how many its CSINode allows; -1 where it says nothing

``Volumes`` notes rows and nodes that changed; ``refresh`` looks at those again and at no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from coxswain.scheduler.volume_migration import DRIVERS, attachable, migrated_on
from coxswain.scheduler.volumes import Object, Volumes, class_of

if TYPE_CHECKING:
    from coxswain.scheduler.nodetable import NodeTable
    from coxswain.scheduler.template import Template

#: (driver, handle).
Name: TypeAlias = tuple[str, str]
Counts: TypeAlias = NDArray[np.int32]


class Usage:
    """See the module's text."""

    def __init__(self) -> None:
        self.where: dict[Name, set[int]] = {}
        self._names: dict[int, set[Name]] = {}
        self._used: dict[str, Counts] = {}
        self._limit: dict[str, Counts] = {}
        self.capacity = 0
        self._nodes_at = -1

    def drivers(self) -> set[str]:
        """Drivers that volumes or limits are known of."""
        return self._used.keys() | self._limit.keys()

    def used(self, driver: str) -> Counts:
        """Volumes of a driver by row."""
        return self._array(self._used, driver, 0)

    def limit(self, driver: str) -> Counts:
        """The most that a row may have of a driver's volumes, -1 where there is no limit."""
        return self._array(self._limit, driver, -1)

    def _array(self, arrays: dict[str, Counts], driver: str, empty: int) -> Counts:
        found = arrays.get(driver)
        if found is None or len(found) < self.capacity:
            grown = np.full(self.capacity, empty, np.int32)
            if found is not None:
                grown[: len(found)] = found
            found = arrays[driver] = grown
        return found

    def refresh(self, table: NodeTable) -> None:
        """Look again at what changed."""
        volumes = table.volumes
        self.capacity = table.capacity
        changed = table.node_log.since(self._nodes_at)
        self._nodes_at = table.node_log.end
        if changed is None or volumes.all_changed:
            rows = set(range(len(table.nodes)))
        else:
            rows = set(changed.tolist()) | volumes.changed_rows
            rows.update(table.row_of[name] for name in volumes.changed_nodes if name in table.row_of)
        volumes.changed_rows.clear()
        volumes.changed_nodes.clear()
        volumes.all_changed = False
        for row in rows:
            self._look(row, table)

    def _look(self, row: int, table: NodeTable) -> None:
        node = table.nodes[row] if row < len(table.nodes) else None
        volumes = table.volumes
        names: set[Name] = set()
        limits: dict[str, int] = {}
        if node is not None:
            csi_node = volumes.csi_node(node.name)
            limits = _limits(csi_node)
            names.update(_by_attachments(volumes, node.name, csi_node))
            for template in volumes.users.get(row, ()):
                names.update(names_of(template, volumes, csi_node))
        for driver in limits.keys() | self._limit.keys():
            self.limit(driver)[row] = limits.get(driver, -1)
        old = self._names.pop(row, set())
        if names:
            self._names[row] = names
        for name in old - names:
            self.used(name[0])[row] -= 1
            self.where[name].discard(row)
            if not self.where[name]:
                del self.where[name]
        for name in names - old:
            self.used(name[0])[row] += 1
            self.where.setdefault(name, set()).add(row)


def usage_of(table: NodeTable) -> Usage:
    """The usage of a table's nodes, up to date."""
    usage = table.volumes.usage
    if usage is None:
        usage = table.volumes.usage = Usage()
    usage.refresh(table)
    return usage


def _limits(csi_node: Object | None) -> dict[str, int]:
    if csi_node is None:
        return {}
    return {
        driver["name"]: count
        for driver in csi_node["spec"].get("drivers") or ()
        if (count := (driver.get("allocatable") or {}).get("count")) is not None
    }


def names_of(template: Template, volumes: Volumes, csi_node: Object | None) -> Iterator[Name]:
    """What a pod of this template attaches to a node (``filterAttachableVolumes``)."""
    for volume in template.spec.get("volumes") or ():
        source = volume.get("persistentVolumeClaim") or volume.get("ephemeral")
        if source is None:
            found = attachable(volume)
            if found is not None and migrated_on(csi_node, found.plugin):
                yield DRIVERS[found.plugin], found.handle
            continue
        claim = volumes.claim(template.namespace, source["claimName"])
        named = _of_claim(claim, volumes, csi_node) if claim is not None else None
        if named is not None:
            yield named


def _of_claim(claim: Object, volumes: Volumes, csi_node: Object | None) -> Name | None:
    """A claim's volume; the one to come when it has none yet (``getCSIDriverInfo``)."""
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


def _of_volume(volume: Object, csi_node: Object | None) -> Name | None:
    csi = volume["spec"].get("csi")
    if csi is not None:
        return csi["driver"], csi["volumeHandle"]
    found = attachable(volume["spec"], volume)
    if found is None or not migrated_on(csi_node, found.plugin):
        return None
    return DRIVERS[found.plugin], found.handle


def _by_attachments(volumes: Volumes, node_name: str, csi_node: Object | None) -> Iterator[Name]:
    """What VolumeAttachments say is attached to a node, whether or not a pod there uses it."""
    for attachment in volumes.attachments(node_name):
        name = (attachment["spec"].get("source") or {}).get("persistentVolumeName")
        volume = volumes.volume(name) if name else None
        if volume is not None and (found := _of_volume(volume, csi_node)) is not None:
            yield found
