"""Counts that a strategy gives as a number or as a percentage: surge, unavailability."""

from __future__ import annotations

import math


def scaled(value: int | str, total: int, *, round_up: bool) -> int:
    """An int-or-percent of ``total`` (``intstr.GetScaledValueFromIntOrPercent``)."""
    if isinstance(value, int):
        return value
    share = int(value.removesuffix("%")) * total / 100
    return math.ceil(share) if round_up else math.floor(share)
