"""A structural schema, parsed once from a CustomResourceDefinition's ``openAPIV3Schema``.

The parts that shape an object (properties, items, what is kept, defaulted and merged) become attributes; what only
validates values stays in ``raw``, from which ``validate`` compiles its checks. Where a subtree has nothing to do for a
walk (no defaults, no embedded resources, no sets or maps), a flag says so and the walk stays out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from coxswain.api.names import Object

#: Fields that every object has and no schema may prune.
META_FIELDS: Final = frozenset({"apiVersion", "kind", "metadata"})


@dataclass(slots=True, eq=False)
class Structural:
    """One node. Nodes are shared and never change after ``parse``."""

    raw: Mapping[str, Any]
    #: ``object``, ``array``, ``string`` ... or "" (int-or-string, preserve-unknown-fields).
    type: str = ""
    properties: dict[str, Structural] = field(default_factory=dict)
    items: Structural | None = None
    #: The schema of map values; True: anything is kept as a key, but nothing below it; None: no free keys.
    additional: Structural | bool | None = None
    nullable: bool = False
    #: Whether there is a default, which may itself be null.
    has_default: bool = False
    default: Any = None
    preserve: bool = False
    embedded: bool = False
    int_or_string: bool = False
    list_type: str | None = None
    list_keys: tuple[str, ...] = ()
    map_type: str | None = None
    rules: tuple[Mapping[str, Any], ...] = ()
    #: Whether this node or one below it has defaults / embedded resources / sets or keyed lists / rules.
    any_default: bool = False
    any_embedded: bool = False
    any_unique: bool = False
    any_rules: bool = False
    #: Properties with a default, for the walk that fills them in.
    defaulted: tuple[tuple[str, Structural], ...] = ()

    def children(self) -> Iterator[Structural]:
        """The nodes directly below."""
        yield from self.properties.values()
        if self.items is not None:
            yield self.items
        if isinstance(self.additional, Structural):
            yield self.additional


def free() -> Structural:
    """The schema of a version that has none: everything is kept."""
    return Structural({}, "object", preserve=True)


def parse(raw: Mapping[str, Any]) -> Structural:
    """The structural part of a schema that has passed ``checks``; unknown shapes are read as far as they go."""
    additional = raw.get("additionalProperties")
    node = Structural(
        raw,
        type=str(raw.get("type") or ""),
        properties={name: parse(below) for name, below in (raw.get("properties") or {}).items()},
        items=parse(raw["items"]) if isinstance(raw.get("items"), dict) else None,
        additional=parse(additional) if isinstance(additional, dict) else (True if additional else None),
        nullable=bool(raw.get("nullable")),
        has_default="default" in raw,
        default=raw.get("default"),
        preserve=bool(raw.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(raw.get("x-kubernetes-embedded-resource")),
        int_or_string=bool(raw.get("x-kubernetes-int-or-string")),
        list_type=raw.get("x-kubernetes-list-type"),
        list_keys=tuple(raw.get("x-kubernetes-list-map-keys") or ()),
        map_type=raw.get("x-kubernetes-map-type"),
        rules=tuple(raw.get("x-kubernetes-validations") or ()),
    )
    below = list(node.children())
    node.any_default = node.has_default or any(child.any_default for child in below)
    node.any_embedded = node.embedded or any(child.any_embedded for child in below)
    node.any_unique = node.list_type in ("set", "map") or any(child.any_unique for child in below)
    node.any_rules = bool(node.rules) or any(child.any_rules for child in below)
    node.defaulted = tuple((name, child) for name, child in node.properties.items() if child.has_default)
    return node


def copy_json(value: Any) -> Any:
    """A deep copy of a JSON value."""
    if isinstance(value, dict):
        return {key: copy_json(below) for key, below in value.items()}
    if isinstance(value, list):
        return [copy_json(below) for below in value]
    return value


def lookup(obj: Object, path: tuple[str, ...]) -> Any:
    """The value at a path of plain field names; None where there is none."""
    value: Any = obj
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value
