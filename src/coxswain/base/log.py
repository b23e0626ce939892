"""Logging: key=value text on a terminal, one JSON object a line elsewhere.

Only the standard library's ``logging`` is used by components; this module sets it up once a process.
Extra facts travel in ``extra={"fields": {...}}``. Secrets never do: headers and bodies are not logged.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, TextIO

import orjson

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "fields", {})


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts (seconds), level, logger, msg, then the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """``12:00:01.123 I apiserver: message key=value`` with the traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        name = record.name.removeprefix("coxswain.")
        tail = "".join(f" {key}={value}" for key, value in _fields(record).items())
        line = f"{stamp}.{int(record.msecs):03d} {record.levelname[0]} {name}: {record.getMessage()}{tail}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def setup(level: str = "info", *, stream: TextIO | None = None, json: bool | None = None) -> None:
    """Set up the root logger. ``level`` is debug, info, warning or error; JSON unless on a terminal."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    as_json = not stream.isatty() if json is None else json
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("coxswain").setLevel(_LEVELS[level])
