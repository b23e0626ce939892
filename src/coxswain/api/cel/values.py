"""CEL's values in Python, their equality, order and text.

int, float, str, bytes, bool, None, list, dict stand for themselves; ``UInt`` is an int; timestamps are aware datetimes,
durations timedeltas; ``Optional`` and the Kubernetes kinds (Quantity, URL, IP, CIDR) have classes.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult

from coxswain.api.cel.parser import CelError, UInt
from coxswain.api.quantity import Quantity

IP: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class EvaluationError(CelError):
    """An expression that went wrong on these values, in cel-go's words; ``spent``: what it cost until then."""

    spent: int = 0


class BudgetError(EvaluationError):
    """The expression costs more than it may, or makes what is larger than any budget pays for."""

    def __init__(self, words: str = "operation cancelled: actual cost limit exceeded") -> None:
        super().__init__(words)


#: What no call pays for: characters of a text that is made, elements of a list.
MAX_TEXT: Final = 10_000_000
MAX_LIST: Final = 1_000_000


def bounded(size: int, limit: int) -> None:
    """Refuse to make what is too large, before it is made. Raises ``BudgetError``."""
    if size > limit:
        raise BudgetError


@dataclass(frozen=True, slots=True)
class Optional:
    """A value that may be missing."""

    present: bool
    value: Any = None

    def sized(self) -> int:
        """The size of what is there."""
        value = self.value
        return len(value) if isinstance(value, str | bytes | list | dict) else 1


NOTHING: Final = Optional(False)


class SetList(list[Any]):
    """A list that a schema says is a set: order does not matter, and nothing is there twice."""

    __slots__ = ()


class KeyedList(list[Any]):
    """A list that a schema says is a map: its elements are told by the values of ``keys``."""

    __slots__ = ("keys",)

    def __init__(self, values: Iterable[Any], keys: tuple[str, ...]) -> None:
        super().__init__(values)
        self.keys = keys

    def identity(self, element: Any) -> tuple[str, ...]:
        """What tells an element from all others."""
        if not isinstance(element, dict):
            raise overload(element)
        return tuple(repr(element.get(key)) for key in self.keys)


@dataclass(frozen=True, slots=True)
class TypeName:
    """A type as a value: what ``type()`` makes."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Struct:
    """An object that an expression made: ``Object.spec{replicas: 3}``."""

    name: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Semver:
    """What ``semver()`` makes; ordered as versions are."""

    numbers: tuple[int, int, int]
    #: Parts of a pre-release: numbers before words, no pre-release after any.
    rank: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True, slots=True)
class NamedFormat:
    """What ``format.named()`` finds."""

    name: str
    check: Callable[[str], list[str]]
    pattern_size: int


@dataclass(frozen=True, slots=True)
class Url:
    """What ``url()`` makes."""

    parts: SplitResult


@dataclass(frozen=True, slots=True)
class Cidr:
    """What ``cidr()`` makes: an address and its network."""

    address: IP
    network: ipaddress.IPv4Network | ipaddress.IPv6Network

    def sized(self) -> int:
        """Bytes of the prefix."""
        return -(-self.network.prefixlen // 8)


def overload(*values: Any) -> EvaluationError:
    """The complaint about values that an operation does not take."""
    return EvaluationError("no such overload")


def kind_of(value: Any) -> str:
    """The name of a value's type."""
    if isinstance(value, UInt):
        return "uint"
    if isinstance(value, datetime.datetime):
        return "google.protobuf.Timestamp"
    if isinstance(value, Struct):
        return value.name
    if isinstance(value, list):
        return "list"
    return _KINDS.get(type(value)) or str(getattr(value, "TYPE", "dyn"))


_KINDS: Final = {
    bool: "bool",
    int: "int",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    dict: "map",
    type(None): "null_type",
    datetime.timedelta: "google.protobuf.Duration",
    Optional: "optional_type",
    Quantity: "kubernetes.Quantity",
    Url: "kubernetes.URL",
    Cidr: "net.CIDR",
    ipaddress.IPv4Address: "net.IP",
    ipaddress.IPv6Address: "net.IP",
    TypeName: "type",
    Semver: "kubernetes.Semver",
    NamedFormat: "kubernetes.NamedFormat",
}


def is_number(value: Any) -> bool:
    """Whether a value is an int, uint or double."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(left: Any, right: Any) -> bool:
    """CEL's ``==``: numbers by value, whatever their type; other types are never equal to each other."""
    if is_number(left) and is_number(right):
        return bool(left == right)
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and _same_elements(left, right)
    if type(left) is not type(right):
        return False
    if isinstance(left, Struct):
        return bool(left.name == right.name and equal(left.fields, right.fields))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(value, right[key]) for key, value in left.items())
    return bool(left == right)


