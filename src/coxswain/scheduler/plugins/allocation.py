"""How full a node becomes, resource by resource, for any resources and weights (kube-scheduler ``resource_allocation``).

The kernels know cpu and memory of equal weight, the default; this is the general case, in numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from coxswain.scheduler.nodetable import CPU_ID, MEMORY_ID, NodeTable, Rows
from coxswain.scheduler.template import Template

Amounts: TypeAlias = NDArray[np.int64]
#: (used, capacity) of one resource -> 0..100; capacities are never 0.
Scorer: TypeAlias = Callable[[Amounts, Amounts], Amounts]
#: Points (utilization in per cent, score 0..10) of RequestedToCapacityRatio.
Shape: TypeAlias = tuple[tuple[int, int], ...]


class ResourceWeight(NamedTuple):
    """A resource that counts in a score."""

    name: str
    weight: int = 1


DEFAULT_RESOURCES = (ResourceWeight("cpu"), ResourceWeight("memory"))


class Use(NamedTuple):
    """One resource on some rows, with the pod counted."""

    used: Amounts
    capacity: Amounts
    before: Amounts
    weight: int


def uses(
    template: Template, table: NodeTable, rows: Rows, resources: Sequence[ResourceWeight], *, nonzero: bool
) -> list[Use]:
    """Each resource that the pod asks for, and cpu and memory in any case.

    ``nonzero``: containers that ask for no cpu or memory count as asking for a little.
    """
    asked = dict(zip(template.ids.tolist(), template.amounts.tolist(), strict=True))
    found = []
    for name, weight in resources:
        number = table.resources.get(name)
        if number is None or (number not in asked and number not in (CPU_ID, MEMORY_ID)):
            continue
        if nonzero and number in (CPU_ID, MEMORY_ID):
            before = table.nonzero[number, rows]
            amount = int(template.ask[2 + number])
        else:
            before = table.requested[number, rows]
            amount = asked.get(number, 0)
        found.append(Use(before + amount, table.allocatable[number, rows], before, weight))
    return found


def least(used: Amounts, capacity: Amounts) -> Amounts:
    """LeastAllocated: what is left, in per cent."""
    return np.where(used > capacity, 0, (capacity - used) * 100 // capacity)


def most(used: Amounts, capacity: Amounts) -> Amounts:
    """MostAllocated: what is used, in per cent."""
    return np.minimum(used, capacity) * 100 // capacity


def by_shape(shape: Shape) -> Scorer:
    """RequestedToCapacityRatio: a line through points over the used per cent."""
    points = [(utilization, score * 10) for utilization, score in shape]

    def score(used: Amounts, capacity: Amounts) -> Amounts:
        percent = np.where(used > capacity, 100, used * 100 // capacity)
        result = np.full(len(percent), points[-1][1], np.int64)
        for (left, low), (right, high) in reversed(list(pairwise(points))):
            # Go's division cuts towards zero, also on a falling line.
            rise = np.trunc((high - low) * (percent - left) / (right - left)).astype(np.int64)
            result = np.where(percent <= right, low + rise, result)
        return np.where(percent <= points[0][0], points[0][1], result)

    return score


def weighted_mean(found: Sequence[Use], scorer: Scorer, rows: int, *, ratio: bool = False) -> Amounts:
    """The mean over the resources that a node has; ``ratio``: only of scores above 0, rounded, not cut."""
    total = np.zeros(rows, np.int64)
    weights = np.zeros(rows, np.int64)
    for use in found:
        has = use.capacity > 0
        score = np.where(has, scorer(use.used, np.maximum(use.capacity, 1)), 0)
        counts = has & (score > 0) if ratio else has
        total += np.where(counts, score * use.weight, 0)
        weights += np.where(counts, use.weight, 0)
    divisor = np.maximum(weights, 1)
    mean = np.floor(total / divisor + 0.5).astype(np.int64) if ratio else total // divisor
    return np.where(weights > 0, mean, 0)


def balance(parts: Sequence[tuple[Amounts, Amounts]], rows: int) -> NDArray[np.float64]:
    """1 less the standard deviation of the used fractions of the resources that a node has, by row, times 100."""
    fractions = np.zeros((len(parts), rows))
    has = np.zeros((len(parts), rows), np.bool_)
    for i, (used, capacity) in enumerate(parts):
        has[i] = capacity > 0
        fractions[i] = np.where(has[i], np.minimum(used / np.maximum(capacity, 1), 1.0), 0.0)
    count = np.maximum(has.sum(axis=0), 1)
    mean = fractions.sum(axis=0) / count
    variance = (np.where(has, fractions - mean, 0.0) ** 2).sum(axis=0) / count
    if len(parts) == 2:
        deviation = np.where(has.all(axis=0), np.abs(fractions[0] - fractions[1]) / 2, 0.0)
    else:
        deviation = np.sqrt(variance)
    result: NDArray[np.float64] = np.trunc((1 - deviation) * 100.0)
    return result
