"""Scores over the node table: int64, 0..100 for each node, and their normalization.

Every kernel takes ``rows`` (the nodes to score) and writes ``out[i]`` for ``rows[i]``.
"""
from libc.stdint cimport int32_t, int64_t

from coxswain._native.resources cimport allocation_score, balance_gain
from coxswain._native.shapes cimport needs


def allocation(
    const int64_t[:, ::1] allocatable,  # IN  [resource, node]; 0 is cpu (milli), 1 memory (bytes)
    const int64_t[:, ::1] nonzero,  # IN  [2, node]: requested, with defaults for containers that ask nothing
    int64_t cpu,
    int64_t memory,  # IN  the pod's, with the same defaults
    bint most,  # IN  MostAllocated instead of LeastAllocated
    int64_t cpu_weight,
    int64_t memory_weight,
    const int32_t[::1] rows,
    int64_t[::1] out,  # OUT
):
    """NodeResourcesFit's LeastAllocated and MostAllocated over cpu and memory."""
    cdef Py_ssize_t i, row
    needs(out.shape[0], rows.shape[0])
    with nogil:
        for i in range(rows.shape[0]):
            row = rows[i]
            out[i] = allocation_score(
                most, nonzero[0, row] + cpu, allocatable[0, row], nonzero[1, row] + memory,
                allocatable[1, row], cpu_weight, memory_weight,
            )


def balanced(
    const int64_t[:, ::1] allocatable,
    const int64_t[:, ::1] requested,
    int64_t cpu,
    int64_t memory,  # IN  the pod's real requests
    const int32_t[::1] rows,
    int64_t[::1] out,  # OUT
):
    """NodeResourcesBalancedAllocation over cpu and memory."""
    cdef Py_ssize_t i, row
    needs(out.shape[0], rows.shape[0])
    with nogil:
        for i in range(rows.shape[0]):
            row = rows[i]
            out[i] = balance_gain(
                cpu, requested[0, row], allocatable[0, row], memory, requested[1, row], allocatable[1, row]
            )


def normalize(int64_t[::1] scores, bint reverse):
    """kube-scheduler's DefaultNormalizeScore in place: the largest becomes 100 (reversed: 0)."""
    cdef Py_ssize_t i
    cdef int64_t top = 0, value
    with nogil:
        for i in range(scores.shape[0]):
            if scores[i] > top:
                top = scores[i]
        if top == 0:
            if reverse:
                for i in range(scores.shape[0]):
                    scores[i] = 100
        else:
            for i in range(scores.shape[0]):
                value = 100 * scores[i] // top
                scores[i] = 100 - value if reverse else value
