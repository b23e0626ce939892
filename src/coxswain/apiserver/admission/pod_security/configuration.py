"""PodSecurityConfiguration: levels of namespaces that say nothing, and who and what is exempt.

defaults:   {enforce: baseline, enforce-version: latest, audit: ..., warn: ...}
exemptions: {usernames: [], runtimeClasses: [], namespaces: []}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coxswain.api.fields import quote
from coxswain.api.validation.formats import dns_label, dns_subdomain
from coxswain.apiserver.admission.pod_security.levels import OPEN, PREFIX, Policy, policy_of
from coxswain.base.errors import ConfigurationError

KIND = "PodSecurityConfiguration"
_GROUP = "pod-security.admission.config.k8s.io/"
_MODES = ("enforce", "audit", "warn")
_KEYS = frozenset(name for mode in _MODES for name in (mode, f"{mode}-version"))


@dataclass(frozen=True, slots=True)
class PodSecurityConfiguration:
    """See the module's text."""

    defaults: Policy = OPEN
    usernames: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()


def parse(configuration: Mapping[str, Any]) -> PodSecurityConfiguration:
    """The configuration from its decoded file. Raises ``ConfigurationError``."""
    if configuration.get("kind") != KIND or not str(configuration.get("apiVersion")).startswith(_GROUP):
        raise ConfigurationError(f"the configuration of PodSecurity must be a {KIND} of {_GROUP}v1")
    exemptions = configuration.get("exemptions") or {}
    usernames = _names(exemptions, "usernames")
    runtime_classes = _names(exemptions, "runtimeClasses")
    namespaces = _names(exemptions, "namespaces")
    for name in usernames:
        if not name:
            raise ConfigurationError("PodSecurity: exemptions.usernames: username must not be empty")
    for field, names, check in (
        ("runtimeClasses", runtime_classes, dns_subdomain),
        ("namespaces", namespaces, dns_label),
    ):
        for name in names:
            if problems := check(name):
                raise ConfigurationError(f"PodSecurity: exemptions.{field}: {quote(name)}: {problems[0]}")
    return PodSecurityConfiguration(
        _defaults(configuration.get("defaults") or {}), usernames, runtime_classes, namespaces
    )


def _names(exemptions: Mapping[str, Any], field: str) -> frozenset[str]:
    names = exemptions.get(field) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"PodSecurity: exemptions.{field}: must be a list of names")
    if len(set(names)) < len(names):
        raise ConfigurationError(f"PodSecurity: exemptions.{field}: a name is there twice")
    return frozenset(names)


def _defaults(defaults: Mapping[str, Any]) -> Policy:
    if unknown := sorted(set(defaults) - _KEYS):
        raise ConfigurationError(f"PodSecurity: defaults: unknown field {quote(unknown[0])}")
    labels = {PREFIX + name: str(value) for name, value in defaults.items() if value}
    # All levels are said, so that none is taken from another mode.
    for mode in _MODES:
        labels.setdefault(PREFIX + mode, "privileged")
    policy, problems = policy_of(labels)
    if problems:
        where = problems[0].field.rpartition("[")[2].removeprefix(PREFIX).removesuffix("]")
        raise ConfigurationError(f"PodSecurity: defaults.{where}: {problems[0].body}")
    return policy
