"""Slices by service, family and ports, and by how full they are: kept as they come, so that a change looks at few.

    Shelves (an index of the informer) --only(service, family)--> Shelf --fitting(1)--> the fullest slice with room

A service of a hundred thousand endpoints has a thousand slices; a pod that changes concerns one of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import orjson

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.client.informer import Index, IndexFunction

_Place = tuple[str, str]


class Shelf:
    """Slices of one service and family with the same ports."""

    def __init__(self, key: bytes, ports: list[Object]) -> None:
        self.key = key
        self.ports = ports
        #: Endpoints -> name -> the slices that have so many.
        self._filled: dict[int, dict[str, Object]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def is_empty(self) -> bool:
        """No slice has an endpoint."""
        return self._filled.keys() <= {0}

    def put(self, found: Object) -> None:
        """A slice is there now."""
        self._filled.setdefault(_size(found), {})[meta.name(found)] = found
        self._count += 1

    def take(self, found: Object) -> None:
        """A slice that was put here is not there, or not so, any more."""
        size = _size(found)
        alike = self._filled[size]
        del alike[meta.name(found)]
        if not alike:
            del self._filled[size]
        self._count -= 1

    def fitting(self, count: int, maximum: int, besides: Collection[str]) -> Object | None:
        """The fullest slice with room for ``count`` more, but none of the names ``besides``."""
        for size in range(maximum - count, -1, -1):
            for name, found in self._filled.get(size, {}).items():
                if name not in besides:
                    return found
        return None


class Shelves(Index):
    """Keys of slices by service; and their shelves."""

    def __init__(self, function: IndexFunction) -> None:
        """``function`` says which service a slice is of, if any."""
        super().__init__(function)
        self._shelves: dict[_Place, dict[bytes, Shelf]] = {}

    def update(self, key: str, old: Object, new: Object) -> None:
        self.drop(key, old)
        self.insert(key, new)

    def insert(self, key: str, obj: Object) -> None:
        super().insert(key, obj)
        for service in self.function(obj):
            shelves = self._shelves.setdefault((service, obj["addressType"]), {})
            ports = ports_key(obj.get("ports"))
            shelf = shelves.get(ports)
            if shelf is None:
                shelf = shelves[ports] = Shelf(ports, obj.get("ports") or [])
            shelf.put(obj)

    def drop(self, key: str, obj: Object) -> None:
        super().drop(key, obj)
        for service in self.function(obj):
            place = service, obj["addressType"]
            shelves, ports = self._shelves[place], ports_key(obj.get("ports"))
            shelves[ports].take(obj)
            if not shelves[ports]:
                del shelves[ports]
                if not shelves:
                    del self._shelves[place]

    def only(self, service: str, family: str) -> Shelf | None:
        """The slices of a service's family, if there are some and all have the same ports."""
        shelves = self._shelves.get((service, family), {})
        return next(iter(shelves.values())) if len(shelves) == 1 else None


def shelved(slices: Sequence[Object]) -> Shelves:
    """Slices of one service, whose key is empty."""
    found = Shelves(lambda _: ("",))
    for one in slices:
        found.insert(meta.name(one), one)
    return found


def ports_key(ports: Iterable[Object] | None) -> bytes:
    """Ports as they compare, whatever their order."""
    return orjson.dumps(sorted(ports or (), key=lambda port: (port.get("name") or "", port.get("port") or 0)))


def _size(found: Object) -> int:
    return len(found.get("endpoints") or ())
