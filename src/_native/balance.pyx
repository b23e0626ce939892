"""IPVS's balancers over slots of endpoints: what all share, and those that need no table of their own.

An endpoint is a slot number from 1 on; 0 means none. Slots are linked in the kernel's order, in which the endpoint
that was added last comes first (``list_add_rcu`` in ``__ip_vs_update_dest``). A removed endpoint that connections
or tables still name keeps its slot until they let go, and is the same endpoint again when it comes back meanwhile
(the kernel's trash). Selection follows Linux' net/netfilter/ipvs/ip_vs_*.c step by step; nothing here allocates
or asks for the time: ``now`` is the caller's, in seconds.

Not thread-safe: one balancer belongs to one loop.
"""
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

import numpy as np

from coxswain._native.affinity cimport (
    Affinity, affinity_drop, affinity_find, affinity_free, affinity_front, affinity_new, affinity_put,
    affinity_unlink,
)
from coxswain._native.balance cimport (
    ADDED, AVAILABLE, OVERLOADED, REMOVED, UPDATED, Endpoint, Packet, overhead, unavailable,
)

cdef object _LOW = (1 << 64) - 1
cdef object _MAX_WEIGHT = (1 << 31) - 1


cdef inline int _split(object address, uint64_t* high, uint64_t* low) except -1:
    if 0 <= address <= _LOW:
        high[0] = 0
        low[0] = address
    else:
        high[0] = address >> 64
        low[0] = address & _LOW
    return 0


