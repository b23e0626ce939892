"""Any kind, field by field: what custom resources and rarer kinds get."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from coxswain.api.names import Object
from coxswain.cli.kubectl.describe.sheet import Sheet, events
from coxswain.cli.kubectl.printing import go_text
from coxswain.cli.kubectl.session import Session

_SKIPPED = (
    ".metadata.managedFields",
    ".metadata.name",
    ".metadata.namespace",
    ".metadata.labels",
    ".metadata.annotations",
)
_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^A-Za-z0-9]+")
_ACRONYMS = ("API", "URL", "UID", "OSB", "GUID")


async def generic(session: Session, obj: Object, found: Sequence[Object] | None) -> str:
    """Name, labels, annotations, then every field."""
    sheet = Sheet()
    sheet.head(obj)
    sheet.meta(obj)
    _fields(sheet, 0, obj, "")
    events(sheet, found)
    return sheet.text()


def _fields(sheet: Sheet, level: int, content: Object, path: str) -> None:
    for key in sorted(content):
        below = f"{path}.{key}"
        if below in _SKIPPED:
            continue
        value: Any = content[key]
        if isinstance(value, dict):
            sheet.line(f"{label(key)}:", level)
            _fields(sheet, level + 1, value, below)
        elif isinstance(value, list):
            sheet.line(f"{label(key)}:", level)
            for child in value:
                if isinstance(child, dict):
                    _fields(sheet, level + 1, child, below)
                else:
                    sheet.line(go_text(child), level + 1)
        else:
            sheet.row(label(key), go_text(value), level)


def label(field: str) -> str:
    """``creationTimestamp`` -> ``Creation Timestamp``; what has other characters stays."""
    if not all(char.isalpha() or char == "-" for char in field):
        return field
    words = [word for word in _WORDS.findall(field) if word != "_"]
    return " ".join(_capital(word) for word in words)


def _capital(word: str) -> str:
    if word.upper() in _ACRONYMS:
        return word.upper()
    return word.capitalize() if word.islower() else word
