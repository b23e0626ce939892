"""Pod templates: identical pods share one, interned by the fields that scheduling depends on.

Whatever follows from these fields alone (requests, ports, parsed affinity) is computed once for the template,
and what follows from them and the nodes is cached beside it and kept up to date by the node table's change
logs (see ``cache.py``). Ten thousand replicas of a Deployment are one template.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from coxswain.scheduler import requests
from coxswain.scheduler.nodetable import CPU_ID, MEMORY_ID, PODS_ID, NodeTable
from coxswain.scheduler.volumes import own_ephemeral

#: Fields of a pod's spec that plugins read; all others do not distinguish templates.
SPEC_FIELDS = (
    "nodeName",
    "nodeSelector",
    "affinity",
    "tolerations",
    "overhead",
    "resources",
    "topologySpreadConstraints",
    "hostNetwork",
    "resourceClaims",
)
#: Volume sources that plugins read; a token or an emptyDir does not distinguish templates.
VOLUME_SOURCES = (
    "persistentVolumeClaim",
    "ephemeral",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "azureDisk",
    "cinder",
    "portworxVolume",
    "iscsi",
    "rbd",
    "csi",
)


_SPREADING_OWNERS = ("ReplicationController", "ReplicaSet", "StatefulSet")


class HostPort(NamedTuple):
    """A port wanted on the node itself; ``ip`` 0.0.0.0 is every address."""

    ip: str
    protocol: str
    port: int


@dataclass(eq=False, slots=True)
class Template:
    """One kind of pod. Compared by identity: interning makes equal ones the same."""

    namespace: str
    labels: dict[str, str]
    spec: dict[str, Any]
    #: Resource ids of the node table and how much of each (int64; cpu in thousandths), pods included.
    ids: NDArray[np.int32]
    amounts: NDArray[np.int64]
    #: [cpu, memory, cpu with defaults, memory with defaults].
    ask: NDArray[np.int64]
    host_ports: tuple[HostPort, ...]
    #: Normalized names of the images of all containers, init containers first.
    images: tuple[str, ...]
    #: Kind and name of the controller that default spreading asks for a selector; empty for others.
    owner: tuple[str, str] = ("", "")
    #: What plugins keep for this template, by plugin name.
    parsed: dict[str, Any] = field(default_factory=dict)
    #: Unlike any other's. What is remembered of other templates is kept under it, so that they can be forgotten.
    serial: int = field(default_factory=count().__next__)
    #: Whether its pods state affinity or anti-affinity to other pods.
    opinionated: bool = field(init=False)

    def __post_init__(self) -> None:
        self.opinionated = bool(self.affinity.get("podAffinity") or self.affinity.get("podAntiAffinity"))

    @property
    def node_name(self) -> str:
        """The node that the pod itself names, or empty."""
        return self.spec.get("nodeName") or ""

    @property
    def affinity(self) -> dict[str, Any]:
        return self.spec.get("affinity") or {}


class Templates:
    """Interns templates for one node table; the oldest are dropped beyond ``limit``."""

    def __init__(self, table: NodeTable, limit: int = 4096) -> None:
        self._table = table
        self._limit = limit
        self._known: dict[bytes, Template] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, pod: dict[str, Any]) -> Template:
        """The template of a pod (unassigned or placed: ``nodeName`` of a placed pod is left out by the caller)."""
        spec, metadata = pod["spec"], pod["metadata"]
        relevant = extract(spec)
        if "volumes" in relevant:
            own_ephemeral(relevant, metadata)
        owner = owner_of(metadata)
        key = orjson.dumps((metadata.get("namespace"), metadata.get("labels"), relevant, owner))
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self._limit:
                self._known.pop(next(iter(self._known)))
            found = build(
                metadata.get("namespace") or "", metadata.get("labels") or {}, relevant, self._table
            )
            found.owner = owner
            self._known[key] = found
        return found


def owner_of(metadata: dict[str, Any]) -> tuple[str, str]:
    """The controller of a pod, if it is of a kind that default spreading knows."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller") and owner.get("kind") in _SPREADING_OWNERS:
            return owner["kind"], owner["name"]
    return "", ""


def extract(spec: dict[str, Any]) -> dict[str, Any]:
    """The part of a pod's spec that scheduling depends on."""
    relevant: dict[str, Any] = {
        "containers": [_container(container) for container in spec.get("containers") or ()]
    }
    if inits := spec.get("initContainers"):
        relevant["initContainers"] = [
            {**_container(container), "restartPolicy": container.get("restartPolicy")} for container in inits
        ]
    for name in SPEC_FIELDS:
        if value := spec.get(name):
            relevant[name] = value
    for volume in spec.get("volumes") or ():
        if any(source in volume for source in VOLUME_SOURCES):
            relevant.setdefault("volumes", []).append(volume)
    return relevant


def _container(container: dict[str, Any]) -> dict[str, Any]:
    kept = {"image": container.get("image"), "resources": container.get("resources")}
    if ports := [port for port in container.get("ports") or () if port.get("hostPort")]:
        kept["ports"] = ports
    return kept


def build(namespace: str, labels: dict[str, str], spec: dict[str, Any], table: NodeTable) -> Template:
    """Compute what depends on the template alone."""
    asked = requests.pod_requests(spec)
    nonzero = requests.pod_requests(spec, defaults=True) if requests.lacks_some(spec) else asked
    wanted = {PODS_ID: 1}
    for name, nano in asked.items():
        if amount := requests.units(name, nano):
            wanted[table.resource_id(name)] = amount
    ids = sorted(wanted)
    ask = (
        wanted.get(CPU_ID, 0),
        wanted.get(MEMORY_ID, 0),
        requests.units(requests.CPU, nonzero.get(requests.CPU, 0)),
        requests.units(requests.MEMORY, nonzero.get(requests.MEMORY, 0)),
    )
    inits = spec.get("initContainers") or []
    containers = spec["containers"]
    return Template(
        namespace=namespace,
        labels=labels,
        spec=spec,
        ids=np.array(ids, np.int32),
        amounts=np.array([wanted[i] for i in ids], np.int64),
        ask=np.array(ask, np.int64),
        host_ports=_host_ports(containers, inits),
        images=tuple(image_name(c.get("image") or "") for c in (*inits, *containers)),
    )


def _host_ports(containers: list[dict[str, Any]], inits: list[dict[str, Any]]) -> tuple[HostPort, ...]:
    running = [*containers, *(c for c in inits if c.get("restartPolicy") == "Always")]
    return tuple(
        HostPort(port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", port["hostPort"])
        for container in running
        for port in container.get("ports") or ()
    )


def image_name(name: str) -> str:
    """With the tag that is meant: ``busybox`` is ``busybox:latest`` (kube-scheduler ``normalizedImageName``)."""
    return name if name.rfind(":") > name.rfind("/") else name + ":latest"
