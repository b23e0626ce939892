"""What the API server counts, under Kubernetes' names; and ``/metrics``."""

from __future__ import annotations

from typing import Any

from coxswain.base import metrics

REQUESTS = metrics.counter(
    "apiserver_request",
    "Requests by verb, group, resource, subresource and HTTP code.",
    ("verb", "group", "resource", "subresource", "code"),
)
DURATION = metrics.histogram(
    "apiserver_request_duration_seconds",
    "How long requests took, by verb and resource (watches excepted).",
    ("verb", "resource"),
)
WATCHERS = metrics.gauge("apiserver_longrunning_requests", "Watches and other long requests in progress.")
IN_FLIGHT = metrics.gauge(
    "apiserver_current_inflight_requests", "Requests in progress, by whether they write.", ("request_kind",)
)
REJECTED = metrics.counter(
    "apiserver_dropped_requests", "Requests refused because too many were in progress."
)
PANICS = metrics.counter("apiserver_request_panics", "Requests that met a bug and were answered with 500.")

_requests: dict[tuple[str, str, str, str, int], Any] = {}
_durations: dict[tuple[str, str], Any] = {}


def observe(verb: str, group: str, resource: str, subresource: str, code: int, seconds: float) -> None:
    """Count one finished request; looking up labels is the dear part, so children are kept."""
    count(verb, group, resource, subresource, code)
    histogram = _durations.get((verb, resource))
    if histogram is None:
        histogram = _durations[verb, resource] = DURATION.labels(verb, resource)
    histogram.observe(seconds)


def count(verb: str, group: str, resource: str, subresource: str, code: int) -> None:
    """Count a finished request of a component: in a batch, it has no duration of its own."""
    key = (verb, group, resource, subresource, code)
    counter = _requests.get(key)
    if counter is None:
        counter = _requests[key] = REQUESTS.labels(verb, group, resource, subresource, str(code))
    counter.inc()


def exposition() -> bytes:
    """The text of ``/metrics``."""
    return metrics.exposition()
