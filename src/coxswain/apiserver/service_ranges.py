"""The ranges that services get addresses and node ports from.

    networks("10.96.0.0/16,fd00:10:96::/112")    what --service-cluster-ip-range says: one network or one a family
    Pool                                         numbers of a range, each given out once

The first network's family is the one that services get when they ask for none.
"""

from __future__ import annotations

import ipaddress
from itertools import chain

from coxswain.base import clock
from coxswain.base.errors import ConfigurationError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: A service network may leave this many bits to its addresses.
_MAX_BITS = 64


class Pool:
    """Numbers of a range, each given out once; ``band`` numbers at the bottom are spared as long as possible."""

    def __init__(self, first: int, last: int, band: int) -> None:
        self.first, self.last, self.band = first, last, min(band, last - first + 1)
        self.used: set[int] = set()

    def take(self) -> int | None:
        """A free number, or None."""
        for low, high in ((self.first + self.band, self.last), (self.first, self.first + self.band - 1)):
            number = self._within(low, high)
            if number is not None:
                self.used.add(number)
                return number
        return None

    def _within(self, low: int, high: int) -> int | None:
        if low > high:
            return None
        start = clock.random().randint(low, high)
        for number in chain(range(start, high + 1), range(low, start)):
            if number not in self.used:
                return number
        return None


def family_of(network: Network) -> str:
    """``IPv4`` or ``IPv6``."""
    return f"IPv{network.version}"


def addresses_of(network: Network) -> Pool:
    """The addresses of a range: without the network's own, and without IPv4's broadcast address."""
    size = network.num_addresses
    first, last = int(network.network_address) + 1, int(network.broadcast_address)
    if network.version == 4:
        last -= 1
    return Pool(first, last, min(max(16, size // 16), 256) if size > 16 else 0)


def networks(text: str) -> tuple[Network, ...]:
    """The networks of a setting: one, or two of different families. Raises ``ConfigurationError``."""
    found: list[Network] = []
    for part in text.split(","):
        try:
            network = ipaddress.ip_network(part.strip())
        except ValueError:
            raise ConfigurationError(f"service_cidr {part.strip()!r} is not a network") from None
        if network.max_prefixlen - network.prefixlen > _MAX_BITS:
            least = network.max_prefixlen - _MAX_BITS
            raise ConfigurationError(
                f"service_cidr {network} is too large: for {network.max_prefixlen}-bit addresses, "
                f"the mask must be >= {least}"
            )
        found.append(network)
    if len(found) > 2:
        raise ConfigurationError(f"service_cidr {text!r} has more than two networks")
    if len(found) == 2 and found[0].version == found[1].version:
        raise ConfigurationError(f"service_cidr {text!r} has two networks of one family")
    return tuple(found)
