"""Whether one webhook is asked about one request, and in which version it is shown the object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coxswain.api import errors
from coxswain.api.names import GVK, GVR, Object
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.admission.scope import namespace_matches, objects_match
from coxswain.apiserver.admission.versions import Versions
from coxswain.apiserver.admission.webhooks.conditions import ConditionFailedError
from coxswain.apiserver.admission.webhooks.hooks import Hook
from coxswain.apiserver.admission.webhooks.review import admission_request
from coxswain.apiserver.authz.authorizer import Authorizer
from coxswain.apiserver.lookup import Lookup


@dataclass(frozen=True, slots=True)
class Invocation:
    """A webhook to ask, the version that it understands, and the objects in that version.

    ``place`` is the hook's among all hooks of its kind.
    """

    hook: Hook
    place: int
    resource: GVR
    kind: GVK
    object: Object | None
    old_object: Object | None


class Matcher:
    """Judges requests by a webhook's rules, selectors and conditions."""

    def __init__(self, lookup: Lookup, versions: Versions, authorizer: Authorizer) -> None:
        """``authorizer`` is what match conditions may ask."""
        self._lookup = lookup
        self._versions = versions
        self._authorizer = authorizer

    def invocation(self, place: int, hook: Hook, request: Request) -> Invocation | None:
        """The call that ``request`` needs, or None. Raises ``ApiError`` where that cannot be told."""
        if not objects_match(hook.objects, request):
            return None
        resource = self._resource(hook, request)
        if resource is None or not namespace_matches(hook.namespaces, request, self._lookup):
            return None
        same = resource == request.resource
        kind = request.kind if same else self._versions.kind(resource, request.subresource)
        obj = self._versions.shown(request.object, request, resource)
        old = self._versions.shown(request.old_object, request, resource)
        found = Invocation(hook, place, resource, kind, obj, old)
        return found if self._conditions_hold(found, request) else None

    def _resource(self, hook: Hook, request: Request) -> GVR | None:
        """The resource under which a rule matches the request; that of an equivalent version if need be."""
        namespace = request.scope_namespace
        for rule in hook.rules:
            if rule.matches(request.operation, request.resource, request.subresource, namespace):
                return request.resource
        if not hook.equivalent:
            return None
        equivalents = self._versions.equivalents(request.resource)
        for rule in hook.rules:
            for resource in equivalents:
                if rule.matches(request.operation, resource, request.subresource, namespace):
                    return resource
        return None

    def _conditions_hold(self, found: Invocation, request: Request) -> bool:
        def variables() -> Mapping[str, Any]:
            # Here, because requests without conditions need not load the language.
            from coxswain.apiserver.admission.policies import authorization

            return {
                "object": found.object,
                "oldObject": found.old_object,
                "request": admission_request(found.resource, found.kind, request),
                "namespaceObject": None,
                **authorization.variables(self._authorizer, request),
            }

        try:
            return found.hook.conditions.hold(variables)
        except ConditionFailedError as failure:
            raise errors.forbidden(request.resource, request.name, str(failure)) from None
