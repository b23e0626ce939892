"""Tables of custom resources: the columns that a CustomResourceDefinition asks for.

A column's ``jsonPath`` is read as kubectl's JSONPath does, without its programs: fields (``.spec.size``,
``['a.b/c']``), indices (``[0]``, ``[-1]``, ``[*]``) and filters on equality (``[?(@.type=="Ready")]``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

import orjson

from coxswain.api.names import Object
from coxswain.api.tables.text import Printer, name, since

_AGE: Final[Object] = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
_Step: TypeAlias = Callable[[Any], Iterator[Any]]

_STEP = re.compile(
    r"""\.(?P<field>(?:[^.\[\\]|\\.)+)
      | \[(?P<index>-?\d+|\*)\]
      | \[['"](?P<quoted>[^'"]+)['"]\]
      | \[\?\(\s*@(?P<path>(?:\.[\w\-/]+)+)\s*==\s*(?P<value>"[^"]*"|'[^']*'|[\w.\-]+)\s*\)\]
    """,
    re.VERBOSE,
)


def custom_columns(columns: Sequence[Object]) -> list[Object]:
    """The column definitions; without any, a custom resource shows its age."""
    definitions = [{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}]
    definitions += [
        {
            "name": column.get("name", ""),
            "type": column.get("type", "string"),
            "format": column.get("format", ""),
            "description": column.get("description", ""),
            "priority": column.get("priority", 0),
        }
        for column in columns or (_AGE,)
    ]
    return definitions


def custom_printer(columns: Sequence[Object]) -> Printer:
    """The cells of these columns; a path that leads nowhere gives null."""
    readers = [
        (column.get("type", "string"), _steps(column.get("jsonPath", ""))) for column in columns or (_AGE,)
    ]

    def cells(obj: Object, now: float) -> list[Any]:
        return [name(obj), *(_cell(kind, _first(obj, steps), now) for kind, steps in readers)]

    return cells


_MISSING: Final = object()


def _first(obj: Object, steps: tuple[_Step, ...] | None) -> Any:
    if steps is None:
        return _MISSING
    values: list[Any] = [obj]
    for step in steps:
        values = [found for value in values for found in step(value)]
    return values[0] if values else _MISSING


def _cell(kind: str, value: Any, now: float) -> Any:
    if value is _MISSING or value is None:
        return None
    if kind == "string":
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    if kind == "date":
        return _date(value, now)
    if kind == "integer":
        return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if kind == "number":
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None
    return value if isinstance(value, bool) else None


def _date(value: Any, now: float) -> str:
    try:
        return since(value, now)
    except (TypeError, ValueError):
        return "<invalid>"


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[_Step, ...] | None:
    """The path compiled; None when it is none of ours."""
    path = path.strip().removeprefix("$")
    steps, position = [], 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            return None
        steps.append(_step(match))
        position = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> _Step:
    groups = match.groupdict()
    if groups["index"] is not None:
        return _element(groups["index"])
    if groups["path"] is not None:
        return _filter(groups["path"].split(".")[1:], groups["value"])
    return _field(groups["quoted"] or groups["field"].replace("\\", ""))


def _field(key: str) -> _Step:
    def read(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and key in value:
            yield value[key]

    return read


def _element(text: str) -> _Step:
    def read(value: Any) -> Iterator[Any]:
        if not isinstance(value, list):
            return
        if text == "*":
            yield from value
        elif -len(value) <= int(text) < len(value):
            yield value[int(text)]

    return read


def _filter(path: list[str], literal: str) -> _Step:
    if literal[0] in "\"'":
        wanted: Any = literal[1:-1]
    else:
        wanted = {"true": True, "false": False}.get(literal, literal)

    def read(value: Any) -> Iterator[Any]:
        for element in value if isinstance(value, list) else ():
            found: Any = element
            for key in path:
                found = found.get(key) if isinstance(found, dict) else None
            if found is not None and (found == wanted or str(found) == wanted):
                yield element

    return read
