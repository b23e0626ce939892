"""Whether an APIService can be served: its condition ``Available``, in Kubernetes' reasons and words.

local                              True  Local
Service missing                    False ServiceNotFound
Service has not the port           False ServicePortError
no slices / no ready address       False EndpointsNotFound / MissingEndpoints
discovery of the group fails       False FailedDiscoveryCheck
answered                           True  Passed
"""

from __future__ import annotations

from dataclasses import dataclass

from coxswain.api.names import ENDPOINTS, SERVICES, Object
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.proxying.locations import backends, slices_of

AVAILABLE = "Available"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition without its time."""

    ok: bool
    reason: str
    message: str


LOCAL = Verdict(True, "Local", "Local APIServices are always available")
PASSED = Verdict(True, "Passed", "all checks passed")


def failed(message: str) -> Verdict:
    """The extension server did not answer as it should."""
    return Verdict(False, "FailedDiscoveryCheck", message)


@dataclass(frozen=True, slots=True)
class Reference:
    """``spec.service`` of an APIService."""

    namespace: str
    name: str
    port: int = 443

    @classmethod
    def of(cls, service: Object) -> Reference | None:
        """None for an APIService that is local."""
        found = (service.get("spec") or {}).get("service")
        if found is None:
            return None
        return cls(found.get("namespace") or "", found.get("name") or "", int(found.get("port") or 443))


def check(lookup: Lookup, wanted: Reference) -> Verdict | None:
    """What is wrong with the Service of an APIService; None when its server can be asked."""
    service = lookup.get(SERVICES, wanted.namespace, wanted.name)
    here = f'service/{wanted.name} in "{wanted.namespace}"'
    if service is None:
        return Verdict(False, "ServiceNotFound", f"{here} is not present")
    spec = service.get("spec") or {}
    if (spec.get("type") or "ClusterIP") != "ClusterIP":
        return None
    port = next((one for one in spec.get("ports") or () if one.get("port") == wanted.port), None)
    if port is None:
        return Verdict(False, "ServicePortError", f"{here} is not listening on port {wanted.port}")
    named = port.get("name") or ""
    if not backends(lookup, wanted.namespace, wanted.name, named):
        known = slices_of(lookup, wanted.namespace, wanted.name)
        if not known and lookup.get(ENDPOINTS, wanted.namespace, wanted.name) is None:
            return Verdict(False, "EndpointsNotFound", f"cannot find endpointslices for {here}")
        message = f'endpointslices for {here} have no addresses with port name "{named}"'
        return Verdict(False, "MissingEndpoints", message)
    return None


def addresses(lookup: Lookup, wanted: Reference, *, endpoint_routing: bool) -> list[tuple[str, int]]:
    """Where the server of an APIService may be reached now; empty when nowhere."""
    service = lookup.get(SERVICES, wanted.namespace, wanted.name)
    spec = (service or {}).get("spec") or {}
    if spec.get("type") == "ExternalName":
        return [(spec["externalName"], wanted.port)] if spec.get("externalName") else []
    port = next((one for one in spec.get("ports") or () if one.get("port") == wanted.port), None)
    if port is None:
        return []
    if not endpoint_routing:
        address = spec.get("clusterIP")
        return [(address, wanted.port)] if address and address != "None" else []
    return backends(lookup, wanted.namespace, wanted.name, port.get("name") or "")


def with_condition(service: Object, verdict: Verdict, now: str) -> Object | None:
    """The status of an APIService with the verdict in it; None when it says so already."""
    status = dict(service.get("status") or {})
    conditions = list(status.get("conditions") or ())
    wanted = {
        "type": AVAILABLE,
        "status": "True" if verdict.ok else "False",
        "lastTransitionTime": now,
        "reason": verdict.reason,
        "message": verdict.message,
    }
    for at, present in enumerate(conditions):
        if present.get("type") == AVAILABLE:
            if present.get("status") == wanted["status"]:
                wanted["lastTransitionTime"] = present.get("lastTransitionTime") or now
            if present == wanted:
                return None
            conditions[at] = wanted
            break
    else:
        conditions.append(wanted)
    return {**status, "conditions": conditions}
