"""Rules of APIServices: kube-aggregator's ``apiregistration/validation``."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from coxswain.api.fields import Errors, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.validation.formats import dns_1035_label, dns_subdomain, path_segment, report
from coxswain.api.validation.rules import Rules

_BOUNDS = (("groupPriorityMinimum", 20000), ("versionPriority", 1000))
_STATES = ("True", "False", "Unknown")


def _validate(service: Object, errors: Errors) -> None:
    spec = service.get("spec") or {}
    version, group = spec.get("version") or "", spec.get("group") or ""
    _check_name((service.get("metadata") or {}).get("name") or "", f"{version}.{group}", errors)
    if not group and version != "v1":
        why = "only v1 may have an empty group and it better be legacy kube"
        errors.append(required("spec.group", why))
    if group:
        report(dns_subdomain(group), "spec.group", group, errors)
    report(dns_1035_label(version), "spec.version", version, errors)
    for field, most in _BOUNDS:
        value = spec.get(field) or 0
        if not 0 < value <= most:
            errors.append(invalid(f"spec.{field}", value, f"must be positive and less than {most}"))
    reference = spec.get("service")
    if reference is None:
        _check_local(spec, errors)
    else:
        _check_remote(spec, reference, errors)


def _check_name(name: str, wanted: str, errors: Errors) -> None:
    # What cannot be a name at all has been told already.
    if name and not path_segment(name) and name != wanted:
        errors.append(invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: "{wanted}"'))


def _check_local(spec: Object, errors: Errors) -> None:
    if spec.get("caBundle"):
        size = f"{_size(spec['caBundle'])} bytes"
        errors.append(invalid("spec.caBundle", size, "local APIServices may not have a caBundle"))
    if spec.get("insecureSkipTLSVerify"):
        why = "local APIServices may not have insecureSkipTLSVerify"
        errors.append(invalid("spec.insecureSkipTLSVerify", True, why))


def _size(text: Any) -> int:
    try:
        return len(base64.b64decode(text))
    except (binascii.Error, ValueError):
        return len(text)


def _check_remote(spec: Object, reference: Object, errors: Errors) -> None:
    for field in ("namespace", "name"):
        if not reference.get(field):
            errors.append(required(f"spec.service.{field}"))
    port = reference.get("port") or 0
    if not 0 < port < 65536:
        why = "port is not valid: must be between 1 and 65535, inclusive"
        errors.append(invalid("spec.service.port", port, why))
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        why = "may not be true if caBundle is present"
        errors.append(invalid("spec.insecureSkipTLSVerify", True, why))


def _validate_status(service: Object, old: Object, errors: Errors) -> None:
    for position, condition in enumerate((service.get("status") or {}).get("conditions") or ()):
        state = condition.get("status") or ""
        if state not in _STATES:
            errors.append(not_supported(f"status.conditions[{position}].status", state, _STATES))


RULES = {
    ("apiregistration.k8s.io", "APIService"): Rules(
        validate=_validate,
        status=_validate_status,
        name_check=path_segment,
        namespaced=False,
        strict_finalizers=False,
        metadata_on_update=True,
    ),
}
