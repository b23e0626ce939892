"""The sheet that a description is written on: tabbed lines, aligned as Go's tabwriter aligns them.

Lines are indented by two spaces a level. A tab ends a cell; cells that stand in adjacent lines in the same
column get one width. ``flush`` ends a block: what follows is aligned on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from email.utils import format_datetime
from typing import Any

from coxswain.api.names import Object

NONE, UNSET, UNKNOWN = "<none>", "<unset>", "<unknown>"
_SKIPPED = "kubectl.kubernetes.io/last-applied-configuration"
_PADDING, _LONGEST = 2, 140


class Sheet:
    """Collects lines; ``text`` is the description."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._waiting: list[str] = []

    def line(self, text: str, level: int = 0) -> None:
        """One line (or several, with line ends inside: only the first is indented)."""
        self._waiting.append("  " * level + text)

    def row(self, name: str, value: Any, level: int = 0) -> None:
        """``Name:  value``."""
        self.line(f"{name}:\t{value}", level)

    def lines(self, name: str, values: Sequence[str], indent: str = "") -> None:
        """A name and values below each other, or ``<none>``."""
        for position, value in enumerate(values or [NONE]):
            self.line(f"{indent}{name}:\t{value}" if not position else f"{indent}\t{value}")

    def labels(self, name: str, labels: Mapping[str, str] | None) -> None:
        """``key=value`` below each other."""
        self.lines(name, [f"{key}={value}" for key, value in sorted((labels or {}).items())])

    def annotations(self, name: str, annotations: Mapping[str, str] | None) -> None:
        """Annotations; long or many-lined ones below their key. What apply notes is left out."""
        shown = sorted((key, value) for key, value in (annotations or {}).items() if key != _SKIPPED)
        if not shown:
            self.row(name, NONE)
        for position, (key, value) in enumerate(shown):
            head = "" if position else f"{name}:"
            value = value.removesuffix("\n")
            if len(key) + len(value) + 2 <= _LONGEST and "\n" not in value:
                self.line(f"{head}\t{key}: {value}")
                continue
            self.line(f"{head}\t{key}:")
            for part in value.split("\n"):
                self.line(f"\t  {part[: _LONGEST - 2] + '...' if len(part) > _LONGEST - 2 else part}")

    def head(self, obj: Object, *, namespaced: bool = True) -> None:
        """Name and namespace."""
        self.row("Name", obj["metadata"]["name"])
        if namespaced:
            self.row("Namespace", obj["metadata"].get("namespace") or "")

    def meta(self, obj: Object) -> None:
        """Labels and annotations."""
        self.labels("Labels", obj["metadata"].get("labels"))
        self.annotations("Annotations", obj["metadata"].get("annotations"))

    def controller(self, obj: Object) -> None:
        """Who manages the object."""
        for owner in obj["metadata"].get("ownerReferences") or ():
            if owner.get("controller"):
                self.row("Controlled By", f"{owner['kind']}/{owner['name']}")

    def table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A table below a name, its columns underlined."""
        self.line(f"{name}:")
        self.line("\t".join(columns), 1)
        self.line("\t".join("-" * len(column) for column in columns), 1)
        for row in rows:
            self.line("\t".join(map(str, row)), 1)

    def flush(self) -> None:
        """End the block."""
        cells = [line.split("\t") for text in self._waiting for line in text.split("\n")]
        self._done += align(cells, _PADDING)
        self._waiting.clear()

    def text(self) -> str:
        """Everything that was written."""
        self.flush()
        return "".join(f"{line}\n" for line in self._done)


def align(lines: Sequence[Sequence[str]], padding: int) -> list[str]:
    """Elastic tabstops: every cell but the last of a line is as wide as its column's block."""
    made = [""] * len(lines)

    def block(first: int, end: int, column: int, widths: list[int]) -> None:
        at = first
        while at < end:
            if column >= len(lines[at]) - 1:
                made[at] = _joined(lines[at], widths)
                at += 1
                continue
            stop, width = at, 0
            while stop < end and column < len(lines[stop]) - 1:
                width = max(width, len(lines[stop][column]) + padding)
                stop += 1
            block(at, stop, column + 1, [*widths, width])
            at = stop

    block(0, len(lines), 0, [])
    return made


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)) + cells[-1]


def moment(timestamp: Any) -> str:
    """A time as ``Sat, 21 Nov 2026 03:40:31 +0000``, in the time zone of this machine."""
    from datetime import datetime

    if not timestamp:
        return "Mon, 01 Jan 0001 00:00:00 +0000"
    return format_datetime(datetime.fromisoformat(str(timestamp)).astimezone())


def ago(timestamp: Any) -> str:
    """How long ago: ``5m``, ``<unknown>``."""
    from coxswain.api.tables.text import since
    from coxswain.base import clock

    return since(timestamp, clock.now()) if timestamp else UNKNOWN


def pairs(mapping: Mapping[str, Any] | None) -> str:
    """``a=b,c=d`` or ``<none>``."""
    return ",".join(f"{key}={value}" for key, value in sorted((mapping or {}).items())) or NONE


def selector_text(selector: Object | None) -> str:
    """A label selector as text."""
    from coxswain.api.selectors import label_selector_from

    if selector is None:
        return NONE
    return str(label_selector_from(selector)) or NONE


def events(sheet: Sheet, found: Sequence[Object] | None) -> None:
    """The events of an object, oldest first; None: they were not asked for."""
    if found is None:
        return
    if not found:
        sheet.row("Events", NONE)
        return
    sheet.flush()
    ordered = sorted(found, key=lambda event: event.get("lastTimestamp") or "")
    sheet.table("Events", ("Type", "Reason", "Age", "From", "Message"), map(_event, ordered))


def _event(event: Object) -> tuple[str, ...]:
    first = ago(event.get("eventTime") or event.get("firstTimestamp"))
    series, count = event.get("series"), event.get("count") or 0
    if series:
        first = f"{ago(series.get('lastObservedTime'))} (x{series.get('count')} over {first})"
    elif count > 1:
        first = f"{ago(event.get('lastTimestamp'))} (x{count} over {first})"
    source = (event.get("source") or {}).get("component") or event.get("reportingComponent") or ""
    message = str(event.get("message") or "").strip()
    path = (event.get("involvedObject") or {}).get("fieldPath")
    text = f"{path}: {message}" if path else message
    return str(event.get("type") or ""), str(event.get("reason") or ""), first, source, text
