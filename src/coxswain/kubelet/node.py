"""The Node object of a kubelet and its lease, as data.

Conditions carry kubelet's reasons and messages; ``lastTransitionTime`` moves only with the status.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from coxswain import KUBERNETES_VERSION
from coxswain.api.names import Object

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40

_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node says of itself. ``addresses`` are (type, address); capacities are quantities."""

    name: str
    addresses: Sequence[tuple[str, str]]
    capacity: Mapping[str, str]
    runtime_version: str
    port: int = 10250
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Object] = ()
    allocatable: Mapping[str, str] | None = None
    machine: Mapping[str, str] = field(default_factory=dict)


def arch() -> str:
    """The machine's architecture in Go's words."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def conditions(now: str, old: Sequence[Object] = (), not_ready: str = "") -> list[Object]:
    """The node's conditions at ``now``; ``not_ready`` says why Ready is False."""
    before = {condition["type"]: condition for condition in old}
    found = []
    for kind, status, reason, message in _CONDITIONS:
        if kind == "Ready" and not_ready:
            status, reason, message = "False", "KubeletNotReady", not_ready
        previous = before.get(kind)
        same = previous is not None and previous.get("status") == status
        since = previous.get("lastTransitionTime") if same and previous else None
        found.append(
            {
                "type": kind,
                "status": status,
                "lastHeartbeatTime": now,
                "lastTransitionTime": since or now,
                "reason": reason,
                "message": message,
            }
        )
    return found


def machine_info() -> dict[str, str]:
    """NodeSystemInfo's identifiers of this machine; unknown ones are empty."""
    found = {
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
        "osImage": "",
        "kernelVersion": os.uname().release,
    }
    files = {
        "machineID": "/etc/machine-id",
        "systemUUID": "/sys/class/dmi/id/product_uuid",
        "bootID": "/proc/sys/kernel/random/boot_id",
    }
    for key, path in files.items():
        try:
            with open(path) as file:
                found[key] = file.read().strip()
        except OSError:
            continue
    try:
        with open("/etc/os-release") as file:
            pairs = dict(line.rstrip().split("=", 1) for line in file if "=" in line)
        found["osImage"] = pairs.get("PRETTY_NAME", "").strip('"')
    except OSError:
        pass
    return found


def node_object(facts: NodeFacts, now: str) -> Object:
    """The whole Node, as it is registered."""
    labels = {
        "kubernetes.io/hostname": facts.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch(),
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": arch(),
        **facts.labels,
    }
    node: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": facts.name, "labels": labels},
        "spec": {"taints": list(facts.taints)} if facts.taints else {},
        "status": status(facts, now),
    }
    node["metadata"]["annotations"] = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
    return node


def status(facts: NodeFacts, now: str, old: Sequence[Object] = (), not_ready: str = "") -> Object:
    """The node's status at ``now``."""
    return {
        "capacity": dict(facts.capacity),
        "allocatable": dict(facts.allocatable or facts.capacity),
        "conditions": conditions(now, old, not_ready),
        "addresses": [{"type": kind, "address": address} for kind, address in facts.addresses],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": facts.port}},
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
            "kernelVersion": "",
            "osImage": "",
            "containerRuntimeVersion": facts.runtime_version,
            "kubeletVersion": KUBERNETES_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": arch(),
            **facts.machine,
        },
    }


def lease(name: str, renew_time: str, node_uid: str = "") -> Object:
    """The node's lease; ``renew_time`` is a MicroTime."""
    meta: Object = {"name": name, "namespace": LEASE_NAMESPACE}
    if node_uid:
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}
        meta["ownerReferences"] = [owner]
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": meta,
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": renew_time},
    }
