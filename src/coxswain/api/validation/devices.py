"""What the kinds of dynamic resource allocation share: names, taints, tolerations, conditions of binding, bounds of lists.

A list that is too long is not looked into: its length is the only complaint about it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection
from typing import Any, Final

import orjson

from coxswain.api.fields import (
    Errors,
    Shown,
    duplicate,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from coxswain.api.names import Object
from coxswain.api.validation.formats import dns_subdomain, label_value, qualified_name, report

MAX_DRIVER: Final = 63
MAX_POOL: Final = 253
MAX_IDENTIFIER: Final = 32
MAX_PARAMETERS: Final = 10 * 1024
MAX_TOLERATIONS: Final = 16
_MAX_BINDING_CONDITIONS: Final = 4
_EFFECTS: Final = ("NoExecute", "NoSchedule", "None")
_OPERATORS: Final = ("Equal", "Exists")
_IDENTIFIER: Final = "[A-Za-z_][A-Za-z0-9_]*"
_IDENTIFIER_MATCHES: Final = re.compile(_IDENTIFIER).fullmatch
_IDENTIFIER_WRONG: Final = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
    f"characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '{_IDENTIFIER}')"
)
_UUID_MATCHES: Final = re.compile(
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE
).fullmatch

Item = Callable[[Any, str, Errors], None]


def each(items: list[Any] | None, limit: int, item: Item, path: str, errors: Errors) -> bool:
    """Check every element, unless there are more than ``limit``; whether they were looked at."""
    items = items or []
    if 0 <= limit < len(items):
        errors.append(too_many(path, len(items), limit))
        return False
    for position, value in enumerate(items):
        item(value, f"{path}[{position}]", errors)
    return True


def each_once(
    items: list[Any] | None, limit: int, item: Item, key: Callable[[Any], Any], path: str, errors: Errors
) -> None:
    """As ``each``, and no two elements may have the same key."""
    if not each(items, limit, item, path, errors):
        return
    seen: set[Any] = set()
    for position, value in enumerate(items or ()):
        name = key(value)
        if name in seen:
            errors.append(duplicate(f"{path}[{position}]", name if isinstance(name, str) else value))
        seen.add(name)


def driver_name(name: str, path: str, errors: Errors) -> None:
    """The name of a driver: a subdomain in any case."""
    if not name:
        errors.append(required(path))
    if len(name.encode()) > MAX_DRIVER:
        errors.append(too_long(path, "", MAX_DRIVER))
    if name:
        report(dns_subdomain(name.lower()), path, name, errors)


def pool_name(name: str, path: str, errors: Errors) -> None:
    """Subdomains separated by slashes."""
    if not name:
        errors.append(required(path))
        return
    if len(name.encode()) > MAX_POOL:
        errors.append(too_long(path, "", MAX_POOL))
    for part in name.split("/"):
        report(dns_subdomain(part), path, part, errors)


def uid(value: str, path: str, errors: Errors) -> None:
    """A UUID in lower case."""
    if not _UUID_MATCHES(value):
        why = f"invalid UUID length: {len(value)}" if len(value) != 36 else "invalid UUID format"
        errors.append(invalid(path, value, f"error validating uid: {why}"))
    elif value != value.lower():
        why = (
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` "
            "with lowercase hexadecimal characters"
        )
        errors.append(invalid(path, value, why))


def _identifier(name: str, path: str, errors: Errors) -> None:
    if len(name.encode()) > MAX_IDENTIFIER:
        errors.append(too_long(path, "", MAX_IDENTIFIER))
    if not _IDENTIFIER_MATCHES(name):
        errors.append(invalid(path, name, _IDENTIFIER_WRONG))


def qualified(name: str, path: str, errors: Errors) -> None:
    """The name of an attribute or capacity: a C identifier, perhaps with a domain."""
    parts = name.split("/")
    if len(parts) == 1:
        _identifier(name, path, errors)
        return
    if len(parts) > 2:
        errors.append(invalid(path, name, "must not contain more than one slash"))
        return
    if parts[0]:
        driver_name(parts[0], path, errors)
    else:
        errors.append(invalid(path, "", "the domain must not be empty"))
    if parts[1]:
        _identifier(parts[1], path, errors)
    else:
        errors.append(invalid(path, "", "the name must not be empty"))


def fully_qualified(name: str, path: str, errors: Errors) -> None:
    """As ``qualified``, with a domain."""
    qualified(name, path, errors)
    if "/" not in name:
        why = "a fully qualified name must be a domain and a name separated by a slash"
        errors.append(invalid(path, name, why))


def validate_taint(taint: Object, path: str, errors: Errors) -> None:
    """A DeviceTaint."""
    key, value, effect = taint.get("key") or "", taint.get("value") or "", taint.get("effect") or ""
    report(qualified_name(key), f"{path}.key", key, errors)
    if value:
        report(label_value(value), f"{path}.value", value, errors)
    if not effect:
        errors.append(required(f"{path}.effect"))
    elif effect not in _EFFECTS:
        errors.append(not_supported(f"{path}.effect", effect, _EFFECTS))


def validate_toleration(toleration: Object, path: str, errors: Errors) -> None:
    """A DeviceToleration."""
    key, value = toleration.get("key") or "", toleration.get("value") or ""
    operator, effect = toleration.get("operator") or "", toleration.get("effect") or ""
    if key:
        report(qualified_name(key), f"{path}.key", key, errors)
    if operator == "Exists":
        if value:
            errors.append(invalid(f"{path}.value", value, "must be empty for operator `Exists`"))
    elif operator == "Equal":
        report(label_value(value), f"{path}.value", value, errors)
    elif not operator:
        errors.append(required(f"{path}.operator"))
    else:
        errors.append(not_supported(f"{path}.operator", operator, _OPERATORS))
    if effect and effect not in _EFFECTS:
        errors.append(not_supported(f"{path}.effect", effect, _EFFECTS))


def _condition_name(name: str, path: str, errors: Errors) -> None:
    report(qualified_name(name), path, name, errors)


def validate_binding(owner: Object, path: str, errors: Errors) -> None:
    """Conditions that say when a device is ready and when it has failed: both or none, and none in both."""
    ready = owner.get("bindingConditions") or []
    failed = owner.get("bindingFailureConditions") or []
    ready_path, failed_path = f"{path}.bindingConditions", f"{path}.bindingFailureConditions"
    each(ready, _MAX_BINDING_CONDITIONS, _condition_name, ready_path, errors)
    each(failed, _MAX_BINDING_CONDITIONS, _condition_name, failed_path, errors)
    _repeated(ready, (), ready_path, errors)
    _repeated(failed, ready, failed_path, errors)
    if failed and not ready:
        why = "bindingConditions are required to use bindingFailureConditions"
        errors.append(invalid(ready_path, owner.get("bindingConditions"), why))
    if ready and not failed:
        why = "bindingFailureConditions are required to use bindingConditions"
        errors.append(invalid(failed_path, owner.get("bindingFailureConditions"), why))


def _repeated(names: list[str], others: Collection[str], path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for position, name in enumerate(names):
        if name in seen:
            errors.append(duplicate(f"{path}[{position}]", name))
        seen.add(name)
        if name in others:
            why = "bindingFailureConditions must not overlap with bindingConditions"
            errors.append(invalid(f"{path}[{position}]", name, why))


def validate_opaque(config: Object, path: str, errors: Errors, *, stored: bool = False) -> None:
    """A driver's own configuration, which is required; ``stored`` ones may be of any length."""
    opaque = config.get("opaque")
    if opaque is None:
        errors.append(required(f"{path}.opaque"))
        return
    driver_name(opaque.get("driver") or "", f"{path}.opaque.driver", errors)
    limit = -1 if stored else MAX_PARAMETERS
    validate_raw(opaque.get("parameters"), f"{path}.opaque.parameters", errors, limit=limit)


