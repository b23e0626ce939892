"""In-tree volumes as the CSI drivers that took them over see them (csi-translation-lib): names and handles."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

Object = dict[str, Any]

#: In-tree plugin -> CSI driver. These count on every node that has a CSINode ...
DRIVERS: Final = {
    "kubernetes.io/aws-ebs": "ebs.csi.aws.com",
    "kubernetes.io/gce-pd": "pd.csi.storage.gke.io",
    "kubernetes.io/azure-disk": "disk.csi.azure.com",
    "kubernetes.io/cinder": "cinder.csi.openstack.org",
    "kubernetes.io/portworx-volume": "pxd.portworx.com",
}
#: ... but for those whose migration the CSINode must announce.
ANNOUNCED: Final = frozenset({"kubernetes.io/portworx-volume"})
MIGRATED: Final = "storage.alpha.kubernetes.io/migrated-plugins"
_ZONE_LABELS: Final = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
_UNSPECIFIED: Final = "UNSPECIFIED"


class Attachable(NamedTuple):
    """A volume by its in-tree plugin and the handle that the CSI driver knows it by."""

    plugin: str
    handle: str


def migrated_on(csi_node: Object | None, plugin: str) -> bool:
    """Whether the node leaves volumes of an in-tree plugin to the CSI driver (``isCSIMigrationOn``)."""
    if csi_node is None or plugin not in DRIVERS:
        return False
    if plugin not in ANNOUNCED:
        return True
    announced = (csi_node["metadata"].get("annotations") or {}).get(MIGRATED) or ""
    return plugin in announced.split(",")


def attachable(source: Object, volume: Object | None = None) -> Attachable | None:
    """What a pod's inline volume, or the spec of a (persistent) ``volume``, names; None if nothing migrates it."""
    if disk := source.get("awsElasticBlockStore"):
        return Attachable("kubernetes.io/aws-ebs", disk["volumeID"].rpartition("/")[2])
    if disk := source.get("gcePersistentDisk"):
        return Attachable("kubernetes.io/gce-pd", _gce_handle(disk["pdName"], volume))
    if disk := source.get("azureDisk"):
        return Attachable("kubernetes.io/azure-disk", disk["diskURI"])
    if disk := source.get("cinder"):
        return Attachable("kubernetes.io/cinder", disk["volumeID"])
    if disk := source.get("portworxVolume"):
        return Attachable("kubernetes.io/portworx-volume", disk["volumeID"])
    return None


def _gce_handle(disk: str, volume: Object | None) -> str:
    labels = (volume["metadata"].get("labels") if volume else None) or {}
    label = next((labels[key] for key in _ZONE_LABELS if labels.get(key)), "")
    zones = [zone for zone in label.split("__") if zone]
    if len(zones) > 1:
        region = zones[0].rpartition("-")[0]
        return f"projects/{_UNSPECIFIED}/regions/{region}/disks/{disk}"
    return f"projects/{_UNSPECIFIED}/zones/{zones[0] if zones else _UNSPECIFIED}/disks/{disk}"
