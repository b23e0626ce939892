"""What a request adds to which quota, and whether that is too much (Kubernetes' ``CheckRequest``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from coxswain.api.names import GVR, PERSISTENT_VOLUME_CLAIMS, PODS, SERVICES, Object
from coxswain.api.quantity import Quantity
from coxswain.api.quota import charges, names
from coxswain.api.quota.pods import Usage
from coxswain.api.quota.scopes import in_scopes
from coxswain.apiserver.admission.quota.limited import Limited, uncovered
from coxswain.apiserver.admission.request import Request

QUOTAS = GVR("", "v1", "resourcequotas")

#: Charged for changes too; everything else for coming into being.
_CHANGING = frozenset({(PERSISTENT_VOLUME_CLAIMS, ""), (SERVICES, ""), (PODS, "resize")})
_COMPUTE = ("cpu", "memory")
_ONE = Quantity.of(1)


def is_charged(operation: str, resource: GVR, subresource: str) -> bool:
    """Whether requests of this shape can change what is in use."""
    if operation == "CREATE":
        return not subresource
    return operation == "UPDATE" and (resource, subresource) in _CHANGING


def additions(
    request: Request, quotas: Iterable[Object], limited: Sequence[Limited] = ()
) -> dict[str, Usage]:
    """What the request adds to each quota that it changes, by the quota's name. Raises ``Forbidden``.

    ``limited`` are the resources of this kind that may be used only where some quota counts them.
    """
    obj = request.object or {}
    source = request.resource.group_resource
    scopes = charges.scopes(source, obj)
    interesting = []
    for quota in quotas:
        limits = _limits(quota, source)
        if not limits or not in_scopes(quota, scopes):
            continue
        name = quota["metadata"]["name"]
        if request.resource == PODS:
            _require_compute(request, name, limits)
        used = (quota.get("status") or {}).get("used") or {}
        if any(limit not in used for limit in limits):
            raise request.forbidden(
                f"status unknown for quota: {name}, resources: {','.join(sorted(limits))}"
            )
        interesting.append((name, quota))
    if not interesting and not limited:
        return {}
    added = _added(request, source)
    if limited and added:
        why = uncovered(limited, scopes, added, [quota for _, quota in interesting])
        if why:
            raise request.forbidden(why)
    found = {name: _checked(request, quota, added) for name, quota in interesting}
    return {name: usage for name, usage in found.items() if usage}


def _limits(quota: Object, source: str) -> list[str]:
    """The limits that the quota's status sets on objects of ``source``."""
    hard = (quota.get("status") or {}).get("hard") or {}
    return [limit for limit in hard if names.source_of(limit) == source]


def usage_of(source: str, obj: Object) -> Usage:
    """All that an object of ``source`` uses, by the names of limits."""
    usage = {names.COUNT + source: _ONE, **charges.charge(source, obj)}
    if names.source_of(source) == source:
        usage.setdefault(source, _ONE)
    return usage


def _added(request: Request, source: str) -> Usage:
    usage = usage_of(source, request.object or {})
    negative = sorted(name for name, amount in usage.items() if amount.sign() < 0)
    if negative:
        raise request.forbidden(f"quota usage is negative for resource(s): {','.join(negative)}")
    if request.operation == "UPDATE" and request.old_object is not None:
        before = usage_of(source, request.old_object)
        usage = {name: amount - before[name] if name in before else amount for name, amount in usage.items()}
    return {name: amount for name, amount in usage.items() if amount.sign() > 0}


def _checked(request: Request, quota: Object, added: Usage) -> Usage:
    """What of ``added`` the quota counts. Raises ``Forbidden`` when it is too much."""
    status = quota["status"]
    hard = {name: Quantity.parse(amount) for name, amount in status["hard"].items() if name in added}
    requested = {name: added[name] for name in hard}
    used = {name: Quantity.parse((status.get("used") or {}).get(name) or 0) for name in hard}
    exceeded = sorted(name for name in hard if hard[name] < used[name] + requested[name])
    if exceeded:
        raise request.forbidden(
            f"exceeded quota: {quota['metadata']['name']}, requested: {_listed(exceeded, requested)}, "
            f"used: {_listed(exceeded, used)}, limited: {_listed(exceeded, hard)}"
        )
    return requested


def _listed(keys: Iterable[str], amounts: Mapping[str, Quantity]) -> str:
    return ",".join(f"{key}={amounts[key]}" for key in keys)


def charged(quota: Object, added: Usage) -> Object:
    """A copy of ``quota`` in whose status ``added`` is in use."""
    status = quota["status"]
    used = dict(status.get("used") or {})
    for name, amount in added.items():
        used[name] = str(Quantity.parse(used.get(name) or 0) + amount)
    return {**quota, "status": {**status, "used": used}}


def _require_compute(request: Request, quota: str, limits: Iterable[str]) -> None:
    """A quota on cpu or memory demands that every container says how much it wants, or the pod as a whole."""
    spec = (request.object or {}).get("spec") or {}
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    missing: dict[str, list[str]] = {}
    for limit in limits:
        kind, _, resource = limit.rpartition(".")
        kind = kind or "requests"
        if resource not in _COMPUTE or kind not in ("requests", "limits") or _says(spec, kind, resource):
            continue
        lacking = sorted({str(c.get("name")) for c in containers if not _says(c, kind, resource)})
        if lacking:
            missing[limit] = lacking
    if missing:
        text = "; ".join(f"{limit} for: {','.join(missing[limit])}" for limit in sorted(missing))
        raise request.forbidden(f"failed quota: {quota}: must specify {text}")


def _says(holder: Object, kind: str, resource: str) -> bool:
    return resource in ((holder.get("resources") or {}).get(kind) or {})
