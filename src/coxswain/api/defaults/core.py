"""Defaults of the core kinds that are no workloads: services, secrets, namespaces, nodes, storage."""

from __future__ import annotations

import base64

from coxswain.api.defaults.pods import (
    default_azure_disk,
    default_claim_spec,
    default_host_path,
    default_iscsi,
    default_rbd,
    default_scale_io,
    round_amounts,
)
from coxswain.api.names import Object

#: Seconds that a client keeps its endpoint.
_AFFINITY_SECONDS = 10800


def externally_accessible(spec: Object) -> bool:
    """Whether traffic may come from outside the cluster."""
    kind = spec.get("type")
    return kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def _service(service: Object) -> None:
    spec = service.setdefault("spec", {})
    affinity = spec.get("sessionAffinity") or "None"
    spec["sessionAffinity"] = affinity
    if affinity == "None":
        spec.pop("sessionAffinityConfig", None)
    elif affinity == "ClientIP":
        config = spec.get("sessionAffinityConfig") or {}
        if (config.get("clientIP") or {}).get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": _AFFINITY_SECONDS}}
    if not spec.get("type"):
        spec["type"] = "ClusterIP"
    for port in spec.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if not port.get("targetPort"):
            port["targetPort"] = port.get("port") or 0
    if not spec.get("externalTrafficPolicy") and externally_accessible(spec):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec.get("internalTrafficPolicy") is None and spec["type"] in (
        "ClusterIP",
        "NodePort",
        "LoadBalancer",
    ):
        spec["internalTrafficPolicy"] = "Cluster"
    if spec["type"] == "LoadBalancer":
        if spec.get("allocateLoadBalancerNodePorts") is None:
            spec["allocateLoadBalancerNodePorts"] = True
        for ingress in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            if ingress.get("ip") and ingress.get("ipMode") is None:
                ingress["ipMode"] = "VIP"


def _secret(secret: Object) -> None:
    text = secret.pop("stringData", None)
    if text:
        encoded = {name: base64.b64encode((value or "").encode()).decode() for name, value in text.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}
    if not secret.get("type"):
        secret["type"] = "Opaque"


def _namespace(namespace: Object) -> None:
    metadata = namespace.setdefault("metadata", {})
    if metadata.get("name"):
        metadata["labels"] = {
            **(metadata.get("labels") or {}),
            "kubernetes.io/metadata.name": metadata["name"],
        }
    status = namespace.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Active"


def _node(node: Object) -> None:
    spec = node.get("spec") or {}
    network, networks = spec.get("podCIDR"), spec.get("podCIDRs")
    if network and (not networks or networks[0] != network):
        spec["podCIDRs"] = [network]  # a client that knows only the older field
    elif networks and not network:
        spec["podCIDR"] = networks[0]
    status = node.get("status")
    if not status:
        return
    if status.get("capacity"):
        round_amounts(status["capacity"])
        if status.get("allocatable") is None:
            status["allocatable"] = dict(status["capacity"])
    if status.get("allocatable"):
        round_amounts(status["allocatable"])


def _endpoints(endpoints: Object) -> None:
    for subset in endpoints.get("subsets") or ():
        for port in subset.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"


def _endpoint_slice(endpoint_slice: Object) -> None:
    for port in endpoint_slice.get("ports") or ():
        if port.get("name") is None:
            port["name"] = ""
        if port.get("protocol") is None:
            port["protocol"] = "TCP"


def _limit_range(limit_range: Object) -> None:
    for limit in (limit_range.get("spec") or {}).get("limits") or ():
        for kind in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            if limit.get(kind):
                round_amounts(limit[kind])
        if limit.get("type") != "Container":
            continue
        most = {**(limit.get("max") or {}), **(limit.get("default") or {})}
        requests = {**(limit.get("min") or {}), **most, **(limit.get("defaultRequest") or {})}
        if most:
            limit["default"] = most
        if requests:
            limit["defaultRequest"] = requests


def _resource_quota(quota: Object) -> None:
    hard = (quota.get("spec") or {}).get("hard")
    if hard:
        round_amounts(hard)


_VOLUME_SOURCES = {
    "hostPath": default_host_path,
    "iscsi": default_iscsi,
    "rbd": default_rbd,
    "azureDisk": default_azure_disk,
    "scaleIO": default_scale_io,
}


def _persistent_volume(volume: Object) -> None:
    spec = volume.setdefault("spec", {})
    status = volume.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"
    if not spec.get("persistentVolumeReclaimPolicy"):
        spec["persistentVolumeReclaimPolicy"] = "Retain"
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    for kind, fill in _VOLUME_SOURCES.items():
        if spec.get(kind) is not None:
            fill(spec[kind])


def _persistent_volume_claim(claim: Object) -> None:
    default_claim_spec(claim.setdefault("spec", {}))
    status = claim.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"


DEFAULTS = {
    ("", "Service"): _service,
    ("", "Secret"): _secret,
    ("", "Namespace"): _namespace,
    ("", "Node"): _node,
    ("", "Endpoints"): _endpoints,
    ("", "LimitRange"): _limit_range,
    ("", "ResourceQuota"): _resource_quota,
    ("", "PersistentVolume"): _persistent_volume,
    ("", "PersistentVolumeClaim"): _persistent_volume_claim,
    ("discovery.k8s.io", "EndpointSlice"): _endpoint_slice,
}
