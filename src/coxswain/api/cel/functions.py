"""CEL's standard functions, and those of lists, sets, strings and regular expressions.

``IMPLEMENTATIONS`` has the functions of all libraries by name; each takes evaluated arguments (the target of a method
first) and raises ``EvaluationError``. Which arguments they may be given is stated in ``declarations``.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import re
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any, Final

from coxswain.api import patterns
from coxswain.api.cel import authorizer, kubernetes, operators
from coxswain.api.cel.parser import UInt
from coxswain.api.cel.values import (
    MAX_LIST,
    MAX_TEXT,
    NOTHING,
    EvaluationError,
    Optional,
    TypeName,
    bounded,
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
from coxswain.api.quantity import Quantity


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
    elif isinstance(value, datetime.timedelta):
        made = value // datetime.timedelta(microseconds=1) * 1000
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
    if isinstance(value, Quantity):
        return value.nano / 1e9
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
    if is_number(value) and isinstance(value, int):
        return datetime.timedelta(microseconds=value / 1000)
    _need(str, value)
    return parse_duration(value)


def to_timestamp(value: Any) -> datetime.datetime:
    """``timestamp(value)``."""
    if isinstance(value, datetime.datetime):
        return value
    if is_number(value) and isinstance(value, int):
        if not -62135596800 <= value <= 253402300799:
            raise EvaluationError("timestamp overflow")
        return datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(seconds=value)
    _need(str, value)
    return parse_timestamp(value)


# -- strings and regular expressions


def matches(text: Any, pattern: Any) -> bool:
    """Whether a pattern is found in a text."""
    _need(str, text, pattern)
    try:
        return patterns.finder(pattern)(text)
    except re.error as error:
        raise EvaluationError(patterns.explain(pattern, error)) from None


def _found(pattern: str, text: str) -> re.Pattern[str] | None:
    """The pattern, if it is in the text at all."""
    try:
        return patterns.compiled(pattern) if patterns.finder(pattern)(text) else None
    except re.error as error:
        raise EvaluationError(f"Illegal regex: {patterns.explain(pattern, error)}") from None


def find(text: Any, pattern: Any) -> str:
    """The first match, or ""."""
    _need(str, text, pattern)
    known = _found(pattern, text)
    found = known.search(text) if known is not None else None
    return found[0] if found else ""


def find_all(text: Any, pattern: Any, limit: Any = -1) -> list[str]:
    """All matches, at most ``limit``."""
    _need(str, text, pattern)
    known = _found(pattern, text)
    found = [each[0] for each in known.finditer(text)] if known is not None else []
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
    if start < 0:
        raise EvaluationError(f"index out of range: {start}")
    if not part:
        return min(int(start), len(value))
    return -1 if start >= len(value) else int(value.find(part, start))


def last_index_of(value: Any, part: Any, end: Any = None) -> int:
    """The last place."""
    if isinstance(value, list):
        return next((place for place in range(len(value) - 1, -1, -1) if equal(value[place], part)), -1)
    _need(str, value, part)
    if end is None:
        return int(value.rfind(part))
    if end < 0:
        raise EvaluationError(f"index out of range: {end}")
    if not part:
        return min(int(end), len(value))
    return -1 if end >= len(value) else int(value.rfind(part, 0, end + len(part)))


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
    bounded(len(text) + text.count(old) * len(new), MAX_TEXT)
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
    if end is not None and start > stop:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {stop}")
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
    bounded(sum(map(len, values)) + len(separator) * len(values), MAX_TEXT)
    return str(separator.join(values))


_ESCAPES: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    "\\": "\\\\", '"': '\\"',
}  # fmt: skip


def quote_text(text: Any) -> str:
    """``strings.quote``: a text as a literal."""
    _need(str, text)
    return '"' + "".join(_ESCAPES.get(char, char) for char in text) + '"'


_VERB: Final = re.compile(r"%(?:\.(\d+))?(.)", re.DOTALL)


_MAX_PRECISION: Final = 1000


def format_text(text: Any, values: Any) -> str:
    """``"%s is %d".format([...])``."""
    _need(str, text)
    _need(list, values)
    left = iter(values)
    size = 0

    def shown(found: re.Match[str]) -> str:
        nonlocal size
        verb = found[2]
        if verb == "%":
            return "%"
        try:
            value = next(left)
        except StopIteration:
            raise EvaluationError("index out of range: not enough arguments for format") from None
        if found[1] is not None and int(found[1][:9]) > _MAX_PRECISION:
            raise EvaluationError(f"precision exceeds maximum allowed precision: {found[1]}")
        made = _verb(verb, found[1], value)
        size += len(made)
        bounded(size, MAX_TEXT)
        return made

    return _VERB.sub(shown, text)


_RAISED: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _scientific(text: str) -> str:
    """``3.14e+00`` as cel-go writes it: with the power of ten raised."""
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}\u00d710{exponent.lstrip('+').translate(_RAISED)}" if exponent else text


def _verb(verb: str, precision: str | None, value: Any) -> str:
    if verb == "s":
        return formatted(value)
    kind = kind_of(value)
    wrong = "error during formatting: {} clause can only be used on {}, was given {}"
    if verb == "d":
        if kind not in ("int", "uint"):
            raise EvaluationError(wrong.format("decimal", "integers", kind))
        return str(int(value))
    if verb in ("f", "e"):
        if kind != "double" and value not in ("NaN", "Infinity", "-Infinity"):
            name = "fixed-point" if verb == "f" else "scientific"
            raise EvaluationError(wrong.format(name, "doubles", kind))
        shown = f"{float(value):.{precision or 6}{verb}}"
        return shown if verb == "f" else _scientific(shown)
    if verb == "b" and kind in ("int", "uint", "bool"):
        return f"{int(value):b}"
    if verb == "o" and kind in ("int", "uint"):
        return f"{value:o}"
    if verb in ("x", "X") and kind in ("int", "uint", "string", "bytes"):
        made = f"{value:x}" if kind in ("int", "uint") else to_bytes(value).hex()
        return made.upper() if verb == "X" else made
    if verb in ("b", "o", "x", "X"):
        names = {"b": "binary", "o": "octal"}
        takes = {"b": "integers and bools", "o": "integers"}
        asked = names.get(verb, "hex"), takes.get(verb, "integers, byte buffers, and strings")
        raise EvaluationError(wrong.format(*asked, kind))
    raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')


# -- lists


def is_sorted(values: Any) -> bool:
    """Whether each element is at least the one before."""
    _need(list, values)
    return not any(less(after, before) for before, after in itertools.pairwise(values))


#: The sum of no values, by their type.
ZEROS: Final[Mapping[str, Any]] = {
    "int": 0,
    "uint": UInt(0),
    "double": 0.0,
    "duration": datetime.timedelta(0),
}


def total(values: Any, zero: Any = 0) -> Any:
    """The sum."""
    _need(list, values)
    if not values:
        return zero
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


def slice_list(values: Any, start: Any, end: Any) -> list[Any]:
    """The elements from ``start`` up to ``end``."""
    words = f"cannot slice({start}, {end}), "
    if start < 0 or end < 0:
        raise EvaluationError(f"{words}negative indexes not supported")
    if start > end:
        raise EvaluationError(f"{words}start index must be less than or equal to end index")
    if len(values) < end:
        raise EvaluationError(f"{words}list is length {len(values)}")
    return list(values[start:end])


def flatten(values: Any, depth: Any = 1) -> list[Any]:
    """Lists in lists taken out of them."""
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    made: list[Any] = []
    for value in values:
        made += flatten(value, depth - 1) if isinstance(value, list) and depth > 0 else [value]
    return made


def distinct(values: Any) -> list[Any]:
    """Each element once, where it came first."""
    made: list[Any] = []
    for value in values:
        if not _has(made, value):
            made.append(value)
    return made


def sort_list(values: Any, items: list[Any] | None = None) -> list[Any]:
    """``items`` (or the values themselves) in the order of the values."""
    for value in values:
        if kind_of(value) != kind_of(values[0]):
            raise EvaluationError("list elements must have the same type")
    by_value = functools.cmp_to_key(lambda left, right: less(right, left) - less(left, right))
    shown = values if items is None else items
    return [
        shown[position] for position in sorted(range(len(values)), key=lambda each: by_value(values[each]))
    ]


def _range(count: Any) -> list[int]:
    bounded(count, MAX_LIST)
    return list(range(count))


def unwrap(values: Any) -> list[Any]:
    """What is there of a list of optionals."""
    return [each.value for each in values if each.present]


def _one(values: Any, position: int) -> Optional:
    return Optional(True, values[position]) if values else NOTHING


_FIRST_TIME: Final = datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)
_ZEROABLE: Final = (bool, int, float, str, bytes, list, dict, datetime.timedelta)


def _not_zero(value: Any) -> Optional:
    zero = value is None or value == _FIRST_TIME
    zero = zero or (not value and isinstance(value, _ZEROABLE))
    return NOTHING if zero else Optional(True, value)


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


def _value(optional: Any) -> Any:
    _need(Optional, optional)
    if not optional.present:
        raise EvaluationError("optional.none() dereference")
    return optional.value


IMPLEMENTATIONS: Final[Mapping[str, Callable[..., Any]]] = {
    **operators.OPERATORS,
    **kubernetes.FUNCTIONS,
    **authorizer.FUNCTIONS,
    "size": size,
    "int": to_int,
    "uint": to_uint,
    "double": to_double,
    "string": text_of,
    "bool": to_bool,
    "bytes": to_bytes,
    "duration": to_duration,
    "timestamp": to_timestamp,
    "type": lambda value: TypeName(kind_of(value)),
    "sets.contains": sets_contains,
    "sets.equivalent": sets_equivalent,
    "sets.intersects": sets_intersects,
    "optional.of": lambda value: Optional(True, value),
    "optional.none": lambda: NOTHING,
    "optional.ofNonZeroValue": _not_zero,
    "optional.unwrap": unwrap,
    "unwrapOpt": unwrap,
    "hasValue": lambda optional: optional.present,
    "value": _value,
    "orValue": lambda optional, other: optional.value if optional.present else other,
    "or": lambda optional, other: optional if optional.present else other,
    "first": lambda values: _one(values, 0),
    "last": lambda values: _one(values, -1),
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
    "format": format_text,
    "strings.quote": quote_text,
    "jsonpatch.escapeKey": lambda key: key.replace("~", "~0").replace("/", "~1"),
    "isSorted": is_sorted,
    "sum": total,
    "min": lowest,
    "max": highest,
    "slice": slice_list,
    "flatten": flatten,
    "reverse": lambda values: values[::-1],
    "distinct": distinct,
    "sort": sort_list,
    "lists.range": _range,
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
}
