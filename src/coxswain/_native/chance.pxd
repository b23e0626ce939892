# The generator that breaks ties: xorshift64*, whose state is one uint64 that the caller seeds (never 0).
from libc.stdint cimport uint32_t, uint64_t


cdef inline uint32_t below(uint64_t* state, uint32_t bound) noexcept nogil:
    """A number in [0, bound)."""
    state[0] ^= state[0] >> 12
    state[0] ^= state[0] << 25
    state[0] ^= state[0] >> 27
    return <uint32_t>((((state[0] * <uint64_t>2685821657736338717) >> 32) * bound) >> 32)
