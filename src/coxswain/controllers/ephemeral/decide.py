"""Which claims a pod's generic ephemeral volumes call for, and whether an existing one is that pod's own.

A claim is named ``<pod>-<volume>`` and owned by the pod, so that it goes with it. One of that name that
belongs to somebody else is never used: the pod waits, and an event says why (Kubernetes'
``pkg/controller/volume/ephemeral``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from coxswain.api import meta
from coxswain.api.names import Object


@dataclass(frozen=True, slots=True)
class Wanted:
    """A claim to create for ``volume`` (its name), or why that cannot be."""

    volume: str
    claim: Object | None = None
    conflict: str = ""


def claim_keys(pod: Object) -> Iterable[str]:
    """``namespace/name`` of the claims of a pod's ephemeral volumes; none for a pod that is going."""
    volumes = ephemeral_volumes(pod)
    if not volumes or meta.is_terminating(pod):
        return ()
    return [f"{meta.namespace(pod)}/{claim_name(pod, volume)}" for volume in volumes]


def ephemeral_volumes(pod: Object) -> list[Object]:
    """The pod's volumes with a claim template."""
    volumes = (pod.get("spec") or {}).get("volumes")
    if not volumes:
        return []
    return [volume for volume in volumes if volume.get("ephemeral") is not None]


def claim_name(pod: Object, volume: Object) -> str:
    """The claim's name (``ephemeral.VolumeClaimName``)."""
    return f"{meta.name(pod)}-{volume['name']}"


def plan(pod: Object, find: Callable[[str], Object | None]) -> list[Wanted]:
    """What the pod's ephemeral volumes still need; ``find`` gives a claim by ``namespace/name``."""
    if meta.is_terminating(pod):
        return []
    wanted = []
    for volume in ephemeral_volumes(pod):
        claim = find(f"{meta.namespace(pod)}/{claim_name(pod, volume)}")
        if claim is None:
            wanted.append(Wanted(volume["name"], claim=_claim(pod, volume)))
        elif not meta.is_controlled_by(claim, pod):
            wanted.append(Wanted(volume["name"], conflict=not_ours(pod, claim)))
    return wanted


def not_ours(pod: Object, claim: Object) -> str:
    """Why ``claim`` does not serve ``pod``."""
    return f"PVC {meta.key(claim)} was not created for pod {meta.key(pod)} (pod is not owner)"


def _claim(pod: Object, volume: Object) -> Object:
    template = volume["ephemeral"].get("volumeClaimTemplate") or {}
    source = template.get("metadata") or {}
    metadata: Object = {
        "name": claim_name(pod, volume),
        "namespace": meta.namespace(pod),
        "ownerReferences": [meta.owner_reference({"apiVersion": "v1", "kind": "Pod", **pod})],
    }
    metadata |= {name: source[name] for name in ("labels", "annotations") if source.get(name)}
    spec = template.get("spec") or {}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
