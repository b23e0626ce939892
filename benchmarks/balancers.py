"""IPVS's balancers: selections one by one and in batches, Maglev tables, changes among many services."""

from __future__ import annotations

import numpy as np

from coxswain._native.balance_hash import Maglev
from coxswain.proxy.balancers import ALGORITHMS, Endpoint, Service, ServiceTable, make

ENDPOINTS = 300
SELECTIONS = 100_000


def _filled(algorithm: str, endpoints: int = ENDPOINTS, table_size: int | None = None):
    balancer = make(algorithm, table_size=table_size)
    for i in range(endpoints):
        balancer.add(0x0A000000 + i, 8080)
    return balancer


class OneByOne:
    """100,000 selections, each a call from Python."""

    params = (tuple(ALGORITHMS),)
    param_names = ("algorithm",)

    def setup(self, algorithm: str) -> None:
        self.balancer = _filled(algorithm)
        numbers = {self.balancer.select(i, i, i) for i in range(20_000)}
        assert min(numbers) > 0
        # What looks at connections has none here: it stays with the first.
        assert len(numbers) >= {"rr": ENDPOINTS, "wrr": ENDPOINTS, "mh": ENDPOINTS, "dh": 250, "sh": 250}.get(
            algorithm, 1
        )

    def time_100000_selections(self, algorithm: str) -> None:
        select = self.balancer.select
        for i in range(SELECTIONS):
            select(i, 0, i)


class Batches:
    """100,000 selections in one call; least-connection algorithms count each before the next."""

    params = (tuple(ALGORITHMS),)
    param_names = ("algorithm",)

    def setup(self, algorithm: str) -> None:
        self.balancer = _filled(algorithm)
        self.connect = algorithm in ("lc", "wlc", "sed", "nq")
        rng = np.random.default_rng(1)
        self.sources = rng.integers(0, 1 << 32, SELECTIONS, np.uint64)
        self.out = np.empty(SELECTIONS, np.int32)
        self.time_100000_selections(algorithm)
        counts = np.bincount(self.out, minlength=ENDPOINTS + 1)
        assert counts[0] == 0
        if algorithm in ("rr", "wrr", "lc", "wlc", "sed", "nq"):
            assert counts[1:].max() - counts[1:].min() <= 1

    def time_100000_selections(self, algorithm: str) -> None:
        self.balancer.select_many(self.out, self.sources, destinations=self.sources, connect=self.connect)


class MaglevTables:
    """Building the lookup table of 300 endpoints."""

    params = (65537, 655373)
    param_names = ("table_size",)

    def setup(self, table_size: int) -> None:
        self.balancer = _filled("mh", table_size=table_size)
        assert isinstance(self.balancer, Maglev)
        shares = np.bincount(self.balancer.lookup(), minlength=ENDPOINTS + 1)[1:]
        assert shares.sum() == table_size
        assert shares.max() * ENDPOINTS / table_size <= 1.01

    def time_build(self, table_size: int) -> None:
        self.balancer.reweight(1, 1)
        self.balancer.select()


class Quality:
    """How even Maglev's table is, and what of it moves when an endpoint goes."""

    params = ((65537, 655373), (10, 300, 1000))
    param_names = ("table_size", "endpoints")
    unit = "%"
    timeout = 120

    def track_imbalance(self, table_size: int, endpoints: int) -> float:
        """By how much the largest share is above the average."""
        shares = np.bincount(_filled("mh", endpoints, table_size).lookup(), minlength=endpoints + 1)[1:]
        assert shares.sum() == table_size
        return float((shares.max() * endpoints / table_size - 1) * 100)

    def track_disruption(self, table_size: int, endpoints: int) -> float:
        """Of the entries that need not move when one endpoint goes, those that do."""
        balancer = _filled("mh", endpoints, table_size)
        before = balancer.lookup().copy()
        balancer.remove(1)
        after = balancer.lookup()
        assert not (after == 1).any()
        stay = before != 1
        return float((before[stay] != after[stay]).mean() * 100)


class ManyServices:
    """30,000 services of three endpoints: one endpoint goes and comes back."""

    params = ("rr", "wrr", "sh")
    param_names = ("algorithm",)
    timeout = 120

    def setup(self, algorithm: str) -> None:
        self.table = ServiceTable()
        for i in range(30_000):
            self.table.set_service(i, Service(algorithm))
            self.table.set_endpoints(i, [Endpoint(f"10.0.{i % 256}.{k}", 80) for k in (1, 2, 3)])
        assert len(self.table) == 30_000
        assert self.table.select(29_999, "192.0.2.1", 1, 0.0) is not None

    def time_change_one_endpoint(self, algorithm: str) -> None:
        self.table.remove_endpoint(15_000, "10.0.152.1", 80)
        self.table.set_endpoint(15_000, Endpoint("10.0.152.1", 80))
        self.table.select(15_000, "192.0.2.1", 1, 0.0)
