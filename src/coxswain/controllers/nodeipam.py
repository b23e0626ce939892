"""Node IPAM: gives each node its range of pod addresses (``spec.podCIDR``), /24 of 10.244.0.0/16.

A range belongs to its node until the node is deleted; ranges that nodes bring with them are respected. When
none is left, the node is told by an event and gets one as soon as another node goes.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from coxswain.api.errors import NotFound
from coxswain.api.names import NODES, Object
from coxswain.base import settings
from coxswain.base.errors import ConfigurationError
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.nodelifecycle.controller import about_node
from coxswain.controllers.shell import Shell


@dataclass(frozen=True, slots=True)
class NodeIpamSettings:
    """kube-controller-manager's flags of these names."""

    cluster_cidr: str = "10.244.0.0/16"
    """The addresses of all pods."""
    node_cidr_mask_size: int = 24
    """Prefix length of one node's range: 24 leaves a node 254 pods."""


class CidrSet:
    """The ranges of one network: which are taken. Sans-IO; the next free one is found by going round."""

    def __init__(self, network: str, prefix: int) -> None:
        try:
            self._network = ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigurationError(f"cluster CIDR {network!r}: {error}") from None
        bits = prefix - self._network.prefixlen
        if not 0 <= bits <= 24 or prefix > self._network.max_prefixlen:
            raise ConfigurationError(
                f"node CIDR mask size {prefix} does not fit the cluster CIDR {network}: it must be between "
                f"{self._network.prefixlen} and {self._network.prefixlen + 24}"
            )
        self.size = 1 << bits
        self._prefix = prefix
        self._width = 1 << (self._network.max_prefixlen - prefix)
        self._taken: set[int] = set()
        self._next = 0

    def occupy(self, cidr: str) -> None:
        """``cidr`` is in use; ranges outside of the network are nobody's business."""
        self._taken.update(self._numbers(cidr))

    def release(self, cidr: str) -> None:
        """``cidr`` is free again."""
        self._taken.difference_update(self._numbers(cidr))

    def allocate(self) -> str | None:
        """A free range, now taken; None when all are."""
        if len(self._taken) >= self.size:
            return None
        while self._next in self._taken:
            self._next = (self._next + 1) % self.size
        number = self._next
        self._taken.add(number)
        self._next = (number + 1) % self.size
        return f"{self._network.network_address + number * self._width}/{self._prefix}"

    def _numbers(self, cidr: str) -> range:
        try:
            network = ipaddress.ip_network(cidr, strict=False)
        except ValueError:
            return range(0)
        if network.version != self._network.version or not network.overlaps(self._network):
            return range(0)
        base = int(self._network.network_address)
        first = (int(network.network_address) - base) // self._width
        last = (int(network.broadcast_address) - base) // self._width
        return range(max(first, 0), min(last, self.size - 1) + 1)


class NodeIpam:
    """One instance a process; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._settings = settings.read(NodeIpamSettings, context.options)
        self._ranges = CidrSet(self._settings.cluster_cidr, self._settings.node_cidr_mask_size)
        self._informers = context.informers
        self._nodes = context.informers.informer(NODES)
        self._recorder = context.recorder("cidrAllocator")
        self._promised: dict[str, tuple[str, str]] = {}
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
        cidr = node["spec"].get("podCIDR") if node.get("spec") else None
        if cidr:
            self._ranges.occupy(cidr)

    def _on_change(self, node: Object) -> None:
        self._occupy(node)
        if not (node.get("spec") or {}).get("podCIDR"):
            self._shell.add(node["metadata"]["name"])

    def _on_gone(self, node: Object) -> None:
        name = node["metadata"]["name"]
        _, promised = self._promised.pop(name, ("", ""))
        for cidr in {(node.get("spec") or {}).get("podCIDR") or "", promised} - {""}:
            self._ranges.release(cidr)
        self._without.discard(name)
        for waiting in self._without:
            self._shell.add(waiting)

    async def reconcile(self, name: str) -> None:
        """Give one node its range, if it has none."""
        node = self._nodes.get(name)
        if node is None or (node.get("spec") or {}).get("podCIDR"):
            self._promised.pop(name, None)
            return
        cidr = self._promise(name, node["metadata"]["uid"])
        if cidr is None:
            if name not in self._without:
                self._without.add(name)
                text = f"Node {name} status is now: CIDRNotAvailable"
                self._recorder.event(about_node(node), "Normal", "CIDRNotAvailable", text)
            return
        self._without.discard(name)
        meta = {"uid": node["metadata"]["uid"], "resourceVersion": node["metadata"]["resourceVersion"]}
        patch = {"metadata": meta, "spec": {"podCIDR": cidr, "podCIDRs": [cidr]}}
        try:
            await self._client.patch(NODES, name, patch)
        except NotFound:
            return

    def _promise(self, name: str, uid: str) -> str | None:
        """The range for a node: the same at every try, so that a lost answer wastes none."""
        known = self._promised.get(name)
        if known is not None and known[0] == uid:
            return known[1]
        cidr = self._ranges.allocate()
        if cidr is not None:
            self._promised[name] = (uid, cidr)
        return cidr


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    await NodeIpam(context).run()


DESCRIPTOR = Descriptor("node-ipam-controller", run)
