"""Who a pod of a StatefulSet is: its ordinal gives name, labels, host name and volumes."""

from __future__ import annotations

import re

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.history.revisions import REVISION_LABEL
from coxswain.controllers.pods import pod_from_template

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"
_NAME = re.compile(r"(.*)-([0-9]+)", re.ASCII | re.DOTALL)


def parent_and_ordinal(pod: Object) -> tuple[str, int]:
    """The set's name and the ordinal that the pod's name says; ("", -1) when it says none."""
    found = _NAME.fullmatch(meta.name(pod))
    if found is None or int(found[2]) >= 2**31:
        return "", -1
    return found[1], int(found[2])


def ordinal_of(pod: Object) -> int:
    """The pod's ordinal, -1 when its name has none."""
    return parent_and_ordinal(pod)[1]


def is_member(owner: Object, pod: Object) -> bool:
    """Whether the pod's name makes it one of the set's."""
    return parent_and_ordinal(pod)[0] == meta.name(owner)


def start_of(owner: Object) -> int:
    """The first ordinal (``spec.ordinals.start``)."""
    return int((owner["spec"].get("ordinals") or {}).get("start") or 0)


def replicas_of(owner: Object) -> int:
    """``spec.replicas``."""
    return int(owner["spec"].get("replicas", 1))


def in_range(owner: Object, ordinal: int) -> bool:
    """Whether the set asks for a pod of this ordinal."""
    return start_of(owner) <= ordinal < start_of(owner) + replicas_of(owner)


def claim_name(owner: Object, template: Object, ordinal: int) -> str:
    """The name of the claim made from a claim template for the pod of this ordinal."""
    return f"{meta.name(template)}-{meta.name(owner)}-{ordinal}"


def identity_labels(owner: Object, ordinal: int) -> dict[str, str]:
    """The labels that a pod has for being who it is."""
    return {POD_NAME_LABEL: f"{meta.name(owner)}-{ordinal}", POD_INDEX_LABEL: str(ordinal)}


def revision_of(pod: Object) -> str:
    """The name of the revision that the pod was made from; empty when it says none."""
    return meta.labels(pod).get(REVISION_LABEL, "")


def new_pod(owner: Object, template: Object, revision: str, ordinal: int) -> Object:
    """The pod of this ordinal, from the template that ``revision`` remembers."""
    pod = pod_from_template(template, owner)
    metadata, spec = pod["metadata"], dict(pod["spec"])
    name = f"{meta.name(owner)}-{ordinal}"
    del metadata["generateName"]
    metadata["name"] = name
    metadata["labels"] = {
        **(metadata.get("labels") or {}),
        **identity_labels(owner, ordinal),
        REVISION_LABEL: revision,
    }
    spec["hostname"] = name
    if owner["spec"].get("serviceName"):
        spec["subdomain"] = owner["spec"]["serviceName"]
    if owner["spec"].get("volumeClaimTemplates"):
        spec["volumes"] = volumes_for(owner, spec.get("volumes") or (), ordinal)
    pod["spec"] = spec
    return pod


def volumes_for(owner: Object, volumes: list[Object] | tuple[()], ordinal: int) -> list[Object]:
    """``volumes`` with those of the claim templates in place of any that have their names."""
    templates = owner["spec"].get("volumeClaimTemplates") or ()
    claimed = [
        {
            "name": meta.name(template),
            "persistentVolumeClaim": {"claimName": claim_name(owner, template, ordinal)},
        }
        for template in templates
    ]
    names = {volume["name"] for volume in claimed}
    return claimed + [volume for volume in volumes if volume["name"] not in names]


def identity_matches(owner: Object, pod: Object) -> bool:
    """Whether the pod is labelled as who its name says it is."""
    return is_member(owner, pod) and meta.labels(pod).get(POD_NAME_LABEL) == meta.name(pod)


def storage_matches(owner: Object, pod: Object) -> bool:
    """Whether the pod's volumes are the claims that the set's templates name for it."""
    claims = {
        volume["name"]: (volume.get("persistentVolumeClaim") or {}).get("claimName")
        for volume in pod["spec"].get("volumes") or ()
    }
    ordinal = ordinal_of(pod)
    return all(
        claims.get(meta.name(template)) == claim_name(owner, template, ordinal)
        for template in owner["spec"].get("volumeClaimTemplates") or ()
    )
