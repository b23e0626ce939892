"""Whether a ServiceCIDR may go, and what its status should say. No IO."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from coxswain.api import meta
from coxswain.api.names import Object

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
#: Seconds after its deletion in which allocators may not have heard of it yet: it stays.
GRACE = 10.0

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_READY = {
    "type": "Ready",
    "status": "True",
    "reason": "",
    "message": "Kubernetes Service CIDR is ready",
}
_IN_USE = {
    "type": "Ready",
    "status": "False",
    "reason": "Terminating",
    "message": (
        "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
    ),
}


@dataclass(frozen=True, slots=True)
class Step:
    """What to write of a range: its finalizers, its Ready condition; ``again`` is seconds until the next look."""

    finalizers: list[str] | None = None
    condition: Object | None = None
    again: float | None = None


def next_step(
    cidr: Object, others: Iterable[Object], addresses: Iterable[Object], deleted_for: float
) -> Step:
    """The next thing to do about ``cidr``. ``deleted_for``: seconds since its deletion was asked for."""
    finalizers = meta.finalizers(cidr)
    if not meta.is_terminating(cidr):
        return Step(
            None if FINALIZER in finalizers else [*finalizers, FINALIZER],
            None if meta.condition(cidr, "Ready") is not None else _READY,
        )
    if FINALIZER not in finalizers:
        return Step()
    if _in_use(cidr, others, addresses):
        said = meta.condition(cidr, "Ready")
        known = said is not None and said.get("reason") == _IN_USE["reason"]
        return Step(condition=None if known else _IN_USE)
    if deleted_for < GRACE:
        return Step(again=GRACE - deleted_for)
    return Step([name for name in finalizers if name != FINALIZER])


def _in_use(cidr: Object, others: Iterable[Object], addresses: Iterable[Object]) -> bool:
    """Whether an address lies in this range and in no other one."""
    own = _networks(cidr)
    rest = [
        network
        for other in others
        if meta.name(other) != meta.name(cidr) and not meta.is_terminating(other)
        for network in _networks(other)
    ]
    for entry in addresses:
        try:
            address = ipaddress.ip_address(meta.name(entry))
        except ValueError:
            continue
        if any(address in network for network in own) and not any(address in network for network in rest):
            return True
    return False


def _networks(cidr: Object) -> list[_Network]:
    found = []
    for text in (cidr.get("spec") or {}).get("cidrs") or ():
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            continue
    return found