cdef class Balancer:
    """One service: its endpoints, their connections, session affinity, and a way to select among them."""

    def __cinit__(self):
        self.room = 8
        self.slots = <Endpoint*>calloc(self.room, sizeof(Endpoint))
        if self.slots == NULL:
            raise MemoryError
        self.fresh = 1
        self._numbers = {}
        self._free = []
        self._removed = set()

    def __dealloc__(self):
        free(self.slots)
        affinity_free(self.affinity)

    def __len__(self):
        return self.count

    # -- endpoints ---------------------------------------------------------------------------------

    def add(self, address, uint16_t port=0, weight=1, *, upper=0, lower=0) -> int:
        """Put an endpoint in service; its number. ``upper`` connections make it overloaded until fewer than
        ``lower`` (0: three quarters of ``upper``) are left. ValueError if it is in service already."""
        cdef uint64_t high, low
        cdef int32_t number
        cdef Endpoint* slot
        _check_weight(weight)
        _check_limits(upper, lower)
        # Whatever is wrong with an argument shows before anything changes.
        cdef int32_t weighs = weight, most = upper, least = lower
        _split(address, &high, &low)
        key = (high, low, port)
        found = self._numbers.get(key)
        if found is None:
            number = self._slot()
            self._numbers[key] = number
        else:
            number = found
            if self.slots[number].state & AVAILABLE:
                raise ValueError(f"endpoint {number} is in service already")
            self._removed.discard(number)
        slot = &self.slots[number]
        if found is None or not _is_named(slot):
            memset(slot, 0, sizeof(Endpoint))
            slot.high, slot.low, slot.port = high, low, port
        slot.weight = slot.last_weight = weighs
        slot.state |= AVAILABLE
        _limit(slot, most, least)
        slot.next, slot.previous = self.slots[0].next, 0
        self.slots[slot.next].previous = number
        self.slots[0].next = number
        self.count += 1
        try:
            self.changed(ADDED, number)
        except BaseException:
            self.remove(number)
            raise
        return number

    def remove(self, int32_t number) -> None:
        """Take an endpoint out of service; its connections go on."""
        cdef Endpoint* slot = self._at(number)
        slot.state &= ~AVAILABLE
        self.slots[slot.next].previous = slot.previous
        self.slots[slot.previous].next = slot.next
        self.count -= 1
        self._removed.add(number)
        self.changed(REMOVED, number)

    def reweight(self, int32_t number, weight) -> None:
        """Change a weight; 0 gives the endpoint no new connections."""
        cdef Endpoint* slot = self._at(number)
        _check_weight(weight)
        slot.weight = weight
        if weight:
            slot.last_weight = weight
        self.changed(UPDATED, number)

    def limit(self, int32_t number, upper, lower=0) -> None:
        """Change the numbers of connections that make an endpoint overloaded, and no longer so."""
        cdef Endpoint* slot = self._at(number)
        _check_limits(upper, lower)
        _limit(slot, upper, lower)

    def overload(self, int32_t number, bint overloaded) -> None:
        """Say that an endpoint takes no new connections for now, or does again."""
        cdef Endpoint* slot = self._at(number)
        slot.state = (slot.state | OVERLOADED) if overloaded else (slot.state & ~OVERLOADED)

    def find(self, address, uint16_t port=0) -> int:
        """The number of an endpoint in service, or 0."""
        cdef uint64_t high, low
        _split(address, &high, &low)
        number = self._numbers.get((high, low, port), 0)
        return number if number and self.slots[<int32_t>number].state & AVAILABLE else 0

    def arrays(self) -> dict:
        """Copies in the kernel's order: number, weight, active, inactive (int32), overloaded (bool)."""
        cdef int32_t number = self.slots[0].next
        rows = []
        while number:
            slot = &self.slots[number]
            rows.append((number, slot.weight, slot.active, slot.inactive, (slot.state & OVERLOADED) != 0))
            number = slot.next
        names = ("number", "weight", "active", "inactive", "overloaded")
        columns = zip(*rows) if rows else [()] * 5
        kinds = (np.int32, np.int32, np.int32, np.int32, np.bool_)
        return {name: np.array(column, kind) for name, column, kind in zip(names, columns, kinds)}

    cdef Endpoint* _at(self, int32_t number) except NULL:
        if number < 1 or number >= self.fresh or not self.slots[number].state & AVAILABLE:
            raise KeyError(f"no endpoint {number} in service")
        return &self.slots[number]

    cdef int32_t _slot(self) except -1:
        cdef int32_t number
        cdef Endpoint* slots
        if not self._free and len(self._removed) > 64 + self.count:
            self._sweep()
        if self._free:
            return self._free.pop()
        if self.fresh == self.room:
            self._sweep()
            if self._free:
                return self._free.pop()
            slots = <Endpoint*>realloc(self.slots, 2 * self.room * sizeof(Endpoint))
            if slots == NULL:
                raise MemoryError
            self.slots = slots
            self.room *= 2
        number = self.fresh
        self.fresh += 1
        return number

    cdef int _sweep(self) except -1:
        """Free the slots of removed endpoints that nothing names any more."""
        cdef Endpoint* slot
        for number in list(self._removed):
            slot = &self.slots[<int32_t>number]
            if not _is_named(slot):
                self._removed.discard(number)
                del self._numbers[(slot.high, slot.low, slot.port)]
                self._free.append(number)
        return 0

    # -- connections -------------------------------------------------------------------------------

    def connect(self, int32_t number, bint active=True) -> None:
        """Count a new connection: active, or inactive as the kernel's is until it is established."""
        self._bind(self._at(number), active)

    cdef void _bind(self, Endpoint* slot, bint active) noexcept nogil:
        if active:
            slot.active += 1
        else:
            slot.inactive += 1
        if slot.upper and slot.active + slot.inactive >= slot.upper:
            slot.state |= OVERLOADED

    def establish(self, int32_t number) -> None:
        """An inactive connection becomes active."""
        self._shift(number, 1, -1)

    def finish(self, int32_t number) -> None:
        """An active connection becomes inactive."""
        self._shift(number, -1, 1)

    def disconnect(self, int32_t number, bint active=True) -> None:
        """A connection ends, also one to a removed endpoint."""
        cdef Endpoint* slot
        self._shift(number, -1 if active else 0, 0 if active else -1)
        slot = &self.slots[number]
        if slot.lower:
            if slot.active + slot.inactive < slot.lower:
                slot.state &= ~OVERLOADED
        elif slot.upper:
            if <int64_t>(slot.active + slot.inactive) * 4 < <int64_t>slot.upper * 3:
                slot.state &= ~OVERLOADED
        else:
            slot.state &= ~OVERLOADED

    cdef int _shift(self, int32_t number, int32_t active, int32_t inactive) except -1:
        if number < 1 or number >= self.fresh:
            raise KeyError(f"no endpoint {number}")
        cdef Endpoint* slot = &self.slots[number]
        if slot.active + active < 0 or slot.inactive + inactive < 0:
            raise ValueError(f"endpoint {number} has no such connection")
        slot.active += active
        slot.inactive += inactive
        return 0

    # -- session affinity --------------------------------------------------------------------------

    def stick(self, double timeout, *, int32_t limit=65536, prefix=None, bint ipv6=False,
              bint quiescent_expires=False) -> None:
        """Keep clients on their endpoint until ``timeout`` seconds after their last connection.

        At most ``limit`` clients are remembered, the least recent is forgotten first. Addresses that agree in
        their first ``prefix`` bits (None: all) are one client. ``quiescent_expires``: not on an endpoint of weight 0
        (the sysctl expire_quiescent_template). A timeout of 0 ends affinity.
        """
        if not timeout >= 0 or limit < 1 or (
            prefix is not None and not 0 <= prefix <= (128 if ipv6 else 32)
        ):
            raise ValueError("timeout, limit or prefix is out of range")
        self._unstick()
        if timeout == 0:
            return
        cdef Affinity* table = affinity_new()
        if table == NULL:
            raise MemoryError
        table.timeout = timeout
        table.limit = limit
        table.keep_high = table.keep_low = <uint64_t>-1
        if prefix is not None:
            mask = ((1 << prefix) - 1) << ((128 if ipv6 else 32) - prefix)
            table.keep_high, table.keep_low = mask >> 64, mask & _LOW
        self.affinity = table
        self.quiescent_expires = quiescent_expires

    cdef int _unstick(self) except -1:
        cdef int32_t entry
        if self.affinity != NULL:
            entry = self.affinity.clients[0].older
            while entry:
                self.release(self.affinity.clients[entry].endpoint)
                entry = self.affinity.clients[entry].older
            affinity_free(self.affinity)
            self.affinity = NULL
        return 0

    @property
    def clients(self) -> int:
        """Clients that affinity remembers."""
        return 0 if self.affinity == NULL else self.affinity.size

    def expire(self, double now) -> int:
        """Forget the clients whose time is up; how many."""
        cdef Affinity* table = self.affinity
        cdef int32_t oldest
        forgotten = 0
        while table != NULL and table.size:
            oldest = table.clients[0].newer
            if now < table.clients[oldest].used + table.timeout:
                break
            self.release(affinity_drop(table, oldest))
            forgotten += 1
        return forgotten

    # -- selection ---------------------------------------------------------------------------------

    def select(self, source=0, uint32_t port=0, destination=0, double now=0.0) -> int:
        """The endpoint for a new connection from ``source``:``port`` to ``destination``; 0 if there is none."""
        cdef Packet packet
        if self.stale:
            self.prepare()
            self.stale = False
        _split(source, &packet.source_high, &packet.source_low)
        _split(destination, &packet.target_high, &packet.target_low)
        packet.port = port
        packet.now = now
        return self.route(&packet)

    def select_many(
        self,
        int32_t[::1] out,  # OUT the endpoint of each connection, 0 where none
        const uint64_t[::1] sources=None,  # IN  IPv4 addresses, [n]; None: all 0
        const uint16_t[::1] ports=None,  # IN  [n]
        const uint64_t[::1] destinations=None,  # IN  [n]
        double now=0.0,
        bint connect=False,  # count each as an active connection before the next is selected
    ) -> int:
        """One selection after the other; how many found an endpoint."""
        cdef Py_ssize_t i, n = out.shape[0]
        cdef bint has_source = sources is not None, has_port = ports is not None
        cdef bint has_target = destinations is not None
        cdef Packet packet
        cdef int32_t number
        cdef Py_ssize_t found = 0
        if (
            (has_source and sources.shape[0] != n)
            or (has_port and ports.shape[0] != n)
            or (has_target and destinations.shape[0] != n)
        ):
            raise ValueError("arrays differ in length")
        if self.stale:
            self.prepare()
            self.stale = False
        memset(&packet, 0, sizeof(Packet))
        packet.now = now
        with nogil:
            for i in range(n):
                if has_source:
                    packet.source_low = sources[i]
                if has_port:
                    packet.port = ports[i]
                if has_target:
                    packet.target_low = destinations[i]
                number = self.route(&packet)
                out[i] = number
                if number:
                    found += 1
                    if connect:
                        self._bind(&self.slots[number], True)
        return found

    cdef int32_t route(self, const Packet* packet) noexcept nogil:
        """Affinity first (ip_vs_sched_persist), then the algorithm."""
        cdef Affinity* table = self.affinity
        cdef uint64_t high, low
        cdef int32_t entry, number
        if table == NULL:
            return self.pick(packet)
        high, low = packet.source_high & table.keep_high, packet.source_low & table.keep_low
        entry = affinity_find(table, high, low)
        if entry:
            number = table.clients[entry].endpoint
            if (
                packet.now < table.clients[entry].used + table.timeout
                and self.slots[number].state & AVAILABLE
                and not (self.quiescent_expires and self.slots[number].weight == 0)
            ):
                table.clients[entry].used = packet.now
                affinity_unlink(table, entry)
                affinity_front(table, entry)
                return number
            self.release(affinity_drop(table, entry))
        number = self.pick(packet)
        if number:
            self.hold(number)
            self.release(affinity_put(table, high, low, number, packet.now))
        return number

    cdef int32_t pick(self, const Packet* packet) noexcept nogil:
        return 0

    cdef int changed(self, int how, int32_t number) except -1:
        """An endpoint was added, removed (and is unlinked, but its own links stand) or updated."""
        return 0

    cdef int prepare(self) except -1:
        """Bring tables up to date; called before a selection when ``stale``."""
        return 0

    cdef void hold(self, int32_t number) noexcept nogil:
        self.slots[number].references += 1

    cdef void release(self, int32_t number) noexcept nogil:
        if number:
            self.slots[number].references -= 1

    # -- loads, as several algorithms compare them -------------------------------------------------

    cdef int32_t least_loaded(self) noexcept nogil:
        """The first endpoint of least overhead by weight (wlc, and the first choice of lblc and lblcr)."""
        cdef Endpoint* slots = self.slots
        cdef int32_t number = slots[0].next, least
        cdef int64_t load, least_load
        while number and unavailable(&slots[number]):
            number = slots[number].next
        if not number:
            return 0
        least, least_load = number, overhead(&slots[number])
        number = slots[number].next
        while number:
            if not slots[number].state & OVERLOADED:
                load = overhead(&slots[number])
                # The kernel does not look at weight 0 here: h * 0 is never more.
                if least_load * slots[number].weight > load * slots[least].weight:
                    least, least_load = number, load
            number = slots[number].next
        return least

    cdef bint crowded(self, int32_t number) noexcept nogil:
        """More active connections than weight, while another has less than half of its own (is_overloaded)."""
        cdef Endpoint* slots = self.slots
        if slots[number].active > slots[number].weight:
            number = slots[0].next
            while number:
                if <int64_t>slots[number].active * 2 < slots[number].weight:
                    return True
                number = slots[number].next
        return False


