"""Rules: which requests a webhook (or a policy) is about, by operation, group, version, resource and scope."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from coxswain.api.names import GVR, NAMESPACES, Object

ANY = "*"

#: Whoever could intercept these could not be got rid of any more.
_EXEMPT = frozenset(
    {
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "validatingwebhookconfigurations",
    }
)


def is_exempt(resource: GVR) -> bool:
    """Whether no webhook or policy is ever asked about ``resource``."""
    return resource.group == "admissionregistration.k8s.io" and resource.resource in _EXEMPT


@dataclass(frozen=True, slots=True)
class Rule:
    """One RuleWithOperations. Empty ``scope`` is any."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    #: (resource, subresource), each perhaps ``*``; an empty subresource is the resource itself.
    resources: tuple[tuple[str, str], ...]
    scope: str = ""

    def could_match(self, operation: str, resource: GVR, subresource: str, *, any_version: bool) -> bool:
        """Whether some request of this shape matches, whatever its namespace."""
        return (
            _in(operation, self.operations)
            and _in(resource.group, self.groups)
            and (any_version or _in(resource.version, self.versions))
            and any(
                name in (ANY, resource.resource) and sub in (ANY, subresource) for name, sub in self.resources
            )
        )

    def matches(self, operation: str, resource: GVR, subresource: str, namespace: str) -> bool:
        """Whether a request matches. ``namespace`` is empty for what has none."""
        if self.scope and self.scope != ANY:
            namespaced = bool(namespace) and resource != NAMESPACES
            if namespaced != (self.scope == "Namespaced"):
                return False
        return self.could_match(operation, resource, subresource, any_version=False)


def _in(value: str, allowed: frozenset[str]) -> bool:
    return value in allowed or ANY in allowed


def compile_rules(rules: Iterable[Object]) -> tuple[Rule, ...]:
    """The rules of a configuration, as they are stored."""
    return tuple(
        Rule(
            frozenset(rule.get("operations") or ()),
            frozenset(rule.get("apiGroups") or ()),
            frozenset(rule.get("apiVersions") or ()),
            tuple(_split(name) for name in rule.get("resources") or ()),
            rule.get("scope") or "",
        )
        for rule in rules
    )


def _split(name: str) -> tuple[str, str]:
    resource, _, subresource = name.partition("/")
    return resource, subresource
