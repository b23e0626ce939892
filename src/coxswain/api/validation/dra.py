"""Dynamic resource allocation: claims, their templates and status, device classes; slices are in ``resourceslices``."""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from coxswain.api.fields import (
    Errors,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from coxswain.api.names import Object
from coxswain.api.validation import devices
from coxswain.api.validation.conditions import validate_conditions
from coxswain.api.validation.formats import (
    IMMUTABLE,
    NOT_POSITIVE,
    dns_label,
    dns_subdomain,
    qualified_name,
    report,
)
from coxswain.api.validation.objectmeta import validate_annotations, validate_labels
from coxswain.api.validation.resourceslices import validate_slice, validate_slice_update
from coxswain.api.validation.rules import Rules
from coxswain.api.validation.scheduling import validate_node_selector

_MODES: Final = ("All", "ExactCount")
_MAX_REQUESTS: Final = 32
_MAX_ALTERNATIVES: Final = 8
_MAX_CONSTRAINTS: Final = 32
_MAX_CONFIGS: Final = 32
_MAX_RESERVED: Final = 256
_MAX_RESULTS: Final = 32
_MAX_CONDITIONS: Final = 8
_MAX_DATA: Final = 10 * 1024
_MAX_ADDRESSES: Final = 16
_MAX_INTERFACE: Final = 256
_MAX_HARDWARE: Final = 128
_NOT_A_REQUEST: Final = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)
_ONE_ATTRIBUTE: Final = (
    'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
)

#: The requests of a claim: name -> names of its alternatives.
_Names = dict[str, set[str]]


def _names_of(claim: Object) -> _Names:
    return {
        request.get("name") or "": {each.get("name") or "" for each in request.get("firstAvailable") or ()}
        for request in claim.get("requests") or ()
    }


def _name_of(item: Object) -> str:
    return item.get("name") or ""


def _validate_claim_spec(spec: Object, path: str, errors: Errors) -> None:
    claim, here = spec.get("devices") or {}, f"{path}.devices"
    names = _names_of(claim)
    devices.each_once(
        claim.get("requests"), _MAX_REQUESTS, _validate_request, _name_of, f"{here}.requests", errors
    )
    constraint = partial(_validate_constraint, names)
    devices.each(claim.get("constraints"), _MAX_CONSTRAINTS, constraint, f"{here}.constraints", errors)
    config = partial(_validate_claim_config, names)
    devices.each(claim.get("config"), _MAX_CONFIGS, config, f"{here}.config", errors)


def _validate_request(request: Object, path: str, errors: Errors) -> None:
    report(dns_label(_name_of(request)), f"{path}.name", _name_of(request), errors)
    exactly, available = request.get("exactly"), request.get("firstAvailable") or []
    if exactly is None and not available:
        errors.append(required(path, "exactly one of `exactly` or `firstAvailable` is required"))
    elif exactly is not None and available:
        why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
        errors.append(invalid(path, None, why))
    elif exactly is not None:
        _validate_wanted(exactly, f"{path}.exactly", errors)
    else:
        where = f"{path}.firstAvailable"
        devices.each_once(available, _MAX_ALTERNATIVES, _validate_alternative, _name_of, where, errors)


def _validate_alternative(wanted: Object, path: str, errors: Errors) -> None:
    report(dns_label(_name_of(wanted)), f"{path}.name", _name_of(wanted), errors)
    _validate_wanted(wanted, path, errors)


def _validate_wanted(wanted: Object, path: str, errors: Errors) -> None:
    """The devices of one request: class, selectors, how many."""
    name = wanted.get("deviceClassName") or ""
    if not name:
        errors.append(required(f"{path}.deviceClassName"))
    else:
        report(dns_subdomain(name), f"{path}.deviceClassName", name, errors)
    devices.validate_selectors(wanted.get("selectors"), f"{path}.selectors", errors)
    mode, count = wanted.get("allocationMode") or "", wanted.get("count") or 0
    if mode == "ExactCount":
        if count <= 0:
            errors.append(invalid(f"{path}.count", count, NOT_POSITIVE))
    elif mode == "All":
        if count:
            why = "must not be specified when allocationMode is 'All'"
            errors.append(invalid(f"{path}.count", count, why))
    else:
        errors.append(not_supported(f"{path}.allocationMode", mode, _MODES))
    tolerations = wanted.get("tolerations")
    devices.each(
        tolerations, devices.MAX_TOLERATIONS, devices.validate_toleration, f"{path}.tolerations", errors
    )


