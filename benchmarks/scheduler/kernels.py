"""The kernels alone, over 5,000 nodes."""

from __future__ import annotations

import numpy as np

from coxswain._native import filters, sampling, scores

NODES = 5000


class Kernels:
    """One pass over all nodes."""

    def setup(self) -> None:
        rng = np.random.default_rng(1)
        self.allocatable = rng.integers(1, 10**6, (6, NODES))
        self.requested = self.allocatable // 2
        self.nonzero = np.ascontiguousarray(self.requested[:2])
        self.rows = np.arange(NODES, dtype=np.int32)
        self.ids = np.array([0, 1, 3], np.int32)
        self.amounts = np.array([100, 200, 1], np.int64)
        self.codes = np.zeros(NODES, np.uint8)
        self.out = np.empty(NODES, np.int64)
        self.state = np.array([1], np.uint64)
        self.time_fit()
        free = self.allocatable[self.ids] - self.requested[self.ids]
        assert ((self.codes == 0) == (self.amounts[:, None] <= free).all(axis=0)).all()

    def time_fit(self) -> None:
        filters.fit(self.allocatable, self.requested, self.ids, self.amounts, self.rows, self.codes)

    def time_least_allocated(self) -> None:
        scores.allocation(self.allocatable, self.nonzero, 100, 200, False, 1, 1, self.rows, self.out)

    def time_balanced_allocation(self) -> None:
        scores.balanced(self.allocatable, self.requested, 100, 200, self.rows, self.out)

    def time_sample_and_choose(self) -> None:
        found, _ = sampling.sample(self.codes, self.rows, 17, 500, np.empty(500, np.int32))
        sampling.choose(self.out[:found], self.state)
