"""Balancers that remember where a destination went: lblc (one endpoint) and lblcr (a set of them).

Both are made for caches: the same destination goes to the same endpoint while that is alive and not crowded. The
kernel's table has 1,024 chains and is cleaned by a timer each minute; here ``expire_entries(now)`` is one such
firing, and ``CHECK_INTERVAL`` how often it is due. One difference: the kernel forgets to count a replaced entry
out, so its count of entries creeps up; here it is right.
"""
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free, realloc

from coxswain._native.balance cimport (
    AVAILABLE, OVERLOADED, Balancer, Endpoint, Packet, fold, hash_32, overhead, unavailable,
)

cdef enum:
    TABLE_BITS = 10
    TABLE_SIZE = 1024
    MAX_ENTRIES = 16384     # beyond, entries idle for ENTRY_TIMEOUT go
    FULL_CHECK_EVERY = 30   # firings of the timer without any to remove

#: Seconds between two firings of the timer.
CHECK_INTERVAL = 60.0
cdef double ENTRY_TIMEOUT = 360.0
#: Seconds: sysctl lblc_expiration and lblcr_expiration.
DEFAULT_EXPIRATION = 86400.0


cdef struct Entry:
    uint64_t high
    uint64_t low
    double used
    double modified  # of the set
    int32_t chain    # next in the hash chain or among the free; 0 ends
    int32_t first    # lblc: the endpoint; lblcr: first member of the set
    int32_t members


cdef struct Member:
    int32_t number
    int32_t next     # in the set or among the free; 0 ends


