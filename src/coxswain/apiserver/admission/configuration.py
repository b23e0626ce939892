"""The file of ``--admission-control-config-file``: what single admission plugins are told.

apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  path: pod-security.yaml          # beside this file, or absolute
- name: ...
  configuration: {...}             # or right here
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from coxswain.api.fields import quote
from coxswain.apiserver import configfiles
from coxswain.apiserver.admission.pod_security import configuration as pod_security
from coxswain.apiserver.admission.pod_security.configuration import PodSecurityConfiguration
from coxswain.apiserver.admission.quota import limited
from coxswain.apiserver.admission.quota.limited import Limited
from coxswain.apiserver.admission.webhooks import configuration as webhooks
from coxswain.base.errors import ConfigurationError

_WEBHOOKS = ("MutatingAdmissionWebhook", "ValidatingAdmissionWebhook")
KIND = "AdmissionConfiguration"
_VERSIONS = ("apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1")


@dataclass(frozen=True, slots=True)
class AdmissionConfiguration:
    """What the plugins are told; those not named keep to their defaults."""

    pod_security: PodSecurityConfiguration = field(default_factory=PodSecurityConfiguration)
    limited: tuple[Limited, ...] = ()
    #: Kubeconfigs with which webhooks are asked, by the plugin that asks.
    webhooks: Mapping[str, Path] = field(default_factory=dict)


def load(path: Path) -> AdmissionConfiguration:
    """The configuration in the file at ``path``. Raises ``ConfigurationError``."""
    document = _read(path)
    if document.get("kind") != KIND or document.get("apiVersion") not in _VERSIONS:
        raise ConfigurationError(f"{path}: expected a {KIND} of {_VERSIONS[0]}")
    told = AdmissionConfiguration()
    seen: set[str] = set()
    for plugin in document.get("plugins") or ():
        name = str(plugin.get("name") or "") if isinstance(plugin, dict) else ""
        if not name or name in seen:
            raise ConfigurationError(f"{path}: plugins: each needs a name of its own, got {quote(name)}")
        seen.add(name)
        configuration = _of_plugin(path, plugin)
        if configuration is None:
            continue
        try:
            told = _told(told, name, configuration)
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from None
    return told


def _told(
    told: AdmissionConfiguration, name: str, configuration: Mapping[str, Any]
) -> AdmissionConfiguration:
    if name == "PodSecurity":
        return replace(told, pod_security=pod_security.parse(configuration))
    if name == "ResourceQuota":
        return replace(told, limited=limited.parse(configuration))
    if name in _WEBHOOKS:
        path = webhooks.parse(configuration)
        return told if path is None else replace(told, webhooks={**told.webhooks, name: path})
    raise ConfigurationError(f"the admission plugin {quote(name)} takes no configuration")


def _of_plugin(path: Path, plugin: Mapping[str, Any]) -> Mapping[str, Any] | None:
    configuration = plugin.get("configuration")
    if configuration is not None:
        if not isinstance(configuration, dict):
            raise ConfigurationError(f"{path}: the configuration of {plugin['name']} must be an object")
        return configuration
    return _read(path.parent / str(plugin["path"])) if plugin.get("path") else None


def _read(path: Path) -> Mapping[str, Any]:
    document = configfiles.read(path)
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: expected an object")
    return document
