"""ResourceQuotaConfiguration: what may be used only where a quota says how much of it.

apiVersion: apiserver.config.k8s.io/v1
kind: ResourceQuotaConfiguration
limitedResources:
- resource: pods
  matchScopes: [{scopeName: PriorityClass, operator: In, values: [critical]}]
- resource: persistentvolumeclaims
  matchContains: [gold.storageclass.storage.k8s.io]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from coxswain.api.names import Object
from coxswain.api.quota.scopes import in_scopes
from coxswain.base.errors import ConfigurationError

KIND = "ResourceQuotaConfiguration"


@dataclass(frozen=True, slots=True)
class Limited:
    """One limited resource. ``source`` is written as ``api.quota.names`` writes sources."""

    source: str
    contains: tuple[str, ...] = ()
    scopes: tuple[Object, ...] = ()

    def names(self, usage: Iterable[str]) -> set[str]:
        """What of the usage must be limited by some quota."""
        return {name for name in usage if any(part in name for part in self.contains)}

    def matching(self, scopes: Mapping[str, str]) -> list[Object]:
        """The scopes of the configuration that an object is in."""
        return [scope for scope in self.scopes if _is_in(scope, scopes)]


def parse(configuration: Mapping[str, Any]) -> tuple[Limited, ...]:
    """The limited resources from the decoded file. Raises ``ConfigurationError``."""
    if configuration.get("kind") not in (KIND, "Configuration"):
        raise ConfigurationError(f"the configuration of ResourceQuota must be a {KIND}")
    found: list[Limited] = []
    for position, one in enumerate(configuration.get("limitedResources") or ()):
        if not isinstance(one, dict) or not one.get("resource"):
            raise ConfigurationError(f"ResourceQuota: limitedResources[{position}].resource: Required value")
        group, resource = one.get("apiGroup") or "", str(one["resource"])
        found.append(
            Limited(
                f"{resource}.{group}" if group else resource,
                tuple(map(str, one.get("matchContains") or ())),
                tuple(one.get("matchScopes") or ()),
            )
        )
    return tuple(found)


def uncovered(
    limited: Iterable[Limited], scopes: Mapping[str, str], usage: Iterable[str], quotas: list[Object]
) -> str:
    """Why a request must be refused for want of a quota; empty if it need not.

    ``quotas`` are those that count the object.
    """
    usage = set(usage)
    covered = {name for quota in quotas for name in (quota.get("status") or {}).get("hard") or {}}
    names = sorted(set().union(*(one.names(usage) for one in limited)) - covered)
    if names:
        return f"insufficient quota to consume: {','.join(names)}"
    said = [selector for quota in quotas for selector in _selectors(quota) if _is_in(selector, scopes)]
    missing = [scope for one in limited for scope in one.matching(scopes) if not _covers(said, scope)]
    if missing:
        return f"insufficient quota to match these scopes: [{' '.join(map(_shown, missing))}]"
    return ""


def _is_in(scope: Object, scopes: Mapping[str, str]) -> bool:
    return in_scopes({"spec": {"scopeSelector": {"matchExpressions": [scope]}}}, scopes)


def _selectors(quota: Object) -> list[Object]:
    spec = quota.get("spec") or {}
    plain = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    return plain + list((spec.get("scopeSelector") or {}).get("matchExpressions") or ())


def _covers(said: Iterable[Object], scope: Object) -> bool:
    """Whether some quota speaks of the same scope (the object is in both)."""
    return any(one["scopeName"] == scope["scopeName"] for one in said)


def _shown(scope: Object) -> str:
    values = " ".join(scope.get("values") or ())
    return f"{{{scope['scopeName']} {scope['operator']} [{values}]}}"
