"""Amounts of resources: names, quantities, requests and limits of containers and pods."""

from __future__ import annotations

from typing import Any, Literal

from coxswain.api.fields import (
    Errors,
    ErrorType,
    FieldError,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
)
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.api.validation.formats import (
    NEGATIVE,
    NOT_POSITIVE,
    Complaints,
    dns_label,
    qualified_name,
    report,
)
from coxswain.base.memo import remembered

_STANDARD = frozenset(
    {
        "cpu",
        "memory",
        "ephemeral-storage",
        "requests.cpu",
        "requests.memory",
        "requests.storage",
        "requests.ephemeral-storage",
        "limits.cpu",
        "limits.memory",
        "limits.ephemeral-storage",
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "persistentvolumeclaims",
        "configmaps",
        "storage",
        "services.nodeports",
        "services.loadbalancers",
    }
)
_STANDARD_CONTAINER = frozenset({"cpu", "memory", "ephemeral-storage"})
#: Resources that a quota may limit.
STANDARD_QUOTA = _STANDARD
_INTEGER = frozenset(
    {
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    }
)
_HUGE_PAGES = "hugepages-"

Scope = Literal["container", "pod", "any"]
Amounts = dict[str, Any]


@remembered(1024)
def resource_name(name: str, scope: Scope) -> Complaints:
    """What is wrong with a resource's name in a container's list, a pod's, or any."""
    complaints = qualified_name(name)
    plain = "/" not in name
    if not complaints and plain and name not in _STANDARD and not name.startswith(_HUGE_PAGES):
        complaints = ("must be a standard resource type or fully qualified",)
    if scope == "container":
        if plain:
            if name not in _STANDARD_CONTAINER and not name.startswith(_HUGE_PAGES):
                return (*complaints, "must be a standard resource for containers")
        elif "kubernetes.io/" not in name and not is_extended(name):
            return (*complaints, "doesn't follow extended resource name standard")
    return complaints


@remembered(1024)
def is_extended(name: str) -> bool:
    """Whether the name is that of an extended resource: a domain of its own, usable in quotas."""
    if "/" not in name or "kubernetes.io/" in name or name.startswith("requests."):
        return False
    return not qualified_name(f"requests.{name}")


@remembered(1024)
def may_overcommit(name: str) -> bool:
    """Whether requests may be lower than limits: native resources but huge pages."""
    native = "/" not in name or "kubernetes.io/" in name
    return native and not name.startswith(_HUGE_PAGES)


@remembered(4096)
def _amount(name: str, value: Any) -> Complaints:
    """What is wrong with an amount of the resource (as text: the usual case)."""
    quantity = Quantity.parse(value)
    complaints: Complaints = ()
    if quantity < Quantity(0):
        complaints = (NEGATIVE,)
    whole = name in _INTEGER or is_extended(name)
    if whole and quantity.nano % 1_000_000_000:
        complaints = (*complaints, "must be an integer")
    return complaints


def resource_quantity(name: str, value: Any, path: str, errors: Errors) -> None:
    """An amount of the resource: not negative, whole where only whole ones exist."""
    complaints = _amount(name, value)
    if complaints:
        for complaint in complaints:
            shown = value if complaint is not NEGATIVE else str(Quantity.parse(value))
            errors.append(invalid(path, shown, complaint))


def positive_quantity(value: Any, path: str, errors: Errors) -> bool:
    """A quantity above zero; whether it is."""
    quantity = Quantity.parse(value)
    if quantity <= Quantity(0):
        errors.append(invalid(path, str(quantity), NOT_POSITIVE))
        return False
    return True


_POD_LEVEL = ("cpu", "hugepages-", "memory")


def validate_requirements(
    requirements: Object,
    path: str,
    errors: Errors,
    claims: frozenset[str] | set[str],
    scope: Scope = "container",
) -> None:
    """``resources`` of a container (or a pod): names, amounts, requests within limits, claims."""
    limits: Amounts = requirements.get("limits") or {}
    requests: Amounts = requirements.get("requests") or {}
    for name, value in limits.items():
        _validate_amount(name, value, f"{path}.limits[{name}]", errors, scope)
    for name, value in requests.items():
        _validate_amount(name, value, f"{path}.requests[{name}]", errors, scope)
        _validate_against_limit(name, value, limits, path, errors)
    huge = any(name.startswith(_HUGE_PAGES) for name in (*limits, *requests))
    if huge and not {"cpu", "memory"} & {*limits, *requests}:
        errors.append(forbidden(path, "HugePages require cpu or memory"))
    if requirements.get("claims"):
        _validate_claims(requirements["claims"], claims, f"{path}.claims", errors)


