"""The first pod of a template, placed in one pass over the nodes: filter, sample, score, choose, count.

Nothing is kept for the template, because most templates of a cluster whose pods all differ are never seen
again. What follows from the nodes alone (taints, node affinity, images) is shared by templates that agree in it.
The result is that of ``batch.schedule`` for one pod.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from coxswain._native.chance cimport below
from coxswain._native.resources cimport allocation_score, balance_gain, fit_code


def place(
    const int64_t[:, ::1] allocatable,  # IN  [resource, node]
    int64_t[:, ::1] requested,  # IN/OUT
    int64_t[:, ::1] nonzero,  # IN/OUT [2, node]
    const int32_t[::1] ids,  # IN  resources asked for (with pods)
    const int64_t[::1] amounts,  # IN
    const int64_t[::1] ask,  # IN  [cpu, memory, cpu with defaults, memory with defaults]
    const uint8_t[::1] rejected,  # IN  [node] 0: nothing about the node itself keeps the pod off
    const int64_t[::1] image,  # IN  [node] weighted scores that need no normalization
    const int64_t[::1] taints,  # IN  [node] PreferNoSchedule taints not tolerated; may be empty: all 0
    const int64_t[::1] affinity,  # IN  [node] preferred weights; may be empty: plugin skipped
    const int64_t[::1] weights,  # IN  [taints, affinity, fit, balanced]; balanced 0 when skipped
    bint most,  # IN  MostAllocated instead of LeastAllocated
    const int32_t[::1] order,  # IN  rows, zones interleaved
    Py_ssize_t start,  # IN
    Py_ssize_t wanted,  # IN
    uint64_t[::1] state,  # IN/OUT tie-break generator
    int32_t[::1] rows,  # scratch, at least `wanted` long
    int64_t[::1] totals,  # scratch, at least `wanted` long
) -> tuple[int, int]:
    """(the row where the pod is counted now, where the next search starts); row -1 if it fits nowhere."""
    cdef Py_ssize_t n = order.shape[0], stride = allocatable.shape[1], count = ids.shape[0]
    cdef Py_ssize_t seen = 0, found = 0, at = start, i
    cdef int64_t top_taint = 0, top_affinity = 0, total, top = 0
    cdef bint has_taints = taints.shape[0] > 0, has_affinity = affinity.shape[0] > 0
    cdef uint64_t chance = state[0]
    cdef int64_t fit_weight = weights[2], balance_weight = weights[3]
    cdef int64_t cpu = ask[0], memory = ask[1], cpu_default = ask[2], memory_default = ask[3]
    cdef int ties = 0
    cdef int32_t row, best = -1
    if n == 0 or count == 0:
        return -1, start
    cdef const int64_t* has = &allocatable[0, 0]
    cdef const int64_t* used = &requested[0, 0]
    cdef const int64_t* counted = &nonzero[0, 0]
    with nogil:
        while seen < n and found < wanted:
            row = order[at]
            at += 1
            if at == n:
                at = 0
            seen += 1
            if rejected[row] or fit_code(has, used, stride, row, &ids[0], &amounts[0], count):
                continue
            # Scored at once, while the row's numbers are at hand; what needs all rows is added below.
            total = image[row] + fit_weight * allocation_score(
                most, counted[row] + cpu_default, has[row], counted[stride + row] + memory_default,
                has[stride + row], 1, 1,
            )
            if balance_weight:
                total += balance_weight * balance_gain(
                    cpu, used[row], has[row], memory, used[stride + row], has[stride + row]
                )
            rows[found] = row
            totals[found] = total
            found += 1
            if has_taints and taints[row] > top_taint:
                top_taint = taints[row]
            if has_affinity and affinity[row] > top_affinity:
                top_affinity = affinity[row]
        for i in range(found):
            row = rows[i]
            total = totals[i]
            if top_taint:
                total += weights[0] * (100 - 100 * taints[row] // top_taint)
            if top_affinity:
                total += weights[1] * (100 * affinity[row] // top_affinity)
            if best < 0 or total > top:
                best, top, ties = row, total, 1
            elif total == top:
                ties += 1
                if below(&chance, ties) == 0:
                    best = row
        if best >= 0:
            for i in range(count):
                requested[ids[i], best] += amounts[i]
            nonzero[0, best] += cpu_default
            nonzero[1, best] += memory_default
    state[0] = chance
    return best, at
