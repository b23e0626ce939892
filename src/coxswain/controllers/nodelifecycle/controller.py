"""Watches nodes, their leases and pods; writes conditions, taints and pods' readiness.

    leases, nodes --signs of life--> pulses --every 5 s--> silent? --> conditions Unknown --+
    node changed --> taints (at once, but NoExecute waits for its zone's turn)  <-----------+
                 --> pods of an Unknown node are not ready

Every write carries the resourceVersion of the node or pod that was judged: a node that reports at that very
moment wins. Nothing is written where conditions and taints are as they should be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from coxswain.api.errors import Conflict, Invalid, NotFound
from coxswain.api.names import LEASES, NODES, Object
from coxswain.base import clock, metrics, settings
from coxswain.base.tasks import Supervisor
from coxswain.client.informer import Informer
from coxswain.client.interface import JSON_PATCH
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.nodelifecycle import health
from coxswain.controllers.nodelifecycle.health import HealthSettings, Pulse
from coxswain.controllers.nodelifecycle.zones import Zones, is_excluded, zone_of
from coxswain.controllers.pods import patch_status, pod_informer
from coxswain.controllers.shell import Shell

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
NODE_INDEX = "node"
_EVICTION_PERIOD = 0.1
_SECONDS = tuple(0.001 * 4**power for power in range(8))
_ALL = metrics.histogram(
    "node_collector_update_all_nodes_health_duration_seconds",
    "Seconds that it takes to judge the health of all nodes.",
    buckets=_SECONDS,
)
_ONE = metrics.histogram(
    "node_collector_update_node_health_duration_seconds",
    "Seconds that it takes to write the health of one node.",
    buckets=_SECONDS,
)


def renew_time_only(lease: Object) -> Object:
    """A transform for leases: what tells a sign of life, and nothing else."""
    meta = lease["metadata"]
    kept = {name: meta.get(name) for name in ("name", "namespace", "uid", "resourceVersion")}
    return {"metadata": kept, "renewTime": (lease.get("spec") or {}).get("renewTime") or ""}


def index_pods_by_node(pods: Informer) -> None:
    """Give the pods' informer its index by node."""
    pods.add_index(NODE_INDEX, lambda pod: (name,) if (name := pod["spec"].get("nodeName")) else ())


def about_node(node: Object) -> Object:
    """The reference that events about nodes carry."""
    meta = node["metadata"]
    return {"apiVersion": "v1", "kind": "Node", "name": meta["name"], "uid": meta["uid"]}


