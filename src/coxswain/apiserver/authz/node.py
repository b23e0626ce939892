"""What a node's agent may do: the role ``system:node``, but only on its own node.

A user ``system:node:NAME`` in group ``system:nodes`` gets the rules of the bootstrap role ``system:node``
without a binding, as from Kubernetes' Node authorizer. On nodes, node leases and CSI nodes it may touch
only the object that bears its name (it may list and watch, because an agent's watch selects its own).
Not yet here: that secrets and config maps must belong to a pod bound to that node.
"""

from __future__ import annotations

from coxswain.apiserver.authz.attributes import Attributes, Decision
from coxswain.apiserver.authz.rbac import Rbac

NODES_GROUP = "system:nodes"
NODE_PREFIX = "system:node:"
LEASE_NAMESPACE = "kube-node-lease"

_OWN = frozenset(
    {("", "nodes"), ("coordination.k8s.io", "leases"), ("storage.k8s.io", "csinodes")},
)
_UNNAMED_VERBS = frozenset({"list", "watch", "create"})
_REFUSED = Decision(False)


def node_name(name: str, groups: tuple[str, ...]) -> str:
    """The node for which a user speaks, or "" if it is none."""
    if NODES_GROUP in groups and name.startswith(NODE_PREFIX):
        return name[len(NODE_PREFIX) :]
    return ""


def authorize(attributes: Attributes, rbac: Rbac) -> Decision:
    """The node rules' opinion; a refusal only means that others may still allow it."""
    node = node_name(attributes.user.name, attributes.user.groups)
    if not node or not attributes.is_resource:
        return _REFUSED
    if (attributes.group, attributes.resource) in _OWN and not _own(attributes, node):
        return _REFUSED
    for rule in rbac.role_rules("ClusterRole", "", "system:node") or ():
        if rule.matches_resource(
            attributes.verb, attributes.group, attributes.resource, attributes.subresource
        ):
            return Decision(True)
    return _REFUSED


def _own(attributes: Attributes, node: str) -> bool:
    if attributes.resource == "leases" and attributes.namespace != LEASE_NAMESPACE:
        return False
    return attributes.name == node or (not attributes.name and attributes.verb in _UNNAMED_VERBS)