def _validate_amount(name: str, value: Any, path: str, errors: Errors, scope: Scope) -> None:
    complaints = resource_name(name, "container" if scope == "container" else "any")
    if complaints:
        report(complaints, path, name, errors)
    elif scope == "pod" and name not in ("cpu", "memory") and not name.startswith(_HUGE_PAGES):
        errors.append(not_supported(path, name, _POD_LEVEL))
    resource_quantity(name, value, path, errors)
    if name.startswith(_HUGE_PAGES) and not _is_multiple(name, value):
        why = f"{Quantity.parse(value)} is not positive integer multiple of {name}"
        errors.append(invalid(path, str(Quantity.parse(value)), why))


def _is_multiple(name: str, value: Any) -> bool:
    try:
        page = Quantity.parse(name.removeprefix(_HUGE_PAGES))
    except ValueError:
        return False
    return page.nano > 0 and Quantity.parse(value).nano % page.nano == 0


def _validate_against_limit(name: str, value: Any, limits: Amounts, path: str, errors: Errors) -> None:
    limit = limits.get(name)
    if limit is None:
        if not may_overcommit(name):
            errors.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        return
    if limit == value:
        return
    amount, most = Quantity.parse(value), Quantity.parse(limit)
    if amount != most and not may_overcommit(name):
        errors.append(invalid(f"{path}.requests", str(amount), f"must be equal to {name} limit of {most}"))
    elif amount > most:
        why = f"must be less than or equal to {name} limit of {most}"
        errors.append(invalid(f"{path}.requests", str(amount), why))


def _validate_claims(
    claims: list[Object], known: frozenset[str] | set[str], path: str, errors: Errors
) -> None:
    seen: set[str] = set()
    for position, claim in enumerate(claims):
        name, request = claim.get("name") or "", claim.get("request") or ""
        here = f"{path}[{position}]"
        if not name:
            errors.append(required(here))
        elif name in seen:
            errors.append(duplicate(here, name))
        else:
            key = f"{name}/{request}" if request else name
            if request:
                report(dns_label(request), f"{here}.request", request, errors)
            if key in seen:
                errors.append(duplicate(here, key))
            elif not request and any(other.startswith(f"{name}/") for other in seen):
                errors.append(duplicate(here, name))
            seen.add(key)
        if name and name not in known:
            why = "must be one of the names in pod.spec.resourceClaims"
            why += f": {', '.join(sorted(known))}" if known else " which is empty"
            errors.append(FieldError(ErrorType.NOT_FOUND, here, name, why))


def add_amounts(total: dict[str, Quantity], amounts: Amounts | None) -> None:
    """Add ``amounts`` to ``total``, resource by resource."""
    for name, value in (amounts or {}).items():
        quantity = Quantity.parse(value)
        total[name] = total[name] + quantity if name in total else quantity


def raise_to(total: dict[str, Quantity], other: dict[str, Quantity]) -> None:
    """Make ``total`` at least ``other``, resource by resource."""
    for name, quantity in other.items():
        if name not in total or total[name] < quantity:
            total[name] = quantity


def container_requests(spec: Object) -> dict[str, Quantity]:
    """What all containers of a pod request together: sidecars add up, other init containers run alone."""
    total: dict[str, Quantity] = {}
    for container in spec.get("containers") or ():
        add_amounts(total, (container.get("resources") or {}).get("requests"))
    sidecars: dict[str, Quantity] = {}
    peak: dict[str, Quantity] = {}
    for container in spec.get("initContainers") or ():
        requests = (container.get("resources") or {}).get("requests")
        if container.get("restartPolicy") == "Always":
            add_amounts(total, requests)
            add_amounts(sidecars, requests)
            raise_to(peak, sidecars)
        else:
            alone = dict(sidecars)
            add_amounts(alone, requests)
            raise_to(peak, alone)
    raise_to(total, peak)
    return total
