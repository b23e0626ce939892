"""Balancers that hash an address into a table of endpoints: dh, sh and mh (Maglev).

The tables depend on nothing but the list of endpoints and their weights, so they are built before the first
selection after a change, however many changes there were.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

import numpy as np

from coxswain._native.balance cimport (
    ADDED, AVAILABLE, Balancer, Endpoint, Packet, fold, hash_32, unavailable,
)

cdef extern from *:
    """
    #include <stdint.h>
    static inline uint32_t cox_remainder(uint32_t value, uint64_t reciprocal, uint32_t divisor) {
        return (uint32_t)(((unsigned __int128)(reciprocal * value) * divisor) >> 64);
    }
    static inline int cox_bits(uint32_t value) { return value ? 32 - __builtin_clz(value) : 0; }
    static inline uint64_t cox_rotate(uint64_t value, int by) { return value << by | value >> (64 - by); }
    """
    #: value % divisor, exactly, given reciprocal = 2**64 // divisor + 1 (Lemire).
    uint32_t cox_remainder(uint32_t value, uint64_t reciprocal, uint32_t divisor) noexcept nogil
    int cox_bits(uint32_t value) noexcept nogil
    uint64_t cox_rotate(uint64_t value, int by) noexcept nogil

cdef enum:
    TABLE_BITS = 8  # of dh and sh
    TABLE_SIZE = 256

#: Keys of Maglev's two hashes.
cdef uint64_t _OFFSET_KEY = 2654435761
cdef uint64_t _SKIP_KEY = 2654446892


cdef inline void _sip_round(uint64_t* v0, uint64_t* v1, uint64_t* v2, uint64_t* v3) noexcept nogil:
    v0[0] += v1[0]
    v1[0] = cox_rotate(v1[0], 13) ^ v0[0]
    v0[0] = cox_rotate(v0[0], 32)
    v2[0] += v3[0]
    v3[0] = cox_rotate(v3[0], 16) ^ v2[0]
    v0[0] += v3[0]
    v3[0] = cox_rotate(v3[0], 21) ^ v0[0]
    v2[0] += v1[0]
    v1[0] = cox_rotate(v1[0], 17) ^ v2[0]
    v2[0] = cox_rotate(v2[0], 32)


cdef inline uint32_t hsiphash(uint32_t value, uint64_t key) noexcept nogil:
    """Linux' hsiphash of four bytes on a 64-bit machine: SipHash-1-3, cut to 32 bits; both key words are ``key``."""
    cdef uint64_t v0 = <uint64_t>0x736f6d6570736575 ^ key
    cdef uint64_t v1 = <uint64_t>0x646f72616e646f6d ^ key
    cdef uint64_t v2 = <uint64_t>0x6c7967656e657261 ^ key
    cdef uint64_t v3 = <uint64_t>0x7465646279746573 ^ key
    cdef uint64_t last = (<uint64_t>4 << 56) | value
    v3 ^= last
    _sip_round(&v0, &v1, &v2, &v3)
    v0 ^= last
    v2 ^= 0xff
    _sip_round(&v0, &v1, &v2, &v3)
    _sip_round(&v0, &v1, &v2, &v3)
    _sip_round(&v0, &v1, &v2, &v3)
    return <uint32_t>(v0 ^ v1 ^ v2 ^ v3)


def siphash_1_3(uint32_t value, uint64_t key) -> int:
    """What Maglev hashes with, for tests."""
    return hsiphash(value, key)


cdef class DestinationHashing(Balancer):
    """dh: 256 buckets, endpoints in turn; the destination's bucket, or none if its endpoint takes no more."""

    cdef int32_t[TABLE_SIZE] table

    cdef int changed(self, int how, int32_t number) except -1:
        self.stale = True
        return 0

    cdef int prepare(self) except -1:
        cdef int32_t number = 0
        cdef int i
        for i in range(TABLE_SIZE):
            number = self.slots[number].next
            if not number:
                number = self.slots[0].next
            self.table[i] = number
        return 0

    cdef int32_t pick(self, const Packet* packet) noexcept nogil:
        cdef int32_t number = self.table[hash_32(fold(packet.target_high, packet.target_low), TABLE_BITS)]
        if not number or not self.slots[number].state & AVAILABLE or unavailable(&self.slots[number]):
            return 0
        return number


