"""What is kept of a counted object: who it is, what it is charged, and its scopes.

These are informer transforms: a pod shrinks to a few sums on arrival, and a secret to its name.

    {"metadata": {...}, "charge": Usage, "scopes": {"PriorityClass": "high", ...}, "ends": seconds | None}

``charge`` is what the object adds beside ``count/<resource>``, ``ends`` (pods that are deleted) when it stops.
"""

from __future__ import annotations

from collections.abc import Callable

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.api.quantity import NANO, Quantity
from coxswain.base import clock
from coxswain.controllers.resourcequota import pods
from coxswain.controllers.resourcequota.names import CLAIMS, CLASS_INFIX, PODS, SERVICES

_META = ("name", "namespace", "uid", "resourceVersion")
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


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
    """A service: its node ports (those it means to have, whether allocated or not) and load balancer."""
    spec = obj.get("spec") or {}
    kind, ports = spec.get("type"), spec.get("ports") or ()
    charge = {"services": Quantity.of(1)}
    if kind == "LoadBalancer":
        charge["services.loadbalancers"] = Quantity.of(1)
        if spec.get("allocateLoadBalancerNodePorts") is False:
            ports = [port for port in ports if port.get("nodePort")]
    if kind in ("LoadBalancer", "NodePort"):
        charge["services.nodeports"] = Quantity.of(len(ports))
    return _kept(obj, charge, {})


def claim(obj: Object) -> Object:
    """A persistent volume claim: itself and its storage in whole bytes, also by storage class."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    charge = {"persistentvolumeclaims": Quantity.of(1)}
    wanted = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if wanted is not None:
        amount = Quantity.parse(wanted)
        allocated = (status.get("allocatedResources") or {}).get("storage")
        if allocated is not None and amount < (grown := Quantity.parse(allocated)):
            amount = grown
        if amount.nano % NANO:
            amount = Quantity.of(amount.value(), amount.format)
        charge["requests.storage"] = amount
    storage_class = meta.annotations(obj).get(_CLASS_ANNOTATION) or spec.get("storageClassName")
    if storage_class:
        charge |= {f"{storage_class}{CLASS_INFIX}{name}": amount for name, amount in charge.items()}
    attributes = spec.get("volumeAttributesClassName") or status.get("currentVolumeAttributesClassName")
    return _kept(obj, charge, {"VolumeAttributesClass": attributes} if attributes else {})


_TRANSFORMS: dict[str, Callable[[Object], Object]] = {PODS: pod, SERVICES: service, CLAIMS: claim}


def transform_of(source: str) -> Callable[[Object], Object]:
    """The transform for the objects of ``source``."""
    return _TRANSFORMS.get(source, plain)


def same_charge(old: Object, new: Object) -> bool:
    """Whether an update leaves every sum as it was."""
    return bool(
        old["charge"] == new["charge"] and old["scopes"] == new["scopes"] and old["ends"] == new["ends"]
    )
