"""Gives each node its ranges of pod addresses (``spec.podCIDR`` and ``podCIDRs``).

A range belongs to its node until the node is deleted; ranges that nodes bring with them are respected. When
none is left, the node is told by an event and gets one as soon as another node goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coxswain.api.errors import NotFound
from coxswain.api.names import NODES, Object
from coxswain.base import settings
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.nodeipam.ranges import NodeIpamSettings, Ranges, node_ranges
from coxswain.controllers.nodelifecycle.controller import about_node
from coxswain.controllers.shell import Shell


class NodeIpam:
    """One instance a process; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._ranges = ranges_of(context.options)
        self._informers = context.informers
        self._nodes = context.informers.informer(NODES)
        self._recorder = context.recorder("cidrAllocator")
        self._promised: dict[str, tuple[str, list[str]]] = {}
        self._without: set[str] = set()
        self._shell = Shell("node-ipam-controller", self.reconcile, context.workers)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._informers.start()
        await self._nodes.wait_synced()
        # First everything that is in use, then what is asked for.
        self._nodes.add_handler(self._occupy, lambda _, new: self._on_change(new), self._on_gone)
        for node in self._nodes.list():
            self._on_change(node)
        self._nodes.add_handler(self._on_change)
        await self._shell.run()

    def _occupy(self, node: Object) -> None:
        self._ranges.occupy(node_ranges(node.get("spec") or {}))

    def _on_change(self, node: Object) -> None:
        self._occupy(node)
        if not node_ranges(node.get("spec") or {}):
            self._shell.add(node["metadata"]["name"])

    def _on_gone(self, node: Object) -> None:
        name = node["metadata"]["name"]
        _, promised = self._promised.pop(name, ("", []))
        self._ranges.release({*node_ranges(node.get("spec") or {}), *promised})
        self._without.discard(name)
        for waiting in self._without:
            self._shell.add(waiting)

    async def reconcile(self, name: str) -> None:
        """Give one node its range, if it has none."""
        node = self._nodes.get(name)
        if node is None or node_ranges(node.get("spec") or {}):
            self._promised.pop(name, None)
            return
        cidrs = self._promise(name, node["metadata"]["uid"])
        if cidrs is None:
            if name not in self._without:
                self._without.add(name)
                text = f"Node {name} status is now: CIDRNotAvailable: {self._ranges.shortage()}"
                self._recorder.event(about_node(node), "Normal", "CIDRNotAvailable", text)
            return
        self._without.discard(name)
        # Without a resource version, as in Kubernetes: a new node is written by several controllers at once, and nobody
        # may change ranges once they are there.
        meta = {"uid": node["metadata"]["uid"]}
        patch = {"metadata": meta, "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs}}
        try:
            await self._client.patch(NODES, name, patch)
        except NotFound:
            return

    def _promise(self, name: str, uid: str) -> list[str] | None:
        """The ranges for a node: the same at every try, so that a lost answer wastes none."""
        known = self._promised.get(name)
        if known is not None and known[0] == uid:
            return known[1]
        if known is not None:
            self._ranges.release(known[1])
        cidrs = self._ranges.allocate()
        if cidrs is not None:
            self._promised[name] = (uid, cidrs)
        return cidrs


def ranges_of(options: Mapping[str, Any]) -> Ranges:
    """The ranges that ``options`` describe, all free. Raises ``ConfigurationError``."""
    return Ranges(settings.read(NodeIpamSettings, options))


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    await NodeIpam(context).run()


DESCRIPTOR = Descriptor("node-ipam-controller", run, account="node-controller", check=ranges_of)
