"""Which objects a quota counts: those that are in all of its scopes."""

from __future__ import annotations

from collections.abc import Mapping

from coxswain.api.names import Object

_WITH_CLASSES = ("PriorityClass", "VolumeAttributesClass")


def in_scopes(quota: Object, scopes: Mapping[str, str]) -> bool:
    """Whether a quota counts objects that are in ``scopes``: those that are in all of its own."""
    spec = quota.get("spec") or {}
    if not all(name in scopes for name in spec.get("scopes") or ()):
        return False
    selector = spec.get("scopeSelector") or {}
    return all(_selects(each, scopes) for each in selector.get("matchExpressions") or ())


def _selects(requirement: Object, scopes: Mapping[str, str]) -> bool:
    name: str = requirement["scopeName"]
    operator: str = requirement["operator"]
    if name not in _WITH_CLASSES:
        return name in scopes
    if operator == "In":
        return scopes.get(name) in (requirement.get("values") or ())
    if operator == "NotIn":
        return scopes.get(name) not in (requirement.get("values") or ())
    exists = operator == "Exists"
    return (name in scopes) == exists
