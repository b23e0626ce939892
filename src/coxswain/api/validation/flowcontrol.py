"""Flow schemas and priority levels."""

from __future__ import annotations

from coxswain.api.fields import Errors, forbidden, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.validation.formats import dns_label, dns_subdomain, report
from coxswain.api.validation.rules import Rules
from coxswain.api.validation.shown import go_struct

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}


def _validate_schema(schema: Object, errors: Errors) -> None:
    spec = schema.get("spec") or {}
    precedence = spec.get("matchingPrecedence") or 0
    if not 1 <= precedence <= 10000:
        why = "must be a value between 1 and 10000" if precedence > 0 else "must be a positive value"
        errors.append(invalid("spec.matchingPrecedence", precedence, why))
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in ("ByNamespace", "ByUser"):
        value = go_struct(method, "type")
        errors.append(not_supported("spec.distinguisherMethod.type", value, ("ByNamespace", "ByUser")))
    name = (spec.get("priorityLevelConfiguration") or {}).get("name") or ""
    if not name:
        errors.append(required("spec.priorityLevelConfiguration.name", "must reference a priority level"))
    else:
        report(dns_subdomain(name), "spec.priorityLevelConfiguration.name", name, errors)
    for position, rule in enumerate(spec.get("rules") or ()):
        _validate_rule(rule, f"spec.rules[{position}]", errors)


def _validate_rule(rule: Object, path: str, errors: Errors) -> None:
    subjects = rule.get("subjects") or []
    if not subjects:
        errors.append(required(f"{path}.subjects", "subjects must contain at least one value"))
    for position, subject in enumerate(subjects):
        here, kind = f"{path}.subjects[{position}]", subject.get("kind") or ""
        if kind not in _SUBJECTS:
            errors.append(not_supported(f"{here}.kind", kind, tuple(_SUBJECTS)))
        elif subject.get(_SUBJECTS[kind]) is None:
            errors.append(
                required(f"{here}.{_SUBJECTS[kind]}", f"{kind} must be specified when kind is {kind}")
            )
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        why = "at least one of resourceRules and nonResourceRules has to be non-empty"
        errors.append(required(path, why))
    for position, each in enumerate(rule.get("resourceRules") or ()):
        here = f"{path}.resourceRules[{position}]"
        _validate_verbs(each.get("verbs") or [], f"{here}.verbs", errors)
        for field, word in (("apiGroups", "api group"), ("resources", "resource")):
            if not each.get(field):
                errors.append(required(f"{here}.{field}", f"resource rules must supply at least one {word}"))
        spaces = each.get("namespaces") or []
        if not spaces and not each.get("clusterScope"):
            why = "resource rules that are not cluster scoped must supply at least one namespace"
            errors.append(required(f"{here}.namespaces", why))
        for number, space in enumerate(spaces):
            if space != "*":
                for complaint in dns_label(space):
                    why = f"each member of this list must be '*' or a DNS-1123 label; {complaint}"
                    errors.append(invalid(f"{here}.namespaces[{number}]", space, why))
    for position, each in enumerate(rule.get("nonResourceRules") or ()):
        here = f"{path}.nonResourceRules[{position}]"
        _validate_verbs(each.get("verbs") or [], f"{here}.verbs", errors)
        urls = each.get("nonResourceURLs") or []
        if not urls:
            errors.append(
                required(f"{here}.nonResourceURLs", "nonResourceURLs must contain at least one value")
            )
        for number, url in enumerate(urls):
            if url != "*" and not url.startswith("/"):
                errors.append(invalid(f"{here}.nonResourceURLs[{number}]", url, "must start with slash"))


def _validate_verbs(verbs: list[str], path: str, errors: Errors) -> None:
    if not verbs:
        errors.append(required(path, "verbs must contain at least one value"))
    elif "*" in verbs:
        if len(verbs) > 1:
            errors.append(invalid(path, verbs, "if '*' is present, must not specify other verbs"))
    elif not set(verbs) <= set(_VERBS):
        errors.append(not_supported(path, verbs, _VERBS))


def _validate_level(level: Object, errors: Errors) -> None:
    spec = level.get("spec") or {}
    kind = spec.get("type") or ""
    if kind == "Exempt":
        if spec.get("limited") is not None:
            errors.append(forbidden("spec.limited", "must be nil if the type is not Limited"))
    elif kind == "Limited":
        if spec.get("exempt") is not None:
            errors.append(forbidden("spec.exempt", "must be nil if the type is Limited"))
        if spec.get("limited") is None:
            errors.append(required("spec.limited", "must not be empty when type is Limited"))
        else:
            _validate_limited(spec["limited"], errors)
    else:
        errors.append(not_supported("spec.type", kind, ("Exempt", "Limited")))


def _validate_limited(limited: Object, errors: Errors) -> None:
    path = "spec.limited"
    if (limited.get("nominalConcurrencyShares") or 0) < 0:
        errors.append(
            invalid(
                f"{path}.nominalConcurrencyShares",
                limited["nominalConcurrencyShares"],
                "must be a non-negative integer",
            )
        )
    lend = limited.get("lendablePercent")
    if lend is not None and not 0 <= lend <= 100:
        errors.append(invalid(f"{path}.lendablePercent", lend, "must be between 0 and 100, inclusive"))
    borrow = limited.get("borrowingLimitPercent")
    if borrow is not None and borrow < 0:
        why = "if specified, must be a non-negative integer"
        errors.append(invalid(f"{path}.borrowingLimitPercent", borrow, why))
    response = limited.get("limitResponse") or {}
    kind, queuing = response.get("type") or "", response.get("queuing")
    if kind == "Reject":
        if queuing is not None:
            why = "must be nil if limited.limitResponse.type is not Limited"
            errors.append(forbidden(f"{path}.limitResponse.queuing", why))
    elif kind == "Queue":
        if queuing is None:
            why = "must not be empty if limited.limitResponse.type is Limited"
            errors.append(required(f"{path}.limitResponse.queuing", why))
    else:
        errors.append(not_supported(f"{path}.limitResponse.type", kind, ("Queue", "Reject")))


_GROUP = "flowcontrol.apiserver.k8s.io"
RULES = {
    (_GROUP, "FlowSchema"): Rules(validate=_validate_schema, namespaced=False),
    (_GROUP, "PriorityLevelConfiguration"): Rules(validate=_validate_level, namespaced=False),
}
