"""Tables of what serves the cluster itself: leases, certificates, API services, classes, devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from coxswain.api.names import Object
from coxswain.api.tables.text import NONE, Printer, age, condition, human_duration, meta, name, spec, status


def _lease(obj: Object, now: float) -> list[Any]:
    return [name(obj), spec(obj).get("holderIdentity") or "", age(obj, now)]


def _signing_request(obj: Object, now: float) -> list[Any]:
    wanted, current = spec(obj), status(obj)
    seen = {each.get("type") for each in current.get("conditions") or ()}
    state = "Denied" if "Denied" in seen else "Approved" if "Approved" in seen else "Pending"
    state += ",Failed" if "Failed" in seen else ""
    state += ",Issued" if current.get("certificate") else ""
    seconds = wanted.get("expirationSeconds")
    return [
        name(obj),
        age(obj, now),
        wanted.get("signerName") or NONE,
        wanted.get("username", ""),
        NONE if seconds is None else human_duration(seconds),
        state,
    ]


def _api_service(obj: Object, now: float) -> list[Any]:
    service = spec(obj).get("service")
    where = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"
    available = condition(obj, "Available")
    state = "Unknown" if available is None else available.get("status", "")
    if available is not None and state != "True":
        state = f"{state} ({available.get('reason', '')})"
    return [name(obj), where, state, age(obj, now)]


def _runtime_class(obj: Object, now: float) -> list[Any]:
    return [name(obj), obj.get("handler", ""), age(obj, now)]


def _priority_class(obj: Object, now: float) -> list[Any]:
    return [
        name(obj),
        obj.get("value", 0),
        bool(obj.get("globalDefault")),
        age(obj, now),
        obj.get("preemptionPolicy") or "PreemptLowerPriority",
    ]


def _name_and_age(obj: Object, now: float) -> list[Any]:
    return [name(obj), age(obj, now)]


def _resource_claim(obj: Object, now: float) -> list[Any]:
    deleted = bool(meta(obj).get("deletionTimestamp"))
    states = ["deleted"] if deleted else []
    if status(obj).get("allocation") is None:
        states += [] if deleted else ["pending"]
    else:
        states.append("allocated")
        if status(obj).get("reservedFor"):
            states.append("reserved")
    return [name(obj), ",".join(states), age(obj, now)]


def _resource_slice(obj: Object, now: float) -> list[Any]:
    wanted = spec(obj)
    pool = (wanted.get("pool") or {}).get("name", "")
    return [name(obj), wanted.get("nodeName") or "", wanted.get("driver", ""), pool, age(obj, now)]


PRINTERS: Final[Mapping[tuple[str, str], Printer]] = {
    ("apiregistration.k8s.io", "apiservices"): _api_service,
    ("certificates.k8s.io", "certificatesigningrequests"): _signing_request,
    ("coordination.k8s.io", "leases"): _lease,
    ("node.k8s.io", "runtimeclasses"): _runtime_class,
    ("resource.k8s.io", "deviceclasses"): _name_and_age,
    ("resource.k8s.io", "resourceclaims"): _resource_claim,
    ("resource.k8s.io", "resourceclaimtemplates"): _name_and_age,
    ("resource.k8s.io", "resourceslices"): _resource_slice,
    ("scheduling.k8s.io", "priorityclasses"): _priority_class,
}
