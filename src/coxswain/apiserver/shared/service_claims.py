"""What a service is given is claimed in the commit that stores the service, where several servers share the store.

    /registry/ipaddresses/10.96.0.17                    the IPAddress object of each cluster address
    /registry/ranges/servicenodeports/30080             one key for each node port

A claim must not exist yet when it is made, so of two servers that chose the same number one has to choose again. It
goes in the commit in which the service goes or gives the number back. Kubernetes keeps the ports in one bitmap
instead, under ``/registry/ranges/servicenodeports``: a key each does not make all services wait for one another.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import orjson

from coxswain.api import codec, kinds, managedfields, schema
from coxswain.api.names import IP_ADDRESSES, SERVICES, Object
from coxswain.apiserver.allocators import cluster_ips
from coxswain.apiserver.conversion import versions_of
from coxswain.apiserver.registry import built_in_rules
from coxswain.apiserver.service_repair import address_record
from coxswain.apiserver.storage import ROOT, prefix_of
from coxswain.apiserver.verbs.writing import new_uid
from coxswain.base import clock
from coxswain.store.interface import ABSENT, ANY, Entry, Op

PORTS: Final = f"{ROOT}ranges/servicenodeports/"


class Claims:
    """Which claims go with the commit of a service."""

    def __init__(self) -> None:
        self.services = prefix_of(SERVICES)
        self._addresses = prefix_of(IP_ADDRESSES)

    def beside(self, op: Op, before: Object | None) -> Sequence[Op]:
        """The claims to make and give back with ``op``, the write of a service that was ``before``."""
        service: Object | None = orjson.loads(op.value) if op.value is not None else None
        wanted = set(self._keys(service)) if service is not None else set()
        held = set(self._keys(before)) if before is not None else set()
        if wanted == held:
            return ()
        made = [Op(key, self._value(key, service), ABSENT) for key in sorted(wanted - held) if service]
        return [*made, *(Op(key, None, ANY) for key in sorted(held - wanted))]

    def leftover(self, claims: Iterable[Entry], services: Iterable[Object]) -> list[Op]:
        """The removal of claims on ports that no service has, as when keys were deleted behind the servers' back.

        ``services`` are at least as new as ``claims``, so a claim without a service is nobody's.
        """
        held = {key for service in services for key in self._keys(service)}
        return [Op(entry.key, None, entry.modified) for entry in claims if entry.key not in held]

    def _keys(self, service: Object) -> Iterator[str]:
        spec = service.get("spec") or {}
        for address in cluster_ips(spec):
            yield self._addresses + str(ipaddress.ip_address(address))
        for port in spec.get("ports") or ():
            if port.get("nodePort"):
                yield f"{PORTS}{port['nodePort']}"
        if spec.get("healthCheckNodePort"):
            yield f"{PORTS}{spec['healthCheckNodePort']}"

    def _value(self, key: str, service: Object) -> bytes:
        owner = service["metadata"]
        if key.startswith(PORTS):
            return orjson.dumps({"service": f"{owner.get('namespace')}/{owner['name']}"})
        return _stored(address_record(key[len(self._addresses) :], owner))


def _stored(record: Object) -> bytes:
    """A new IPAddress as it would be stored if a client had created it."""
    resource = kinds.by_gvr(IP_ADDRESSES)
    assert resource is not None
    kind = resource.gvk
    rules, metadata = built_in_rules(kind), record["metadata"]
    rules.default(record)
    metadata["uid"], metadata["creationTimestamp"] = new_uid(), clock.timestamp()
    rules.prepare_create(record)
    managedfields.track_update(
        record,
        None,
        manager="kube-apiserver",
        api_version=kind.api_version,
        subresource="",
        type=schema.type_of(kind),
        now=clock.timestamp(),
        versions=versions_of(IP_ADDRESSES, kind),
    )
    codec.complete(record, kind)
    return codec.encode(record)
