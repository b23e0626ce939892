"""Random objects of any built-in type, made from the schema tables."""

from __future__ import annotations

import random
from typing import Any

from coxswain.api import schema
from coxswain.api.schema import Field, Type

_SCALARS: dict[str, list[Any]] = {
    "string": ["a", "web", "Zürich", "x" * 200],
    "boolean": [True],
    "number": [0.5, 2.25],
    "bytes": ["YQ==", "AAECAw=="],
    "time": ["2020-01-02T03:04:05Z", "1999-12-31T23:59:59Z"],
    "microtime": ["2020-01-02T03:04:05.000001Z", "2024-02-29T00:00:00.123456Z"],
    "quantity": ["1", "100m", "1Gi", "5k", "-3"],
    "intorstring": [80, "http", 1, "25%"],
    "object": [{"a": {"b": [1, "x", None]}}],
}
_ANY: dict[str, list[Any]] = {
    "JSON": [{"a": 1}, "text", 5, [1, 2]],
    "JSONSchemaPropsOrArray": [{"type": "string"}, [{"type": "string"}, {"type": "integer"}]],
    "JSONSchemaPropsOrBool": [True, False, {"type": "object"}],
    "JSONSchemaPropsOrStringArray": [["a", "b"], {"type": "string"}],
}


def sample(kind: Type, rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """An object with about half of its optional fields, in the form that encoding would leave as it is."""
    obj: dict[str, Any] = {}
    for name, found in kind.fields.items():
        if name in ("apiVersion", "kind") and (kind.gvks or not found.number):
            continue
        if rng.random() < (0.6 if depth < 3 else 0.25):
            obj[name] = value(found, rng, depth)
    return obj


def value(found: Field, rng: random.Random, depth: int) -> Any:
    """A non-empty value for one field."""
    if found.kind == "ref":
        if depth > 6:
            return {}
        return sample(found.ref, rng, depth + 1)
    if found.kind == "array":
        assert found.element is not None
        return [value(found.element, rng, depth + 1) for _ in range(rng.randint(1, 2))]
    if found.kind == "map":
        assert found.element is not None
        return {f"k{number}": value(found.element, rng, depth + 1) for number in range(rng.randint(1, 2))}
    if found.kind == "integer":
        limit = 2**31 - 1 if found.format == "int32" else 2**63 - 1
        return rng.choice((1, -1, 443, limit, -limit - 1))
    if found.kind == "any":
        return rng.choice(_ANY[found.ref_name.rpartition(".")[2]])
    return rng.choice(_SCALARS[found.kind])


def kinds_with_types() -> list[Type]:
    """Every type that is a kind of its own."""
    return [found for name in schema.names() if (found := schema.named(name)).gvks]
