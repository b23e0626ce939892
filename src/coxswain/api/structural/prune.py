"""Pruning: fields that the schema does not have are dropped, and told if somebody asks.

    prune(obj, schema) -> paths of what was dropped, sorted

``apiVersion``, ``kind`` and ``metadata`` of the root and of embedded resources stay (their inside is the business of
``metadata``). Below ``x-kubernetes-preserve-unknown-fields`` everything stays, but specified properties are pruned
again. The rules are those of apiextensions' ``schema/pruning``.
"""

from __future__ import annotations

from typing import Any

from coxswain.api.fields import child, index
from coxswain.api.names import Object
from coxswain.api.structural.model import META_FIELDS, Structural


def prune(obj: Object, schema: Structural) -> list[str]:
    """Drop unknown fields of a whole object in place; their paths."""
    unknown: list[str] = []
    _prune(obj, schema, "", unknown, True)
    unknown.sort()
    return unknown


def prune_value(value: Any, schema: Structural) -> list[str]:
    """The same for a value inside an object (a default)."""
    unknown: list[str] = []
    _prune(value, schema, "", unknown, False)
    unknown.sort()
    return unknown


def _prune(value: Any, schema: Structural | None, path: str, unknown: list[str], root: bool) -> None:
    if type(value) is dict:
        if schema is None:
            unknown += [child(path, key) for key in value]
            value.clear()
            return
        _prune_object(value, schema, path, unknown, root)
    elif type(value) is list:
        if schema is not None and schema.preserve:
            _skip_list(value, schema, path, unknown)
            return
        items = schema.items if schema is not None else None
        for position, element in enumerate(value):
            if type(element) is dict or type(element) is list:
                _prune(element, items, index(path, position), unknown, False)


def _prune_object(value: Object, schema: Structural, path: str, unknown: list[str], root: bool) -> None:
    properties, additional, embedded = schema.properties, schema.additional, root or schema.embedded
    dropped: list[str] | None = None
    for key, below in value.items():
        if embedded and key in META_FIELDS:
            continue
        known = properties.get(key)
        if known is not None:
            if type(below) is dict or type(below) is list:
                _prune(below, known, f"{path}.{key}" if path else key, unknown, False)
        elif additional is not None:
            if type(below) is dict or type(below) is list:
                inner = additional if isinstance(additional, Structural) else None
                _prune(below, inner, f"{path}.{key}" if path else key, unknown, False)
        elif not schema.preserve:
            dropped = [*dropped, key] if dropped else [key]
    for key in dropped or ():
        del value[key]
        unknown.append(child(path, key))


def _skip_list(value: list[Any], schema: Structural | None, path: str, unknown: list[str]) -> None:
    """Elements of a preserved list: what is specified below is pruned, the rest stays."""
    items = schema.items if schema is not None else None
    if items is None:
        return
    for position, element in enumerate(value):
        below = index(path, position)
        if type(element) is list:
            _skip_list(element, items, below, unknown)
        elif type(element) is dict:
            _skip_object(element, items, below, unknown)


def _skip_object(value: Object, schema: Structural, path: str, unknown: list[str]) -> None:
    for key, below in value.items():
        if schema.embedded and key in META_FIELDS:
            continue
        known = schema.properties.get(key)
        if known is not None:
            _prune(below, known, child(path, key), unknown, False)
        elif schema.additional is not None:
            inner = schema.additional if isinstance(schema.additional, Structural) else None
            _prune(below, inner, child(path, key), unknown, False)
