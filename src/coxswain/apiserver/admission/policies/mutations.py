"""What a mutation makes of an object: an apply configuration merged into it, or a JSON patch.

mutated(mutation, value, obj, type) -> Object          a new object; raises ``MutationError``
"""

from __future__ import annotations

import base64
import datetime
from typing import Any

from coxswain.api import errors, patch
from coxswain.api.cel.admission import JSON_PATCH, OBJECT
from coxswain.api.cel.values import Optional, Struct, text_of
from coxswain.api.managedfields.merge import merge
from coxswain.api.managedfields.shape import (
    ATOMIC,
    DEDUCED,
    KEYED,
    SET,
    MissingKeyError,
    Shape,
    deduce,
    shape_of,
)
from coxswain.api.managedfields.typed import faults, shown
from coxswain.api.names import Object
from coxswain.api.schema import Type
from coxswain.apiserver.admission.policies.compiled import Mutation


class MutationError(Exception):
    """A mutation that cannot be applied; the text is Kubernetes'."""


def mutated(mutation: Mutation, value: Any, obj: Object, type: Type | None) -> Object:  # noqa: A002
    """The changed object; shares with ``obj`` what did not change. Raises ``MutationError``."""
    if mutation.kind == "ApplyConfiguration":
        return _applied(value, obj, type)
    return _patched(value, obj)


# -- apply configurations


def _applied(value: Any, obj: Object, type: Type | None) -> Object:  # noqa: A002
    if not isinstance(value, Struct):
        raise MutationError("unsupported return type from ApplyConfiguration expression")
    _check_names(value, OBJECT)
    applied = {**_plain(value), "apiVersion": obj.get("apiVersion"), "kind": obj.get("kind")}
    shape = shape_of(type)
    if found := faults(type, shape, applied):
        raise MutationError(
            f"error applying patch: failed to convert patch object to typed object: {shown(found)}"
        )
    if atomics := _atomics(shape, applied, ""):
        raise MutationError(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
            + ", ".join(atomics)
        )
    try:
        made: Object = merge(shape, obj, applied)
    except MissingKeyError as error:
        raise MutationError(f"error applying patch: failed to merge patch: {error.message}") from None
    return made


def _atomics(shape: Shape, value: Any, path: str) -> list[str]:
    """The atomic containers that a configuration speaks of."""
    kind = deduce(value) if shape.kind == DEDUCED else shape.kind
    if not isinstance(value, dict | list):
        return []
    if kind == ATOMIC:
        return [path]
    found: list[str] = []
    if isinstance(value, dict):
        for name, below in value.items():
            known = shape.fields.get(name)
            inner = known[1] if known is not None else shape.element
            if inner is not None:
                found += _atomics(inner, below, f"{path}.{name}")
    elif kind in (KEYED, SET) and shape.element is not None:
        for position, below in enumerate(value):
            if isinstance(below, dict | list) and kind == KEYED:
                found += _atomics(shape.element, below, f"{path}[{position}]")
    return found


def _check_names(value: Any, path: str) -> None:
    """Names of structs have to be the paths of the fields that they are given to."""
    problems = _wrong_names(value, path)
    if problems:
        raise MutationError("type mismatch: " + "\n".join(problems))


def _wrong_names(value: Any, path: str) -> list[str]:
    if isinstance(value, list):
        return [problem for each in value for problem in _wrong_names(each, path)]
    if isinstance(value, dict):
        return [problem for each in value.values() for problem in _wrong_names(each, path)]
    if not isinstance(value, Struct):
        return []
    problems = []
    if value.name != path:
        problems.append(
            f'unexpected type name "{value.name}", expected "{path}", which matches field name path from root '
            "Object type"
        )
    for name, below in value.fields.items():
        problems += _wrong_names(below, f"{path}.{name}")
    return problems


# -- JSON patches


def _patched(value: Any, obj: Object) -> Object:
    if not isinstance(value, list):
        raise MutationError("type mismatch: JSONPatchType.expression should evaluate to array")
    operations = [_operation(each) for each in value]
    try:
        made: Object = patch.json_patch(obj, operations)
    except errors.ApiError as error:
        if _is_failed_test(obj, operations):
            return obj  # a test that fails means: leave it as it is
        raise MutationError(f"JSON Patch: {error.message}") from None
    return made


def _is_failed_test(obj: Object, operations: list[Object]) -> bool:
    """Whether it is a test that stops the patch: all before it goes, and it does not."""
    for position, operation in enumerate(operations):
        try:
            patch.json_patch(obj, operations[: position + 1])
        except errors.ApiError:
            return bool(operation.get("op") == "test")
    return False


def _operation(value: Any) -> Object:
    if not isinstance(value, Struct) or value.name != JSON_PATCH:
        raise MutationError("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch")
    made: Object = {name: value.fields.get(name, "") for name in ("op", "path")}
    if value.fields.get("from"):
        made["from"] = value.fields["from"]
    if "value" in value.fields:
        given = value.fields["value"]
        if isinstance(given, Struct):
            _check_names(given, given.name)
        made["value"] = _plain(given)
    return made


# -- values as JSON


def _plain(value: Any) -> Any:
    """A CEL value as JSON."""
    if isinstance(value, Struct):
        return {name: _plain(below) for name, below in value.fields.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise MutationError("map keys of objects have to be strings")
        return {key: _plain(below) for key, below in value.items()}
    if isinstance(value, Optional):
        return _plain(value.value) if value.present else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if value is None or isinstance(value, bool | int | float | str):
        return int(value) if type(value) not in (bool, float, str, int) and isinstance(value, int) else value
    if isinstance(value, datetime.datetime | datetime.timedelta):
        return text_of(value)
    raise MutationError("JSONPath valueExpression evaluated to a type that could not marshal to JSON")
