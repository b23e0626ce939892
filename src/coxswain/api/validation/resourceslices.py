"""ResourceSlices: what devices a driver has, where, and of what."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from coxswain.api.fields import Errors, Shown, forbidden, invalid, required, too_long, too_many
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.api.validation import devices
from coxswain.api.validation.formats import IMMUTABLE, dns_label, dns_subdomain, report
from coxswain.api.validation.scheduling import validate_node_selector

_MAX_DEVICES: Final = 128
#: Where devices have taints or consume counters.
_MAX_ADVANCED_DEVICES: Final = 64
_MAX_COUNTER_SETS: Final = 8
_MAX_COUNTERS: Final = 32
_MAX_CONSUMPTIONS: Final = 2
_MAX_ATTRIBUTES: Final = 32
_MAX_VALUE: Final = 64
_MAX_TAINTS: Final = 16
_MAX_OPTIONS: Final = 10
_MAX_KEY: Final = 63 + 1 + 32
_NODE_CHOICES: Final = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_DEVICE_CHOICES: Final = _NODE_CHOICES[:3]
_LISTED: Final = ", ".join(f"`{field}`" for field in _NODE_CHOICES)
_ONE_OF: Final = f"exactly one of {_LISTED} is required"
_DEVICE_ONE_OF: Final = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to "
    "true in the ResourceSlice spec"
)
_NO_PER_DEVICE: Final = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)
_NUMBER: Final = r"(0|[1-9]\d*)"
_PRE: Final = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_BUILD: Final = "[0-9a-zA-Z-]+"
_SEMVER: Final = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PRE}(\.{_PRE})*)?(\+{_BUILD}(\.{_BUILD})*)?", re.ASCII
).fullmatch
#: The kinds of value of an attribute, in the order of Go's struct, with their names there.
_VALUES: Final = {"int": "IntValue", "bool": "BoolValue", "string": "StringValue", "version": "VersionValue"}


def validate_slice(resource_slice: Object, errors: Errors) -> None:
    """A new or changed ResourceSlice."""
    spec = resource_slice.get("spec") or {}
    devices.driver_name(spec.get("driver") or "", "spec.driver", errors)
    _validate_pool(spec.get("pool") or {}, errors)
    _validate_nodes(spec, errors)
    listed, counters = spec.get("devices"), spec.get("sharedCounters")
    if listed is not None and counters is not None:
        errors.append(invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    per_device = bool(spec.get("perDeviceNodeSelection"))
    advanced = any(device.get("taints") or device.get("consumesCounters") for device in listed or ())
    devices.each_once(
        listed,
        _MAX_ADVANCED_DEVICES if advanced else _MAX_DEVICES,
        lambda device, path, found: _validate_device(device, per_device, path, found),
        _name_of,
        "spec.devices",
        errors,
    )
    devices.each_once(
        counters, _MAX_COUNTER_SETS, _validate_counter_set, _name_of, "spec.sharedCounters", errors
    )


def validate_slice_update(new: Object, old: Object, errors: Errors) -> None:
    """A slice stays of its driver, pool and node."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    pool, pool_before = spec.get("pool") or {}, before.get("pool") or {}
    if pool.get("name") != pool_before.get("name"):
        errors.append(invalid("spec.pool.name", pool.get("name"), IMMUTABLE))
    for field in ("driver", "nodeName"):
        if spec.get(field) != before.get(field):
            errors.append(invalid(f"spec.{field}", spec.get(field), IMMUTABLE))


def _name_of(item: Object) -> str:
    return item.get("name") or ""


def _validate_pool(pool: Object, errors: Errors) -> None:
    devices.pool_name(pool.get("name") or "", "spec.pool.name", errors)
    count, generation = pool.get("resourceSliceCount") or 0, pool.get("generation") or 0
    if count <= 0:
        errors.append(invalid("spec.pool.resourceSliceCount", count, "must be greater than zero"))
    if generation < 0:
        why = "must be greater than or equal to zero"
        errors.append(invalid("spec.pool.generation", generation, why))


def _validate_nodes(spec: Object, errors: Errors) -> None:
    chosen = _node_choices(
        spec, _NODE_CHOICES, "spec", "must be either unset or set to a non-empty string", errors
    )
    terms = (spec.get("nodeSelector") or {}).get("nodeSelectorTerms") or []
    if spec.get("nodeSelector") is not None and len(terms) != 1:
        where = "spec.nodeSelector.nodeSelectorTerms"
        errors.append(invalid(where, terms or None, "must have exactly one node selector term"))
    if not chosen:
        errors.append(required("spec", _ONE_OF))
    elif len(chosen) > 1:
        errors.append(invalid("spec", _braced(chosen), f"{_ONE_OF}, but multiple fields are set"))


