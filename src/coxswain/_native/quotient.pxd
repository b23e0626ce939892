# Integer quotients by way of doubles: several times as fast as a 64-bit division, and exact.
from libc.stdint cimport int64_t


cdef inline int64_t quotient(int64_t numerator, int64_t denominator) noexcept nogil:
    """numerator // denominator for 0 <= numerator, 0 < denominator.

    Below 2**53 the numerator is an exact double, and so is the denominator, or the quotient is 0 anyhow. The
    rounded quotient cannot reach the next integer: it is short of it by 1/denominator at least, which is more
    than a rounding error of a quotient of that size.
    """
    if numerator < <int64_t>1 << 53:
        return <int64_t>(<double>numerator / <double>denominator)
    return numerator // denominator
