"""IPVS's algorithms written naively, from the kernel's rules: lists of objects, nothing kept that can be recounted.

``TWINS[name](**options)`` has ``add/remove/reweight/overload/connect/disconnect/select`` like the compiled ones,
but knows endpoints by (address, port).
"""

from __future__ import annotations

from math import gcd
from typing import Any

MASK64 = (1 << 64) - 1


class Server:
    def __init__(self, place: tuple[int, int], weight: int) -> None:
        self.place = place
        self.weight = self.last_weight = weight
        self.active = self.inactive = 0
        self.upper = self.lower = 0
        self.overloaded = False
        self.in_service = True

    @property
    def load(self) -> int:
        return self.active * 256 + self.inactive

    @property
    def open(self) -> bool:
        return self.weight > 0 and not self.overloaded


def fold(address: int) -> int:
    value = 0
    while address:
        value ^= address & 0xFFFFFFFF
        address >>= 32
    return value


def hash_32(value: int, bits: int) -> int:
    return (value * 0x61C88647 & 0xFFFFFFFF) >> (32 - bits)


def siphash(data: bytes, key: bytes, inner: int, last: int) -> int:
    """SipHash-inner-last as published, over whole messages."""

    def rotate(x: int, by: int) -> int:
        return (x << by | x >> (64 - by)) & MASK64

    def round_(v: list[int]) -> None:
        v[0] = v[0] + v[1] & MASK64
        v[1] = rotate(v[1], 13) ^ v[0]
        v[0] = rotate(v[0], 32)
        v[2] = v[2] + v[3] & MASK64
        v[3] = rotate(v[3], 16) ^ v[2]
        v[0] = v[0] + v[3] & MASK64
        v[3] = rotate(v[3], 21) ^ v[0]
        v[2] = v[2] + v[1] & MASK64
        v[1] = rotate(v[1], 17) ^ v[2]
        v[2] = rotate(v[2], 32)

    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [word ^ k for word, k in zip(_INITIAL, (k0, k1, k0, k1), strict=True)]
    padded = data + b"\0" * (7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for start in range(0, len(padded), 8):
        m = int.from_bytes(padded[start : start + 8], "little")
        v[3] ^= m
        for _ in range(inner):
            round_(v)
        v[0] ^= m
    v[2] ^= 0xFF
    for _ in range(last):
        round_(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


_INITIAL = tuple(
    int.from_bytes(b"somepseudorandomlygeneratedbytes"[i : i + 8], "big") for i in range(0, 32, 8)
)


def hsiphash(value: int, key: int) -> int:
    word = key.to_bytes(8, "little")
    return siphash((value & 0xFFFFFFFF).to_bytes(4, "little"), word + word, 1, 3) & 0xFFFFFFFF


class Twin:
    """One service; ``servers`` in the kernel's order, the latest first."""

    def __init__(self, **options: Any) -> None:
        self.servers: list[Server] = []
        self.gone: dict[tuple[int, int], Server] = {}
        self.options = options
        self.start()

    def start(self) -> None: ...

    def changed(self, removed: tuple[Server, int] | None) -> None: ...

    def named(self) -> set[Server]:
        """Servers that a table of the algorithm remembers."""
        return set()

    def server(self, place: tuple[int, int]) -> Server:
        return next(s for s in self.servers if s.place == place)

    def add(self, place: tuple[int, int], weight: int, upper: int = 0, lower: int = 0) -> None:
        server = self.gone.pop(place, None)
        if server is None or not (server.active or server.inactive or server in self.named()):
            server = Server(place, weight)
        server.weight = server.last_weight = weight
        server.in_service = True
        if upper == 0 or upper > server.upper:
            server.overloaded = False
        server.upper, server.lower = upper, lower
        self.servers.insert(0, server)
        self.changed(None)

    def remove(self, place: tuple[int, int]) -> None:
        server = self.server(place)
        at = self.servers.index(server)
        del self.servers[at]
        server.in_service = False
        self.gone[place] = server
        self.changed((server, at))

    def reweight(self, place: tuple[int, int], weight: int) -> None:
        server = self.server(place)
        server.weight = weight
        server.last_weight = weight or server.last_weight
        self.changed(None)

    def connect(self, place: tuple[int, int], active: bool) -> None:
        server = self.server(place)
        if active:
            server.active += 1
        else:
            server.inactive += 1
        if server.upper and server.active + server.inactive >= server.upper:
            server.overloaded = True

    def disconnect(self, place: tuple[int, int], active: bool) -> None:
        server = next((s for s in self.servers if s.place == place), None) or self.gone[place]
        if active:
            server.active -= 1
        else:
            server.inactive -= 1
        total = server.active + server.inactive
        if server.lower:
            server.overloaded = server.overloaded and total >= server.lower
        elif server.upper:
            server.overloaded = server.overloaded and total * 4 >= server.upper * 3
        else:
            server.overloaded = False

    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        raise NotImplementedError


def best(servers: list[Server], better: Any) -> Server | None:
    """The first of which no later one is better."""
    chosen: Server | None = None
    for server in servers:
        if chosen is None or better(server, chosen):
            chosen = server
    return chosen


class RoundRobin(Twin):
    last: Server | None = None

    def changed(self, removed: tuple[Server, int] | None) -> None:
        if removed is not None and removed[0] is self.last:
            self.last = self.servers[removed[1] - 1] if removed[1] else None

    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        after = self.servers.index(self.last) + 1 if self.last in self.servers else 0
        circle = self.servers[after:] + self.servers[:after]
        found = next((s for s in circle if s.open), None)
        if found is not None:
            self.last = found
        return found


class WeightedRoundRobin(Twin):
    """The kernel's walk with positions: -1 is the list's head."""

    def start(self) -> None:
        self.position, self.current = -1, 0
        self.changed(None)

    def changed(self, removed: tuple[Server, int] | None) -> None:
        weights = [s.weight for s in self.servers if s.weight > 0]
        self.position = -1
        self.step = gcd(*weights) if weights else 1
        self.top = max(weights, default=0) - (self.step - 1)
        if self.current > self.top or not self.current:
            self.current = self.top
        elif self.step > 1:
            self.current = self.current // self.step * self.step + 1

    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        if self.top == 0:
            return None
        first, stop, last_pass, restarted = self.position, None, False, False
        place = self.position + 1
        while True:
            while place < len(self.servers):
                server = self.servers[place]
                if not server.overloaded and server.weight >= self.current:
                    self.position = place
                    return server
                if place == stop:
                    self.position = place
                    return None
                place += 1
            self.current -= self.step
            if self.current <= 0:
                self.current = self.top
                if last_pass or first == -1:
                    self.position = -1
                    return None
                restarted = True
            last_pass = self.current <= self.step
            if last_pass and restarted and first != -1:
                stop = first
            place = 0


class LeastConnection(Twin):
    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        return min((s for s in self.servers if s.open), key=lambda s: s.load, default=None)


class WeightedLeastConnection(Twin):
    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        candidates = [s for s in self.servers if s.open]
        return best(candidates, lambda s, least: least.load * s.weight > s.load * least.weight)


class ShortestExpectedDelay(Twin):
    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        candidates = [s for s in self.servers if s.open]
        return best(candidates, lambda s, b: (b.active + 1) * s.weight > (s.active + 1) * b.weight)


class NeverQueue(ShortestExpectedDelay):
    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        idle = next((s for s in self.servers if s.open and s.active == 0), None)
        return idle or super().select(source, port, target, now)


class FailOver(Twin):
    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        return max((s for s in self.servers if s.open), key=lambda s: s.weight, default=None)


class Overflow(Twin):
    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        fits = (s for s in self.servers if s.open and s.active <= s.weight)
        return max(fits, key=lambda s: s.weight, default=None)


class DestinationHashing(Twin):
    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        if not self.servers:
            return None
        server = self.servers[hash_32(fold(target), 8) % len(self.servers)]
        return server if server.open else None


class SourceHashing(Twin):
    def table(self) -> list[Server]:
        rows: list[Server] = []
        while self.servers and len(rows) < 256:
            for server in self.servers:
                rows += [server] * max(server.weight, 1)
        return rows[:256]

    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        table = self.table()
        if not table:
            return None
        home = hash_32((fold(source) + (port if self.options.get("by_port") else 0)) & 0xFFFFFFFF, 8)
        if table[home].open:
            return table[home]
        if self.options.get("fallback"):
            for offset in range(256):
                server = table[((offset + home) % 256 + home) % 256]
                if server.open:
                    return server
        return None


class Maglev(Twin):
    def start(self) -> None:
        self.size = self.options.get("table_size", 251)
        self._table: list[Server] | None = None

    def changed(self, removed: tuple[Server, int] | None) -> None:
        self._table = None

    def table(self) -> list[Server]:
        if self._table is None:
            self._table = self.build()
        return self._table

    def build(self) -> list[Server]:
        size = self.size
        weighing = [s for s in self.servers if s.last_weight > 0]
        if not weighing:
            return []
        divisor = gcd(*(s.last_weight for s in weighing))
        top = max(s.last_weight for s in weighing) // divisor
        shift = max(top.bit_length() - size.bit_length() // 2, 0)
        orders = []
        for server in weighing:
            value = fold(server.place[0]) + server.place[1]
            offset = hsiphash(value, 2654435761) % size
            skip = hsiphash(value, 2654446892) % (size - 1) + 1
            orders.append(iter([(offset + k * skip) % size for k in range(size)]))
        table: dict[int, Server] = {}
        while True:
            for server, order in zip(weighing, orders, strict=True):
                for _ in range((server.last_weight // divisor >> shift) or 1):
                    position = next(p for p in order if p not in table)
                    table[position] = server
                    if len(table) == size:
                        return [table[i] for i in range(size)]

    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        table = self.table()
        if not table:
            return None
        key = fold(source) + (port if self.options.get("by_port") else 0)
        home = hsiphash(key, 2654435761) % self.size
        if table[home].open:
            return table[home]
        if self.options.get("fallback"):
            for offset in range(self.size):
                server = table[hsiphash(key + (offset + home) % self.size, 2654435761) % self.size]
                if server.open:
                    return server
        return None


class Caching(Twin):
    """What lblc and lblcr share."""

    def start(self) -> None:
        self.sets: dict[int, list[Server]] = {}
        self.used: dict[int, float] = {}
        self.modified: dict[int, float] = {}
        self.firings = 1
        self.expiration = self.options.get("expiration", 86400.0)

    def named(self) -> set[Server]:
        return {server for members in self.sets.values() for server in members}

    def crowded(self, server: Server) -> bool:
        return server.active > server.weight and any(s.active * 2 < s.weight for s in self.servers)

    def least(self) -> Server | None:
        candidates = [s for s in self.servers if s.open]
        return best(candidates, lambda s, b: b.load * s.weight > s.load * b.weight)

    def fire(self, now: float) -> int:
        """The timer; the partial check is not modelled (it needs 16,384 entries)."""
        if self.firings % 30:
            self.firings += 1
            return 0
        self.firings = 1
        old = [target for target, used in self.used.items() if used + self.expiration <= now]
        for target in old:
            del self.sets[target], self.used[target]
        return len(old)


class Lblc(Caching):
    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        if target in self.sets:
            self.used[target] = now
            (server,) = self.sets[target]
            if server.in_service and server.weight > 0 and not self.crowded(server):
                return server
        chosen = self.least()
        if chosen is not None:
            self.sets[target] = [chosen]
            self.used[target] = now
        return chosen


class Lblcr(Caching):
    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        members = self.sets.get(target)
        if members is not None:
            self.used[target] = now
            able = [s for s in members if s.open and s.in_service]
            server = best(able, lambda s, b: b.load * s.weight > s.load * b.weight)
            if len(members) > 1 and now > self.modified[target] + self.expiration:
                heavy = best(
                    [s for s in members if s.weight > 0],
                    lambda s, b: b.load * s.weight < s.load * b.weight,
                )
                if heavy is not None:
                    members.remove(heavy)
                    self.modified[target] = now
            if server is not None and not self.crowded(server):
                return server
        chosen = self.least()
        if chosen is not None:
            members = self.sets.setdefault(target, [])
            self.used[target] = now
            if chosen not in members:
                members.insert(0, chosen)
                self.modified[target] = now
        return chosen


class Sticky:
    """Session affinity around a twin, with entries in the order of use."""

    def __init__(self, inner: Twin, timeout: float, limit: int) -> None:
        self.inner, self.timeout, self.limit = inner, timeout, limit
        self.clients: dict[int, tuple[Server, float]] = {}
        inner_named = inner.named
        inner.named = lambda: inner_named() | {s for s, _ in self.clients.values()}  # type: ignore[method-assign]

    def select(self, source: int, port: int, target: int, now: float) -> Server | None:
        known = self.clients.pop(source, None)
        if known is not None and now < known[1] + self.timeout and known[0].in_service:
            self.clients[source] = (known[0], now)
            return known[0]
        found = self.inner.select(source, port, target, now)
        if found is not None:
            if len(self.clients) == self.limit:
                del self.clients[next(iter(self.clients))]
            self.clients[source] = (found, now)
        return found


TWINS: dict[str, type[Twin]] = {
    "rr": RoundRobin,
    "wrr": WeightedRoundRobin,
    "lc": LeastConnection,
    "wlc": WeightedLeastConnection,
    "lblc": Lblc,
    "lblcr": Lblcr,
    "dh": DestinationHashing,
    "sh": SourceHashing,
    "sed": ShortestExpectedDelay,
    "nq": NeverQueue,
    "fo": FailOver,
    "ovf": Overflow,
    "mh": Maglev,
}
