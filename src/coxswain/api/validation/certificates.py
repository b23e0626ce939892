"""Certificate signing requests."""

from __future__ import annotations

import base64
import binascii
import re

from coxswain.api.fields import (
    Errors,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    quote,
    required,
    too_long,
)
from coxswain.api.names import Object
from coxswain.api.validation.formats import Check, Complaints, dns_label, dns_subdomain
from coxswain.api.validation.rules import Rules

_USAGES = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)
_SHORTEST = 600


def _any_name(name: str) -> Complaints:
    return ()


def _validate_request(request: Object, errors: Errors) -> None:
    spec = request.get("spec") or {}
    if not _is_certificate_request(spec.get("request") or ""):
        why = "PEM block type must be CERTIFICATE REQUEST"
        errors.append(invalid("spec.request", spec.get("request") or "", why))
    usages = spec.get("usages") or []
    if not usages:
        errors.append(required("spec.usages"))
    for position, usage in enumerate(usages):
        if usage not in _USAGES:
            errors.append(not_supported(f"spec.usages[{position}]", usage, _USAGES))
        if usage in usages[:position]:
            errors.append(duplicate(f"spec.usages[{position}]", usage))
    _validate_signer(spec.get("signerName") or "", "spec.signerName", errors)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _SHORTEST:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(invalid("spec.expirationSeconds", seconds, why))


_LEGACY_SIGNER = "kubernetes.io/legacy-unknown"


def _validate_signer(signer: str, path: str, errors: Errors) -> None:
    """A domain of two labels or more, a slash, and subdomains."""
    parts = signer.split("/")
    if not signer:
        errors.append(required(path))
    elif signer == _LEGACY_SIGNER:
        errors.append(invalid(path, signer, "the legacy signerName is not allowed via this API version"))
    elif len(parts) != 2:
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        errors.append(invalid(path, signer, why))
    else:
        domain, rest = parts
        if len(domain) > _MAX_DOMAIN:
            errors.append(too_long(path, "", _MAX_DOMAIN))
        _validate_labels(domain, dns_label, path, errors)
        if "." not in domain:
            why = "should be a domain with at least two segments separated by dots"
            errors.append(invalid(path, domain, why))
        _validate_labels(rest, dns_subdomain, path, errors)
        if len(signer) > _MAX_SIGNER:
            errors.append(too_long(path, "", _MAX_SIGNER))


_MAX_DOMAIN = 253
_MAX_SIGNER = _MAX_DOMAIN + (_MAX_DOMAIN + 63 + 1) + 1


def _validate_labels(text: str, check: Check, path: str, errors: Errors) -> None:
    """Only the first bad label is told."""
    for label in text.split("."):
        if complaints := check(label):
            for complaint in complaints:
                errors.append(invalid(path, text, f'validating label "{label}": {complaint}'))
            return


#: Conditions that say what became of a request: they are true, and stay.
_DECISIONS = ("Approved", "Denied", "Failed")


def _validate_conditions(request: Object, errors: Errors) -> None:
    decided = ""
    seen: set[str] = set()
    for position, condition in enumerate((request.get("status") or {}).get("conditions") or ()):
        path, kind = f"status.conditions[{position}]", condition.get("type") or ""
        if not kind:
            errors.append(required(f"{path}.type"))
        allowed = ("True",) if kind in _DECISIONS else ("False", "True", "Unknown")
        status = condition.get("status") or ""
        if not status:
            errors.append(required(f"{path}.status"))
        elif status not in allowed:
            errors.append(not_supported(f"{path}.status", status, allowed))
        if kind in ("Approved", "Denied"):
            if decided and decided != kind:
                why = "Approved and Denied conditions are mutually exclusive"
                errors.append(invalid(f"{path}.type", kind, why))
            decided = decided or kind
        if kind in seen:
            errors.append(duplicate(f"{path}.type", kind))
        seen.add(kind)


def _validate_change(new: Object, old: Object, errors: Errors, may_decide: tuple[str, ...]) -> None:
    """Decisions stay; ``may_decide`` are those that this door may add."""
    status, before = new.get("status") or {}, old.get("status") or {}
    for kind in _DECISIONS:
        now = [one for one in status.get("conditions") or () if one.get("type") == kind]
        then = [one for one in before.get("conditions") or () if one.get("type") == kind]
        if len(now) < len(then):
            why = f'updates may not remove a condition of type "{kind}"'
        elif len(now) > len(then) and kind not in may_decide:
            why = f'updates may not add a condition of type "{kind}"'
        elif now != then and kind not in may_decide:
            why = f'updates may not modify a condition of type "{kind}"'
        else:
            continue
        errors.append(forbidden("status.conditions", why))


def validate_approval(new: Object, old: Object) -> Errors:
    """A change through ``/approval``."""
    errors: Errors = []
    _validate_request(new, errors)
    _validate_conditions(new, errors)
    _validate_change(new, old, errors, ("Approved", "Denied"))
    return errors


def _validate_status(new: Object, old: Object, errors: Errors) -> None:
    """The signer's word: a certificate, once, or that it failed."""
    _validate_request(new, errors)
    _validate_conditions(new, errors)
    certificate = (new.get("status") or {}).get("certificate") or ""
    before = (old.get("status") or {}).get("certificate") or ""
    if certificate and (why := _certificate_fault(certificate)):
        errors.append(invalid("status.certificate", "<certificate data>", why))
    _validate_change(new, old, errors, ("Failed",))
    if certificate != before and before:
        why = "updates may not modify existing certificate content"
        errors.append(forbidden("status.certificate", why))


def _certificate_fault(text: str) -> str:
    """What is wrong with the blocks of a certificate, as Kubernetes has it; empty when nothing is."""
    content = base64.b64decode(text)
    blocks = re.findall(rb"-----BEGIN ([^-]+)-----(.*?)-----END \1-----", content, re.DOTALL)
    for kind, body in blocks:
        if kind != b"CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {quote(kind.decode(errors='replace'))}"
        if b":" in body:
            return "no PEM block headers are permitted"
    return "" if blocks else "must contain at least one CERTIFICATE PEM block"


def _is_certificate_request(text: str) -> bool:
    try:
        content = base64.b64decode(text)
    except (binascii.Error, ValueError):
        return False
    return (
        re.search(rb"-----BEGIN CERTIFICATE REQUEST-----[^-]+-----END CERTIFICATE REQUEST-----", content)
        is not None
    )


RULES = {
    ("certificates.k8s.io", "CertificateSigningRequest"): Rules(
        validate=_validate_request, status=_validate_status, name_check=_any_name, namespaced=False
    ),
}
