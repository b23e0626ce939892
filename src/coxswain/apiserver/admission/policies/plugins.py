"""The plugins as the chain has them: what evaluates policies is loaded when the first policy is bound.

A cluster without policies pays nothing for them, neither when it starts nor for a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coxswain.api.names import GVR
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.admission.versions import Versions
from coxswain.apiserver.authz.authorizer import Authorizer
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.registry import Registry

if TYPE_CHECKING:
    from coxswain.apiserver.admission.policies.mutating import MutatingPolicies
    from coxswain.apiserver.admission.policies.validating import ValidatingPolicies

_GROUP: Final = "admissionregistration.k8s.io"


def _resource(name: str) -> GVR:
    return GVR(_GROUP, "v1", name)


class ValidatingAdmissionPolicy(Plugin):
    """See ``policies.validating``."""

    NAME = "ValidatingAdmissionPolicy"
    WATCHES = (
        _resource("validatingadmissionpolicies"),
        _resource("validatingadmissionpolicybindings"),
    )

    def __init__(
        self, lookup: Lookup, registry: Registry, versions: Versions, authorizer: Authorizer
    ) -> None:
        self._parts = (lookup, registry, versions, authorizer)
        self._policies: ValidatingPolicies | None = None

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        if self._policies is None and not _any(self._parts[0], self.WATCHES):
            return False
        return self._loaded().concern(operation, resource, subresource)

    def validate(self, request: Request) -> None:
        self._loaded().validate(request)

    def _loaded(self) -> ValidatingPolicies:
        if self._policies is None:
            from coxswain.apiserver.admission.policies.validating import ValidatingPolicies

            self._policies = ValidatingPolicies(*self._parts)
        return self._policies


class MutatingAdmissionPolicy(Plugin):
    """See ``policies.mutating``."""

    NAME = "MutatingAdmissionPolicy"
    WATCHES = (_resource("mutatingadmissionpolicies"), _resource("mutatingadmissionpolicybindings"))

    def __init__(
        self, lookup: Lookup, registry: Registry, versions: Versions, authorizer: Authorizer
    ) -> None:
        self._parts = (lookup, registry, versions, authorizer)
        self._policies: MutatingPolicies | None = None

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        if self._policies is None and not _any(self._parts[0], self.WATCHES):
            return False
        return self._loaded().concern(operation, resource, subresource)

    def admit(self, request: Request) -> None:
        self._loaded().admit(request)

    def _loaded(self) -> MutatingPolicies:
        if self._policies is None:
            from coxswain.apiserver.admission.policies.mutating import MutatingPolicies

            self._policies = MutatingPolicies(*self._parts)
        return self._policies


def _any(lookup: Lookup, resources: tuple[GVR, ...]) -> bool:
    """Whether there are policies and bindings at all."""
    return all(next(iter(lookup.list(resource)), None) is not None for resource in resources)
