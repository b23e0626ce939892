"""Seats by shares, and their lending, against what must hold of any allocation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coxswain.apiserver.bootstrap import BootstrapConfig, items
from coxswain.apiserver.fairness import shares
from coxswain.apiserver.fairness.shares import Bounds, Demand, Want, allocate, share_out


def test_a_new_cluster_has_the_seats_that_kubernetes_gives() -> None:
    """kube-apiserver with 400 and 200 in flight reports these nominal, lower and upper limits."""
    config = BootstrapConfig(
        service_cidr="10.96.0.0/16", advertise_address="127.0.0.1", port=6443, client_ca=b""
    )
    specs = {
        item.object["metadata"]["name"]: item.object["spec"]
        for item in items(config)
        if item.resource.resource == "prioritylevelconfigurations"
    }
    found = dict(zip(specs, shares.bounds(list(specs.values()), 600), strict=True))
    assert {name: bound[:2] for name, bound in found.items()} == {
        "catch-all": (13, 13),
        "exempt": (0, 0),
        "global-default": (49, 24),
        "leader-election": (25, 25),
        "node-high": (98, 73),
        "system": (74, 50),
        "workload-high": (98, 49),
        "workload-low": (245, 24),
    }
    assert {bound.upper for bound in found.values()} == {602}


_wants = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 200), st.floats(0, 300)).map(
        lambda row: Want(row[0], row[0] + row[1], max(row[0], row[2]))
    ),
    min_size=1,
    max_size=8,
)


@given(_wants, st.integers(0, 1500))
def test_everybody_gets_the_same_part_of_what_it_wants_within_its_bounds(
    wants: list[Want], total: int
) -> None:
    given_out = allocate(total, wants)
    lowest, highest = sum(want.lower for want in wants), sum(want.upper for want in wants)
    assert sum(given_out) == pytest.approx(min(max(total, lowest), highest), abs=1e-6)
    fractions = []
    for want, seats in zip(wants, given_out, strict=True):
        assert want.lower - 1e-9 <= seats <= want.upper + 1e-9
        if want.lower + 1e-6 < seats < want.upper - 1e-6:
            fractions.append(seats / max(want.target, 0.001))
    assert not fractions or max(fractions) == pytest.approx(min(fractions), rel=1e-6)


def test_idle_levels_lend_to_busy_ones_and_get_back_what_is_theirs() -> None:
    idle, busy = Bounds(100, 20, 200), Bounds(100, 50, 200)
    first, second = share_out([(idle, 0, 0.0, False), (busy, 300, 300.0, False)])
    assert (first, second) == (20, 180)
    assert share_out([(idle, 300, 300.0, False), (busy, 300, 300.0, False)]) == [100, 100]


def test_exempt_levels_take_what_they_need_off_the_others() -> None:
    exempt, own = Bounds(0, 0, 100), Bounds(100, 40, 100)
    assert share_out([(exempt, 30, 30.0, True), (own, 100, 100.0, False)]) == [30, 70]
    assert share_out([(exempt, 500, 500.0, True), (own, 100, 100.0, False)]) == [500, 40]


def test_demand_is_remembered_for_a_while() -> None:
    demand = Demand()
    demand.set(10, 0.0)
    demand.set(0, 5.0)
    assert demand.read(10.0) == 10
    assert demand.smoothed == pytest.approx(10.0)  # average 5, deviation 5
    assert demand.read(20.0) == 0
    assert demand.smoothed == pytest.approx(9.77)
