"""Many pods of one template in one call: sample, score, choose, assume, again.

The result is what one decision after the other gives, because each decision sees the arrays that the one
before it left. What a placed pod changes is one row, and one domain of each counter of neighbours, so a decision
costs the sampled nodes only.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from coxswain._native.chance cimport below
from coxswain._native.neighbours cimport Neighbours, lets_in
from coxswain._native.resources cimport allocation_score, balance_gain, fit_code


def schedule(
    Py_ssize_t pods,  # IN  how many to place
    const int64_t[:, ::1] allocatable,  # IN  [resource, node]
    int64_t[:, ::1] requested,  # IN/OUT
    int64_t[:, ::1] nonzero,  # IN/OUT [2, node]
    const int32_t[::1] ids,  # IN  resources asked for (with pods)
    const int64_t[::1] amounts,  # IN
    const int64_t[::1] ask,  # IN  [cpu, memory, cpu with defaults, memory with defaults]
    uint8_t[::1] rejected,  # IN/OUT [node] 0 is feasible, 255 is NodeResourcesFit's
    int64_t[::1] base,  # IN/OUT [node] weighted sum of the scores that need no normalization
    const int64_t[::1] image,  # IN  [node] the part of base that never changes (weighted)
    const int64_t[::1] taints,  # IN  [node] PreferNoSchedule taints not tolerated; may be empty: all 0
    const int64_t[::1] affinity,  # IN  [node] preferred weights; may be empty: plugin skipped
    const int64_t[::1] weights,  # IN  [taints, affinity, fit, balanced]; balanced 0 when skipped
    bint most,  # IN  MostAllocated instead of LeastAllocated
    const int32_t[::1] order,  # IN  rows, zones interleaved
    Py_ssize_t start,  # IN
    Py_ssize_t wanted,  # IN
    uint64_t[::1] state,  # IN/OUT tie-break generator
    int32_t[::1] rows,  # scratch, at least `wanted` long
    int32_t[::1] chosen,  # OUT the row of each pod, -1 from the first that fits nowhere
    Neighbours neighbours=None,  # IN/OUT what pods on other nodes mean; None: nothing
) -> tuple[int, int]:
    """(pods placed, where the next search starts). ``chosen[placed]`` failed if ``placed < pods``."""
    cdef Py_ssize_t n = order.shape[0], stride = allocatable.shape[1], count = ids.shape[0]
    cdef Py_ssize_t placed = 0, seen, found, at = start, i, best
    cdef int64_t top_taint, top_affinity, total, top
    cdef bint has_taints = taints.shape[0] > 0, has_affinity = affinity.shape[0] > 0
    cdef uint64_t chance = state[0]
    cdef int ties
    cdef int32_t row
    cdef bint minds = neighbours is not None
    if n == 0 or count == 0:
        return 0, start
    if minds:
        neighbours.prepare(wanted)
    with nogil:
        while placed < pods:
            seen = found = 0
            top_taint = top_affinity = 0
            while seen < n and found < wanted:
                row = order[at]
                at += 1
                if at == n:
                    at = 0
                seen += 1
                if rejected[row] == 0 and (
                    not minds or lets_in(neighbours.counters, neighbours.filters, neighbours.anybody, row)
                ):
                    rows[found] = row
                    found += 1
                    if has_taints and taints[row] > top_taint:
                        top_taint = taints[row]
                    if has_affinity and affinity[row] > top_affinity:
                        top_affinity = affinity[row]
            if found == 0:
                chosen[placed] = -1
                break
            best = -1
            top = 0
            ties = 0
            if minds and neighbours.scores and found > 1:
                neighbours.weigh(&rows[0], found)
            for i in range(found):
                row = rows[i]
                total = base[row]
                if minds and neighbours.scores and found > 1:
                    total += neighbours.score(i)
                if top_taint:
                    total += weights[0] * (100 - 100 * taints[row] // top_taint)
                if top_affinity:
                    total += weights[1] * (100 * affinity[row] // top_affinity)
                if best < 0 or total > top:
                    best, top, ties = i, total, 1
                elif total == top:
                    ties += 1
                    if below(&chance, ties) == 0:
                        best = i
            row = rows[best]
            chosen[placed] = row
            placed += 1
            if minds:
                neighbours.place(row)
            for i in range(count):
                requested[ids[i], row] += amounts[i]
            nonzero[0, row] += ask[2]
            nonzero[1, row] += ask[3]
            if fit_code(&allocatable[0, 0], &requested[0, 0], stride, row, &ids[0], &amounts[0], count):
                rejected[row] = 255
            base[row] = image[row] + weights[2] * allocation_score(
                most, nonzero[0, row] + ask[2], allocatable[0, row], nonzero[1, row] + ask[3],
                allocatable[1, row], 1, 1,
            )
            if weights[3]:
                base[row] += weights[3] * balance_gain(
                    ask[0], requested[0, row], allocatable[0, row], ask[1], requested[1, row], allocatable[1, row]
                )
    state[0] = chance
    return placed, at
