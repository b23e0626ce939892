"""Classes that apply when none is named, and finalizers that keep storage in use.

DefaultStorageClass, DefaultIngressClass, StorageObjectInUseProtection.
"""

from __future__ import annotations

from coxswain.api.names import GVR, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Object
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.lookup import Lookup

STORAGE_CLASSES = GVR("storage.k8s.io", "v1", "storageclasses")
INGRESSES = GVR("networking.k8s.io", "v1", "ingresses")
INGRESS_CLASSES = GVR("networking.k8s.io", "v1", "ingressclasses")

DEFAULT_STORAGE_CLASS = "storageclass.kubernetes.io/is-default-class"
BETA_DEFAULT_STORAGE_CLASS = "storageclass.beta.kubernetes.io/is-default-class"
BETA_STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
DEFAULT_INGRESS_CLASS = "ingressclass.kubernetes.io/is-default-class"
LEGACY_INGRESS_CLASS = "kubernetes.io/ingress.class"

PROTECTION = {
    PERSISTENT_VOLUMES: "kubernetes.io/pv-protection",
    PERSISTENT_VOLUME_CLAIMS: "kubernetes.io/pvc-protection",
}


class DefaultStorageClass(Plugin):
    """A claim without a class gets the default class, if there is one."""

    NAME = "DefaultStorageClass"

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation == "CREATE" and resource == PERSISTENT_VOLUME_CLAIMS and not subresource

    def admit(self, request: Request) -> None:
        assert request.object is not None
        spec = request.object.setdefault("spec", {})
        annotations = request.object["metadata"].get("annotations") or {}
        if spec.get("storageClassName") is not None or BETA_STORAGE_CLASS in annotations:
            return
        default = self._newest_default()
        if default:
            spec["storageClassName"] = default

    def _newest_default(self) -> str:
        """Of several default classes the newest, then the first by name."""
        found = [
            (c["metadata"].get("creationTimestamp") or "", c["metadata"]["name"])
            for c in self._lookup.list(STORAGE_CLASSES)
            if _annotated(c, DEFAULT_STORAGE_CLASS) or _annotated(c, BETA_DEFAULT_STORAGE_CLASS)
        ]
        newest = max((created for created, _ in found), default="")
        return min((name for created, name in found if created == newest), default="")


class DefaultIngressClass(Plugin):
    """An ingress without a class gets the default class, if there is one."""

    NAME = "DefaultIngressClass"

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation == "CREATE" and resource == INGRESSES and not subresource

    def admit(self, request: Request) -> None:
        assert request.object is not None
        spec = request.object.setdefault("spec", {})
        annotations = request.object["metadata"].get("annotations") or {}
        if spec.get("ingressClassName") is not None or LEGACY_INGRESS_CLASS in annotations:
            return
        found = [
            (c["metadata"].get("creationTimestamp") or "", c["metadata"]["name"])
            for c in self._lookup.list(INGRESS_CLASSES)
            if _annotated(c, DEFAULT_INGRESS_CLASS)
        ]
        newest = max((created for created, _ in found), default="")
        name = min((name for created, name in found if created == newest), default="")
        if name:
            spec["ingressClassName"] = name


class StorageObjectInUseProtection(Plugin):
    """Volumes and claims carry a finalizer until nothing uses them."""

    NAME = "StorageObjectInUseProtection"

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation == "CREATE" and resource in PROTECTION and not subresource

    def admit(self, request: Request) -> None:
        assert request.object is not None
        meta: Object = request.object["metadata"]
        finalizer = PROTECTION[request.resource]
        finalizers = meta.get("finalizers") or []
        if finalizer not in finalizers:
            meta["finalizers"] = [*finalizers, finalizer]


def _annotated(obj: Object, annotation: str) -> bool:
    return bool((obj["metadata"].get("annotations") or {}).get(annotation) == "true")
