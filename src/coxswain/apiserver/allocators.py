"""Cluster IPs and node ports: given out once, taken back when the service goes.

    reservation = allocator.assign(service, old)     before validation; fills in the service in place
    reservation.commit()                             the write was stored (and was no dry run)
    reservation.rollback()                           it was not
    allocator.release(service)                       the service is gone

Addresses come at random from the upper band of the range first, so that the lower one stays free for those
who name an address (KEP-3070: the lower ``min(max(16, size/16), 256)`` addresses); node ports likewise.
What is in use is read from the services once, then kept up to date; if something seems taken or the range
full, it is read again, so a missed release heals.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from coxswain.api import errors, fields
from coxswain.api.names import IP_ADDRESSES, SERVICE_CIDRS, SERVICES, Object
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.service_families import NONE, complete_families, prefers_what_it_has
from coxswain.apiserver.service_ranges import Network, Pool, addresses_of, family_of, networks

ALLOCATED_IP = "provided IP is already allocated"
MISMATCH = "the provided network does not match the current range"


class Reservation:
    """What one write holds until it is known whether it was stored."""

    def __init__(self, allocator: ServiceAllocator) -> None:
        self._allocator = allocator
        self.taken: list[tuple[Pool, int]] = []
        self.freed: list[tuple[Pool, int]] = []

    def commit(self) -> None:
        """Keep what was taken, give back what the update no longer needs."""
        self._allocator._settle(self, self.freed)

    def rollback(self) -> None:
        """Give back what was taken."""
        self._allocator._settle(self, self.taken)


class ServiceAllocator:
    """See the module's text. ``service_cidr`` is one network or one a family, the default family's first.

    Further ranges of these families come from ServiceCIDR objects.
    """

    def __init__(
        self, lookup: Lookup, service_cidr: str = "10.96.0.0/16", node_ports: tuple[int, int] = (30000, 32767)
    ) -> None:
        self._lookup = lookup
        #: The server's own ranges.
        self.networks = networks(service_cidr)
        #: Families that services get addresses of, the default first.
        self.families = tuple(family_of(network) for network in self.networks)
        #: The server's own ranges first, then those of ServiceCIDRs.
        self._ranges: dict[Network, Pool] = {network: addresses_of(network) for network in self.networks}
        self._ranges_seen = -1
        ports = node_ports[1] - node_ports[0] + 1
        self._ports = Pool(*node_ports, min(max(16, ports // 32), 128) if ports >= 16 else 0)
        self._pending: set[Reservation] = set()
        self._loaded = False

    @property
    def api_server_address(self) -> str:
        """The first address: that of the service ``kubernetes``."""
        return str(self.networks[0][1])

    def assign(self, service: Object, old: Object | None = None) -> Reservation:
        """Complete ``service`` (families, addresses, node ports) in place.

        ``old`` is the stored service of an update: what it has is kept. Raises ``Invalid`` for values that
        cannot be had and ``InternalError`` when nothing is left; then nothing stays reserved.
        """
        if not self._loaded:
            self._load()
        reservation = Reservation(self)
        self._pending.add(reservation)
        try:
            if needs_cluster_ip(service):
                complete_families(service, old, self.families)
                self._assign_addresses(service, old, reservation)
            self._assign_node_ports(service, old, reservation)
            self._assign_health_check(service, old, reservation)
        except errors.ApiError:
            reservation.rollback()
            raise
        if old is not None:
            reservation.freed = [held for held in self._held(old) if held not in set(self._held(service))]
        return reservation

    def release(self, service: Object) -> None:
        """Give back all that a deleted service held."""
        for pool, number in self._held(service):
            pool.used.discard(number)

    def repair(self) -> tuple[int, int]:
        """Read again what is in use: how much was held by nobody, and how much was not known to be held."""
        before = [(pool, set(pool.used)) for pool in (*self._ranges.values(), self._ports)]
        loaded = self._loaded
        self._load()
        if not loaded:
            return 0, 0
        leaked = sum(len(used - pool.used) for pool, used in before)
        return leaked, sum(len(pool.used - used) for pool, used in before)

    def _settle(self, reservation: Reservation, freed: Iterable[tuple[Pool, int]]) -> None:
        if reservation in self._pending:
            self._pending.remove(reservation)
            for pool, number in freed:
                pool.used.discard(number)

    def _load(self) -> None:
        self._read_ranges()
        for pool in (*self._ranges.values(), self._ports):
            pool.used.clear()
        for service in self._lookup.list(SERVICES):
            for pool, number in self._held(service):
                pool.used.add(number)
        for record in self._lookup.list(IP_ADDRESSES):
            self._note_record(record)
        for reservation in self._pending:
            for pool, number in reservation.taken:
                pool.used.add(number)
        self._loaded = True

    def _note_record(self, record: Object) -> None:
        """An address may be somebody else's than a service's: of a gateway, say."""
        parent = (record.get("spec") or {}).get("parentRef") or {}
        if parent.get("resource") == "services" and not parent.get("group"):
            return
        held = self._place_of(record["metadata"]["name"])
        if held is not None:
            held[0].used.add(held[1])

    def _read_ranges(self) -> None:
        """Take up the ranges of ServiceCIDRs, but for those that overlap one taken up before."""
        self._ranges_seen = self._lookup.generation(SERVICE_CIDRS)
        wanted = {network: self._ranges[network] for network in self.networks}
        for each in self._lookup.list(SERVICE_CIDRS):
            if each["metadata"].get("deletionTimestamp"):
                continue
            for text in (each.get("spec") or {}).get("cidrs") or ():
                try:
                    network = ipaddress.ip_network(text)
                except ValueError:
                    continue
                known = family_of(network) in self.families
                if known and not any(network.overlaps(other) for other in wanted):
                    wanted[network] = self._ranges.get(network) or addresses_of(network)
        self._ranges = wanted

    def _place_of(self, address: str) -> tuple[Pool, int] | None:
        """The range that an address is of, and its number there."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return None
        for network, pool in self._ranges.items():
            if parsed in network:
                return pool, int(parsed)
        return None

    def _held(self, service: Object) -> list[tuple[Pool, int]]:
        spec = service.get("spec") or {}
        held: list[tuple[Pool, int]] = []
        for address in cluster_ips(spec):
            place = self._place_of(address)
            if place is not None:
                held.append(place)
        held += [(self._ports, port["nodePort"]) for port in spec.get("ports") or () if port.get("nodePort")]
        if spec.get("healthCheckNodePort"):
            held.append((self._ports, spec["healthCheckNodePort"]))
        return held

    def _assign_addresses(self, service: Object, old: Object | None, reservation: Reservation) -> None:
        """An address a family for a new service, the second for one that gets a second family.

        What a service has, it keeps; validation refuses other changes.
        """
        spec = service["spec"]
        if _headless(spec):
            return
        families = spec["ipFamilies"]
        have = 0
        if old is not None and needs_cluster_ip(old):
            before = old["spec"]
            if _headless(before) or prefers_what_it_has(service, old):
                return
            have = len(before.get("ipFamilies") or ()) or 1
            if (have, len(families)) != (1, 2):
                return
        addresses = spec["clusterIPs"] = list(spec.get("clusterIPs") or ())
        addresses += [""] * (len(families) - len(addresses))
        for position in range(have, len(families)):
            addresses[position] = self._address_for(service, families[position], position, reservation)
        spec["clusterIP"] = addresses[0]

    def _address_for(self, service: Object, family: str, position: int, reservation: Reservation) -> str:
        """The address that the service names for a family, or the next free one."""
        wanted = service["spec"]["clusterIPs"][position]
        if wanted:
            self._reserve_address(service, wanted, reservation)
            return str(wanted)
        number = self._next_address(family, reservation)
        if number is None:
            raise errors.InternalError(
                "Internal error occurred: failed to allocate a serviceIP: range is full"
            )
        parsed = ipaddress.IPv6Address(number) if family == "IPv6" else ipaddress.IPv4Address(number)
        return str(parsed)

    def _reserve_address(self, service: Object, address: str, reservation: Reservation) -> None:
        parsed = ipaddress.ip_address(address)
        why = ""
        place = self._place_of(address)
        if place is None and self._lookup.generation(SERVICE_CIDRS) != self._ranges_seen:
            self._load()
            place = self._place_of(address)
        if place is None:
            why = MISMATCH
        elif not place[0].first <= int(parsed) <= place[0].last:
            network = next(network for network, pool in self._ranges.items() if pool is place[0])
            why = (
                f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {network}"
            )
        elif not self._reserve(*place, reservation):
            why = ALLOCATED_IP
        if why:
            addresses = list(service["spec"]["clusterIPs"])
            _refuse(service, "spec.clusterIPs", addresses, f"failed to allocate IP {address}: {why}")

    def _assign_node_ports(self, service: Object, old: Object | None, reservation: Reservation) -> None:
        spec = service["spec"]
        if spec.get("type") not in ("NodePort", "LoadBalancer"):
            return
        held = set(_node_ports(old)) if old is not None else set()
        by_port: dict[int, set[int]] = {}
        ports = spec.get("ports") or []
        for position, port in enumerate(ports):
            wanted = port.get("nodePort") or 0
            siblings = by_port.setdefault(port.get("port") or 0, set())
            if wanted and wanted not in held and wanted not in siblings:
                if self._shared(wanted, port, ports[:position]):
                    siblings.add(wanted)
                    continue
                self._reserve_port(
                    service,
                    fields.child(fields.index("spec.ports", position), "nodePort"),
                    wanted,
                    reservation,
                )
            if wanted:
                siblings.add(wanted)
        if not needs_node_ports(service):
            return
        for port in ports:
            if not port.get("nodePort"):
                port["nodePort"] = self._port_for(port, ports, reservation)

    @staticmethod
    def _shared(wanted: int, port: Object, before: list[Object]) -> bool:
        """Whether an earlier port of the service has this node port for another protocol."""
        return any(
            other.get("nodePort") == wanted and other.get("protocol") != port.get("protocol")
            for other in before
        )

    def _port_for(self, port: Object, ports: list[Object], reservation: Reservation) -> int:
        """The node port of the same port under another protocol, or the next free one."""
        for other in ports:
            if (
                other is not port
                and other.get("port") == port.get("port")
                and other.get("protocol") != port.get("protocol")
                and other.get("nodePort")
            ):
                return int(other["nodePort"])
        number = self._next(self._ports, reservation)
        if number is None:
            raise errors.InternalError(
                "Internal error occurred: failed to allocate a nodePort: range is full"
            )
        return number

    def _reserve_port(self, service: Object, path: str, port: int, reservation: Reservation) -> None:
        pool = self._ports
        if not pool.first <= port <= pool.last:
            why = (
                "provided port is not in the valid range. "
                f"The range of valid ports is {pool.first}-{pool.last}"
            )
        elif self._reserve(pool, port, reservation):
            return
        else:
            why = "provided port is already allocated"
        _refuse(service, path, port, why)

    def _assign_health_check(self, service: Object, old: Object | None, reservation: Reservation) -> None:
        spec = service["spec"]
        if not needs_health_check(service):
            return
        wanted = spec.get("healthCheckNodePort") or 0
        if old is not None and wanted and (old.get("spec") or {}).get("healthCheckNodePort") == wanted:
            return
        if not wanted:
            number = self._next(self._ports, reservation)
            if number is None:
                raise errors.InternalError(
                    "Internal error occurred: failed to allocate a HealthCheck NodePort 0: range is full"
                )
            spec["healthCheckNodePort"] = number
        elif not self._reserve(self._ports, wanted, reservation):
            raise errors.InternalError(
                f"Internal error occurred: failed to allocate requested HealthCheck NodePort {wanted}: "
                "provided port is already allocated"
            )

    def _reserve(self, pool: Pool, number: int, reservation: Reservation) -> bool:
        if number in pool.used:
            self._load()
            if number in pool.used:
                return False
        pool.used.add(number)
        reservation.taken.append((pool, number))
        return True

    def _next_address(self, family: str, reservation: Reservation) -> int | None:
        """A free address of the first range of a family that has one."""
        for again in (False, True):
            for network, pool in self._ranges.items():
                number = pool.take() if family_of(network) == family else None
                if number is not None:
                    reservation.taken.append((pool, number))
                    return number
            if not again:
                self._load()
        return None

    def _next(self, pool: Pool, reservation: Reservation) -> int | None:
        number = pool.take()
        if number is None:
            self._load()
            number = pool.take()
        if number is not None:
            reservation.taken.append((pool, number))
        return number


