"""What is counted of validating policies, under Kubernetes' names: validations that did not hold, and what was done."""

from __future__ import annotations

from coxswain.base import metrics

_LABELS = ("policy", "policy_binding", "error_type", "enforcement_action")
_CHECKS = metrics.counter(
    "apiserver_validating_admission_policy_check",
    "Validations that did not hold, or could not be told, by policy, binding, error and what was done.",
    _LABELS,
)
_SECONDS = metrics.histogram(
    "apiserver_validating_admission_policy_check_duration_seconds",
    "How long such validations took.",
    _LABELS,
    buckets=(0.0000005, 0.001, 0.01, 0.1, 1.0),
)

NO_ERROR, INVALID, OUT_OF_BUDGET = "no_error", "invalid_error", "out_of_budget"


def checked(policy: str, binding: str, error: str, action: str, seconds: float) -> None:
    """A validation did not hold; ``action`` is allow, deny, audit or warn."""
    _CHECKS.labels(policy, binding, error, action).inc()
    _SECONDS.labels(policy, binding, error, action).observe(seconds)
