"""Quantities: exact amounts of a resource, written as Kubernetes writes them (apimachinery ``api/resource``).

    Quantity.parse("1500m")        exact; a str, an int or a JSON float; raises QuantityError
    str(q)                         canonical: "0.5" -> "500m", "1024Ki" -> "1Mi", "1000m" -> "1"
    q.value(), q.milli()           whole units and thousandths, rounded away from zero
    q + r, q - r, -q, q * 3, q < r arithmetic and comparison by amount, whatever the suffix
    canonicalize("1024Ki")         "1Mi", cached: what the server stores for a quantity field

An amount is one integer of nano units, so nothing is ever lost: Kubernetes keeps no more than nine decimals and
rounds anything smaller up ("if you want some resources, you should get some"). Amounts with a binary suffix
are capped at 2^63-1.
"""

from __future__ import annotations

import re
from functools import total_ordering
from typing import Final, Literal, TypeAlias

from coxswain.base.memo import remembered

Format: TypeAlias = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

NANO: Final = 10**9
_MAX: Final = (2**63 - 1) * NANO

FORMAT_WRONG: Final = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)
SUFFIX_WRONG: Final = "unable to parse quantity's suffix"
NUMERIC_WRONG: Final = "unable to parse numeric part of quantity"

_SHAPE = re.compile(r"([+-]?)([0-9]*)(?:(\.)([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)", re.ASCII)
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIXES = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIXES = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
#: Exponents beyond this are refused rather than computed (a JSON body must not cost gigabytes of digits).
_MAX_EXPONENT: Final = 4096


class QuantityError(ValueError):
    """The text is not a quantity; ``str(error)`` is Kubernetes' message."""


@total_ordering
class Quantity:
    """An immutable amount of something and the family of suffixes it is written with."""

    __slots__ = ("format", "nano")

    def __init__(self, nano: int, format: Format = "DecimalSI") -> None:  # noqa: A002 (Kubernetes' name)
        self.nano: Final = nano
        self.format: Final[Format] = format

    @staticmethod
    def parse(text: str | int | float) -> Quantity:
        """The quantity of a JSON value. Raises ``QuantityError``."""
        if type(text) is str:
            return _parse(text)
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise QuantityError(FORMAT_WRONG)
        return _parse(str(text))

    @staticmethod
    def of(value: int, format: Format = "DecimalSI") -> Quantity:  # noqa: A002
        """``value`` whole units."""
        return Quantity(value * NANO, format)

    def value(self) -> int:
        """Whole units, rounded away from zero."""
        return _scale_down(self.nano, NANO)

    def milli(self) -> int:
        """Thousandths, rounded away from zero."""
        return _scale_down(self.nano, 1_000_000)

    def sign(self) -> int:
        """-1, 0 or 1."""
        return (self.nano > 0) - (self.nano < 0)

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano + other.nano, self.format if self.nano else other.format)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano - other.nano, self.format if self.nano else other.format)

    def __mul__(self, factor: int) -> Quantity:
        return Quantity(self.nano * factor, self.format)

    def __neg__(self) -> Quantity:
        return Quantity(-self.nano, self.format)

    def __bool__(self) -> bool:
        return self.nano != 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nano == other.nano

    def __lt__(self, other: Quantity) -> bool:
        return self.nano < other.nano

    def __hash__(self) -> int:
        return hash(self.nano)

    def __repr__(self) -> str:
        return f"Quantity({str(self)!r})"

    def __str__(self) -> str:
        nano, form = self.nano, self.format
        if nano == 0:
            return "0"
        if form == "BinarySI" and (-1024 * NANO < nano < 1024 * NANO or nano % NANO):
            form = "DecimalSI"  # a binary suffix would lose precision, or say nothing
        if form == "BinarySI":
            return _write_binary(nano // NANO)
        return _write_decimal(nano, form)


def _scale_down(nano: int, unit: int) -> int:
    return -(-nano // unit) if nano >= 0 else nano // unit


def _write_binary(amount: int) -> str:
    power = 0
    while amount % 1024 == 0 and power < 6:
        amount //= 1024
        power += 1
    return f"{amount}{_BINARY_SUFFIXES[power]}"


def _write_decimal(nano: int, form: Format) -> str:
    """The shortest mantissa without a fraction whose exponent is a multiple of three."""
    exponent = -9
    while nano % 1000 == 0 and (exponent < 18 or form == "DecimalExponent"):
        nano //= 1000
        exponent += 3
    if form == "DecimalSI":
        return f"{nano}{_DECIMAL_SUFFIXES[exponent]}"
    return f"{nano}e{exponent}" if exponent else str(nano)


@remembered(16384)
def _parse(text: str) -> Quantity:
    match = _SHAPE.fullmatch(text)
    if match is None or not text:
        raise QuantityError(FORMAT_WRONG)
    sign, whole, point, fraction, suffix = match.groups(default="")
    base, exponent, form = _interpret(suffix)
    if not whole and not fraction:
        # Go accepts a sign or a point alone as far as its number parser does: it does not.
        raise QuantityError(NUMERIC_WRONG if point or sign or suffix else FORMAT_WRONG)
    nano = _nanos(int(whole + fraction), len(fraction), base, exponent)
    if form == "BinarySI":
        nano = min(nano, _MAX)
        if nano < NANO:
            form = "DecimalSI"
    return Quantity(-nano if sign == "-" else nano, form)


def _interpret(suffix: str) -> tuple[int, int, Format]:
    """(base, exponent, format) of a suffix."""
    decimal = _DECIMAL.get(suffix)
    if decimal is not None:
        return 10, decimal, "DecimalSI"
    binary = _BINARY.get(suffix)
    if binary is not None:
        return 2, binary, "BinarySI"
    if suffix[0] in "eE":
        digits = suffix[1:]
        if digits.lstrip("+-").isdigit() and abs(int(digits)) <= _MAX_EXPONENT:
            return 10, int(digits), "DecimalExponent"
    raise QuantityError(SUFFIX_WRONG)


def _nanos(digits: int, decimals: int, base: int, exponent: int) -> int:
    """``digits * 10^-decimals * base^exponent`` in nano units, rounded up."""
    scale = 9 - decimals
    if base == 2:
        digits <<= exponent
    else:
        scale += exponent
    if scale >= 0:
        return digits * int(10**scale)
    return -(-digits // int(10**-scale))


@remembered(16384)
def _canonical(text: str) -> str:
    return str(_parse(text))


def canonicalize(text: str | int | float) -> str:
    """The canonical form of a quantity as JSON has it. Raises ``QuantityError``."""
    if type(text) is str:
        return _canonical(text)
    return str(Quantity.parse(text))
