"""When a node counts as silent, and the conditions and taints that follow; sans-IO.

A node lives as long as its lease is renewed or its Ready condition's heartbeat moves. Silent for longer than
the grace period (50 s; 60 s while it has never posted a status), its conditions become Unknown. Taints
follow conditions (Kubernetes' TaintNodesByCondition):

    Ready False     node.kubernetes.io/not-ready      NoSchedule at once, NoExecute at the zone's rate
    Ready Unknown   node.kubernetes.io/unreachable    the same
    pressures, NetworkUnavailable, spec.unschedulable    NoSchedule
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock
from coxswain.client.interface import JSON_PATCH, MERGE_PATCH

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
#: condition type -> {status -> taint}
_TAINTS: Mapping[str, Mapping[str, str]] = {
    "Ready": {"False": NOT_READY, "Unknown": UNREACHABLE},
    "MemoryPressure": {"True": "node.kubernetes.io/memory-pressure"},
    "DiskPressure": {"True": "node.kubernetes.io/disk-pressure"},
    "NetworkUnavailable": {"True": "node.kubernetes.io/network-unavailable"},
    "PIDPressure": {"True": "node.kubernetes.io/pid-pressure"},
}
_MANAGED = frozenset({key for by_status in _TAINTS.values() for key in by_status.values()} | {UNSCHEDULABLE})
_WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """kube-controller-manager's defaults of v1.36."""

    monitor_period: float = 5.0
    """Seconds between looks at every node (--node-monitor-period)."""
    monitor_grace_period: float = 50.0
    """Seconds of silence after which a node is Unknown (--node-monitor-grace-period)."""
    startup_grace_period: float = 60.0
    """The same for a node that never posted a status (--node-startup-grace-period)."""
    eviction_rate: float = 0.1
    """Nodes a second that may be emptied in a healthy zone (--node-eviction-rate)."""
    secondary_eviction_rate: float = 0.01
    """The same when a large zone is unhealthy (--secondary-node-eviction-rate); small ones stop."""
    unhealthy_zone_threshold: float = 0.55
    """Share of nodes not ready from which a zone counts as unhealthy (--unhealthy-zone-threshold)."""
    large_cluster_size: int = 50
    """Nodes above which a zone counts as large (--large-cluster-size-threshold)."""


@dataclass(slots=True)
class Pulse:
    """The last sign of life of a node, on our own clock (seconds, monotonic)."""

    seen_at: float
    renewed: str = ""
    heartbeat: str = ""

    def on_lease(self, renewed: str, now: float) -> None:
        """The node's lease was seen with this renewTime."""
        if renewed != self.renewed:
            self.renewed, self.seen_at = renewed, now

    def on_node(self, node: Object, now: float) -> None:
        """The node was seen; a moved heartbeat or a changed Ready condition is a sign of life."""
        ready = meta.condition(node, "Ready") or {}
        heartbeat = (
            f"{ready.get('lastHeartbeatTime')} {ready.get('lastTransitionTime')} {ready.get('status')}"
        )
        if heartbeat != self.heartbeat:
            self.heartbeat, self.seen_at = heartbeat, now


def ready_status(node: Object) -> str:
    """The status of the Ready condition: True, False or Unknown (also when there is none)."""
    return str((meta.condition(node, "Ready") or {}).get("status") or "Unknown")


def is_silent(node: Object, pulse: Pulse, now: float, settings: HealthSettings) -> bool:
    """Whether the grace period has passed without a sign of life."""
    posted = meta.condition(node, "Ready") is not None
    grace = settings.monitor_grace_period if posted else settings.startup_grace_period
    return now > pulse.seen_at + grace


def unknown_conditions(node: Object, stamp: str) -> list[Object] | None:
    """The node's conditions once it is silent; None when they say so already."""
    conditions: list[Object] = list((node.get("status") or {}).get("conditions") or ())
    changed = False
    for kind in _WATCHED:
        position = next((at for at, entry in enumerate(conditions) if entry.get("type") == kind), None)
        if position is None:
            conditions.append(
                {
                    "type": kind,
                    "status": "Unknown",
                    "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status.",
                    "lastHeartbeatTime": node["metadata"].get("creationTimestamp"),
                    "lastTransitionTime": stamp,
                }
            )
            changed = True
        elif conditions[position].get("status") != "Unknown":
            conditions[position] = {
                **conditions[position],
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
                "lastTransitionTime": stamp,
            }
            changed = True
    return conditions if changed else None


