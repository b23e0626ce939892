"""The balancers under the kernel's names, and their flags as ``ipvsadm --sched-flags`` calls them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any, Final

from coxswain._native.balance import (
    Balancer,
    FailOver,
    LeastConnection,
    NeverQueue,
    Overflow,
    RoundRobin,
    ShortestExpectedDelay,
    WeightedLeastConnection,
    WeightedRoundRobin,
)
from coxswain._native.balance_cache import LocalityLeastConnection, ReplicatedLocalityLeastConnection
from coxswain._native.balance_hash import DestinationHashing, Maglev, SourceHashing

ALGORITHMS: Final[dict[str, type[Balancer]]] = {
    "rr": RoundRobin,
    "wrr": WeightedRoundRobin,
    "lc": LeastConnection,
    "wlc": WeightedLeastConnection,
    "lblc": LocalityLeastConnection,
    "lblcr": ReplicatedLocalityLeastConnection,
    "dh": DestinationHashing,
    "sh": SourceHashing,
    "sed": ShortestExpectedDelay,
    "nq": NeverQueue,
    "fo": FailOver,
    "ovf": Overflow,
    "mh": Maglev,
}

_FLAGS: Final[dict[str, dict[str, str]]] = {
    "sh": {"sh-port": "by_port", "sh-fallback": "fallback"},
    "mh": {"mh-port": "by_port", "mh-fallback": "fallback"},
}


def make(algorithm: str, *, flags: Iterable[str] = (), table_size: int | None = None) -> Balancer:
    """A balancer without endpoints. ``table_size`` (a prime) is for mh; ValueError for what does not exist."""
    kind = ALGORITHMS.get(algorithm)
    if kind is None:
        raise ValueError(f"no algorithm {algorithm!r}; there are {', '.join(ALGORITHMS)}")
    known = _FLAGS.get(algorithm, {})
    options: dict[str, Any] = {}
    for flag in flags:
        if flag not in known:
            raise ValueError(f"{algorithm} has no flag {flag!r}")
        options[known[flag]] = True
    if table_size is not None:
        if algorithm != "mh":
            raise ValueError(f"{algorithm} has no table to size")
        options["table_size"] = table_size
    return kind(**options)


def address(text: str) -> int:
    """The number that balancers know an IP address by: 32 bits for IPv4, 128 for IPv6."""
    return int(ipaddress.ip_address(text))
