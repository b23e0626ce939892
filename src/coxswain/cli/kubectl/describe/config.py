"""Config maps, secrets (sizes only) and service accounts."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from coxswain.api.names import Object
from coxswain.cli.kubectl.describe.sheet import NONE, Sheet, events
from coxswain.cli.kubectl.session import Session


async def config_map(session: Session, obj: Object, found: Sequence[Object] | None) -> str:
    """A ConfigMap with its texts."""
    sheet = Sheet()
    sheet.head(obj)
    sheet.meta(obj)
    sheet.line("\nData\n====")
    for key, value in sorted((obj.get("data") or {}).items()):
        sheet.line(f"{key}:\n----\n{value}\n")
    sheet.line("\nBinaryData\n====")
    for key, value in sorted((obj.get("binaryData") or {}).items()):
        sheet.line(f"{key}: {_size(value)} bytes")
    sheet.line("")
    events(sheet, found)
    return sheet.text()


async def secret(session: Session, obj: Object, found: Sequence[Object] | None) -> str:
    """A Secret: its keys and the size of each value, never the value."""
    sheet = Sheet()
    sheet.head(obj)
    sheet.meta(obj)
    sheet.line(f"\nType:\t{obj.get('type') or ''}")
    sheet.line("\nData\n====")
    for key, value in sorted((obj.get("data") or {}).items()):
        sheet.row(key, f"{_size(value)} bytes")
    return sheet.text()


def _size(encoded: str | None) -> int:
    return len(base64.b64decode(encoded or ""))


async def service_account(session: Session, obj: Object, found: Sequence[Object] | None) -> str:
    """A ServiceAccount."""
    sheet = Sheet()
    sheet.head(obj)
    sheet.meta(obj)
    for name, field in (
        ("Image pull secrets", "imagePullSecrets"),
        ("Mountable secrets", "secrets"),
    ):
        names = [entry.get("name") or "" for entry in obj.get(field) or ()]
        for position, text in enumerate(names or [NONE]):
            head = f"{name}:" if not position else " " * (len(name) + 1)
            sheet.line(f"{head}\t{text}")
    events(sheet, found)
    return sheet.text()
