"""StorageClasses as the binder sees them: the default one, and who provisions for a class."""

from __future__ import annotations

from collections.abc import Iterable

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.pvbinder.match import CLASS_ANNOTATION

_DEFAULT = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")

#: Provisioners of the controller manager's past -> the CSI drivers that took their work over.
MIGRATED_PROVISIONERS = {
    "kubernetes.io/aws-ebs": "ebs.csi.aws.com",
    "kubernetes.io/azure-disk": "disk.csi.azure.com",
    "kubernetes.io/azure-file": "file.csi.azure.com",
    "kubernetes.io/cinder": "cinder.csi.openstack.org",
    "kubernetes.io/gce-pd": "pd.csi.storage.gke.io",
    "kubernetes.io/portworx-volume": "pxd.portworx.com",
    "kubernetes.io/vsphere-volume": "csi.vsphere.vmware.com",
}


def is_default(storage: Object) -> bool:
    """Whether claims without a class get this one."""
    return any(meta.annotations(storage).get(name) == "true" for name in _DEFAULT)


def default_class(classes: Iterable[Object]) -> Object | None:
    """The default class: of several the newest, then the first by name."""
    found = sorted(filter(is_default, classes), key=meta.name)
    return max(found, key=lambda one: str(one["metadata"].get("creationTimestamp") or ""), default=None)


def awaits_default(claim: Object) -> bool:
    """Whether the claim says nothing about its class (an empty name says: none)."""
    return claim["spec"].get("storageClassName") is None and CLASS_ANNOTATION not in meta.annotations(claim)


def external_provisioner(storage: Object) -> str:
    """Who makes volumes of the class outside of this process; empty when nobody can."""
    name = str(storage["provisioner"])
    if not name.startswith("kubernetes.io/"):
        return name
    return MIGRATED_PROVISIONERS.get(name, "")
