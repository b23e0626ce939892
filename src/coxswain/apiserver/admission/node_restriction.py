"""NodeRestriction: a node's agent changes its own node, its own pods, and nothing else."""

from __future__ import annotations

from coxswain.api.fields import quote
from coxswain.api.names import GVR, LEASES, NODES, PODS, SERVICE_ACCOUNTS, Object
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.authz.node import LEASE_NAMESPACE, node_name
from coxswain.apiserver.lookup import Lookup

MIRROR = "kubernetes.io/config.mirror"


class NodeRestriction(Plugin):
    """Looks at users ``system:node:NAME`` only."""

    NAME = "NodeRestriction"

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return resource in (PODS, NODES, LEASES) or (resource == SERVICE_ACCOUNTS and subresource == "token")

    def validate(self, request: Request) -> None:
        node = node_name(request.user.name, request.user.groups)
        if not node:
            return
        if request.resource == NODES:
            self._check_node(request, node)
        elif request.resource == LEASES:
            _check_lease(request, node)
        elif request.resource == PODS:
            self._check_pod(request, node)
        else:
            self._check_token(request, node)

    def _check_node(self, request: Request, node: str) -> None:
        if request.name and request.name != node:
            raise request.forbidden(f"node {quote(node)} is not allowed to modify node {quote(request.name)}")
        if request.operation == "CREATE" and request.object is not None:
            created = request.object["metadata"].get("name")
            if created != node:
                raise request.forbidden(
                    f"node {quote(node)} is not allowed to modify node {quote(str(created))}"
                )
        if request.operation == "DELETE":
            raise request.forbidden(f"node {quote(node)} is not allowed to delete node {quote(request.name)}")
        if request.operation == "UPDATE" and not request.subresource:
            old, new = request.old_object or {}, request.object or {}
            if (old.get("spec") or {}).get("taints") != (new.get("spec") or {}).get("taints"):
                raise request.forbidden(f"node {quote(node)} is not allowed to modify taints")

    def _check_pod(self, request: Request, node: str) -> None:
        if request.operation == "CREATE" and not request.subresource:
            _check_mirror_pod(request, node)
            return
        pod = request.old_object or self._lookup.get(PODS, request.namespace, request.name)
        where = (pod or {}).get("spec", {}).get("nodeName")
        if request.subresource == "eviction" or request.operation == "DELETE":
            words = "evict" if request.subresource == "eviction" else "delete"
        elif request.operation == "UPDATE" and request.subresource == "status":
            words = "update status for"
        else:
            raise request.forbidden(
                f"node {quote(node)} can only create pods and delete or evict its own pods, "
                "and update their status"
            )
        if pod is not None and where != node:
            raise request.forbidden(
                f"node {quote(node)} can only {words} pods with spec.nodeName set to itself"
            )

    def _check_token(self, request: Request, node: str) -> None:
        ref = ((request.object or {}).get("spec") or {}).get("boundObjectRef") or {}
        if ref.get("kind") != "Pod" or not ref.get("name"):
            raise request.forbidden("node requested token not bound to a pod")
        pod: Object | None = self._lookup.get(PODS, request.namespace, ref["name"])
        if pod is None or (ref.get("uid") and pod["metadata"].get("uid") != ref["uid"]):
            raise request.forbidden("node requested token with a different UID or for a pod that is gone")
        if (pod.get("spec") or {}).get("nodeName") != node:
            raise request.forbidden("node requested token bound to a pod scheduled on a different node")


def _check_lease(request: Request, node: str) -> None:
    if request.namespace != LEASE_NAMESPACE:
        raise request.forbidden(f"can only access leases in the {quote(LEASE_NAMESPACE)} system namespace")
    name = request.name or str(((request.object or {}).get("metadata") or {}).get("name") or "")
    if name != node:
        raise request.forbidden("can only access node lease with the same name as the requesting node")


def _check_mirror_pod(request: Request, node: str) -> None:
    assert request.object is not None
    meta, spec = request.object["metadata"], request.object.get("spec") or {}
    if MIRROR not in (meta.get("annotations") or {}):
        raise request.forbidden(
            f"pod does not have {quote(MIRROR)} annotation, node {quote(node)} can only create mirror pods"
        )
    if spec.get("nodeName") != node:
        raise request.forbidden(f"node {quote(node)} can only create pods with spec.nodeName set to itself")
    if any((volume.get("secret") or volume.get("configMap")) for volume in spec.get("volumes") or ()):
        raise request.forbidden(f"node {quote(node)} can not create pods that reference secrets")
