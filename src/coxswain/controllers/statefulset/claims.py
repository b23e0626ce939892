"""The volume claims of a StatefulSet's pods, and who owns them.

``spec.persistentVolumeClaimRetentionPolicy`` works by owner references, so that the garbage collector does
the deleting:

    whenDeleted Retain, whenScaled Retain     nobody owns a claim
    whenDeleted Delete, whenScaled Retain     the set owns it
    whenDeleted Retain, whenScaled Delete     its pod, once the pod is beyond the set's range
    whenDeleted Delete, whenScaled Delete     its pod then, the set until then
"""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.statefulset.identity import claim_name, in_range, ordinal_of

_POD = ("v1", "Pod")
_SET = ("apps/v1", "StatefulSet")


def claims_of(owner: Object, ordinal: int) -> list[Object]:
    """The claims that the pod of this ordinal needs, as they would be created."""
    wanted: list[Object] = []
    selected = (owner["spec"].get("selector") or {}).get("matchLabels") or {}
    for template in owner["spec"].get("volumeClaimTemplates") or ():
        metadata: Object = {
            **template["metadata"],
            "name": claim_name(owner, template, ordinal),
            "namespace": meta.namespace(owner),
        }
        if labels := {**meta.labels(template), **selected}:
            metadata["labels"] = labels
        wanted.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": metadata,
                "spec": template["spec"],
            }
        )
    return wanted


def _policy(owner: Object) -> tuple[bool, bool]:
    """(delete when the set is deleted, delete when it is scaled down)."""
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return policy.get("whenDeleted") == "Delete", policy.get("whenScaled") == "Delete"


def _names(reference: Object, obj: Object, kind: tuple[str, str]) -> bool:
    named = (reference.get("apiVersion"), reference.get("kind")) == kind
    return named and bool(reference.get("name") == meta.name(obj))


def _is_stale(claim: Object, obj: Object, kind: tuple[str, str]) -> bool:
    """Whether the claim is owned by an earlier object of the same name."""
    for reference in meta.owner_references(claim):
        if _names(reference, obj, kind):
            return bool(reference.get("uid") != meta.uid(obj))
    return False


def is_stale(owner: Object, pod: Object, claim: Object) -> bool:
    """Whether ``claim`` is about to go with an earlier pod of this name: the new pod must wait."""
    return _policy(owner)[1] and _is_stale(claim, pod, _POD)


def _owned(claim: Object, obj: Object) -> bool:
    return any(reference.get("uid") == meta.uid(obj) for reference in meta.owner_references(claim))


def _has_stranger(claim: Object, owner: Object, pod: Object) -> bool:
    """Another controller manages the claim, which matters when we might."""
    if not any(_policy(owner)):
        return False
    for reference in meta.owner_references(claim):
        if _names(reference, owner, _SET):
            ours = reference.get("uid") == meta.uid(owner)
        elif _names(reference, pod, _POD):
            ours = reference.get("uid") == meta.uid(pod)
        else:
            ours = not reference.get("controller")
        if not ours:
            return True
    return False


def _should_own(owner: Object, pod: Object) -> tuple[bool, bool]:
    """(the set owns the claim, the pod owns it)."""
    when_deleted, when_scaled = _policy(owner)
    pod_owns = when_scaled and not in_range(owner, ordinal_of(pod))
    return when_deleted and not pod_owns, pod_owns


def is_owned_rightly(owner: Object, pod: Object, claim: Object) -> bool:
    """Whether the claim's owners are what the policy says, or none of our business."""
    if _is_stale(claim, owner, _SET) or _is_stale(claim, pod, _POD):
        return True  # the collector of garbage will see to it
    set_owns, pod_owns = _owned(claim, owner), _owned(claim, pod)
    if _has_stranger(claim, owner, pod):
        return not (set_owns or pod_owns)
    for reference in meta.owner_references(claim):
        if reference.get("uid") in (meta.uid(owner), meta.uid(pod)) and not reference.get("controller"):
            return False
    return (set_owns, pod_owns) == _should_own(owner, pod)


def with_owners(owner: Object, pod: Object, claim: Object) -> Object:
    """A copy of ``claim`` with the owners that the policy says."""
    others = [
        reference
        for reference in meta.owner_references(claim)
        if not _names(reference, owner, _SET) and not _names(reference, pod, _POD)
    ]
    if not _has_stranger(claim, owner, pod):
        set_owns, pod_owns = _should_own(owner, pod)
        if set_owns:
            others.append(meta.owner_reference(owner))
        if pod_owns:
            others.append(meta.owner_reference(pod))
    return {**claim, "metadata": {**claim["metadata"], "ownerReferences": others}}
