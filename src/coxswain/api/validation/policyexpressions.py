"""The expressions of admission policies and of match conditions: there, well named, and compiling to what is wanted.

Raised when a policy is written, in the words of Kubernetes' ``admissionregistration/validation``.
"""

from __future__ import annotations

import re
from typing import Any, Final

from coxswain.api.cel.admission import RETURNS, AdmissionExpressionError, Environment, compile_for
from coxswain.api.cel.types import BOOL, DYN, NULL, STRING, Declared
from coxswain.api.fields import Errors, duplicate, invalid, not_supported, required, too_many
from coxswain.api.names import Object
from coxswain.api.validation.formats import dns_1035_label, dns_subdomain, qualified_name, report

_IDENTIFIER: Final = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_RESERVED: Final = frozenset(
    (
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if"),
        *("import", "let", "loop", "package", "namespace", "return", "var", "void", "while"),
    )
)
_REASONS: Final = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_MAX_CONDITIONS: Final = 64
_MAX_ANNOTATIONS: Final = 20
_MAX_ANNOTATION: Final = 5 * 1024


def _compile(
    text: str,
    environment: Environment,
    returns: tuple[Declared, ...] | None,
    path: str,
    errors: Errors,
    shown: str | None = None,
) -> Declared:
    """The type of an expression; open where it is wrong, which is told."""
    try:
        return compile_for(text, environment, returns).declared
    except AdmissionExpressionError as error:
        errors.append(invalid(path, text if shown is None else shown, str(error)))
        return DYN


def validate_match_conditions(
    conditions: list[Object], path: str, errors: Errors, *, params: bool = False
) -> None:
    """Conditions of a policy or a webhook."""
    names: set[str] = set()
    if len(conditions) > _MAX_CONDITIONS:
        errors.append(too_many(path, len(conditions), _MAX_CONDITIONS))
    environment = Environment(params=params)
    for position, condition in enumerate(conditions):
        here, name = f"{path}[{position}]", condition.get("name") or ""
        text = (condition.get("expression") or "").strip()
        if not text:
            errors.append(required(f"{here}.expression"))
        else:
            _compile(text, environment, (BOOL,), f"{here}.expression", errors)
        if not name:
            errors.append(required(f"{here}.name"))
            continue
        report(qualified_name(name), f"{here}.name", name, errors)
        if name in names:
            errors.append(duplicate(f"{here}.name", name))
        names.add(name)


def validate_param_kind(kind: Object, path: str, errors: Errors) -> None:
    """``paramKind``."""
    version = kind.get("apiVersion") or ""
    here = f"{path}.apiVersion"
    if not version:
        errors.append(required(here))
    elif version.count("/") > 1:
        errors.append(invalid(here, version, f"unexpected GroupVersion string: {version}"))
    else:
        group, _, number = version.rpartition("/")
        if group and (complaints := list(dns_subdomain(group))):
            errors.append(invalid(here, group, ",".join(complaints)))
        if not number:
            errors.append(invalid(here, version, "version must be specified"))
        elif complaints := list(dns_1035_label(number)):
            errors.append(invalid(here, number, ",".join(complaints)))
    name = kind.get("kind") or ""
    if not name:
        errors.append(required(f"{path}.kind"))
    elif complaints := list(dns_1035_label(name.lower())):
        why = "may have mixed case, but should otherwise match: " + ",".join(complaints)
        errors.append(invalid(f"{path}.kind", name, why))


def validate_policy_expressions(policy: Object, errors: Errors) -> None:
    """Conditions, variables, and what the policy validates or mutates."""
    spec = policy.get("spec") or {}
    params = spec.get("paramKind") is not None
    validate_match_conditions(
        spec.get("matchConditions") or [], "spec.matchConditions", errors, params=params
    )
    known = _validate_variables(spec.get("variables") or [], Environment(params=params), errors)
    if policy.get("kind") == "MutatingAdmissionPolicy":
        environment = Environment(params=params, mutation=True).knowing(known)
        for position, mutation in enumerate(spec.get("mutations") or ()):
            _validate_mutation(mutation, f"spec.mutations[{position}]", environment, errors)
        return
    environment = Environment(params=params).knowing(known)
    quiet = Environment(params=params, authorizer=False).knowing(known)
    for position, validation in enumerate(spec.get("validations") or ()):
        _validate_validation(validation, f"spec.validations[{position}]", environment, quiet, errors)
    _validate_annotations(policy, environment, errors)


