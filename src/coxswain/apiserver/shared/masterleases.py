"""Which API servers are alive, and with that where the service ``kubernetes`` leads.

    /registry/masterleases/<address>     each server writes its own every five seconds
    default/kubernetes                   Endpoints and EndpointSlice: the addresses whose keys are being written

A server whose key has not changed for fifteen seconds is dead: whoever notices, which takes five seconds at most, takes
the key and the address away. Each server measures that by its own clock from when it saw the key change, so clocks
need not agree. A server that stops takes itself off. The rules are kube-apiserver's (its reconciler ``lease``), which
has etcd's leases expire instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Final

import orjson

from coxswain.api.errors import ApiError, Conflict
from coxswain.api.names import ENDPOINT_SLICES, ENDPOINTS, GVR, Object
from coxswain.apiserver.bootstrap import Item, kubernetes_endpoints
from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.storage import ROOT
from coxswain.base import clock
from coxswain.client.interface import Call, UserInfo
from coxswain.store.interface import ANY, CompareFailed, Entry, Op, Store, StoreError

log = logging.getLogger(__name__)

PREFIX: Final = f"{ROOT}masterleases/"
#: Seconds between looks, and until a server that does not write is dead.
INTERVAL, LIFETIME = 5.0, 15.0
#: How often a server that comes second writes what it sees then; after that it is the next look's turn.
_ATTEMPTS: Final = 5
#: Seconds that a server which stops takes to say goodbye at most.
_FAREWELL: Final = 2.0


class LifeSigns:
    """Decides who is alive from what the keys' revisions do."""

    def __init__(self, lifetime: float = LIFETIME) -> None:
        self._lifetime = lifetime
        self._seen: dict[str, tuple[int, float]] = {}

    def judge(self, entries: Iterable[Entry], now: float) -> tuple[list[Entry], list[Entry]]:
        """Those alive and those dead, in key order; ``now`` in seconds of a clock that never goes back."""
        before, self._seen = self._seen, {}
        alive: list[Entry] = []
        dead: list[Entry] = []
        for entry in entries:
            seen = before.get(entry.key)
            if seen is None or seen[0] != entry.modified:
                seen = (entry.modified, now)
            self._seen[entry.key] = seen
            (alive if now - seen[1] < self._lifetime else dead).append(entry)
        return alive, dead


class MasterLeases:
    """One server's part: it says that it is there, and puts down who else is."""

    def __init__(self, store: Store, pipeline: Pipeline, user: UserInfo, *, address: str, port: int) -> None:
        """``address`` and ``port`` are those that clients reach this server at."""
        self._store = store
        self._pipeline = pipeline
        self._user = user
        self._key = PREFIX + address
        self._address = address
        self._port = port
        self._signs = LifeSigns()
        self._ports_settled = False

    async def run(self) -> None:
        """Keep it true until cancelled."""
        while True:
            try:
                await self.reconcile()
            except (StoreError, ApiError) as error:
                log.warning("cannot say that this API server is alive: %s", error)
            await clock.sleep(INTERVAL)

    async def reconcile(self) -> list[str]:
        """Look once; the addresses of those alive."""
        await self._store.commit([Op(self._key, self._value(), ANY)])
        for _ in range(_ATTEMPTS):
            page = await self._store.list(PREFIX)
            alive, dead = self._signs.judge(page.entries, clock.monotonic())
            for entry in dead:
                log.warning("the API server at %s is gone", _address_of(entry))
                await self._forget(entry)
            addresses = [_address_of(entry) for entry in alive]
            if await self._publish(addresses):
                break
        self._ports_settled = True
        return addresses

    async def leave(self) -> None:
        """Take this server off; its end is near."""
        with contextlib.suppress(StoreError, ApiError, TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await self._store.commit([Op(self._key, None, ANY)])
                for _ in range(_ATTEMPTS):
                    page = await self._store.list(PREFIX)
                    if await self._publish([_address_of(entry) for entry in page.entries]):
                        break

    async def _forget(self, entry: Entry) -> None:
        # Whoever is back by now keeps its key.
        with contextlib.suppress(CompareFailed):
            await self._store.commit([Op(entry.key, None, entry.modified)])

    def _value(self) -> bytes:
        """As Kubernetes keeps it: Endpoints with the one address."""
        endpoints = next(kubernetes_endpoints([self._address], self._port)).object
        metadata = {"name": "kubernetes", "namespace": "default"}
        return orjson.dumps({**endpoints, "metadata": metadata})

    async def _publish(self, addresses: Sequence[str]) -> bool:
        """Write where the service leads, if it is something else; False when another server wrote meanwhile."""
        await self._pipeline.core.storage.catch_up()
        lookup = self._pipeline.core.registry.lookup
        done = True
        for item in kubernetes_endpoints(addresses, self._port):
            existing = lookup.get(item.resource, item.namespace, item.name)
            if existing is None:
                call = Call("create", item.resource, "default", body=orjson.dumps(item.object))
            elif changed := self._corrected(existing, item):
                call = Call("update", item.resource, "default", item.name, body=orjson.dumps(changed))
            else:
                continue
            done = await self._do(call) and done
        return done

    def _corrected(self, existing: Object, item: Item) -> Object | None:
        """``existing`` with the addresses of ``item``; None when it has them.

        Ports are put right once, at the start: servers that were told different ones shall not go on quarrelling.
        """
        wanted = item.object
        if self._ports_settled:
            if item.resource == ENDPOINTS:
                ports = [each.get("ports") for each in existing.get("subsets") or ()]
                subsets = [{**each, "ports": ports[0]} for each in wanted["subsets"] if ports]
                wanted = {**wanted, "subsets": subsets or wanted["subsets"]}
            else:
                wanted = {**wanted, "ports": existing.get("ports") or wanted["ports"]}
        if _said(existing, item.resource) == _said(wanted, item.resource):
            return None
        fields = ("subsets",) if item.resource == ENDPOINTS else ("endpoints", "ports")
        return {**existing, **{field: wanted[field] for field in fields}}

    async def _do(self, call: Call) -> bool:
        answer = await self._pipeline.call(call, self._user)
        if answer.code == Conflict.code:
            return False
        if answer.code >= 400:
            log.warning("endpoints of the service kubernetes: %s", orjson.loads(answer.body).get("message"))
        return True


def _address_of(entry: Entry) -> str:
    return entry.key[len(PREFIX) :]


def _said(obj: Object, resource: GVR) -> object:
    """What an object says of addresses and ports, whatever else is in it."""
    if resource == ENDPOINT_SLICES:
        endpoints = obj.get("endpoints") or ()
        return [each.get("addresses") for each in endpoints], _ports(obj.get("ports"))
    subsets = obj.get("subsets") or ()
    return [
        ([one["ip"] for one in each.get("addresses") or ()], _ports(each.get("ports"))) for each in subsets
    ]


def _ports(ports: Sequence[Object] | None) -> list[tuple[object, ...]]:
    return [(port.get("name"), port.get("port")) for port in ports or ()]
