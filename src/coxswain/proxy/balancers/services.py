"""One balancer a service, and changes that cost what changed.

A service is known by a key of the caller's (its namespaced name and port, say). ``set_endpoints`` takes all the
endpoints of one service and applies the difference: removals first, then weights, then additions in the order
given. Connections of what stays are untouched.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from coxswain._native.balance import Balancer
from coxswain.proxy.balancers.algorithms import address, make

_CLIENT_IP_TIMEOUT = 10800.0


class Endpoint(NamedTuple):
    """Where connections go."""

    ip: str
    port: int
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Service:
    """How a service balances."""

    algorithm: str = "rr"
    flags: tuple[str, ...] = ()
    table_size: int | None = None
    """Positions of mh's table, a prime; None is its default."""

    affinity: bool = False
    """Session affinity by client address (``sessionAffinity: ClientIP``)."""

    affinity_timeout: float = _CLIENT_IP_TIMEOUT
    """Seconds after the last connection of a client (``clientIP.timeoutSeconds``)."""

    affinity_limit: int = 65536
    """Clients that are remembered at most."""


class _Entry:
    """A service's balancer and the endpoints in it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.balancer: Balancer = make(service.algorithm, flags=service.flags, table_size=service.table_size)
        if service.affinity:
            self.balancer.stick(service.affinity_timeout, limit=service.affinity_limit)
        self.numbers: dict[tuple[str, int], int] = {}
        self.endpoints: dict[int, Endpoint] = {}


class ServiceTable:
    """See the module's text. Not thread-safe."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._entries)

    def set_service(self, key: Hashable, service: Service) -> None:
        """Add a service, or change how one balances: its endpoints move over, its connections' counts do not."""
        old = self._entries.get(key)
        if old is not None and old.service == service:
            return
        entry = self._entries[key] = _Entry(service)
        if old is not None:
            for endpoint in old.endpoints.values():
                _add(entry, endpoint)

    def remove_service(self, key: Hashable) -> None:
        """Forget a service; unknown ones are none."""
        self._entries.pop(key, None)

    def set_endpoints(self, key: Hashable, endpoints: Iterable[Endpoint]) -> None:
        """All endpoints of a service from now on."""
        entry = self._entries[key]
        wanted = {(endpoint.ip, endpoint.port): endpoint for endpoint in endpoints}
        for place in [place for place in entry.numbers if place not in wanted]:
            self.remove_endpoint(key, *place)
        for endpoint in wanted.values():
            self.set_endpoint(key, endpoint)

    def set_endpoint(self, key: Hashable, endpoint: Endpoint) -> int:
        """Add one endpoint or change its weight; its number in the balancer."""
        entry = self._entries[key]
        number = entry.numbers.get((endpoint.ip, endpoint.port))
        if number is None:
            return _add(entry, endpoint)
        if entry.endpoints[number] != endpoint:
            entry.balancer.reweight(number, endpoint.weight)
            entry.endpoints[number] = endpoint
        return number

    def remove_endpoint(self, key: Hashable, ip: str, port: int) -> None:
        """Take one endpoint out of service; KeyError if it is not in."""
        entry = self._entries[key]
        number = entry.numbers.pop((ip, port))
        entry.balancer.remove(number)
        del entry.endpoints[number]

    def balancer(self, key: Hashable) -> Balancer:
        """The balancer of a service: connections are counted there."""
        return self._entries[key].balancer

    def endpoints(self, key: Hashable) -> list[Endpoint]:
        """The endpoints of a service, the first added first."""
        return list(self._entries[key].endpoints.values())

    def select(self, key: Hashable, client: str, port: int, now: float) -> Endpoint | None:
        """The endpoint for a new connection from ``client``:``port`` at ``now`` (seconds), or None."""
        entry = self._entries[key]
        return entry.endpoints.get(entry.balancer.select(address(client), port, 0, now))


def _add(entry: _Entry, endpoint: Endpoint) -> int:
    number = entry.balancer.add(address(endpoint.ip), endpoint.port, endpoint.weight)
    entry.numbers[endpoint.ip, endpoint.port] = number
    entry.endpoints[number] = endpoint
    return number