cdef inline bint _is_named(const Endpoint* slot) noexcept nogil:
    """Whether connections or tables still hold an endpoint."""
    return slot.active != 0 or slot.inactive != 0 or slot.references != 0


cdef void _limit(Endpoint* slot, int32_t upper, int32_t lower) noexcept nogil:
    if upper == 0 or upper > slot.upper:
        slot.state &= ~OVERLOADED
    slot.upper = upper
    slot.lower = lower


cdef _check_limits(upper, lower):
    if upper < 0 or lower < 0 or lower > upper or upper > _MAX_WEIGHT:
        raise ValueError(f"limits {upper} and {lower}: 0 <= lower <= upper is needed")


cdef _check_weight(weight):
    if not 0 <= weight <= _MAX_WEIGHT:
        raise ValueError(f"weight {weight} is not in 0..{_MAX_WEIGHT}")


cdef class RoundRobin(Balancer):
    """rr: the next endpoint in the circle that has a weight."""

    cdef int32_t at

    cdef int changed(self, int how, int32_t number) except -1:
        if how == REMOVED and self.at == number:
            self.at = self.slots[number].previous
        return 0

    cdef int32_t pick(self, const Packet* packet) noexcept nogil:
        cdef Endpoint* slots = self.slots
        cdef int32_t number = self.at, step
        for step in range(self.count):
            number = slots[number].next
            if not number:
                number = slots[0].next
            if not unavailable(&slots[number]):
                self.at = number
                return number
        return 0


