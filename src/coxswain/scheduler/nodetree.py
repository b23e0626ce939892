"""The order in which nodes are tried: zone after zone in turn, as kube-scheduler's node tree lists them.

Zones keep the order in which they appeared, and nodes theirs within a zone; a round takes one node of each
zone that has nodes left. So a sample of neighbours in this order spreads over zones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

ZONE_LABEL = "topology.kubernetes.io/zone"
REGION_LABEL = "topology.kubernetes.io/region"
_OLD_ZONE_LABEL = "failure-domain.beta.kubernetes.io/zone"
_OLD_REGION_LABEL = "failure-domain.beta.kubernetes.io/region"


def zone_of(labels: Mapping[str, str]) -> str:
    """A key for region and zone; empty where a node says neither."""
    zone = labels.get(_OLD_ZONE_LABEL) or labels.get(ZONE_LABEL) or ""
    region = labels.get(_OLD_REGION_LABEL) or labels.get(REGION_LABEL) or ""
    return f"{region}:\0:{zone}" if zone or region else ""


class NodeTree:
    """Names of nodes by zone."""

    def __init__(self) -> None:
        self._zones: dict[str, dict[str, None]] = {}

    def add(self, name: str, zone: str) -> None:
        self._zones.setdefault(zone, {})[name] = None

    def remove(self, name: str, zone: str) -> None:
        names = self._zones[zone]
        del names[name]
        if not names:
            del self._zones[zone]

    def interleaved(self) -> Iterator[str]:
        """All names, one of each zone in turn."""
        rounds = [iter(names) for names in self._zones.values()]
        while rounds:
            remaining = []
            for names in rounds:
                name = next(names, None)
                if name is not None:
                    yield name
                    remaining.append(names)
            rounds = remaining
