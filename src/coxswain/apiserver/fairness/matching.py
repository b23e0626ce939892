"""Which flow schema a request belongs to, by Kubernetes' rules (apiserver ``flowcontrol/rule.go``).

Schemas are tried by matching precedence, then name; the first that has a rule with a matching subject and a
matching resource or non-resource rule wins. The mandatory ``exempt`` goes before all, ``catch-all`` takes the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from coxswain.api.names import Object
from coxswain.client.interface import UserInfo

_ACCOUNT = "system:serviceaccount:"


class Digest(NamedTuple):
    """What classification looks at. ``path`` is for requests that are about no resource."""

    user: UserInfo
    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    path: str = ""


Rule = Callable[[Digest], bool]


@dataclass(slots=True, eq=False)
class Schema:
    """A flow schema, ready to match. ``distinguisher`` is ByUser, ByNamespace or empty."""

    name: str
    uid: str
    level: str
    precedence: int
    distinguisher: str
    rules: Sequence[tuple[Sequence[Rule], Sequence[Rule], Sequence[Rule]]]

    def matches(self, digest: Digest) -> bool:
        """Whether ``digest`` belongs here."""
        for subjects, resources, paths in self.rules:
            if any(subject(digest) for subject in subjects):
                rules = paths if digest.path else resources
                if any(rule(digest) for rule in rules):
                    return True
        return False

    def flow(self, digest: Digest) -> str:
        """What distinguishes the flow of ``digest`` from others of this schema."""
        if self.distinguisher == "ByUser":
            return digest.user.name
        return digest.namespace if self.distinguisher == "ByNamespace" else ""


def compile_schema(obj: Object) -> Schema:
    """A FlowSchema object as a ``Schema``."""
    meta, spec = obj.get("metadata") or {}, obj.get("spec") or {}
    return Schema(
        meta.get("name", ""),
        meta.get("uid", ""),
        (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
        spec.get("matchingPrecedence") or 0,
        (spec.get("distinguisherMethod") or {}).get("type", ""),
        [
            (
                [_subject(each) for each in rule.get("subjects") or ()],
                [_resource(each) for each in rule.get("resourceRules") or ()],
                [_path(each) for each in rule.get("nonResourceRules") or ()],
            )
            for rule in spec.get("rules") or ()
        ],
    )


def in_order(schemas: Iterable[Schema]) -> list[Schema]:
    """Schemas as they are tried."""
    return sorted(schemas, key=lambda schema: (schema.precedence, schema.name))


def _subject(subject: Object) -> Rule:
    kind = subject.get("kind")
    if kind == "User" and subject.get("user"):
        name = subject["user"].get("name")
        return lambda digest: name in ("*", digest.user.name)
    if kind == "Group" and subject.get("group"):
        group = subject["group"].get("name")
        return lambda digest: group == "*" or group in digest.user.groups
    if kind == "ServiceAccount" and subject.get("serviceAccount"):
        account = subject["serviceAccount"]
        prefix = f"{_ACCOUNT}{account.get('namespace', '')}:"
        if account.get("name") == "*":
            return lambda digest: digest.user.name.startswith(prefix)
        full = prefix + account.get("name", "")
        return lambda digest: digest.user.name == full
    return lambda digest: False


def _one_of(values: Sequence[Any] | None) -> Callable[[str], bool]:
    wanted = frozenset(values or ())
    if wanted == {"*"}:
        return lambda value: True
    return wanted.__contains__


def _resource(rule: Object) -> Rule:
    verb, resource = _one_of(rule.get("verbs")), _one_of(rule.get("resources"))
    group, namespace = _one_of(rule.get("apiGroups")), _one_of(rule.get("namespaces"))
    cluster = bool(rule.get("clusterScope"))

    def matches(digest: Digest) -> bool:
        name = f"{digest.resource}/{digest.subresource}" if digest.subresource else digest.resource
        if not (verb(digest.verb) and resource(name) and group(digest.group)):
            return False
        return namespace(digest.namespace) if digest.namespace else cluster

    return matches


def _path(rule: Object) -> Rule:
    verb, urls = _one_of(rule.get("verbs")), tuple(rule.get("nonResourceURLs") or ())
    prefixes = tuple(_prefix(url) for url in urls)

    def matches(digest: Digest) -> bool:
        path = digest.path
        return verb(digest.verb) and ("*" in urls or path in urls or path.startswith(prefixes))

    return matches


def _prefix(url: str) -> str:
    """Everything below: Kubernetes takes ``/healthz`` to mean ``/healthz/...``, too."""
    stem = url.removesuffix("*")
    return stem if stem.endswith("/") else stem + "/"
