"""The last mutating step: nobody grants what they do not hold (see ``authz.escalation``).

Not one of Kubernetes' plugins (there the registry of roles does it), so it cannot be switched off.
"""

from __future__ import annotations

from coxswain.api.names import GVR
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.authz import escalation
from coxswain.apiserver.authz.authorizer import Authorizer

_RESOURCES = frozenset({"roles", "clusterroles", "rolebindings", "clusterrolebindings"})


class RbacEscalation(Plugin):
    """See the module's text."""

    NAME = "RBACEscalation"

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return (
            operation in ("CREATE", "UPDATE")
            and resource.group == escalation.GROUP
            and resource.resource in _RESOURCES
            and not subresource
        )

    def admit(self, request: Request) -> None:
        assert request.object is not None
        escalation.check(
            self._authorizer,
            request.user,
            request.resource,
            request.namespace,
            request.object,
            request.old_object,
        )
