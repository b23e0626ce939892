"""What auditing counts, under Kubernetes' names."""

from __future__ import annotations

from coxswain.base import metrics

EVENTS = metrics.counter("apiserver_audit_event", "Audit events made.")
LEVELS = metrics.counter("apiserver_audit_level", "Policy levels of requests.", ("level",))
LOST = metrics.counter("apiserver_audit_error", "Audit events that could not be handed on.", ("plugin",))