def _same_elements(left: list[Any], right: list[Any]) -> bool:
    if isinstance(left, SetList):
        return all(any(equal(one, other) for other in right) for one in left)
    if isinstance(left, KeyedList):
        others = {left.identity(other): other for other in right}
        return all(left.identity(one) in others and equal(one, others[left.identity(one)]) for one in left)
    return all(map(equal, left, right))


def joined(left: list[Any], right: list[Any]) -> list[Any]:
    """``left + right``: sets take what they have not, keyed lists what is new or other under its key."""
    bounded(len(left) + len(right), MAX_LIST)
    if isinstance(left, SetList):
        return SetList([*left, *(one for one in right if not any(equal(one, other) for other in left))])
    if not isinstance(left, KeyedList):
        return [*left, *right]
    made = {left.identity(one): one for one in left}
    made.update((left.identity(one), one) for one in right)
    return KeyedList(made.values(), left.keys)


def less(left: Any, right: Any) -> bool:
    """CEL's ``<``; raises for values that have no order."""
    if (is_number(left) and is_number(right)) or (type(left) is type(right) and isinstance(left, _ORDERED)):
        return bool(left < right)
    raise overload(left, right)


_ORDERED: Final = (str, bytes, bool, datetime.datetime, datetime.timedelta)

_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> datetime.timedelta:
    """A Go duration: ``1h30m``."""
    sign, rest, seconds = 1, text, 0.0
    if rest[:1] in ("+", "-"):
        sign, rest = (-1 if rest[0] == "-" else 1), rest[1:]
    if rest == "0":
        return datetime.timedelta(0)
    while rest:
        found = _DURATION.match(rest)
        if found is None:
            break
        seconds += float(found[1]) * _UNITS[found[2]]
        rest = rest[found.end() :]
    if rest or not text or text in ("+", "-"):
        raise EvaluationError(
            f"type conversion error from 'string' to 'google.protobuf.Duration': \"{text}\""
        )
    return datetime.timedelta(seconds=sign * seconds)


def parse_timestamp(text: str) -> datetime.datetime:
    """An RFC 3339 time."""
    made: datetime.datetime | None
    try:
        made = datetime.datetime.fromisoformat(text)
    except ValueError:
        made = None
    if made is None or made.tzinfo is None or "T" not in text.upper():
        raise EvaluationError(
            f"type conversion error from 'string' to 'google.protobuf.Timestamp': \"{text}\""
        )
    return made


def text_of(value: Any) -> str:
    """``string(value)``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None
    if isinstance(value, float):
        return str(int(value)) if value == int(value) and abs(value) < 1e21 else repr(value)
    if isinstance(value, datetime.timedelta):
        seconds = value.total_seconds()
        return f"{int(seconds)}s" if seconds == int(seconds) else f"{seconds:.9f}".rstrip("0") + "s"
    if isinstance(value, datetime.datetime):
        fraction = f".{value.microsecond:06d}".rstrip("0") if value.microsecond else ""
        zone = value.strftime("%z") if value.utcoffset() else ""
        return value.strftime("%Y-%m-%dT%H:%M:%S") + fraction + (f"{zone[:3]}:{zone[3:5]}" if zone else "Z")
    if isinstance(value, TypeName):
        return value.name
    if isinstance(value, Url):
        return value.parts.geturl()
    if isinstance(value, Cidr):
        return f"{value.address}/{value.network.prefixlen}"
    if isinstance(value, int | Quantity | ipaddress.IPv4Address | ipaddress.IPv6Address):
        return str(value)
    raise overload(value)


def formatted(value: Any) -> str:
    """A value as ``format``'s ``%s`` shows it: texts in lists and maps are quoted."""
    if isinstance(value, list):
        return f"[{', '.join(map(_quoted, value))}]"
    if isinstance(value, dict):
        pairs = sorted((_quoted(key), _quoted(below)) for key, below in value.items())
        return "{" + ", ".join(f"{key}:{below}" for key, below in pairs) + "}"
    if value is None:
        return "null"
    if not isinstance(value, bool | int | float | str | bytes | _TIMES | TypeName):
        words = "strings, bools, integers, doubles, durations, timestamps, lists, maps"
        raise EvaluationError(
            f"error during formatting: string clause can only be used on {words}, was given {kind_of(value)}"
        )
    return text_of(value)


_TIMES: Final = datetime.datetime | datetime.timedelta


def _quoted(value: Any) -> str:
    if isinstance(value, str):
        return go_quote(value)
    if isinstance(value, bytes):
        return "b" + go_quote(value.decode(errors="replace"))
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, datetime.datetime):
        return f'timestamp("{text_of(value)}")'
    if isinstance(value, datetime.timedelta):
        return f'duration("{text_of(value)}")'
    return formatted(value)


def go_quote(text: str) -> str:
    """A text in quotes, as Go's ``%q`` has it."""
    from coxswain.api.fields import quote

    return quote(text)
