"""What a node's agent may do: Kubernetes' Node authorizer.

A user ``system:node:NAME`` in group ``system:nodes`` gets the rules that the role ``system:node`` has in a new
cluster, without a binding and whatever becomes of that role. But on what could give one node's secrets to another, those rules are narrowed to what the
node has to do with (``node_relations``): secrets and config maps of its pods, their claims and volumes, tokens
of their service accounts, pods bound to it, its own node, lease, CSI node and resource slices. What a node may
write into those is for the admission plugin NodeRestriction to say.
"""

from __future__ import annotations

from collections.abc import Callable

from coxswain.apiserver.authz import selectors
from coxswain.apiserver.authz.attributes import Attributes, Decision
from coxswain.apiserver.authz.node_relations import NodeRelations
from coxswain.apiserver.authz.rules import Rule, rules_of
from coxswain.client.interface import UserInfo

NODES_GROUP = "system:nodes"
NODE_PREFIX = "system:node:"
LEASE_NAMESPACE = "kube-node-lease"

_ALLOWED = Decision(True)
_NO_OPINION = Decision(False)
_OWN_VERBS = frozenset({"get", "create", "update", "patch", "delete"})
_COLLECTION_VERBS = frozenset({"list", "watch", "deletecollection"})


def node_name(name: str, groups: tuple[str, ...]) -> str:
    """The node for which a user speaks, or "" if it is none."""
    if NODES_GROUP in groups and name.startswith(NODE_PREFIX):
        return name[len(NODE_PREFIX) :]
    return ""


def _node_rules() -> tuple[Rule, ...]:
    from coxswain.apiserver import bootstrap

    return next(rules_of(item.object) for item in bootstrap.rbac() if item.name == "system:node")


