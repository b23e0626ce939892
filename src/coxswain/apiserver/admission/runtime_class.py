"""RuntimeClass: a pod's overhead and placement come from its runtime class."""

from __future__ import annotations

from coxswain.api.fields import quote
from coxswain.api.names import GVR, PODS, Object
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.lookup import Lookup

RUNTIME_CLASSES = GVR("node.k8s.io", "v1", "runtimeclasses")


class RuntimeClass(Plugin):
    """See the module's text."""

    NAME = "RuntimeClass"

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation == "CREATE" and resource == PODS and not subresource

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


def _overhead(found: Object) -> Object | None:
    overhead: Object | None = (found.get("overhead") or {}).get("podFixed")
    return overhead


def _set_overhead(request: Request, spec: Object, found: Object) -> None:
    overhead = _overhead(found)
    if not overhead:
        return
    if spec.get("overhead") and spec["overhead"] != overhead:
        raise request.forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
    spec["overhead"] = dict(overhead)


def _set_scheduling(request: Request, spec: Object, found: Object) -> None:
    scheduling = found.get("scheduling") or {}
    selector = dict(spec.get("nodeSelector") or {})
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.get(key, value) != value:
            raise request.forbidden(
                f"pod rejected: conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {selector[key]}"
            )
        selector[key] = value
    if selector:
        spec["nodeSelector"] = selector
    tolerations = spec.get("tolerations") or []
    extra = [dict(t) for t in scheduling.get("tolerations") or () if t not in tolerations]
    if extra:
        spec["tolerations"] = [*tolerations, *extra]
