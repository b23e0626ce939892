"""Settings as grouped, frozen dataclasses, read from mappings (flags, YAML) with clear errors.

A room declares its own group; every field's docstring line says unit, default and why:

    @dataclass(frozen=True, slots=True)
    class WatchSettings:
        buffer_bytes: int = 1 << 20
        '''Bytes a watcher may lag behind before it is cut off; 1 MiB holds about 300 pods.'''

``read(WatchSettings, {"buffer_bytes": "2097152"})`` converts text to the field's type, nests groups, and
refuses unknown names with the closest one that exists.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from coxswain.base.errors import ConfigurationError

T = TypeVar("T")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def read(group: type[T], values: Mapping[str, Any], *, at: str = "") -> T:
    """An instance of ``group`` from ``values``; ``at`` is the path that errors name.

    Raises ``ConfigurationError`` for unknown names and for values that do not convert.
    """
    hints = typing.get_type_hints(group)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, group))}
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        key = name.replace("-", "_")
        where = f"{at}.{name}" if at else name
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(fields)}"
            raise ConfigurationError(f"setting {where} is not known{hint}")
        arguments[key] = _convert(hints[key], value, where)
    return group(**arguments)


def _convert(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return read(typing.cast(type[Any], kind), value, at=where)
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        if value is None:
            return None
        kind = next(option for option in typing.get_args(kind) if option is not type(None))
    if not isinstance(value, str) or kind is str:
        return value
    try:
        if kind is bool:
            return _boolean(value)
        if kind in (int, float):
            return kind(value)
    except ValueError:
        raise ConfigurationError(f"setting {where}: {value!r} is not a {kind.__name__}") from None
    return value


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError(text)
