"""How fast nodes may be emptied: the healthier a zone, the more a silent node means that node; sans-IO.

zone        normal: eviction_rate        some nodes not ready: it is about those nodes
            unhealthy: slower or not     more than 55 % (and more than two): it may be the network
            all nodes silent             eviction_rate, as long as another zone is alive
cluster     every zone wholly silent     nothing is emptied, and taints that empty nodes are taken
                                         back: it is we who do not see
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from coxswain.api.names import Object
from coxswain.base import metrics
from coxswain.controllers.nodelifecycle.health import HealthSettings

_EXCLUDED = "node.kubernetes.io/exclude-disruption"


class ZoneState(Enum):
    """kube-controller-manager's names."""

    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


def zone_of(node: Object) -> str:
    """Region and zone of a node; "" without labels: all such nodes are one zone."""
    labels = node["metadata"].get("labels") or {}
    region = labels.get("topology.kubernetes.io/region", "")
    zone = labels.get("topology.kubernetes.io/zone", "")
    return f"{region}:{zone}" if region or zone else ""


def is_excluded(node: Object) -> bool:
    """Whether an administrator said that the node's health says nothing about its zone."""
    return _EXCLUDED in (node["metadata"].get("labels") or {})


def state_of(ready: int, not_ready: int, settings: HealthSettings) -> ZoneState:
    """The state of a zone with these nodes."""
    if ready == 0 and not_ready > 0:
        return ZoneState.FULL
    if not_ready > 2 and not_ready / (ready + not_ready) >= settings.unhealthy_zone_threshold:
        return ZoneState.PARTIAL
    return ZoneState.NORMAL


def rate_of(state: ZoneState, nodes: int, settings: HealthSettings) -> float:
    """Nodes a second that may be emptied in a zone."""
    if state is not ZoneState.PARTIAL:
        return settings.eviction_rate
    return settings.secondary_eviction_rate if nodes > settings.large_cluster_size else 0.0


_SIZE = metrics.gauge("node_collector_zone_size", "Registered nodes of a zone.", ("zone",))
_HEALTH = metrics.gauge(
    "node_collector_zone_health", "Percentage of a zone's nodes that are ready.", ("zone",)
)
_UNHEALTHY = metrics.gauge(
    "node_collector_unhealthy_nodes_in_zone", "Nodes of a zone that are not ready.", ("zone",)
)
_EVICTIONS = metrics.counter(
    "node_collector_evictions", "Times that a node of the zone began to be emptied.", ("zone",)
)


class ZoneQueue:
    """Nodes of one zone that wait to be emptied, first come first served, at the zone's rate."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._waiting: dict[str, None] = {}
        self._free_at = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, node: str) -> None:
        self._waiting[node] = None

    def discard(self, node: str) -> None:
        self._waiting.pop(node, None)

    def take(self, now: float) -> str | None:
        """The next node whose turn it is at ``now`` (seconds, monotonic); it leaves the queue."""
        if not self._waiting or self.rate <= 0 or now < self._free_at:
            return None
        node = next(iter(self._waiting))
        del self._waiting[node]
        self._free_at = now + 1 / self.rate
        return node

    def set_rate(self, rate: float, now: float) -> None:
        """A new rate counts at once, also for the turn that is waited for."""
        if rate != self.rate:
            self.rate = rate
            self._free_at = min(self._free_at, now + 1 / rate) if rate > 0 else self._free_at


class Zones:
    """All zones: their queues, their states, and whether all eviction is stopped."""

    def __init__(self, settings: HealthSettings) -> None:
        self._settings = settings
        self._queues: dict[str, ZoneQueue] = {}
        self._zone_of: dict[str, str] = {}
        self.stopped = False

    def add(self, node: str, zone: str) -> None:
        """``node`` waits to be emptied."""
        self.discard(node)
        self._zone_of[node] = zone
        self._queues.setdefault(zone, ZoneQueue(self._settings.eviction_rate)).add(node)

    def discard(self, node: str) -> None:
        """``node`` came back, or is gone."""
        zone = self._zone_of.pop(node, None)
        if zone is not None:
            self._queues[zone].discard(node)

    @property
    def waiting(self) -> bool:
        """Whether any node waits for its turn."""
        return bool(self._zone_of)

    def take(self, now: float) -> list[str]:
        """Nodes whose turn it is."""
        if self.stopped:
            return []
        taken = [node for queue in self._queues.values() if (node := queue.take(now)) is not None]
        for node in taken:
            _EVICTIONS.labels(self._zone_of.pop(node, "")).inc()
        return taken

    def judge(self, nodes: Iterable[tuple[str, bool]], now: float) -> bool:
        """Set rates from all nodes' (zone, ready); whether the whole cluster just became disrupted."""
        counts: dict[str, list[int]] = {}
        for zone, ready in nodes:
            counts.setdefault(zone, [0, 0])[not ready] += 1
        states = {zone: state_of(ready, silent, self._settings) for zone, (ready, silent) in counts.items()}
        for zone, state in states.items():
            well, unwell = counts[zone]
            _SIZE.labels(zone).set(well + unwell)
            _HEALTH.labels(zone).set(100 * well / (well + unwell))
            _UNHEALTHY.labels(zone).set(unwell)
            queue = self._queues.setdefault(zone, ZoneQueue(self._settings.eviction_rate))
            queue.set_rate(rate_of(state, sum(counts[zone]), self._settings), now)
        was = self.stopped
        self.stopped = bool(states) and all(state is ZoneState.FULL for state in states.values())
        return self.stopped and not was
