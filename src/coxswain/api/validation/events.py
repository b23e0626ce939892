"""Events, of the core group and of events.k8s.io: one kind with two faces."""

from __future__ import annotations

from typing import Any

from coxswain.api.fields import Errors, invalid, required
from coxswain.api.names import Object
from coxswain.api.validation.formats import IMMUTABLE, dns_subdomain, path_segment, qualified_name, report
from coxswain.api.validation.rules import Rules

_MAX_TEXT = 128
_MAX_NOTE = 1024


def _regarding(event: Object) -> Object:
    return event.get("regarding") or event.get("involvedObject") or {}


def _validate_event(event: Object, errors: Errors) -> None:
    """An event lies in the namespace of what it is about; one with eventTime says who reports what."""
    namespace = (event.get("metadata") or {}).get("namespace") or ""
    involved = _regarding(event).get("namespace") or ""
    mismatch = "does not match event.namespace"
    if not event.get("eventTime"):
        if involved != namespace and not (not involved and namespace == "default"):
            errors.append(invalid("involvedObject.namespace", involved, mismatch))
    else:
        if not involved and namespace not in ("default", "kube-system"):
            errors.append(invalid("involvedObject.namespace", involved, mismatch))
        _validate_reporter(event, errors)
    report(dns_subdomain(namespace), "namespace", namespace, errors)


def _validate_reporter(event: Object, errors: Errors) -> None:
    legacy = event.get("apiVersion") == "v1"
    field = "reportingComponent" if legacy else "reportingController"
    controller = event.get(field) or ""
    if not controller:
        errors.append(required(field))
    report(qualified_name(controller), field, controller, errors)
    _required_text("reportingInstance", event.get("reportingInstance"), errors)
    _required_text("action", event.get("action"), errors)
    _required_text("reason", event.get("reason"), errors)
    if len(event.get("note") or event.get("message") or "") > _MAX_NOTE:
        errors.append(invalid("message", "", f"can have at most {_MAX_NOTE} characters"))


def _required_text(path: str, value: Any, errors: Errors) -> None:
    if not value:
        errors.append(required(path))
    elif len(value) > _MAX_TEXT:
        errors.append(invalid(path, "", f"can have at most {_MAX_TEXT} characters"))


def _validate_series(series: Object, errors: Errors) -> None:
    if (series.get("count") or 0) < 2:
        errors.append(invalid("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        errors.append(required("series.lastObservedTime"))


def _validate_new_event(event: Object, errors: Errors) -> None:
    if event.get("series") is not None:
        _validate_series(event["series"], errors)
    if not event.get("eventTime"):
        errors.append(required("eventTime"))
    kind = event.get("type") or ""
    if kind not in ("Normal", "Warning"):
        errors.append(invalid("type", "", f"has invalid value: {kind}"))
    for old, new in (
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("deprecatedSource", "source"),
    ):
        if event.get(old):
            errors.append(invalid(new, "", "needs to be unset"))


#: What an event's update may not touch, in the names of the older version, which the messages have.
_FIXED = {
    "regarding": "involvedObject",
    "reason": "reason",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "type": "type",
    "eventTime": "eventTime",
    "action": "action",
    "related": "related",
    "reportingController": "reportingController",
    "reportingInstance": "reportingInstance",
}


def _validate_event_update(new: Object, old: Object, errors: Errors) -> None:
    series = new.get("series")
    if series != old.get("series") and series is not None:
        _validate_series(series, errors)
    for field, shown in _FIXED.items():
        if new.get(field) != old.get(field):
            errors.append(invalid(shown, new.get(field), IMMUTABLE))


RULES = {
    ("", "Event"): Rules(validate=_validate_event, name_check=path_segment, strict_finalizers=False),
    ("events.k8s.io", "Event"): Rules(
        validate=_validate_event,
        create=_validate_new_event,
        update=_validate_event_update,
    ),
}
