"""Where a pod may run: node selectors, affinity, tolerations, spreading, taints."""

from __future__ import annotations

from typing import Any

from coxswain.api.fields import (
    Errors,
    ErrorType,
    FieldError,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
)
from coxswain.api.names import Object
from coxswain.api.validation.formats import NOT_POSITIVE, dns_label, dns_subdomain, label_value, report
from coxswain.api.validation.objectmeta import validate_label_name, validate_label_selector

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def validate_affinity(affinity: Object, path: str, errors: Errors) -> None:
    """``spec.affinity``."""
    node = affinity.get("nodeAffinity")
    if node:
        if node.get(_REQUIRED) is not None:
            validate_node_selector(node[_REQUIRED], f"{path}.nodeAffinity.{_REQUIRED}", errors)
        for position, term in enumerate(node.get(_PREFERRED) or ()):
            here = f"{path}.nodeAffinity.{_PREFERRED}[{position}]"
            _validate_weight(term, here, errors)
            # Preferences may name impossible values: they only cost a score.
            _validate_term(term.get("preference") or {}, f"{here}.preference", errors, check_values=False)
    for kind in ("podAffinity", "podAntiAffinity"):
        pods = affinity.get(kind)
        if pods:
            for position, term in enumerate(pods.get(_REQUIRED) or ()):
                _validate_pod_term(term, f"{path}.{kind}.{_REQUIRED}[{position}]", errors)
            for position, term in enumerate(pods.get(_PREFERRED) or ()):
                here = f"{path}.{kind}.{_PREFERRED}[{position}]"
                _validate_weight(term, here, errors)
                _validate_pod_term(term.get("podAffinityTerm") or {}, f"{here}.podAffinityTerm", errors)


def _validate_weight(term: Object, path: str, errors: Errors) -> None:
    weight = term.get("weight") or 0
    if not 1 <= weight <= 100:
        errors.append(invalid(f"{path}.weight", weight, "must be in the range 1-100"))


def validate_node_selector(selector: Object, path: str, errors: Errors, *, check_values: bool = True) -> None:
    """A core NodeSelector: at least one term, each well formed."""
    terms = selector.get("nodeSelectorTerms")
    if not terms:
        errors.append(required(f"{path}.nodeSelectorTerms", "must have at least one node selector term"))
    for position, term in enumerate(terms or ()):
        _validate_term(term, f"{path}.nodeSelectorTerms[{position}]", errors, check_values=check_values)


def _validate_term(term: Object, path: str, errors: Errors, *, check_values: bool) -> None:
    for position, requirement in enumerate(term.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{position}]"
        _validate_expression(requirement, here, errors, check_values=check_values)
    for position, requirement in enumerate(term.get("matchFields") or ()):
        _validate_field(requirement, f"{path}.matchFields[{position}]", errors)


def _validate_expression(requirement: Object, path: str, errors: Errors, *, check_values: bool) -> None:
    operator, values = requirement.get("operator") or "", requirement.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden(f"{path}.values", why))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            why = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            errors.append(required(f"{path}.values", why))
    else:
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    validate_label_name(requirement.get("key") or "", f"{path}.key", errors)
    if check_values:
        for position, value in enumerate(values):
            report(label_value(value), f"{path}.values[{position}]", value, errors)


def _validate_field(requirement: Object, path: str, errors: Errors) -> None:
    operator, values = requirement.get("operator") or "", requirement.get("values") or ()
    if operator in ("In", "NotIn"):
        if len(values) != 1:
            why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            errors.append(required(f"{path}.values", why))
    else:
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    if requirement.get("key") != "metadata.name":
        errors.append(invalid(f"{path}.key", requirement.get("key") or "", "not a valid field selector key"))
    else:
        for position, value in enumerate(values):
            report(dns_subdomain(value), f"{path}.values[{position}]", value, errors)


def _validate_pod_term(term: Object, path: str, errors: Errors) -> None:
    selector = term.get("labelSelector")
    validate_label_selector(selector, f"{path}.labelSelector", errors)
    validate_label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector", errors)
    for name in term.get("namespaces") or ():
        report(dns_label(name), f"{path}.namespace", name, errors)
    if term.get("matchLabelKeys") or term.get("mismatchLabelKeys"):
        _validate_match_keys(term, selector, path, errors)
    topology = term.get("topologyKey") or ""
    if not topology:
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    validate_label_name(topology, f"{path}.topologyKey", errors)


def _validate_match_keys(term: Object, selector: Object | None, path: str, errors: Errors) -> None:
    match, mismatch = term.get("matchLabelKeys") or [], term.get("mismatchLabelKeys") or []
    for field, keys in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if keys and selector is None:
            errors.append(forbidden(f"{path}.{field}", "must not be specified when labelSelector is not set"))
        elif selector is not None:
            for position, key in enumerate(keys):
                validate_label_name(key, f"{path}.{field}[{position}]", errors)
    if selector is not None:
        seen = set(selector.get("matchLabels") or ())
        for requirement in selector.get("matchExpressions") or ():
            key = requirement.get("key")
            if key in match and key in seen:
                why = "exists in both matchLabelKeys and labelSelector"
                errors.append(invalid(f"{path}[{match.index(key)}]", key, why))
            seen.add(key)
    for position, key in enumerate(match):
        if key in mismatch:
            why = "exists in both matchLabelKeys and mismatchLabelKeys"
            errors.append(invalid(f"{path}.matchLabelKeys[{position}]", key, why))


