"""Webhook configurations of admission, and the structure of its policies and their bindings.

Expressions of policies and match conditions must compile; their values are open until they run.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from coxswain.api.fields import Errors, duplicate, forbidden, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.validation.formats import (
    dns_1035_label,
    dns_subdomain,
    path_segment,
    report,
)
from coxswain.api.validation.objectmeta import validate_label_selector
from coxswain.api.validation.rules import Rules

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_KNOWN_REVIEWS = ("v1", "v1beta1")


def _validate_configuration(configuration: Object, errors: Errors) -> None:
    names: set[str] = set()
    for position, webhook in enumerate(configuration.get("webhooks") or ()):
        path, name = f"webhooks[{position}]", webhook.get("name") or ""
        _validate_webhook(webhook, path, configuration.get("kind") == "MutatingWebhookConfiguration", errors)
        _validate_reviews(webhook.get("admissionReviewVersions") or [], path, errors)
        if name in names:
            errors.append(duplicate(f"{path}.name", name))
        names.add(name)


def _validate_webhook(webhook: Object, path: str, mutating: bool, errors: Errors) -> None:
    name = webhook.get("name") or ""
    if not name:
        errors.append(required(f"{path}.name"))
    else:
        complaints = dns_subdomain(name)
        report(complaints, f"{path}.name", name, errors)
        if not complaints and name.count(".") < 2:
            why = "should be a domain with at least three segments separated by dots"
            errors.append(invalid(f"{path}.name", name, why))
    for position, rule in enumerate(webhook.get("rules") or ()):
        _validate_rule(rule, f"{path}.rules[{position}]", errors)
    effects: tuple[str, ...] = ("None", "NoneOnDryRun")
    for field, supported in (
        ("failurePolicy", ("Fail", "Ignore")),
        ("matchPolicy", ("Equivalent", "Exact")),
        ("sideEffects", effects),
    ):
        value = webhook.get(field)
        if value is None and field == "sideEffects":
            errors.append(required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun"))
        elif value is not None and value not in supported:
            errors.append(not_supported(f"{path}.{field}", value, supported))
    seconds = webhook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        errors.append(
            invalid(f"{path}.timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds")
        )
    for field in ("namespaceSelector", "objectSelector"):
        validate_label_selector(webhook.get(field), f"{path}.{field}", errors)
    again = webhook.get("reinvocationPolicy")
    if mutating and again is not None and again not in ("IfNeeded", "Never"):
        errors.append(not_supported(f"{path}.reinvocationPolicy", again, ("IfNeeded", "Never")))
    _validate_client(webhook.get("clientConfig") or {}, f"{path}.clientConfig", errors)
    conditions = webhook.get("matchConditions")
    if conditions:
        # Here, because a server without expressions need not load the language.
        from coxswain.api.validation.policyexpressions import validate_match_conditions

        validate_match_conditions(conditions, f"{path}.matchConditions", errors)


def _validate_rule(rule: Object, path: str, errors: Errors) -> None:
    operations = rule.get("operations") or []
    if not operations:
        errors.append(required(f"{path}.operations"))
    elif "*" in operations and len(operations) > 1:
        why = "if '*' is present, must not specify other operations"
        errors.append(invalid(f"{path}.operations", operations, why))
    for position, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            errors.append(not_supported(f"{path}.operations[{position}]", operation, _OPERATIONS))
    for field, word in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = rule.get(field) or []
        if not values:
            errors.append(required(f"{path}.{field}"))
        elif "*" in values and len(values) > 1:
            why = f"if '*' is present, must not specify other {word}"
            errors.append(invalid(f"{path}.{field}", values, why))
    if not rule.get("resources"):
        errors.append(required(f"{path}.resources"))
    scope = rule.get("scope")
    if scope is not None and scope not in _SCOPES:
        errors.append(not_supported(f"{path}.scope", scope, _SCOPES))


def _validate_client(client: Object, path: str, errors: Errors) -> None:
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        errors.append(required(path, "exactly one of url or service is required"))
    elif url is not None:
        parts = urlsplit(url)
        form = "; desired format: https://host[/path]"
        if parts.scheme != "https":
            errors.append(invalid(f"{path}.url", url, f"'https' is the only allowed URL scheme{form}"))
        if not parts.netloc:
            errors.append(invalid(f"{path}.url", url, f"host must be specified{form}"))
        if parts.username is not None:
            errors.append(invalid(f"{path}.url", url, "user information is not permitted in the URL"))
    elif service is not None:
        for field in ("name", "namespace"):
            if not service.get(field):
                errors.append(required(f"{path}.service.{field}", f"service {field} is required"))
        target = service.get("path")
        if target is not None and not target.startswith("/"):
            errors.append(invalid(f"{path}.service.path", target, "must start with a '/'"))
        port = service.get("port") or 0
        if not 1 <= port <= 65535:
            why = "port is not valid: must be between 1 and 65535, inclusive"
            errors.append(invalid(f"{path}.service.port", port, why))


def _validate_reviews(versions: list[str], path: str, errors: Errors) -> None:
    here = f"{path}.admissionReviewVersions"
    if not versions:
        errors.append(required(here, "must specify one of v1, v1beta1"))
        return
    for position, version in enumerate(versions):
        if version in versions[:position]:
            errors.append(invalid(f"{here}[{position}]", version, "duplicate version"))
        report(dns_1035_label(version), f"{here}[{position}]", version, errors)
    if not set(versions) & set(_KNOWN_REVIEWS):
        errors.append(invalid(here, versions, "must include at least one of v1, v1beta1"))


_MATCH_POLICIES = ("Equivalent", "Exact")
_ACTIONS = ("Audit", "Deny", "Warn")


def _validate_match(match: Object, path: str, errors: Errors) -> None:
    """``matchConstraints`` of policies, ``matchResources`` of bindings."""
    policy = match.get("matchPolicy")
    if policy is None:
        errors.append(required(f"{path}.matchPolicy"))
    elif policy not in _MATCH_POLICIES:
        errors.append(not_supported(f"{path}.matchPolicy", policy, _MATCH_POLICIES))
    for field in ("namespaceSelector", "objectSelector"):
        if match.get(field) is None:
            errors.append(required(f"{path}.{field}"))
        else:
            validate_label_selector(match[field], f"{path}.{field}", errors)
    for kind in ("resourceRules", "excludeResourceRules"):
        for position, rule in enumerate(match.get(kind) or ()):
            _validate_names(
                rule.get("resourceNames") or [], f"{path}.{kind}[{position}].resourceNames", errors
            )
            _validate_rule(rule, f"{path}.{kind}[{position}]", errors)


def _validate_names(names: list[str], path: str, errors: Errors) -> None:
    for position, name in enumerate(names):
        report(path_segment(name), f"{path}[{position}]", name, errors)
        if name in names[:position]:
            errors.append(duplicate(f"{path}[{position}]", name))


def _validate_parameters(reference: Object, path: str, errors: Errors) -> None:
    name, selector = reference.get("name") or "", reference.get("selector")
    both = "name and selector are mutually exclusive"
    if name:
        report(path_segment(name), f"{path}.name", name, errors)
        if selector is not None:
            errors.append(forbidden(f"{path}.name", both))
    if selector is not None:
        validate_label_selector(selector, f"{path}.selector", errors)
        if name:
            errors.append(forbidden(f"{path}.selector", both))
    if not name and selector is None:
        errors.append(required(path, "one of name or selector must be specified"))
    action = reference.get("parameterNotFoundAction")
    if action is None:
        errors.append(required(f"{path}.parameterNotFoundAction"))
    elif action not in ("Deny", "Allow"):
        errors.append(not_supported(f"{path}.parameterNotFoundAction", action, ("Deny", "Allow")))


def _validate_policy_binding(binding: Object, errors: Errors) -> None:
    spec = binding.get("spec") or {}
    name, mutating = spec.get("policyName") or "", binding.get("kind") == "MutatingAdmissionPolicyBinding"
    if not name:
        errors.append(required("spec.policyName"))
    else:
        report(dns_subdomain(name), "spec.policyName", name, errors)
    if spec.get("paramRef") is not None:
        _validate_parameters(spec["paramRef"], "spec.paramRef", errors)
    match = spec.get("matchResources")
    if match is not None:
        _validate_match(match, "spec.matchResources", errors)
        if mutating:
            _validate_no_connect(match, "spec.matchResources", errors)
    if not mutating:
        _validate_actions(spec.get("validationActions") or [], errors)


def _validate_no_connect(match: Object, path: str, errors: Errors) -> None:
    """What is only connected to, or deleted, cannot be changed on the way."""
    supported = ("*", "CONNECT", "CREATE", "UPDATE")
    for rule in match.get("resourceRules") or ():
        for operation in rule.get("operations") or ():
            if operation not in supported:
                errors.append(not_supported(f"{path}.resourceRules.operations", operation, supported))


def _validate_actions(actions: list[str], errors: Errors) -> None:
    if not actions:
        errors.append(required("spec.validationActions"))
    for position, action in enumerate(actions):
        path = f"spec.validationActions[{position}]"
        if action not in _ACTIONS:
            errors.append(not_supported(path, action, _ACTIONS))
        if action in actions[:position]:
            errors.append(duplicate(path, action))
    if "Deny" in actions and "Warn" in actions:
        why = "must not contain both Deny and Warn (repeating the same validation failure information)"
        errors.append(invalid("spec.validationActions", actions, why))


def _validate_policy(policy: Object, errors: Errors) -> None:
    # Here, because a server without policies need not load the language.
    from coxswain.api.validation import policyexpressions

    spec = policy.get("spec") or {}
    failure, match = spec.get("failurePolicy"), spec.get("matchConstraints")
    if failure is not None and failure not in ("Fail", "Ignore"):
        errors.append(not_supported("spec.failurePolicy", failure, ("Fail", "Ignore")))
    if spec.get("paramKind") is not None:
        policyexpressions.validate_param_kind(spec["paramKind"], "spec.paramKind", errors)
    if match is None:
        errors.append(required("spec.matchConstraints"))
    else:
        _validate_match(match, "spec.matchConstraints", errors)
        if not match.get("resourceRules"):
            errors.append(required("spec.matchConstraints.resourceRules"))
    if policy.get("kind") == "MutatingAdmissionPolicy":
        if not spec.get("mutations"):
            errors.append(required("spec.mutations", "mutations must contain at least one item"))
        again = spec.get("reinvocationPolicy")
        if not again:
            errors.append(required("spec.reinvocationPolicy"))
        elif again not in ("IfNeeded", "Never"):
            errors.append(not_supported("spec.reinvocationPolicy", again, ("IfNeeded", "Never")))
    elif not spec.get("validations") and not spec.get("auditAnnotations"):
        why = "validations or auditAnnotations must contain at least one item"
        errors.append(required("spec.validations", why))
        errors.append(required("spec.auditAnnotations", why))
    policyexpressions.validate_policy_expressions(policy, errors)


_GROUP = "admissionregistration.k8s.io"
_POLICY = Rules(validate=_validate_policy, namespaced=False, strict_finalizers=False)
_BINDING = Rules(validate=_validate_policy_binding, namespaced=False, strict_finalizers=False)
RULES = {
    (_GROUP, "ValidatingAdmissionPolicy"): _POLICY,
    (_GROUP, "MutatingAdmissionPolicy"): _POLICY,
    (_GROUP, "ValidatingAdmissionPolicyBinding"): _BINDING,
    (_GROUP, "MutatingAdmissionPolicyBinding"): _BINDING,
    (_GROUP, "MutatingWebhookConfiguration"): Rules(
        validate=_validate_configuration, namespaced=False, strict_finalizers=False
    ),
    (_GROUP, "ValidatingWebhookConfiguration"): Rules(
        validate=_validate_configuration, namespaced=False, strict_finalizers=False
    ),
}
