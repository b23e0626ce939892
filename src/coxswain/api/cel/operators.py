"""CEL's operators on values: arithmetic that overflows loudly, comparison across numbers, membership."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from coxswain.api.cel.parser import UInt
from coxswain.api.cel.values import EvaluationError, equal, is_number, joined, less, overload

_TIMES: Final = (datetime.datetime, datetime.timedelta)


def _arithmetic(name: str, left: Any, right: Any) -> Any:
    if is_number(left) and type(left) is type(right):
        return _numbers(name, left, right)
    if name == "+" and type(left) is type(right) and isinstance(left, str | bytes):
        return left + right
    if name == "+" and isinstance(left, list) and isinstance(right, list):
        return joined(left, right)
    if name in "+-" and isinstance(left, _TIMES) and isinstance(right, _TIMES):
        try:
            return left + right if name == "+" else left - right  # type: ignore[operator]
        except TypeError:
            pass
        except OverflowError:
            raise EvaluationError("timestamp overflow") from None
    raise overload(left, right)


def _numbers(name: str, left: Any, right: Any) -> Any:
    if isinstance(left, float):
        if name == "/":
            return left / right if right else _divided_by_zero(left, right)
        if name == "%":
            raise overload(left, right)
        return left + right if name == "+" else left - right if name == "-" else left * right
    if name in "/%" and right == 0:
        raise EvaluationError("division by zero" if name == "/" else "modulus by zero")
    if name in "/%":
        quotient = abs(left) // abs(right) * (1 if (left < 0) is (right < 0) else -1)
        made = quotient if name == "/" else left - quotient * right
    else:
        made = left + right if name == "+" else left - right if name == "-" else left * right
    if isinstance(left, UInt):
        if not 0 <= made < 2**64:
            raise EvaluationError("unsigned integer overflow")
        return UInt(made)
    if not -(2**63) <= made < 2**63:
        raise EvaluationError("integer overflow")
    return int(made)


def _divided_by_zero(left: float, right: float) -> float:
    if left == 0 or left != left:
        return float("nan")
    negative = (left < 0) is not (str(right)[0] == "-")
    return float("-inf") if negative else float("inf")


def _negate(value: Any) -> Any:
    if not is_number(value) or isinstance(value, UInt):
        raise overload(value)
    if isinstance(value, int) and value == -(2**63):
        raise EvaluationError("integer overflow")
    return -value


def _not(value: Any) -> bool:
    if type(value) is not bool:
        raise overload(value)
    return not value


def _in(value: Any, values: Any) -> bool:
    if isinstance(values, list):
        return any(equal(value, each) for each in values)
    if isinstance(values, dict):
        return not isinstance(value, list | dict) and value in values
    raise overload(value, values)


def _at_most(left: Any, right: Any) -> bool:
    return less(left, right) or equal(left, right)


OPERATORS: Final[Mapping[str, Callable[..., Any]]] = {
    "_==_": equal,
    "_!=_": lambda left, right: not equal(left, right),
    "_<_": less,
    "_>_": lambda left, right: less(right, left),
    "_<=_": _at_most,
    "_>=_": lambda left, right: _at_most(right, left),
    "@in": _in,
    "!_": _not,
    "-_": _negate,
    **{f"_{name}_": partial(_arithmetic, name) for name in "+-*/%"},
}
