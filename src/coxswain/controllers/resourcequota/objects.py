"""What is kept of a counted object: who it is, what it is charged, and its scopes.

These are informer transforms: a pod shrinks to a few sums on arrival, and a secret to its name.

    {"metadata": {...}, "charge": Usage, "scopes": {"PriorityClass": "high", ...}, "ends": seconds | None}

``charge`` is what the object adds beside ``count/<resource>``, ``ends`` (pods that are deleted) when it stops.
"""

from __future__ import annotations

from collections.abc import Callable

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.api.quota import charges, pods
from coxswain.api.quota.names import CLAIMS, PODS, SERVICES
from coxswain.base import clock

_META = ("name", "namespace", "uid", "resourceVersion")


def _kept(obj: Object, charge: pods.Usage, scopes: dict[str, str], ends: float | None = None) -> Object:
    metadata = {name: obj["metadata"][name] for name in _META if name in obj["metadata"]}
    return {"metadata": metadata, "charge": charge, "scopes": scopes, "ends": ends}


def plain(obj: Object) -> Object:
    """An object that only counts."""
    return _kept(obj, {}, {})


def pod(obj: Object) -> Object:
    """A pod; one that succeeded or failed is charged nothing but its ``count/pods``."""
    if meta.is_pod_finished(obj):
        return _kept(obj, {}, pods.scopes(obj))
    metadata = obj["metadata"]
    ends: float | None = None
    if metadata.get("deletionTimestamp") and metadata.get("deletionGracePeriodSeconds") is not None:
        # A pod stuck on a lost node must not keep its namespace from replacing it.
        ends = clock.parse_time(metadata["deletionTimestamp"]) + metadata["deletionGracePeriodSeconds"]
    return _kept(obj, pods.charge(obj), pods.scopes(obj), ends)


def service(obj: Object) -> Object:
    """A service."""
    return _kept(obj, charges.charge(SERVICES, obj), {})


def claim(obj: Object) -> Object:
    """A persistent volume claim."""
    return _kept(obj, charges.charge(CLAIMS, obj), charges.scopes(CLAIMS, obj))


_TRANSFORMS: dict[str, Callable[[Object], Object]] = {PODS: pod, SERVICES: service, CLAIMS: claim}


def transform_of(source: str) -> Callable[[Object], Object]:
    """The transform for the objects of ``source``."""
    return _TRANSFORMS.get(source, plain)


def same_charge(old: Object, new: Object) -> bool:
    """Whether an update leaves every sum as it was."""
    return bool(
        old["charge"] == new["charge"] and old["scopes"] == new["scopes"] and old["ends"] == new["ends"]
    )
