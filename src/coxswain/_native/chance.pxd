# Who is taken among equals. The generator is xorshift64*, whose state is one uint64 that the caller seeds (never 0).
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef struct Best:
    Py_ssize_t at  # -1: nobody yet
    int64_t top
    uint32_t ties


cdef inline uint32_t below(uint64_t* state, uint32_t bound) noexcept nogil:
    """A number in [0, bound)."""
    state[0] ^= state[0] >> 12
    state[0] ^= state[0] << 25
    state[0] ^= state[0] >> 27
    return <uint32_t>((((state[0] * <uint64_t>2685821657736338717) >> 32) * bound) >> 32)


cdef inline Best nobody() noexcept nogil:
    """Before the first offer."""
    cdef Best best
    best.at, best.top, best.ties = -1, 0, 0
    return best


cdef inline void offer(Best* best, Py_ssize_t at, int64_t total, uint64_t* state) noexcept nogil:
    """Keep the largest total; among equals each is as likely in the end (a reservoir of one)."""
    if best.at < 0 or total > best.top:
        best.at, best.top, best.ties = at, total, 1
    elif total == best.top:
        best.ties += 1
        if below(state, best.ties) == 0:
            best.at = at
