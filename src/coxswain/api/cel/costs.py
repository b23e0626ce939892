"""What expressions cost, in cel-go's units (``checker/cost.go``, ``interpreter/runtimecost.go``, apiserver's ``library/cost.go``).

Estimated, before anything runs: ranges of costs from ranges of sizes, for the limits that definitions have to keep to.

    estimate(function, overload, target, arguments) -> (cost, result's size or None)

Actual, while an expression runs:

    meter(function, overload) -> what a call costs, given its arguments and result; None: 1
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from coxswain.api.cel.types import Declared

MOST: Final = 2**64 - 1
IDENT: Final = 1
NEW_LIST, NEW_MAP, NEW_OBJECT = 10, 30, 40
_SCAN: Final = 0.1
_REGEX: Final = 0.25
_CHECK: Final = 350_000
#: What Kubernetes assumes about the patterns behind named formats.
_FORMAT_REGEX: Final = 128


class Range(NamedTuple):
    """From least to most; both stay within 64 bits."""

    least: int
    most: int

    def plus(self, other: Range) -> Range:
        """The sum."""
        return Range(min(self.least + other.least, MOST), min(self.most + other.most, MOST))

    def times(self, other: Range) -> Range:
        """The product."""
        return Range(min(self.least * other.least, MOST), min(self.most * other.most, MOST))

    def scaled(self, factor: float) -> Range:
        """Times a factor, rounded up."""
        return Range(_scaled(self.least, factor), _scaled(self.most, factor))

    def union(self, other: Range) -> Range:
        """What covers both."""
        return Range(min(self.least, other.least), max(self.most, other.most))


def _scaled(value: int, factor: float) -> int:
    return min(math.ceil(float(value) * factor), MOST)


def fixed(value: int) -> Range:
    """Exactly so much."""
    return Range(value, value)


ANY_SIZE: Final = Range(0, MOST)
NOTHING: Final = Range(0, 0)
ONE: Final = Range(1, 1)


class Operand(NamedTuple):
    """What the estimate knows of an argument; ``value`` is that of a constant."""

    type: Declared
    size: Range
    #: Whether ``type`` was found by a path from a variable, so that its ``limit`` counts.
    reached: bool = False
    value: Any = None


Estimate: TypeAlias = tuple[Range, Range | None]
_TEXT: Final = frozenset({"string", "bytes"})
_NOMINAL: Final = frozenset(
    (
        *("serviceAccount", "path", "group", "resource", "subresource", "namespace", "name", "allowed"),
        *("reason", "error", "errored", "masked", "prefixLength", "family", "isUnspecified", "isLoopback"),
        *(
            "isLinkLocalMulticast",
            "isLinkLocalUnicast",
            "isGlobalUnicast",
            "format.named",
            "sign",
            "asInteger",
        ),
        *(
            "isInteger",
            "asApproximateFloat",
            "isGreaterThan",
            "isLessThan",
            "compareTo",
            "add",
            "sub",
            "major",
        ),
        *("minor", "patch", "getScheme", "getHostname", "getHost", "getPort", "getEscapedPath", "getQuery"),
    )
)
_PARSED: Final = frozenset({"cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"})
_SAME_SIZE: Final = frozenset({"lowerAscii", "upperAscii", "substring", "trim"})
_OF_LISTS: Final = frozenset({"isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"})
_COMPARED: Final = tuple(
    f"{stem}_{kind}" for stem in ("less", "less_equals", "greater", "greater_equals") for kind in _TEXT
)


def estimate(function: str, overload: str, target: Operand | None, args: Sequence[Operand]) -> Estimate:
    """What a call costs beside its arguments, and how large its result gets where that is known."""
    found = _library(function, overload, target, args)
    return found if found is not None else _standard(overload, target, args)


def _library(
    function: str, overload: str, target: Operand | None, args: Sequence[Operand]
) -> Estimate | None:
    if function in _NOMINAL:
        return ONE, None
    if function == "check":
        return fixed(_CHECK), None
    if function in ("fieldSelector", "labelSelector"):
        return _selector(args[0].size), None
    if function in _OF_LISTS and target is not None:
        return _over_list(target), None
    if function in ("url", "jsonpatch.escapeKey"):
        return args[0].size.scaled(_SCAN), args[0].size
    if function in _SAME_SIZE and target is not None:
        return target.size.scaled(_SCAN), target.size
    if function == "replace" and target is not None:
        return target.size.scaled(2 * _SCAN), _replaced(target.size, args[0].size, args[1].size)
    if function == "split" and target is not None:
        limit = args[1].value if len(args) > 1 and isinstance(args[1].value, int) else target.size.most
        return target.size.scaled(2 * _SCAN), Range(0, limit if limit >= 0 else MOST)
    if function == "join" and target is not None:
        size = _joined(target, args)
        return size.scaled(_SCAN), size
    if function in ("find", "findAll") and target is not None:
        cost = target.size.plus(ONE).scaled(_SCAN).times(args[0].size.scaled(_REGEX))
        return cost, Range(0, target.size.most)
    if function in _PARSED or (function == "ip" and overload == "string_to_ip"):
        return args[0].size.scaled(_SCAN), None
    if function == "ip":
        return ONE, None
    if function == "ip.isCanonical":
        return args[0].size.scaled(2 * _SCAN), None
    if function in ("containsIP", "containsCIDR"):
        return _contained(function, overload, args[0].size), None
    if function == "validate":
        return args[0].size.scaled(_SCAN).scaled(_FORMAT_REGEX * _REGEX), None
    if function == "_==_" and args[0].type.kind == "opaque" == args[1].type.kind:
        return ONE, None
    return _lists(overload, target, args)


def _selector(size: Range) -> Range:
    return fixed(NEW_LIST).plus(size.scaled(_SCAN)).plus(size.scaled(0.5).scaled(NEW_LIST + NEW_OBJECT))


def _over_list(target: Operand) -> Range:
    element = target.type.element if target.type.kind == "list" else None
    if element is None:
        return target.size.scaled(_SCAN)
    each = ONE
    if element.kind in _TEXT:
        each = each.plus((Range(0, element.limit) if target.reached else ANY_SIZE).scaled(_SCAN))
    return target.size.times(each)


def _replaced(size: Range, old: Range, new: Range) -> Range:
    most_count = most_kept = least_count = least_kept = 0
    if old.least == 0:
        most_count, most_kept = min(size.most + 1, MOST), size.most
    elif new.most <= old.least:
        most_kept = size.most
    else:
        most_count = math.ceil(size.most / old.least)
    if old.most == 0:
        least_count, least_kept = min(size.least + 1, MOST), size.least
    elif old.most <= new.least:
        least_kept = size.least
    else:
        least_count = math.ceil(size.least / old.most)
    return Range(least_count, most_count).times(new).plus(Range(least_kept, most_kept))


def _joined(target: Operand, args: Sequence[Operand]) -> Range:
    element = target.type.element
    each = Range(0, element.limit) if element is not None and target.reached else ANY_SIZE
    size = target.size.times(each)
    if args:
        between = Range(max(target.size.least - 1, 0), max(target.size.most - 1, 0))
        size = size.plus(args[0].size.times(between))
    return size


def _contained(function: str, overload: str, other: Range) -> Range:
    address = Range(4, 16)
    cost = address.plus(address).scaled(_SCAN)
    if function == "containsCIDR":
        cost = cost.plus(address.scaled(_SCAN)).plus(ONE)
    return cost.plus(other.scaled(_SCAN)) if overload.endswith("_string") else cost


def _lists(overload: str, target: Operand | None, args: Sequence[Operand]) -> Estimate | None:
    """cel-go's list and set extensions."""
    if overload.startswith("list_sets_"):
        cost = args[0].size.times(args[1].size).scaled(2 if "equivalent" in overload else 1)
        return cost.plus(ONE), None
    if overload == "lists_range":
        return _allocating(1, fixed(_constant(args[0], MOST)))
    if target is None:
        return None
    if overload == "list_slice":
        size = max(_constant(args[1], target.size.most) - _constant(args[0], 0), 0)
        return _allocating(1, fixed(size))
    if overload == "list_reverse":
        return _allocating(1, target.size)
    if overload in ("list_flatten", "list_flatten_int"):
        return _allocating(_constant(args[0], MOST) if args else 1, target.size)
    if overload == "list_distinct":
        return _allocating(2, target.size.times(target.size))
    if overload.endswith(("_sort", "_sortByAssociatedKeys")):
        sorted_by = (args[0] if args else target).size
        texts = "_string_" in overload or "_bytes_" in overload
        return _allocating(2 + _SCAN if texts else 2, sorted_by.times(sorted_by))
    return None


