"""Seats of priority levels: nominal ones by shares, and how they are lent among levels as demand changes.

    nominal = ceil(total * shares / all shares)
    lower   = nominal - lendable percent          upper = nominal + borrowing percent (no limit: all)
    current = what ``allocate`` finds between lower and upper, in proportion to recent demand

The rules are apiserver's (``apf_controller.go``, ``conc_alloc.go``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from coxswain.api.names import Object

#: How slowly the memory of former demand fades, per adjustment.
_SMOOTHING = 0.977
_SMALLEST_TARGET = 0.001


class Bounds(NamedTuple):
    """Seats of a level. ``nominal`` is its own, ``lower`` what it keeps, ``upper`` what it may come to hold."""

    nominal: int
    lower: int
    upper: int


class Want(NamedTuple):
    """A level's part in the sharing: it gets between ``lower`` and ``upper``, and wants ``target``."""

    lower: float
    upper: float
    target: float


def concurrency(spec: Object) -> Object:
    """The part of a level's spec that is about seats."""
    part: Object = (spec.get("exempt") if spec.get("type") == "Exempt" else spec.get("limited")) or {}
    return part


def bounds(specs: Sequence[Object], total: int) -> list[Bounds]:
    """The bounds of every level of a server with ``total`` seats."""
    shares = [_shares(spec) for spec in specs]
    whole = sum(shares) or 1
    nominal = [math.ceil(total * share / whole) for share in shares]
    everything = sum(nominal)
    found = []
    for spec, own in zip(specs, nominal, strict=True):
        part = concurrency(spec)
        lendable = part.get("lendablePercent") or 0
        borrowing = part.get("borrowingLimitPercent")
        upper = everything if borrowing is None else own + _round(own * borrowing / 100)
        found.append(Bounds(own, own - _round(own * lendable / 100), upper))
    return found


def _round(value: float) -> int:
    """Go's way: halves away from zero."""
    return math.floor(value + 0.5)


def _shares(spec: Object) -> int:
    shares = concurrency(spec).get("nominalConcurrencyShares")
    if shares is None:
        return 0 if spec.get("type") == "Exempt" else 30
    return int(shares)


def allocate(total: float, wants: Sequence[Want]) -> list[float]:
    """Share out ``total``: everybody gets the same fraction of its target, within its bounds.

    A ``total`` outside of what the bounds allow gives the nearest that they do.
    """
    targets = [max(want.target, _SMALLEST_TARGET) for want in wants]

    def at(fraction: float) -> list[float]:
        return [
            max(want.lower, min(want.upper, fraction * target))
            for want, target in zip(wants, targets, strict=True)
        ]

    # The sum grows with the fraction, in straight lines between these points.
    points = sorted(
        {bound / target for want, target in zip(wants, targets, strict=True) for bound in want[:2]}
    )
    if not points or sum(at(points[0])) >= total:
        return at(points[0]) if points else []
    before = points[0]
    for point in points[1:]:
        low, high = sum(at(before)), sum(at(point))
        if high >= total:
            return at(before + (point - before) * (total - low) / (high - low))
        before = point
    return at(before)


@dataclass(slots=True)
class Demand:
    """Seats wanted over time: integrated exactly, read once an adjustment."""

    value: int = 0
    peak: int = 0
    since: float = 0.0
    changed: float = 0.0
    area: float = 0.0
    squares: float = 0.0
    smoothed: float = 0.0

    def set(self, value: int, now: float) -> None:
        """From ``now`` on, ``value`` seats are wanted."""
        elapsed = now - self.changed
        if elapsed > 0:
            self.area += self.value * elapsed
            self.squares += self.value * self.value * elapsed
            self.changed = now
        self.value = value
        if value > self.peak:
            self.peak = value

    def read(self, now: float) -> int:
        """Bring ``smoothed`` up to date, begin anew; returns the highest demand since the last reading."""
        self.set(self.value, now)
        duration, peak = now - self.since, self.peak
        if duration > 0:
            average = self.area / duration
            deviation = math.sqrt(max(0.0, self.squares / duration - average * average))
            envelope = average + deviation
            self.smoothed = max(envelope, _SMOOTHING * self.smoothed + (1 - _SMOOTHING) * envelope)
        self.area = self.squares = 0.0
        self.peak, self.since = self.value, now
        return peak


def share_out(levels: Sequence[tuple[Bounds, int, float, bool]]) -> list[int]:
    """Seats that every level may use now.

    A level is its bounds, its highest and its smoothed recent demand, and whether it is exempt: an exempt level
    takes what it needs, the others share what is left.
    """
    total = sum(level[0].nominal for level in levels)
    left, lowest, wanted = total, 0, 0
    floors: list[int] = []
    for bound, peak, _, exempt in levels:
        floor = max(bound.lower, peak if exempt else min(bound.nominal, peak))
        floors.append(floor)
        if exempt:
            left -= floor
        else:
            lowest += bound.lower
            wanted += floor
    limited = [place for place, level in enumerate(levels) if not level[3]]
    current = list(floors)
    if left <= lowest:
        for place in limited:
            current[place] = levels[place][0].lower
    elif left <= wanted:
        fraction = (left - lowest) / (wanted - lowest)
        for place in limited:
            lower = levels[place][0].lower
            current[place] = lower + _round((floors[place] - lower) * fraction)
    else:
        wants = [
            Want(floors[place], levels[place][0].upper, max(floors[place], levels[place][2]))
            for place in limited
        ]
        for place, seats in zip(limited, allocate(left, wants), strict=True):
            current[place] = _round(seats)
    return current