cdef class WeightedRoundRobin(Balancer):
    """wrr: rounds over those of at least the current weight, which falls from the largest by the common divisor."""

    cdef int32_t at
    cdef int32_t current
    cdef int32_t top
    cdef int32_t step

    cdef int changed(self, int how, int32_t number) except -1:
        cdef int32_t divisor = 0, largest = 0, weight
        self.at = 0
        number = self.slots[0].next
        while number:
            weight = self.slots[number].weight
            if weight > 0:
                divisor = _gcd(weight, divisor)
                if weight > largest:
                    largest = weight
            number = self.slots[number].next
        self.step = divisor if divisor else 1
        # Lowered, so that the last round is at 1 and also takes weights that fell below the divisor.
        self.top = largest - (self.step - 1)
        if self.current > self.top or self.current == 0:
            self.current = self.top
        elif self.step > 1:
            self.current = self.current // self.step * self.step + 1
        return 0

    cdef int32_t pick(self, const Packet* packet) noexcept nogil:
        cdef Endpoint* slots = self.slots
        cdef int32_t number = self.at, last = self.at, stop = 0
        cdef bint last_pass = False, restarted = False
        if self.top == 0:
            return 0
        while True:
            number = slots[number].next
            while number:
                if not slots[number].state & OVERLOADED and slots[number].weight >= self.current:
                    self.at = number
                    return number
                if number == stop:
                    self.at = number
                    return 0
                number = slots[number].next
            self.current -= self.step
            if self.current <= 0:
                self.current = self.top
                # Over once a round at weight 1 has seen every endpoint.
                if last_pass or last == 0:
                    self.at = 0
                    return 0
                restarted = True
            last_pass = self.current <= self.step
            if last_pass and restarted and last != 0:
                stop = last


