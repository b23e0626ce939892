"""ResourceQuota: a create that would exceed a namespace's hard limits is refused.

What is in use is counted from the objects that exist (``status.used`` belongs to the quota controller, which
may lag or be off). Counted: objects (``pods``, ``services``, ``count/deployments.apps`` ...), the services'
sub-kinds, and what pods request and limit.
"""

from __future__ import annotations

from collections.abc import Iterable

from coxswain.api.names import GVR, PERSISTENT_VOLUME_CLAIMS, PODS, SERVICES, Object
from coxswain.api.quantity import Quantity
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.lookup import Lookup

QUOTAS = GVR("", "v1", "resourcequotas")
_COMPUTE = frozenset({"cpu", "memory", "ephemeral-storage"})

#: Resources that a quota counts by their plain name.
_PLAIN = frozenset(
    {
        "pods",
        "services",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "replicationcontrollers",
        "resourcequotas",
    }
)

Usage = dict[str, Quantity]


class ResourceQuota(Plugin):
    """See the module's text. Quotas with scopes are left to the controller: they never refuse here."""

    NAME = "ResourceQuota"

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation == "CREATE" and not subresource

    def validate(self, request: Request) -> None:
        if not request.namespace or request.object is None:
            return
        quotas = sorted(
            self._lookup.list(QUOTAS, request.namespace), key=lambda quota: str(quota["metadata"]["name"])
        )
        if not quotas:
            return
        added = usage_of(request.resource, request.object)
        for quota in quotas:
            self._check(request, quota, added)

    def _check(self, request: Request, quota: Object, added: Usage) -> None:
        spec = quota.get("spec") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            return
        hard = {name: Quantity.parse(amount) for name, amount in (spec.get("hard") or {}).items()}
        name = quota["metadata"]["name"]
        if request.resource == PODS:
            _require_compute(request, name, hard)
        wanted = {key: amount for key, amount in added.items() if key in hard and amount}
        if not wanted:
            return
        used = self._used(request, wanted)
        exceeded = [key for key in sorted(wanted) if hard[key] < used[key] + wanted[key]]
        if exceeded:
            raise request.forbidden(
                f"exceeded quota: {name}, requested: {_listed(exceeded, wanted)}, "
                f"used: {_listed(exceeded, used)}, limited: {_listed(exceeded, hard)}"
            )

    def _used(self, request: Request, wanted: Usage) -> Usage:
        used = {key: Quantity.parse(0) for key in wanted}
        for obj in self._lookup.list(request.resource, request.namespace):
            if request.resource == PODS and (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
                continue
            for key, amount in usage_of(request.resource, obj).items():
                if key in used:
                    used[key] = used[key] + amount
        return used


def usage_of(resource: GVR, obj: Object) -> Usage:
    """What one object adds to a namespace's usage, by the names that quotas use."""
    one = Quantity.parse(1)
    usage: Usage = {f"count/{resource.group_resource}": one}
    if not resource.group and resource.resource in _PLAIN:
        usage[resource.resource] = one
    if resource == PODS:
        usage.update(_pod_usage(obj.get("spec") or {}))
    elif resource == SERVICES:
        usage.update(_service_usage(obj.get("spec") or {}))
    elif resource == PERSISTENT_VOLUME_CLAIMS:
        usage.update(_claim_usage(obj.get("spec") or {}))
    return usage


def _pod_usage(spec: Object) -> Usage:
    usage: Usage = {}
    for kind in ("requests", "limits"):
        for name, amount in _total(spec, kind).items():
            usage[f"{kind}.{name}"] = amount
            if kind == "requests" and name in _COMPUTE:
                usage[name] = amount
    return usage


def _total(spec: Object, kind: str) -> Usage:
    running: Usage = {}
    starting: Usage = {}
    for container in spec.get("containers") or ():
        _add(running, _amounts(container, kind))
    for container in spec.get("initContainers") or ():
        amounts = _amounts(container, kind)
        if container.get("restartPolicy") == "Always":
            _add(running, amounts)
        for name, amount in amounts.items():
            starting[name] = max(starting.get(name, amount), amount)
    for name, amount in starting.items():
        running[name] = max(running.get(name, amount), amount)
    if running or kind == "requests":
        _add(running, {k: Quantity.parse(v) for k, v in (spec.get("overhead") or {}).items()})
    return running


def _add(total: Usage, amounts: Usage) -> None:
    for name, amount in amounts.items():
        total[name] = total[name] + amount if name in total else amount


def _amounts(container: Object, kind: str) -> Usage:
    table = (container.get("resources") or {}).get(kind) or {}
    return {name: Quantity.parse(amount) for name, amount in table.items()}


def _service_usage(spec: Object) -> Usage:
    kind, ports = spec.get("type"), Quantity.parse(len(spec.get("ports") or ()))
    usage: Usage = {}
    if kind == "LoadBalancer":
        usage["services.loadbalancers"] = Quantity.parse(1)
    if kind == "NodePort" or (
        kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    ):
        usage["services.nodeports"] = ports
    return usage


def _claim_usage(spec: Object) -> Usage:
    requested = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    amount = Quantity.parse(requested) if requested is not None else Quantity.parse(0)
    usage = {"requests.storage": amount}
    if spec.get("storageClassName"):
        prefix = f"{spec['storageClassName']}.storageclass.storage.k8s.io/"
        usage[prefix + "requests.storage"] = amount
        usage[prefix + "persistentvolumeclaims"] = Quantity.parse(1)
    return usage


def _require_compute(request: Request, quota: str, hard: Usage) -> None:
    """A quota on cpu or memory demands that every container says how much it wants."""
    spec = (request.object or {}).get("spec") or {}
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    missing: dict[str, list[str]] = {}
    for key in sorted(hard):
        kind, _, name = key.partition(".") if "." in key else ("requests", "", key)
        if name not in _COMPUTE or kind not in ("requests", "limits"):
            continue
        lacking = [
            str(c.get("name")) for c in containers if name not in ((c.get("resources") or {}).get(kind) or {})
        ]
        if lacking:
            missing[key] = lacking
    if missing:
        text = "; ".join(f"{key} for: {','.join(sorted(names))}" for key, names in missing.items())
        raise request.forbidden(f"failed quota: {quota}: must specify {text}")


def _listed(keys: Iterable[str], amounts: Usage) -> str:
    return ",".join(f"{key}={amounts[key]}" for key in keys)
