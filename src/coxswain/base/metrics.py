"""Metrics under Prometheus' conventions: a small registry over prometheus-client.

Rooms make their metrics at import, under Kubernetes' names where those exist, and keep the labelled child
that they use often: looking a child up costs four times what counting costs.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakMethod

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.process_collector import ProcessCollector

# When a series began is a gauge beside each of them, which no Kubernetes component shows.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: Everything that ``/metrics`` of this process shows.
REGISTRY = CollectorRegistry(auto_describe=True)
ProcessCollector(registry=REGISTRY)

#: Seconds; Kubernetes' own buckets for request latencies, thinned.
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
    """A counter; Prometheus appends ``_total`` to its name."""
    return Counter(name, text, labels, registry=REGISTRY)


def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
    """A gauge."""
    return Gauge(name, text, labels, registry=REGISTRY)


def follow(gauge: Gauge, value: Callable[[], float]) -> None:
    """Let ``gauge`` show what the method ``value`` returns whenever somebody asks; 0 once its object is gone."""
    method = WeakMethod(value)

    def current() -> float:
        ask = method()
        return ask() if ask is not None else 0.0

    gauge.set_function(current)


def histogram(
    name: str, text: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = LATENCY_BUCKETS
) -> Histogram:
    """A histogram; ``buckets`` are upper bounds in the metric's unit."""
    return Histogram(name, text, labels, buckets=buckets, registry=REGISTRY)


def exposition() -> bytes:
    """The text that ``/metrics`` answers with."""
    return generate_latest(REGISTRY)
