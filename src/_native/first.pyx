"""The first pod of a template, placed in one pass over the nodes: filter, sample, score, choose, count.

Nothing is kept for the template, because most templates of a cluster whose pods all differ are never seen
again. What follows from the nodes alone (taints, node affinity, images) is shared by templates that agree in it.
The result is that of ``batch.schedule`` for one pod.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from coxswain._native.chance cimport Best, nobody, offer
from coxswain._native.resources cimport fit_code
from coxswain._native.scoring cimport Ask, Weights, among, ask_of, count_pod, own_score, weights_of
from coxswain._native.shapes cimport needs, needs_ask, needs_start, needs_table


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
    cdef int64_t top_taint = 0, top_affinity = 0
    cdef bint has_taints = taints.shape[0] > 0, has_affinity = affinity.shape[0] > 0
    cdef uint64_t chance = state[0]
    cdef Best best = nobody()
    cdef int32_t row
    if n == 0 or count == 0:
        return -1, start
    needs_table(allocatable, requested, nonzero)
    needs_ask(ids, amounts, ask, allocatable.shape[0])
    needs_start(start, n)
    needs(min(rows.shape[0], totals.shape[0]), min(wanted, n))
    needs(min(rejected.shape[0], image.shape[0]), stride)
    needs(taints.shape[0], stride if has_taints else 0)
    needs(affinity.shape[0], stride if has_affinity else 0)
    needs(weights.shape[0], 4)
    cdef Ask asked = ask_of(&ask[0])
    cdef Weights weigh = weights_of(&weights[0], most)
    cdef const int64_t* has = &allocatable[0, 0]
    cdef int64_t* used = &requested[0, 0]
    cdef int64_t* counted = &nonzero[0, 0]
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
            rows[found] = row
            totals[found] = image[row] + own_score(asked, weigh, has, used, counted, stride, row)
            found += 1
            if has_taints and taints[row] > top_taint:
                top_taint = taints[row]
            if has_affinity and affinity[row] > top_affinity:
                top_affinity = affinity[row]
        for i in range(found):
            row = rows[i]
            offer(
                &best,
                row,
                totals[i] + among(
                    weigh,
                    taints[row] if top_taint else 0,
                    top_taint,
                    affinity[row] if top_affinity else 0,
                    top_affinity,
                ),
                &chance,
            )
        if best.at >= 0:
            count_pod(used, counted, stride, best.at, &ids[0], &amounts[0], count, asked, 1)
    state[0] = chance
    return best.at, at