def validate_raw(value: Any, path: str, errors: Errors, *, limit: int) -> None:
    """A JSON object of at most ``limit`` bytes (negative: of any length)."""
    if value is None:
        errors.append(required(path))
    elif 0 <= limit < len(orjson.dumps(value)):
        errors.append(too_long(path, "", limit))
    elif not isinstance(value, dict):
        errors.append(invalid(path, "<value omitted>", "must be a valid JSON object"))


def validate_selectors(selectors: list[Object] | None, path: str, errors: Errors) -> None:
    """Selectors of devices: CEL expressions over ``device``."""
    each(selectors, _MAX_SELECTORS, _validate_selector, path, errors)


_MAX_SELECTORS: Final = 32
_MAX_EXPRESSION: Final = 10 * 1024


def _validate_selector(selector: Object, path: str, errors: Errors) -> None:
    cel = selector.get("cel")
    if cel is None:
        errors.append(required(f"{path}.cel"))
        return
    here, expression = f"{path}.cel.expression", cel.get("expression") or ""
    if len(expression.encode()) > _MAX_EXPRESSION:
        errors.append(too_long(here, "", _MAX_EXPRESSION))
        return
    problem = _expression_problem(expression)
    if problem:
        errors.append(invalid(here, expression, problem))


def _expression_problem(expression: str) -> str:
    """Why an expression cannot select devices, in cel-go's words; empty when it can."""
    from coxswain.api.cel import DYN, CelError, Declared, compile_expression

    text, groups = Declared("string"), Declared("map", Declared("map", DYN))
    fields = {"driver": text, "attributes": groups, "capacity": groups}
    fields["allowMultipleAllocations"] = Declared("bool")
    try:
        program = compile_expression(expression, {"device": Declared("object", fields=fields)})
    except CelError as error:
        return f"compilation failed: {error}"
    return "" if program.type in ("bool", "dyn") else "must evaluate to bool"


def interface_address(value: str, path: str, errors: Errors) -> None:
    """An address with the length of its network, in canonical form."""
    try:
        found = ipaddress.ip_interface(value) if "/" in value else None
    except ValueError:
        found = None
    if found is None:
        why = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
        errors.append(invalid(path, value, why))
    elif str(found) != value:
        errors.append(invalid(path, value, f'must be in canonical form ("{found}")'))


def device_key(device: Object) -> tuple[str, str, str, str]:
    """What an allocated device is known by: driver, pool, device, share."""
    return (
        device.get("driver") or "",
        device.get("pool") or "",
        device.get("device") or "",
        device.get("shareID") or "",
    )


def shown_device(device: Object) -> Shown:
    """An allocated device's identity as Go prints it."""
    driver, pool, name, share = device_key(device)
    return Shown(
        orjson.dumps({"Driver": driver, "Pool": pool, "Device": name, "ShareID": share or ""}).decode()
    )
