"""Metrics under Prometheus' conventions: a small registry over prometheus-client.

Rooms make their metrics at import, under Kubernetes' names where those exist, and keep the labelled child
that they use often: looking a child up costs four times what counting costs.

What a room counts in its own way it shows in one of two: as a collector of prometheus-client's, or, where there are
thousands of histograms, as text (``write``, ``histogram_text``), which takes a fortieth of the time. Whoever is asked
for metrics writes them on the loop's thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
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


def observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """What ``histogram.observe`` does of each of ``values``: with a lock for a bucket, not two for a value."""
    bounds = histogram._upper_bounds
    for at, times in Counts([bisect_left(bounds, value) for value in values]).items():
        histogram._buckets[at].inc(times)
    histogram._sum.inc(sum(values))


_writers: list[Callable[[], Iterator[str]]] = []


def write(writer: Callable[[], Iterator[str]]) -> None:
    """Let ``writer`` add whole families, as text, to what ``/metrics`` shows."""
    _writers.append(writer)


def histogram_text(
    name: str,
    text: str,
    labels: Sequence[str],
    bounds: Sequence[float],
    series: Iterable[tuple[Sequence[str], Sequence[int], float]],
) -> Iterator[str]:
    """A family of histograms with the same ``bounds`` (ascending; the last bucket, without one, is added).

    ``series``: label values, how many values fell into each bucket alone, and the sum of all values.
    """
    yield f"# HELP {name} {text}\n# TYPE {name} histogram\n"
    uppers = [f"{bound:g}" for bound in bounds] + ["+Inf"]
    shape = "".join(f'{name}_bucket{{\0le="{upper}"}} %d\n' for upper in uppers)
    shape += f"{name}_count%s %d\n{name}_sum%s %s\n"
    for values, counts, total in series:
        shown = ",".join(
            [f'{label}="{_escaped(value)}"' for label, value in zip(labels, values, strict=True)]
        )
        first, alone = (shown.replace("%", "%%") + ",", f"{{{shown}}}") if shown else ("", "")
        reached = tuple(accumulate(counts))
        yield shape.replace("\0", first) % (*reached, alone, reached[-1], alone, total)


def _escaped(value: str) -> str:
    if "\\" in value or "\n" in value or '"' in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value


def exposition() -> bytes:
    """The text that ``/metrics`` answers with."""
    written = "".join([part for writer in _writers for part in writer()])
    return generate_latest(REGISTRY) + written.encode()
