"""Warnings about CustomResourceDefinitions: formats that nobody checks, sets of what cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from coxswain.api import stringformats
from coxswain.api.fields import quote
from coxswain.api.names import Object


def warn_about_definition(definition: Object, out: list[str]) -> None:
    """Add what the author of a definition should be told."""
    sets: set[str] = set()
    seen: list[Any] = []
    for version in (definition.get("spec") or {}).get("versions") or ():
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None or schema in seen:
            continue
        seen.append(schema)
        for node in _nodes(schema):
            kind, name = str(node.get("type") or ""), str(node.get("format") or "")
            if name and not stringformats.normalized(kind, name):
                out.append(f"unrecognized format {quote(name)}")
            items: Mapping[str, Any] = node["items"] if isinstance(node.get("items"), dict) else {}
            compound = items.get("type") in ("object", "array")
            if node.get("x-kubernetes-list-type") == "set" and compound:
                sets.add(
                    f"x-kubernetes-list-type: set for items of type {quote(items['type'])} is not supported by "
                    "server-side apply or CEL validation rules"
                )
    out += sorted(sets)


def _nodes(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    pending: list[Any] = [schema]
    while pending:
        node = pending.pop()
        if not isinstance(node, dict):
            continue
        yield node
        pending += (node.get("properties") or {}).values()
        pending += [node.get(name) for name in ("items", "additionalProperties", "not")]
        for name in ("allOf", "anyOf", "oneOf"):
            pending += node.get(name) or ()
