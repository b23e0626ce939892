"""RBAC's policy rules: matching one request, and covering another rule.

Follows ``pkg/apis/rbac/v1/evaluation_helpers.go`` (matching) and ``component-helpers/auth/rbac/validation``
(covering, used where somebody grants permissions).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from coxswain.api.fields import quote
from coxswain.api.names import Object

ALL = "*"


class Rule(NamedTuple):
    """A PolicyRule with its lists as tuples; absent lists are empty."""

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()

    @classmethod
    def of(cls, rule: Object) -> Rule:
        """The rule of a Role's JSON."""
        return cls(
            tuple(rule.get("verbs") or ()),
            tuple(rule.get("apiGroups") or ()),
            tuple(rule.get("resources") or ()),
            tuple(rule.get("resourceNames") or ()),
            tuple(rule.get("nonResourceURLs") or ()),
        )

    def matches_resource(self, verb: str, group: str, resource: str, subresource: str) -> bool:
        """Whether the rule speaks of this verb and resource; names are left to the caller."""
        return (
            _has(self.verbs, verb)
            and _has(self.api_groups, group)
            and resource_matches(self.resources, resource, subresource)
        )

    def matches_path(self, verb: str, path: str) -> bool:
        """Whether the rule allows this verb on a path that is no resource."""
        return _has(self.verbs, verb) and any(url_matches(url, path) for url in self.non_resource_urls)

    def __str__(self) -> str:
        """As refusals list it: ``{APIGroups:["apps"], Resources:["*"], Verbs:["get"]}``."""
        parts = (
            ("APIGroups", self.api_groups),
            ("Resources", self.resources),
            ("NonResourceURLs", self.non_resource_urls),
            ("ResourceNames", self.resource_names),
            ("Verbs", self.verbs),
        )
        return "{" + ", ".join(f"{name}:{quoted(values)}" for name, values in parts if values) + "}"


def rules_of(role: Object) -> tuple[Rule, ...]:
    """The rules of a Role or ClusterRole."""
    return tuple(Rule.of(rule) for rule in role.get("rules") or ())


def quoted(values: Iterable[str]) -> str:
    """A list of strings as Go's ``%q`` prints it: ``["a" "b"]``."""
    return "[" + " ".join(quote(value) for value in values) + "]"


def _has(values: Sequence[str], wanted: str) -> bool:
    return wanted in values or ALL in values


def resource_matches(resources: Sequence[str], resource: str, subresource: str) -> bool:
    """``pods``, ``pods/log``, ``*`` (everything) and ``*/log`` (that subresource of everything)."""
    if ALL in resources:
        return True
    if not subresource:
        return resource in resources
    return f"{resource}/{subresource}" in resources or f"*/{subresource}" in resources


def url_matches(pattern: str, path: str) -> bool:
    """An exact path, ``*``, or a prefix that ends in ``*``."""
    if pattern in (ALL, path):
        return True
    return pattern.endswith("*") and path.startswith(pattern.rstrip("*"))


def uncovered(owned: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The parts of ``wanted`` that no owned rule covers, each with one verb, resource and name."""
    return [
        part
        for rule in wanted
        for part in _breakdown(rule)
        if not any(_covers(owner, part) for owner in owned)
    ]


def _breakdown(rule: Rule) -> Iterable[Rule]:
    for group in rule.api_groups:
        for resource in rule.resources:
            for verb in rule.verbs:
                for name in rule.resource_names or ((),):
                    names = (name,) if isinstance(name, str) else ()
                    yield Rule((verb,), (group,), (resource,), names)
    for url in rule.non_resource_urls:
        for verb in rule.verbs:
            yield Rule((verb,), non_resource_urls=(url,))


def _covers(owner: Rule, part: Rule) -> bool:
    return (
        _covers_all(owner.verbs, part.verbs)
        and _covers_all(owner.api_groups, part.api_groups)
        and _covers_resources(owner.resources, part.resources)
        and all(
            any(url_matches(mine, url) for mine in owner.non_resource_urls) for url in part.non_resource_urls
        )
        and _covers_names(owner.resource_names, part.resource_names)
    )


def _covers_all(owned: Sequence[str], wanted: Sequence[str]) -> bool:
    return ALL in owned or all(value in owned for value in wanted)


def _covers_resources(owned: Sequence[str], wanted: Sequence[str]) -> bool:
    return all(resource_matches(owned, *_split(resource)) for resource in wanted)


def _split(resource: str) -> tuple[str, str]:
    name, _, subresource = resource.partition("/")
    return name, subresource


def _covers_names(owned: Sequence[str], wanted: Sequence[str]) -> bool:
    if not wanted:
        return not owned
    return not owned or all(name in owned for name in wanted)


def compact(rules: Iterable[Rule]) -> list[Rule]:
    """Joins the verbs of rules that name the same single group, resource and name."""
    merged: dict[Any, Rule] = {}
    for rule in rules:
        simple = (
            not rule.non_resource_urls
            and len(rule.api_groups) == 1
            and len(rule.resources) == 1
            and len(rule.resource_names) <= 1
        )
        key = rule[1:] if simple else (rule,)
        known = merged.get(key)
        merged[key] = rule if known is None else known._replace(verbs=known.verbs + rule.verbs)
    return list(merged.values())
