# Arithmetic of one node's resources, shared by the kernels of filters, scores and batch.
# Arrays are resource-major: resource r of node n is at [r * stride + n].
from libc.math cimport fabs
from libc.stdint cimport int32_t, int64_t, uint8_t

from coxswain._native.quotient cimport quotient


cdef inline uint8_t fit_code(
    const int64_t* allocatable, const int64_t* requested, Py_ssize_t stride, Py_ssize_t row,
    const int32_t* ids, const int64_t* amounts, Py_ssize_t count,
) noexcept nogil:
    """0 fits; 1 too little is free; 2 more is asked than the node has at all (pods, id 3, are always 1)."""
    cdef Py_ssize_t i, at
    cdef uint8_t code = 0
    for i in range(count):
        at = ids[i] * stride + row
        if amounts[i] > allocatable[at] - requested[at]:
            if ids[i] != 3 and amounts[i] > allocatable[at]:
                return 2
            code = 1
    return code


cdef inline int64_t least_score(int64_t requested, int64_t capacity) noexcept nogil:
    if requested > capacity:
        return 0
    return quotient((capacity - requested) * 100, capacity)


cdef inline int64_t most_score(int64_t requested, int64_t capacity) noexcept nogil:
    if requested > capacity:
        requested = capacity
    return quotient(requested * 100, capacity)


cdef inline int64_t allocation_score(
    bint most, int64_t cpu, int64_t cpu_capacity, int64_t memory, int64_t memory_capacity,
    int64_t cpu_weight, int64_t memory_weight,
) noexcept nogil:
    """Weighted mean over the resources that the node has; 0 when it has neither."""
    cdef int64_t total = 0, weights = 0
    if cpu_capacity != 0:
        total += cpu_weight * (most_score(cpu, cpu_capacity) if most else least_score(cpu, cpu_capacity))
        weights += cpu_weight
    if memory_capacity != 0:
        total += memory_weight * (
            most_score(memory, memory_capacity) if most else least_score(memory, memory_capacity)
        )
        weights += memory_weight
    if weights == 2:
        return total >> 1
    return total // weights if weights else 0


cdef inline int64_t balance(
    int64_t cpu, int64_t cpu_capacity, int64_t memory, int64_t memory_capacity
) noexcept nogil:
    """100 less the deviation of the two used fractions; 100 where only one resource exists."""
    cdef double first, second
    if cpu_capacity == 0 or memory_capacity == 0:
        return 100
    # Without branches: which fraction is larger is anybody's guess.
    first = <double>cpu / <double>cpu_capacity
    second = <double>memory / <double>memory_capacity
    first = 1.0 if first > 1.0 else first
    second = 1.0 if second > 1.0 else second
    return <int64_t>((1 - fabs((first - second) / 2)) * 100.0)


cdef inline int64_t balance_gain(
    int64_t cpu, int64_t cpu_used, int64_t cpu_capacity,
    int64_t memory, int64_t memory_used, int64_t memory_capacity,
) noexcept nogil:
    """What the pod does to the balance, on 25..100 (never negative before the division: C truncates too)."""
    cdef int64_t after = balance(cpu_used + cpu, cpu_capacity, memory_used + memory, memory_capacity)
    cdef int64_t before = balance(cpu_used, cpu_capacity, memory_used, memory_capacity)
    cdef int64_t gain = 50 + after - before
    return 50 + (gain // 2 if gain >= 0 else -((-gain) // 2))