def wanted_execute_taint(node: Object) -> str:
    """The key of the NoExecute taint that the Ready condition asks for, or ""."""
    ready = meta.condition(node, "Ready")
    return _TAINTS["Ready"].get(str(ready.get("status")), "") if ready is not None else ""


def scheduling_taints(node: Object) -> list[str]:
    """The keys of the NoSchedule taints that conditions and spec ask for."""
    keys = []
    for entry in (node.get("status") or {}).get("conditions") or ():
        key = _TAINTS.get(entry.get("type"), {}).get(entry.get("status"))
        if key:
            keys.append(key)
    if (node.get("spec") or {}).get("unschedulable"):
        keys.append(UNSCHEDULABLE)
    return keys


def taints_after(node: Object, *, may_execute: bool, stamp: str) -> list[Object] | None:
    """The node's taints as they should be; None when they are so already.

    A NoExecute taint that is not there yet is added only with ``may_execute`` (the zone's rate allows it);
    one that is there is exchanged or removed at once, as conditions say.
    """
    old: list[Object] = (node.get("spec") or {}).get("taints") or []
    execute = wanted_execute_taint(node)
    had = any(_is_execute(taint) for taint in old)
    if execute and not had and not may_execute:
        execute = ""
    schedule = scheduling_taints(node)
    kept = [
        taint
        for taint in old
        if (
            taint["key"] == execute
            if _is_execute(taint)
            else taint["effect"] != "NoSchedule" or taint["key"] not in _MANAGED or taint["key"] in schedule
        )
    ]
    present = {(taint["key"], taint["effect"]) for taint in kept}
    kept += [
        {"key": key, "effect": "NoSchedule", "timeAdded": stamp}
        for key in schedule
        if (key, "NoSchedule") not in present
    ]
    if execute and (execute, "NoExecute") not in present:
        kept.append({"key": execute, "effect": "NoExecute", "timeAdded": stamp})
    return None if kept == old else kept


def taints_patch(node: Object, taints: list[Object]) -> tuple[Any, str]:
    """A patch that exchanges the taints of ``node``, unless they have changed meanwhile; and its content type.

    Where there are some it tests just these, so that it does not clash with what else is written about a node that has
    just come: its range, its annotations, its status.
    """
    uid, old = node["metadata"]["uid"], (node.get("spec") or {}).get("taints")
    if not old:
        condition = {"resourceVersion": node["metadata"]["resourceVersion"], "uid": uid}
        return {"metadata": condition, "spec": {"taints": taints or None}}, MERGE_PATCH
    path = "/spec/taints"
    change = {"op": "replace", "path": path, "value": taints} if taints else {"op": "remove", "path": path}
    tests = (("/metadata/uid", uid), (path, old))
    return [*({"op": "test", "path": at, "value": value} for at, value in tests), change], JSON_PATCH


def awaits_execute_taint(node: Object) -> bool:
    """Whether a NoExecute taint is due that only the zone's rate may add."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return bool(wanted_execute_taint(node)) and not any(_is_execute(taint) for taint in taints)


def without_execute_taints(node: Object) -> list[Object] | None:
    """The node's taints without ours of effect NoExecute; None when there are none."""
    old: list[Object] = (node.get("spec") or {}).get("taints") or []
    kept = [taint for taint in old if not _is_execute(taint)]
    return None if len(kept) == len(old) else kept


def _is_execute(taint: Object) -> bool:
    return taint["effect"] == "NoExecute" and taint["key"] in (NOT_READY, UNREACHABLE)


def made_unready(pod: Object) -> Object | None:
    """The change of a pod's status that makes it unready; None when it is not ready anyhow."""
    if not meta.is_pod_ready(pod):
        return None
    return {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": clock.timestamp()}]}
