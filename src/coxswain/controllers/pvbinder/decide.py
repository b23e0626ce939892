"""What a claim and a volume need next, as changed copies to write and an event to tell.

Annotations: ``bound-by-controller`` on whichever side this controller filled in (so that it may undo it),
``bind-completed`` on a claim that was bound once: a claim like that is Lost when its volume is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.pvbinder.classes import (
    MIGRATED_PROVISIONERS,
    awaits_default,
    external_provisioner,
)
from coxswain.controllers.pvbinder.match import best_match, is_bound_to, mismatch, storage_class

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
BETA_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"


@dataclass(frozen=True, slots=True)
class Event:
    """What to tell about the object."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ClaimPlan:
    """``bind``: to this volume; else the claim as it should be (unchanged: nothing to write)."""

    claim: Object
    bind: Object | None = None
    event: Event | None = None


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """The volume as it should be; ``delete`` asks for the reclaim policy Delete."""

    volume: Object
    delete: bool = False
    event: Event | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a claim's plan depends on.

    ``find`` gives a volume by name, ``reserved`` those reserved for the claim, ``free`` those that suit it
    (see ``free.VolumeIndex``); ``storage`` is its StorageClass, ``default`` the class of claims that name
    none, ``waiting_pods`` the pods that use the claim and have no node yet.
    """

    find: Callable[[str], Object | None]
    reserved: Sequence[Object] = ()
    free: Callable[[], Iterable[Object]] = tuple
    storage: Object | None = None
    default: Object | None = None
    waiting_pods: Sequence[str] = ()


def plan_claim(claim: Object, around: Surroundings) -> ClaimPlan:
    """What the claim needs next."""
    name = claim["spec"].get("volumeName")
    if BIND_COMPLETED in meta.annotations(claim):
        return _plan_bound_claim(claim, around.find(name) if name else None)
    if name:
        return _plan_named(claim, around.find(name))
    delayed = (around.storage or {}).get("volumeBindingMode") == "WaitForFirstConsumer"
    waits = delayed and SELECTED_NODE not in meta.annotations(claim)
    volume = best_match(claim, around.reserved, around.free, delayed=waits)
    if volume is not None:
        return ClaimPlan(claim, bind=volume)
    if around.default is not None and awaits_default(claim):
        return ClaimPlan({**claim, "spec": {**claim["spec"], "storageClassName": meta.name(around.default)}})
    return _plan_missing(claim, around, waits)


def _plan_bound_claim(claim: Object, volume: Object | None) -> ClaimPlan:
    if not claim["spec"].get("volumeName"):
        why = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
    elif volume is None:
        why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
    elif not volume["spec"].get("claimRef") or is_bound_to(volume, claim):
        return ClaimPlan(claim, bind=volume)
    else:
        message = "Two claims are bound to the same volume, this one is bound incorrectly"
        return ClaimPlan(_lost(claim), event=_news(claim, "Lost", Event("Warning", "ClaimMisbound", message)))
    return ClaimPlan(_lost(claim), event=_news(claim, "Lost", Event("Warning", "ClaimLost", why)))


def _plan_named(claim: Object, volume: Object | None) -> ClaimPlan:
    if volume is None:
        return ClaimPlan(pending(claim))
    if is_bound_to(volume, claim) and volume["spec"].get("claimRef"):
        return ClaimPlan(claim, bind=volume)
    if not volume["spec"].get("claimRef"):
        why = mismatch(volume, claim)
        if not why:
            return ClaimPlan(claim, bind=volume)
        text = f'Cannot bind to requested volume "{meta.name(volume)}": {why}'
        return ClaimPlan(pending(claim), event=Event("Warning", "VolumeMismatch", text))
    reference = volume["spec"]["claimRef"]
    holder = f"{reference.get('namespace')}/{reference.get('name')}"
    text = f'volume "{meta.name(volume)}" already bound to a different claim.'
    if BOUND_BY_CONTROLLER in meta.annotations(claim):
        text = f'volume "{meta.name(volume)}" already bound to claim "{holder}"'
    return ClaimPlan(pending(claim), event=Event("Warning", "FailedBinding", text))


def _plan_missing(claim: Object, around: Surroundings, waits: bool) -> ClaimPlan:
    name = storage_class(claim)
    if waits:
        return ClaimPlan(pending(claim), event=_waiting(around.waiting_pods))
    if not name:
        text = "no persistent volumes available for this claim and no storage class is set"
        return ClaimPlan(pending(claim), event=Event("Normal", "FailedBinding", text))
    if around.storage is None:
        text = f'storageclass.storage.k8s.io "{name}" not found'
        return ClaimPlan(pending(claim), event=Event("Warning", "ProvisioningFailed", text))
    provisioner = external_provisioner(around.storage)
    if not provisioner:
        text = f"no volume plugin matched name: {around.storage['provisioner']}"
        return ClaimPlan(pending(claim), event=Event("Warning", "ProvisioningFailed", text))
    text = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by"
        " the system administrator. If volume creation is delayed, please verify that the provisioner is"
        " running and correctly registered."
    )
    asked = with_annotations(claim, {PROVISIONER: provisioner, BETA_PROVISIONER: provisioner})
    return ClaimPlan(pending(asked), event=Event("Normal", "ExternalProvisioning", text))


def _waiting(pods: Sequence[str]) -> Event:
    if not pods:
        text = "waiting for first consumer to be created before binding"
        return Event("Normal", "WaitForFirstConsumer", text)
    which = f"pods {','.join(pods)}" if len(pods) > 1 else f"pod {pods[0]}"
    return Event("Normal", "WaitForPodScheduled", f"waiting for {which} to be scheduled")


def plan_volume(volume: Object, claim: Object | None) -> VolumePlan:
    """``claim`` is the claim that the volume's claimRef names, as far as it is the same one (by uid)."""
    reference = volume["spec"].get("claimRef")
    if not reference:
        return VolumePlan(with_phase(volume, "Available"))
    if not reference.get("uid"):
        return VolumePlan(with_phase(volume, "Available"))  # reserved, and the claim is not bound yet
    if claim is not None and meta.uid(claim) == reference["uid"]:
        name = claim["spec"].get("volumeName")
        if name in (None, "", meta.name(volume)):
            return VolumePlan(with_phase(volume, "Bound") if name else volume)
        if not _was_provisioned(volume):
            return VolumePlan(unbound(volume))  # the claim has another one
    return _plan_reclaim(volume)


