"""``apiserver_flowcontrol_*``: gathered when somebody asks, so that counting costs requests nothing.

Several servers in one process add up.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from coxswain.apiserver.fairness.level import WAITS, Level
from coxswain.apiserver.metrics import Tally
from coxswain.base.metrics import REGISTRY


class Counting(Protocol):
    """What is shown of a fairness."""

    @property
    def levels(self) -> Mapping[str, Level]: ...

    def settle_counts(self) -> None: ...


#: Every fairness at work.
RUNNING: weakref.WeakSet[Counting] = weakref.WeakSet()

_PREFIX = "apiserver_flowcontrol_"
_LEVEL = ("priority_level",)
_GAUGES: tuple[tuple[str, str, Callable[[Level], float]], ...] = (
    ("current_inqueue_requests", "Requests that wait.", lambda level: level.queues.waiting),
    (
        "current_inqueue_seats",
        "Seats that waiting requests will take.",
        lambda level: level.queues.seats_waiting,
    ),
    ("current_executing_requests", "Requests in progress.", lambda level: level.queues.running),
    ("current_executing_seats", "Seats taken by requests in progress.", lambda level: level.queues.in_use),
    ("nominal_limit_seats", "Seats by concurrency shares.", lambda level: level.bounds.nominal),
    ("lower_limit_seats", "Seats that are never lent.", lambda level: level.bounds.lower),
    ("upper_limit_seats", "Seats that may be had with borrowing.", lambda level: level.bounds.upper),
    (
        "current_limit_seats",
        "Seats that may be taken now.",
        lambda level: 0 if level.exempt else level.queues.seats,
    ),
    ("demand_seats_smoothed", "Smoothed recent demand.", lambda level: level.queues.demand.smoothed),
)


class _Collector(Collector):
    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        levels: dict[str, list[Level]] = {}
        for fairness in tuple(RUNNING):
            fairness.settle_counts()
            for level in fairness.levels.values():
                levels.setdefault(level.name, []).append(level)
        for name, text, value in _GAUGES:
            gauge = GaugeMetricFamily(_PREFIX + name, text, labels=_LEVEL)
            for level_name, group in levels.items():
                gauge.add_metric((level_name,), sum(value(level) for level in group))
            yield gauge
        yield from _counters(levels)


def _counters(levels: dict[str, list[Level]]) -> Iterator[Metric]:
    labels = ("priority_level", "flow_schema")
    dispatched = CounterMetricFamily(_PREFIX + "dispatched_requests", "Requests begun.", labels=labels)
    rejected = CounterMetricFamily(
        _PREFIX + "rejected_requests", "Requests sent away.", labels=(*labels, "reason")
    )
    for name, group in levels.items():
        begun: dict[str, int] = {}
        refused: dict[tuple[str, str], int] = {}
        for level in group:
            for schema, count in level.dispatched.items():
                begun[schema] = begun.get(schema, 0) + count
            for key, count in level.rejected.items():
                refused[key] = refused.get(key, 0) + count
        for schema, count in begun.items():
            dispatched.add_metric((name, schema), count)
        for (schema, reason), count in refused.items():
            rejected.add_metric((name, schema, reason), count)
    yield dispatched
    yield rejected
    yield _waits(levels)


def _waits(levels: dict[str, list[Level]]) -> HistogramMetricFamily:
    """How long requests waited that were begun; most did not wait at all."""
    family = HistogramMetricFamily(
        _PREFIX + "request_wait_duration_seconds",
        "How long requests waited for their turn.",
        labels=("priority_level", "flow_schema", "execute"),
    )
    for name, group in levels.items():
        merged: dict[str, Tally] = {}
        for level in group:
            for schema, begun in level.dispatched.items():
                tally = merged.setdefault(schema, Tally(WAITS))
                waits = level.waits.get(schema)
                late = waits.counts if waits is not None else [0] * len(tally.counts)
                tally.total += waits.total if waits is not None else 0.0
                tally.counts[0] += begun - sum(late)
                for place, count in enumerate(late):
                    tally.counts[place] += count
        for schema, tally in merged.items():
            family.add_metric((name, schema, "true"), buckets=tally.buckets(), sum_value=tally.total)
    return family


REGISTRY.register(_Collector())
