"""Mode ABAC: a file of policies, one JSON object a line, read once at start.

    {"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy",
     "spec": {"user": "bob", "namespace": "projects", "resource": "pods", "readonly": true}}

A request is allowed when one line matches: its subject (user and group; ``*`` is everybody who is
authenticated), its verb (``readonly`` allows get, list and watch), and its resource or path (``*`` any, ``/x/*``
a prefix). Lines in the format before v1beta1, without apiVersion, speak of resources only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import orjson

from coxswain.apiserver.authn.credentials import AUTHENTICATED
from coxswain.apiserver.authz.attributes import Attributes, Decision
from coxswain.apiserver.authz.rules import ALL, Rule
from coxswain.base.errors import ConfigurationError
from coxswain.client.interface import UserInfo

_VERSIONS = (
    "abac.authorization.kubernetes.io/v1beta1",
    "abac.authorization.kubernetes.io/v0",
)
_READING = frozenset({"get", "list", "watch"})
_ALLOWED = Decision(True)
_NO_OPINION = Decision(False, "No policy matched.")


class Policy(NamedTuple):
    """One line."""

    user: str = ""
    group: str = ""
    readonly: bool = False
    api_group: str = ""
    resource: str = ""
    namespace: str = ""
    path: str = ""

    def allows(self, attributes: Attributes) -> bool:
        """Whether this line allows the request."""
        return (
            self.is_for(attributes.user)
            and (not self.readonly or attributes.verb in _READING)
            and (self._resource(attributes) if attributes.is_resource else self._path(attributes.path))
        )

    def is_for(self, user: UserInfo) -> bool:
        """Whether this line speaks of the user. One that names nobody is for nobody."""
        if not self.user and not self.group:
            return False
        if self.user and self.user not in (ALL, user.name):
            return False
        if self.user == ALL and AUTHENTICATED not in user.groups:
            return False
        if self.group == ALL:
            return AUTHENTICATED in user.groups
        return not self.group or self.group in user.groups

    def _resource(self, attributes: Attributes) -> bool:
        return (
            self.namespace in (ALL, attributes.namespace)
            and self.resource in (ALL, attributes.resource)
            and self.api_group in (ALL, attributes.group)
        )

    def _path(self, path: str) -> bool:
        pattern = self.path
        return pattern in (ALL, path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


class Abac:
    """See the module's text."""

    def __init__(self, policies: list[Policy]) -> None:
        self._policies = policies

    @classmethod
    def load(cls, path: Path) -> Abac:
        """Read the file. Raises ``ConfigurationError`` that names the line."""
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise ConfigurationError(f"policy file {path}: {error.strerror}") from None
        policies: list[Policy] = []
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.lstrip().startswith(b"#"):
                policies.append(_policy(line, f"policy file {path}, line {number}"))
        return cls(policies)

    def authorize(self, attributes: Attributes) -> Decision:
        """Whether a line allows it."""
        return _ALLOWED if any(policy.allows(attributes) for policy in self._policies) else _NO_OPINION

    def rules(self, user: UserInfo, namespace: str) -> tuple[list[Rule], str]:
        """The lines that speak of the user, as rules."""
        rules: list[Rule] = []
        for policy in self._policies:
            if not policy.is_for(user):
                continue
            verbs = tuple(sorted(_READING)) if policy.readonly else (ALL,)
            if policy.resource and policy.namespace in (ALL, namespace):
                rules.append(Rule(verbs, (policy.api_group,), (policy.resource,)))
            if policy.path:
                rules.append(Rule(verbs, non_resource_urls=(policy.path,)))
        return rules, ""


def _policy(line: bytes, where: str) -> Policy:
    try:
        found: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ConfigurationError(f"{where}: not a JSON object")
    version = found.get("apiVersion")
    if version is None:
        return _unversioned(found, where)
    if version not in _VERSIONS or found.get("kind") != "Policy":
        raise ConfigurationError(f"{where}: not a Policy of {_VERSIONS[0]}")
    spec = found.get("spec") if version == _VERSIONS[0] else found
    if not isinstance(spec, dict):
        raise ConfigurationError(f"{where}: no spec")
    if version != _VERSIONS[0]:
        return _unversioned(spec, where)
    return Policy(
        user=_text(spec, "user", where),
        group=_text(spec, "group", where),
        readonly=_flag(spec, where),
        api_group=_text(spec, "apiGroup", where),
        resource=_text(spec, "resource", where),
        namespace=_text(spec, "namespace", where),
        path=_text(spec, "nonResourcePath", where),
    )


def _unversioned(spec: dict[str, Any], where: str) -> Policy:
    """The oldest format: what is not said is anything."""
    user, group = (_text(spec, name, where) for name in ("user", "group"))
    resource, namespace = (_text(spec, name, where) or ALL for name in ("resource", "namespace"))
    path = ALL if not spec.get("resource") and not spec.get("namespace") else ""
    if not user and not group:
        user = ALL
    return Policy(user, group, _flag(spec, where), ALL, resource, namespace, path)


def _text(spec: dict[str, Any], name: str, where: str) -> str:
    value = spec.get(name) or ""
    if not isinstance(value, str):
        raise ConfigurationError(f"{where}: {name} is not a string")
    return value


def _flag(spec: dict[str, Any], where: str) -> bool:
    value = spec.get("readonly") or False
    if not isinstance(value, bool):
        raise ConfigurationError(f"{where}: readonly is not true or false")
    return value
