"""What a pod is charged, and which scopes it is in (Kubernetes' ``quota/v1/evaluator/core/pods.go``).

A pod's need is the larger of what its containers need together and what starting it needs at most: sidecars
(init containers that restart always) run on beside what comes after them. Where a container was resized, the
larger of what is wished and what the node granted counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.api.quota.names import COMPUTE, is_extended

Usage = dict[str, Quantity]


def charge(pod: Object) -> Usage:
    """What ``pod`` adds to the limits' names as long as it is alive; ``count/pods`` is not among them."""
    one = Quantity.of(1)
    usage: Usage = {"pods": one}
    for name, amount in total(pod, "requests").items():
        if name in COMPUTE or name.startswith("hugepages-"):
            usage[name] = usage[f"requests.{name}"] = amount
        elif is_extended(name):
            usage[f"requests.{name}"] = amount
    for name, amount in total(pod, "limits").items():
        if name in COMPUTE:
            usage[f"limits.{name}"] = amount
    return usage


def total(pod: Object, kind: str, *, with_overhead: bool = True) -> Usage:
    """The sum of the ``requests`` or ``limits`` of a pod, with or without its overhead."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    running: Usage = {}
    for container in spec.get("containers") or ():
        _add(running, _amounts(container, status, kind, "containerStatuses"))
    peak, sidecars = _starting(spec, status, kind)
    _add(running, sidecars)
    _raise(running, peak)
    whole = _parsed((spec.get("resources") or {}).get(kind))
    running.update({k: v for k, v in whole.items() if k in ("cpu", "memory") or k.startswith("hugepages-")})
    overhead = _parsed(spec.get("overhead")) if with_overhead else {}
    if kind == "limits":  # without a limit there is nothing to add to
        overhead = {name: amount for name, amount in overhead.items() if running.get(name)}
    _add(running, overhead)
    return running


def _starting(spec: Object, status: Object, kind: str) -> tuple[Usage, Usage]:
    """(the most that any moment of the start needs, what all sidecars need)."""
    peak: Usage = {}
    sidecars: Usage = {}
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            _add(sidecars, _amounts(container, status, kind, "initContainerStatuses"))
            _raise(peak, sidecars)
        else:
            moment = dict(sidecars)
            _add(moment, _parsed((container.get("resources") or {}).get(kind)))
            _raise(peak, moment)
    return peak, sidecars


def _amounts(container: Object, status: Object, kind: str, statuses: str) -> Usage:
    """What one container counts for: its wish, or more where the node still grants more."""
    wanted = _parsed((container.get("resources") or {}).get(kind))
    for each in status.get(statuses) or ():
        if each.get("name") == container.get("name"):
            _raise(wanted, _parsed((each.get("resources") or {}).get(kind)))
            if kind == "requests":
                _raise(wanted, _parsed(each.get("allocatedResources")))
    return wanted


def _parsed(amounts: Object | None) -> Usage:
    return {name: Quantity.parse(amount) for name, amount in (amounts or {}).items()}


def _add(target: Usage, amounts: Usage) -> None:
    for name, amount in amounts.items():
        target[name] = target[name] + amount if name in target else amount


def _raise(target: Usage, amounts: Usage) -> None:
    for name, amount in amounts.items():
        if name not in target or target[name] < amount:
            target[name] = amount


def scopes(pod: Object) -> dict[str, str]:
    """The scopes that ``pod`` is in; the value is the class that a scope's selector compares."""
    spec = pod.get("spec") or {}
    deadline = spec.get("activeDeadlineSeconds")
    qos = (pod.get("status") or {}).get("qosClass") or meta.qos_class(pod)
    found = {
        "Terminating" if deadline is not None and deadline >= 0 else "NotTerminating": "",
        "BestEffort" if qos == "BestEffort" else "NotBestEffort": "",
    }
    if spec.get("priorityClassName"):
        found["PriorityClass"] = spec["priorityClassName"]
    if any(term.get("namespaces") or "namespaceSelector" in term for term in _affinity_terms(spec)):
        found["CrossNamespacePodAffinity"] = ""
    return found


def _affinity_terms(spec: Object) -> Iterable[Object]:
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = (spec.get("affinity") or {}).get(kind) or {}
        yield from rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for weighted in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield weighted.get("podAffinityTerm") or {}
