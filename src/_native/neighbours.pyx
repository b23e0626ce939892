"""Pods on other nodes as the batch kernel reads them: counters by topology domain, kept while it places pods.

Five kinds of counter stand for everything that topology spreading and pod affinity ask (see ``neighbours.pxd``).
Scores and their normalization are those of the plugins, to the bit: the same doubles in the same order.
"""
from libc.math cimport floor, log
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, realloc


cdef int _check_domains(const int32_t[::1] rows, Py_ssize_t domains) except -1:
    """The domains of rows are below so many."""
    cdef Py_ssize_t i
    cdef int32_t top = -1
    for i in range(rows.shape[0]):
        top = rows[i] if rows[i] > top else top
    if top >= domains:
        raise ValueError(f"domain {top} of {domains}")
    return 0


cdef class Neighbours:
    """The counters of one template. They change in place: with the pods that the kernel places, and by the caller."""

    def __cinit__(
        self, list counters, bint every_key, bint first_anywhere, int64_t spread_weight, int64_t pull_weight
    ):
        """``counters``: (kind, look, hold, counts, present, gain, skew, itself, at_least, by_node), filters first."""
        cdef Py_ssize_t i
        cdef Counter* counter
        cdef const int32_t[::1] look, hold
        cdef int64_t[::1] counts
        cdef const uint8_t[::1] present
        self.size = len(counters)
        self.every_key = every_key
        self.first_anywhere = first_anywhere
        self.spread_weight = spread_weight
        self.pull_weight = pull_weight
        self._kept = []
        self.counters = <Counter*>calloc(max(self.size, 1), sizeof(Counter))
        if self.counters == NULL:
            raise MemoryError
        for i in range(self.size):
            counter = &self.counters[i]
            (counter.kind, look, hold, counts, present, counter.gain, counter.skew, counter.itself,
             counter.at_least, counter.by_node) = counters[i]
            self._kept.append((look, hold, counts, present))
            if look.shape[0] == 0 or look.shape[0] != hold.shape[0]:
                raise ValueError("a counter without nodes")
            if not APART <= counter.kind <= PULL:
                raise ValueError(f"no counter is of kind {counter.kind}")
            self.nodes = look.shape[0] if i == 0 else min(self.nodes, look.shape[0])
            _check_domains(hold, counts.shape[0])
            if not counter.by_node:
                _check_domains(look, counts.shape[0])
            elif counts.shape[0] < look.shape[0]:
                raise ValueError("fewer counts than nodes")
            counter.look, counter.hold = &look[0], &hold[0]
            # Without domains no node is in one: the pointers stay null, and nobody follows them.
            counter.domains = counts.shape[0]
            if counter.domains:
                counter.counts = &counts[0]
            if counter.kind == SKEW:
                if present.shape[0] != counter.domains:
                    raise ValueError("a domain that is neither present nor absent")
                if counter.domains:
                    counter.present = &present[0]
            if counter.kind < SPREAD:
                if self.filters != i:
                    raise ValueError("counters that filter come first")
                self.filters += 1
            elif counter.kind == SPREAD:
                self.spreads = True
                counter.stamps = <int32_t*>calloc(max(counter.domains, 1), sizeof(int32_t))
                if counter.stamps == NULL:
                    raise MemoryError
        self.scores = self.size > self.filters

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.counters != NULL:
            for i in range(self.size):
                free(self.counters[i].stamps)
        free(self.counters)
        free(self.spread)
        free(self.pull)

    cdef int prepare(self, Py_ssize_t wanted) except -1:
        """Ready for decisions about at most ``wanted`` nodes each; the counters may have been changed from outside."""
        cdef Py_ssize_t i, domain
        cdef Counter* counter
        cdef int64_t* larger
        self.anybody = not self.first_anywhere
        for i in range(self.filters):
            counter = &self.counters[i]
            if counter.kind == SKEW:
                find_least(counter)
            elif counter.kind == NEAR and not self.anybody:
                for domain in range(counter.domains):
                    if counter.counts[domain] > 0:
                        self.anybody = True
                        break
        if self.scores and self.room < wanted:
            larger = <int64_t*>realloc(self.spread, wanted * sizeof(int64_t))
            if larger == NULL:
                raise MemoryError
            self.spread = larger
            larger = <int64_t*>realloc(self.pull, wanted * sizeof(int64_t))
            if larger == NULL:
                raise MemoryError
            self.pull = larger
            self.room = wanted
        return 0

    cdef void weigh(self, const int32_t* rows, Py_ssize_t found) noexcept nogil:
        """Score the feasible nodes."""
        cdef Py_ssize_t i, j, size
        cdef Counter* counter
        cdef int32_t domain
        cdef double total
        cdef int64_t pulled
        self.least_pull = self.most_pull = self.least_spread = 0
        self.most_spread = -1
        if self.spreads:
            self._measure(rows, found)
        for i in range(found):
            total = 0.0
            pulled = 0
            for j in range(self.filters, self.size):
                counter = &self.counters[j]
                domain = counter.look[rows[i]]
                if domain < 0:
                    continue
                if counter.kind == PULL:
                    pulled += counter.counts[domain]
                else:
                    if counter.by_node:
                        domain = rows[i]
                    total += counter.counts[domain] * counter.factor + (counter.skew - 1)
            self.pull[i] = pulled
            if i == 0 or pulled < self.least_pull:
                self.least_pull = pulled
            if i == 0 or pulled > self.most_pull:
                self.most_pull = pulled
            if self.spreads and self.spread[i] >= 0:
                # Go rounds halves away from zero; scores are never negative.
                self.spread[i] = <int64_t>floor(total + 0.5)
                if self.most_spread < 0 or self.spread[i] < self.least_spread:
                    self.least_spread = self.spread[i]
                if self.spread[i] > self.most_spread:
                    self.most_spread = self.spread[i]

    cdef void _measure(self, const int32_t* rows, Py_ssize_t found) noexcept nogil:
        """Which nodes are scored (``spread`` 0, else -1), and how many domains of each key they are in."""
        cdef Py_ssize_t i, j, size, scored = 0
        cdef Counter* counter
        cdef int32_t domain
        cdef bint lacking
        for i in range(found):
            self.spread[i] = 0
            if self.every_key:
                for j in range(self.filters, self.size):
                    if self.counters[j].kind == SPREAD and self.counters[j].look[rows[i]] < 0:
                        self.spread[i] = -1
                        break
            scored += self.spread[i] == 0
        self.stamp += 1
        for j in range(self.filters, self.size):
            counter = &self.counters[j]
            if counter.kind != SPREAD:
                continue
            size = scored
            if not counter.by_node:
                size = 0
                lacking = False
                for i in range(found):
                    if self.spread[i] < 0:
                        continue
                    domain = counter.look[rows[i]]
                    if domain < 0:
                        lacking = True
                    elif counter.stamps[domain] != self.stamp:
                        counter.stamps[domain] = self.stamp
                        size += 1
                size += lacking
            counter.factor = log(<double>(size + 2))

    cdef int64_t score(self, Py_ssize_t at) noexcept nogil:
        """The normalized, weighted score of the node that ``weigh`` saw at this place."""
        cdef int64_t total = 0
        if self.spreads and self.spread[at] >= 0:
            if self.most_spread == 0:
                total += self.spread_weight * 100
            else:
                total += self.spread_weight * (
                    100 * (self.most_spread + self.least_spread - self.spread[at]) // self.most_spread
                )
        if self.most_pull != self.least_pull:
            total += self.pull_weight * <int64_t>(
                100.0 * (<double>(self.pull[at] - self.least_pull) / <double>(self.most_pull - self.least_pull))
            )
        return total

    cdef void place(self, int32_t row) noexcept nogil:
        """Count one more pod of the template."""
        cdef Py_ssize_t i
        cdef Counter* counter
        cdef int32_t domain
        for i in range(self.size):
            counter = &self.counters[i]
            domain = counter.hold[row]
            if domain < 0 or counter.gain == 0:
                continue
            counter.counts[domain] += counter.gain
            if counter.kind == NEAR:
                self.anybody = True
            elif counter.kind == SKEW and counter.with_least and counter.present[domain]:
                if counter.counts[domain] == counter.least + 1:
                    counter.with_least -= 1
                    if counter.with_least == 0:
                        find_least(counter)
