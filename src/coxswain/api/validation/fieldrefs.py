"""References from a pod to its own fields and resources (the downward API)."""

from __future__ import annotations

import re

from coxswain.api.fields import Errors, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.quantity import canonicalize
from coxswain.api.validation.formats import qualified_name, report

ENV_FIELDS = frozenset(
    {
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    }
)
VOLUME_FIELDS = frozenset(
    {"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
)
_CONVERTIBLE = ENV_FIELDS | VOLUME_FIELDS | {"spec.restartPolicy", "spec.schedulerName", "status.phase"}
_RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_UNITS = frozenset(
    {"1", *(f"1{unit}" for unit in ("k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))}
)
_UNITS_SHOWN = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei"


def validate_field_ref(reference: Object, allowed: frozenset[str], path: str, errors: Errors) -> None:
    """``fieldRef``: a known field of the pod, or one label or annotation."""
    version, field = reference.get("apiVersion") or "", reference.get("fieldPath") or ""
    for name, value in (("apiVersion", version), ("fieldPath", field)):
        if not value:
            errors.append(required(f"{path}.{name}"))
            return
    subscripted = re.fullmatch(r"(.+?)\['(.*)'\]", field)
    base = subscripted[1] if subscripted else field
    problem = _cannot_convert(version, field, base)
    if problem:
        errors.append(invalid(f"{path}.fieldPath", field, f"error converting fieldPath: {problem}"))
    elif subscripted:
        if base == "metadata.annotations":
            report(qualified_name(subscripted[2].lower()), path, subscripted[2].lower(), errors)
        elif base == "metadata.labels":
            report(qualified_name(subscripted[2]), path, subscripted[2], errors)
        else:
            errors.append(invalid(path, base, "does not support subscript"))
    elif field not in allowed:
        errors.append(not_supported(f"{path}.fieldPath", field, tuple(sorted(allowed))))


def _cannot_convert(version: str, field: str, base: str) -> str:
    if version != "v1":
        return f"unsupported pod version: {version}"
    if base != field and base not in ("metadata.annotations", "metadata.labels"):
        return f"field label does not support subscript: {base}"
    return "" if base in _CONVERTIBLE else f"field label not supported: {base}"


def validate_resource_ref(reference: Object, path: str, errors: Errors, *, in_volume: bool) -> None:
    """``resourceFieldRef``: a container's request or limit, in a sensible unit."""
    resource = reference.get("resource") or ""
    if in_volume and not reference.get("containerName"):
        errors.append(required(f"{path}.containerName"))
    elif not resource:
        errors.append(required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(("requests.hugepages-", "limits.hugepages-")):
        errors.append(not_supported(f"{path}.resource", resource, _RESOURCES))
    divisor = reference.get("divisor")
    if divisor is None or canonicalize(divisor) == "0":
        return
    kind = resource.partition(".")[2]
    words = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}.get(kind)
    words = "hugepages" if kind.startswith("hugepages-") else words
    if kind == "cpu" and canonicalize(divisor) not in ("1m", "1"):
        why = "only divisor's values 1m and 1 are supported with the cpu resource"
        errors.append(invalid(f"{path}.divisor", resource, why))
    elif words and canonicalize(divisor) not in _UNITS:
        why = f"only divisor's values {_UNITS_SHOWN} are supported with the {words} resource"
        errors.append(invalid(f"{path}.divisor", resource, why))
