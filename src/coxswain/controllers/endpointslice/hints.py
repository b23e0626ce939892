"""Which zones and nodes an endpoint is meant for (``endpoint.hints``); sans-IO.

    spec.trafficDistribution   PreferSameZone (PreferClose): the endpoint's own zone
                               PreferSameNode: its zone and its node
    annotation topology-mode   Auto: every zone gets endpoints in proportion to its CPUs; zones that have more
    (older, goes first)        give some away, unless a zone would be overloaded by more than a fifth

Only ready endpoints have hints. With ``Auto`` hints come for all endpoints of a family or for none: too few
endpoints or nodes, an endpoint without a zone, and they are withdrawn (Kubernetes' ``topologycache``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.controllers.endpointslice.packing import Changes

ZONE = "topology.kubernetes.io/zone"
_MODE = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")
_EXCLUDED = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
_OVERLOAD = 0.2
#: The values of ``trafficDistribution`` that mean something.
DISTRIBUTIONS = frozenset({"PreferClose", "PreferSameZone", "PreferSameNode"})


@dataclass(frozen=True, slots=True)
class Share:
    """How many endpoints a zone should have."""

    minimum: int
    maximum: int
    desired: float


def wants_auto(service: Object) -> bool:
    """Whether the annotation asks for hints in proportion to CPUs."""
    annotations = meta.annotations(service)
    value = next((annotations[name] for name in _MODE if name in annotations), "")
    return value in ("Auto", "auto")


def distribution(service: Object) -> str:
    """The traffic distribution that counts; empty for none."""
    wanted = str(service["spec"].get("trafficDistribution") or "")
    return wanted if wanted in DISTRIBUTIONS and not wants_auto(service) else ""


def close_hints(endpoint: Object, wanted: str) -> Object | None:
    """The hints of an endpoint under ``distribution``."""
    if not wanted or not endpoint["conditions"]["ready"]:
        return None
    hints: Object = {}
    if endpoint.get("zone"):
        hints["forZones"] = [{"name": endpoint["zone"]}]
    if wanted == "PreferSameNode" and endpoint.get("nodeName"):
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return hints or None


def cpu_shares(nodes: Iterable[Object]) -> dict[str, float] | None:
    """Each zone's share of the CPUs of ready nodes; None when a node does not say, or with one zone only."""
    cpus: dict[str, int] = {}
    for node in nodes:
        labels = meta.labels(node)
        if any(name in labels for name in _EXCLUDED) or not meta.is_condition_true(node, "Ready"):
            continue
        cpu = ((node.get("status") or {}).get("allocatable") or {}).get("cpu", 0)
        amount = Quantity.parse(cpu).nano
        if not labels.get(ZONE) or not amount:
            return None
        cpus[labels[ZONE]] = cpus.get(labels[ZONE], 0) + amount
    total = sum(cpus.values())
    return {zone: amount / total for zone, amount in cpus.items()} if len(cpus) > 1 else None


def shares_of(count: int, ratios: Mapping[str, float] | None) -> dict[str, Share] | str:
    """How ``count`` endpoints are shared out between zones, or why they cannot be."""
    if ratios is None:
        return "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
    where = f"({count} endpoints, {len(ratios)} zones)"
    if len(ratios) > count:
        return f"Insufficient number of endpoints {where}"
    desired = {zone: ratio * count for zone, ratio in ratios.items()}
    least = {zone: math.ceil(wanted * (1 / (1 + _OVERLOAD))) for zone, wanted in desired.items()}
    spare = count - sum(least.values())
    if spare < 0:
        text = (
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
        )
        return f"{text} {where}"
    return {
        zone: Share(least[zone], least[zone] + spare, max(desired[zone], float(least[zone])))
        for zone in ratios
    }


def auto_hints(slices: Sequence[Object], changes: Changes, ratios: Mapping[str, float] | None) -> str:
    """Give the endpoints of one family hints, in ``changes`` and in slices that must change for it.

    ``slices`` are those that exist; the result is why there are no hints, or empty. Endpoints in ``changes``
    are replaced, not changed.
    """
    written = {meta.name(one) for one in (*changes.update, *changes.delete)}
    untouched = [one for one in slices if meta.name(one) not in written]
    count = sum(_ready_count(one) for one in (*changes.create, *changes.update, *untouched))
    shares = shares_of(count, ratios)
    if isinstance(shares, str):
        return _withdraw(untouched, changes, shares)
    given: dict[str, int] = {}
    for one in untouched:
        hinted = _hinted(one, given, shares)
        if hinted is None:
            changes.update.append(one)
            continue
        for zone, number in hinted.items():
            given[zone] = given.get(zone, 0) + number
    open_slices = [*changes.create, *changes.update]
    if any(not e.get("zone") for one in open_slices for e in one.get("endpoints") or () if _is_ready(e)):
        return _withdraw(
            [one for one in untouched if one not in changes.update],
            changes,
            "One or more endpoints do not have a zone specified",
        )
    _share_out(changes, given, shares)
    return ""


