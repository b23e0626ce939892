"""Defaulting: missing fields get the schema's defaults, and nulls that are not allowed give way.

    default(obj, schema)    in place

A null of a field that is not nullable counts as missing: it gets the default, or goes where there is none
(apiextensions' ``schema/defaulting``). Defaults inside of defaults fill in, too.
"""

from __future__ import annotations

from typing import Any

from coxswain.api.names import Object
from coxswain.api.structural.model import Structural, copy_json


def default(obj: Object, schema: Structural) -> None:
    """Drop nulls that may not be, then fill in defaults."""
    _default(obj, schema)


def _default(value: Any, schema: Structural) -> None:
    if type(value) is dict:
        _default_object(value, schema)
    elif type(value) is list and schema.items is not None:
        items = schema.items
        for position, element in enumerate(value):
            if element is None and not items.nullable and items.has_default:
                value[position] = copy_json(items.default)
            if type(element) is dict or type(element) is list or element is None:
                _default(value[position], items)


def _default_object(value: Object, schema: Structural) -> None:
    if None in value.values():
        _drop_nulls(value, schema)
    for name, prop in schema.defaulted:
        if name not in value or (value[name] is None and not prop.nullable):
            value[name] = copy_json(prop.default)
    additional = schema.additional
    for name, below in value.items():
        if type(below) is not dict and type(below) is not list:
            continue
        known = schema.properties.get(name)
        if known is None and isinstance(additional, Structural):
            known = additional
        if known is not None:
            _default(below, known)


def _drop_nulls(value: Object, schema: Structural) -> None:
    """Nulls of fields that are neither nullable nor defaulted go; of values of a map, they take the default."""
    for name in [name for name, below in value.items() if below is None]:
        known = schema.properties.get(name)
        if known is not None:
            if not known.nullable and not known.has_default:
                del value[name]
        elif isinstance(schema.additional, Structural) and not schema.additional.nullable:
            if schema.additional.has_default:
                value[name] = copy_json(schema.additional.default)
            else:
                del value[name]