def _node_choices(
    owner: Object, choices: tuple[str, ...], path: str, empty: str, errors: Errors
) -> list[str]:
    """Which ways to say where devices are were taken; each is checked."""
    chosen = []
    for field in choices:
        value = owner.get(field)
        here = f"{path}.{field}"
        if value is None:
            continue
        if field == "nodeSelector":
            chosen.append(field)
            validate_node_selector(value, here, errors, check_values=False)
        elif value:
            chosen.append(field)
            if field == "nodeName":
                report(dns_subdomain(value), here, value, errors)
        else:
            why = empty if field == "nodeName" else "must be either unset or set to true"
            errors.append(invalid(here, value, why))
    return chosen


def _braced(fields: list[str]) -> str:
    return "{" + ", ".join(f"`{field}`" for field in fields) + "}"


def _validate_device(device: Object, per_device: bool, path: str, errors: Errors) -> None:
    name = device.get("name") or ""
    report(dns_label(name), f"{path}.name", name, errors)
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    count = len(attributes) + len(capacity)
    if count > _MAX_ATTRIBUTES:
        why = f"the total number of attributes and capacities must not exceed {_MAX_ATTRIBUTES}"
        errors.append(invalid(path, count, why))
    for key in sorted(attributes):
        devices.qualified(key, f"{path}.attributes", errors)
        _validate_attribute(attributes[key], f"{path}.attributes[{_shortened(key, _MAX_KEY)}]", errors)
    shared = bool(device.get("allowMultipleAllocations"))
    for key in sorted(capacity):
        devices.qualified(key, f"{path}.capacity", errors)
        _validate_capacity(capacity[key], shared, f"{path}.capacity[{_shortened(key, _MAX_KEY)}]", errors)
    devices.each(device.get("taints"), _MAX_TAINTS, devices.validate_taint, f"{path}.taints", errors)
    devices.each_once(
        device.get("consumesCounters"),
        _MAX_CONSUMPTIONS,
        _validate_consumption,
        lambda consumed: consumed.get("counterSet") or "",
        f"{path}.consumesCounters",
        errors,
    )
    _validate_device_nodes(device, per_device, path, errors)
    devices.validate_binding(device, path, errors)


def _validate_device_nodes(device: Object, per_device: bool, path: str, errors: Errors) -> None:
    if per_device:
        chosen = _node_choices(device, _DEVICE_CHOICES, path, "must not be empty", errors)
        if not chosen:
            errors.append(required(path, _DEVICE_ONE_OF))
        elif len(chosen) > 1:
            errors.append(invalid(path, _braced(chosen), _DEVICE_ONE_OF))
    elif any(device.get(field) is not None for field in _DEVICE_CHOICES):
        errors.append(invalid(path, None, _NO_PER_DEVICE))


def _validate_attribute(attribute: Object, path: str, errors: Errors) -> None:
    text, version = attribute.get("string"), attribute.get("version")
    if text is not None and len(text.encode()) > _MAX_VALUE:
        errors.append(too_long(f"{path}.string", "", _MAX_VALUE))
    if version is not None:
        if not _SEMVER(version):
            why = "must be a string compatible with semver.org spec 2.0.0"
            errors.append(invalid(f"{path}.version", version, why))
        if len(version.encode()) > _MAX_VALUE:
            errors.append(too_long(f"{path}.version", "", _MAX_VALUE))
    given = sum(attribute.get(field) is not None for field in _VALUES)
    if given != 1:
        shown: Any = _shown_attribute(attribute) if given else ""
        errors.append(invalid(path, shown, "exactly one value must be specified"))


def _shown_attribute(attribute: Object) -> Shown:
    row = {name: attribute.get(field) for field, name in _VALUES.items()}
    row |= {f"{name}s": None for name in _VALUES.values()}
    return Shown(orjson.dumps(row).decode())


