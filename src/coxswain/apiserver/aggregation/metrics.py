"""What is counted of other API servers, under Kubernetes' names."""

from __future__ import annotations

from coxswain.base import metrics

UNAVAILABLE = metrics.gauge(
    "aggregator_unavailable_apiservice", "1 while an APIService is not available.", ("name",)
)
# A counter of this name would want the gauge's own.
LOST = metrics.gauge(
    "aggregator_unavailable_apiservice_total",
    "How often an APIService became unavailable, by reason.",
    ("name", "reason"),
)
