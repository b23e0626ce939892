"""How this server proves itself to webhooks: a kubeconfig named by a WebhookAdmissionConfiguration.

    apiVersion: apiserver.config.k8s.io/v1
    kind: WebhookAdmissionConfiguration
    kubeConfigFile: /etc/kubernetes/webhooks.kubeconfig

Its users are named after the servers that they are for: ``hooks.example.com:8443``, ``*.example.com``,
``name.namespace.svc``, or ``*`` for all. The first that fits counts, as in apiserver's ``clientConfig``; then the user
of the current context; then nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coxswain.api.fields import quote
from coxswain.base.errors import ConfigurationError
from coxswain.client import kubeconfig
from coxswain.client.kubeconfig import Config

_KINDS = {
    "apiserver.config.k8s.io/v1": "WebhookAdmissionConfiguration",
    "apiserver.config.k8s.io/v1alpha1": "WebhookAdmission",
}
_NOBODY = Config("")


def parse(configuration: Mapping[str, Any]) -> Path | None:
    """The kubeconfig that a configuration names. Raises ``ConfigurationError``."""
    version = str(configuration.get("apiVersion") or "")
    if version not in _KINDS or configuration.get("kind") != _KINDS[version]:
        raise ConfigurationError("expected a WebhookAdmissionConfiguration of apiserver.config.k8s.io/v1")
    for name in configuration:
        if name not in ("apiVersion", "kind", "kubeConfigFile"):
            raise ConfigurationError(f"WebhookAdmissionConfiguration: {name}: unknown field")
    path = str(configuration.get("kubeConfigFile") or "")
    if not path:
        return None
    if not path.startswith("/"):
        why = f"Invalid value: {quote(path)}: must be an absolute file path"
        raise ConfigurationError(f"WebhookAdmissionConfiguration: kubeConfigFile: {why}")
    return Path(path)


class Credentials:
    """The users of a kubeconfig, by the servers that they are for."""

    def __init__(self, path: Path) -> None:
        """Raises ``ConfigurationError``."""
        self._users, self._current = kubeconfig.load_users(path)

    def of(self, server: str) -> Config:
        """Who this server is to ``host:port``: a configuration without a server."""
        for name in _names(server):
            found = self._users.get(name)
            if found is not None:
                return found
        return self._users.get(self._current, _NOBODY)


def _names(server: str) -> Iterator[str]:
    yield from _with_stars(server)
    host, _, port = server.rpartition(":")
    if port == "443":
        yield from _with_stars(host.strip("[]"))
    yield "*"


def _with_stars(name: str) -> Iterator[str]:
    yield name
    steps = name.split(".")
    for first in range(1, len(steps)):
        yield "*." + ".".join(steps[first:])