cdef class _Remembering(Balancer):
    """The table of destinations."""

    cdef int32_t[TABLE_SIZE] chains
    cdef Entry* entries
    cdef int32_t entries_room
    cdef int32_t entries_fresh
    cdef int32_t entries_spare
    cdef readonly int32_t remembered
    cdef int rover
    cdef int counter
    cdef public double expiration

    def __init__(self, *, double expiration=DEFAULT_EXPIRATION):
        self.expiration = expiration
        self.counter = 1
        self.entries_fresh = 1

    def __dealloc__(self):
        free(self.entries)

    cdef int32_t _find(self, uint64_t high, uint64_t low) noexcept nogil:
        cdef int32_t entry = self.chains[hash_32(fold(high, low), TABLE_BITS)]
        while entry and (self.entries[entry].low != low or self.entries[entry].high != high):
            entry = self.entries[entry].chain
        return entry

    cdef int32_t _new(self, uint64_t high, uint64_t low, double now) noexcept nogil:
        """An entry for a destination that has none; 0 when memory is short."""
        cdef int32_t entry = self.entries_spare, room
        cdef unsigned int chain = hash_32(fold(high, low), TABLE_BITS)
        cdef Entry* entries
        if entry:
            self.entries_spare = self.entries[entry].chain
        else:
            if self.entries_fresh >= self.entries_room:
                room = 2 * self.entries_room if self.entries_room else 64
                entries = <Entry*>realloc(self.entries, room * sizeof(Entry))
                if entries == NULL:
                    return 0
                self.entries = entries
                self.entries_room = room
            entry = self.entries_fresh
            self.entries_fresh += 1
        self.entries[entry].high = high
        self.entries[entry].low = low
        self.entries[entry].used = now
        self.entries[entry].modified = now
        self.entries[entry].first = 0
        self.entries[entry].members = 0
        self.entries[entry].chain = self.chains[chain]
        self.chains[chain] = entry
        self.remembered += 1
        return entry

    cdef void _forget_set(self, int32_t entry) noexcept nogil:
        """Let go of what an entry names."""

    cdef int _clean(self, int chain, double before) noexcept nogil:
        """Forget the entries of a chain that were not used after ``before``; how many."""
        cdef int32_t* link = &self.chains[chain]
        cdef int32_t entry
        cdef int gone = 0
        while link[0]:
            entry = link[0]
            if self.entries[entry].used > before:
                link = &self.entries[entry].chain
                continue
            link[0] = self.entries[entry].chain
            self._forget_set(entry)
            self.entries[entry].chain = self.entries_spare
            self.entries_spare = entry
            self.remembered -= 1
            gone += 1
        return gone

    def expire_entries(self, double now) -> int:
        """What the kernel's timer does each minute; entries forgotten."""
        cdef int i, goal, gone = 0
        if self.counter % FULL_CHECK_EVERY == 0:
            for i in range(TABLE_SIZE):
                gone += self._clean(i, now - self.expiration)
            self.counter = 1
            return gone
        if self.remembered <= MAX_ENTRIES:
            self.counter += 1
            return 0
        goal = min((self.remembered - MAX_ENTRIES) * 4 // 3, MAX_ENTRIES // 2)
        for i in range(TABLE_SIZE):
            self.rover = (self.rover + 1) % TABLE_SIZE
            gone += self._clean(self.rover, now - ENTRY_TIMEOUT)
            if gone >= goal:
                break
        return gone


cdef class LocalityLeastConnection(_Remembering):
    """lblc: the endpoint that the destination went to, unless it is gone, without weight or crowded."""

    cdef void _forget_set(self, int32_t entry) noexcept nogil:
        self.release(self.entries[entry].first)

    cdef int32_t pick(self, const Packet* packet) noexcept nogil:
        cdef int32_t entry = self._find(packet.target_high, packet.target_low), number
        if entry:
            self.entries[entry].used = packet.now
            number = self.entries[entry].first
            if (
                self.slots[number].state & AVAILABLE
                and self.slots[number].weight > 0
                and not self.crowded(number)
            ):
                return number
        number = self.least_loaded()
        if not number:
            return 0
        if not entry:
            entry = self._new(packet.target_high, packet.target_low, packet.now)
        if entry and self.entries[entry].first != number:
            self.release(self.entries[entry].first)
            self.entries[entry].first = number
            self.hold(number)
        return number


cdef class ReplicatedLocalityLeastConnection(_Remembering):
    """lblcr: the least loaded of the destination's set, which grows when that is crowded and, if it has not changed
    for ``expiration`` seconds, loses its most loaded member."""

    cdef Member* pool
    cdef int32_t pool_room
    cdef int32_t pool_fresh
    cdef int32_t pool_spare

    def __cinit__(self):
        self.pool_fresh = 1

    def __dealloc__(self):
        free(self.pool)

    cdef void _forget_set(self, int32_t entry) noexcept nogil:
        while self.entries[entry].first:
            self._erase(entry, self.pool[self.entries[entry].first].number)

    cdef void _insert(self, int32_t entry, int32_t number, double now) noexcept nogil:
        cdef int32_t member = self.entries[entry].first, room
        cdef Member* pool
        while member:
            if self.pool[member].number == number:
                return
            member = self.pool[member].next
        member = self.pool_spare
        if member:
            self.pool_spare = self.pool[member].next
        else:
            if self.pool_fresh >= self.pool_room:
                room = 2 * self.pool_room if self.pool_room else 64
                pool = <Member*>realloc(self.pool, room * sizeof(Member))
                if pool == NULL:
                    return
                self.pool = pool
                self.pool_room = room
            member = self.pool_fresh
            self.pool_fresh += 1
        self.pool[member].number = number
        self.pool[member].next = self.entries[entry].first
        self.entries[entry].first = member
        self.entries[entry].members += 1
        self.entries[entry].modified = now
        self.hold(number)

    cdef void _erase(self, int32_t entry, int32_t number) noexcept nogil:
        cdef int32_t* link = &self.entries[entry].first
        cdef int32_t member
        while link[0] and self.pool[link[0]].number != number:
            link = &self.pool[link[0]].next
        member = link[0]
        if member:
            link[0] = self.pool[member].next
            self.pool[member].next = self.pool_spare
            self.pool_spare = member
            self.entries[entry].members -= 1
            self.release(number)

    cdef int32_t _least(self, int32_t entry) noexcept nogil:
        """ip_vs_dest_set_min."""
        cdef int32_t member = self.entries[entry].first, least = 0, number
        cdef int64_t load, least_load = 0
        cdef Endpoint* slots = self.slots
        while member:
            number = self.pool[member].number
            if not unavailable(&slots[number]) and slots[number].state & AVAILABLE:
                load = overhead(&slots[number])
                if not least or least_load * slots[number].weight > load * slots[least].weight:
                    least, least_load = number, load
            member = self.pool[member].next
        return least

    cdef int32_t _most(self, int32_t entry) noexcept nogil:
        """ip_vs_dest_set_max: overloaded and removed ones count too."""
        cdef int32_t member = self.entries[entry].first, most = 0, number
        cdef int64_t load, most_load = 0
        cdef Endpoint* slots = self.slots
        while member:
            number = self.pool[member].number
            if slots[number].weight > 0:
                load = overhead(&slots[number])
                if not most or most_load * slots[number].weight < load * slots[most].weight:
                    most, most_load = number, load
            member = self.pool[member].next
        return most

    cdef int32_t pick(self, const Packet* packet) noexcept nogil:
        cdef int32_t entry = self._find(packet.target_high, packet.target_low), number, most
        cdef double now = packet.now
        if entry:
            self.entries[entry].used = now
            number = self._least(entry)
            if self.entries[entry].members > 1 and now > self.entries[entry].modified + self.expiration:
                most = self._most(entry)
                if most:
                    self._erase(entry, most)
                    self.entries[entry].modified = now
            if number and not self.crowded(number):
                return number
        number = self.least_loaded()
        if not number:
            return 0
        if not entry:
            entry = self._new(packet.target_high, packet.target_low, now)
        if entry:
            self._insert(entry, number, now)
        return number
