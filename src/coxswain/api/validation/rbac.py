"""Roles and bindings."""

from __future__ import annotations

from coxswain.api.fields import Errors, forbidden, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.validation.formats import dns_subdomain, path_segment, report
from coxswain.api.validation.objectmeta import validate_label_selector
from coxswain.api.validation.rules import Rules

_GROUP = "rbac.authorization.k8s.io"


def _validate_rules(role: Object, errors: Errors) -> None:
    for position, rule in enumerate(role.get("rules") or ()):
        _validate_rule(rule, f"rules[{position}]", role.get("kind") == "Role", errors)


def _validate_rule(rule: Object, path: str, namespaced: bool, errors: Errors) -> None:
    if not rule.get("verbs"):
        errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    if rule.get("nonResourceURLs"):
        if namespaced:
            why = "namespaced rules cannot apply to non-resource URLs"
            errors.append(invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], why))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            why = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], why))
        return
    if not rule.get("apiGroups"):
        errors.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))


def _validate_cluster_role(role: Object, errors: Errors) -> None:
    _validate_rules(role, errors)
    aggregation = role.get("aggregationRule")
    if aggregation is None:
        return
    path = "aggregationRule.clusterRoleSelectors"
    selectors = aggregation.get("clusterRoleSelectors") or []
    if not selectors:
        why = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        errors.append(required(path, why))
    for position, selector in enumerate(selectors):
        validate_label_selector(selector, f"{path}[{position}]", errors)


def _validate_binding(binding: Object, errors: Errors) -> None:
    namespaced = binding.get("kind") == "RoleBinding"
    reference = binding.get("roleRef") or {}
    if reference.get("apiGroup") != _GROUP:
        errors.append(not_supported("roleRef.apiGroup", reference.get("apiGroup") or "", (_GROUP,)))
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if reference.get("kind") not in kinds:
        errors.append(not_supported("roleRef.kind", reference.get("kind") or "", kinds))
    name = reference.get("name")
    if not name:
        errors.append(required("roleRef.name"))
    else:
        report(path_segment(name), "roleRef.name", name, errors)
    for position, subject in enumerate(binding.get("subjects") or ()):
        _validate_subject(subject, namespaced, f"subjects[{position}]", errors)


def _validate_subject(subject: Object, namespaced: bool, path: str, errors: Errors) -> None:
    name, kind, group = subject.get("name") or "", subject.get("kind") or "", subject.get("apiGroup") or ""
    if not name:
        errors.append(required(f"{path}.name"))
    if kind == "ServiceAccount":
        if name:
            report(dns_subdomain(name), f"{path}.name", name, errors)
        if group:
            errors.append(not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            errors.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != _GROUP:
            errors.append(not_supported(f"{path}.apiGroup", group, (_GROUP,)))
        if subject.get("namespace"):
            errors.append(forbidden(f"{path}.namespace", f"may not be specified for {kind} subjects"))
    else:
        errors.append(not_supported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group")))


def _validate_binding_update(new: Object, old: Object, errors: Errors) -> None:
    if new.get("roleRef") != old.get("roleRef"):
        errors.append(invalid("roleRef", new.get("roleRef"), "cannot change roleRef"))


RULES = {
    (_GROUP, "Role"): Rules(validate=_validate_rules, name_check=path_segment, metadata_on_update=True),
    (_GROUP, "ClusterRole"): Rules(
        validate=_validate_cluster_role, name_check=path_segment, namespaced=False, metadata_on_update=True
    ),
    (_GROUP, "RoleBinding"): Rules(
        validate=_validate_binding,
        update=_validate_binding_update,
        name_check=path_segment,
        metadata_on_update=True,
    ),
    (_GROUP, "ClusterRoleBinding"): Rules(
        validate=_validate_binding,
        update=_validate_binding_update,
        name_check=path_segment,
        namespaced=False,
        metadata_on_update=True,
    ),
}
