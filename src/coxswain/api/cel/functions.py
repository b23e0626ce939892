"""CEL's functions: the standard ones, and Kubernetes' libraries (lists, strings, regex, URLs, quantities, addresses).

``FUNCTIONS`` by name for calls, ``METHODS`` by name for calls on a target; each takes evaluated arguments (the target
first) and raises ``EvaluationError``. ``ARITIES`` says how many arguments a name may be called with.
"""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import re
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

from coxswain.api import patterns
from coxswain.api import stringformats as formats
from coxswain.api.cel.parser import UInt
from coxswain.api.cel.values import (
    NOTHING,
    Cidr,
    EvaluationError,
    Optional,
    Url,
    equal,
    formatted,
    is_number,
    kind_of,
    less,
    overload,
    parse_duration,
    parse_timestamp,
    text_of,
)
from coxswain.api.quantity import Quantity, QuantityError


def _need(kind: Any, *values: Any) -> None:
    for value in values:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind in (int, float)):
            raise overload(*values)


# -- conversions


def size(value: Any) -> int:
    """Code points, bytes or elements."""
    _need((str, bytes, list, dict), value)
    return len(value)


def to_int(value: Any) -> int:
    """``int(value)``."""
    if isinstance(value, str):
        if not re.fullmatch(r"[+-]?[0-9]+", value):
            raise EvaluationError(f"type conversion error from 'string' to 'int': {value!r}")
        made = int(value)
    elif isinstance(value, datetime.datetime):
        made = int(value.timestamp() // 1)
    elif isinstance(value, float) and value != value:
        raise EvaluationError("integer overflow")
    elif is_number(value):
        made = int(value)
    else:
        raise overload(value)
    if not -(2**63) <= made < 2**63:
        raise EvaluationError("integer overflow")
    return made


def to_uint(value: Any) -> UInt:
    """``uint(value)``."""
    made = to_int(value) if not isinstance(value, UInt) else value
    if made < 0:
        raise EvaluationError("unsigned integer overflow")
    return UInt(made)


def to_double(value: Any) -> float:
    """``double(value)``."""
    if is_number(value) or isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise EvaluationError(f"type conversion error from 'string' to 'double': {value!r}") from None
    raise overload(value)


def to_bool(value: Any) -> bool:
    """``bool(value)``."""
    if isinstance(value, bool):
        return value
    known = {"1": True, "t": True, "true": True, "TRUE": True, "True": True, "T": True}
    known |= {"0": False, "f": False, "false": False, "FALSE": False, "False": False, "F": False}
    if isinstance(value, str) and value in known:
        return known[value]
    raise EvaluationError(f"type conversion error from '{kind_of(value)}' to 'bool'")


def to_bytes(value: Any) -> bytes:
    """``bytes(value)``."""
    _need((str, bytes), value)
    return value.encode() if isinstance(value, str) else value


def to_duration(value: Any) -> datetime.timedelta:
    """``duration(value)``."""
    if isinstance(value, datetime.timedelta):
        return value
    _need(str, value)
    return parse_duration(value)


def to_timestamp(value: Any) -> datetime.datetime:
    """``timestamp(value)``."""
    if isinstance(value, datetime.datetime):
        return value
    if is_number(value) and isinstance(value, int):
        return datetime.datetime.fromtimestamp(value, datetime.UTC)
    _need(str, value)
    return parse_timestamp(value)


# -- strings and regular expressions


def matches(text: Any, pattern: Any) -> bool:
    """Whether a pattern is found in a text."""
    _need(str, text, pattern)
    return _compiled(pattern).search(text) is not None


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return patterns.compiled(pattern)
    except re.error as error:
        raise EvaluationError(patterns.explain(pattern, error)) from None


def find(text: Any, pattern: Any) -> str:
    """The first match, or ""."""
    _need(str, text, pattern)
    found = _compiled(pattern).search(text)
    return found[0] if found else ""


def find_all(text: Any, pattern: Any, limit: Any = -1) -> list[str]:
    """All matches, at most ``limit``."""
    _need(str, text, pattern)
    found = [each[0] for each in _compiled(pattern).finditer(text)]
    return found if limit < 0 else found[:limit]


def contains(text: Any, part: Any) -> bool:
    """Whether a text has a part."""
    _need(str, text, part)
    return part in text


def starts_with(text: Any, part: Any) -> bool:
    """Whether a text starts with a part."""
    _need(str, text, part)
    return bool(text.startswith(part))


def ends_with(text: Any, part: Any) -> bool:
    """Whether a text ends with a part."""
    _need(str, text, part)
    return bool(text.endswith(part))


def char_at(text: Any, position: Any) -> str:
    """One character; "" at the end."""
    _need(str, text)
    if not 0 <= position <= len(text):
        raise EvaluationError(f"index out of range: {position}")
    return str(text[position : position + 1])


def index_of(value: Any, part: Any, start: Any = 0) -> int:
    """The first place of a part of a text, or of an element of a list; -1 where there is none."""
    if isinstance(value, list):
        return next((place for place, each in enumerate(value) if equal(each, part)), -1)
    _need(str, value, part)
    return int(value.find(part, start))


def last_index_of(value: Any, part: Any, end: Any = None) -> int:
    """The last place."""
    if isinstance(value, list):
        return next((place for place in range(len(value) - 1, -1, -1) if equal(value[place], part)), -1)
    _need(str, value, part)
    return int(value.rfind(part, 0, None if end is None else end + len(part)))


def lower_ascii(text: Any) -> str:
    """ASCII letters lowered."""
    _need(str, text)
    return "".join(char.lower() if "A" <= char <= "Z" else char for char in text)


def upper_ascii(text: Any) -> str:
    """ASCII letters raised."""
    _need(str, text)
    return "".join(char.upper() if "a" <= char <= "z" else char for char in text)


def replace(text: Any, old: Any, new: Any, count: Any = -1) -> str:
    """Occurrences of ``old`` replaced."""
    _need(str, text, old, new)
    return str(text.replace(old, new, count))


def split(text: Any, separator: Any, limit: Any = -1) -> list[str]:
    """The parts between separators, at most ``limit``."""
    _need(str, text, separator)
    if limit == 0:
        return []
    if not separator:
        parts = list(text)
        return (
            parts if limit < 0 or len(parts) <= limit else [*parts[: limit - 1], "".join(parts[limit - 1 :])]
        )
    return list(text.split(separator, limit - 1 if limit > 0 else -1))


def substring(text: Any, start: Any, end: Any = None) -> str:
    """A part of a text."""
    _need(str, text)
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise EvaluationError(f"index out of range: {start if not 0 <= start <= len(text) else stop}")
    return str(text[start:stop])


def trim(text: Any) -> str:
    """White space at both ends removed."""
    _need(str, text)
    return str(text.strip())


def join(values: Any, separator: Any = "") -> str:
    """Texts joined."""
    _need(list, values)
    _need(str, separator, *values)
    return str(separator.join(values))


def reverse(value: Any) -> Any:
    """Backwards."""
    _need((str, list), value)
    return value[::-1]


_VERB: Final = re.compile(r"%(?:\.(\d+))?(.)", re.DOTALL)


def format_text(text: Any, values: Any) -> str:
    """``"%s is %d".format([...])``."""
    _need(str, text)
    _need(list, values)
    left = iter(values)

    def shown(found: re.Match[str]) -> str:
        verb = found[2]
        if verb == "%":
            return "%"
        try:
            value = next(left)
        except StopIteration:
            raise EvaluationError("index out of range: not enough arguments for format") from None
        return _verb(verb, found[1], value)

    return _VERB.sub(shown, text)


def _verb(verb: str, precision: str | None, value: Any) -> str:
    if verb == "s":
        return formatted(value)
    if not is_number(value):
        raise EvaluationError(f"error during formatting: {verb} clause cannot be used on {kind_of(value)}")
    if verb == "d":
        return text_of(value)
    if verb in ("f", "e"):
        return f"{value:.{precision or 6}{verb}}"
    if verb in ("b", "o", "x", "X") and isinstance(value, int):
        return f"{value:{verb}}"
    raise EvaluationError(f'error during formatting: unrecognized formatting clause "{verb}"')


# -- lists


def is_sorted(values: Any) -> bool:
    """Whether each element is at least the one before."""
    _need(list, values)
    return not any(less(after, before) for before, after in itertools.pairwise(values))


def total(values: Any) -> Any:
    """The sum."""
    _need(list, values)
    if not values:
        return 0
    found = values[0]
    for value in values[1:]:
        if type(found) is not type(value):
            raise overload(found, value)
        found = found + value
    return found


def lowest(values: Any) -> Any:
    """The least element."""
    return _extreme(values, "min", _more)


def highest(values: Any) -> Any:
    """The greatest element."""
    return _extreme(values, "max", less)


def _more(left: Any, right: Any) -> bool:
    return less(right, left)


def _extreme(values: Any, name: str, better: Callable[[Any, Any], bool]) -> Any:
    _need(list, values)
    if not values:
        raise EvaluationError(f"{name} called on empty list")
    found = values[0]
    for value in values[1:]:
        if better(found, value):
            found = value
    return found


def _has(values: Any, wanted: Any) -> bool:
    return any(equal(value, wanted) for value in values)


def sets_contains(values: Any, wanted: Any) -> bool:
    """Whether every wanted element is there."""
    _need(list, values, wanted)
    return all(_has(values, each) for each in wanted)


def sets_equivalent(left: Any, right: Any) -> bool:
    """Whether each is in the other."""
    return sets_contains(left, right) and sets_contains(right, left)


def sets_intersects(left: Any, right: Any) -> bool:
    """Whether they share an element."""
    _need(list, left, right)
    return any(_has(right, each) for each in left)


# -- times


def _part(read: Callable[[datetime.datetime], int]) -> Callable[..., int]:
    def get(value: Any, zone: Any = "UTC") -> int:
        _need(datetime.datetime, value)
        return read(value.astimezone(_zone(zone)))

    return get


def _zone(name: str) -> datetime.tzinfo:
    found = re.fullmatch(r"([+-]?)(\d\d):(\d\d)", name)
    if found is not None:
        offset = datetime.timedelta(hours=int(found[2]), minutes=int(found[3]))
        return datetime.timezone(-offset if found[1] == "-" else offset)
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise EvaluationError(f"unknown time zone {name}") from None


def _time_part(
    unit: int, read: Callable[[datetime.datetime], int], milli: bool = False
) -> Callable[..., int]:
    of_time = _part(read)

    def get(value: Any, *zone: Any) -> int:
        if isinstance(value, datetime.timedelta):
            return int(value.total_seconds() * 1000) if milli else int(value.total_seconds() / unit)
        return of_time(value, *zone)

    return get


# -- Kubernetes' kinds


def to_quantity(value: Any) -> Quantity:
    """``quantity("1Gi")``."""
    _need(str, value)
    try:
        return Quantity.parse(value)
    except QuantityError as error:
        raise EvaluationError(str(error)) from None


def _succeeds(make: Callable[[Any], Any]) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        _need(str, value)
        try:
            make(value)
        except EvaluationError:
            return False
        return True

    return check


def _as_quantity(value: Any) -> Quantity:
    return Quantity.parse(value) if is_number(value) else value


def to_url(value: Any) -> Url:
    """``url("https://...")``."""
    _need(str, value)
    if not formats.uri(value):
        raise EvaluationError(f"URL parse error during conversion from string: parse {value!r}: invalid URI")
    return Url(urlsplit(value))


def _host(url: Any) -> str:
    _need(Url, url)
    return str(url.parts.netloc.rpartition("@")[2])


def to_ip(value: Any) -> Any:
    """``ip("10.0.0.1")``."""
    if isinstance(value, Cidr):
        return value.address
    _need(str, value)
    try:
        made = ipaddress.ip_address(value)
    except ValueError:
        raise EvaluationError(f"IP Address '{value}' parse error during conversion from string") from None
    if "%" in value or (made.version == 6 and getattr(made, "ipv4_mapped", None) is not None):
        raise EvaluationError(f"IP Address '{value}' is not allowed")
    return made


def to_cidr(value: Any) -> Cidr:
    """``cidr("10.0.0.0/8")``."""
    _need(str, value)
    try:
        if "/" not in value or "%" in value:
            raise ValueError(value)
        return Cidr(ipaddress.ip_address(value.partition("/")[0]), ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise EvaluationError(f"network address parse error during conversion from string: {value}") from None


def _in_network(network: Any, other: Any) -> bool:
    _need(Cidr, network)
    other = to_ip(other) if isinstance(other, str) else other
    return bool(other.version == network.network.version and other in network.network)


def _within(network: Any, other: Any) -> bool:
    _need(Cidr, network)
    inner = (to_cidr(other) if isinstance(other, str) else other).network
    return bool(inner.version == network.network.version and inner.subnet_of(network.network))


def _value(optional: Any) -> Any:
    _need(Optional, optional)
    if not optional.present:
        raise EvaluationError("optional.none() dereference")
    return optional.value


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "size": size,
    "int": to_int,
    "uint": to_uint,
    "double": to_double,
    "string": text_of,
    "bool": to_bool,
    "bytes": to_bytes,
    "duration": to_duration,
    "timestamp": to_timestamp,
    "dyn": lambda value: value,
    "type": kind_of,
    "matches": matches,
    "quantity": to_quantity,
    "isQuantity": _succeeds(to_quantity),
    "url": to_url,
    "isURL": _succeeds(to_url),
    "ip": to_ip,
    "isIP": _succeeds(to_ip),
    "ip.isCanonical": lambda value: str(to_ip(value)) == value,
    "cidr": to_cidr,
    "isCIDR": _succeeds(to_cidr),
    "sets.contains": sets_contains,
    "sets.equivalent": sets_equivalent,
    "sets.intersects": sets_intersects,
    "optional.of": lambda value: Optional(True, value),
    "optional.none": lambda: NOTHING,
    "optional.ofNonZeroValue": lambda value: Optional(True, value) if value else NOTHING,
    "math.greatest": lambda *values: highest(
        list(values[0] if len(values) == 1 and isinstance(values[0], list) else values)
    ),
    "math.least": lambda *values: lowest(
        list(values[0] if len(values) == 1 and isinstance(values[0], list) else values)
    ),
}

METHODS: Final[Mapping[str, Callable[..., Any]]] = {
    "size": size,
    "matches": matches,
    "find": find,
    "findAll": find_all,
    "contains": contains,
    "startsWith": starts_with,
    "endsWith": ends_with,
    "charAt": char_at,
    "indexOf": index_of,
    "lastIndexOf": last_index_of,
    "lowerAscii": lower_ascii,
    "upperAscii": upper_ascii,
    "replace": replace,
    "split": split,
    "substring": substring,
    "trim": trim,
    "join": join,
    "reverse": reverse,
    "format": format_text,
    "isSorted": is_sorted,
    "sum": total,
    "min": lowest,
    "max": highest,
    "getFullYear": _part(lambda time: time.year),
    "getMonth": _part(lambda time: time.month - 1),
    "getDate": _part(lambda time: time.day),
    "getDayOfMonth": _part(lambda time: time.day - 1),
    "getDayOfWeek": _part(lambda time: time.isoweekday() % 7),
    "getDayOfYear": _part(lambda time: time.timetuple().tm_yday - 1),
    "getHours": _time_part(3600, lambda time: time.hour),
    "getMinutes": _time_part(60, lambda time: time.minute),
    "getSeconds": _time_part(1, lambda time: time.second),
    "getMilliseconds": _time_part(1, lambda time: time.microsecond // 1000, milli=True),
    "isInteger": lambda value: Quantity.parse(str(value.value())) == value,
    "asInteger": lambda value: value.value(),
    "asApproximateFloat": lambda value: value.milli() / 1000,
    "sign": lambda value: (value > Quantity.parse("0")) - (value < Quantity.parse("0")),
    "add": lambda value, other: value + _as_quantity(other),
    "sub": lambda value, other: value - _as_quantity(other),
    "isLessThan": lambda value, other: value < other,
    "isGreaterThan": lambda value, other: value > other,
    "compareTo": lambda value, other: (value > other) - (value < other),
    "getScheme": lambda url: url.parts.scheme,
    "getHost": _host,
    "getHostname": lambda url: url.parts.hostname or "",
    "getPort": lambda url: str(url.parts.port or ""),
    "getEscapedPath": lambda url: quote(url.parts.path, safe="/%:@!$&'()*+,;=-._~"),
    "getQuery": lambda url: parse_qs(url.parts.query, keep_blank_values=True),
    "family": lambda address: address.version,
    "isLoopback": lambda address: address.is_loopback,
    "isUnspecified": lambda address: address.is_unspecified,
    "isGlobalUnicast": lambda address: (
        not (address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local)
    ),
    "isLinkLocalUnicast": lambda address: address.is_link_local and not address.is_multicast,
    "isLinkLocalMulticast": lambda address: (
        address.is_multicast and (str(address).startswith(("224.0.0.", "ff02:")))
    ),
    "containsIP": _in_network,
    "containsCIDR": _within,
    "ip": to_ip,
    "masked": lambda network: Cidr(network.network.network_address, network.network),
    "prefixLength": lambda network: network.network.prefixlen,
    "hasValue": lambda optional: optional.present,
    "value": _value,
    "orValue": lambda optional, other: optional.value if optional.present else other,
    "or": lambda optional, other: optional if optional.present else other,
}

#: What functions give, where the checker can make use of it.
RESULTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("size", "int", "indexOf", "lastIndexOf", "prefixLength", "family"), "int"),
    "uint": "uint",
    "double": "double",
    **dict.fromkeys(
        (
            "string",
            "charAt",
            "lowerAscii",
            "upperAscii",
            "replace",
            "substring",
            "trim",
            "join",
            "format",
            "find",
        ),
        "string",
    ),
    **dict.fromkeys(
        (
            *(
                "bool",
                "matches",
                "contains",
                "startsWith",
                "endsWith",
                "isSorted",
                "isQuantity",
                "isURL",
                "isIP",
            ),
            *("isCIDR", "hasValue", "sets.contains", "sets.equivalent", "sets.intersects", "containsIP"),
            *("containsCIDR", "isLessThan", "isGreaterThan", "isInteger", "isLoopback"),
        ),
        "bool",
    ),
}
