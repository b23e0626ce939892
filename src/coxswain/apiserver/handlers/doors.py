"""Subresources that take the whole object but change only a part of it.

pods/ephemeralcontainers            spec.ephemeralContainers, which may only grow
pods/resize                         resources and resize policies of containers
namespaces/finalize                 spec.finalizers; labels, annotations and metadata.finalizers, as in Kubernetes
certificatesigningrequests/approval status.conditions Approved and Denied; labels and annotations likewise
"""

from __future__ import annotations

from coxswain.api.fields import Errors
from coxswain.api.names import GVR, NAMESPACES, PODS, Object
from coxswain.api.validation.certificates import validate_approval
from coxswain.api.validation.cluster import validate_namespace
from coxswain.api.validation.pods import validate_ephemeral_containers_update, validate_resize
from coxswain.apiserver.registry import Entry
from coxswain.apiserver.verbs.writing import Door
from coxswain.base import clock

_CSRS = GVR("certificates.k8s.io", "v1", "certificatesigningrequests")
_RESIZABLE = ("resources", "resizePolicy")


def door_of(entry: Entry, subresource: str) -> Door | None:
    """The door for a subresource of this room, or None."""
    if entry.gvr == PODS and subresource == "ephemeralcontainers":
        return Door(_prepare_ephemeral, validate_ephemeral_containers_update, subresource)
    if entry.gvr == PODS and subresource == "resize":
        return Door(_prepare_resize, validate_resize, subresource)
    if entry.gvr == NAMESPACES and subresource == "finalize":
        return Door(_prepare_finalize, _check_finalize, subresource)
    if entry.gvr == _CSRS and subresource == "approval":
        return Door(_prepare_approval, validate_approval, subresource)
    return None


def _restore(new: Object, old: Object) -> None:
    """Put back everything that a subresource of pods does not change."""
    kept = {
        key: value for key, value in old["metadata"].items() if key not in ("managedFields", "generation")
    }
    for key in ("managedFields", "generation"):
        if key in new["metadata"]:
            kept[key] = new["metadata"][key]
    new["metadata"] = kept
    new["spec"] = dict(old.get("spec") or {})
    _restore_status(new, old)


def _restore_status(new: Object, old: Object) -> None:
    if "status" in old:
        new["status"] = old["status"]
    else:
        new.pop("status", None)


def _bump(new: Object, old: Object) -> None:
    if new["spec"] != old.get("spec"):
        new["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + 1


def _prepare_ephemeral(new: Object, old: Object) -> None:
    wanted = (new.get("spec") or {}).get("ephemeralContainers")
    _restore(new, old)
    if wanted:
        new["spec"]["ephemeralContainers"] = wanted
    else:
        new["spec"].pop("ephemeralContainers", None)
    _bump(new, old)


def _prepare_resize(new: Object, old: Object) -> None:
    wanted_spec = new.get("spec") or {}
    _restore(new, old)
    for field in ("containers", "initContainers"):
        wanted = {one.get("name"): one for one in wanted_spec.get(field) or ()}
        if field in new["spec"]:
            new["spec"][field] = [
                _resized(present, wanted.get(present.get("name"))) for present in new["spec"][field]
            ]
    if "resources" in wanted_spec:
        new["spec"]["resources"] = wanted_spec["resources"]
    _bump(new, old)


def _resized(present: Object, wanted: Object | None) -> Object:
    if wanted is None:
        return present
    resized = dict(present)
    for field in _RESIZABLE:
        if field in wanted:
            resized[field] = wanted[field]
        else:
            resized.pop(field, None)
    return resized


def _prepare_finalize(new: Object, old: Object) -> None:
    new.setdefault("spec", {})
    _restore_status(new, old)


def _check_finalize(new: Object, old: Object) -> Errors:
    problems: Errors = []
    validate_namespace(new, problems)
    return problems


def _prepare_approval(new: Object, old: Object) -> None:
    conditions = (new.get("status") or {}).get("conditions") or []
    new["spec"] = dict(old.get("spec") or {})
    _restore_status(new, old)
    status = dict(new.get("status") or {})
    present = {one.get("type"): one for one in status.pop("conditions", None) or ()}
    if conditions:
        status["conditions"] = conditions
    now = clock.timestamp()
    for one in conditions:
        before = present.get(one.get("type")) or {}
        if not one.get("lastUpdateTime"):
            one["lastUpdateTime"] = now
        if not one.get("lastTransitionTime"):
            same = before.get("status") == one.get("status")
            one["lastTransitionTime"] = (before.get("lastTransitionTime") if same else None) or now
    new["status"] = status
