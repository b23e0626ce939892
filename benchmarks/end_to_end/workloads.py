"""The workloads of the Kubernetes project's scheduler_perf: what they create, and how a right placement looks.

Nodes have 4 CPU, 32Gi and 110 pods; every container asks for (and is limited to) 100m and 500Mi and has one port.
``PEER`` is what kube-scheduler v1.36 with etcd places a second on two cores, measured in the same way.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from coxswain.api.quantity import Quantity

Object = dict[str, Any]
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
#: Pods by namespace and the nodes' objects by name: raises AssertionError if something is where it must not be.
Check = Callable[[Sequence[Object], dict[str, Object]], None]


def node(number: int, zones: Sequence[str]) -> Object:
    amounts = {"cpu": "4", "memory": "32Gi", "pods": "110"}
    name = f"node-{number}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {HOST: name, ZONE: zones[number % len(zones)]}},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True"}],
            "phase": "Running",
        },
    }


def large_node(name: str) -> Object:
    """The one that all pods of Daemonset want."""
    found = node(0, ["zone1"])
    amounts = {"cpu": "90000", "memory": "20000Gi", "pods": "90000"}
    found["metadata"] = {"name": name, "labels": {HOST: name}}
    found["status"] |= {"capacity": amounts, "allocatable": amounts}
    return found


def pod(namespace: str, *, cpu: str = "100m", memory: str = "500Mi", labels: dict[str, str] | None = None,
        priority: int = 0, **spec: Any) -> Object:  # fmt: skip
    amounts = {"cpu": cpu, "memory": memory}
    container = {
        "name": "pause",
        "image": "registry.k8s.io/pause:3.10",
        "ports": [{"containerPort": 80}],
        "resources": {"requests": amounts, "limits": amounts},
    }
    body: Object = {"generateName": "pod-", "namespace": namespace}
    if labels:
        body["labels"] = labels
    if priority:
        spec["priorityClassName"] = f"p{priority}"
    return {"apiVersion": "v1", "kind": "Pod", "metadata": body, "spec": {"containers": [container], **spec}}


@dataclass(frozen=True)
class Workload:
    """One workload; ``alongside`` is created every 200 ms while the measured pods are."""

    name: str
    peer: float
    nodes: int
    zones: tuple[str, ...]
    before: Object | None
    before_count: int
    measured: Object
    measured_count: int
    check: Check
    alongside: Object | None = None
    extra_nodes: tuple[Object, ...] = ()


def _place_of(nodes: dict[str, Object], pod_object: Object, key: str) -> str:
    found: str = nodes[pod_object["spec"]["nodeName"]]["metadata"]["labels"][key]
    return found


def _anywhere(pods: Sequence[Object], nodes: dict[str, Object]) -> None:
    """Nothing beyond what every workload is checked for."""


def _in_zones(pods: Sequence[Object], nodes: dict[str, Object]) -> None:
    zones = {_place_of(nodes, one, ZONE) for one in pods}
    assert zones <= {"zone1", "zone2"}, f"pods are in {zones}"


def _spread(pods: Sequence[Object], nodes: dict[str, Object]) -> None:
    blue = Counter(_place_of(nodes, one, ZONE) for one in pods if one["metadata"].get("labels"))
    assert len(blue) == 3, blue
    assert max(blue.values()) - min(blue.values()) <= 5, f"zones are skewed: {blue}"


def _apart(pods: Sequence[Object], nodes: dict[str, Object]) -> None:
    used = Counter(one["spec"]["nodeName"] for one in pods if one["metadata"].get("labels"))
    assert max(used.values()) == 1, "two green pods share a node"


def _together(pods: Sequence[Object], nodes: dict[str, Object]) -> None:
    zones = {_place_of(nodes, one, ZONE) for one in pods}
    assert len(zones) == 1, zones


def _on_large_node(pods: Sequence[Object], nodes: dict[str, Object]) -> None:
    assert {one["spec"]["nodeName"] for one in pods} == {"scheduler-perf-node"}


def _near(kind: str, labels: dict[str, str], key: str, *, weight: int = 0) -> Object:
    term = {
        "labelSelector": {"matchLabels": labels},
        "topologyKey": key,
        "namespaces": ["sched-0", "sched-1"],
    }
    if weight:
        rule: Object = {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": weight, "podAffinityTerm": term}]
        }
    else:
        rule = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    return {kind: rule}


def _node_affinity(section: str, key: str, values: list[str]) -> Object:
    term = {section: [{"key": key, "operator": "In", "values": values}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


GREEN, BLUE, RED = {"color": "green"}, {"color": "blue"}, {"color": "red"}
_ANTI = _near("podAntiAffinity", GREEN, HOST)
_NEAR = _near("podAffinity", BLUE, ZONE)
_LIKE = _near("podAffinity", RED, HOST, weight=1)
_ZONES = _node_affinity("matchExpressions", ZONE, ["zone1", "zone2"])
_LARGE = _node_affinity("matchFields", "metadata.name", ["scheduler-perf-node"])
_SPREAD = [
    {
        "maxSkew": 5,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": BLUE},
    }
]
_PLAIN = pod("sched-1")

WORKLOADS: dict[str, Workload] = {
    one.name: one
    for one in (
        Workload("SchedulingBasic", 259, 5000, ("zone1", "zone2", "zone3"), _PLAIN, 1000, _PLAIN, 10000, _anywhere),
        Workload("NodeAffinity", 225, 5000, ("zone1",), pod("sched-0", affinity=_ZONES), 5000,
                 pod("sched-1", affinity=_ZONES), 10000, _in_zones),
        Workload("TopologySpreading", 158, 5000, ("moon-1", "moon-2", "moon-3"), pod("sched-0"), 5000,
                 pod("sched-1", labels=BLUE, topologySpreadConstraints=_SPREAD), 5000, _spread),
        Workload("PodAntiAffinity", 115, 5000, ("zone1",), pod("sched-0", labels=GREEN, affinity=_ANTI), 1000,
                 pod("sched-1", labels=GREEN, affinity=_ANTI), 2000, _apart),
        Workload("PodAffinity", 55, 5000, ("zone1",), pod("sched-0", labels=BLUE, affinity=_NEAR), 5000,
                 pod("sched-1", labels=BLUE, affinity=_NEAR), 5000, _together),
        Workload("PreferredPodAffinity", 87, 5000, ("zone1",), pod("sched-0", labels=RED, affinity=_LIKE), 5000,
                 pod("sched-1", labels=RED, affinity=_LIKE), 5000, _anywhere),
        Workload("Daemonset", 340, 15000, ("zone1",), None, 0, pod("sched-1", affinity=_LARGE), 30000,
                 _on_large_node, extra_nodes=(large_node("scheduler-perf-node"),)),
        Workload("PreemptionAsync", 159, 5000, ("zone1",),
                 pod("sched-0", cpu="900m", terminationGracePeriodSeconds=0), 20000, _PLAIN, 5000, _anywhere,
                 alongside=pod("sched-2", cpu="3", priority=10)),
        Workload("Unschedulable", 225, 5000, ("zone1",), pod("sched-0"), 100, _PLAIN, 10000, _anywhere,
                 alongside=pod("sched-2", cpu="9", priority=10)),
    )
}  # fmt: skip


def body(obj: Object) -> bytes:
    return json.dumps(obj).encode()


def not_overcommitted(pods: Iterable[Object], nodes: dict[str, Object]) -> None:
    """No node has more pods, CPU or memory than it has room for."""
    used: Counter[tuple[str, str]] = Counter()
    for one in pods:
        name = one["spec"]["nodeName"]
        assert name in nodes, f"{one['metadata']['name']} is on {name}, which does not exist"
        used[name, "pods"] += 10**9
        for container in one["spec"]["containers"]:
            for resource, amount in container["resources"]["requests"].items():
                used[name, resource] += _nano(amount)
    for (name, resource), amount in used.items():
        limit = _nano(nodes[name]["status"]["allocatable"][resource])
        assert amount <= limit, f"{name} holds {amount / 1e9:g} of {limit / 1e9:g} {resource}"


@lru_cache(maxsize=1024)
def _nano(text: str) -> int:
    return Quantity.parse(text).nano
