# Session affinity (IPVS persistence): client -> endpoint, with a timeout and a bound. C structs, so that a
# selection needs no Python object. Entries hang in hash chains and in one list by last use: because all share
# one timeout, the list's end is both what expires first and what is dropped when the table is full.
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc


cdef struct Client:
    uint64_t high
    uint64_t low
    double used
    int32_t endpoint
    int32_t chain   # next in the hash chain, or in the list of free entries; 0 ends
    int32_t newer
    int32_t older


cdef struct Affinity:
    Client* clients     # [0] is the head of the list by use: .older is the newest, .newer the oldest
    int32_t* buckets
    uint32_t mask
    int32_t room        # entries allocated, with [0]
    int32_t size
    int32_t spare       # list of free entries
    int32_t fresh       # first entry never used
    int32_t limit
    double timeout
    uint64_t keep_high  # which bits of an address count (the persistence netmask)
    uint64_t keep_low


cdef inline uint32_t affinity_bucket(const Affinity* table, uint64_t high, uint64_t low) noexcept nogil:
    cdef uint64_t x = low ^ (high * <uint64_t>0x9E3779B97F4A7C15)
    x ^= x >> 32
    x *= <uint64_t>0xD6E8FEB86659FD93
    x ^= x >> 32
    return <uint32_t>x & table.mask


cdef inline Affinity* affinity_new() noexcept nogil:
    cdef Affinity* table = <Affinity*>calloc(1, sizeof(Affinity))
    if table != NULL:
        table.room = 16
        table.fresh = 1
        table.mask = 15
        table.timeout = INFINITY
        table.clients = <Client*>calloc(16, sizeof(Client))
        table.buckets = <int32_t*>calloc(16, sizeof(int32_t))
        if table.clients == NULL or table.buckets == NULL:
            affinity_free(table)
            return NULL
    return table


cdef inline void affinity_free(Affinity* table) noexcept nogil:
    if table != NULL:
        free(table.clients)
        free(table.buckets)
        free(table)


cdef inline void affinity_unlink(Affinity* table, int32_t entry) noexcept nogil:
    """Out of the list by use."""
    cdef Client* clients = table.clients
    clients[clients[entry].newer].older = clients[entry].older
    clients[clients[entry].older].newer = clients[entry].newer


cdef inline void affinity_front(Affinity* table, int32_t entry) noexcept nogil:
    """Newest in the list by use."""
    cdef Client* clients = table.clients
    clients[entry].newer = 0
    clients[entry].older = clients[0].older
    clients[clients[0].older].newer = entry
    clients[0].older = entry


cdef inline int32_t affinity_find(Affinity* table, uint64_t high, uint64_t low) noexcept nogil:
    """The entry of a (masked) address, or 0."""
    cdef int32_t entry = table.buckets[affinity_bucket(table, high, low)]
    while entry and (table.clients[entry].low != low or table.clients[entry].high != high):
        entry = table.clients[entry].chain
    return entry


cdef inline int32_t affinity_drop(Affinity* table, int32_t entry) noexcept nogil:
    """Forget an entry; the endpoint that it named."""
    cdef Client* client = &table.clients[entry]
    cdef int32_t* link = &table.buckets[affinity_bucket(table, client.high, client.low)]
    while link[0] != entry:
        link = &table.clients[link[0]].chain
    link[0] = client.chain
    affinity_unlink(table, entry)
    client.chain = table.spare
    table.spare = entry
    table.size -= 1
    return client.endpoint


cdef inline bint affinity_grow(Affinity* table) noexcept nogil:
    """Twice the entries and buckets; False when memory is short (the table stays as it is)."""
    cdef int32_t room = 2 * table.room, entry
    cdef uint32_t bucket
    cdef Client* clients = <Client*>realloc(table.clients, room * sizeof(Client))
    if clients == NULL:
        return False
    table.clients = clients
    cdef int32_t* buckets = <int32_t*>calloc(room, sizeof(int32_t))
    if buckets == NULL:
        return False
    free(table.buckets)
    table.buckets = buckets
    table.room = room
    table.mask = <uint32_t>room - 1
    entry = clients[0].older
    while entry:
        bucket = affinity_bucket(table, clients[entry].high, clients[entry].low)
        clients[entry].chain = buckets[bucket]
        buckets[bucket] = entry
        entry = clients[entry].older
    return True


cdef inline int32_t affinity_put(
    Affinity* table, uint64_t high, uint64_t low, int32_t endpoint, double now
) noexcept nogil:
    """Remember an address that is not in the table yet. The endpoint that a full table forgot for it, or 0."""
    cdef int32_t entry, forgotten = 0
    cdef uint32_t bucket
    if table.size >= table.limit or (
        not table.spare and table.fresh == table.room and not affinity_grow(table) and table.size
    ):
        forgotten = affinity_drop(table, table.clients[0].newer)
    if table.spare:
        entry = table.spare
        table.spare = table.clients[entry].chain
    else:
        entry = table.fresh
        table.fresh += 1
    table.clients[entry].high = high
    table.clients[entry].low = low
    table.clients[entry].endpoint = endpoint
    table.clients[entry].used = now
    bucket = affinity_bucket(table, high, low)
    table.clients[entry].chain = table.buckets[bucket]
    table.buckets[bucket] = entry
    affinity_front(table, entry)
    table.size += 1
    return forgotten
