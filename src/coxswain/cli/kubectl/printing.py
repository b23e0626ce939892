"""What goes to standard output: aligned tables, YAML, JSON, names, jsonpath, custom columns."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from coxswain.api.names import GVK, Object
from coxswain.cli.kubectl.failures import UsageError

#: Between columns of a table, and the least that a column takes (with that space).
PADDING, MIN_WIDTH = 3, 6
_FORMATS = "custom-columns,json,jsonpath,name,wide,yaml"


# --- tables -----------------------------------------------------------------------------------------------


class TableWriter:
    """Lines of a table; columns stay as wide as they were once (a watch goes on below its list)."""

    def __init__(self) -> None:
        self._widths: list[int] = []

    def text(self, rows: Sequence[Sequence[str]]) -> str:
        """The rows, aligned; the last column is left as it is."""
        for row in rows:
            for column, cell in enumerate(row[:-1]):
                width = max(len(cell) + PADDING, MIN_WIDTH)
                if column == len(self._widths):
                    self._widths.append(width)
                elif width > self._widths[column]:
                    self._widths[column] = width
        return "".join(self._line(row) for row in rows)

    def _line(self, row: Sequence[str]) -> str:
        padded = [cell.ljust(self._widths[column]) for column, cell in enumerate(row[:-1])]
        return "".join([*padded, row[-1] if row else "", "\n"])


class TableView:
    """How a server's Table is shown: which columns, with which additions."""

    def __init__(
        self,
        *,
        wide: bool = False,
        namespace: bool = False,
        kind: str = "",
        show_labels: bool = False,
        label_columns: Sequence[str] = (),
    ) -> None:
        """``kind`` is put before every name (``pod`` gives ``pod/a``)."""
        self.wide, self.namespace, self.kind = wide, namespace, kind
        self.show_labels, self.label_columns = show_labels, label_columns
        self._columns: list[Object] = []

    def learn(self, table: Object) -> None:
        """Take the columns of a table (a watch sends them with the first event only)."""
        self._columns = table.get("columnDefinitions") or self._columns

    def header(self) -> list[str]:
        """The names of the columns."""
        shown = [str(column["name"]).upper() for column in self._columns if self._is_shown(column)]
        shown += [name.rpartition("/")[2].upper() for name in self.label_columns]
        if self.show_labels:
            shown.append("LABELS")
        return ["NAMESPACE", *shown] if self.namespace else shown

    def row(self, row: Object) -> list[str]:
        """The cells of a row."""
        meta = (row.get("object") or {}).get("metadata") or {}
        cells = [
            self._named(column, _cell(value))
            for column, value in zip(self._columns, row["cells"], strict=False)
            if self._is_shown(column)
        ]
        labels = meta.get("labels") or {}
        cells += [labels.get(name, "") or "" for name in self.label_columns]
        if self.show_labels:
            cells.append(",".join(f"{key}={labels[key]}" for key in sorted(labels)) or "<none>")
        return [meta.get("namespace") or "", *cells] if self.namespace else cells

    def _is_shown(self, column: Object) -> bool:
        return self.wide or not column.get("priority")

    def _named(self, column: Object, text: str) -> str:
        return f"{self.kind}/{text}" if self.kind and column.get("format") == "name" else text


def _cell(value: Any) -> str:
    """A cell's text; what follows a line's end is only hinted at."""
    if isinstance(value, str):
        for position, char in enumerate(value):
            if char in "\f\n\r":
                return value[:position] + "..."
        return value
    return go_text(value)