def needs_cluster_ip(service: Object) -> bool:
    """Whether services of this type have an address (or say that they want none)."""
    return (service.get("spec") or {}).get("type", "ClusterIP") in ("ClusterIP", "NodePort", "LoadBalancer")


def needs_node_ports(service: Object) -> bool:
    """Whether its ports get node ports (a load balancer's may be switched off)."""
    spec = service.get("spec") or {}
    kind = spec.get("type")
    return kind == "NodePort" or (
        kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    )


def needs_health_check(service: Object) -> bool:
    """A load balancer with traffic policy Local is probed on a port of its own."""
    spec = service.get("spec") or {}
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def cluster_ips(spec: Object) -> list[str]:
    """Its addresses; none when headless."""
    addresses = list(spec.get("clusterIPs") or ())
    if not addresses and spec.get("clusterIP"):
        addresses = [spec["clusterIP"]]
    return [] if NONE in addresses else [address for address in addresses if address]


def _node_ports(service: Object) -> list[int]:
    ports = (service.get("spec") or {}).get("ports") or ()
    return [port["nodePort"] for port in ports if port.get("nodePort")]


def _headless(spec: Object) -> bool:
    return bool((spec.get("clusterIPs") or [""])[0] == NONE)


def _refuse(service: Object, path: str, value: object, why: str) -> None:
    name = str(service["metadata"].get("name") or "")
    raise errors.invalid("", "Service", name, [fields.invalid(path, value, why)])
