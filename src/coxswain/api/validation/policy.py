"""LimitRanges, ResourceQuotas and PodDisruptionBudgets."""

from __future__ import annotations

import orjson

from coxswain.api.fields import Errors, Shown, duplicate, forbidden, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.api.validation.formats import (
    int_or_percent,
    nonnegative,
    not_over_100_percent,
    qualified_name,
    report,
)
from coxswain.api.validation.objectmeta import show_selector, validate_label_selector
from coxswain.api.validation.resources import STANDARD_QUOTA, may_overcommit, resource_name, resource_quantity
from coxswain.api.validation.rules import Rules
from coxswain.api.validation.shown import go_struct

_LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_LIMIT_KINDS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
_SCOPES = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
)
_PODS = frozenset({"pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"})
#: What can be counted within a scope.
_COUNTABLE = {
    "BestEffort": frozenset({"pods"}),
    "CrossNamespacePodAffinity": _PODS,
    "NotBestEffort": _PODS,
    "NotTerminating": _PODS,
    "PriorityClass": _PODS,
    "Terminating": _PODS,
    "VolumeAttributesClass": frozenset({"persistentvolumeclaims", "requests.storage"}),
}
_MISAPPLIED = "unsupported scope applied to resource"
_OPPOSITES = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})


def _validate_limit_range(limit_range: Object, errors: Errors) -> None:
    seen: set[str] = set()
    for position, limit in enumerate((limit_range.get("spec") or {}).get("limits") or ()):
        path = f"spec.limits[{position}]"
        kind = limit.get("type") or ""
        complaints = qualified_name(kind)
        report(complaints, f"{path}.type", kind, errors)
        if not complaints and "/" not in kind and kind not in _LIMIT_TYPES:
            errors.append(invalid(f"{path}.type", kind, "must be a standard limit type or fully qualified"))
        if kind in seen:
            errors.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
        _validate_limit(limit, kind, path, errors)


def _validate_limit(limit: Object, kind: str, path: str, errors: Errors) -> None:
    amounts: dict[str, dict[str, Quantity]] = {}
    scope = "container" if kind in ("Pod", "Container") else "any"
    for field in _LIMIT_KINDS:
        values = limit.get(field) or {}
        if kind == "Pod" and field in ("default", "defaultRequest"):
            if values:
                errors.append(forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'"))
            continue
        for name in values:
            complaints = resource_name(name, "container" if scope == "container" else "any")
            report(complaints, f"{path}.{field}[{name}]", name, errors)
        amounts[field] = {name: Quantity.parse(value) for name, value in values.items()}
    if kind == "PersistentVolumeClaim" and "storage" not in {**amounts["min"], **amounts["max"]}:
        why = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(required(f"{path}.limits", why))
    for name in sorted({name for values in amounts.values() for name in values}):
        _validate_order(name, {field: values.get(name) for field, values in amounts.items()}, path, errors)


def _validate_order(name: str, amounts: dict[str, Quantity | None], path: str, errors: Errors) -> None:
    """min <= defaultRequest <= default <= max, for one resource."""
    least, most = amounts.get("min"), amounts.get("max")
    request, default = amounts.get("defaultRequest"), amounts.get("default")
    ratio = amounts.get("maxLimitRequestRatio")

    def check(
        low: Quantity | None, high: Quantity | None, field: str, value: Quantity | None, words: str
    ) -> None:
        if low is not None and high is not None and low > high:
            low_words, high_words = words.split("|")
            why = f"{low_words} value {low} is greater than {high_words} value {high}"
            errors.append(invalid(f"{path}.{field}[{name}]", str(value), why))

    check(least, most, "min", least, "min|max")
    check(least, request, "defaultRequest", request, "min|default request")
    check(request, most, "defaultRequest", request, "default request|max")
    check(request, default, "defaultRequest", request, "default request|default limit")
    check(least, default, "default", least, "min|default")
    check(default, most, "default", most, "default|max")
    field = f"{path}.maxLimitRequestRatio[{name}]"
    if ratio is not None and ratio < Quantity.parse(1):
        errors.append(invalid(field, str(ratio), f"ratio {ratio} is less than 1"))
    if ratio is not None and least is not None and most is not None and least.nano:
        limit = most.nano / least.nano
        if ratio.nano / 1e9 > limit:
            why = f"ratio {ratio} is greater than max/min = {limit:f}"
            errors.append(invalid(field, str(ratio), why))
    if not may_overcommit(name) and default is not None and request is not None and default != request:
        why = f"default value {default} must equal to defaultRequest value {request} in {name}"
        errors.append(invalid(f"{path}.defaultRequest[{name}]", str(request), why))


def _validate_quota(quota: Object, errors: Errors) -> None:
    spec = quota.get("spec") or {}
    _validate_quota_amounts(spec.get("hard") or {}, "spec.hard", errors)
    scopes = spec.get("scopes") or []
    limited = sorted(spec.get("hard") or {})
    for scope in scopes:
        if scope not in _SCOPES:
            errors.append(invalid("spec.scopes", scopes, "unsupported scope"))
        errors += [invalid("spec.scopes", scopes, _MISAPPLIED)] * _misapplied(scope, limited)
    errors += [invalid("spec.scopes", scopes, "conflicting scopes")] * _conflicts(scopes)
    path, selector = "spec.scopeSelector.matchExpressions", spec.get("scopeSelector") or {}
    requirements = selector.get("matchExpressions") or []
    for requirement in requirements:
        _validate_scope_requirement(requirement, limited, requirements, path, errors)
    named = [each.get("scopeName") or "" for each in requirements]
    errors += [invalid(path, scopes or None, "conflicting scopes")] * _conflicts(named)


def _conflicts(scopes: list[str]) -> int:
    return sum(pair <= set(scopes) for pair in _OPPOSITES)


def _misapplied(scope: str, limited: list[str]) -> int:
    """How many of the limited resources cannot be counted within a scope."""
    countable = _COUNTABLE.get(scope)
    if countable is None:
        return 0
    return sum(name in STANDARD_QUOTA and name not in countable for name in limited)


def _validate_quota_amounts(amounts: Object, path: str, errors: Errors) -> None:
    for name, value in amounts.items():
        here = f"{path}[{name}]"
        complaints = resource_name(name, "any")
        if (
            "/" not in name
            and name not in STANDARD_QUOTA
            and not name.startswith(("hugepages-", "requests.hugepages-"))
        ):
            complaints = (*complaints, "must be a standard resource for quota")
        report(complaints, here, name, errors)
        resource_quantity(name, value, here, errors)


def _validate_scope_requirement(
    requirement: Object, limited: list[str], requirements: list[Object], path: str, errors: Errors
) -> None:
    scope, operator = requirement.get("scopeName") or "", requirement.get("operator") or ""
    values = requirement.get("values") or []
    if scope not in _SCOPES:
        errors.append(invalid(f"{path}.scopeName", scope, "unsupported scope"))
    if misapplied := _misapplied(scope, limited):
        errors += [invalid(path, _shown_selector(requirements), _MISAPPLIED)] * misapplied
    if scope not in ("PriorityClass", "VolumeAttributesClass") and operator != "Exists":
        why = (
            "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "
            "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort "
            "or ResourceQuotaScopeCrossNamespacePodAffinity"
        )
        errors.append(invalid(f"{path}.operator", operator, why))
    if operator in ("In", "NotIn"):
        if not values:
            why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            errors.append(required(f"{path}.values", why))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            errors.append(invalid(f"{path}.values", values, why))
    else:
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))


