"""Which requests a policy or a binding is about: rules with operations, names and scopes, and selectors.

Order is Kubernetes': selectors, excluded rules, then the rules, which may be met in an equivalent version.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from coxswain.api import errors
from coxswain.api.names import GVK, GVR, NAMESPACES, Object
from coxswain.api.selectors import Selector
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.admission.scope import compile_selector, namespace_matches, objects_match
from coxswain.apiserver.admission.versions import Versions
from coxswain.apiserver.admission.webhooks.rules import Rule, compile_rules
from coxswain.apiserver.lookup import Lookup


@dataclass(frozen=True, slots=True)
class _Named:
    """A rule, and the objects' names that it is about; none: all."""

    rule: Rule
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as a policy sees it: perhaps in another version."""

    resource: GVR
    kind: GVK


@dataclass(frozen=True, slots=True)
class Criteria:
    """``matchConstraints`` of a policy, or ``matchResources`` of a binding."""

    rules: tuple[_Named, ...]
    excluded: tuple[_Named, ...]
    equivalent: bool
    namespaces: Selector | None
    objects: Selector | None

    @staticmethod
    def compile(raw: Object) -> Criteria:
        """As they are stored."""
        return Criteria(
            _named(raw.get("resourceRules")),
            _named(raw.get("excludeResourceRules")),
            raw.get("matchPolicy", "Equivalent") == "Equivalent",
            compile_selector(raw.get("namespaceSelector")),
            compile_selector(raw.get("objectSelector")),
        )

    def could_match(self, operation: str, resource: GVR, subresource: str, others: Iterable[GVR]) -> bool:
        """Whether some request of this shape may match."""
        if not self.rules:
            return True
        candidates = (resource, *others) if self.equivalent else (resource,)
        return any(
            each.rule.could_match(operation, candidate, subresource, any_version=self.equivalent)
            for candidate in candidates
            for each in self.rules
        )


def _named(rules: Iterable[Object] | None) -> tuple[_Named, ...]:
    raw = list(rules or ())
    return tuple(
        _Named(rule, frozenset(one.get("resourceNames") or ()))
        for rule, one in zip(compile_rules(raw), raw, strict=True)
    )


class Matcher:
    """Judges requests by criteria."""

    def __init__(self, lookup: Lookup, versions: Versions) -> None:
        self._lookup = lookup
        self._versions = versions

    def match(self, criteria: Criteria, request: Request) -> Seen | None:
        """How the request is seen, or None. Raises ``ApiError`` where that cannot be told."""
        failure: errors.ApiError | None = None
        try:
            if not namespace_matches(criteria.namespaces, request, self._lookup):
                return None
        except errors.ApiError as error:
            failure = error
        if not objects_match(criteria.objects, request):
            return None
        if self._find(criteria.excluded, criteria.equivalent, request) is not None:
            return None
        if criteria.rules:
            resource = self._find(criteria.rules, criteria.equivalent, request)
        else:
            resource = request.resource
        if resource is None:
            return None
        if failure is not None:
            raise failure
        if resource == request.resource:
            return Seen(resource, request.kind)
        return Seen(resource, self._versions.kind(resource, request.subresource))

    def namespace(self, request: Request) -> Object | None:
        """The namespace of the request; None for what has none. Raises ``NotFound``."""
        if not request.namespace or request.resource == NAMESPACES:
            return None
        found = self._lookup.get(NAMESPACES, "", request.namespace)
        if found is None:
            raise errors.not_found(NAMESPACES, request.namespace)
        return found

    def shown(self, seen: Seen, request: Request, obj: Object | None) -> Object | None:
        """An object of the request as the policy sees it."""
        return self._versions.shown(obj, request, seen.resource)

    def _find(self, rules: tuple[_Named, ...], equivalent: bool, request: Request) -> GVR | None:
        namespace = request.scope_namespace
        candidates = [request.resource]
        if equivalent and rules:
            candidates += self._versions.equivalents(request.resource)
        for candidate in candidates:
            for each in rules:
                if each.rule.matches(request.operation, candidate, request.subresource, namespace) and (
                    not each.names or request.name in each.names
                ):
                    return candidate
        return None
