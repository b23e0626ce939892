"""The local-path provisioner's decisions: which claims it serves, with which directory, on which node; sans-IO.

It serves claims of StorageClasses whose provisioner is ``coxswain.dev/local-path``: for development, where the
controllers run on the node's own machine. A volume is a directory ``<root>/pvc-<uid of the claim>``, readable
by its owner alone, and tied to one node. Sizes are not enforced.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.pvbinder.decide import PROVISIONED_BY, PROVISIONER, SELECTED_NODE
from coxswain.controllers.pvbinder.match import storage_class

NAME = "coxswain.dev/local-path"
HOSTNAME = "kubernetes.io/hostname"
_VOLUME_NAME = re.compile(r"pvc-[0-9a-f][0-9a-f-]{7,62}")
_MODES = frozenset({"ReadWriteOnce", "ReadWriteOncePod"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a claim gets no volume: the event's message."""

    message: str


def is_ours(claim: Object, storage: Object | None) -> bool:
    """Whether the binder asked this provisioner to make the claim's volume."""
    if storage is None or storage.get("provisioner") != NAME or meta.is_terminating(claim):
        return False
    if claim["spec"].get("volumeName") or meta.annotations(claim).get(PROVISIONER) != NAME:
        return False
    delayed = storage.get("volumeBindingMode") == "WaitForFirstConsumer"
    return not delayed or SELECTED_NODE in meta.annotations(claim)


def plan(claim: Object, storage: Object, nodes: Sequence[Object], root: str) -> Object | Refusal:
    """The volume to make for ``claim``, or why there is none; ``nodes`` are all that the cluster has."""
    if not root:
        return Refusal("the local-path provisioner has no directory; start the controllers with one")
    spec = claim["spec"]
    if spec.get("volumeMode") == "Block":
        return Refusal("a local path is a directory: volumeMode Block is not possible")
    if spec.get("dataSource") or spec.get("dataSourceRef"):
        return Refusal("a local path starts empty: a data source is not possible")
    if spec.get("selector"):
        return Refusal("claim.Spec.Selector is not supported for dynamic provisioning")
    modes = spec.get("accessModes") or []
    if not _MODES.issuperset(modes):
        return Refusal(f"a local path serves one node: access modes {', '.join(modes)} are not possible")
    selected = meta.annotations(claim).get(SELECTED_NODE)
    if selected is None and len(nodes) != 1:
        return Refusal(
            "a local path belongs to a node: with more than one node the storage class needs "
            "volumeBindingMode WaitForFirstConsumer"
        )
    node = next((each for each in nodes if selected in (None, meta.name(each))), None)
    if node is None:
        return Refusal(f'node "{selected}" was selected for the claim and is not there')
    return _volume(claim, storage, node, root)


def _volume(claim: Object, storage: Object, node: Object, root: str) -> Object:
    name = f"pvc-{meta.uid(claim)}"
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    expression = {
        "key": HOSTNAME,
        "operator": "In",
        "values": [meta.labels(node).get(HOSTNAME) or meta.name(node)],
    }
    spec: Object = {
        "capacity": {"storage": requests.get("storage", "0")},
        "accessModes": claim["spec"].get("accessModes") or ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "persistentVolumeReclaimPolicy": storage.get("reclaimPolicy") or "Delete",
        "storageClassName": storage_class(claim),
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": meta.namespace(claim),
            "name": meta.name(claim),
            "uid": meta.uid(claim),
            "resourceVersion": meta.resource_version(claim),
        },
        "hostPath": {"path": str(Path(root) / name), "type": "Directory"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
    }
    if storage.get("mountOptions"):
        spec["mountOptions"] = storage["mountOptions"]
    metadata = {"name": name, "annotations": {PROVISIONED_BY: NAME}}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}


def should_delete(volume: Object) -> bool:
    """Whether a volume of ours was released and is to go with its data."""
    if meta.annotations(volume).get(PROVISIONED_BY) != NAME or meta.is_terminating(volume):
        return False
    if volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete":
        return False
    return (volume.get("status") or {}).get("phase") == "Released"


def directory_of(volume: Object, root: str) -> Path | None:
    """The volume's directory, if it is one that this provisioner can have made: never trust a path."""
    name = meta.name(volume)
    path = Path(root) / name
    if not root or not _VOLUME_NAME.fullmatch(name):
        return None
    return path if (volume["spec"].get("hostPath") or {}).get("path") == str(path) else None
