"""HorizontalPodAutoscalers, of both versions."""

from __future__ import annotations

from coxswain.api.fields import Errors, forbidden, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.api.validation.formats import NOT_POSITIVE, path_segment, report
from coxswain.api.validation.objectmeta import validate_label_selector
from coxswain.api.validation.rules import Rules

_METRICS = {
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
    "External": "external",
    "ContainerResource": "containerResource",
}
_MAX_PERIOD = 1800
_MAX_WINDOW = 3600


def _validate_autoscaler(autoscaler: Object, errors: Errors) -> None:
    spec = autoscaler.get("spec") or {}
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if least is not None and least < 1:
        errors.append(invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        errors.append(invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        why = "must be greater than or equal to `minReplicas`"
        errors.append(invalid("spec.maxReplicas", most, why))
    _validate_target(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef", errors)
    for position, metric in enumerate(spec.get("metrics") or ()):
        _validate_metric(metric, f"spec.metrics[{position}]", errors)
    percent = spec.get("targetCPUUtilizationPercentage")
    if percent is not None and percent < 1:  # of the first version; it is checked as the second has it
        path = "spec.metrics[0].resource.target.averageUtilization"
        errors.append(invalid(path, percent, "must be greater than 0"))
    behavior = spec.get("behavior") or {}
    for direction in ("scaleUp", "scaleDown"):
        if behavior.get(direction) is not None:
            _validate_scaling(behavior[direction], f"spec.behavior.{direction}", errors)


def _validate_target(reference: Object, path: str, errors: Errors) -> None:
    for field in ("kind", "name"):
        value = reference.get(field) or ""
        if not value:
            errors.append(required(f"{path}.{field}"))
        else:
            report(path_segment(value), f"{path}.{field}", value, errors)
    version = reference.get("apiVersion") or ""
    if path == "spec.scaleTargetRef" and not version and reference.get("kind") != "ReplicationController":
        errors.append(invalid(f"{path}.apiVersion", version, "apiVersion must specify API group"))


def _validate_metric(metric: Object, path: str, errors: Errors) -> None:
    kind = metric.get("type") or ""
    if not kind:
        errors.append(required(f"{path}.type", "must specify a metric source type"))
    elif kind not in _METRICS:
        errors.append(not_supported(f"{path}.type", kind, tuple(sorted(_METRICS))))
    found = [field for field in _METRICS.values() if metric.get(field) is not None]
    if kind in _METRICS and _METRICS[kind] not in found:
        errors.append(
            required(f"{path}.{_METRICS[kind]}", "must populate information for the given metric source")
        )
    for field in found[1:]:
        errors.append(forbidden(f"{path}.{field}", "must populate the given metric source only"))
    for field in found[:1]:
        source, here = metric[field], f"{path}.{field}"
        name = (
            source.get("name")
            if field in ("resource", "containerResource")
            else (source.get("metric") or {}).get("name")
        )
        if not name:
            inner = "name" if field in ("resource", "containerResource") else "metric.name"
            errors.append(
                required(
                    f"{here}.{inner}",
                    "must specify a resource name" if inner == "name" else "must specify a metric name",
                )
            )
        validate_label_selector(
            (source.get("metric") or {}).get("selector"), f"{here}.metric.selector", errors
        )
        _validate_metric_target(source.get("target") or {}, f"{here}.target", errors)


def _validate_metric_target(target: Object, path: str, errors: Errors) -> None:
    kind = target.get("type") or ""
    if not kind:
        errors.append(required(f"{path}.type", "must specify a metric target type"))
    elif kind not in ("Utilization", "Value", "AverageValue"):
        errors.append(invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for field in ("value", "averageValue"):
        if target.get(field) is not None and Quantity.parse(target[field]) <= Quantity(0):
            errors.append(invalid(f"{path}.{field}", target[field], "must be positive"))
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        errors.append(invalid(f"{path}.averageUtilization", utilization, "must be greater than 0"))


def _validate_scaling(rules: Object, path: str, errors: Errors) -> None:
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and not 0 <= window <= _MAX_WINDOW:
        why = (
            "must be greater than or equal to zero"
            if window < 0
            else f"must be less than or equal to {_MAX_WINDOW}"
        )
        errors.append(invalid(f"{path}.stabilizationWindowSeconds", window, why))
    select = rules.get("selectPolicy")
    if select is not None and select not in ("Disabled", "Max", "Min"):
        errors.append(not_supported(f"{path}.selectPolicy", select, ("Disabled", "Max", "Min")))
    if not rules.get("policies"):
        errors.append(required(f"{path}.policies", "must specify at least one Policy"))
    for position, policy in enumerate(rules.get("policies") or ()):
        here = f"{path}.policies[{position}]"
        if policy.get("type") not in ("Percent", "Pods"):
            errors.append(not_supported(f"{here}.type", policy.get("type") or "", ("Percent", "Pods")))
        for field in ("value", "periodSeconds"):
            if (policy.get(field) or 0) <= 0:
                errors.append(invalid(f"{here}.{field}", policy.get(field) or 0, NOT_POSITIVE))
        if (policy.get("periodSeconds") or 0) > _MAX_PERIOD:
            why = f"must be less than or equal to {_MAX_PERIOD}"
            errors.append(invalid(f"{here}.periodSeconds", policy["periodSeconds"], why))


RULES = {("autoscaling", "HorizontalPodAutoscaler"): Rules(validate=_validate_autoscaler)}