def go_text(value: Any) -> str:
    """A value as Go's ``%v`` prints it."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_text, value)) + "]"
    return str(value)


# --- whole objects ----------------------------------------------------------------------------------------


def to_json(obj: Any) -> str:
    """As kubectl prints it: sorted keys, four spaces, and Go's care for HTML."""
    text = json.dumps(obj, indent=4, sort_keys=True, ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        if char in text:
            text = text.replace(char, f"\\u{ord(char):04x}")
    return text + "\n"


def to_yaml(obj: Any) -> str:
    """As kubectl prints it: sorted keys, block style."""
    from coxswain.api import yamlio

    return yamlio.dumps(obj)


def object_name(obj: Object) -> str:
    """``deployment.apps/web``."""
    gvk = GVK.of(obj)
    kind = gvk.kind.lower()
    name = (obj.get("metadata") or {}).get("name") or ""
    return f"{kind}.{gvk.group}/{name}" if gvk.group else f"{kind}/{name}"


def without_managed_fields(obj: Object) -> Object:
    """The object (or list) without ``metadata.managedFields``; nothing is changed in place."""
    if isinstance(obj.get("items"), list):
        return {**obj, "items": [without_managed_fields(item) for item in obj["items"]]}
    meta = obj.get("metadata")
    if not isinstance(meta, dict) or "managedFields" not in meta:
        return obj
    return {**obj, "metadata": {key: value for key, value in meta.items() if key != "managedFields"}}


#: Prints objects, one after another.
Printer = Callable[[Object], None]


def printer(
    output: str,
    *,
    managed_fields: bool = False,
    headers: bool = True,
    write: Callable[[str], Any] | None = None,
) -> Printer | None:
    """What prints whole objects as ``output`` says; None where that is a table. Raises ``UsageError``."""
    if output in ("", "wide"):
        return None
    emit = write or sys.stdout.write
    render = _renderer(output, headers)
    strip = not managed_fields and output in ("json", "yaml")

    def show(obj: Object) -> None:
        emit(render(without_managed_fields(obj) if strip else obj))

    return show


def _renderer(output: str, headers: bool) -> Callable[[Object], str]:
    style, _, argument = output.partition("=")
    if output == "json":
        return to_json
    if output == "yaml":
        return _Documents()
    if output == "name":
        return lambda obj: "".join(f"{object_name(one)}\n" for one in _each(obj))
    if style == "jsonpath":
        return _jsonpath(argument)
    if style == "custom-columns":
        return CustomColumns(argument, headers)
    raise UsageError(
        f'unable to match a printer suitable for the output format "{output}", allowed formats are: {_FORMATS}'
    )


class _Documents:
    """YAML, with a line between documents."""

    def __init__(self) -> None:
        self._printed = False

    def __call__(self, obj: Object) -> str:
        separator = "---\n" if self._printed else ""
        self._printed = True
        return separator + to_yaml(obj)


def _each(obj: Object) -> Iterable[Object]:
    items = obj.get("items")
    return items if isinstance(items, list) else [obj]


def _jsonpath(text: str) -> Callable[[Object], str]:
    from coxswain.cli.kubectl import jsonpath

    if not text:
        raise UsageError("template format specified but no template given")
    template = jsonpath.parse(text)
    return lambda obj: jsonpath.evaluate(template, obj)


class CustomColumns:
    """``NAME:.metadata.name,IMAGE:.spec.containers[0].image``."""

    def __init__(self, spec: str, headers: bool = True) -> None:
        from coxswain.cli.kubectl import jsonpath

        if not spec:
            raise UsageError("custom-columns format specified but no custom columns given")
        self._values = jsonpath.values
        self._columns: list[tuple[str, Any]] = []
        for part in spec.split(","):
            name, colon, path = part.partition(":")
            if not colon:
                raise UsageError(
                    f"unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"
                )
            self._columns.append((name, jsonpath.parse_path(path)))
        self._headers = headers
        self._writer = TableWriter()

    def __call__(self, obj: Object) -> str:
        rows = [[self._value(path, one) for _, path in self._columns] for one in _each(obj)]
        if self._headers:
            rows.insert(0, [name for name, _ in self._columns])
            self._headers = False
        return self._writer.text(rows)

    def _value(self, path: Any, obj: Object) -> str:
        found = self._values(path, obj)
        return ",".join("<none>" if one is None else go_text(one) for one in found) or "<none>"


def list_of(items: Sequence[Object]) -> Object:
    """Several objects as one ``List``."""
    return {"apiVersion": "v1", "items": list(items), "kind": "List", "metadata": {"resourceVersion": ""}}


# --- sorting ----------------------------------------------------------------------------------------------


def sort_objects(items: Sequence[Any], by: str, obj: Callable[[Any], Mapping[str, Any]]) -> list[Any]:
    """``items`` sorted by the path ``by`` of ``obj(item)``; those without a value come first."""
    from coxswain.cli.kubectl import jsonpath

    path = jsonpath.parse_path(by)
    keyed = [(jsonpath.values(path, obj(item)), item) for item in items]
    if keyed and not any(found for found, _ in keyed):
        raise UsageError(f'couldn\'t find any field with path "{_braced(by)}" in the list of objects')
    return [item for _, item in sorted(keyed, key=lambda pair: _sort_key(pair[0]))]


def _braced(path: str) -> str:
    return path if path.startswith("{") else "{." + path.lstrip(".") + "}"


def _sort_key(found: list[Any]) -> tuple[Any, ...]:
    if not found or found[0] is None:
        return (0,)
    value = found[0]
    if isinstance(value, bool | int | float):
        return (1, value)
    if isinstance(value, str):
        quantity = _quantity(value)
        return (2, _natural(value)) if quantity is None else (1, quantity)
    return (3, go_text(value))


def _quantity(text: str) -> float | None:
    from coxswain.api.quantity import Quantity

    if not text[:1].isdigit() and text[:1] not in ("+", "-", "."):
        return None
    try:
        return Quantity.parse(text).milli() / 1000
    except ValueError:
        return None


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Digits compare as numbers: ``pod-2`` comes before ``pod-10``."""
    import re

    return [
        (0, int(part), part) if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part
    ]