cdef class LeastConnection(Balancer):
    """lc: least overhead, whatever the weights (but not 0)."""

    cdef int32_t pick(self, const Packet* packet) noexcept nogil:
        cdef Endpoint* slots = self.slots
        cdef int32_t number = slots[0].next, least = 0
        cdef int64_t load, least_load = 0
        while number:
            if not unavailable(&slots[number]):
                load = overhead(&slots[number])
                if not least or load < least_load:
                    least, least_load = number, load
            number = slots[number].next
        return least


cdef class WeightedLeastConnection(Balancer):
    """wlc: least overhead by weight."""

    cdef int32_t pick(self, const Packet* packet) noexcept nogil:
        return self.least_loaded()


cdef class ShortestExpectedDelay(Balancer):
    """sed: least (active + 1) by weight."""

    cdef int32_t pick(self, const Packet* packet) noexcept nogil:
        return _shortest_delay(self.slots, False)


cdef class NeverQueue(Balancer):
    """nq: the first idle endpoint, else as sed."""

    cdef int32_t pick(self, const Packet* packet) noexcept nogil:
        return _shortest_delay(self.slots, True)


cdef int32_t _shortest_delay(const Endpoint* slots, bint prefer_idle) noexcept nogil:
    cdef int32_t number = slots[0].next, least = 0
    cdef int64_t load, least_load = 0
    while number:
        if not unavailable(&slots[number]):
            load = <int64_t>slots[number].active + 1
            if prefer_idle and load == 1:
                return number
            if not least or least_load * slots[number].weight > load * slots[least].weight:
                least, least_load = number, load
        number = slots[number].next
    return least


cdef class FailOver(Balancer):
    """fo: the largest weight."""

    cdef int32_t pick(self, const Packet* packet) noexcept nogil:
        return _heaviest(self.slots, False)


cdef class Overflow(Balancer):
    """ovf: the largest weight among those with no more active connections than weight."""

    cdef int32_t pick(self, const Packet* packet) noexcept nogil:
        return _heaviest(self.slots, True)


cdef int32_t _heaviest(const Endpoint* slots, bint with_room) noexcept nogil:
    cdef int32_t number = slots[0].next, best = 0, weight = 0
    while number:
        if (
            not slots[number].state & OVERLOADED
            and slots[number].weight > weight
            and not (with_room and slots[number].active > slots[number].weight)
        ):
            best, weight = number, slots[number].weight
        number = slots[number].next
    return best


cdef int32_t _gcd(int32_t a, int32_t b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a
