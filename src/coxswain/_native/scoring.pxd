# What a pod of one template is worth on a node, and what it takes there: each rule once, for the kernels that place.
from libc.stdint cimport int32_t, int64_t

from coxswain._native.resources cimport allocation_score, balance_gain


cdef struct Ask:
    int64_t cpu, memory  # really asked for
    int64_t cpu_default, memory_default  # with defaults for containers that ask for nothing


cdef struct Weights:
    int64_t taints, affinity, fit, balance  # 0: the plugin is skipped
    bint most  # MostAllocated instead of LeastAllocated


cdef inline Ask ask_of(const int64_t* ask) noexcept nogil:
    cdef Ask found
    found.cpu, found.memory, found.cpu_default, found.memory_default = ask[0], ask[1], ask[2], ask[3]
    return found


cdef inline Weights weights_of(const int64_t* weights, bint most) noexcept nogil:
    cdef Weights found
    found.taints, found.affinity, found.fit, found.balance = weights[0], weights[1], weights[2], weights[3]
    found.most = most
    return found


cdef inline int64_t own_score(
    Ask ask, Weights weights, const int64_t* allocatable, const int64_t* requested, const int64_t* nonzero,
    Py_ssize_t stride, Py_ssize_t row,
) noexcept nogil:
    """The weighted scores that follow from the row's resources alone: NodeResourcesFit, BalancedAllocation."""
    cdef int64_t total = weights.fit * allocation_score(
        weights.most, nonzero[row] + ask.cpu_default, allocatable[row], nonzero[stride + row] + ask.memory_default,
        allocatable[stride + row], 1, 1,
    )
    if weights.balance:
        total += weights.balance * balance_gain(
            ask.cpu, requested[row], allocatable[row], ask.memory, requested[stride + row], allocatable[stride + row]
        )
    return total


cdef inline int64_t among(
    Weights weights, int64_t taints, int64_t top_taint, int64_t affinity, int64_t top_affinity
) noexcept nogil:
    """The weighted scores that need the largest raw score of all feasible rows: TaintToleration, NodeAffinity."""
    cdef int64_t total = 0
    if top_taint:
        total += weights.taints * (100 - 100 * taints // top_taint)
    if top_affinity:
        total += weights.affinity * (100 * affinity // top_affinity)
    return total


cdef inline void count_pod(
    int64_t* requested, int64_t* nonzero, Py_ssize_t stride, Py_ssize_t row, const int32_t* ids,
    const int64_t* amounts, Py_ssize_t count, Ask ask, int64_t sign,
) noexcept nogil:
    """A pod comes to a row (sign 1) or leaves it (-1)."""
    cdef Py_ssize_t i
    for i in range(count):
        requested[ids[i] * stride + row] += sign * amounts[i]
    nonzero[row] += sign * ask.cpu_default
    nonzero[stride + row] += sign * ask.memory_default
