"""Versions of one resource: how an object moves between the version served and the version stored.

Two built-in resources have more than one version: Events (v1 is stored, events.k8s.io/v1 is another view of
the same objects) and HorizontalPodAutoscalers (autoscaling/v2 is stored; v1 keeps what it cannot say in
annotations, as in Kubernetes). Both directions leave their argument alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import orjson

from coxswain.api import schema
from coxswain.api.managedfields import Versions
from coxswain.api.names import EVENTS, EVENTS_V1, GVK, GVR, Object
from coxswain.apiserver.pending import Pending

if TYPE_CHECKING:
    from coxswain.apiserver.watchcache import ResourceCache
    from coxswain.apiserver.watchers import Delivery, Watcher


class ConversionPending(Pending):
    """A conversion that a webhook has to make first: await ``answer`` and do it again."""


#: What a selection sees of events that have to be converted before they can be judged. Raises ``ApiError``.
Narrow: TypeAlias = "Callable[[Sequence[Delivery]], Awaitable[list[Delivery]]]"


class Remote(Protocol):
    """Conversions that are asked for elsewhere (a webhook), by whoever can wait. Raises ``ApiError``."""

    async def ready(self, raws: Sequence[bytes]) -> None:
        """Make that stored objects can be converted at once."""
        ...

    async def settle(self, obj: Object) -> None:
        """Make that a new object can be converted to what is stored, and back."""
        ...

    def relay(
        self, source: Watcher, target: Watcher, cache: ResourceCache, narrow: Narrow | None = None
    ) -> Callable[[], None]:
        """Pass on what ``source`` is told (and ``narrow`` leaves of it) once it can be converted at once.

        Call the result to stop.
        """
        ...


@dataclass(frozen=True, slots=True)
class Conversion:
    """From and to the version in which a resource is stored.

    With ``remote``, both functions may raise ``ConversionPending``.
    """

    storage: GVR
    to_storage: Callable[[Object], Object]
    from_storage: Callable[[Object], Object]
    remote: Remote | None = None

    def raw_from_storage(self, raw: bytes) -> bytes:
        """The served form of stored bytes (which may carry a resourceVersion)."""
        return orjson.dumps(self.from_storage(orjson.loads(raw)))


#: events.k8s.io/v1 -> v1.
_EVENT_FIELDS = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}
_EVENT_FIELDS_BACK = {core: new for new, core in _EVENT_FIELDS.items()}


def _rename(obj: Object, names: dict[str, str], api_version: str) -> Object:
    renamed = {names.get(key, key): value for key, value in obj.items()}
    renamed["apiVersion"] = api_version
    return renamed


def _event_to_core(obj: Object) -> Object:
    return _rename(obj, _EVENT_FIELDS, "v1")


def _event_from_core(obj: Object) -> Object:
    event = _rename(obj, _EVENT_FIELDS_BACK, "events.k8s.io/v1")
    # A required field that the older version leaves out: it is there, and null.
    event.setdefault("eventTime", None)
    return event


_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
_CURRENT = "autoscaling.alpha.kubernetes.io/current-metrics"


def _cpu_utilization(metric: Object, part: str, field: str) -> int | None:
    """The utilization of a v2 metric that v1 has a field for."""
    resource = metric.get("resource") or {}
    if metric.get("type") != "Resource" or resource.get("name") != "cpu":
        return None
    value: int | None = (resource.get(part) or {}).get(field)
    return value


def _hpa_to_v1(obj: Object) -> Object:
    spec = dict(obj.get("spec") or {})
    status = dict(obj.get("status") or {})
    notes: dict[str, Any] = {}
    others = []
    for metric in spec.pop("metrics", None) or ():
        utilization = _cpu_utilization(metric, "target", "averageUtilization")
        if utilization is not None and "targetCPUUtilizationPercentage" not in spec:
            spec["targetCPUUtilizationPercentage"] = utilization
        else:
            others.append(metric)
    if others:
        notes[_METRICS] = others
    if behavior := spec.pop("behavior", None):
        notes[_BEHAVIOR] = behavior
    if conditions := status.pop("conditions", None):
        notes[_CONDITIONS] = conditions
    current = status.pop("currentMetrics", None) or []
    for metric in current:
        utilization = _cpu_utilization(metric, "current", "averageUtilization")
        if utilization is not None:
            status["currentCPUUtilizationPercentage"] = utilization
    if current:
        notes[_CURRENT] = current
    metadata = dict(obj.get("metadata") or {})
    if notes:
        annotations = dict(metadata.get("annotations") or {})
        annotations.update({key: orjson.dumps(value).decode() for key, value in notes.items()})
        metadata["annotations"] = annotations
    return {**obj, "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}


def _hpa_to_v2(obj: Object) -> Object:
    spec = dict(obj.get("spec") or {})
    status = dict(obj.get("status") or {})
    metadata = dict(obj.get("metadata") or {})
    annotations = dict(metadata.get("annotations") or {})
    metrics = _note(annotations, _METRICS) or []
    target = spec.pop("targetCPUUtilizationPercentage", None)
    if target is not None:
        goal = {"type": "Utilization", "averageUtilization": target}
        metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": goal}}, *metrics]
    if metrics:
        spec["metrics"] = metrics
    if behavior := _note(annotations, _BEHAVIOR):
        spec["behavior"] = behavior
    if conditions := _note(annotations, _CONDITIONS):
        status["conditions"] = conditions
    if current := _note(annotations, _CURRENT):
        status["currentMetrics"] = current
    status.pop("currentCPUUtilizationPercentage", None)
    if annotations:
        metadata["annotations"] = annotations
    else:
        metadata.pop("annotations", None)
    return {**obj, "apiVersion": "autoscaling/v2", "metadata": metadata, "spec": spec, "status": status}


def _note(annotations: dict[str, str], key: str) -> Any:
    text = annotations.pop(key, None)
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


_HPA_V2 = GVR("autoscaling", "v2", "horizontalpodautoscalers")
_HPA_V1 = GVR("autoscaling", "v1", "horizontalpodautoscalers")

#: Entries that are not the version stored.
CONVERSIONS: dict[GVR, Conversion] = {
    EVENTS_V1: Conversion(EVENTS, _event_to_core, _event_from_core),
    _HPA_V1: Conversion(_HPA_V2, _hpa_to_v2, _hpa_to_v1),
}


def versions_of(gvr: GVR, gvk: GVK) -> Versions:
    """Every version that a built-in resource is served in, and how an object of ``gvk`` gets there."""
    versions: dict[str, Any] = {gvk.api_version: (schema.type_of(gvk), _as_it_is, _as_it_is)}
    for view, conversion in CONVERSIONS.items():
        if view == gvr:
            other, convert, back = conversion.storage, conversion.to_storage, conversion.from_storage
        elif conversion.storage == gvr:
            other, convert, back = view, conversion.from_storage, conversion.to_storage
        else:
            continue
        there = GVK(other.group, other.version, gvk.kind)
        versions[there.api_version] = (schema.type_of(there), convert, back)
    return versions


def _as_it_is(obj: Object) -> Object:
    return obj
