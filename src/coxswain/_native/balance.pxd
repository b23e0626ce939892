# What every balancer shares: endpoints in an array of slots, linked in the kernel's order.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from coxswain._native.affinity cimport Affinity


cdef enum:
    AVAILABLE = 1   # in service; cleared on removal, while connections or tables still name the slot
    OVERLOADED = 2  # takes no new connections

cdef enum:
    ADDED = 0
    REMOVED = 1
    UPDATED = 2


cdef struct Endpoint:
    uint64_t high       # address: IPv4 in low's lower half, IPv6 in both
    uint64_t low
    int32_t next        # kernel's list: the endpoint added last comes first; 0 is its head
    int32_t previous
    int32_t weight
    int32_t last_weight  # the latest that was not 0
    int32_t active
    int32_t inactive
    int32_t upper       # connections from which it counts as overloaded, and below which no more; 0 unset
    int32_t lower
    int32_t references  # tables that name it
    uint16_t port
    uint8_t state


cdef struct Packet:
    uint64_t source_high
    uint64_t source_low
    uint64_t target_high
    uint64_t target_low
    double now
    uint32_t port       # the client's


cdef inline uint32_t fold(uint64_t high, uint64_t low) noexcept nogil:
    """An address in 32 bits: IPv4 as it is, the words of IPv6 by exclusive or."""
    return <uint32_t>(high >> 32) ^ <uint32_t>high ^ <uint32_t>(low >> 32) ^ <uint32_t>low


cdef inline uint32_t hash_32(uint32_t value, int bits) noexcept nogil:
    """Linux' hash_32 (linux/hash.h)."""
    return (value * <uint32_t>0x61C88647) >> (32 - bits)


cdef inline bint unavailable(const Endpoint* endpoint) noexcept nogil:
    return endpoint.weight <= 0 or (endpoint.state & OVERLOADED) != 0


cdef inline int64_t overhead(const Endpoint* endpoint) noexcept nogil:
    """ip_vs_dest_conn_overhead: an active connection costs as much as 256 inactive ones."""
    return (<int64_t>endpoint.active << 8) + endpoint.inactive


cdef class Balancer:
    cdef Endpoint* slots
    cdef Affinity* affinity
    cdef bint quiescent_expires
    cdef bint stale          # `prepare` is due before the next selection
    cdef int32_t room        # slots allocated
    cdef int32_t fresh       # first slot never used
    cdef readonly int32_t count
    cdef dict _numbers       # (high, low, port) -> slot
    cdef list _free
    cdef set _removed        # out of service, yet perhaps still named

    cdef int32_t pick(self, const Packet* packet) noexcept nogil
    cdef int32_t route(self, const Packet* packet) noexcept nogil
    cdef int changed(self, int how, int32_t number) except -1
    cdef int prepare(self) except -1
    cdef void hold(self, int32_t number) noexcept nogil
    cdef void release(self, int32_t number) noexcept nogil
    cdef int32_t least_loaded(self) noexcept nogil
    cdef bint crowded(self, int32_t number) noexcept nogil
    cdef Endpoint* _at(self, int32_t number) except NULL
    cdef int32_t _slot(self) except -1
    cdef int _sweep(self) except -1
    cdef void _bind(self, Endpoint* slot, bint active) noexcept nogil
    cdef int _shift(self, int32_t number, int32_t active, int32_t inactive) except -1
    cdef int _unstick(self) except -1