def _validate_constraint(names: _Names, constraint: Object, path: str, errors: Errors) -> None:
    _validate_references(constraint, names, path, errors)
    match, distinct = constraint.get("matchAttribute"), constraint.get("distinctAttribute")
    if match is not None:
        devices.fully_qualified(match, f"{path}.matchAttribute", errors)
    elif distinct is not None:
        devices.fully_qualified(distinct, f"{path}.distinctAttribute", errors)
    else:
        errors.append(required(path, _ONE_ATTRIBUTE))


def _validate_references(owner: Object, names: _Names, path: str, errors: Errors) -> None:
    reference = partial(_validate_reference, names)
    devices.each_once(owner.get("requests"), _MAX_REQUESTS, reference, str, f"{path}.requests", errors)


def _validate_reference(names: _Names, name: str, path: str, errors: Errors) -> None:
    parts = name.split("/")
    if len(parts) > 2:
        errors.append(invalid(path, name, _NOT_A_REQUEST))
        return
    for part in parts:
        report(dns_label(part), path, part, errors)
    alternatives = names.get(parts[0])
    if alternatives is None or (len(parts) == 2 and parts[1] not in alternatives):
        errors.append(invalid(path, name, _NOT_A_REQUEST))


def _validate_claim_config(names: _Names, config: Object, path: str, errors: Errors) -> None:
    _validate_references(config, names, path, errors)
    devices.validate_opaque(config, path, errors)


def _validate_claim(claim: Object, errors: Errors) -> None:
    _validate_claim_spec(claim.get("spec") or {}, "spec", errors)


def _validate_template(template: Object, errors: Errors) -> None:
    spec = template.get("spec") or {}
    metadata = spec.get("metadata") or {}
    validate_annotations(metadata.get("annotations") or {}, "spec.metadata.annotations", errors)
    validate_labels(metadata.get("labels") or {}, "spec.metadata.labels", errors)
    _validate_claim_spec(spec.get("spec") or {}, "spec.spec", errors)


def _spec_immutable(new: Object, old: Object, errors: Errors) -> None:
    if new.get("spec") != old.get("spec"):
        errors.append(invalid("spec", new.get("spec"), IMMUTABLE))


# -- a claim's status


def _validate_claim_status(new: Object, old: Object, errors: Errors) -> None:
    status, before = new.get("status") or {}, old.get("status") or {}
    names = _names_of((new.get("spec") or {}).get("devices") or {})
    reserved, allocation = status.get("reservedFor") or [], status.get("allocation")
    devices.each_once(
        reserved, _MAX_RESERVED, _validate_consumer, lambda user: user.get("uid") or "", _RESERVED, errors
    )
    results = ((allocation or {}).get("devices") or {}).get("results") or ()
    allocated = {devices.device_key(result) for result in results}
    device = partial(_validate_device_status, allocated)
    _each_device(status.get("devices") or [], device, errors)
    if reserved and allocation is None:
        errors.append(forbidden(_RESERVED, "may not be specified when `allocated` is not set"))
    elif (new.get("metadata") or {}).get("deletionTimestamp") and any(
        user not in (before.get("reservedFor") or ()) for user in reserved
    ):
        why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        errors.append(forbidden(_RESERVED, why))
    if allocation is not None and before.get("allocation") is not None:
        if allocation != before["allocation"]:
            errors.append(invalid("status.allocation", allocation, IMMUTABLE))
    elif allocation is not None:
        _validate_allocation(allocation, names, errors)


_RESERVED: Final = "status.reservedFor"


def _each_device(items: list[Object], device: devices.Item, errors: Errors) -> None:
    devices.each(items, -1, device, "status.devices", errors)
    seen: set[tuple[str, str, str, str]] = set()
    for position, item in enumerate(items):
        key = devices.device_key(item)
        if key in seen:
            errors.append(duplicate(f"status.devices[{position}]", devices.shown_device(item)))
        seen.add(key)


def _validate_consumer(user: Object, path: str, errors: Errors) -> None:
    for field in ("resource", "name", "uid"):
        if not user.get(field):
            errors.append(required(f"{path}.{field}"))