def _shown_selector(requirements: list[Object]) -> Shown:
    """The selector as Go shows it."""
    shown = [
        {
            "ScopeName": each.get("scopeName") or "",
            "Operator": each.get("operator") or "",
            "Values": each.get("values"),
        }
        for each in requirements
    ]
    return Shown(orjson.dumps({"MatchExpressions": shown}).decode())


def _validate_quota_update(new: Object, old: Object, errors: Errors) -> None:
    scopes = (new.get("spec") or {}).get("scopes") or []
    if set(scopes) != set((old.get("spec") or {}).get("scopes") or []):
        errors.append(invalid("spec.scopes", scopes, "field is immutable"))


def _validate_quota_status(new: Object, old: Object, errors: Errors) -> None:
    status = new.get("status") or {}
    for kind in ("hard", "used"):
        _validate_quota_amounts(status.get(kind) or {}, f"status.{kind}", errors)


def _validate_budget(budget: Object, errors: Errors) -> None:
    spec = budget.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        selector = {**spec, "selector": spec.get("selector") and show_selector(spec["selector"])}
        value = go_struct(
            selector, "minAvailable", "selector", "maxUnavailable", "unhealthyPodEvictionPolicy"
        )
        errors.append(invalid("spec", value, "minAvailable and maxUnavailable cannot be both set"))
    for field, amount in (("minAvailable", least), ("maxUnavailable", most)):
        int_or_percent(f"spec.{field}", amount, errors)
        not_over_100_percent(f"spec.{field}", amount, errors)
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in ("AlwaysAllow", "IfHealthyBudget"):
        errors.append(
            not_supported("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))
        )
    validate_label_selector(spec.get("selector"), "spec.selector", errors)


def _validate_budget_status(new: Object, old: Object, errors: Errors) -> None:
    status = new.get("status") or {}
    for field in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
        nonnegative(f"status.{field}", status.get(field), errors)


RULES = {
    ("", "LimitRange"): Rules(validate=_validate_limit_range),
    ("", "ResourceQuota"): Rules(
        validate=_validate_quota, update=_validate_quota_update, status=_validate_quota_status
    ),
    ("policy", "PodDisruptionBudget"): Rules(validate=_validate_budget, status=_validate_budget_status),
}