class NodeLifecycle:
    """One instance a process; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._settings = settings.read(HealthSettings, context.options)
        self._informers = context.informers
        self._nodes = context.informers.informer(NODES)
        self._pods = pod_informer(context.informers)
        self._leases = context.informers.informer(LEASES, LEASE_NAMESPACE, transform=renew_time_only)
        self._recorder = context.recorder("node-controller")
        self._pulses: dict[str, Pulse] = {}
        self._may_execute: set[str] = set()
        #: Nodes whose Ready condition is Unknown: events of their pods are looked at.
        self._unknown: set[str] = set()
        self._zones = Zones(self._settings)
        self._queued = asyncio.Event()
        self._shell = Shell("node-lifecycle-controller", self.reconcile, context.workers)

    async def run(self) -> None:
        """Run until cancelled."""
        index_pods_by_node(self._pods)
        self._nodes.add_handler(self._on_node, lambda _, new: self._on_node(new), self._on_node_gone)
        self._leases.add_handler(self._on_lease, lambda _, new: self._on_lease(new))
        self._pods.add_handler(self._on_pod, lambda _, new: self._on_pod(new))
        await self._informers.start()
        for informer in (self._nodes, self._leases, self._pods):
            await informer.wait_synced()
        async with Supervisor("node lifecycle") as tasks:
            tasks.start("reconcile", self._shell.run())
            tasks.supervise("monitor", self._monitor)
            tasks.supervise("eviction turns", self._take_turns)
            await asyncio.Event().wait()

    # ---- signs of life

    def _on_node(self, node: Object) -> None:
        name = node["metadata"]["name"]
        now = clock.monotonic()
        pulse = self._pulses.get(name)
        if pulse is None:
            pulse = self._pulses[name] = Pulse(now)
            text = f"Node {name} event: Registered Node {name} in Controller"
            self._recorder.event(about_node(node), "Normal", "RegisteredNode", text)
        pulse.on_node(node, now)
        (self._unknown.add if health.ready_status(node) == "Unknown" else self._unknown.discard)(name)
        self._shell.add(name)

    def _on_node_gone(self, node: Object) -> None:
        name = node["metadata"]["name"]
        self._pulses.pop(name, None)
        self._zones.discard(name)
        self._may_execute.discard(name)
        self._unknown.discard(name)
        text = f"Node {name} event: Removing Node {name} from Controller"
        self._recorder.event(about_node(node), "Normal", "RemovingNode", text)

    def _on_lease(self, lease: Object) -> None:
        pulse = self._pulses.get(lease["metadata"]["name"])
        if pulse is not None:
            pulse.on_lease(lease["renewTime"], clock.monotonic())

    def _on_pod(self, pod: Object) -> None:
        if self._unknown and (name := pod["spec"].get("nodeName")) in self._unknown:
            self._shell.add(name)

    # ---- silence

    async def _monitor(self) -> None:
        while True:
            started = clock.monotonic()
            await self._look_at_all()
            _ALL.observe(clock.monotonic() - started)
            await clock.sleep(self._settings.monitor_period)

    async def _look_at_all(self) -> None:
        now = clock.monotonic()
        nodes = list(self._nodes.list())
        silent = {
            node["metadata"]["name"]: node
            for node in nodes
            if health.is_silent(node, self._pulses[node["metadata"]["name"]], now, self._settings)
        }
        # The whole is judged before any node is: that all are silent must be known before one is emptied.
        was_stopped = self._zones.stopped
        counted = (node for node in nodes if not is_excluded(node))
        just_stopped = self._zones.judge((self._judged(node, silent) for node in counted), now)
        for node in silent.values():
            started = clock.monotonic()
            await self._declare_silent(node)
            _ONE.observe(clock.monotonic() - started)
        if just_stopped:
            log.warning("every zone is silent: no node is emptied until one is heard again")
            await self._take_back_taints()
        elif was_stopped and not self._zones.stopped:
            # We could not see; everybody gets a full grace period again.
            for pulse in self._pulses.values():
                pulse.seen_at = now
            for node in nodes:
                self._shell.add(node["metadata"]["name"])

    def _judged(self, node: Object, silent: Mapping[str, Object]) -> tuple[str, bool]:
        is_ready = health.ready_status(node) == "True" and node["metadata"]["name"] not in silent
        return zone_of(node), is_ready

    async def _declare_silent(self, node: Object) -> None:
        conditions = health.unknown_conditions(node, clock.timestamp())
        if conditions is None:
            return
        name = node["metadata"]["name"]
        was_ready = health.ready_status(node) == "True"
        status = {**(node.get("status") or {}), "conditions": conditions}
        try:
            await self._client.update(NODES, {**node, "status": status}, subresource="status")
        except (Conflict, NotFound):
            return  # it spoke, or it is gone
        log.info("node %s is silent", name)
        if was_ready:
            text = f"Node {name} status is now: NodeNotReady"
            self._recorder.event(about_node(node), "Normal", "NodeNotReady", text)

    async def _take_back_taints(self) -> None:
        self._may_execute.clear()
        for node in list(self._nodes.list()):
            taints = health.without_execute_taints(node)
            if taints is not None:
                await self._set_taints(node, taints)

    async def _take_turns(self) -> None:
        while True:
            for name in self._zones.take(clock.monotonic()):
                self._may_execute.add(name)
                self._shell.add(name)
            if not self._zones.waiting:
                self._queued.clear()
                await self._queued.wait()
            await clock.sleep(_EVICTION_PERIOD)

    # ---- taints and pods

    async def reconcile(self, name: str) -> None:
        """Bring one node's taints, and its pods' readiness, in line with its conditions."""
        node = self._nodes.get(name)
        if node is None:
            return
        if health.awaits_execute_taint(node):
            if name not in self._may_execute:
                self._zones.add(name, zone_of(node))
                self._queued.set()
        else:
            self._zones.discard(name)
            self._may_execute.discard(name)
        may = name in self._may_execute and not self._zones.stopped
        if not self._zones.stopped or health.wanted_execute_taint(node) == "":
            taints = health.taints_after(node, may_execute=may, stamp=clock.timestamp())
        else:
            # Nobody is emptied now: keep NoExecute taints away, but mark nodes for the scheduler.
            bare = {**node, "spec": {**(node.get("spec") or {}), "taints": self._without(node)}}
            taints = health.taints_after(bare, may_execute=False, stamp=clock.timestamp())
        if taints is not None:
            await self._set_taints(node, taints)
        if health.ready_status(node) == "Unknown" and (node.get("status") or {}).get("conditions"):
            await self._make_pods_unready(name)

    def _without(self, node: Object) -> list[Object]:
        taints = health.without_execute_taints(node)
        return taints if taints is not None else (node.get("spec") or {}).get("taints") or []

    async def _set_taints(self, node: Object, taints: list[Object]) -> None:
        """Exchange the taints that ``node`` has. Raises ``Conflict`` when it has others by now."""
        patch, kind = health.taints_patch(node, taints)
        try:
            await self._client.patch(NODES, node["metadata"]["name"], patch, kind=kind)
        except NotFound:
            return
        except Invalid as error:
            if kind != JSON_PATCH:
                raise
            raise Conflict(str(error)) from None  # what the patch tests is not so any more

    async def _make_pods_unready(self, name: str) -> None:
        for pod in self._pods.by_index(NODE_INDEX, name):
            status = health.made_unready(pod)
            if status is None:
                continue
            self._recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")
            try:
                await patch_status(self._client, pod, status)
            except NotFound:
                continue


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    await NodeLifecycle(context).run()


DESCRIPTOR = Descriptor("node-lifecycle-controller", run, account="node-controller")
