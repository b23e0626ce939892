"""RuntimeClass: a pod's overhead and placement come from its runtime class."""

from __future__ import annotations

from coxswain.api.fields import quote
from coxswain.api.names import GVR, PODS, Object
from coxswain.api.quantity import Quantity
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.admission.tolerations import merged
from coxswain.apiserver.lookup import Lookup

RUNTIME_CLASSES = GVR("node.k8s.io", "v1", "runtimeclasses")


class RuntimeClass(Plugin):
    """See the module's text."""

    NAME = "RuntimeClass"
    READS = (RUNTIME_CLASSES,)

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation == "CREATE" and resource == PODS and not subresource

    def repeats(self, request: Request) -> bool:
        return True

    def admit(self, request: Request) -> None:
        assert request.object is not None
        spec = request.object.setdefault("spec", {})
        found = self._find(request, spec)
        if found is None:
            return
        _set_overhead(request, spec, found)
        _set_scheduling(request, spec, found)

    def validate(self, request: Request) -> None:
        assert request.object is not None
        spec = request.object.get("spec") or {}
        found = self._find(request, spec)
        overhead = _overhead(found) if found is not None else None
        if overhead and not _same(overhead, spec.get("overhead")):
            raise request.forbidden(_MISMATCH)
        if spec.get("overhead") and not overhead:
            raise request.forbidden(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            )

    def _find(self, request: Request, spec: Object) -> Object | None:
        name = spec.get("runtimeClassName")
        if not name:
            return None
        found = self._lookup.get(RUNTIME_CLASSES, "", name)
        if found is None:
            raise request.forbidden(f"pod rejected: RuntimeClass {quote(name)} not found")
        return found


_MISMATCH = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"


def _overhead(found: Object) -> Object | None:
    overhead: Object | None = (found.get("overhead") or {}).get("podFixed")
    return overhead


def _set_overhead(request: Request, spec: Object, found: Object) -> None:
    overhead = _overhead(found)
    if not overhead:
        return
    if spec.get("overhead") and not _same(overhead, spec["overhead"]):
        raise request.forbidden(_MISMATCH)
    spec["overhead"] = dict(overhead)


def _set_scheduling(request: Request, spec: Object, found: Object) -> None:
    scheduling = found.get("scheduling") or {}
    selector = dict(spec.get("nodeSelector") or {})
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.get(key, value) != value:
            raise request.forbidden(
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {selector[key]}"
            )
        selector[key] = value
    if selector:
        spec["nodeSelector"] = selector
    if scheduling.get("tolerations"):
        both = [*(spec.get("tolerations") or ()), *(dict(each) for each in scheduling["tolerations"])]
        spec["tolerations"] = merged(both)


def _same(overhead: Object, other: Object | None) -> bool:
    """Whether two overheads are the same amounts."""
    return _parsed(overhead) == _parsed(other or {})


def _parsed(amounts: Object) -> dict[str, Quantity]:
    return {name: Quantity.parse(amount) for name, amount in amounts.items()}
