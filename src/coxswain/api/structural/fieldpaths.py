"""Paths to fields in schemas: ``.spec.ports['http']``, as rules' ``fieldPath`` and selectable fields have them.

resolve(".spec['a-b']", schema).path       ".spec.a-b"
resolve(".nope", schema)                   None
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

_PART: Final = re.compile(r"\.([^.\[\]']+|'(?:\\.|[^'\\])*')|\['((?:\\.|[^'\\])*)'\]")
_ESCAPE: Final = re.compile(r"\\(.)")
_MEANT: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "'": "'",
    "\\": "\\",
}


class FieldPath(NamedTuple):
    """Where a path leads: written as errors write it, and the schema there."""

    path: str
    schema: Mapping[str, Any]


def resolve(text: str, schema: Mapping[str, Any], *, brackets: bool = True) -> FieldPath | None:
    """Where a path leads in a schema; None where it leads nowhere. ``brackets``: whether ``['x']`` may be said."""
    written, position = "", 0
    while position < len(text):
        found = _PART.match(text, position)
        if found is None or (found[1] is None and not brackets):
            return None
        name = found[1] if found[1] is not None else _unescaped(found[2])
        step = _step(name, schema) if name is not None else None
        if name is None or step is None:
            return None
        written += f"[{name}]" if step[1] else f".{name}"
        schema = step[0]
        position = found.end()
    return FieldPath(written, schema)


def _unescaped(text: str) -> str | None:
    if any(found[1] not in _MEANT for found in _ESCAPE.finditer(text)):
        return None
    return _ESCAPE.sub(lambda found: _MEANT[found[1]], text)


def _step(name: str, schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool] | None:
    """The schema one step down, and whether the step is a map's key."""
    properties, additional = schema.get("properties"), schema.get("additionalProperties")
    if properties:
        found = properties.get(name)
        return (found, False) if isinstance(found, dict) else None
    return (additional, True) if isinstance(additional, dict) else None
