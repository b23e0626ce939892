"""Which nodes to look at, and which of the best to take: kube-scheduler's sampling and its tie-break."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from coxswain._native.chance cimport Best, nobody, offer
from coxswain._native.shapes cimport needs, needs_start


def sample(
    const uint8_t[::1] rejected,  # IN  [node] 0 is feasible
    const int32_t[::1] order,  # IN  rows, zones interleaved
    Py_ssize_t start,  # IN  position in order of the first node to look at
    Py_ssize_t wanted,  # IN  stop after so many feasible nodes
    int32_t[::1] rows,  # OUT the feasible ones, in the order seen; at least `wanted` long
) -> tuple[int, int]:
    """(feasible nodes found, nodes looked at), going round ``order`` once at most."""
    cdef Py_ssize_t n = order.shape[0], seen = 0, found = 0, at = start
    cdef int32_t row
    if n:
        needs_start(start, n)
        needs(rows.shape[0], min(wanted, n))
    with nogil:
        while seen < n and found < wanted:
            row = order[at]
            at += 1
            if at == n:
                at = 0
            seen += 1
            if rejected[row] == 0:
                rows[found] = row
                found += 1
    return found, seen


def choose(const int64_t[::1] totals, uint64_t[::1] state) -> int:
    """Index of the largest total; among equals each is as likely (reservoir over ``state``); -1 if empty."""
    cdef Py_ssize_t i
    cdef Best best = nobody()
    cdef uint64_t chance = state[0]
    with nogil:
        for i in range(totals.shape[0]):
            offer(&best, i, totals[i], &chance)
    state[0] = chance
    return best.at
