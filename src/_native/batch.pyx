"""Many pods of one template in one call: sample, score, choose, assume, again.

The result is what one decision after the other gives, because each decision sees the arrays that the one
before it left. What a placed pod changes is one row, and one domain of each counter of neighbours, so a decision
costs the sampled nodes only.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from coxswain._native.chance cimport Best, nobody, offer
from coxswain._native.neighbours cimport Neighbours, lets_in
from coxswain._native.resources cimport fit_code
from coxswain._native.scoring cimport Ask, Weights, among, ask_of, count_pod, own_score, weights_of
from coxswain._native.shapes cimport needs, needs_ask, needs_start, needs_table


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
    cdef Py_ssize_t placed = 0, seen, found, at = start, i
    cdef int64_t top_taint, top_affinity, total
    cdef bint has_taints = taints.shape[0] > 0, has_affinity = affinity.shape[0] > 0
    cdef uint64_t chance = state[0]
    cdef Best best
    cdef int32_t row
    cdef bint minds = neighbours is not None
    if n == 0 or count == 0:
        return 0, start
    needs_table(allocatable, requested, nonzero)
    needs_ask(ids, amounts, ask, allocatable.shape[0])
    needs_start(start, n)
    needs(rows.shape[0], min(wanted, n))
    needs(chosen.shape[0], pods)
    needs(min(rejected.shape[0], base.shape[0], image.shape[0]), stride)
    needs(taints.shape[0], stride if has_taints else 0)
    needs(affinity.shape[0], stride if has_affinity else 0)
    needs(weights.shape[0], 4)
    if minds:
        needs(neighbours.nodes, stride)
    cdef Ask asked = ask_of(&ask[0])
    cdef Weights weigh = weights_of(&weights[0], most)
    cdef const int64_t* has = &allocatable[0, 0]
    cdef int64_t* used = &requested[0, 0]
    cdef int64_t* counted = &nonzero[0, 0]
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
            best = nobody()
            if minds and neighbours.scores and found > 1:
                neighbours.weigh(&rows[0], found)
            for i in range(found):
                row = rows[i]
                total = base[row]
                if minds and neighbours.scores and found > 1:
                    total += neighbours.score(i)
                total += among(
                    weigh,
                    taints[row] if top_taint else 0,
                    top_taint,
                    affinity[row] if top_affinity else 0,
                    top_affinity,
                )
                offer(&best, i, total, &chance)
            row = rows[best.at]
            chosen[placed] = row
            placed += 1
            if minds:
                neighbours.place(row)
            count_pod(used, counted, stride, row, &ids[0], &amounts[0], count, asked, 1)
            if fit_code(has, used, stride, row, &ids[0], &amounts[0], count):
                rejected[row] = 255
            base[row] = image[row] + own_score(asked, weigh, has, used, counted, stride, row)
    state[0] = chance
    return placed, at
