"""How many seats a request takes, by what it will cost (apiserver ``flowcontrol/request``).

Lists count the bytes of what they will show, as far as a list is ever whole in memory; writes keep seats a little
longer for the watchers that have to be told. Everything else takes one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from coxswain.apiserver.fairness.settings import FairnessSettings
from coxswain.apiserver.watchcache import ResourceCache

#: A level gives at most this part of its seats to one request.
_PART_OF_LEVEL = 0.15
#: Objects whose size is looked at.
_SAMPLE = 8


class Width(NamedTuple):
    """``seats``, and for how many seconds they are kept after the answer."""

    seats: int = 1
    linger: float = 0.0


NARROW = Width()


def most_seats(nominal: int, limit: int) -> int:
    """The widest request of a level with ``nominal`` seats."""
    return max(1, min(limit, math.ceil(nominal * _PART_OF_LEVEL)))


class Estimator:
    """Estimates for one server."""

    def __init__(self, settings: FairnessSettings) -> None:
        self._settings = settings

    def of_list(self, size: int, nominal: int) -> Width:
        """The width of a list of ``size`` bytes."""
        settings = self._settings
        counted = min(size, settings.max_list_bytes)
        if counted <= settings.objects_bytes_per_seat:
            return NARROW
        seats = math.ceil(counted / settings.objects_bytes_per_seat)
        return Width(min(seats, most_seats(nominal, settings.max_list_seats)))

    def of_write(self, watchers: int, nominal: int) -> Width:
        """The width of a write that ``watchers`` have to be told of."""
        settings = self._settings
        if watchers < settings.watchers_per_seat:
            return NARROW
        seats = math.ceil(watchers / settings.watchers_per_seat)
        narrowed = min(seats, most_seats(nominal, settings.max_mutating_seats))
        return Width(narrowed, seats * settings.event_duration / narrowed)


def list_bytes(cache: ResourceCache, namespace: str, name: str, query: Mapping[str, str]) -> int:
    """About how many bytes a list (or the initial events of a watch) shows."""
    if name or query.get("fieldSelector", "").startswith("metadata.name="):
        return 0
    objects = cache.count(namespace) if namespace else len(cache)
    limit = query.get("limit", "")
    if limit and limit.isascii() and limit.isdigit() and len(limit) < 10:
        objects = min(objects, int(limit) or objects)
    return objects * average_size(cache, namespace) if objects else 0


def average_size(cache: ResourceCache, namespace: str = "") -> int:
    """About how long an object is, of the namespace where one is named; from the first few."""
    sizes = [len(item.raw) for item, _ in zip(cache.scan(namespace), range(_SAMPLE), strict=False)]
    return sum(sizes) // len(sizes) if sizes else 0
