"""Audit policies: which request is logged at which level (apiserver ``audit/policy``).

The first rule that matches decides; a request that none matches is not logged. In a rule, each list that is not
empty has to match: users, groups, verbs, and either resources and namespaces or non-resource URLs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from coxswain.api.names import Object
from coxswain.apiserver.authz.attributes import Attributes
from coxswain.base.errors import ConfigurationError

Level = Literal["None", "Metadata", "Request", "RequestResponse"]

LEVELS: tuple[Level, ...] = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_VERSION = "audit.k8s.io/v1"


class Verdict(NamedTuple):
    """How a request is logged."""

    level: Level
    omitted_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool = False


NOT_LOGGED = Verdict("None")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a policy."""

    verdict: Verdict
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    #: API group, resources, names.
    resources: Sequence[tuple[str, Sequence[str], frozenset[str]]]
    paths: Sequence[str]

    def matches(self, request: Attributes) -> bool:
        """Whether the rule is about ``request``."""
        if self.users and request.user.name not in self.users:
            return False
        if self.groups and not self.groups.intersection(request.user.groups):
            return False
        if self.verbs and request.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return request.is_resource and self._matches_resource(request)
        if self.paths:
            return not request.is_resource and any(_covers(path, request.path) for path in self.paths)
        return True

    def _matches_resource(self, request: Attributes) -> bool:
        if self.namespaces and request.namespace not in self.namespaces:
            return False
        if not self.resources:
            return True
        for group, resources, names in self.resources:
            if group != request.group:
                continue
            if not resources:
                return True
            if names and request.name not in names:
                continue
            if any(_names(resource, request) for resource in resources):
                return True
        return False


def _covers(pattern: str, path: str) -> bool:
    if pattern in ("*", path):
        return True
    return pattern.endswith("*") and path.startswith(pattern[:-1])


def _names(resource: str, request: Attributes) -> bool:
    """``pods``, ``pods/log``, ``*``, ``*/status``, ``pods/*``."""
    whole = f"{request.resource}/{request.subresource}" if request.subresource else request.resource
    if resource in ("*", whole):
        return True
    if request.subresource and resource == f"*/{request.subresource}":
        return True
    return resource.endswith("/*") and resource[:-2] == request.resource


class Policy:
    """The rules of a file, in their order."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules

    def verdict(self, request: Attributes) -> Verdict:
        """How ``request`` is logged."""
        for rule in self.rules:
            if rule.matches(request):
                return rule.verdict
        return NOT_LOGGED


def load(path: Path) -> Policy:
    """The policy in a YAML or JSON file. Raises ``ConfigurationError``."""
    import yaml

    try:
        obj = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigurationError(f"audit policy {path}: {why}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"audit policy {path}: not YAML: {error}") from None
    try:
        return parse(obj)
    except ValueError as error:
        raise ConfigurationError(f"audit policy {path}: {error}") from None


def parse(obj: Any) -> Policy:
    """A Policy object's rules. Raises ``ValueError`` with the field that is wrong."""
    if not isinstance(obj, dict) or (obj.get("apiVersion"), obj.get("kind")) != (_VERSION, "Policy"):
        raise ValueError(f"not a Policy of {_VERSION}")
    rules = obj.get("rules") or []
    if not isinstance(rules, list) or not rules:
        raise ValueError("rules: at least one is needed")
    stages = _stages(obj, "omitStages")
    trimmed = _flag(obj, "omitManagedFields", "omitManagedFields")
    return Policy([_rule(rule, f"rules[{place}]", stages, bool(trimmed)) for place, rule in enumerate(rules)])


_RULE_FIELDS = frozenset(
    {
        "level",
        "users",
        "userGroups",
        "verbs",
        "namespaces",
        "resources",
        "nonResourceURLs",
        "omitStages",
        "omitManagedFields",
    }
)


def _rule(rule: Any, path: str, stages: frozenset[str], trimmed: bool) -> Rule:
    if not isinstance(rule, dict):
        raise ValueError(f"{path}: must be an object")
    unknown = sorted(set(rule) - _RULE_FIELDS)
    if unknown:
        # A misspelt condition would match everything: nothing is guessed here.
        raise ValueError(f"{path}.{unknown[0]}: unknown field")
    level = rule.get("level")
    if level not in LEVELS:
        raise ValueError(f"{path}.level: {level!r} is none of {', '.join(LEVELS)}")
    urls = _strings(rule, "nonResourceURLs", path)
    for place, url in enumerate(urls):
        if url != "*" and (not url.startswith("/") or "*" in url[:-1]):
            raise ValueError(
                f"{path}.nonResourceURLs[{place}]: {url!r} must begin with / and may end with * alone"
            )
    resources = [
        _resource(each, f"{path}.resources[{place}]")
        for place, each in enumerate(rule.get("resources") or ())
    ]
    namespaces = frozenset(_strings(rule, "namespaces", path))
    if urls and (resources or namespaces):
        raise ValueError(f"{path}.nonResourceURLs: a rule is about URLs or about resources, not both")
    own = _flag(rule, "omitManagedFields", f"{path}.omitManagedFields")
    omitted = stages | _stages(rule, f"{path}.omitStages")
    return Rule(
        Verdict(level, omitted, trimmed if own is None else own),
        frozenset(_strings(rule, "users", path)),
        frozenset(_strings(rule, "userGroups", path)),
        frozenset(_strings(rule, "verbs", path)),
        namespaces,
        resources,
        urls,
    )


def _resource(each: Any, path: str) -> tuple[str, Sequence[str], frozenset[str]]:
    if not isinstance(each, dict):
        raise ValueError(f"{path}: must be an object")
    resources, names = _strings(each, "resources", path), frozenset(_strings(each, "resourceNames", path))
    group = each.get("group") or ""
    if not isinstance(group, str):
        raise ValueError(f"{path}.group: must be a string")
    if names and not resources:
        raise ValueError(f"{path}.resourceNames: needs resources that they are names of")
    return group, resources, names


def _strings(obj: Object, name: str, path: str) -> list[str]:
    values = obj.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{path}.{name}: must be a list of strings")
    return values


def _stages(obj: Object, path: str) -> frozenset[str]:
    stages = _strings(obj, "omitStages", path.removesuffix(".omitStages"))
    for stage in stages:
        if stage not in STAGES:
            raise ValueError(f"{path}: {stage!r} is none of {', '.join(STAGES)}")
    return frozenset(stages)


def _flag(obj: Object, name: str, path: str) -> bool | None:
    value = obj.get(name)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{path}: must be true or false")
    return value
