"""Dynamic resource allocation: claims, their templates, device classes, slices.

Names, requests and the choice of nodes; attributes and counters of devices are taken as they are.
"""

from __future__ import annotations

from coxswain.api.fields import Errors, duplicate, invalid, not_supported, required, too_many
from coxswain.api.names import Object
from coxswain.api.validation.formats import IMMUTABLE, NOT_POSITIVE, dns_label, dns_subdomain, report
from coxswain.api.validation.rules import Rules

_MODES = ("All", "ExactCount")
_MAX_REQUESTS = 32
_MAX_ALTERNATIVES = 8
_MAX_DEVICES = 128
_NODE_CHOICES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")


def _validate_claim_spec(spec: Object, path: str, errors: Errors) -> None:
    requests = (spec.get("devices") or {}).get("requests") or []
    here = f"{path}.devices.requests"
    if len(requests) > _MAX_REQUESTS:
        errors.append(too_many(here, len(requests), _MAX_REQUESTS))
    names: set[str] = set()
    for position, request in enumerate(requests):
        _validate_name(request, names, f"{here}[{position}]", errors)
        _validate_request(request, f"{here}[{position}]", errors)


def _validate_name(entry: Object, names: set[str], path: str, errors: Errors) -> None:
    name = entry.get("name") or ""
    if not name:
        errors.append(required(f"{path}.name"))
        return
    report(dns_label(name), f"{path}.name", name, errors)
    if name in names:
        errors.append(duplicate(f"{path}.name", name))
    names.add(name)


def _validate_request(request: Object, path: str, errors: Errors) -> None:
    exactly, available = request.get("exactly"), request.get("firstAvailable") or []
    if exactly is None and not available:
        errors.append(required(path, "exactly one of `exactly` or `firstAvailable` is required"))
    elif exactly is not None and available:
        why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
        errors.append(invalid(path, None, why))
    if exactly is not None:
        _validate_devices(exactly, f"{path}.exactly", errors)
    if len(available) > _MAX_ALTERNATIVES:
        errors.append(too_many(f"{path}.firstAvailable", len(available), _MAX_ALTERNATIVES))
    names: set[str] = set()
    for position, each in enumerate(available):
        here = f"{path}.firstAvailable[{position}]"
        _validate_name(each, names, here, errors)
        _validate_devices(each, here, errors)


def _validate_devices(wanted: Object, path: str, errors: Errors) -> None:
    name, mode, count = (
        wanted.get("deviceClassName") or "",
        wanted.get("allocationMode"),
        wanted.get("count") or 0,
    )
    if not name:
        errors.append(required(f"{path}.deviceClassName"))
    else:
        report(dns_subdomain(name), f"{path}.deviceClassName", name, errors)
    if mode == "ExactCount":
        if count <= 0:
            errors.append(invalid(f"{path}.count", count, NOT_POSITIVE))
    elif mode == "All":
        if count:
            why = "must not be specified when allocationMode is 'All'"
            errors.append(invalid(f"{path}.count", count, why))
    else:
        errors.append(not_supported(f"{path}.allocationMode", mode or "", _MODES))


def _validate_claim(claim: Object, errors: Errors) -> None:
    _validate_claim_spec(claim.get("spec") or {}, "spec", errors)


def _validate_template(template: Object, errors: Errors) -> None:
    _validate_claim_spec((template.get("spec") or {}).get("spec") or {}, "spec.spec", errors)


def _validate_slice(resource_slice: Object, errors: Errors) -> None:
    spec = resource_slice.get("spec") or {}
    driver, pool = spec.get("driver") or "", spec.get("pool") or {}
    if not driver:
        errors.append(required("spec.driver"))
    if not pool.get("name"):
        errors.append(required("spec.pool.name"))
    for part in (pool.get("name") or "").split("/") if pool.get("name") else ():
        report(dns_subdomain(part), "spec.pool.name", part, errors)
    node = spec.get("nodeName")
    if node:
        report(dns_subdomain(node), "spec.nodeName", node, errors)
    chosen = [field for field in _NODE_CHOICES if spec.get(field)]
    listed = ", ".join(f"`{field}`" for field in _NODE_CHOICES)
    if not chosen:
        errors.append(required("spec", f"exactly one of {listed} is required"))
    elif len(chosen) > 1:
        value = "{" + ", ".join(f"`{field}`" for field in chosen) + "}"
        why = f"exactly one of {listed} is required, but multiple fields are set"
        errors.append(invalid("spec", value, why))
    devices = spec.get("devices") or []
    if len(devices) > _MAX_DEVICES:
        errors.append(too_many("spec.devices", len(devices), _MAX_DEVICES))
    names: set[str] = set()
    for position, device in enumerate(devices):
        _validate_name(device, names, f"spec.devices[{position}]", errors)


def _spec_immutable(new: Object, old: Object, errors: Errors) -> None:
    if new.get("spec") != old.get("spec"):
        errors.append(invalid("spec", new.get("spec"), IMMUTABLE))


_GROUP = "resource.k8s.io"
RULES = {
    (_GROUP, "ResourceClaim"): Rules(validate=_validate_claim, update=_spec_immutable),
    (_GROUP, "ResourceClaimTemplate"): Rules(validate=_validate_template, update=_spec_immutable),
    (_GROUP, "DeviceClass"): Rules(namespaced=False),
    (_GROUP, "ResourceSlice"): Rules(validate=_validate_slice, namespaced=False),
}
