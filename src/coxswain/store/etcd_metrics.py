"""What questions to etcd cost, under kube-apiserver's names. Loaded where etcd is used only."""

from __future__ import annotations

from typing import Final

from coxswain.base import metrics

_DURATION = metrics.histogram(
    "etcd_request_duration_seconds", "Seconds until etcd answered, by operation.", ("operation",)
)
_ERRORS = metrics.counter(
    "etcd_request_errors", "Requests that etcd did not answer or refused, by operation.", ("operation",)
)


class Costs:
    """The series of one operation."""

    def __init__(self, method: str) -> None:
        operation: Final = method.rpartition("/")[2].lower()
        self.seconds = _DURATION.labels(operation).observe
        self.failed = _ERRORS.labels(operation).inc
