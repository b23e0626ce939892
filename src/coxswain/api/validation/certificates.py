"""Certificate signing requests, and registrations of aggregated APIs."""

from __future__ import annotations

import base64
import binascii
import re

from coxswain.api.fields import Errors, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.validation.formats import Complaints, dns_subdomain, path_segment, report
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
    signer = spec.get("signerName") or ""
    domain, slash, rest = signer.partition("/")
    if not signer:
        errors.append(required("spec.signerName"))
    elif not slash or not domain or not rest:
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        errors.append(invalid("spec.signerName", signer, why))
    else:
        report(dns_subdomain(domain), "spec.signerName", signer, errors)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _SHORTEST:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(invalid("spec.expirationSeconds", seconds, why))


def _is_certificate_request(text: str) -> bool:
    try:
        content = base64.b64decode(text)
    except (binascii.Error, ValueError):
        return False
    return (
        re.search(rb"-----BEGIN CERTIFICATE REQUEST-----[^-]+-----END CERTIFICATE REQUEST-----", content)
        is not None
    )


def _validate_service(service: Object, errors: Errors) -> None:
    spec = service.get("spec") or {}
    name = (service.get("metadata") or {}).get("name") or ""
    version, group = spec.get("version") or "", spec.get("group") or ""
    wanted = f"{version}.{group}"
    if name != wanted:
        errors.append(invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: "{wanted}"'))
    if not version:
        errors.append(required("spec.version"))
    if (spec.get("groupPriorityMinimum") or 0) not in range(1, 20001):
        why = "must be positive and less than 20000"
        errors.append(invalid("spec.groupPriorityMinimum", spec.get("groupPriorityMinimum") or 0, why))
    if (spec.get("versionPriority") or 0) not in range(1, 1001):
        why = "must be positive and less than 1000"
        errors.append(invalid("spec.versionPriority", spec.get("versionPriority") or 0, why))
    reference = spec.get("service")
    if reference is None:
        if spec.get("caBundle") or spec.get("insecureSkipTLSVerify"):
            why = "local APIServices may not set insecureSkipTLSVerify or caBundle"
            errors.append(invalid("spec.insecureSkipTLSVerify", bool(spec.get("insecureSkipTLSVerify")), why))
        return
    for field in ("namespace", "name"):
        if not reference.get(field):
            errors.append(required(f"spec.service.{field}"))


RULES = {
    ("certificates.k8s.io", "CertificateSigningRequest"): Rules(
        validate=_validate_request, name_check=_any_name, namespaced=False
    ),
    ("apiregistration.k8s.io", "APIService"): Rules(
        validate=_validate_service, name_check=path_segment, namespaced=False, strict_finalizers=False
    ),
}