def _validate_variables(
    variables: list[Object], environment: Environment, errors: Errors
) -> dict[str, Declared]:
    known: dict[str, Declared] = {}
    for position, variable in enumerate(variables):
        here, name = f"spec.variables[{position}]", variable.get("name") or ""
        if not name.strip():
            errors.append(required(f"{here}.name", "name is not specified"))
        elif not _IDENTIFIER.fullmatch(name) or name in _RESERVED:
            errors.append(invalid(f"{here}.name", name, "name is not a valid CEL identifier"))
        text = variable.get("expression") or ""
        if not text.strip():
            errors.append(required(f"{here}.expression", "expression is not specified"))
            known[name] = DYN
        else:
            inside = environment.knowing(known)
            known[name] = _compile(text, inside, None, f"{here}.expression", errors)
    return known


def _has_newlines(text: str) -> bool:
    return "\n" in text or "\r" in text


def _validate_validation(
    validation: Object, path: str, environment: Environment, quiet: Environment, errors: Errors
) -> None:
    text = validation.get("expression") or ""
    if not text.strip():
        errors.append(required(f"{path}.expression", "expression is not specified"))
    else:
        _compile(text, environment, (BOOL,), f"{path}.expression", errors)
    said = validation.get("messageExpression") or ""
    if said and not said.strip():
        errors.append(invalid(f"{path}.messageExpression", said, "must be non-empty if specified"))
    elif said:
        _compile(said, quiet, (STRING,), f"{path}.messageExpression", errors)
    message = validation.get("message") or ""
    if message and not message.strip():
        errors.append(invalid(f"{path}.message", message, "message must be non-empty if specified"))
    elif _has_newlines(message.strip()):
        errors.append(invalid(f"{path}.message", message, "message must not contain line breaks"))
    reason = validation.get("reason")
    if reason is not None and reason not in _REASONS:
        errors.append(not_supported(f"{path}.reason", reason, _REASONS))


def _validate_annotations(policy: Object, environment: Environment, errors: Errors) -> None:
    annotations = (policy.get("spec") or {}).get("auditAnnotations") or []
    path, name = "spec.auditAnnotations", (policy.get("metadata") or {}).get("name") or ""
    if len(annotations) > _MAX_ANNOTATIONS:
        why = f"must not have more than {_MAX_ANNOTATIONS} auditAnnotations"
        errors.append(invalid(path, annotations, why))
    keys: set[str] = set()
    for position, annotation in enumerate(annotations):
        here, key = f"{path}[{position}]", annotation.get("key") or ""
        if name:
            report(qualified_name(f"{name}/{key}"), f"{here}.key", f"{name}/{key}", errors)
        else:
            errors.append(invalid(f"{here}.key", key, "requires metadata.name be non-empty"))
        _validate_annotation(
            annotation.get("valueExpression") or "", f"{here}.valueExpression", environment, errors
        )
        if key in keys:
            errors.append(duplicate(f"{here}.key", key))
        keys.add(key)


def _validate_annotation(text: str, path: str, environment: Environment, errors: Errors) -> None:
    trimmed = text.strip()
    if not trimmed:
        errors.append(required(path, "valueExpression is not specified"))
    elif len(trimmed.encode()) > _MAX_ANNOTATION:
        errors.append(required(path, f"must not exceed {_MAX_ANNOTATION} bytes in length"))
    else:
        _compile(trimmed, environment, (STRING, NULL), path, errors, text)


_BODIES: Final = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}


def _validate_mutation(mutation: Object, path: str, environment: Environment, errors: Errors) -> None:
    kind: Any = mutation.get("patchType") or ""
    if not kind:
        errors.append(required(f"{path}.patchType"))
        return
    if kind not in _BODIES:
        errors.append(not_supported(f"{path}.patchType", kind, sorted(_BODIES)))
        return
    here = f"{path}.{_BODIES[kind]}"
    body = mutation.get(_BODIES[kind])
    if body is None:
        errors.append(required(here))
        return
    text = body.get("expression") or ""
    if not text.strip():
        errors.append(required(f"{here}.expression", "expression is not specified"))
    else:
        _compile(text, environment, (RETURNS[kind],), f"{here}.expression", errors)
