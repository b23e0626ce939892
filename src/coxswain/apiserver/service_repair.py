"""Keeps three things in agreement: services' addresses, the IPAddress objects that record them, and the allocator.

Every cluster address of a service has an IPAddress that names the service; one whose service is gone, or has another
address now, goes. What the allocator thinks is in use and no service has is given back, and the other way round.
Kubernetes' allocator writes these records before it answers; here they follow within a second, and a look at
everything every few minutes mends what was missed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

import orjson

from coxswain.api.names import IP_ADDRESSES, SERVICES, Object
from coxswain.apiserver.allocators import ServiceAllocator, cluster_ips
from coxswain.apiserver.lookup import Lookup
from coxswain.base import clock
from coxswain.client.interface import Answer, Call, UserInfo

log = logging.getLogger(__name__)

#: Seconds between looks at everything, and between a change and the look at it.
INTERVAL: Final = 180.0
GATHER: Final = 1.0

_FAMILY: Final = "ipaddress.kubernetes.io/ip-family"
_MANAGED_BY: Final = "ipaddress.kubernetes.io/managed-by"
_MANAGER: Final = "ipallocator.k8s.io"


class Doer(Protocol):
    """The pipeline, as far as it is needed here."""

    async def call(self, call: Call, user: UserInfo) -> Answer: ...


@dataclass(slots=True)
class Findings:
    """What is not as it should be."""

    #: IPAddresses to create.
    missing: list[Object] = field(default_factory=list)
    #: IPAddresses to delete: (name, uid).
    orphaned: list[tuple[str, str]] = field(default_factory=list)
    #: Addresses that several services have: (address, their names). Nobody can mend that but their owners.
    shared: list[tuple[str, list[str]]] = field(default_factory=list)


def examine(services: Iterable[Object], addresses: Iterable[Object]) -> Findings:
    """Compare the addresses of services with the records of them."""
    found = Findings()
    owners: dict[str, list[Object]] = {}
    for service in services:
        for address in cluster_ips(service.get("spec") or {}):
            owners.setdefault(_canonical(address), []).append(service["metadata"])
    recorded = {each["metadata"]["name"]: each for each in addresses}
    for address, holders in owners.items():
        if len(holders) > 1:
            names = sorted(f"{one.get('namespace', '')}/{one['name']}" for one in holders)
            found.shared.append((address, names))
        if address not in recorded:
            found.missing.append(address_record(address, holders[0]))
    for name, record in recorded.items():
        if _is_ours(record) and not any(_names(record, one) for one in owners.get(name, ())):
            found.orphaned.append((name, record["metadata"].get("uid") or ""))
            if name in owners:
                found.missing.append(address_record(name, owners[name][0]))
    return found


def _canonical(address: str) -> str:
    """An address as records are named after it, however its service writes it."""
    return str(ipaddress.ip_address(address))


def address_record(address: str, owner: Object) -> Object:
    """The IPAddress of a service's address; ``owner`` is the service's metadata."""
    family = f"IPv{ipaddress.ip_address(address).version}"
    labels = {_FAMILY: family, _MANAGED_BY: _MANAGER}
    parent = {"resource": "services", "namespace": owner.get("namespace") or "", "name": owner["name"]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {"name": address, "labels": labels},
        "spec": {"parentRef": parent},
    }


def _is_ours(record: Object) -> bool:
    return (record["metadata"].get("labels") or {}).get(_MANAGED_BY) == _MANAGER


def _names(record: Object, owner: Object) -> bool:
    parent = (record.get("spec") or {}).get("parentRef") or {}
    wanted = (owner.get("namespace") or "", owner["name"])
    return (parent.get("namespace") or "", parent.get("name")) == wanted


class ServiceRepair:
    """The loop around ``examine``."""

    def __init__(
        self,
        pipeline: Doer,
        lookup: Lookup,
        allocator: ServiceAllocator,
        user: UserInfo,
        *,
        gather: float = GATHER,
    ) -> None:
        """``gather``: how long after a change it is looked at, so that many changes are one look."""
        self._pipeline = pipeline
        self._lookup = lookup
        self._allocator = allocator
        self._user = user
        self._gather = gather
        self._changed = asyncio.Event()
        self._seen = -1
        lookup.on_change(SERVICES, self._changed.set)

    async def run(self) -> None:
        """Mend until cancelled."""
        while True:
            self._changed.clear()
            await self.repair()
            try:
                async with asyncio.timeout(INTERVAL):
                    await self._changed.wait()
            except TimeoutError:
                continue
            await clock.sleep(self._gather)

    async def repair(self) -> Findings:
        """Look at everything once, and mend what can be mended; what was found."""
        services = list(self._lookup.list(SERVICES))
        found = examine(services, self._lookup.list(IP_ADDRESSES))
        for address, names in found.shared:
            log.warning("several services have the address %s: %s", address, ", ".join(names))
        for name, uid in found.orphaned:
            options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
            await self._do(Call("delete", IP_ADDRESSES, "", name, body=orjson.dumps(options)))
        for record in found.missing:
            await self._do(Call("create", IP_ADDRESSES, "", "", body=orjson.dumps(record)))
        leaked, unknown = self._allocator.repair()
        if leaked or unknown:
            log.info(
                "%d addresses and ports were in use by nobody, %d were not known to be in use",
                leaked,
                unknown,
            )
        return found

    async def _do(self, call: Call) -> None:
        answer = await self._pipeline.call(call, self._user)
        if answer.code >= 400 and answer.code not in (404, 409):
            message = orjson.loads(answer.body).get("message")
            log.warning("recording the address %s: %s", call.name or "of a service", message)