def _plan_reclaim(volume: Object) -> VolumePlan:
    policy = volume["spec"].get("persistentVolumeReclaimPolicy") or "Retain"
    if (volume.get("status") or {}).get("phase") == "Failed":
        return VolumePlan(volume)  # an administrator looks at it
    released = with_phase(volume, "Released")
    if policy == "Delete":
        return VolumePlan(released, delete=True)
    if policy == "Recycle":
        text = "No recycler plugin found for the volume!"
        return VolumePlan(
            with_phase(volume, "Failed", text), event=Event("Warning", "VolumeFailedRecycle", text)
        )
    return VolumePlan(released)


def plan_deletion(volume: Object) -> VolumePlan:
    """What deleting a released volume comes to: the external provisioner that made it does it."""
    provisioner = meta.annotations(volume).get(PROVISIONED_BY, "")
    if MIGRATED_PROVISIONERS.get(provisioner) or (
        provisioner and not provisioner.startswith("kubernetes.io/")
    ):
        return VolumePlan(volume)
    text = (
        "error getting deleter volume plugin for volume " + f'"{meta.name(volume)}": no volume plugin matched'
    )
    return VolumePlan(with_phase(volume, "Failed", text), event=Event("Warning", "VolumeFailedDelete", text))


# -- changed copies ------------------------------------------------------------------------------------------


def bound_volume(volume: Object, claim: Object) -> Object:
    """The volume with a complete claimRef to ``claim``."""
    reference = volume["spec"].get("claimRef")
    full = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "name": meta.name(claim),
        "namespace": meta.namespace(claim),
        "uid": meta.uid(claim),
    }
    if reference and is_bound_to(volume, claim) and reference.get("uid"):
        return volume
    full["resourceVersion"] = meta.resource_version(claim)
    changed = {**volume, "spec": {**volume["spec"], "claimRef": full}}
    return changed if reference else with_annotations(changed, {BOUND_BY_CONTROLLER: "yes"})


def bound_claim(claim: Object, volume: Object) -> Object:
    """The claim that names ``volume`` and says that binding is completed."""
    marks = {BIND_COMPLETED: "yes"}
    changed = claim
    if claim["spec"].get("volumeName") != meta.name(volume):
        changed = {**claim, "spec": {**claim["spec"], "volumeName": meta.name(volume)}}
        marks[BOUND_BY_CONTROLLER] = "yes"
    return with_annotations(changed, marks)


def bound_claim_status(claim: Object, volume: Object) -> Object:
    """The claim with phase Bound and what it got."""
    old = claim.get("status") or {}
    status = {**old, "phase": "Bound", "accessModes": volume["spec"].get("accessModes") or []}
    if old.get("phase") != "Bound" or "capacity" not in old:  # afterwards, expansion owns the capacity
        status["capacity"] = {"storage": volume["spec"]["capacity"]["storage"]}
    name = volume["spec"].get("volumeAttributesClassName")
    if name:
        status["currentVolumeAttributesClassName"] = name
    return claim if status == old else {**claim, "status": status}


def unbound(volume: Object) -> Object:
    """The volume without the claim that this controller gave it; a user's reservation stays, without uid."""
    annotations = dict(meta.annotations(volume))
    spec = dict(volume["spec"])
    if annotations.pop(BOUND_BY_CONTROLLER, None) is not None:
        spec.pop("claimRef", None)
    else:
        kept = {k: v for k, v in spec["claimRef"].items() if k not in ("uid", "resourceVersion")}
        spec["claimRef"] = kept
    return {**volume, "spec": spec, "metadata": {**volume["metadata"], "annotations": annotations}}


def pending(claim: Object) -> Object:
    """The claim with phase Pending."""
    status = claim.get("status") or {}
    return claim if status.get("phase") == "Pending" else {**claim, "status": {**status, "phase": "Pending"}}


def with_phase(volume: Object, phase: str, message: str = "") -> Object:
    """The volume in ``phase``."""
    status = volume.get("status") or {}
    if status.get("phase") == phase and (status.get("message") or "") == message:
        return volume
    fresh = {**status, "phase": phase, "message": message}
    if not message:
        del fresh["message"]
    return {**volume, "status": fresh}


def with_annotations(obj: Object, marks: dict[str, str]) -> Object:
    """``obj`` with these annotations too."""
    old = meta.annotations(obj)
    if marks.items() <= old.items():
        return obj
    return {**obj, "metadata": {**obj["metadata"], "annotations": {**old, **marks}}}


def _lost(claim: Object) -> Object:
    status = claim.get("status") or {}
    return claim if status.get("phase") == "Lost" else {**claim, "status": {"phase": "Lost"}}


def _news(claim: Object, phase: str, event: Event) -> Event | None:
    """The event, when the claim is not in ``phase`` yet."""
    return None if (claim.get("status") or {}).get("phase") == phase else event


def _was_provisioned(volume: Object) -> bool:
    return (
        PROVISIONED_BY in meta.annotations(volume)
        and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
    )
