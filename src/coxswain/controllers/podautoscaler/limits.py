"""From the replicas that metrics ask for to those that are set: not too many, not too few, not too fast. No IO.

    wanted --stabilize--> not below (or above) what was wanted within the window
           --limit-----> within minReplicas and maxReplicas, and what the policies allow in their periods

Without ``spec.behavior`` the old rule holds: down only to the highest wish of the last five minutes, up to
twice as many at a time (or four). ``History`` is what an autoscaler remembers; it is lost with the process, as
Kubernetes' is: then the replicas found are the first wish.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coxswain.api.names import Object

_UP_FACTOR, _UP_MINIMUM = 2, 4
_UP_POLICIES = (
    {"type": "Pods", "value": 4, "periodSeconds": 15},
    {"type": "Percent", "value": 100, "periodSeconds": 15},
)
_DOWN_POLICIES = ({"type": "Percent", "value": 100, "periodSeconds": 15},)

_STABILIZED_UP = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
_STABILIZED_DOWN = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)
_READY = ("ReadyForNewScale", "recommended size matches current size")
_WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
_TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
_TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
_TOO_FAST_UP = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
_TOO_FAST_DOWN = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
)

Reason = tuple[str, str]


@dataclass(slots=True)
class History:
    """What one autoscaler remembers: (when, replicas wished) and (when, replicas added or taken)."""

    wishes: list[tuple[float, int]] = field(default_factory=list)
    ups: list[tuple[float, int]] = field(default_factory=list)
    downs: list[tuple[float, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Range:
    """The replicas now, and the fewest and most that there may be."""

    current: int
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Limited:
    """The replicas to set; why they may be set (AbleToScale); whether and why they are limited."""

    replicas: int
    able: Reason
    limited: bool
    limit: Reason


@dataclass(frozen=True, slots=True)
class Rules:
    """One direction of ``spec.behavior``, complete. ``window`` is in seconds."""

    window: float
    select: str
    policies: Sequence[Mapping[str, Any]]

    @property
    def longest(self) -> float:
        """The longest period of a policy, in seconds."""
        return float(max((policy["periodSeconds"] for policy in self.policies), default=0))


def rules(behavior: Object, direction: str, window: float) -> Rules:
    """``scaleUp`` or ``scaleDown`` of a behavior; ``window`` holds for scaling down where it names none."""
    given = behavior.get(direction) or {}
    default_window, policies = (0.0, _UP_POLICIES) if direction == "scaleUp" else (window, _DOWN_POLICIES)
    seconds = given.get("stabilizationWindowSeconds")
    return Rules(
        default_window if seconds is None else float(seconds),
        given.get("selectPolicy") or "Max",
        given.get("policies") or policies,
    )


def limit_plainly(wanted: int, within: Range, history: History, window: float, now: float) -> Limited:
    """The replicas where there is no behavior; takes note of the wish."""
    recent = [wish for at, wish in history.wishes if at >= now - window]
    stable = max([wanted, *recent])
    _remember(history.wishes, (now, wanted), now - window)
    able = _STABILIZED_DOWN if stable != wanted else _READY
    fast = max(_UP_FACTOR * within.current, _UP_MINIMUM)
    most, why = (fast, _TOO_FAST_UP) if within.maximum > fast else (within.maximum, _TOO_MANY)
    if stable < within.minimum:
        return Limited(within.minimum, able, True, _TOO_FEW)
    if stable > most:
        return Limited(most, able, True, why)
    return Limited(stable, able, False, _WITHIN)


def limit_by_behavior(
    wanted: int, within: Range, history: History, behavior: Object, window: float, now: float
) -> Limited:
    """The replicas that ``behavior`` allows; takes note of the wish."""
    up, down = rules(behavior, "scaleUp", window), rules(behavior, "scaleDown", window)
    stable = _stabilize(wanted, within.current, history, up, down, now)
    able = _READY
    if stable != wanted:
        able = _STABILIZED_UP if wanted >= within.current else _STABILIZED_DOWN
    if stable > within.current:
        fast = max(_bound_up(within.current, history, up, now), within.current)
        most, why = (fast, _TOO_FAST_UP) if within.maximum > fast else (within.maximum, _TOO_MANY)
        if stable > most:
            return Limited(most, able, True, why)
    elif stable < within.current:
        slow = min(_bound_down(within.current, history, down, now), within.current)
        least, why = (slow, _TOO_FAST_DOWN) if within.minimum < slow else (within.minimum, _TOO_FEW)
        if stable < least:
            return Limited(least, able, True, why)
    return Limited(stable, able, False, _WITHIN)


def note_scaling(history: History, behavior: Object | None, before: int, after: int, now: float) -> None:
    """Remember that the replicas were changed: policies count it for their periods."""
    if behavior is None:
        return
    up = after > before
    longest = rules(behavior, "scaleUp" if up else "scaleDown", 0).longest
    _remember(history.ups if up else history.downs, (now, abs(after - before)), now - longest)


def _stabilize(wanted: int, current: int, history: History, up: Rules, down: Rules, now: float) -> int:
    low = min([wanted, *(wish for at, wish in history.wishes if at > now - up.window)])
    high = max([wanted, *(wish for at, wish in history.wishes if at > now - down.window)])
    _remember(history.wishes, (now, wanted), now - max(up.window, down.window))
    return min(max(current, low), high)


def _bound_up(current: int, history: History, up: Rules, now: float) -> int:
    """The most replicas that the policies allow now."""
    if up.select == "Disabled":
        return current
    choose = min if up.select == "Min" else max
    proposals: list[int] = []
    for policy in up.policies:
        start = _at_start(current, history, policy, now)
        if policy["type"] == "Pods":
            proposals.append(start + policy["value"])
        else:
            # Upwards, or a small number of replicas would never grow.
            proposals.append(math.ceil(start * (1 + policy["value"] / 100)))
    return choose(proposals)


def _bound_down(current: int, history: History, down: Rules, now: float) -> int:
    """The fewest replicas that the policies allow now."""
    if down.select == "Disabled":
        return current
    choose = max if down.select == "Min" else min
    proposals: list[int] = []
    for policy in down.policies:
        start = _at_start(current, history, policy, now)
        if policy["type"] == "Pods":
            proposals.append(start - policy["value"])
        else:
            proposals.append(int(start * (1 - policy["value"] / 100)))
    return choose(proposals)


def _at_start(current: int, history: History, policy: Mapping[str, Any], now: float) -> int:
    """The replicas when the policy's period began."""
    since = now - policy["periodSeconds"]
    added = sum(change for at, change in history.ups if at > since)
    taken = sum(change for at, change in history.downs if at > since)
    return current - added + taken


def _remember(entries: list[tuple[float, int]], entry: tuple[float, int], since: float) -> None:
    """Add an entry and forget those from before ``since``."""
    entries[:] = [one for one in entries if one[0] >= since]
    entries.append(entry)
