# Pods on other nodes, as counters by topology domain, and what a decision reads of them. C structs, so that looking
# at a node needs no Python object. `look` and `hold` may differ: a node can be in a domain without its pods counting.
from libc.stdint cimport int32_t, int64_t, uint8_t

cdef enum:
    APART = 0   # no pod may be in the domain
    NEAR = 1    # one must be
    SKEW = 2    # no more than `skew` above the emptiest domain, with this pod
    SPREAD = 3  # fewer are better
    PULL = 4    # a larger count is better


cdef struct Counter:
    int kind
    const int32_t* look      # [node] the domain, -1 for none
    const int32_t* hold      # [node] the domain in which pods there count, -1 for none
    int64_t* counts          # [domain]
    const uint8_t* present   # [domain] SKEW: whether it takes part in the minimum
    Py_ssize_t domains
    int64_t gain             # what one more pod of the template adds
    int64_t skew             # SKEW, SPREAD: maxSkew
    int64_t itself           # SKEW: 1 if the pod counts itself
    int64_t at_least         # SKEW: with fewer domains than these the minimum is 0
    bint by_node             # SPREAD: counts are of single nodes, and so are sizes
    int64_t least            # SKEW: the minimum
    Py_ssize_t with_least    # SKEW: in how many domains; 0: the minimum stays 0
    int32_t* stamps          # [domain] SPREAD: the decision that last met the domain
    double factor            # SPREAD: log(size + 2)


cdef inline void find_least(Counter* counter) noexcept nogil:
    cdef Py_ssize_t i, present = 0
    cdef int64_t count
    counter.least = 0
    counter.with_least = 0
    for i in range(counter.domains):
        if counter.present[i]:
            present += 1
            count = counter.counts[i]
            if counter.with_least == 0 or count < counter.least:
                counter.least = count
                counter.with_least = 1
            elif count == counter.least:
                counter.with_least += 1
    if present < counter.at_least:
        counter.least = 0
        counter.with_least = 0


cdef inline bint lets_in(const Counter* counters, Py_ssize_t filters, bint anybody, int32_t row) noexcept nogil:
    """Whether those that filter (the first ones) let the pod run on a node; `anybody`: NEAR has to be met."""
    cdef Py_ssize_t i
    cdef int32_t domain
    for i in range(filters):
        domain = counters[i].look[row]
        if counters[i].kind == APART:
            if domain >= 0 and counters[i].counts[domain] > 0:
                return False
        elif domain < 0:
            return False
        elif counters[i].kind == NEAR:
            if anybody and counters[i].counts[domain] <= 0:
                return False
        elif counters[i].counts[domain] + counters[i].itself - counters[i].least > counters[i].skew:
            return False
    return True


cdef class Neighbours:
    cdef Counter* counters   # APART, NEAR and SKEW before the others
    cdef Py_ssize_t size
    cdef Py_ssize_t nodes    # so many rows every counter knows
    cdef Py_ssize_t filters
    cdef bint scores         # whether any SPREAD or PULL is among them
    cdef bint spreads
    cdef bint every_key      # a node that lacks a key of SPREAD is left out of it
    cdef bint first_anywhere  # NEAR: the pod means itself, so the first one may go anywhere
    cdef bint anybody
    cdef int64_t spread_weight
    cdef int64_t pull_weight
    cdef int32_t stamp
    cdef int64_t* spread     # scratch: scores of the sampled nodes
    cdef int64_t* pull
    cdef Py_ssize_t room
    cdef int64_t least_spread
    cdef int64_t most_spread  # -1: no node is scored
    cdef int64_t least_pull
    cdef int64_t most_pull
    cdef list _kept          # arrays that the pointers look into

    cdef int prepare(self, Py_ssize_t wanted) except -1
    cdef void weigh(self, const int32_t* rows, Py_ssize_t found) noexcept nogil
    cdef void _measure(self, const int32_t* rows, Py_ssize_t found) noexcept nogil
    cdef int64_t score(self, Py_ssize_t at) noexcept nogil
    cdef void place(self, int32_t row) noexcept nogil
