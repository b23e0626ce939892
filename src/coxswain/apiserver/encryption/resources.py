"""Which transformer a storage key has: the rule for its resource, its group, or everything.

Keys are Kubernetes' (``/registry/secrets/default/token``). Those of built-in resources do not say their group, which
a table made from the kinds does; those of custom resources do (``/registry/example.com/boats/default/one``).
"""

from __future__ import annotations

from collections.abc import Mapping

from coxswain.api import kinds
from coxswain.apiserver.encryption.configuration import Configuration, GroupResource, ProviderConfiguration
from coxswain.apiserver.encryption.kms import KmsProvider
from coxswain.apiserver.encryption.providers import Identity, Keyed, Provider, Transformer
from coxswain.apiserver.storage import ROOT, prefix_of


def _built_in() -> dict[str, GroupResource]:
    """Resources by their key prefix. Of those that share one (events), the first, whose storage it is."""
    found: dict[str, GroupResource] = {}
    for resource in kinds.resources():
        gvr = resource.gvr
        found.setdefault(prefix_of(gvr), (gvr.group, gvr.resource))
    return found


class Transformers:
    """The transformers of one configuration. ``start`` before use, ``close`` at the end."""

    def __init__(self, rules: Mapping[GroupResource, Transformer], kms: tuple[KmsProvider, ...] = ()) -> None:
        self.kms = kms
        self._rules = dict(rules)
        self._resources = _built_in()
        self._by_prefix: dict[str, Transformer | None] = {}

    @classmethod
    def of(cls, configuration: Configuration) -> Transformers:
        """Those that a configuration describes. Raises ``ConfigurationError``."""
        # One provider of the file stands behind all resources that its element names.
        made: dict[int, Provider] = {}
        rules = {}
        for name, providers in configuration.resources.items():
            for one in providers:
                if id(one) not in made:
                    made[id(one)] = _make(one)
            rules[name] = Transformer([made[id(one)] for one in providers])
        return cls(rules, tuple(one for one in made.values() if isinstance(one, KmsProvider)))

    def of_key(self, key: str) -> Transformer | None:
        """The transformer of a storage key; None for a resource that nothing encrypts."""
        first = key.find("/", len(ROOT)) + 1
        prefix = key[:first]
        if prefix not in self._resources:
            prefix = key[: key.find("/", first) + 1]
        try:
            return self._by_prefix[prefix]
        except KeyError:
            found = self._by_prefix[prefix] = self._find(prefix)
            return found

    def _find(self, prefix: str) -> Transformer | None:
        known = self._resources.get(prefix)
        if known is None:
            # A custom resource: its group and name are the path.
            group, _, resource = prefix.removeprefix(ROOT).rstrip("/").partition("/")
            known = (group, resource)
        for name in (known, (known[0], "*"), ("*", "*")):
            if name in self._rules:
                return self._rules[name]
        return None

    async def start(self) -> None:
        """Ask KMS plugins for their keys. Raises ``ResourceUnavailable``."""
        for provider in self.kms:
            await provider.start()

    async def close(self) -> None:
        """End what talks to KMS plugins. Idempotent."""
        for provider in self.kms:
            await provider.close()


def _make(configuration: ProviderConfiguration) -> Provider:
    if configuration.kms is not None:
        return KmsProvider(configuration.kms)
    if configuration.kind == "identity":
        return Identity()
    return Keyed(configuration.kind, configuration.keys)
