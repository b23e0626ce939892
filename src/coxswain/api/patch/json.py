"""JSON patch (RFC 6902), as evanphx/json-patch does it: negative indices count from the end.

Every operation copies the containers on its path and nothing else. What a patch may cost is bounded as in
the API server: the number of operations, and the bytes that ``copy`` may multiply.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from coxswain.api.errors import BadRequest, RequestTooLarge
from coxswain.api.names import Object
from coxswain.api.patch.refusals import rejected, too_deep, wrong_json_type

MAX_OPERATIONS: Final = 10_000
MAX_COPIED_BYTES: Final = 3 * 1024 * 1024


class _DoesNotFitError(Exception):
    """An operation cannot be applied."""


_ABSENT: Final = object()


def json_patch(obj: Object, patch: Any) -> Object:
    """``obj`` after all operations. Raises BadRequest (malformed), Invalid (does not fit), RequestTooLarge."""
    operations = _check(patch)
    document: Any = obj
    copied = 0
    try:
        for operation in operations:
            if operation.get("op") == "copy":
                copied += len(orjson.dumps(_get(document, _pointer(operation, "from"))))
                if copied > MAX_COPIED_BYTES:
                    raise _DoesNotFitError
            document = _apply(document, operation)
    except (_DoesNotFitError, orjson.JSONEncodeError):
        raise rejected() from None
    except RecursionError:
        raise too_deep() from None
    if not isinstance(document, dict):
        raise rejected()
    return document


def _check(patch: Any) -> list[Object]:
    if patch is None:
        return []
    if not isinstance(patch, list):
        raise wrong_json_type(patch, "[]handlers.jsonPatchOp")
    if len(patch) > MAX_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        raise RequestTooLarge(f"Request entity is too large: {message}")
    for operation in patch:
        if not isinstance(operation, dict):
            raise wrong_json_type(operation, "handlers.jsonPatchOp")
        for name in ("op", "path", "from"):
            if not isinstance(operation.get(name, ""), str):
                error = wrong_json_type(operation[name], "string").message
                raise BadRequest(error.replace("Go value", f"Go struct field jsonPatchOp.{name}"))
    return patch


def _apply(document: Any, operation: Object) -> Any:
    op = operation.get("op")
    path = _pointer(operation, "path")
    if op == "add":
        return _change(document, path, _inserter(_value(operation)))
    if op == "replace":
        return _change(document, path, _replacer(_value(operation)))
    if op == "remove":
        return _change(document, path, _remover)
    if op == "copy":
        return _change(document, path, _inserter(_get(document, _pointer(operation, "from"))))
    if op == "move":
        source = _pointer(operation, "from")
        value = _get(document, source)
        return _change(_change(document, source, _remover), path, _inserter(value))
    if op == "test":
        return _test(document, path, operation.get("value"))
    raise _DoesNotFitError


def _pointer(operation: Object, name: str) -> list[str]:
    text = operation.get(name)
    if text is None or (text and not text.startswith("/")):
        raise _DoesNotFitError
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _value(operation: Object) -> Any:
    if "value" not in operation:
        raise _DoesNotFitError
    return operation["value"]


def _test(document: Any, path: list[str], wanted: Any) -> Any:
    try:
        found = _get(document, path)
    except _DoesNotFitError:
        found = None  # a missing value equals null
    if found != wanted or isinstance(found, bool) is not isinstance(wanted, bool):
        raise _DoesNotFitError
    return document


def _position(part: str, length: int) -> int:
    """The index of an existing element."""
    if not part.lstrip("-").isdigit() or (part[0] == "0" and len(part) > 1):
        raise _DoesNotFitError
    position = int(part)
    if position < 0:
        position += length
    if not 0 <= position < length:
        raise _DoesNotFitError
    return position


def _get(document: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(document, dict):
            document = document.get(part, _ABSENT)
            if document is _ABSENT:
                raise _DoesNotFitError
        elif isinstance(document, list):
            document = document[_position(part, len(document))]
        else:
            raise _DoesNotFitError
    return document


#: Changes one container (already a copy) at its last path part; gives the container.
_Editor = Callable[[Any, str | None], Any]


def _change(document: Any, path: list[str], edit: _Editor) -> Any:
    if not path:
        return edit(document, None)
    root = _copy(document)
    container = root
    for part in path[:-1]:
        step: Any = part if isinstance(container, dict) else _position(part, len(container))
        if isinstance(container, dict) and step not in container:
            raise _DoesNotFitError
        container[step] = _copy(container[step])
        container = container[step]
    edit(container, path[-1])
    return root


def _copy(container: Any) -> Any:
    if isinstance(container, dict | list):
        return container.copy()
    raise _DoesNotFitError


def _inserter(value: Any) -> _Editor:
    def insert(container: Any, part: str | None) -> Any:
        if part is None:
            return value
        if isinstance(container, dict):
            container[part] = value
        elif part == "-" or part == str(len(container)):
            container.append(value)
        elif part.startswith("-"):
            # One more than for reading: -1 is behind the last element.
            container.insert(_position(part, len(container) + 1), value)
        else:
            container.insert(_position(part, len(container)), value)
        return container

    return insert


def _replacer(value: Any) -> _Editor:
    def replace(container: Any, part: str | None) -> Any:
        if part is None:
            return value
        if isinstance(container, dict):
            if part not in container:
                raise _DoesNotFitError
            container[part] = value
        else:
            container[_position(part, len(container))] = value
        return container

    return replace


def _remover(container: Any, part: str | None) -> Any:
    if part is None:
        raise _DoesNotFitError
    if isinstance(container, dict):
        if part not in container:
            raise _DoesNotFitError
        del container[part]
    else:
        del container[_position(part, len(container))]
    return container
