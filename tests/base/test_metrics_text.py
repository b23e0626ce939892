"""Histograms as text are what prometheus-client writes of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from coxswain.base import metrics

_BOUNDS = (0.005, 0.5, 1.0, 2.5, 1e9)
_VALUES = st.tuples(st.text('ab"\\\n%{}\0,é='), st.text("xy%s"))
_SERIES = st.tuples(
    _VALUES, st.lists(st.integers(0, 10**9), min_size=6, max_size=6), st.floats(0, 1e12, allow_nan=False)
)


class _Theirs(Collector):
    def __init__(self, series: list[tuple[tuple[str, str], list[int], float]]) -> None:
        self._series = series

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily("one_seconds", "How long.", labels=("a", "b"))
        for values, counts, total in self._series:
            uppers = [f"{bound:g}" for bound in _BOUNDS] + ["+Inf"]
            buckets = list(zip(uppers, map(float, accumulate(counts)), strict=True))
            family.add_metric(values, buckets=buckets, sum_value=total)
        yield family


def _samples(text: str) -> list[tuple[str, frozenset[tuple[str, str]], float]]:
    return [
        (sample.name, frozenset(sample.labels.items()), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


@given(st.lists(_SERIES, max_size=3))
def test_text_says_what_prometheus_clients_says(
    series: list[tuple[tuple[str, str], list[int], float]],
) -> None:
    registry = CollectorRegistry()
    registry.register(_Theirs(series))
    ours = "".join(metrics.histogram_text("one_seconds", "How long.", ("a", "b"), _BOUNDS, series))
    theirs = generate_latest(registry).decode()
    assert ours.splitlines()[:2] == theirs.splitlines()[:2]
    assert _samples(ours) == _samples(theirs)


def test_what_a_room_writes_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_writers", [])
    metrics.write(lambda: metrics.histogram_text("own_seconds", "Own.", (), (1.0,), [((), (1, 2), 4.5)]))
    shown = metrics.exposition().decode()
    assert 'own_seconds_bucket{le="1"} 1\nown_seconds_bucket{le="+Inf"} 3\n' in shown
    assert "own_seconds_sum 4.5\n" in shown
    assert "# TYPE process_cpu_seconds_total counter" in shown
