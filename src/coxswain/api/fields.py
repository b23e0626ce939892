"""Field paths and field errors, in Kubernetes' words (apimachinery ``util/validation/field``), and Go's words in them.

A validator appends ``FieldError``s to a list; it never raises and never stops at the first. Paths are
strings built with ``child``, ``index`` and ``key``: ``spec.containers[0].ports[1].name``,
``metadata.labels[app]``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import orjson


class ErrorType(Enum):
    """Why a value is wrong: (the cause's reason, the words in the message)."""

    NOT_FOUND = ("FieldValueNotFound", "Not found")
    REQUIRED = ("FieldValueRequired", "Required value")
    DUPLICATE = ("FieldValueDuplicate", "Duplicate value")
    INVALID = ("FieldValueInvalid", "Invalid value")
    NOT_SUPPORTED = ("FieldValueNotSupported", "Unsupported value")
    FORBIDDEN = ("FieldValueForbidden", "Forbidden")
    TOO_LONG = ("FieldValueTooLong", "Too long")
    TOO_MANY = ("FieldValueTooMany", "Too many")
    INTERNAL = ("InternalError", "Internal error")
    TYPE_INVALID = ("FieldValueTypeInvalid", "Invalid value")

    @property
    def reason(self) -> str:
        """The reason of the Status cause."""
        return self.value[0]

    @property
    def words(self) -> str:
        """How the message starts."""
        return self.value[1]


_WITHOUT_VALUE = frozenset({ErrorType.REQUIRED, ErrorType.FORBIDDEN, ErrorType.TOO_LONG, ErrorType.INTERNAL})


@dataclass(frozen=True, slots=True)
class Shown:
    """A value whose printed form is not its JSON: Go's internal struct names, a fixed key order, or nothing."""

    text: str


#: A value that the message leaves out (``Invalid value: why``).
OMITTED = Shown("")


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field. ``str(error)`` is Kubernetes' message, ``body`` the same without the path."""

    type: ErrorType
    field: str
    value: Any = None
    detail: str = ""

    @property
    def body(self) -> str:
        """``Invalid value: "x": must be ...``: the message of a Status cause."""
        if self.type in _WITHOUT_VALUE or self.value is OMITTED:
            text = self.type.words
        else:
            text = f"{self.type.words}: {show(self.value)}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"


#: What a validator fills and returns.
Errors: TypeAlias = list[FieldError]


def show(value: Any) -> str:
    """A value as Go's field errors print it: strings quoted, null, numbers bare, objects as JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Shown):
        return value.text
    if isinstance(value, int | float):
        return str(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def quote(text: str) -> str:
    """``text`` as Go's ``%q`` prints it."""
    out = ['"']
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif char.isprintable():
            out.append(char)
        else:
            out.append(_GO_ESCAPES.get(char) or _hex_escape(char))
    out.append('"')
    return "".join(out)


def aggregate(messages: Iterable[str]) -> str:
    """Several errors as Go's ``Aggregate`` prints them: ``[a, b]``, each once, a single one bare; none: empty."""
    unique = list(dict.fromkeys(messages))
    if len(unique) > 1:
        return f"[{', '.join(unique)}]"
    return unique[0] if unique else ""


def json_kind(value: Any) -> str:
    """What Go's JSON decoder calls a value that does not fit its type: ``array``, ``bool``, ``number``, ..."""
    return _JSON_KINDS.get(type(value), "object")


_JSON_KINDS = {
    list: "array",
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
    type(None): "null",
}
_GO_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def _hex_escape(char: str) -> str:
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def child(path: str, *names: str) -> str:
    """The path of a named field below ``path`` (which may be empty)."""
    return ".".join((path, *names)) if path else ".".join(names)


def index(path: str, position: int) -> str:
    """The path of a list's element."""
    return f"{path}[{position}]"


def key(path: str, name: str) -> str:
    """The path of a map's element."""
    return f"{path}[{name}]"


def required(path: str, detail: str = "") -> FieldError:
    """The value is missing or empty."""
    return FieldError(ErrorType.REQUIRED, path, "", detail)


def invalid(path: str, value: Any, detail: str) -> FieldError:
    """The value is malformed or out of bounds."""
    return FieldError(ErrorType.INVALID, path, value, detail)


def type_invalid(path: str, value: Any, detail: str) -> FieldError:
    """The value has the wrong type."""
    return FieldError(ErrorType.TYPE_INVALID, path, value, detail)


def duplicate(path: str, value: Any) -> FieldError:
    """The value must be unique and is not."""
    return FieldError(ErrorType.DUPLICATE, path, value)


def not_found(path: str, value: Any) -> FieldError:
    """The value names something that does not exist."""
    return FieldError(ErrorType.NOT_FOUND, path, value)


def forbidden(path: str, detail: str) -> FieldError:
    """The field may not be set (or changed) here."""
    return FieldError(ErrorType.FORBIDDEN, path, "", detail)


def not_supported(path: str, value: Any, supported: list[str] | tuple[str, ...]) -> FieldError:
    """The value is not one of ``supported``, which the message lists in the given order."""
    listed = ", ".join(quote(option) for option in supported)
    return FieldError(
        ErrorType.NOT_SUPPORTED, path, value, f"supported values: {listed}" if supported else ""
    )


def too_long(path: str, value: Any, limit: int) -> FieldError:
    """The value has more than ``limit`` bytes."""
    detail = f"may not be more than {limit} bytes" if limit >= 0 else "value is too long"
    return FieldError(ErrorType.TOO_LONG, path, value, detail)


def too_many(path: str, actual: int, limit: int) -> FieldError:
    """The list has more than ``limit`` elements."""
    return FieldError(ErrorType.TOO_MANY, path, actual, f"must have at most {limit} items")


def internal(path: str, detail: str) -> FieldError:
    """Checking the value failed for a reason of our own."""
    return FieldError(ErrorType.INTERNAL, path, None, detail)