class NodeAuthorizer:
    """See the module's text."""

    def __init__(self, relations: NodeRelations) -> None:
        self._rules: tuple[Rule, ...] | None = None
        self._relations = relations
        self._narrowed: dict[tuple[str, str], Callable[[str, Attributes], Decision]] = {
            ("", "secrets"): self._read_object,
            ("", "configmaps"): self._read_object,
            ("", "persistentvolumeclaims"): self._claim,
            ("", "persistentvolumes"): self._get,
            ("resource.k8s.io", "resourceclaims"): self._get,
            ("storage.k8s.io", "volumeattachments"): self._get,
            ("", "serviceaccounts"): self._create_token,
            ("coordination.k8s.io", "leases"): self._lease,
            ("storage.k8s.io", "csinodes"): self._csi_node,
            ("resource.k8s.io", "resourceslices"): self._slice,
            ("", "nodes"): self._node,
            ("", "pods"): self._pod,
        }

    def authorize(self, attributes: Attributes) -> Decision:
        """The node rules' opinion; a refusal only means that others may still allow it."""
        user = attributes.user
        if NODES_GROUP not in user.groups or not user.name.startswith(NODE_PREFIX):
            return _NO_OPINION
        node = user.name[len(NODE_PREFIX) :]
        if not node:
            return Decision(False, f'unknown node for user "{user.name}"')
        if attributes.is_resource:
            narrowed = self._narrowed.get((attributes.group, attributes.resource))
            if narrowed is not None:
                return narrowed(node, attributes)
        return self._by_rules(attributes)

    def rules(self, user: UserInfo, namespace: str) -> tuple[list[Rule], str]:
        """Nothing that rules could tell: for a node the list is incomplete."""
        is_node = NODES_GROUP in user.groups and user.name.startswith(NODE_PREFIX)
        return [], "node authorizer does not support user rule resolution" if is_node else ""

    def _by_rules(self, attributes: Attributes) -> Decision:
        if self._rules is None:
            self._rules = _node_rules()
        for rule in self._rules:
            if attributes.is_resource:
                if rule.matches_resource(
                    attributes.verb, attributes.group, attributes.resource, attributes.subresource
                ):
                    return _ALLOWED
            elif rule.matches_path(attributes.verb, attributes.path):
                return _ALLOWED
        return _NO_OPINION

    # -- what is narrowed

    def _related(self, node: str, attributes: Attributes) -> Decision:
        if not attributes.name:
            return Decision(False, "No Object name found")
        if self._relations.related(node, attributes.resource, attributes.namespace, attributes.name):
            return _ALLOWED
        return Decision(False, f"no relationship found between node '{node}' and this object")

    def _get(self, node: str, attributes: Attributes) -> Decision:
        if attributes.verb != "get":
            return Decision(False, "can only get individual resources of this type")
        if attributes.subresource:
            return Decision(False, "cannot get subresource")
        return self._related(node, attributes)

    def _read_object(self, node: str, attributes: Attributes) -> Decision:
        if attributes.verb not in ("get", "list", "watch"):
            return Decision(False, "can only read resources of this type")
        if attributes.subresource:
            return Decision(False, "cannot read subresource")
        if not attributes.namespace:
            return Decision(False, "can only read namespaced object of this type")
        return self._related(node, attributes)

    def _claim(self, node: str, attributes: Attributes) -> Decision:
        if attributes.subresource != "status":
            return self._get(node, attributes)
        if attributes.verb not in ("update", "patch"):
            return Decision(False, "can only get/update/patch this type")
        return self._related(node, attributes)

    def _create_token(self, node: str, attributes: Attributes) -> Decision:
        if attributes.verb == "get" and not attributes.subresource:
            # For credential providers of images: the account itself, never its tokens.
            return self._related(node, attributes)
        if attributes.verb != "create" or not attributes.name:
            return Decision(False, "can only create tokens for individual service accounts")
        if attributes.subresource != "token":
            return Decision(False, "can only create token subresource of serviceaccount")
        return self._related(node, attributes)

    def _lease(self, node: str, attributes: Attributes) -> Decision:
        if attributes.verb not in _OWN_VERBS:
            return Decision(False, "can only get, create, update, patch, or delete a node lease")
        if attributes.namespace != LEASE_NAMESPACE:
            return Decision(False, f'can only access leases in the "{LEASE_NAMESPACE}" system namespace')
        if attributes.verb != "create" and attributes.name != node:
            return Decision(False, "can only access node lease with the same name as the requesting node")
        return _ALLOWED

    def _csi_node(self, node: str, attributes: Attributes) -> Decision:
        if attributes.verb not in _OWN_VERBS:
            return Decision(False, "can only get, create, update, patch, or delete a CSINode")
        if attributes.subresource:
            return Decision(False, "cannot authorize CSINode subresources")
        if attributes.verb != "create" and attributes.name != node:
            return Decision(False, "can only access CSINode with the same name as the requesting node")
        return _ALLOWED

    def _slice(self, node: str, attributes: Attributes) -> Decision:
        verb = attributes.verb
        if attributes.subresource:
            return Decision(False, "cannot authorize ResourceSlice subresources")
        if verb == "create":
            return _ALLOWED  # its node is for admission to look at
        if verb in _OWN_VERBS:
            return self._related(node, attributes)
        if verb not in _COLLECTION_VERBS:
            return Decision(
                False,
                "only the following verbs are allowed for a ResourceSlice: "
                "get, watch, list, create, update, patch, delete, deletecollection",
            )
        if selectors.demands(attributes.field_selector, "spec.nodeName", node):
            return _ALLOWED
        return Decision(
            False, "can only list/watch/deletecollection resourceslices with nodeName field selector"
        )

    def _node(self, node: str, attributes: Attributes) -> Decision:
        verb = attributes.verb
        if attributes.subresource:
            own = attributes.subresource == "status" and verb in ("update", "patch")
            return _ALLOWED if own else _NO_OPINION
        if verb in ("create", "update", "patch"):
            return _ALLOWED
        if verb not in ("get", "list", "watch"):
            return _NO_OPINION
        if attributes.name == node:
            return _ALLOWED
        which = f"'{attributes.name}'" if attributes.name else "all nodes"
        return Decision(False, f"node '{node}' cannot read {which}, only its own Node object")

    def _pod(self, node: str, attributes: Attributes) -> Decision:
        verb, subresource = attributes.verb, attributes.subresource
        if subresource == "status":
            return _ALLOWED if verb in ("update", "patch") else _NO_OPINION
        if subresource == "eviction":
            return _ALLOWED if verb == "create" else _NO_OPINION
        if subresource:
            return _NO_OPINION
        if verb == "get":
            return self._related(node, attributes)
        if verb in ("create", "delete"):
            return _ALLOWED
        if verb not in ("list", "watch"):
            return _NO_OPINION
        if selectors.demands(attributes.field_selector, "spec.nodeName", node):
            return _ALLOWED
        if attributes.name:
            return self._related(node, attributes)
        return Decision(False, "can only list/watch pods with spec.nodeName field selector")
