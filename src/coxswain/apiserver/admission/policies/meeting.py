"""What both kinds of policies do before they evaluate anything: which are met, with what parameters and variables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from coxswain.api import errors
from coxswain.api.names import GVR, Object
from coxswain.apiserver.admission.policies import authorization
from coxswain.apiserver.admission.policies.compiled import Binding, Policy, Source
from coxswain.apiserver.admission.policies.evaluation import namespace_object
from coxswain.apiserver.admission.policies.matching import Matcher, Seen
from coxswain.apiserver.admission.policies.parameters import ParameterError, Parameters
from coxswain.apiserver.admission.request import Operation, Request
from coxswain.apiserver.admission.versions import Versions
from coxswain.apiserver.admission.webhooks.review import admission_request
from coxswain.apiserver.authz.authorizer import Authorizer
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.registry import Registry


class MisconfiguredError(Exception):
    """A policy or binding that cannot be applied to a request: ``failed to configure binding: why``."""


@contextmanager
def configuring(what: str) -> Iterator[None]:
    """Raises ``MisconfiguredError`` for what goes wrong inside. ``what`` is policy or binding."""
    try:
        yield
    except (errors.ApiError, ParameterError) as error:
        raise MisconfiguredError(f"failed to configure {what}: {error}") from None


class Policies:
    """Base of the two kinds. ``resource`` is ``validatingadmissionpolicies`` or ``mutatingadmissionpolicies``."""

    def __init__(
        self, resource: str, lookup: Lookup, registry: Registry, versions: Versions, authorizer: Authorizer
    ) -> None:
        self._source = Source(lookup, resource)
        self._registry = registry
        self._versions = versions
        self._matcher = Matcher(lookup, versions)
        self._parameters = Parameters(lookup, registry)
        self._authorizer = authorizer

    def concern(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        """Whether some policy may be about such requests."""
        return bool(self._concerned(operation, resource, subresource))

    def _concerned(self, operation: str, resource: GVR, subresource: str) -> tuple[Policy, ...]:
        others = self._versions.equivalents(resource)
        return self._source.concerned(operation, resource, subresource, others)

    def _seen(self, policy: Policy, request: Request) -> Seen | None:
        """How the policy sees the request; None where it is not about it. Raises ``MisconfiguredError``."""
        with configuring("policy"):
            seen = self._matcher.match(policy.criteria, request)
            if seen is not None:
                self._parameters.check(policy)
            return seen

    def _params(self, policy: Policy, binding: Binding, request: Request) -> list[Object | None]:
        """The parameters to evaluate with; none where the binding is not about the request.

        Raises ``ApiError`` and ``ParameterError``: for use within ``configuring``.
        """
        if binding.criteria is not None and self._matcher.match(binding.criteria, request) is None:
            return []
        return self._parameters.collect(policy, binding, request.namespace)


class Values:
    """The variables of a request, made when the first policy wants them."""

    def __init__(self, matcher: Matcher, authorizer: Authorizer, request: Request) -> None:
        self._matcher = matcher
        self._authorizer = authorizer
        self._request = request
        self._shared: dict[str, Any] | None = None

    def of(self, seen: Seen, obj: Object | None, param: Object | None) -> dict[str, Any]:
        """The variables as a policy sees them. Raises ``ApiError``."""
        request = self._request
        if self._shared is None:
            self._shared = {
                "namespaceObject": namespace_object(self._matcher.namespace(request)),
                **authorization.variables(self._authorizer, request),
            }
        return {
            **self._shared,
            "object": obj,
            "oldObject": self._matcher.shown(seen, request, request.old_object),
            "request": admission_request(seen.resource, seen.kind, request),
            "params": param,
        }
