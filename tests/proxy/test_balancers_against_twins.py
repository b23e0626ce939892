"""Each balancer against its naive twin, over histories of what can happen to a service, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coxswain._native import balance_hash
from coxswain.proxy.balancers import ALGORITHMS
from proxy import ipvs_twins as twins

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ALGORITHMS if name not in ("mh", "lblcr", "lblc")),
    ("lblc", {"expiration": 20.0}),
    ("lblcr", {"expiration": 5.0}),
    ("sh", {"by_port": True, "fallback": True}),
    ("mh", {"table_size": 31}),
    ("mh", {"table_size": 251, "fallback": True}),
    ("mh", {"table_size": 251, "by_port": True}),
]
NAMES = [f"{name}-{'-'.join(map(str, options.values()))}" for name, options in VARIANTS]

PLACES = [(0x0A000000 + i, 8080 + i % 2) for i in range(6)] + [(0xFD00 << 112 | 7, 80)]
place = st.sampled_from(PLACES)
weight = st.sampled_from((0, 1, 1, 2, 3, 4, 6, 100))
client = st.integers(0, 12).map(lambda i: 0xC0A80000 + i * 77)
limits = st.sampled_from(((0, 0), (0, 0), (3, 0), (4, 1)))
steps = st.one_of(
    st.tuples(st.just("add"), place, weight, limits),
    st.tuples(st.just("remove"), place),
    st.tuples(st.just("reweight"), place, weight),
    st.tuples(st.just("overload"), place, st.booleans()),
    st.tuples(st.just("disconnect"), place, st.booleans()),
    st.tuples(st.just("fire"), st.integers(1, 30)),
    *[st.tuples(st.just("select"), client, st.integers(1, 4), st.floats(0, 5), st.booleans())] * 4,
)
histories = st.lists(steps, min_size=5, max_size=60)


class Pair:
    """A balancer and its twin, told the same."""

    def __init__(self, name: str, options: dict[str, Any], affinity: tuple[float, int] | None = None) -> None:
        self.real = ALGORITHMS[name](**options)
        self.twin = twins.TWINS[name](**options)
        self.chooser: Any = self.twin
        if affinity:
            self.real.stick(affinity[0], limit=affinity[1])
            self.chooser = twins.Sticky(self.twin, *affinity)
        self.number: dict[tuple[int, int], int] = {}
        self.open: dict[tuple[tuple[int, int], bool], int] = {}
        self.places: dict[int, tuple[int, int]] = {}
        self.now = 0.0

    def in_service(self, place: tuple[int, int]) -> bool:
        return any(s.place == place for s in self.twin.servers)

    def run(self, step: tuple[Any, ...]) -> None:
        getattr(self, step[0])(*step[1:])
        arrays = self.real.arrays()
        assert [self.places[n] for n in arrays["number"].tolist()] == [s.place for s in self.twin.servers]
        for name in ("weight", "active", "inactive", "overloaded"):
            assert arrays[name].tolist() == [getattr(s, name) for s in self.twin.servers], name

    def add(self, place: tuple[int, int], weight: int, limits: tuple[int, int]) -> None:
        if self.in_service(place):
            with pytest.raises(ValueError, match="already"):
                self.real.add(*place, weight)
            return
        upper, lower = limits
        number = self.real.add(*place, weight, upper=upper, lower=lower)
        self.twin.add(place, weight, upper, lower)
        self.number[place] = number
        self.places[number] = place
        assert self.real.find(*place) == number

    def remove(self, place: tuple[int, int]) -> None:
        if self.in_service(place):
            self.real.remove(self.number[place])
            self.twin.remove(place)
            assert self.real.find(*place) == 0

    def reweight(self, place: tuple[int, int], weight: int) -> None:
        if self.in_service(place):
            self.real.reweight(self.number[place], weight)
            self.twin.reweight(place, weight)

    def overload(self, place: tuple[int, int], overloaded: bool) -> None:
        if self.in_service(place):
            self.real.overload(self.number[place], overloaded)
            self.twin.server(place).overloaded = overloaded

    def disconnect(self, place: tuple[int, int], active: bool) -> None:
        if self.open.get((place, active)):
            self.open[place, active] -= 1
            self.real.disconnect(self.number[place], active)
            self.twin.disconnect(place, active)

    def fire(self, times: int) -> None:
        if isinstance(self.twin, twins.Caching):
            real: Any = self.real
            for _ in range(times):
                assert real.expire_entries(self.now) == self.twin.fire(self.now)
            assert real.remembered == len(self.twin.sets)

    def select(self, source: int, port: int, wait: float, active: bool) -> None:
        self.now += wait
        target = source ^ 5
        found = self.chooser.select(source, port, target, self.now)
        number = self.real.select(source, port, target, self.now)
        assert self.places.get(number) == (found and found.place)
        if found is not None and found.in_service:
            self.real.connect(number, active)
            self.twin.connect(found.place, active)
            self.open[found.place, active] = self.open.get((found.place, active), 0) + 1


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=NAMES)
@given(history=histories)
@settings(max_examples=60, deadline=None)
def test_every_history_gives_the_same_selections(name: str, options: dict[str, Any], history: Any) -> None:
    pair = Pair(name, options)
    for step in history:
        pair.run(step)


@pytest.mark.parametrize("name", ["rr", "wlc", "lblcr"])
@given(history=histories)
@settings(max_examples=60, deadline=None)
def test_affinity_keeps_clients_until_time_or_room_is_up(name: str, history: Any) -> None:
    pair = Pair(name, {}, affinity=(6.0, 4))
    for step in history:
        pair.run(step)
        assert pair.real.clients == len(pair.chooser.clients)


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=NAMES)
@given(weights=st.lists(weight, max_size=7), connect=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_batch_selects_what_one_at_a_time_selects(
    name: str, options: dict[str, Any], weights: list[int], connect: bool
) -> None:
    one, many = ALGORITHMS[name](**options), ALGORITHMS[name](**options)
    for place, value in zip(PLACES, weights, strict=False):
        for balancer in (one, many):
            balancer.add(*place, value, upper=9)
    rng = np.random.default_rng(len(weights))
    sources, targets = (rng.integers(0, 1 << 32, 50, np.uint64) for _ in range(2))
    ports = rng.integers(0, 1 << 16, 50, np.uint16)
    out = np.empty(50, np.int32)
    found = many.select_many(out, sources, ports, targets, 3.0, connect)
    for i in range(50):
        number = one.select(int(sources[i]), int(ports[i]), int(targets[i]), 3.0)
        if number and connect:
            one.connect(number)
        assert out[i] == number
    assert found == np.count_nonzero(out)


def test_the_hash_is_siphash_1_3() -> None:
    # The twin's construction gives the vector of SipHash-2-4's paper; one and three rounds differ in nothing else.
    assert twins.siphash(bytes(range(15)), bytes(range(16)), 2, 4) == 0xA129CA6149BE45E5
    rng = np.random.default_rng(1)
    for value in rng.integers(0, 1 << 32, 50).tolist():
        for word in (2654435761, 2654446892):
            assert balance_hash.siphash_1_3(value, word) == twins.hsiphash(value, word)


@pytest.mark.parametrize(("table_size", "count"), [(251, 1), (251, 40), (4093, 3), (65537, 7)])
def test_maglev_tables_are_those_of_the_plain_algorithm(table_size: int, count: int) -> None:
    real = balance_hash.Maglev(table_size=table_size)
    twin = twins.Maglev(table_size=table_size)
    places = {}
    for i in range(count):
        place = (0x0A010000 + i * 3, 443)
        weight = 1 + i % 4 * 50
        places[real.add(*place, weight)] = place
        twin.add(place, weight)
    assert [places[n] for n in real.lookup().tolist()] == [s.place for s in twin.table()]
