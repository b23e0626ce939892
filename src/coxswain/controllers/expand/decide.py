"""Who is to grow a claim's volume, as an event; sans-IO.

Volumes of CSI drivers, and those that an external provisioner made, are grown by an external resizer. Kinds of
volumes that used to be grown in the controller manager have moved to CSI drivers; all others cannot grow, and
the claim is told so once, clearly, instead of waiting for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.controllers.pvbinder.decide import PROVISIONED_BY
from coxswain.controllers.pvbinder.match import is_bound_to

#: Sources whose work CSI drivers have taken over (``csitranslation``).
MIGRATED = frozenset(
    {"awsElasticBlockStore", "azureDisk", "azureFile", "cinder", "gcePersistentDisk", "vsphereVolume"}
) | {"portworxVolume"}
_NOT_SOURCES = frozenset(
    {"accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "storageClassName", "volumeMode"}
) | {"persistentVolumeReclaimPolicy", "volumeAttributesClassName"}


@dataclass(frozen=True, slots=True)
class Word:
    """An event about the claim."""

    type: str
    reason: str
    message: str


def wants_more(claim: Object) -> bool:
    """Whether a bound claim asks for more than it has."""
    status = claim.get("status") or {}
    if status.get("phase") != "Bound" or not claim["spec"].get("volumeName"):
        return False
    asked = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", 0)
    has = (status.get("capacity") or {}).get("storage", 0)
    return Quantity.parse(asked) > Quantity.parse(has)


def source_of(volume: Object) -> str:
    """The kind of a volume's source: ``csi``, ``nfs``, ``hostPath``, ...; empty when it has none."""
    return next((name for name in volume["spec"] if name not in _NOT_SOURCES), "")


def plan(claim: Object, volume: Object | None) -> Word | None:
    """What to tell about a claim and its volume; None: nothing to do, or not yet."""
    if volume is None or not wants_more(claim) or not is_bound_to(volume, claim):
        return None
    source = source_of(volume)
    provisioner = meta.annotations(volume).get(PROVISIONED_BY, "")
    outside = bool(provisioner) and not provisioner.startswith(("kubernetes.io/", "coxswain.dev/"))
    if source in ("csi", "flexVolume") or source in MIGRATED or outside:
        return Word("Normal", "ExternalExpanding", "waiting for an external controller to expand this PVC")
    text = (
        f'volume "{meta.name(volume)}" of type {source or "unknown"} cannot be expanded: '
        "no volume plugin matched; only volumes of CSI drivers and of external provisioners grow"
    )
    return Word("Warning", "VolumeResizeFailed", text)