cdef class SourceHashing(Balancer):
    """sh: 256 buckets, as many in a row as an endpoint weighs; the bucket of the source (and its port).

    ``fallback``: where that endpoint takes no more, the next bucket from there whose endpoint does.
    """

    cdef int32_t[TABLE_SIZE] table
    cdef bint by_port
    cdef bint fallback

    def __init__(self, *, bint by_port=False, bint fallback=False):
        self.by_port = by_port
        self.fallback = fallback

    cdef int changed(self, int how, int32_t number) except -1:
        self.stale = True
        return 0

    cdef int prepare(self) except -1:
        cdef int32_t number = self.slots[0].next, filled = 0
        cdef int i
        for i in range(TABLE_SIZE):
            if not number:
                number = self.slots[0].next
            self.table[i] = number
            filled += 1
            if filled >= self.slots[number].weight:
                number = self.slots[number].next
                filled = 0
        return 0

    cdef int32_t pick(self, const Packet* packet) noexcept nogil:
        cdef uint32_t port = packet.port if self.by_port else 0
        cdef uint32_t home = hash_32(port + fold(packet.source_high, packet.source_low), TABLE_BITS)
        cdef int32_t number = self.table[home]
        cdef uint32_t offset
        if not number or not unavailable(&self.slots[number]):
            return number
        if self.fallback:
            # The kernel adds the hash to an offset that starts with it: the walk begins at twice the hash.
            for offset in range(<uint32_t>TABLE_SIZE):
                number = self.table[((offset + home) % TABLE_SIZE + home) % TABLE_SIZE]
                if not number or not unavailable(&self.slots[number]):
                    return number
        return 0


cdef struct Share:
    int32_t number
    uint32_t at       # next position to try
    uint32_t skip
    uint32_t turns    # positions in a row each round
    uint32_t back     # inverse of skip modulo the table's size; 0 until it is needed
    uint32_t ratio    # back * 2**32 // size


