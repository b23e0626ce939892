"""Which claims a pod's volumes name: what binding, protection, attaching and ephemeral claims share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.client.informer import Informer, InformerFactory
from coxswain.controllers.pods import pod_informer

#: The index of the pods' informer by ``namespace/name`` of the claims that they use.
CLAIM_INDEX = "claims of the pod"


def claims_of(pod: Object) -> Iterator[tuple[str, bool]]:
    """(name, whether the claim is made for this pod) of each volume that is a claim."""
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if source := volume.get("persistentVolumeClaim"):
            yield source["claimName"], False
        elif volume.get("ephemeral") is not None:
            yield f"{meta.name(pod)}-{volume['name']}", True


def claim_keys(pod: Object) -> Iterable[str]:
    """``namespace/name`` of the claims that a pod's volumes name."""
    if not (pod.get("spec") or {}).get("volumes"):
        return ()
    space = meta.namespace(pod)
    return {f"{space}/{name}" for name, _ in claims_of(pod)}


def pods_by_claim(informers: InformerFactory) -> Informer:
    """The controllers' pod informer, with its index by claim."""
    pods = pod_informer(informers)
    pods.add_index(CLAIM_INDEX, claim_keys)
    return pods
