"""Lists that are sets or maps: each element, or each combination of keys, once (``x-kubernetes-list-type``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from coxswain.api.fields import Errors, child, duplicate, index, invalid, key
from coxswain.api.structural.model import Structural


def check_unique(value: Any, schema: Structural, path: str = "") -> Errors:
    """The duplicates in every set and map of a value."""
    errors: Errors = []
    if schema.any_unique:
        _check(value, schema, path, errors)
    return errors


def _check(value: Any, schema: Structural, path: str, errors: Errors) -> None:
    if type(value) is dict:
        if isinstance(schema.additional, Structural) and schema.additional.any_unique:
            for name, below in value.items():
                _check(below, schema.additional, key(path, name), errors)
        for name, below in value.items():
            known = schema.properties.get(name)
            if known is not None and known.any_unique:
                _check(below, known, child(path, name), errors)
    elif type(value) is list:
        if schema.list_type == "set":
            for position in _repeated(value):
                errors.append(duplicate(index(path, position), value[position]))
        elif schema.list_type == "map":
            _check_map(value, schema, path, errors)
        if schema.items is not None and schema.items.any_unique:
            for position, element in enumerate(value):
                _check(element, schema.items, index(path, position), errors)


def _check_map(value: list[Any], schema: Structural, path: str, errors: Errors) -> None:
    for position, element in enumerate(value):
        if element is not None and type(element) is not dict:
            why = "must be an object for an array of list-type map"
            errors.append(invalid(index(path, position), element, why))
            return
    keys = [{name: item[name] for name in schema.list_keys if name in item} for item in map(_object, value)]
    for position in _repeated(keys):
        errors.append(duplicate(index(path, position), keys[position]))


def _object(element: Any) -> Mapping[str, Any]:
    return element if element is not None else {}


def _repeated(values: list[Any]) -> list[int]:
    """The position of each value's second appearance."""
    if len(values) < 2:
        return []
    seen: dict[bytes, int] = {}
    found: list[int] = []
    for position, value in enumerate(values):
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        count = seen.get(text, 0)
        seen[text] = count + 1
        if count == 1:
            found.append(position)
    return found
