"""Which objects a node has to do with: what its pods refer to.

    node <- pod <- secret, configmap, service account, claim <- volume <- secret, resource claim
    node <- volume attachment, resource slice

Kubernetes' Node authorizer keeps a graph that every pod update passes through. Here nothing is kept up to
date ahead: the watch cache knows the pods of a node by index, what a pod refers to is read when its node asks
for the first time, and read again only for pods that changed since. A node that never asks costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from coxswain.api.names import GVR, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, Object
from coxswain.apiserver.lookup import Lookup

MIRROR = "kubernetes.io/config.mirror"
VOLUME_ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments")
RESOURCE_SLICES = GVR("resource.k8s.io", "v1", "resourceslices")

#: Nodes whose pods are remembered at most.
NODES = 16384

#: (resource, namespace, name)
Reference = tuple[str, str, str]


class PodAtRest(Protocol):
    """A pod in the watch cache: another object after every change."""

    key: str

    def decode(self) -> Object: ...


PodsOf = Callable[[str], Iterable[PodAtRest]]


class _Known(NamedTuple):
    pod: PodAtRest
    uid: str
    references: frozenset[Reference]


class NodeRelations:
    """Answers from what ``lookup`` has now."""

    def __init__(self, lookup: Lookup, pods_of: PodsOf | None = None) -> None:
        """``pods_of`` gives the pods bound to a node; without it all pods are looked through."""
        self._lookup = lookup
        self._pods_of = pods_of or self._scan
        self._nodes: dict[str, dict[str, _Known]] = {}

    def related(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Whether ``node`` has to do with the object. ``resource`` is the plural name."""
        if resource == "volumeattachments":
            return self._field(VOLUME_ATTACHMENTS, name, "nodeName") == node
        if resource == "resourceslices":
            return self._field(RESOURCE_SLICES, name, "nodeName") == node
        pods = self._pods(node)
        if resource == "pods":
            return f"{namespace}/{name}" in pods
        wanted = (resource, namespace, name)
        if any(wanted in known.references for known in pods.values()):
            return True
        if resource == "persistentvolumes":
            return self._claimed(name, pods.values())
        return resource == "secrets" and self._secret_of_volume(wanted, pods.values())

    def _field(self, gvr: GVR, name: str, field: str) -> str:
        found = self._lookup.get(gvr, "", name)
        return str(((found or {}).get("spec") or {}).get(field) or "")

    def _pods(self, node: str) -> dict[str, _Known]:
        known = self._nodes.get(node)
        if known is None:
            if len(self._nodes) >= NODES:
                self._nodes.clear()
            known = {}
        now: dict[str, _Known] = {}
        for pod in self._pods_of(node):
            before = known.get(pod.key)
            if before is not None and before.pod is pod:
                now[pod.key] = before
                continue
            obj = pod.decode()
            uid = str(obj["metadata"].get("uid") or "")
            now[pod.key] = _Known(pod, uid, frozenset(references(obj)))
        self._nodes[node] = now
        return now

    def _scan(self, node: str) -> Iterator[PodAtRest]:
        for pod in self._lookup.list(PODS):
            if (pod.get("spec") or {}).get("nodeName") == node:
                yield _Decoded(pod)

    def _claimed(self, volume: str, pods: Iterable[_Known]) -> bool:
        found = self._lookup.get(PERSISTENT_VOLUMES, "", volume)
        claim = _claim_of(found)
        return claim is not None and any(claim in known.references for known in pods)

    def _secret_of_volume(self, secret: Reference, pods: Iterable[_Known]) -> bool:
        """Whether a volume, bound to a claim that one of the pods uses, needs the secret."""
        for known in pods:
            for claim in known.references:
                if claim[0] != "persistentvolumeclaims":
                    continue
                found = self._lookup.get(PERSISTENT_VOLUME_CLAIMS, claim[1], claim[2])
                name = str(((found or {}).get("spec") or {}).get("volumeName") or "")
                volume = self._lookup.get(PERSISTENT_VOLUMES, "", name) if name else None
                if volume is not None and _claim_of(volume) == claim and secret in volume_secrets(volume):
                    return True
        return False


class _Decoded:
    """A pod that is decoded already."""

    def __init__(self, pod: Object) -> None:
        self.pod = pod
        self.key = f"{pod['metadata'].get('namespace', '')}/{pod['metadata']['name']}"

    def decode(self) -> Object:
        return self.pod


def _claim_of(volume: Object | None) -> Reference | None:
    ref = ((volume or {}).get("spec") or {}).get("claimRef")
    if not ref:
        return None
    return "persistentvolumeclaims", str(ref.get("namespace") or ""), str(ref.get("name") or "")


