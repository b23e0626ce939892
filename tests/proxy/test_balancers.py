"""What services and operators see of the balancers: fairness, little disruption, affinity, clear errors."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from coxswain._native import balance, balance_cache, balance_hash
from coxswain.proxy.balancers import ALGORITHMS, Endpoint, Service, ServiceTable, address, make


def test_the_compiled_balancers_are_loaded() -> None:
    for module in (balance, balance_hash, balance_cache):
        assert str(module.__file__).endswith(".so")


def filled(algorithm: str, count: int, **options: int) -> balance.Balancer:
    balancer = make(algorithm, **options)  # type: ignore[arg-type]
    for i in range(count):
        balancer.add(address("10.0.0.0") + i, 8080)
    return balancer


def test_the_endpoint_added_last_comes_first() -> None:
    balancer = filled("rr", 3)
    assert [balancer.select() for _ in range(4)] == [3, 2, 1, 3]


def test_weights_are_shares_and_no_endpoint_waits_for_a_whole_round() -> None:
    balancer = make("wrr")
    light, heavy = balancer.add(1, 80, 1), balancer.add(2, 80, 3)
    # The current weight stays 1 when the heavy one comes, so the first round ends with the light one.
    assert [balancer.select() for _ in range(8)] == [heavy, light, heavy, heavy] * 2


def test_no_endpoint_is_selected_where_none_takes_connections() -> None:
    for name in ALGORITHMS:
        balancer = make(name)
        assert balancer.select(1, 2, 3) == 0
        balancer.add(5, 80, 0)
        assert balancer.select(1, 2, 3) == 0
        assert balancer.select_many(np.empty(3, np.int32)) == 0


@pytest.mark.parametrize("count", [100, 300, 600])
def test_maglev_is_even_and_moves_little_when_an_endpoint_goes(count: int) -> None:
    balancer = filled("mh", count)
    assert isinstance(balancer, balance_hash.Maglev)
    before = balancer.lookup()
    shares = Counter(before.tolist()).values()
    assert max(shares) / (len(before) / count) <= 1.01
    balancer.remove(count // 2)
    after = balancer.lookup()
    moved = np.count_nonzero((before != after) & (before != count // 2)) / len(before)
    assert moved <= 0.01


def test_maglev_keeps_positions_while_a_weight_is_nothing() -> None:
    balancer = filled("mh", 5)
    assert isinstance(balancer, balance_hash.Maglev)
    before = balancer.lookup()
    balancer.reweight(2, 0)
    assert (balancer.lookup() == before).all()
    homeless = next(source for source in range(100) if balancer.select(source) == 0)
    with_fallback = make("mh", flags=["mh-fallback"])
    for i in range(5):
        with_fallback.add(address("10.0.0.0") + i, 8080)
    with_fallback.reweight(2, 0)
    assert with_fallback.select(homeless) not in (0, 2)


def test_affinity_follows_the_netmask_and_ends_with_the_endpoint() -> None:
    balancer = filled("rr", 3)
    balancer.stick(60, prefix=24)
    first = balancer.select(address("192.0.2.1"), now=0)
    assert balancer.select(address("192.0.2.200"), now=59) == first
    assert balancer.select(address("192.0.3.1"), now=59) != first
    balancer.remove(first)
    assert balancer.select(address("192.0.2.1"), now=60) not in (0, first)
    assert balancer.clients == 2
    assert balancer.expire(119) == 1
    assert balancer.expire(120) == 1
    assert balancer.clients == 0


def test_ipv6_clients_are_told_apart_by_their_prefix() -> None:
    balancer = filled("rr", 3)
    balancer.stick(60, prefix=64, ipv6=True)
    first = balancer.select(address("2001:db8::1"))
    assert balancer.select(address("2001:db8::2")) == first
    assert balancer.select(address("2001:db8:0:1::1")) != first


def test_affinity_remembers_no_more_clients_than_it_may() -> None:
    balancer = filled("rr", 2)
    balancer.stick(60, limit=1000)
    for source in range(5000):
        balancer.select(source, now=source / 1000)
    assert balancer.clients == 1000


def test_a_quiescent_endpoint_keeps_its_clients_unless_told_otherwise() -> None:
    balancer = filled("rr", 2)
    balancer.stick(60)
    first = balancer.select(7)
    balancer.reweight(first, 0)
    assert balancer.select(7) == first
    balancer.stick(60, quiescent_expires=True)
    assert balancer.select(7) == 3 - first


def test_removed_endpoints_free_their_slots_once_their_connections_end() -> None:
    balancer = make("lc")
    held = balancer.add(1, 80)
    balancer.connect(held)
    balancer.remove(held)
    numbers = set()
    for i in range(2, 1000):
        numbers.add(balancer.add(i, 80))
        balancer.remove(balancer.find(i, 80))
    assert held not in numbers
    assert len(numbers) < 80
    assert balancer.add(1, 80) == held, "it comes back as the same endpoint"
    assert balancer.arrays()["active"].tolist() == [1]


def test_an_endpoint_that_nothing_named_comes_back_as_new() -> None:
    balancer = make("rr")
    number = balancer.add(1, 80, upper=3)
    balancer.overload(number, True)
    balancer.remove(number)
    assert balancer.add(1, 80, upper=3) == number
    assert balancer.select() == number


def test_misuse_is_an_error() -> None:
    balancer = filled("rr", 2)
    with pytest.raises(ValueError, match="already"):
        balancer.add(address("10.0.0.1"), 8080)
    with pytest.raises(ValueError, match="weight"):
        balancer.reweight(1, -1)
    with pytest.raises(ValueError, match="no such connection"):
        balancer.disconnect(1)
    for number in (0, -1, 3, 99):
        with pytest.raises(KeyError):
            balancer.remove(number)
    with pytest.raises(ValueError, match="length"):
        balancer.select_many(np.empty(3, np.int32), np.empty(2, np.uint64))
    with pytest.raises(ValueError, match="prime"):
        make("mh", table_size=65536)
    with pytest.raises(ValueError, match="no flag"):
        make("mh", flags=["sh-port"])
    with pytest.raises(ValueError, match="no algorithm"):
        make("best")
    small = make("mh", table_size=3)
    for i in range(3):
        small.add(i)
    with pytest.raises(ValueError, match="cannot hold"):
        small.add(3)
    assert len(small) == 3


@pytest.mark.parametrize("wrong", [{"upper": -1}, {"upper": 2, "lower": 3}, {"upper": 2**31}, {"upper": "2"}])
def test_an_endpoint_that_is_refused_leaves_the_service_as_it_was(wrong: dict[str, Any]) -> None:
    balancer = filled("rr", 3)
    with pytest.raises((ValueError, TypeError)):
        balancer.add(7, 80, **wrong)
    assert balancer.find(7, 80) == 0
    with pytest.raises(KeyError):
        balancer.remove(4)
    assert [balancer.select() for _ in range(4)] == [3, 2, 1, 3]
    assert balancer.add(7, 80) == 4
    assert len(balancer) == 4


@pytest.mark.parametrize("upper", [4, 700_000_000, 1_000_000_000, 2**31 - 1])
def test_an_endpoint_takes_connections_again_below_three_quarters_of_any_limit(upper: int) -> None:
    balancer = make("rr")
    number = balancer.add(1, 80, upper=upper)
    balancer.overload(number, True)
    balancer.connect(number)
    balancer.disconnect(number)
    assert balancer.select() == number


def test_a_service_table_changes_what_changed() -> None:
    table = ServiceTable()
    table.set_service("web", Service("wrr", affinity=True, affinity_timeout=10))
    table.set_endpoints("web", [Endpoint("10.0.0.1", 80), Endpoint("10.0.0.2", 80, 2)])
    number = table.set_endpoint("web", Endpoint("10.0.0.1", 80))
    table.balancer("web").connect(number)
    table.set_endpoints("web", [Endpoint("10.0.0.1", 80, 5), Endpoint("10.0.0.3", 80)])
    arrays = table.balancer("web").arrays()
    assert arrays["weight"].tolist() == [1, 5]
    assert arrays["active"].tolist() == [0, 1]
    chosen = table.select("web", "192.0.2.9", 4000, now=0)
    assert chosen in table.endpoints("web")
    assert table.select("web", "192.0.2.9", 4001, now=9) == chosen
    table.set_service("web", Service("rr"))
    assert [table.select("web", "192.0.2.9", 1, now=9) for _ in range(2)] == table.endpoints("web")[::-1]
    table.remove_service("web")
    assert "web" not in table
    assert len(table) == 0
    assert list(table) == []
