"""What of a changed object was what before: the ground of ratcheting (apiserver's ``CorrelatedObject``).

    same(new, old, schema)      nothing changed, as far as the schema can tell
    Elements(old, schema)       finds what an element of a keyed list was

A field is found again by its name, an element of a keyed list by its keys; elements of other lists are not, such a
list is one value. What a schema says nothing about (free fields) counts as changed. The order of keyed lists does not
count.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

_SCALARS = (str, bool, int, float)


class Elements:
    """The elements of the list that was there before."""

    def __init__(self, old: Any, schema: Mapping[str, Any]) -> None:
        self._keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
        keyed = schema.get("x-kubernetes-list-type") == "map" and self._keys and isinstance(old, list)
        self._known: dict[Hashable, Any] = {}
        for element in old if keyed else ():
            key = self._key_of(element)
            if key is not None:
                self._known.setdefault(key, element)

    def find(self, element: Any) -> Any:
        """What ``element`` was; None where nobody can tell."""
        if not self._known:
            return None
        key = self._key_of(element)
        return self._known.get(key) if key is not None else None

    def _key_of(self, element: Any) -> Hashable | None:
        if not isinstance(element, dict):
            return None
        found: list[tuple[type, Any]] = []
        for name in self._keys:
            value = element.get(name)
            if not isinstance(value, _SCALARS):
                return None
            found.append((type(value), value))
        return tuple(found)


def same(new: Any, old: Any, schema: Mapping[str, Any]) -> bool:
    """Whether nothing changed. ``schema`` is a JSONSchemaProps."""
    if new is None or old is None:
        return new is old
    if type(new) is not type(old):
        return False
    if isinstance(new, dict):
        return _same_fields(new, old, schema)
    if isinstance(new, list) and schema.get("x-kubernetes-list-type") == "map":
        items = schema.get("items")
        if len(new) != len(old) or (new and not isinstance(items, dict)):
            return False
        elements = Elements(old, schema)
        return all(
            (found := elements.find(value)) is not None and same(value, found, items or {}) for value in new
        )
    return bool(new == old)


def _same_fields(new: dict[str, Any], old: dict[str, Any], schema: Mapping[str, Any]) -> bool:
    if len(new) != len(old):
        return False
    properties, free = schema.get("properties") or {}, schema.get("additionalProperties")
    for name, value in new.items():
        below = properties.get(name, free)
        if name not in old or not isinstance(below, Mapping) or not same(value, old[name], below):
            return False
    return True


def is_closed(schema: Mapping[str, Any]) -> bool:
    """Whether a pruned value has no field that the schema says nothing about: then equal values are the same."""
    if schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource"):
        return False
    below = [*(schema.get("properties") or {}).values()]
    for part in (schema.get("additionalProperties"), schema.get("items")):
        if isinstance(part, Mapping):
            below.append(part)
        elif part:
            return False
    if schema.get("type") == "object" and not below:
        return True
    return all(is_closed(part) for part in below)
