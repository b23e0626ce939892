"""Priority: a pod's priority is that of its class; there is at most one default class."""

from __future__ import annotations

from coxswain.api.names import GVR, PODS, Object
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.lookup import Lookup

PRIORITY_CLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses")
PREEMPT = "PreemptLowerPriority"


class Priority(Plugin):
    """See the module's text."""

    NAME = "Priority"
    READS = (PRIORITY_CLASSES,)

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._generation = -1
        self._default: Object | None = None

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        if subresource or operation not in ("CREATE", "UPDATE"):
            return False
        return resource in (PODS, PRIORITY_CLASSES)

    def repeats(self, request: Request) -> bool:
        return True

    def admit(self, request: Request) -> None:
        if request.resource == PODS:
            self._admit_pod(request)

    def validate(self, request: Request) -> None:
        obj = request.object
        if request.resource != PRIORITY_CLASSES or obj is None or not obj.get("globalDefault"):
            return
        default = self._default_class()
        if default is None:
            return
        if request.operation == "CREATE" or default["metadata"]["name"] != obj["metadata"].get("name"):
            raise request.forbidden(
                f"PriorityClass {default['metadata']['name']} is already marked as default. "
                "Only one default can exist"
            )

    def _admit_pod(self, request: Request) -> None:
        assert request.object is not None
        spec = request.object.setdefault("spec", {})
        if request.operation == "UPDATE":
            self._keep(spec, (request.old_object or {}).get("spec") or {})
            return
        name = spec.get("priorityClassName") or ""
        priority, policy = 0, PREEMPT
        if name:
            found = self._lookup.get(PRIORITY_CLASSES, "", name)
            if found is None:
                raise request.forbidden(f"no PriorityClass with name {name} was found")
        else:
            found = self._default_class()
            if found is not None:
                name = spec["priorityClassName"] = found["metadata"]["name"]
        if found is not None:
            priority, policy = int(found["value"]), found.get("preemptionPolicy") or PREEMPT
        given = spec.get("priority")
        if given is not None and given != priority:
            raise request.forbidden(
                f"the integer value of priority ({given}) must not be provided in pod spec; "
                f"priority admission controller computed {priority} from the given PriorityClass name"
            )
        spec["priority"] = priority
        wanted = spec.get("preemptionPolicy")
        if wanted and wanted != policy:
            raise request.forbidden(
                f"the string value of PreemptionPolicy ({wanted}) must not be provided in pod spec; "
                f"priority admission controller computed {policy} from the given PriorityClass name"
            )
        spec["preemptionPolicy"] = policy

    @staticmethod
    def _keep(spec: Object, old: Object) -> None:
        """An update that leaves priority out means no change."""
        for field in ("priority", "preemptionPolicy"):
            if spec.get(field) is None and old.get(field) is not None:
                spec[field] = old[field]

    def _default_class(self) -> Object | None:
        generation = self._lookup.generation(PRIORITY_CLASSES)
        if generation != self._generation:
            defaults = [c for c in self._lookup.list(PRIORITY_CLASSES) if c.get("globalDefault")]
            # Should there be several, the smallest value wins.
            self._default = min(defaults, key=lambda c: int(c["value"]), default=None)
            self._generation = generation
        return self._default