def _share_out(changes: Changes, given: dict[str, int], shares: Mapping[str, Share]) -> None:
    for one in (*changes.create, *changes.update):
        for endpoint in one.get("endpoints") or ():
            if _is_ready(endpoint):
                given[endpoint["zone"]] = given.get(endpoint["zone"], 0) + 1
    giving, receiving = _balance(given, shares)
    for group in (changes.create, changes.update):
        for position, one in enumerate(group):
            endpoints = [_hint(endpoint, giving, receiving) for endpoint in one.get("endpoints") or ()]
            group[position] = {**one, "endpoints": endpoints or one.get("endpoints")}


def _hint(endpoint: Object, giving: dict[str, int], receiving: dict[str, int]) -> Object:
    if not _is_ready(endpoint):
        return without_hints(endpoint)
    zone = endpoint["zone"]
    if giving.get(zone) and receiving:
        to = next(iter(receiving))
        for table, name in ((giving, zone), (receiving, to)):
            table[name] -= 1
            if not table[name]:
                del table[name]
        zone = to
    return {**endpoint, "hints": {"forZones": [{"name": zone}]}}


def _balance(given: Mapping[str, int], shares: Mapping[str, Share]) -> tuple[dict[str, int], dict[str, int]]:
    """How many endpoints each zone gives away and receives."""
    too_many = {z: given.get(z, 0) - s.desired for z, s in shares.items() if given.get(z, 0) > s.desired}
    too_few = {z: s.desired - given.get(z, 0) for z, s in shares.items() if given.get(z, 0) < s.desired}
    giving: dict[str, int] = {}
    receiving: dict[str, int] = {}
    while too_many and too_few:
        source, target = (max(sorted(each), key=lambda zone: each[zone]) for each in (too_many, too_few))
        surplus, lack = too_many[source], too_few[target]
        if (surplus < 1 and lack < 1) or surplus < 0.5 or lack < 0.5:
            break
        giving[source] = giving.get(source, 0) + 1
        receiving[target] = receiving.get(target, 0) + 1
        too_many[source] -= 1
        too_few[target] -= 1
    return giving, receiving


def _hinted(one: Object, given: Mapping[str, int], shares: Mapping[str, Share]) -> dict[str, int] | None:
    """Hints of an untouched slice by zone; None: it must change (one is missing, obsolete, or too many)."""
    counts: dict[str, int] = {}
    for endpoint in one.get("endpoints") or ():
        if not _is_ready(endpoint):
            continue
        zones = (endpoint.get("hints") or {}).get("forZones")
        if not zones or any(zone["name"] not in shares for zone in zones):
            return None
        for zone in zones:
            counts[zone["name"]] = counts.get(zone["name"], 0) + 1
    if any(number + given.get(zone, 0) > shares[zone].maximum for zone, number in counts.items()):
        return None
    return counts


def _withdraw(untouched: Iterable[Object], changes: Changes, why: str) -> str:
    for group in (changes.create, changes.update):
        group[:] = [_bare(one) for one in group]
    for one in untouched:
        if any("hints" in endpoint for endpoint in one.get("endpoints") or ()):
            changes.update.append(_bare(one))
    return why


def _bare(one: Object) -> Object:
    endpoints = one.get("endpoints")
    return {**one, "endpoints": [without_hints(each) for each in endpoints]} if endpoints else one


def without_hints(endpoint: Object) -> Object:
    """The endpoint without its hints."""
    if "hints" not in endpoint:
        return endpoint
    return {name: value for name, value in endpoint.items() if name != "hints"}


def _is_ready(endpoint: Object) -> bool:
    return bool((endpoint.get("conditions") or {}).get("ready"))


def _ready_count(one: Object) -> int:
    return sum(map(_is_ready, one.get("endpoints") or ()))
