"""Cron schedules by robfig/cron's rules: five fields, names, ranges, steps, macros, ``@every``.

Days match when day of month AND day of week do if one of them is ``*``, else when either does. A local
time that daylight saving skips is skipped; one that it repeats runs once for a fixed hour.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {
    name: n
    for n, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_DAYS = {name: n for n, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Every:
    """Every so many seconds."""

    seconds: float

    def next(self, after: float) -> float | None:
        """The first time after ``after`` (both seconds since the epoch)."""
        return float(int(after + self.seconds))


@dataclass(frozen=True, slots=True)
class Cron:
    """Five fields in a time zone."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both: bool
    zone: tzinfo

    def next(self, after: float) -> float | None:
        """The first time after ``after`` (both seconds since the epoch); None when none is in five years."""
        start = datetime.fromtimestamp(after // 60 * 60 + 60, self.zone)
        day = start.date()
        for _ in range(366 * 5 + 2):
            if day.month in self.months and self._is_day(day.day, day.isoweekday() % 7):
                midnight = datetime(day.year, day.month, day.day, tzinfo=self.zone)
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        found = self._exists(midnight.replace(hour=hour, minute=minute), after)
                        if found is not None:
                            return found
            day += timedelta(days=1)
        return None

    def _is_day(self, day: int, weekday: int) -> bool:
        by_date, by_week = day in self.days, weekday in self.weekdays
        return by_date and by_week if self.both else by_date or by_week

    def _exists(self, local: datetime, after: float) -> float | None:
        instant = local.timestamp()
        back = datetime.fromtimestamp(instant, self.zone)
        same = (back.hour, back.minute) == (local.hour, local.minute)
        return instant if same and instant > after else None


Schedule = Every | Cron


def parse(text: str, zone: str | None = None) -> Schedule:
    """The schedule that ``text`` says, in ``zone`` (UTC without). Raises ``ValueError``."""
    where: tzinfo = ZoneInfo(zone) if zone else UTC
    found = re.match(r"(?:CRON_)?TZ=(\S+)\s+", text)
    if found:
        where, text = ZoneInfo(found[1]), text[found.end() :]
    if text.startswith("@every "):
        return Every(max(1.0, float(int(_duration(text[7:])))))
    fields = _MACROS.get(text, text).split()
    if len(fields) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    stars = [re.match(r"[*?]", each) is not None for each in fields]
    return Cron(
        _field(fields[0], 0, 59),
        _field(fields[1], 0, 23),
        _field(fields[2], 1, 31),
        _field(fields[3], 1, 12, _MONTHS),
        _field(fields[4], 0, 6, _DAYS),
        stars[2] or stars[4],
        where,
    )


def _duration(text: str) -> float:
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise ValueError(f"failed to parse duration @every {text}")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _field(text: str, low: int, high: int, names: dict[str, int] | None = None) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if first in ("*", "?"):
            start, end = low, high
        else:
            start = _number(first, names)
            end = _number(last, names) if dash else high if slash else start
        every = _number(step, None) if slash else 1
        if start < low or end > high or start > end or every == 0:
            raise ValueError(f"value out of range: {part}")
        values.update(range(start, end + 1, every))
    return frozenset(values)


def _number(text: str, names: dict[str, int] | None) -> int:
    if names and text.lower() in names:
        return names[text.lower()]
    if not text.isdecimal():
        raise ValueError(f"failed to parse int from {text}")
    return int(text)


def most_recent(schedule: Schedule, earliest: float, now: float) -> tuple[float | None, int]:
    """The last time in (``earliest``, ``now``], and about how many there were (``mostRecentScheduleTime``)."""
    first = schedule.next(earliest)
    if first is None or now < first:
        return None, 0
    second = schedule.next(first)
    if second is None or now < second:
        return first, 1
    missed = int((now - first) // (second - first)) + 1
    at = schedule.next(first + (missed - 2) * (second - first))
    found = None
    while at is not None and at <= now:
        found, at = at, schedule.next(at)
    return found, missed