def validate_tolerations(tolerations: list[Object], path: str, errors: Errors) -> None:
    """``spec.tolerations`` (of pods and of runtime classes)."""
    for position, toleration in enumerate(tolerations):
        here = f"{path}[{position}]"
        key, operator = toleration.get("key") or "", toleration.get("operator") or ""
        value, effect = toleration.get("value") or "", toleration.get("effect") or ""
        if key:
            validate_label_name(key, f"{here}.key", errors)
        elif operator != "Exists":
            why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(invalid(f"{here}.operator", operator, why))
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(invalid(f"{here}.effect", effect, why))
        if operator in ("Equal", ""):
            complaints = label_value(value)
            if complaints:
                errors.append(invalid(f"{here}.operator", value, ";".join(complaints)))
        elif operator == "Exists":
            if value:
                why = "value must be empty when `operator` is 'Exists'"
                errors.append(invalid(f"{here}.operator", value, why))
        else:
            errors.append(not_supported(f"{here}.operator", operator, ("Equal", "Exists")))
        if effect and effect not in _EFFECTS:
            errors.append(not_supported(f"{here}.effect", effect, _EFFECTS))


def validate_taints(taints: list[Object], path: str, errors: Errors) -> None:
    """Taints of a node: well formed, and one for each key and effect."""
    seen: set[tuple[Any, Any]] = set()
    for position, taint in enumerate(taints):
        here = f"{path}[{position}]"
        validate_label_name(taint.get("key") or "", f"{here}.key", errors)
        complaints = label_value(taint.get("value") or "")
        if complaints:
            errors.append(invalid(f"{here}.value", taint["value"], ";".join(complaints)))
        effect = taint.get("effect") or ""
        if not effect:
            errors.append(required(f"{here}.effect"))
        elif effect not in _EFFECTS:
            errors.append(not_supported(f"{here}.effect", effect, _EFFECTS))
        if (effect, taint.get("key")) in seen:
            why = "taints must be unique by key and effect pair"
            errors.append(FieldError(ErrorType.DUPLICATE, here, taint, why))
        seen.add((effect, taint.get("key")))


def validate_topology_spread(constraints: list[Object], path: str, errors: Errors) -> None:
    """``spec.topologySpreadConstraints``."""
    for position, constraint in enumerate(constraints):
        here = f"{path}[{position}]"
        skew = constraint.get("maxSkew") or 0
        if skew <= 0:
            errors.append(invalid(f"{here}.maxSkew", skew, NOT_POSITIVE))
        topology, action = constraint.get("topologyKey") or "", constraint.get("whenUnsatisfiable") or ""
        if not topology:
            errors.append(required(f"{here}.topologyKey", "can not be empty"))
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            supported = ("DoNotSchedule", "ScheduleAnyway")
            errors.append(not_supported(f"{here}.whenUnsatisfiable", action, supported))
        for other in constraints[position + 1 :]:
            if (other.get("topologyKey") or "", other.get("whenUnsatisfiable") or "") == (topology, action):
                field = f"{here}.{{topologyKey, whenUnsatisfiable}}"
                errors.append(duplicate(field, f"{{{topology}, {action}}}"))
                break
        _validate_min_domains(constraint.get("minDomains"), action, f"{here}.minDomains", errors)
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            policy = constraint.get(field)
            if policy is not None and policy not in ("Honor", "Ignore"):
                errors.append(not_supported(f"{here}.{field}", policy, ("Honor", "Ignore")))
        _validate_spread_keys(constraint, f"{here}.matchLabelKeys", errors)
        validate_label_selector(constraint.get("labelSelector"), f"{here}.labelSelector", errors)


def _validate_min_domains(count: int | None, action: str, path: str, errors: Errors) -> None:
    if count is None:
        return
    if count <= 0:
        errors.append(invalid(path, count, NOT_POSITIVE))
    if action != "DoNotSchedule":
        why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
        errors.append(invalid(path, count, why))


def _validate_spread_keys(constraint: Object, path: str, errors: Errors) -> None:
    keys = constraint.get("matchLabelKeys")
    if not keys:
        return
    selector = constraint.get("labelSelector")
    if selector is None:
        errors.append(forbidden(path, "must not be specified when labelSelector is not set"))
    selected = set((selector or {}).get("matchLabels") or ())
    selected |= {each.get("key") for each in (selector or {}).get("matchExpressions") or ()}
    for position, key in enumerate(keys):
        validate_label_name(key, f"{path}[{position}]", errors)
        if key in selected:
            why = "exists in both matchLabelKeys and labelSelector"
            errors.append(invalid(f"{path}[{position}]", key, why))
