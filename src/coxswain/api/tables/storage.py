"""Tables of volumes, claims, classes and CSI objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from coxswain.api.names import Object
from coxswain.api.tables.text import NONE, UNSET, Printer, age, meta, name, spec, status

_ACCESS_MODES: Final = (
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
)


def _access_modes(modes: Any) -> str:
    return ",".join(short for mode, short in _ACCESS_MODES if mode in (modes or ()))


def _class_of(obj: Object) -> str:
    """The storage class; the annotation of old times wins."""
    beta = (meta(obj).get("annotations") or {}).get("volume.beta.kubernetes.io/storage-class")
    return str(beta if beta is not None else spec(obj).get("storageClassName") or "")


def _phase(obj: Object) -> str:
    return "Terminating" if meta(obj).get("deletionTimestamp") else str(status(obj).get("phase", ""))


def _volume(obj: Object, now: float) -> list[Any]:
    wanted = spec(obj)
    claim = wanted.get("claimRef")
    return [
        name(obj),
        (wanted.get("capacity") or {}).get("storage", "0"),
        _access_modes(wanted.get("accessModes")),
        wanted.get("persistentVolumeReclaimPolicy", ""),
        _phase(obj),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        _class_of(obj),
        wanted.get("volumeAttributesClassName") or UNSET,
        status(obj).get("reason", ""),
        age(obj, now),
        wanted.get("volumeMode") or UNSET,
    ]


def _claim(obj: Object, now: float) -> list[Any]:
    wanted, current = spec(obj), status(obj)
    capacity = modes = ""
    if wanted.get("volumeName"):
        capacity = (current.get("capacity") or {}).get("storage", "0")
        modes = _access_modes(current.get("accessModes"))
    return [
        name(obj),
        _phase(obj),
        wanted.get("volumeName", ""),
        capacity,
        modes,
        _class_of(obj),
        wanted.get("volumeAttributesClassName") or UNSET,
        age(obj, now),
        wanted.get("volumeMode") or UNSET,
    ]


def _storage_class(obj: Object, now: float) -> list[Any]:
    annotations = meta(obj).get("annotations") or {}
    is_default = any(
        annotations.get(f"storageclass.{prefix}kubernetes.io/is-default-class") == "true"
        for prefix in ("", "beta.")
    )
    return [
        name(obj) + (" (default)" if is_default else ""),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy") or "Delete",
        obj.get("volumeBindingMode") or "Immediate",
        bool(obj.get("allowVolumeExpansion")),
        age(obj, now),
    ]


def _attachment(obj: Object, now: float) -> list[Any]:
    wanted = spec(obj)
    return [
        name(obj),
        wanted.get("attacher", ""),
        (wanted.get("source") or {}).get("persistentVolumeName") or "",
        wanted.get("nodeName", ""),
        bool(status(obj).get("attached")),
        age(obj, now),
    ]


def _attributes_class(obj: Object, now: float) -> list[Any]:
    return [name(obj), obj.get("driverName", ""), age(obj, now)]


def _csi_driver(obj: Object, now: float) -> list[Any]:
    wanted = spec(obj)
    tokens = wanted.get("tokenRequests")
    audiences = ",".join(token.get("audience", "") for token in tokens) if tokens is not None else UNSET
    return [
        name(obj),
        wanted.get("attachRequired", True),
        bool(wanted.get("podInfoOnMount")),
        bool(wanted.get("storageCapacity")),
        audiences,
        bool(wanted.get("requiresRepublish")),
        ",".join(wanted.get("volumeLifecycleModes") or ()) or NONE,
        age(obj, now),
    ]


def _csi_node(obj: Object, now: float) -> list[Any]:
    return [name(obj), len(spec(obj).get("drivers") or ()), age(obj, now)]


PRINTERS: Final[Mapping[tuple[str, str], Printer]] = {
    ("", "persistentvolumeclaims"): _claim,
    ("", "persistentvolumes"): _volume,
    ("storage.k8s.io", "csidrivers"): _csi_driver,
    ("storage.k8s.io", "csinodes"): _csi_node,
    ("storage.k8s.io", "storageclasses"): _storage_class,
    ("storage.k8s.io", "volumeattachments"): _attachment,
    ("storage.k8s.io", "volumeattributesclasses"): _attributes_class,
}
