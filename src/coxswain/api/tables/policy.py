"""Tables of what limits and scales: budgets, autoscalers, admission, flow control, role bindings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from coxswain.api.names import Object
from coxswain.api.tables.text import (
    NONE,
    UNKNOWN,
    UNSET,
    Printer,
    age,
    condition,
    first_of,
    name,
    selector,
    spec,
    status,
)


def _budget(obj: Object, now: float) -> list[Any]:
    wanted = spec(obj)
    bounds = [wanted.get("minAvailable"), wanted.get("maxUnavailable")]
    shown = ["N/A" if bound is None else str(bound) for bound in bounds]
    return [name(obj), *shown, status(obj).get("disruptionsAllowed", 0), age(obj, now)]


def _binding(obj: Object, now: float) -> list[Any]:
    role = obj.get("roleRef") or {}
    by_kind: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        shown = subject.get("name", "")
        if subject.get("kind") == "ServiceAccount":
            shown = f"{subject.get('namespace', '')}/{shown}"
        by_kind.setdefault(subject.get("kind", ""), []).append(shown)
    names = [", ".join(by_kind[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [name(obj), f"{role.get('kind', '')}/{role.get('name', '')}", age(obj, now), *names]


# --- autoscalers ------------------------------------------------------------------------------------------


def _autoscaler(obj: Object, now: float) -> list[Any]:
    wanted, current = spec(obj), status(obj)
    target = wanted.get("scaleTargetRef") or {}
    lowest = wanted.get("minReplicas")
    return [
        name(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _metrics(obj),
        UNSET if lowest is None else str(lowest),
        wanted.get("maxReplicas", 0),
        current.get("currentReplicas", 0),
        age(obj, now),
    ]


def _metrics(obj: Object) -> str:
    wanted, current = spec(obj), status(obj)
    metrics = wanted.get("metrics") or []
    observed = current.get("currentMetrics") or []
    if "targetCPUUtilizationPercentage" in wanted:  # autoscaling/v1 knows processors only
        used = current.get("currentCPUUtilizationPercentage")
        shown = UNKNOWN if used is None else f"{used}%"
        return f"cpu: {shown}/{wanted['targetCPUUtilizationPercentage']}%"
    if not metrics:
        return NONE
    texts = [
        _metric(each, observed[place] if place < len(observed) else {}) for place, each in enumerate(metrics)
    ]
    return first_of(texts, 2, ", ")


_METRIC_FIELDS: Final = {
    "External": "external",
    "Pods": "pods",
    "Object": "object",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}


def _metric(metric: Object, observed: Object) -> str:
    field = _METRIC_FIELDS.get(metric.get("type", ""))
    if field is None:
        return "<unknown type>"
    source = metric.get(field) or {}
    target = source.get("target") or {}
    current = (observed.get(field) or {}).get("current") or {}
    average = target.get("averageValue")
    if field in ("resource", "containerResource"):
        if average is not None:
            return f"{source.get('name', '')}: {current.get('averageValue', UNKNOWN)}/{average}"
        used, aim = current.get("averageUtilization"), target.get("averageUtilization")
        shown = UNKNOWN if used is None else f"{used}%"
        return f"{source.get('name', '')}: {shown}/{'<auto>' if aim is None else f'{aim}%'}"
    if field == "pods":
        return f"{current.get('averageValue', UNKNOWN)}/{average}"
    if average is not None:
        return f"{current.get('averageValue', UNKNOWN)}/{average} (avg)"
    return f"{current.get('value', UNKNOWN)}/{target.get('value')}"


# --- admission --------------------------------------------------------------------------------------------


def _webhooks(obj: Object, now: float) -> list[Any]:
    return [name(obj), len(obj.get("webhooks") or ()), age(obj, now)]


def _admission_policy(field: str) -> Printer:
    def cells(obj: Object, now: float) -> list[Any]:
        kind = spec(obj).get("paramKind")
        shown = f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET
        return [name(obj), len(spec(obj).get(field) or ()), shown, age(obj, now)]

    return cells


def _admission_binding(obj: Object, now: float) -> list[Any]:
    parameters = spec(obj).get("paramRef")
    shown = UNSET
    if parameters:
        shown = "/".join(filter(None, [parameters.get("namespace"), parameters.get("name")]))
        if not parameters.get("name"):
            shown = selector(parameters.get("selector"))
    return [name(obj), spec(obj).get("policyName", ""), shown, age(obj, now)]


# --- flow control -----------------------------------------------------------------------------------------


def _flow_schema(obj: Object, now: float) -> list[Any]:
    wanted = spec(obj)
    dangling = condition(obj, "Dangling") or {}
    return [
        name(obj),
        (wanted.get("priorityLevelConfiguration") or {}).get("name", ""),
        wanted.get("matchingPrecedence", 0),
        (wanted.get("distinguisherMethod") or {}).get("type") or NONE,
        age(obj, now),
        dangling.get("status") or "?",
    ]


def _priority_level(obj: Object, now: float) -> list[Any]:
    wanted = spec(obj)
    limited = wanted.get("limited") or wanted.get("exempt") or {}
    queuing = (limited.get("limitResponse") or {}).get("queuing") or {}
    return [
        name(obj),
        wanted.get("type", ""),
        limited.get("nominalConcurrencyShares", NONE),
        queuing.get("queues", NONE),
        queuing.get("handSize", NONE),
        queuing.get("queueLengthLimit", NONE),
        age(obj, now),
    ]


PRINTERS: Final[Mapping[tuple[str, str], Printer]] = {
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"): _admission_policy("mutations"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"): _admission_binding,
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): _webhooks,
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): _admission_policy("validations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"): _admission_binding,
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): _webhooks,
    ("autoscaling", "horizontalpodautoscalers"): _autoscaler,
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): _flow_schema,
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): _priority_level,
    ("policy", "poddisruptionbudgets"): _budget,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): _binding,
    ("rbac.authorization.k8s.io", "rolebindings"): _binding,
}
