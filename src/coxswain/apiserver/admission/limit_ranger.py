"""LimitRanger: defaults and bounds of what containers, pods and claims ask for, by a namespace's LimitRanges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from coxswain.api.names import GVR, PERSISTENT_VOLUME_CLAIMS, PODS, Object
from coxswain.api.quantity import Quantity
from coxswain.api.quota.pods import total
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.lookup import Lookup

LIMIT_RANGES = GVR("", "v1", "limitranges")
ANNOTATION = "kubernetes.io/limit-ranger"

#: Fields of a constraint.
_MAX, _MIN, _RATIO = "max", "min", "maxLimitRequestRatio"


class LimitRanger(Plugin):
    """See the module's text; follows ``plugin/pkg/admission/limitranger``."""

    NAME = "LimitRanger"
    READS = (LIMIT_RANGES,)
    WATCHES = (LIMIT_RANGES,)

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        if next(iter(self._lookup.list(LIMIT_RANGES)), None) is None:
            return False
        if resource == PODS and subresource == "resize":
            return operation == "UPDATE"
        if subresource:
            return False
        if resource == PODS:
            return operation == "CREATE"  # what a pod asks for changes through resize only
        return resource == PERSISTENT_VOLUME_CLAIMS and operation in ("CREATE", "UPDATE")

    def repeats(self, request: Request) -> bool:
        return True

    def admit(self, request: Request) -> None:
        if request.resource != PODS or _is_leaving(request):
            return
        pod = request.object
        assert pod is not None
        for limits in self._ranges(request.namespace):
            changes = list(_default_pod(pod, _defaults(limits)))
            if changes:
                annotations = pod["metadata"].setdefault("annotations", {})
                annotations[ANNOTATION] = f"LimitRanger plugin set: {'; '.join(changes)}"

    def validate(self, request: Request) -> None:
        if _is_leaving(request):
            return
        for limits in self._ranges(request.namespace):
            problems = list(dict.fromkeys(problem for item in limits for problem in _check(request, item)))
            if problems:
                text = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
                raise request.forbidden(text)

    def _ranges(self, namespace: str) -> Iterator[list[Object]]:
        for found in self._lookup.list(LIMIT_RANGES, namespace):
            yield list((found.get("spec") or {}).get("limits") or ())


def _is_leaving(request: Request) -> bool:
    """Objects that are being deleted are let go, whatever they ask for."""
    return bool(((request.old_object or {}).get("metadata") or {}).get("deletionTimestamp"))


def _defaults(limits: Iterable[Object]) -> dict[str, Object]:
    """What containers get by one LimitRange: ``requests`` and ``limits``; a later item overrules an earlier one."""
    found: dict[str, Object] = {"requests": {}, "limits": {}}
    for item in limits:
        if item.get("type") == "Container":
            found["requests"].update(item.get("defaultRequest") or {})
            found["limits"].update(item.get("default") or {})
    return found


def _default_pod(pod: Object, defaults: dict[str, Object]) -> Iterator[str]:
    """Fill in the defaults; yields what was set, in LimitRanger's words."""
    spec = pod.get("spec") or {}
    for field, word in (("containers", "container"), ("initContainers", "init container")):
        for container in spec.get(field) or ():
            own = container.get("resources") or {}
            merged = {}
            for kind, what in (("requests", "request"), ("limits", "limit")):
                have = own.get(kind) or {}
                missing = {name: amount for name, amount in defaults[kind].items() if name not in have}
                merged[kind] = {**have, **missing}
                if missing:
                    yield f"{', '.join(sorted(missing))} {what} for {word} {container['name']}"
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
        pod = request.object or {}
        requests, limits = (total(pod, what, with_overhead=False) for what in ("requests", "limits"))
        yield from _violations(item, requests, limits, kind)


Amounts = dict[str, Quantity]


def _amounts(table: Object | None) -> Amounts:
    return {name: Quantity.parse(amount) for name, amount in (table or {}).items()}


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
    found, limit = requests.get(name), limits.get(name)
    if found is None:
        return f"minimum {name} usage per {kind} is {bound}.  No request is specified"
    if found < bound:
        return f"minimum {name} usage per {kind} is {bound}, but request is {found}"
    if limit is not None and limit < bound:
        return f"minimum {name} usage per {kind} is {bound}, but limit is {limit}"
    return ""


def _above(kind: str, name: str, bound: Quantity, requests: Amounts, limits: Amounts) -> str:
    if kind == "PersistentVolumeClaim":
        found = requests.get(name)
        if found is None:
            return f"maximum {name} usage per {kind} is {bound}.  No request is specified"
        return f"maximum {name} usage per {kind} is {bound}, but request is {found}" if bound < found else ""
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