def _validate_allocation(allocation: Object, names: _Names, errors: Errors) -> None:
    found, path = allocation.get("devices") or {}, "status.allocation.devices"
    result = partial(_validate_result, names)
    devices.each(found.get("results"), _MAX_RESULTS, result, f"{path}.results", errors)
    config = partial(_validate_allocated_config, names)
    devices.each(found.get("config"), 2 * _MAX_CONFIGS, config, f"{path}.config", errors)
    if allocation.get("nodeSelector") is not None:
        where = "status.allocation.nodeSelector"
        validate_node_selector(allocation["nodeSelector"], where, errors, check_values=False)


def _validate_identity(device: Object, path: str, errors: Errors) -> None:
    devices.driver_name(device.get("driver") or "", f"{path}.driver", errors)
    devices.pool_name(device.get("pool") or "", f"{path}.pool", errors)
    name = device.get("device") or ""
    report(dns_label(name), f"{path}.device", name, errors)


def _validate_result(names: _Names, result: Object, path: str, errors: Errors) -> None:
    _validate_reference(names, result.get("request") or "", f"{path}.request", errors)
    _validate_identity(result, path, errors)
    devices.validate_binding(result, path, errors)
    for position, toleration in enumerate(result.get("tolerations") or ()):
        devices.validate_toleration(toleration, f"{path}.tolerations[{position}]", errors)
    if result.get("shareID") is not None:
        devices.uid(result["shareID"], f"{path}.shareID", errors)


def _validate_allocated_config(names: _Names, config: Object, path: str, errors: Errors) -> None:
    source, sources = config.get("source") or "", ("FromClaim", "FromClass")
    if not source:
        errors.append(required(f"{path}.source"))
    elif source not in sources:
        errors.append(not_supported(f"{path}.source", source, sources))
    _validate_references(config, names, path, errors)
    devices.validate_opaque(config, path, errors)


def _validate_device_status(
    allocated: set[tuple[str, str, str, str]], device: Object, path: str, errors: Errors
) -> None:
    _validate_identity(device, path, errors)
    if device.get("shareID") is not None:
        devices.uid(device["shareID"], f"{path}.shareID", errors)
    if devices.device_key(device) not in allocated:
        shown = devices.shown_device(device)
        errors.append(invalid(path, shown, "must be an allocated device in the claim"))
    conditions = device.get("conditions") or []
    if len(conditions) > _MAX_CONDITIONS:
        errors.append(too_many(f"{path}.conditions", len(conditions), _MAX_CONDITIONS))
    validate_conditions(conditions, f"{path}.conditions", errors)
    if device.get("data") is not None:
        devices.validate_raw(device["data"], f"{path}.data", errors, limit=_MAX_DATA)
    network, here = device.get("networkData") or {}, f"{path}.networkData"
    for field, limit in (("interfaceName", _MAX_INTERFACE), ("hardwareAddress", _MAX_HARDWARE)):
        if len((network.get(field) or "").encode()) > limit:
            errors.append(too_long(f"{here}.{field}", "", limit))
    devices.each_once(
        network.get("ips"), _MAX_ADDRESSES, devices.interface_address, str, f"{here}.ips", errors
    )


# -- classes


def _validate_class(device_class: Object, errors: Errors) -> None:
    spec = device_class.get("spec") or {}
    devices.validate_selectors(spec.get("selectors"), "spec.selectors", errors)
    devices.each(spec.get("config"), _MAX_CONFIGS, devices.validate_opaque, "spec.config", errors)
    name = spec.get("extendedResourceName")
    if name is not None and not _is_extended_resource(name):
        errors.append(invalid("spec.extendedResourceName", name, "must be a valid extended resource name"))


_NATIVE: Final = re.compile(r"(.*\.)?kubernetes\.io/.*|[^/]*|requests\..*").fullmatch


def _is_extended_resource(name: str) -> bool:
    """A resource of somebody's own domain, which quotas can count by its name."""
    return not _NATIVE(name) and not qualified_name(f"requests.{name}")


_GROUP = "resource.k8s.io"
RULES = {
    (_GROUP, "ResourceClaim"): Rules(
        create=_validate_claim,
        update=_spec_immutable,
        status=_validate_claim_status,
        metadata_on_update=True,
    ),
    (_GROUP, "ResourceClaimTemplate"): Rules(create=_validate_template, update=_spec_immutable),
    (_GROUP, "DeviceClass"): Rules(namespaced=False, validate=_validate_class, metadata_on_update=True),
    (_GROUP, "ResourceSlice"): Rules(validate=validate_slice, update=validate_slice_update, namespaced=False),
}