def references(pod: Object) -> Iterator[Reference]:
    """What a bound pod refers to. A mirror pod, which a node made itself, gives no access to anything."""
    meta, spec = pod["metadata"], pod.get("spec") or {}
    if MIRROR in (meta.get("annotations") or {}):
        return
    namespace = str(meta.get("namespace") or "")
    if spec.get("serviceAccountName"):
        yield "serviceaccounts", namespace, str(spec["serviceAccountName"])
    for name in secret_names(spec):
        yield "secrets", namespace, name
    for name in config_map_names(spec):
        yield "configmaps", namespace, name
    for volume in spec.get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            name = str(volume["persistentVolumeClaim"].get("claimName") or "")
            yield "persistentvolumeclaims", namespace, name
        elif volume.get("ephemeral"):
            yield "persistentvolumeclaims", namespace, f"{meta['name']}-{volume['name']}"
    for name in _resource_claims(pod):
        yield "resourceclaims", namespace, name


def secret_names(spec: Object) -> Iterator[str]:
    """Secrets that a pod's specification names (Kubernetes' ``VisitPodSecretNames``)."""
    for ref in spec.get("imagePullSecrets") or ():
        yield str(ref.get("name") or "")
    yield from _environment(spec, "secretRef", "secretKeyRef")
    for volume in spec.get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            if source.get("secret"):
                yield str(source["secret"].get("name") or "")
        for kind, field in _VOLUME_SECRETS:
            named = (volume.get(kind) or {}).get(field)
            if named:
                yield str(named if isinstance(named, str) else named.get("name") or "")


#: Where volume sources of pods name secrets: by name or by reference.
_VOLUME_SECRETS = (
    ("secret", "secretName"),
    ("azureFile", "secretName"),
    ("cephfs", "secretRef"),
    ("csi", "nodePublishSecretRef"),
    ("flexVolume", "secretRef"),
    ("iscsi", "secretRef"),
    ("rbd", "secretRef"),
    ("scaleIO", "secretRef"),
    ("storageos", "secretRef"),
)


def config_map_names(spec: Object) -> Iterator[str]:
    """Config maps that a pod's specification names (``VisitPodConfigmapNames``)."""
    yield from _environment(spec, "configMapRef", "configMapKeyRef")
    for volume in spec.get("volumes") or ():
        if volume.get("configMap"):
            yield str(volume["configMap"].get("name") or "")
        for source in (volume.get("projected") or {}).get("sources") or ():
            if source.get("configMap"):
                yield str(source["configMap"].get("name") or "")


def _environment(spec: Object, whole: str, key: str) -> Iterator[str]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            for source in container.get("envFrom") or ():
                if source.get(whole):
                    yield str(source[whole].get("name") or "")
            for variable in container.get("env") or ():
                ref: Any = (variable.get("valueFrom") or {}).get(key)
                if ref:
                    yield str(ref.get("name") or "")


def _resource_claims(pod: Object) -> Iterator[str]:
    status = pod.get("status") or {}
    made = {s.get("name"): s.get("resourceClaimName") for s in status.get("resourceClaimStatuses") or ()}
    for claim in (pod.get("spec") or {}).get("resourceClaims") or ():
        name = claim.get("resourceClaimName") or made.get(claim.get("name"))
        if name:
            yield str(name)
    extended = (status.get("extendedResourceClaimStatus") or {}).get("resourceClaimName")
    if extended:
        yield str(extended)


def volume_secrets(volume: Object) -> set[Reference]:
    """Secrets that a persistent volume names; without a namespace they lie in that of its claim."""
    spec = volume.get("spec") or {}
    home = str((spec.get("claimRef") or {}).get("namespace") or "")
    found: set[Reference] = set()
    azure = spec.get("azureFile") or {}
    if azure.get("secretName"):
        found.add(("secrets", str(azure.get("secretNamespace") or home), str(azure["secretName"])))
    for kind, field in _PERSISTENT_SECRETS:
        ref = (spec.get(kind) or {}).get(field)
        if ref and ref.get("name"):
            found.add(("secrets", str(ref.get("namespace") or home), str(ref["name"])))
    return found


_PERSISTENT_SECRETS = (
    ("cephfs", "secretRef"),
    ("csi", "nodePublishSecretRef"),
    ("csi", "nodeStageSecretRef"),
    ("csi", "nodeExpandSecretRef"),
    ("flexVolume", "secretRef"),
    ("iscsi", "secretRef"),
    ("rbd", "secretRef"),
    ("scaleIO", "secretRef"),
    ("storageos", "secretRef"),
)
