"""NodeRestriction: what a node's agent may write, where the Node authorizer cannot see it.

The authorizer lets a node create and change pods, nodes, leases and the like; here their contents are looked
at. A node changes its own node (not its taints, its owners or labels that steer work), its own pods' status,
its own lease, CSI node and resource slices, the sizes in the status of claims, and makes tokens for its own
pods, for audiences that these ask for. Mirror pods that it creates may refer to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coxswain.api import errors
from coxswain.api.fields import quote
from coxswain.api.names import GVR, LEASES, NODES, PERSISTENT_VOLUME_CLAIMS, PODS, SERVICE_ACCOUNTS, Object
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.authz.attributes import Attributes
from coxswain.apiserver.authz.authorizer import Authorizer
from coxswain.apiserver.authz.node import LEASE_NAMESPACE, NODE_PREFIX, NODES_GROUP, node_name
from coxswain.apiserver.authz.node_relations import (
    MIRROR,
    RESOURCE_SLICES,
    config_map_names,
    secret_names,
)
from coxswain.apiserver.lookup import Lookup

CSI_NODES = GVR("storage.k8s.io", "v1", "csinodes")
CSI_DRIVERS = GVR("storage.k8s.io", "v1", "csidrivers")

RESTRICTED = "node-restriction.kubernetes.io"
#: Labels in Kubernetes' own namespaces that a node may set on itself (``kubeletapis.IsKubeletLabel``).
_OWN_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "node.kubernetes.io/instance-type",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
    }
)
_OWN_LABEL_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_CLAIM_STATUS = ("capacity", "conditions", "allocatedResourceStatuses", "allocatedResources")
_RESOURCES = frozenset(
    {PODS, NODES, PERSISTENT_VOLUME_CLAIMS, SERVICE_ACCOUNTS, LEASES, CSI_NODES, RESOURCE_SLICES}
)


class NodeRestriction(Plugin):
    """Looks at users ``system:node:NAME`` of the group ``system:nodes`` only."""

    NAME = "NodeRestriction"

    def __init__(self, lookup: Lookup, authorizer: Authorizer | None = None) -> None:
        """``authorizer`` is asked for audiences that a pod does not mention."""
        self._lookup = lookup
        self._authorizer = authorizer

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return (resource.group, resource.resource) in _NAMES and operation != "CONNECT"

    def repeats(self, request: Request) -> bool:
        return NODES_GROUP not in request.user.groups

    def validate(self, request: Request) -> None:
        user = request.user
        if NODES_GROUP not in user.groups or not user.name.startswith(NODE_PREFIX):
            return
        node = node_name(user.name, user.groups)
        if not node:
            raise request.forbidden(f"could not determine node from user {quote(user.name)}")
        resource = request.resource.resource
        if resource == "pods":
            self._pod(request, node)
        elif resource == "nodes":
            _node(request, node)
        elif resource == "persistentvolumeclaims":
            _claim(request, node)
        elif resource == "serviceaccounts":
            self._token(request, node)
        elif resource == "leases":
            if request.namespace != LEASE_NAMESPACE:
                why = f"can only access leases in the {quote(LEASE_NAMESPACE)} system namespace"
                raise request.forbidden(why)
            _same_name(request, node, "node lease")
        elif resource == "csinodes":
            _same_name(request, node, "CSINode")
        else:
            _slice(request, node)

    # -- pods

    def _pod(self, request: Request, node: str) -> None:
        subresource, operation = request.subresource, request.operation
        if subresource == "status":
            self._pod_status(request, node)
        elif subresource == "eviction":
            if self._bound_to(request, request.name) != node:
                raise request.forbidden(f"node {node} can only evict pods with spec.nodeName set to itself")
        elif subresource:
            raise request.forbidden(
                f"unexpected pod subresource {quote(subresource)}, only 'status' and 'eviction' are allowed"
            )
        elif operation == "CREATE":
            self._mirror_pod(request, node)
        elif operation == "DELETE":
            if self._bound_to(request, request.name) != node:
                why = f"node {quote(node)} can only delete pods with spec.nodeName set to itself"
                raise request.forbidden(why)
        else:
            raise request.forbidden(
                f"unexpected operation {quote(operation)}, node {quote(node)} can only create and delete mirror pods"
            )

    def _bound_to(self, request: Request, name: str) -> str:
        pod = request.old_object if not request.subresource else None
        pod = pod or self._lookup.get(PODS, request.namespace, name)
        if pod is None:
            raise errors.not_found(PODS, name)
        return str((pod.get("spec") or {}).get("nodeName") or "")

    def _pod_status(self, request: Request, node: str) -> None:
        old, new = request.old_object or {}, request.object or {}
        if (old.get("spec") or {}).get("nodeName") != node:
            raise request.forbidden(
                f"node {quote(node)} can only update pod status for pods with spec.nodeName set to itself"
            )
        if (old["metadata"].get("labels") or {}) != (new["metadata"].get("labels") or {}):
            raise request.forbidden(f"node {quote(node)} cannot update labels through pod status")
        before, after = old.get("status") or {}, new.get("status") or {}
        if _claim_names(before) != _claim_names(after):
            raise request.forbidden(f"node {quote(node)} cannot update resource claim statues")
        if before.get("extendedResourceClaimStatus") != after.get("extendedResourceClaimStatus"):
            raise request.forbidden(f"node {quote(node)} cannot update extended resource claim status")

    def _mirror_pod(self, request: Request, node: str) -> None:
        assert request.object is not None
        who = f"node {quote(node)}"
        meta, spec = request.object["metadata"], request.object.get("spec") or {}
        if MIRROR not in (meta.get("annotations") or {}):
            raise request.forbidden(
                f"pod does not have {quote(MIRROR)} annotation, {who} can only create mirror pods"
            )
        if spec.get("nodeName") != node:
            raise request.forbidden(f"{who} can only create pods with spec.nodeName set to itself")
        self._owner(request, node, meta.get("ownerReferences") or [])
        if spec.get("serviceAccountName"):
            raise request.forbidden(f"{who} can not create pods that reference a service account")
        for kind, present in _mentions(spec):
            if present:
                raise request.forbidden(f"{who} can not create pods that reference {kind}")

    def _owner(self, request: Request, node: str, owners: list[Object]) -> None:
        who = f"node {quote(node)}"
        if len(owners) > 1:
            raise request.forbidden(f"{who} can only create pods with a single owner reference set to itself")
        owner = owners[0] if owners else {}
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            raise request.forbidden(f"{who} can only create pods with an owner reference set to itself")
        if not owner.get("controller"):
            why = f"{who} can only create pods with a controller owner reference set to itself"
            raise request.forbidden(why)
        if owner.get("blockOwnerDeletion"):
            raise request.forbidden(f"{who} must not set blockOwnerDeletion on an owner reference")
        found = self._lookup.get(NODES, "", node)
        if found is None:
            raise errors.not_found(NODES, node)
        uid = found["metadata"].get("uid", "")
        if owner.get("uid") != uid:
            raise request.forbidden(f"node {node} UID mismatch: expected {owner.get('uid')} got {uid}")

    # -- tokens

    def _token(self, request: Request, node: str) -> None:
        if request.operation != "CREATE" or request.subresource != "token":
            return
        spec = (request.object or {}).get("spec") or {}
        ref = spec.get("boundObjectRef") or {}
        if ref.get("apiVersion") != "v1" or ref.get("kind") != "Pod" or not ref.get("name"):
            raise request.forbidden("node requested token not bound to a pod")
        uid = ref.get("uid")
        if not uid:
            raise request.forbidden("node requested token with a pod binding without a uid")
        pod = self._lookup.get(PODS, request.namespace, ref["name"])
        if pod is None:
            raise errors.not_found(PODS, ref["name"])
        if pod["metadata"].get("uid") != uid:
            raise request.forbidden(
                f"the UID in the bound object reference ({uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
        if (pod.get("spec") or {}).get("nodeName") != node:
            raise request.forbidden("node requested token bound to a pod scheduled on a different node")
        self._audience(request, pod, list(spec.get("audiences") or ()))

    def _audience(self, request: Request, pod: Object, audiences: list[str]) -> None:
        """A node may ask only for audiences that its pod (or a driver of its volumes) wants tokens for."""
        if len(audiences) > 1:
            raise request.forbidden("node may only request 0 or 1 audiences")
        audience = audiences[0] if audiences else ""
        if audience in self._wanted_audiences(pod):
            return
        attributes = Attributes(
            request.user,
            "request-serviceaccounts-token-audience",
            "",
            "",
            audience,
            namespace=request.namespace,
            name=request.name,
        )
        if self._authorizer is None or not self._authorizer.authorize(attributes).allowed:
            raise request.forbidden(
                f"audience {quote(audience)} not found in pod spec volume, "
                f"{request.user.name} is not authorized to request tokens for this audience"
            )

    def _wanted_audiences(self, pod: Object) -> set[str]:
        namespace = str(pod["metadata"].get("namespace") or "")
        found: set[str] = set()
        for volume in (pod.get("spec") or {}).get("volumes") or ():
            for source in (volume.get("projected") or {}).get("sources") or ():
                if source.get("serviceAccountToken"):
                    found.add(str(source["serviceAccountToken"].get("audience") or ""))
            driver = self._driver(volume, pod["metadata"]["name"], namespace)
            csi = self._lookup.get(CSI_DRIVERS, "", driver) if driver else None
            for wanted in ((csi or {}).get("spec") or {}).get("tokenRequests") or ():
                found.add(str(wanted.get("audience") or ""))
        return found

    def _driver(self, volume: Object, pod: str, namespace: str) -> str:
        if volume.get("csi"):
            return str(volume["csi"].get("driver") or "")
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if volume.get("ephemeral"):
            claim = f"{pod}-{volume['name']}"
        if not claim:
            return ""
        found = self._lookup.get(PERSISTENT_VOLUME_CLAIMS, namespace, claim)
        name = ((found or {}).get("spec") or {}).get("volumeName")
        bound = self._lookup.get(GVR("", "v1", "persistentvolumes"), "", name) if name else None
        return str((((bound or {}).get("spec") or {}).get("csi") or {}).get("driver") or "")


_NAMES = frozenset((gvr.group, gvr.resource) for gvr in _RESOURCES)


def _mentions(spec: Object) -> list[tuple[str, bool]]:
    """What a mirror pod must not refer to, and whether it does."""
    volumes = spec.get("volumes") or []
    sources = [s for v in volumes for s in (v.get("projected") or {}).get("sources") or ()]
    return [
        ("secrets", any(True for _ in secret_names(spec))),
        ("configmaps", any(True for _ in config_map_names(spec))),
        ("clustertrustbundles", any(s.get("clusterTrustBundle") for s in sources)),
        ("persistentvolumeclaims", any(v.get("persistentVolumeClaim") for v in volumes)),
        ("resourceclaims", bool(spec.get("resourceClaims"))),
    ]


def _claim_names(status: Object) -> list[tuple[Any, Any]]:
    return [(s.get("name"), s.get("resourceClaimName")) for s in status.get("resourceClaimStatuses") or ()]


def _name(request: Request) -> str:
    """The object's name, also before it exists."""
    return request.name or str(((request.object or {}).get("metadata") or {}).get("name") or "")


