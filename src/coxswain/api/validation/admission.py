"""Webhook configurations of admission. (Policies in CEL come with the expression language.)"""

from __future__ import annotations

from urllib.parse import urlsplit

from coxswain.api.fields import Errors, duplicate, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.validation.formats import dns_1035_label, dns_subdomain, qualified_name, report
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
    for position, condition in enumerate(webhook.get("matchConditions") or ()):
        here = f"{path}.matchConditions[{position}]"
        if not condition.get("name"):
            errors.append(required(f"{here}.name"))
        else:
            report(qualified_name(condition["name"]), f"{here}.name", condition["name"], errors)
        if not (condition.get("expression") or "").strip():
            errors.append(required(f"{here}.expression"))


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


_GROUP = "admissionregistration.k8s.io"
RULES = {
    (_GROUP, "MutatingWebhookConfiguration"): Rules(
        validate=_validate_configuration, namespaced=False, strict_finalizers=False
    ),
    (_GROUP, "ValidatingWebhookConfiguration"): Rules(
        validate=_validate_configuration, namespaced=False, strict_finalizers=False
    ),
}
