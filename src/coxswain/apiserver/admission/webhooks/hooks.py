"""Webhook configurations, compiled: read again only when one of them has changed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from coxswain.api.names import GVR, Object
from coxswain.api.selectors import Selector
from coxswain.apiserver.admission.scope import compile_selector
from coxswain.apiserver.admission.webhooks.conditions import Conditions
from coxswain.apiserver.admission.webhooks.rules import Rule, compile_rules, is_exempt
from coxswain.apiserver.lookup import Lookup

GROUP = "admissionregistration.k8s.io"
MUTATING = GVR(GROUP, "v1", "mutatingwebhookconfigurations")
VALIDATING = GVR(GROUP, "v1", "validatingwebhookconfigurations")

_DEFAULT_TIMEOUT = 10
#: Kinds of requests for which it is remembered what webhooks they concern.
_MOST_REMEMBERED = 4096


@dataclass(frozen=True)
class Hook:
    """One webhook of one configuration. ``position`` is its place in it; ``timeout`` in seconds."""

    name: str
    configuration: str
    position: int
    rules: tuple[Rule, ...]
    equivalent: bool
    namespaces: Selector | None
    objects: Selector | None
    conditions: Conditions
    fails_open: bool
    side_effects: str
    timeout: float
    reviews: tuple[str, ...]
    reinvoked: bool
    client: Object

    @property
    def uid(self) -> str:
        """What tells it from all others of its kind."""
        return f"{self.configuration}/{self.name}/{self.position}"

    @cached_property
    def ca_bundle(self) -> bytes:
        """The PEM certificates that its server is verified with; empty: those of the system."""
        try:
            return base64.b64decode(self.client.get("caBundle") or "")
        except (binascii.Error, ValueError):
            return b""

    def could_match(self, operation: str, resource: GVR, subresource: str, others: Iterable[GVR]) -> bool:
        """Whether the hook may have to be asked about such requests; ``others`` are equivalent resources."""
        if any(rule.could_match(operation, resource, subresource, any_version=False) for rule in self.rules):
            return True
        if not self.equivalent:
            return False
        # Versions of custom resources come and go: any version of the same resource is reason to look closer.
        return any(
            rule.could_match(operation, candidate, subresource, any_version=True)
            for candidate in (resource, *others)
            for rule in self.rules
        )


def compile_hooks(configurations: Iterable[Object]) -> tuple[Hook, ...]:
    """All webhooks: configurations by name, and theirs in order."""
    ordered = sorted(configurations, key=lambda one: str(one["metadata"]["name"]))
    return tuple(
        _compile(hook, str(one["metadata"]["name"]), position)
        for one in ordered
        for position, hook in enumerate(one.get("webhooks") or ())
    )


def _compile(hook: Object, configuration: str, position: int) -> Hook:
    fails_open = hook.get("failurePolicy") == "Ignore"
    return Hook(
        name=hook["name"],
        configuration=configuration,
        position=position,
        rules=compile_rules(hook.get("rules") or ()),
        equivalent=hook.get("matchPolicy", "Equivalent") == "Equivalent",
        namespaces=compile_selector(hook.get("namespaceSelector")),
        objects=compile_selector(hook.get("objectSelector")),
        conditions=Conditions(hook.get("matchConditions") or (), fails_open=fails_open),
        fails_open=fails_open,
        side_effects=hook.get("sideEffects") or "",
        timeout=float(hook.get("timeoutSeconds") or _DEFAULT_TIMEOUT),
        reviews=tuple(hook.get("admissionReviewVersions") or ()),
        reinvoked=hook.get("reinvocationPolicy") == "IfNeeded",
        client=hook.get("clientConfig") or {},
    )


class HookSource:
    """The hooks of all configurations of one resource, as of now."""

    def __init__(self, lookup: Lookup, configurations: GVR) -> None:
        self._lookup = lookup
        self._configurations = configurations
        self._generation = -1
        self._hooks: tuple[Hook, ...] = ()
        self._concerned: dict[tuple[str, GVR, str], tuple[tuple[int, Hook], ...]] = {}

    def concerned(
        self, operation: str, resource: GVR, subresource: str, others: Iterable[GVR] = ()
    ) -> tuple[tuple[int, Hook], ...]:
        """The hooks (with their place among all) that may have to be asked about such requests."""
        generation = self._lookup.generation(self._configurations)
        if generation != self._generation:
            self._hooks = compile_hooks(self._lookup.list(self._configurations))
            self._generation = generation
            self._concerned.clear()
        key = (operation, resource, subresource)
        found = self._concerned.get(key)
        if found is None:
            found = ()
            if self._hooks and not is_exempt(resource):
                others = tuple(others)
                found = tuple(
                    (place, hook)
                    for place, hook in enumerate(self._hooks)
                    if hook.could_match(operation, resource, subresource, others)
                )
            if len(self._concerned) >= _MOST_REMEMBERED:
                self._concerned.clear()  # custom resources come and go
            self._concerned[key] = found
        return found
