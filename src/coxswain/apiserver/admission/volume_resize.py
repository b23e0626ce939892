"""PersistentVolumeClaimResize: a claim grows only if it is bound and its storage class lets claims grow."""

from __future__ import annotations

from coxswain.api.names import GVR, PERSISTENT_VOLUME_CLAIMS, Object
from coxswain.api.quantity import Quantity
from coxswain.apiserver.admission.defaults import BETA_STORAGE_CLASS, STORAGE_CLASSES
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.lookup import Lookup


class PersistentVolumeClaimResize(Plugin):
    """See the module's text."""

    NAME = "PersistentVolumeClaimResize"

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation == "UPDATE" and resource == PERSISTENT_VOLUME_CLAIMS and not subresource

    def validate(self, request: Request) -> None:
        new, old = request.object or {}, request.old_object or {}
        if not _size(old) < _size(new):
            return
        if (old.get("status") or {}).get("phase") != "Bound":
            raise request.forbidden("Only bound persistent volume claims can be expanded")
        if not self._may_grow(new, old):
            raise request.forbidden(
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc "
                "must support resize"
            )

    def _may_grow(self, new: Object, old: Object) -> bool:
        name = _class(new)
        if not name or name != _class(old):
            return False
        found = self._lookup.get(STORAGE_CLASSES, "", name)
        return found is not None and bool(found.get("allowVolumeExpansion"))


def _size(claim: Object) -> Quantity:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return Quantity.parse(requests.get("storage") or 0)


def _class(claim: Object) -> str:
    annotations = claim["metadata"].get("annotations") or {}
    if BETA_STORAGE_CLASS in annotations:
        return str(annotations[BETA_STORAGE_CLASS])
    return str((claim.get("spec") or {}).get("storageClassName") or "")