def _constant(operand: Operand, otherwise: int) -> int:
    value = operand.value
    return max(value, 0) if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _allocating(factor: float, size: Range) -> Estimate:
    return size.scaled(factor).plus(fixed(1 + NEW_LIST)), size


def _standard(overload: str, target: Operand | None, args: Sequence[Operand]) -> Estimate:
    if overload == "string_format" and target is not None:
        return target.size.scaled(_SCAN), None
    if overload == "string_to_bytes":
        return args[0].size.scaled(_SCAN), Range(args[0].size.least, min(args[0].size.most * 4, MOST))
    if overload == "bytes_to_string":
        return args[0].size.scaled(_SCAN), Range(args[0].size.least // 4, args[0].size.most)
    if overload == "strings_quote":
        size = args[0].size
        return size.scaled(_SCAN), Range(size.least + 2, min(size.most * 2 + 2, MOST))
    if overload in ("starts_with_string", "ends_with_string"):
        return args[0].size.scaled(_SCAN), None
    if overload == "in_list":
        return args[1].size, None
    if overload == "matches_string" and target is not None:
        return target.size.plus(ONE).scaled(_SCAN).times(args[0].size.scaled(_REGEX)), None
    if overload == "contains_string" and target is not None:
        return target.size.scaled(_SCAN).times(args[0].size.scaled(_SCAN)), None
    if overload in ("add_string", "add_bytes", "add_list"):
        size = args[0].size.plus(args[1].size)
        return (ONE if overload == "add_list" else size.scaled(_SCAN)), size
    if overload in ("equals", "not_equals") or overload in _COMPARED:
        most = min(args[0].size.most, args[1].size.most)
        return Range(1 if most else 0, most).scaled(_SCAN), None
    return ONE, None


# -- what calls really cost

Meter: TypeAlias = Callable[[Sequence[Any], Any], int]


def size_of(value: Any) -> int:
    """The size of a value: characters, bytes, elements, entries; 1 for all others."""
    kind = type(value)
    if kind is str or kind is list or kind is dict or kind is bytes:
        return len(value)
    if isinstance(value, list):
        return len(value)
    inner = getattr(value, "sized", None)
    if inner is not None:
        return int(inner())
    return len(getattr(value, "packed", b"1"))


def _scan(position: int, factor: float, args: Sequence[Any], result: Any) -> int:
    return math.ceil(size_of(args[position]) * factor)


def _traversal(value: Any) -> int:
    if isinstance(value, str):
        return int(len(value.encode()) * _SCAN)
    if isinstance(value, bytes):
        return int(len(value) * _SCAN)
    if isinstance(value, list):
        return sum(map(_traversal, value))
    if isinstance(value, dict):
        return sum(_traversal(key) + _traversal(below) for key, below in value.items())
    return 1


def _match(args: Sequence[Any], result: Any) -> int:
    return math.ceil((1 + size_of(args[0])) * _SCAN) * math.ceil(size_of(args[1]) * _REGEX)


def _contains(args: Sequence[Any], result: Any) -> int:
    return math.ceil(size_of(args[0]) * _SCAN) * math.ceil(size_of(args[1]) * _SCAN)


def _network(extra: bool, parsed: bool, args: Sequence[Any], result: Any) -> int:
    size = size_of(args[0])
    cost = math.ceil(2 * size * _SCAN)
    if extra:
        cost += math.ceil(size * _SCAN) + 1
    return cost + (math.ceil(size_of(args[1]) * _SCAN) if parsed else 0)


def _smaller(args: Sequence[Any], result: Any) -> int:
    return math.ceil(min(size_of(args[0]), size_of(args[1])) * _SCAN)


def _self_compare(position: int, args: Sequence[Any], result: Any) -> int:
    values = args[position]
    factor = 2 + (_SCAN if values and isinstance(values[0], str | bytes) else 0)
    return int(len(values) ** 2 * factor) + 1 + NEW_LIST


def _sum_of_both(args: Sequence[Any], result: Any) -> int:
    return math.ceil((size_of(args[0]) + size_of(args[1])) * _SCAN)


def _validated(args: Sequence[Any], result: Any) -> int:
    pattern = getattr(args[0], "pattern_size", _FORMAT_REGEX)
    return math.ceil((1 + size_of(args[1])) * _SCAN) * math.ceil(pattern * _REGEX)


_SCANS: Final = {
    **dict.fromkeys(("url", "jsonpatch.escapeKey", *_SAME_SIZE, *_PARSED), 1 * _SCAN),
    **dict.fromkeys(("replace", "split", "ip.isCanonical"), 2 * _SCAN),
}


def meter(function: str, overload: str) -> Meter | None:
    """What a call costs when it runs; None: always 1."""
    if function in _SCANS:
        return partial(_scan, 0, _SCANS[function])
    if function == "check":
        return lambda args, result: _CHECK
    if function in ("fieldSelector", "labelSelector"):
        return lambda args, result: _selector(fixed(size_of(args[1]))).most
    if function in _OF_LISTS:
        return lambda args, result: _traversal(args[0])
    if function == "join":
        return lambda args, result: math.ceil(size_of(result) * 2 * _SCAN)
    if function in ("find", "findAll") or overload == "matches_string":
        return _match
    if overload == "string_to_ip":
        return partial(_scan, 0, _SCAN)
    if function in ("containsIP", "containsCIDR"):
        return partial(_network, function == "containsCIDR", overload.endswith("_string"))
    return _validated if function == "validate" else _standard_meter(overload)


def _standard_meter(overload: str) -> Meter | None:
    if overload in ("starts_with_string", "ends_with_string", "string_to_bytes", "bytes_to_string"):
        return partial(_scan, 0, _SCAN)
    if overload in ("strings_quote", "string_format"):
        return partial(_scan, 0, _SCAN)
    if overload == "in_list":
        return partial(_scan, 1, 1)
    if overload in ("equals", "not_equals") or overload in _COMPARED:
        return _smaller
    if overload in ("add_string", "add_bytes"):
        return _sum_of_both
    if overload == "contains_string":
        return _contains
    if overload.startswith("list_sets_"):
        factor = 2 if "equivalent" in overload else 1
        return lambda args, result: 1 + size_of(args[0]) * size_of(args[1]) * factor
    if overload in ("lists_range", "list_slice", "list_reverse"):
        return lambda args, result: size_of(result) + 1 + NEW_LIST
    if overload in ("list_flatten", "list_flatten_int"):
        return lambda args, result: size_of(args[0]) * (args[1] if len(args) > 1 else 1) + 1 + NEW_LIST
    if overload == "list_distinct" or overload.endswith("_sort"):
        return partial(_self_compare, 0)
    return partial(_self_compare, 1) if overload.endswith("_sortByAssociatedKeys") else None
