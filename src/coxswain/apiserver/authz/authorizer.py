"""The authorizers in their order: privileged group, node rules, RBAC. The first that allows decides."""

from __future__ import annotations

from coxswain.apiserver.authz import node
from coxswain.apiserver.authz.attributes import Attributes, Decision
from coxswain.apiserver.authz.rbac import Rbac
from coxswain.apiserver.lookup import Lookup

#: Its members may do everything; no role can take that away.
MASTERS = "system:masters"

_PRIVILEGED = Decision(True)


class Authorizer:
    """Synchronous, served from memory; about a microsecond for a user seen before."""

    def __init__(self, lookup: Lookup) -> None:
        self.rbac = Rbac(lookup)

    def authorize(self, attributes: Attributes) -> Decision:
        """Whether the request is allowed. Never raises."""
        groups = attributes.user.groups
        if MASTERS in groups:
            return _PRIVILEGED
        if node.NODES_GROUP in groups:
            decision = node.authorize(attributes, self.rbac)
            if decision.allowed:
                return decision
        return self.rbac.authorize(attributes)
