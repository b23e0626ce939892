"""LimitRanger: defaults and bounds of what containers, pods and claims ask for, by a namespace's LimitRanges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from coxswain.api.names import GVR, PERSISTENT_VOLUME_CLAIMS, PODS, Object
from coxswain.api.quantity import Quantity
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.lookup import Lookup

LIMIT_RANGES = GVR("", "v1", "limitranges")

#: A constraint's field, and whether a pair (enforced, found) breaks it.
_MAX, _MIN, _RATIO = "max", "min", "maxLimitRequestRatio"


class LimitRanger(Plugin):
    """See the module's text; follows ``plugin/pkg/admission/limitranger``."""

    NAME = "LimitRanger"

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        if subresource:
            return False
        if resource == PODS:
            return operation == "CREATE"  # what a pod asks for does not change afterwards
        return resource == PERSISTENT_VOLUME_CLAIMS and operation in ("CREATE", "UPDATE")

    def admit(self, request: Request) -> None:
        if request.resource != PODS:
            return
        assert request.object is not None
        changes: list[str] = []
        for limits in self._ranges(request.namespace):
            for item in limits:
                if item.get("type") == "Container":
                    changes += _default_pod(request.object, item)
        if changes:
            annotations = request.object["metadata"].setdefault("annotations", {})
            annotations["kubernetes.io/limit-ranger"] = (
                f"LimitRanger plugin set: {'; '.join(dict.fromkeys(changes))}"
            )

    def validate(self, request: Request) -> None:
        assert request.object is not None
        problems: list[str] = []
        for limits in self._ranges(request.namespace):
            for item in limits:
                problems += _check(request, item)
            if problems:
                text = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
                raise request.forbidden(text)

    def _ranges(self, namespace: str) -> Iterator[list[Object]]:
        for found in self._lookup.list(LIMIT_RANGES, namespace):
            yield list((found.get("spec") or {}).get("limits") or ())


def _default_pod(pod: Object, item: Object) -> Iterator[str]:
    """Fill in the defaults of one range; yields what was set, in LimitRanger's words."""
    spec = pod.get("spec") or {}
    for field, word in (("containers", "container"), ("initContainers", "init container")):
        for container in spec.get(field) or ():
            own = container.get("resources") or {}
            merged = {}
            for kind, source, what in (
                ("requests", item.get("defaultRequest"), "request"),
                ("limits", item.get("default"), "limit"),
            ):
                have = own.get(kind) or {}
                missing = {name: amount for name, amount in (source or {}).items() if name not in have}
                merged[kind] = {**have, **missing}
                if missing:
                    names = ", ".join(sorted(missing))
                    yield f"{names} {what} for {word} {container['name']}"
            if any(merged.values()):
                container["resources"] = {**own, **{k: v for k, v in merged.items() if v}}


def _check(request: Request, item: Object) -> Iterable[str]:
    kind = item.get("type")
    spec = (request.object or {}).get("spec") or {}
    if request.resource == PERSISTENT_VOLUME_CLAIMS:
        if kind == "PersistentVolumeClaim":
            resources = spec.get("resources") or {}
            yield from _violations(item, _amounts(resources.get("requests")), {}, kind)
    elif kind == "Container":
        for field in ("containers", "initContainers"):
            for container in spec.get(field) or ():
                resources = container.get("resources") or {}
                yield from _violations(
                    item, _amounts(resources.get("requests")), _amounts(resources.get("limits")), kind
                )
    elif kind == "Pod":
        yield from _violations(item, _pod_total(spec, "requests"), _pod_total(spec, "limits"), kind)


Amounts = dict[str, Quantity]


def _amounts(table: Object | None) -> Amounts:
    return {name: Quantity.parse(amount) for name, amount in (table or {}).items()}


def _pod_total(spec: Object, kind: str) -> Amounts:
    """The sum over containers, or the largest init container where that is more."""
    total: Amounts = {}
    for container in spec.get("containers") or ():
        for name, amount in _amounts((container.get("resources") or {}).get(kind)).items():
            total[name] = total[name] + amount if name in total else amount
    for container in spec.get("initContainers") or ():
        for name, amount in _amounts((container.get("resources") or {}).get(kind)).items():
            total[name] = max(total[name], amount) if name in total else amount
    return total


def _violations(item: Object, requests: Amounts, limits: Amounts, kind: str) -> Iterator[str]:
    checks: tuple[tuple[str, Callable[[str, str, Quantity, Amounts, Amounts], str]], ...] = (
        (_MIN, _below),
        (_MAX, _above),
        (_RATIO, _ratio),
    )
    for field, check in checks:
        for name, amount in sorted((item.get(field) or {}).items()):
            problem = check(kind, name, Quantity.parse(amount), requests, limits)
            if problem:
                yield problem


def _below(kind: str, name: str, bound: Quantity, requests: Amounts, limits: Amounts) -> str:
    if kind == "PersistentVolumeClaim" or name in requests:
        found = requests.get(name)
        if found is not None and found < bound:
            return f"minimum {name} usage per {kind} is {bound}, but request is {found}"
        if found is not None:
            limit = limits.get(name)
            if limit is not None and limit < bound:
                return f"minimum {name} usage per {kind} is {bound}, but limit is {limit}"
            return ""
    return f"minimum {name} usage per {kind} is {bound}.  No request is specified"


def _above(kind: str, name: str, bound: Quantity, requests: Amounts, limits: Amounts) -> str:
    if kind == "PersistentVolumeClaim":
        found = requests.get(name)
        if found is not None and bound < found:
            return f"maximum {name} usage per {kind} is {bound}, but request is {found}"
        return ""
    limit = limits.get(name)
    if limit is None:
        return f"maximum {name} usage per {kind} is {bound}.  No limit is specified"
    if bound < limit:
        return f"maximum {name} usage per {kind} is {bound}, but limit is {limit}"
    request = requests.get(name)
    if request is not None and bound < request:
        return f"maximum {name} usage per {kind} is {bound}, but request is {request}"
    return ""


def _ratio(kind: str, name: str, bound: Quantity, requests: Amounts, limits: Amounts) -> str:
    request, limit = requests.get(name), limits.get(name)
    if request is None or not request:
        return f"{name} max limit to request ratio per {kind} is {bound}, but no request is specified or request is 0"
    if limit is None or not limit:
        return f"{name} max limit to request ratio per {kind} is {bound}, but no limit is specified or limit is 0"
    observed = limit.milli() / request.milli()
    if observed > bound.milli() / 1000:
        return f"{name} max limit to request ratio per {kind} is {bound}, but provided ratio is {observed:f}"
    return ""