def _same_name(request: Request, node: str, what: str) -> None:
    name = _name(request)
    if request.operation == "CREATE":
        name = str(((request.object or {}).get("metadata") or {}).get("name") or "")
    if name != node:
        raise request.forbidden(f"can only access {what} with the same name as the requesting node")


def _slice(request: Request, node: str) -> None:
    if request.operation not in ("CREATE", "DELETE"):
        return
    slice_ = (request.object if request.operation == "CREATE" else request.old_object) or {}
    if (slice_.get("spec") or {}).get("nodeName") != node:
        verb = request.operation.lower()
        raise request.forbidden(
            f"can only {verb} ResourceSlice with the same NodeName as the requesting node"
        )


def _claim(request: Request, node: str) -> None:
    if request.subresource != "status":
        raise request.forbidden("may only update PVC status")
    if request.operation != "UPDATE":
        raise request.forbidden(f"unexpected operation {quote(request.operation)}")
    if _fixed(request.old_object or {}) != _fixed(request.object or {}):
        raise request.forbidden(
            f"node {quote(node)} is not allowed to update fields other than status.quantity and status.conditions"
        )


def _fixed(claim: Object) -> Object:
    """What of a claim a node must leave as it is."""
    meta = {k: v for k, v in claim["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    status = {k: v for k, v in (claim.get("status") or {}).items() if k not in _CLAIM_STATUS}
    return {**claim, "metadata": meta, "status": status}


def _node(request: Request, node: str) -> None:
    name = _name(request)
    who = f"node {quote(node)}"
    if name != node:
        raise request.forbidden(f"{who} is not allowed to modify node {quote(name)}")
    if request.operation == "DELETE":
        raise request.forbidden(f"{who} is not allowed to delete node {quote(name)}")
    new = request.object or {}
    if request.operation == "CREATE":
        labels = _forbidden_labels(new["metadata"].get("labels") or {}, {})
        if labels:
            raise request.forbidden(f"{who} is not allowed to set the following labels: {', '.join(labels)}")
        return
    old = request.old_object or {}
    if ((old.get("spec") or {}).get("taints") or []) != ((new.get("spec") or {}).get("taints") or []):
        raise request.forbidden(f"{who} is not allowed to modify taints")
    labels = _forbidden_labels(new["metadata"].get("labels") or {}, old["metadata"].get("labels") or {})
    if labels:
        raise request.forbidden(f"is not allowed to modify labels: {', '.join(labels)}")
    if (old["metadata"].get("ownerReferences") or []) != (new["metadata"].get("ownerReferences") or []):
        raise request.forbidden(f"{who} is not allowed to modify ownerReferences")


def _forbidden_labels(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """Labels that differ and are not the node's to set, sorted."""
    changed = {key for key in new.keys() | old.keys() if new.get(key) != old.get(key)}
    return sorted(key for key in changed if not _may_label(key))


def _may_label(key: str) -> bool:
    namespace = key.partition("/")[0] if "/" in key else ""
    if _within(namespace, RESTRICTED):
        return False
    if not (_within(namespace, "kubernetes.io") or _within(namespace, "k8s.io")):
        return True
    return key in _OWN_LABELS or any(_within(namespace, own) for own in _OWN_LABEL_NAMESPACES)


def _within(namespace: str, parent: str) -> bool:
    return namespace == parent or namespace.endswith(f".{parent}")
