"""Which ranges of pod addresses there are, which are taken, and what the flags say about both; sans-IO.

--cluster-cidr              one network, or one of each family, separated by a comma
--node-cidr-mask-size       a node's prefix: 24 (a node has 254 pods) or, of IPv6, 64
--node-cidr-mask-size-ipv4, --node-cidr-mask-size-ipv6    for clusters with both families
--service-cluster-ip-range  addresses of services: no node gets them
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coxswain.base.errors import ConfigurationError

_DEFAULT_PREFIX = {4: 24, 6: 64}


@dataclass(frozen=True, slots=True)
class NodeIpamSettings:
    """kube-controller-manager's flags of these names; a mask size of 0 means the default."""

    cluster_cidr: str = "10.244.0.0/16"
    """The addresses of all pods."""
    node_cidr_mask_size: int = 0
    """Prefix length of one node's range, in a cluster of one family."""
    node_cidr_mask_size_ipv4: int = 0
    """Prefix length of one node's IPv4 range: 24 leaves a node 254 pods."""
    node_cidr_mask_size_ipv6: int = 0
    """Prefix length of one node's IPv6 range: 64."""
    service_cluster_ip_range: str = ""
    """The addresses of services: a part of the cluster's network that lies in them goes to no node."""


class CidrSet:
    """The ranges of one network: which are taken. Sans-IO; the next free one is found by going round."""

    def __init__(self, network: str, prefix: int) -> None:
        try:
            self._network = ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigurationError(f"cluster CIDR {network!r}: {error}") from None
        bits = prefix - self._network.prefixlen
        if not 0 <= bits <= 24 or prefix > self._network.max_prefixlen:
            widest = min(self._network.prefixlen + 24, self._network.max_prefixlen)
            raise ConfigurationError(
                f"node CIDR mask size {prefix} does not fit the cluster CIDR {network}: it must be between "
                f"{self._network.prefixlen} and {widest}"
            )
        self.size = 1 << bits
        self.network = str(self._network)
        self.version = self._network.version
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

    @property
    def is_full(self) -> bool:
        """Whether all ranges are taken."""
        return len(self._taken) >= self.size

    def allocate(self) -> str | None:
        """A free range, now taken; None when all are."""
        if self.is_full:
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


class Ranges:
    """The networks of all families: a node gets one range of each, or none at all."""

    def __init__(self, settings: NodeIpamSettings) -> None:
        networks = [part.strip() for part in settings.cluster_cidr.split(",") if part.strip()]
        self.sets = [CidrSet(network, _prefix(network, len(networks), settings)) for network in networks]
        if not 1 <= len(self.sets) <= 2 or len({each.version for each in self.sets}) != len(self.sets):
            raise ConfigurationError(
                f"cluster CIDR {settings.cluster_cidr!r}: one network, or one IPv4 and one IPv6 network"
            )
        for cidr in filter(None, map(str.strip, settings.service_cluster_ip_range.split(","))):
            self.occupy([cidr])

    def occupy(self, cidrs: Iterable[str]) -> None:
        """``cidrs`` are in use."""
        for cidr in cidrs:
            for each in self.sets:
                each.occupy(cidr)

    def release(self, cidrs: Iterable[str]) -> None:
        """``cidrs`` are free again."""
        for cidr in cidrs:
            for each in self.sets:
                each.release(cidr)

    def allocate(self) -> list[str] | None:
        """A free range of each network, in their order, now taken; None when one has none left."""
        found: list[str] = []
        for each in self.sets:
            cidr = each.allocate()
            if cidr is None:
                self.release(found)
                return None
            found.append(cidr)
        return found

    def shortage(self) -> str:
        """Which network is used up, in words for an event."""
        used_up = [each for each in self.sets if each.is_full]
        return ", ".join(f"all {each.size} ranges of {each.network} are taken" for each in used_up)


def _prefix(network: str, families: int, settings: NodeIpamSettings) -> int:
    version = 6 if ":" in network else 4
    given = settings.node_cidr_mask_size_ipv6 if version == 6 else settings.node_cidr_mask_size_ipv4
    if settings.node_cidr_mask_size and families > 1:
        raise ConfigurationError(
            "--node-cidr-mask-size is for clusters of one family; "
            "use --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6"
        )
    return given or settings.node_cidr_mask_size or _DEFAULT_PREFIX[version]


def node_ranges(spec: dict[str, object]) -> Sequence[str]:
    """A node's ranges, from its spec."""
    found = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    return list(found) if isinstance(found, list) else []
