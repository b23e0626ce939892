"""What an object is charged, by the names that quotas use for limits (Kubernetes' evaluators).

``count/<resource>`` is not among the charges: it is one for every object.
"""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.api.quantity import NANO, Quantity
from coxswain.api.quota import pods
from coxswain.api.quota.names import CLAIMS, CLASS_INFIX, PODS, SERVICES
from coxswain.api.quota.pods import Usage

_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def charge(source: str, obj: Object) -> Usage:
    """The charge of an object of ``source`` (as ``names`` writes sources)."""
    if source == PODS:
        return {} if meta.is_pod_finished(obj) else pods.charge(obj)
    if source == SERVICES:
        return _service(obj)
    return _claim(obj) if source == CLAIMS else {}


def scopes(source: str, obj: Object) -> dict[str, str]:
    """The scopes that an object is in; the value is the class that a scope's selector compares."""
    if source == PODS:
        return pods.scopes(obj)
    if source == CLAIMS:
        status = obj.get("status") or {}
        attributes = (obj.get("spec") or {}).get("volumeAttributesClassName")
        attributes = attributes or status.get("currentVolumeAttributesClassName")
        return {"VolumeAttributesClass": attributes} if attributes else {}
    return {}


def _service(obj: Object) -> Usage:
    """Itself, its node ports (those it means to have, whether allocated or not) and its load balancer."""
    spec = obj.get("spec") or {}
    kind, ports = spec.get("type"), spec.get("ports") or ()
    usage = {"services": Quantity.of(1)}
    if kind == "LoadBalancer":
        usage["services.loadbalancers"] = Quantity.of(1)
        if spec.get("allocateLoadBalancerNodePorts") is False:
            ports = [port for port in ports if port.get("nodePort")]
    if kind in ("LoadBalancer", "NodePort"):
        usage["services.nodeports"] = Quantity.of(len(ports))
    return usage


def _claim(obj: Object) -> Usage:
    """Itself and its storage in whole bytes, also by storage class."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    usage = {"persistentvolumeclaims": Quantity.of(1)}
    wanted = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if wanted is not None:
        amount = Quantity.parse(wanted)
        allocated = (status.get("allocatedResources") or {}).get("storage")
        if allocated is not None and amount < (grown := Quantity.parse(allocated)):
            amount = grown
        if amount.nano % NANO:
            amount = Quantity.of(amount.value(), amount.format)
        usage["requests.storage"] = amount
    storage_class = meta.annotations(obj).get(_CLASS_ANNOTATION) or spec.get("storageClassName")
    if storage_class:
        usage |= {f"{storage_class}{CLASS_INFIX}{name}": amount for name, amount in usage.items()}
    return usage