def _validate_capacity(capacity: Object, shared: bool, path: str, errors: Errors) -> None:
    policy = capacity.get("requestPolicy")
    if policy is None:
        return
    here = f"{path}.requestPolicy"
    if not shared:
        errors.append(forbidden(here, "allowMultipleAllocations must be true"))
        return
    values, span, default = policy.get("validValues") or [], policy.get("validRange"), policy.get("default")
    if values and span is not None:
        why = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        errors.append(forbidden(here, why))
    elif default is None and (values or span is not None):
        what = "validValues" if values else "validRange"
        errors.append(required(f"{here}.default", f"required when {what} is defined"))
    elif default is not None:
        most = Quantity.parse(capacity.get("value") or "0")
        if values:
            _validate_options(values, Quantity.parse(default), most, f"{here}.validValues", errors)
        elif span is not None:
            _validate_range(span, Quantity.parse(default), most, f"{here}.validRange", errors)


def _validate_options(
    options: list[str], default: Quantity, most: Quantity, path: str, errors: Errors
) -> None:
    amounts = [Quantity.parse(option) for option in options]
    for position in range(1, len(amounts)):
        if amounts[position] < amounts[position - 1]:
            why = "values must be sorted in ascending order"
            errors.append(invalid(f"{path}[{position}]", options[position], why))

    def check(option: str, where: str, found: Errors) -> None:
        if most < Quantity.parse(option):
            found.append(invalid(where, option, f"option is larger than capacity value: {most}"))

    whole = [str(amount.value()) for amount in amounts]
    if len(options) > _MAX_OPTIONS:
        errors.append(too_many(path, len(options), _MAX_OPTIONS))
    else:
        devices.each(options, -1, check, path, errors)
        devices.each_once(whole, -1, lambda value, where, found: None, str, path, errors)
    if len(options) > _MAX_OPTIONS or default not in amounts:
        errors.append(
            invalid(path, str(default), "default value is not valid according to the requestPolicy")
        )


def _validate_range(span: Object, default: Quantity, most: Quantity, path: str, errors: Errors) -> None:
    if span.get("min") is None:
        errors.append(required(f"{path}.min", "required when validRange is defined"))
        return
    low = Quantity.parse(span["min"])
    high = Quantity.parse(span["max"]) if span.get("max") is not None else None
    if most < low:
        errors.append(invalid(f"{path}.min", str(low), f"min is larger than capacity value: {most}"))
    if default < low:
        errors.append(invalid(f"{path}.default", str(default), f"default is less than min: {low}"))
    if high is not None:
        if high < low:
            errors.append(invalid(f"{path}.max", str(low), f"min is larger than max: {high}"))
        if most < high:
            errors.append(invalid(f"{path}.max", str(high), f"max is larger than capacity value: {most}"))
        if high < default:
            errors.append(invalid(f"{path}.default", str(default), f"default is more than max: {high}"))
    if span.get("step") is not None:
        _validate_step(Quantity.parse(span["step"]), low, high, default, most, f"{path}.step", errors)


def _validate_step(
    step: Quantity,
    low: Quantity,
    high: Quantity | None,
    default: Quantity,
    most: Quantity,
    path: str,
    errors: Errors,
) -> None:
    if step.sign() <= 0:
        errors.append(invalid(path, str(step), "must be greater than zero"))
        return
    if most < low + step:
        why = f"one step {low + step} is larger than capacity value: {most}"
        errors.append(invalid(path, str(step), why))
    for value in (default, high):
        if value is not None and (value.value() - low.value()) % step.value():
            why = f"value is not a multiple of a given step ({step}) from ({low})"
            errors.append(invalid(path, str(value), why))


def _validate_consumption(consumed: Object, path: str, errors: Errors) -> None:
    name = consumed.get("counterSet") or ""
    if not name:
        errors.append(required(f"{path}.counterSet"))
    else:
        report(dns_label(name), f"{path}.counterSet", name, errors)
    _validate_counters(consumed.get("counters") or {}, f"{path}.counters", errors)


def _validate_counter_set(counters: Object, path: str, errors: Errors) -> None:
    name = counters.get("name") or ""
    if not name:
        errors.append(required(f"{path}.name"))
    else:
        report(dns_label(name), f"{path}.name", name, errors)
    _validate_counters(counters.get("counters") or {}, f"{path}.counters", errors)


def _validate_counters(counters: Object, path: str, errors: Errors) -> None:
    if not counters:
        errors.append(required(path))
    elif len(counters) > _MAX_COUNTERS:
        errors.append(too_many(path, len(counters), _MAX_COUNTERS))
    else:
        for key in sorted(counters):
            report(dns_label(key), path, key, errors)


def _shortened(text: str, limit: int) -> str:
    """A key for a path: what is too long loses its middle."""
    if len(text) <= limit:
        return text
    rest = limit - 3
    return f"{text[: (rest + 1) // 2]}...{text[len(text) - rest // 2 :]}"
