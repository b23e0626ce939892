"""Events, of the core group and of events.k8s.io: one kind with two faces."""

from __future__ import annotations

from typing import Any

from coxswain.api.fields import Errors, invalid, required
from coxswain.api.names import Object
from coxswain.api.validation.formats import IMMUTABLE, dns_label, dns_subdomain, qualified_name, report
from coxswain.api.validation.rules import Rules

_MAX_REASON = 128
_MAX_NOTE = 1024
_MAX_INSTANCE = 128
_KUBE_SYSTEM = ("", "default", "kube-system")


def _regarding(event: Object) -> Object:
    return event.get("regarding") or event.get("involvedObject") or {}


def _validate_event(event: Object, errors: Errors) -> None:
    """The lasting rule: an event lies in the namespace of what it is about."""
    namespace = (event.get("metadata") or {}).get("namespace") or ""
    involved = _regarding(event).get("namespace") or ""
    if (not involved and namespace not in _KUBE_SYSTEM) or (involved and involved != namespace):
        errors.append(invalid("involvedObject.namespace", involved, "does not match event.namespace"))
    if event.get("apiVersion") == "v1" and not event.get("eventTime"):
        # An event of the old sort, which came before the rules below.
        return
    for path, value, limit in (
        ("reportingController", event.get("reportingController") or event.get("reportingComponent"), 0),
        ("reportingInstance", event.get("reportingInstance"), _MAX_INSTANCE),
    ):
        _required_text(path, value, limit, errors)
    controller = event.get("reportingController") or event.get("reportingComponent")
    if controller:
        report(qualified_name(controller), "reportingController", controller, errors)
    _required_text("action", event.get("action"), _MAX_REASON, errors)
    _required_text("reason", event.get("reason"), _MAX_REASON, errors)
    note = event.get("note") or event.get("message") or ""
    if len(note) > _MAX_NOTE:
        errors.append(invalid("message", "", f"can have at most {_MAX_NOTE} characters"))


def _required_text(path: str, value: Any, limit: int, errors: Errors) -> None:
    if not value:
        errors.append(required(path))
    elif limit and len(value) > limit:
        errors.append(invalid(path, "", f"can have at most {limit} characters"))


def _validate_new_event(event: Object, errors: Errors) -> None:
    namespace = (event.get("metadata") or {}).get("namespace") or ""
    report(dns_label(namespace), "namespace", namespace, errors)
    if not event.get("eventTime"):
        errors.append(required("eventTime"))
    kind = event.get("type") or ""
    if kind not in ("Normal", "Warning"):
        errors.append(invalid("type", kind, f"has invalid value: {kind}"))
    for old, new in (
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("deprecatedSource", "source"),
    ):
        if event.get(old):
            errors.append(invalid(new, "", "needs to be unset"))


_FIXED = (
    "regarding",
    "reason",
    "reportingController",
    "reportingInstance",
    "action",
    "related",
    "type",
    "note",
    "eventTime",
)


def _validate_event_update(new: Object, old: Object, errors: Errors) -> None:
    for field in _FIXED:
        if new.get(field) != old.get(field):
            errors.append(invalid(field, new.get(field), IMMUTABLE))


RULES = {
    ("", "Event"): Rules(validate=_validate_event, name_check=dns_subdomain, strict_finalizers=False),
    ("events.k8s.io", "Event"): Rules(
        validate=_validate_event,
        create=_validate_new_event,
        update=_validate_event_update,
        name_check=dns_subdomain,
        strict_finalizers=False,
    ),
}
