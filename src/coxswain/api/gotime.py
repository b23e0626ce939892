"""Times as Go's ``time.Parse`` reads them and metav1 writes them, with its messages.

parse("2020-01-02T03:04:05+01:00", RFC3339).seconds_text() -> "2020-01-02T02:04:05Z"
canonical("2020-01-02T03:04:05+01:00", RFC3339) -> the same text
parse("yesterday", RFC3339)  raises TimeError: parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": ...
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from coxswain.api.fields import quote
from coxswain.base.memo import remembered

RFC3339: Final = "2006-01-02T15:04:05Z07:00"
RFC3339_MICRO: Final = "2006-01-02T15:04:05.000000Z07:00"

_WHOLE = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)([.,]\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
#: Most times that arrive: those that are written as Kubernetes writes them and that every month has.
_AS_WRITTEN = re.compile(
    r"[12]\d{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30))"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{6})?Z",
    re.ASCII,
)
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class TimeError(ValueError):
    """The text is not a time; the text of the error is Go's."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time; ``zero`` is Go's zero time, which JSON writes as null."""

    at: datetime
    nanos: int

    @property
    def zero(self) -> bool:
        """Whether this is 0001-01-01T00:00:00Z."""
        return self.at.year == 1 and self.at == _ZERO and not self.nanos

    def seconds_text(self) -> str | None:
        """As metav1.Time is written: UTC, whole seconds; None for the zero time."""
        return None if self.zero else self.at.isoformat()[:19] + "Z"

    def micro_text(self) -> str | None:
        """As metav1.MicroTime is written: UTC, six decimals; None for the zero time."""
        if self.zero:
            return None
        return f"{self.at.isoformat()[:19]}.{self.nanos // 1000:06d}Z"


_ZERO = datetime(1, 1, 1, tzinfo=UTC)


def canonical(text: str, layout: str) -> str | None:
    """``text`` as Kubernetes writes it in this layout; None for the zero time. Raises ``TimeError``."""
    match = _AS_WRITTEN.fullmatch(text)
    if match is not None and (match[1] is not None) == (layout == RFC3339_MICRO):
        return text
    moment = parse(text, layout)
    return moment.micro_text() if layout == RFC3339_MICRO else moment.seconds_text()


@remembered(4096)
def parse(text: str, layout: str) -> Moment:
    """The moment that ``text`` names in one of the two layouts. Raises ``TimeError``."""
    match = _WHOLE.fullmatch(text)
    fraction = match[7] if match else None
    exact = layout == RFC3339_MICRO
    if match is None or (exact and (fraction is None or len(fraction) != 7)):
        raise TimeError(_explain(text, layout, exact))
    year, month, day, hour, minute, second = (int(match[number]) for number in range(1, 7))
    problem = _out_of_range(year, month, day, hour, minute, second)
    if problem:
        raise TimeError(f"parsing time {quote(text)}: {problem} out of range")
    offset = timedelta(0)
    if match[8] != "Z":
        hours, minutes = int(match[8][1:3]), int(match[8][4:6])
        if hours > 24 or minutes >= 60:
            raise TimeError(
                f"parsing time {quote(text)}: time zone offset {'hour' if hours > 24 else 'minute'} out of range"
            )
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if match[8][0] == "-" else 1)
    nanos = int((fraction or ".0")[1:10].ljust(9, "0"))
    try:
        return Moment(datetime(year, month, day, hour, minute, second, tzinfo=UTC) - offset, nanos)
    except (ValueError, OverflowError):
        # Year 0 and the edges of what Python can hold.
        raise TimeError(f"parsing time {quote(text)}: year out of range") from None


def _out_of_range(year: int, month: int, day: int, hour: int, minute: int, second: int) -> str:
    if not 1 <= month <= 12:
        return "month"
    if hour > 23:
        return "hour"
    if minute > 59:
        return "minute"
    if second > 59:
        return "second"
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = 28 if month == 2 and not leap else _MONTH_DAYS[month - 1]
    return "" if 1 <= day <= days else "day"


#: The layout's elements: how it writes them, and how a value must go on.
_ELEMENTS: Final = (
    ("2006", r"\d{4}"),
    ("-", "-"),
    ("01", r"\d\d"),
    ("-", "-"),
    ("02", r"\d\d"),
    ("T", "T"),
    ("15", r"\d\d?"),
    (":", ":"),
    ("04", r"\d\d"),
    (":", ":"),
    ("05", r"\d\d"),
)


def _explain(text: str, layout: str, exact: bool) -> str:
    """Go's message: the first element of the layout that the rest of the text does not match."""
    rest = text
    for element, pattern in _ELEMENTS:
        match = re.match(pattern, rest, re.ASCII)
        if match is None:
            return _message(text, layout, rest, element)
        rest = rest[match.end() :]
    fraction = re.match(r"[.,]\d{6}" if exact else r"(?:[.,]\d+)?", rest, re.ASCII)
    if fraction is None:
        return _message(text, layout, rest, ".000000")
    rest = rest[fraction.end() :]
    zone = re.match(r"Z|[+-]\d\d:\d\d", rest, re.ASCII)
    if zone is None:
        return _message(text, layout, rest, "Z07:00")
    return f"parsing time {quote(text)}: extra text: {quote(rest[zone.end() :])}"


def _message(text: str, layout: str, rest: str, element: str) -> str:
    return f"parsing time {quote(text)} as {quote(layout)}: cannot parse {quote(rest)} as {quote(element)}"