cdef class Maglev(Balancer):
    """mh: every endpoint has its own order of the table's positions and takes the next free one in turn.

    ``table_size`` is a prime; the larger, the more even (a share is off by one position a round at most) and the
    less is moved when an endpoint goes. Endpoints keep their positions while their weight is 0.
    """

    cdef int32_t* table
    cdef readonly uint32_t table_size
    cdef uint64_t reciprocal
    cdef bint by_port
    cdef bint fallback

    def __init__(self, *, table_size=65537, bint by_port=False, bint fallback=False):
        if not 2 < table_size < 1 << 27 or any(table_size % i == 0 for i in range(2, int(table_size**0.5) + 1)):
            raise ValueError(f"table size {table_size} is not a prime in 3..{(1 << 27) - 1}")
        free(self.table)
        self.table_size = table_size
        self.reciprocal = <uint64_t>((1 << 64) // table_size + 1)
        self.table = <int32_t*>calloc(table_size, sizeof(int32_t))
        if self.table == NULL:
            raise MemoryError
        self.by_port = by_port
        self.fallback = fallback
        self.stale = True

    def __dealloc__(self):
        free(self.table)

    def lookup(self):
        """A copy of the table: the endpoint at each position, int32."""
        if self.stale:
            self.prepare()
            self.stale = False
        return np.array(<int32_t[:self.table_size]>self.table)

    cdef int changed(self, int how, int32_t number) except -1:
        if how == ADDED and <uint32_t>self.count > self.table_size:
            raise ValueError(f"a table of {self.table_size} cannot hold more endpoints")
        self.stale = True
        return 0

    cdef inline uint32_t _hash(self, uint32_t value, uint64_t key, uint32_t divisor) noexcept nogil:
        if divisor == self.table_size:
            return cox_remainder(hsiphash(value, key), self.reciprocal, divisor)
        return hsiphash(value, key) % divisor

    cdef int prepare(self) except -1:
        cdef Share* shares
        cdef Py_ssize_t count
        cdef uint64_t* taken
        shares = <Share*>malloc((self.count + 1) * sizeof(Share))
        taken = <uint64_t*>calloc(self.table_size // 64 + 1, sizeof(uint64_t))
        if shares == NULL or taken == NULL:
            free(shares)
            free(taken)
            raise MemoryError
        with nogil:
            count = self._shares(shares)
            if count:
                self._fill(shares, count, taken)
            else:
                memset(self.table, 0, self.table_size * sizeof(int32_t))
        free(shares)
        free(taken)
        return 0

    cdef Py_ssize_t _shares(self, Share* shares) noexcept nogil:
        """Where each endpoint starts, how far it skips and how many positions it takes in a round."""
        cdef int32_t number = self.slots[0].next, divisor = 0, largest = 0, weight, a, b
        cdef uint32_t value
        cdef int shift
        cdef Py_ssize_t count = 0
        while number:
            weight = self.slots[number].last_weight
            if weight > 0:
                a, b = weight, divisor
                while b:
                    a, b = b, a % b
                divisor = a
                if weight > largest:
                    largest = weight
            number = self.slots[number].next
        if divisor < 1:
            return 0
        # Huge weights are shifted down: rounds stay short against the table.
        shift = cox_bits(largest // divisor) - cox_bits(self.table_size) // 2
        if shift < 0:
            shift = 0
        number = self.slots[0].next
        while number:
            weight = self.slots[number].last_weight
            if weight:
                value = self.slots[number].port + fold(self.slots[number].high, self.slots[number].low)
                shares[count].number = number
                shares[count].at = self._hash(value, _OFFSET_KEY, self.table_size)
                shares[count].skip = self._hash(value, _SKIP_KEY, self.table_size - 1) + 1
                shares[count].turns = (weight // divisor) >> shift
                if shares[count].turns == 0:
                    shares[count].turns = 1
                shares[count].back = 0
                count += 1
            number = self.slots[number].next
        return count

    cdef void _fill(self, Share* shares, Py_ssize_t count, uint64_t* taken) noexcept nogil:
        """Fill all positions. Walking finds a free one soon while many are free; of the last few, the nearest on an
        endpoint's walk is computed instead: step k of the walk is at + k * skip, so k = (position - at) / skip."""
        cdef uint32_t size = self.table_size, left = size, few = 1, turn = 0, at, skip
        cdef Py_ssize_t i = 0
        while few * few < size:
            few += 1
        if few > 1024:
            few = 1024
        while left > few:
            at, skip = shares[i].at, shares[i].skip
            while taken[at >> 6] >> (at & 63) & 1:
                at += skip
                if at >= size:
                    at -= size
            taken[at >> 6] |= <uint64_t>1 << (at & 63)
            self.table[at] = shares[i].number
            shares[i].at = at
            left -= 1
            turn += 1
            if turn >= shares[i].turns:
                turn = 0
                i += 1
                if i == count:
                    i = 0
        self._fill_last(shares, count, taken, i, turn, left)

    cdef void _fill_last(
        self, Share* shares, Py_ssize_t count, const uint64_t* taken, Py_ssize_t i, uint32_t turn, uint32_t left
    ) noexcept nogil:
        cdef uint32_t[1024] free_positions
        cdef uint32_t size = self.table_size, position, j = 0, best, nearest, k, distance, back, ratio, at
        for position in range(size):
            if not taken[position >> 6] >> (position & 63) & 1:
                free_positions[j] = position
                j += 1
        while left:
            if shares[i].back == 0:
                shares[i].back = _inverse(shares[i].skip, size)
                shares[i].ratio = <uint32_t>((<uint64_t>shares[i].back << 32) // size)
            back, ratio, at = shares[i].back, shares[i].ratio, shares[i].at
            best, nearest = 0, size
            for j in range(left):
                position = free_positions[j]
                distance = position - at if position >= at else position + size - at
                # distance * back % size without a division (Shoup).
                k = distance * back - <uint32_t>((<uint64_t>distance * ratio) >> 32) * size
                if k >= size:
                    k -= size
                if k < nearest:
                    best, nearest = j, k
            position = free_positions[best]
            left -= 1
            free_positions[best] = free_positions[left]
            self.table[position] = shares[i].number
            shares[i].at = position
            turn += 1
            if turn >= shares[i].turns:
                turn = 0
                i += 1
                if i == count:
                    i = 0

    cdef int32_t pick(self, const Packet* packet) noexcept nogil:
        cdef uint32_t key = fold(packet.source_high, packet.source_low)
        cdef uint32_t home, offset, place
        cdef int32_t number
        if self.by_port:
            key += packet.port
        home = self._hash(key, _OFFSET_KEY, self.table_size)
        number = self.table[home]
        if not number or not unavailable(&self.slots[number]):
            return number
        if self.fallback:
            for offset in range(self.table_size):
                place = self._hash((offset + home) % self.table_size + key, _OFFSET_KEY, self.table_size)
                number = self.table[place]
                if not number or not unavailable(&self.slots[number]):
                    return number
        return 0


cdef uint32_t _inverse(uint32_t value, uint32_t prime) noexcept nogil:
    """The number that times ``value`` is 1 modulo ``prime`` (Euclid)."""
    cdef int64_t a = value, b = prime, x = 1, y = 0, quotient
    while a > 1:
        quotient = a // b
        a, b = b, a - quotient * b
        x, y = y, x - quotient * y
    return <uint32_t>(x + prime if x < 0 else x)
