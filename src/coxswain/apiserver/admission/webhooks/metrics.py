"""What is counted of webhooks, under Kubernetes' names."""

from __future__ import annotations

from coxswain.base import metrics

DURATION = metrics.histogram(
    "apiserver_admission_webhook_admission_duration_seconds",
    "How long webhooks took to answer, by name, kind, operation and whether they refused.",
    ("name", "type", "operation", "rejected"),
    buckets=(0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10, 25),
)
REQUESTS = metrics.counter(
    "apiserver_admission_webhook_request",
    "Requests to webhooks, by name, kind, operation, HTTP code and whether they refused.",
    ("name", "type", "operation", "code", "rejected"),
)
# Kubernetes' names lack the suffix of counters: as gauges they come out as they should be.
REJECTIONS = metrics.gauge(
    "apiserver_admission_webhook_rejection_count",
    "Requests that webhooks refused, or that were refused because a webhook failed.",
    ("name", "type", "operation", "error_type", "rejection_code"),
)
FAIL_OPEN = metrics.gauge(
    "apiserver_admission_webhook_fail_open_count",
    "Requests that were let through because a failing webhook may be ignored.",
    ("name", "type"),
)
_KINDS = {True: "admit", False: "validating"}


def answered(name: str, mutating: bool, operation: str, seconds: float, rejected: bool, code: int) -> None:
    """A webhook answered with an HTTP code (200 where it agrees), or was given up (0)."""
    said = str(rejected).lower()
    DURATION.labels(name, _KINDS[mutating], operation, said).observe(seconds)
    REQUESTS.labels(name, _KINDS[mutating], operation, str(min(code, 600)), said).inc()


def refused(name: str, mutating: bool, operation: str, code: int) -> None:
    """A webhook said no, with this HTTP code."""
    REJECTIONS.labels(name, _KINDS[mutating], operation, "no_error", str(code)).inc()


def failed(name: str, mutating: bool, operation: str, fails_open: bool) -> None:
    """A webhook could not be asked."""
    if fails_open:
        FAIL_OPEN.labels(name, _KINDS[mutating]).inc()
    else:
        REJECTIONS.labels(name, _KINDS[mutating], operation, "calling_webhook_error", "0").inc()
