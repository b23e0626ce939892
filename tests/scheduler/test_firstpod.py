"""Pods that all differ: the one-pass kernel decides exactly as the ordinary way does."""

from __future__ import annotations

import random

import numpy as np
import pytest

from coxswain._native import first
from coxswain.scheduler import pod as pods
from coxswain.scheduler.cycle import Cycle, Failure, Placement
from coxswain.scheduler.framework import Profile
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.plugins.registry import default_profile
from coxswain.scheduler.template import Templates
from scheduler.sched_objects import node, pod
from scheduler.test_nodetable import random_node, random_pod


def cluster(seed: int, nodes: int) -> tuple[NodeTable, Templates]:
    rng = random.Random(seed)
    table = NodeTable()
    for i in range(nodes):
        table.set_node(tinted_node(rng, f"n{i}"))
    return table, Templates(table)


def tinted_node(rng: random.Random, name: str) -> dict:
    obj = random_node(rng, name)
    if rng.random() < 0.4:
        soft = [{"key": key, "effect": "PreferNoSchedule"} for key in rng.sample("abc", 2)]
        obj["spec"]["taints"] = [*obj["spec"].get("taints", ()), *soft]
    return obj


def different_pod(rng: random.Random, name: str) -> dict:
    obj = random_pod(rng, name)
    if rng.random() < 0.8:
        asked = obj["spec"]["containers"][0].setdefault("resources", {}).setdefault("requests", {})
        asked |= {"cpu": f"{rng.randrange(1, 400)}m", "memory": f"{rng.randrange(1, 999)}Mi"}
    if rng.random() < 0.2:
        obj["spec"]["tolerations"] = [{"operator": "Exists"}]
    if rng.random() < 0.3:
        wish = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
        terms = [{"weight": rng.randrange(1, 100), "preference": wish}]
        obj["spec"]["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}
    if rng.random() < 0.25:
        names = [f"n{rng.randrange(8)}" for _ in range(rng.randrange(1, 4))]
        field = {"key": "metadata.name", "operator": "In", "values": names}
        terms = [{"matchFields": [field]} for _ in range(rng.randrange(1, 3))]
        for term in terms:
            if rng.random() < 0.4:
                term["matchExpressions"] = [
                    {"key": "disk", "operator": rng.choice(("Exists", "DoesNotExist"))}
                ]
            if rng.random() < 0.1:
                term["matchFields"] = [{**field, "operator": rng.choice(("In", "NotIn")), "values": ["n1"]}]
        affinity = obj["spec"].setdefault("affinity", {}).setdefault("nodeAffinity", {})
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    return obj


def plainly(profile: Profile, table: NodeTable) -> Cycle:
    """A cycle that never takes the short way."""
    cycle = Cycle(table, seed=7)
    cycle._place_first = lambda pod, profile: None  # type: ignore[method-assign]
    return cycle


@pytest.mark.parametrize("percentage", [0, 100])
@pytest.mark.parametrize("seed", range(12))
def test_different_pods_go_where_the_ordinary_way_puts_them(seed: int, percentage: int) -> None:
    profile = default_profile(percentage_of_nodes_to_score=percentage)
    rng = random.Random(seed)
    size = rng.choice((5, 130, 260))
    ways = []
    for make in (plainly, lambda profile, table: Cycle(table, seed=7)):
        table, templates = cluster(seed, size)
        ways.append((make(profile, table), table, templates))
    for i in range(60):
        if rng.random() < 0.1:
            changed = tinted_node(rng, f"n{rng.randrange(size)}")
            for _, table, _ in ways:
                table.set_node(changed)
        obj = different_pod(rng, f"p{i}")
        outcomes = [
            cycle.schedule([pods.parse(obj, templates, placed=False)], profile)[0]
            for cycle, _, templates in ways
        ]
        assert [type(outcome) for outcome in outcomes] in ([Placement] * 2, [Failure] * 2)
        if isinstance(outcomes[0], Placement) and isinstance(outcomes[1], Placement):
            assert outcomes[0].node_name == outcomes[1].node_name
    one, other = ways[0][1], ways[1][1]
    for name in ("allocatable", "requested", "nonzero"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert ways[0][0]._start == ways[1][0]._start
    assert ways[0][0]._chance == ways[1][0]._chance


def test_the_short_way_is_taken_for_first_pods_only() -> None:
    table, templates = cluster(1, 0)
    for i in range(4):
        table.set_node(node(f"n{i}"))
    profile = default_profile()
    cycle = Cycle(table, seed=1)
    for times in range(3):
        cycle.schedule([pods.parse(pod(f"same{times}"), templates)], profile)
        assert len(cycle._verdicts) == (times > 0)
    cycle.schedule([pods.parse(pod("other", cpu="200m"), templates)], profile)
    assert len(cycle._verdicts) == 1
    ported = pod("port", ports=[{"hostPort": 80, "containerPort": 80}])
    cycle.schedule([pods.parse(ported, templates)], profile)
    assert len(cycle._verdicts) == 2


def test_a_pod_that_fits_nowhere_changes_nothing() -> None:
    table, templates = cluster(1, 0)
    table.set_node(node("n0"))
    before = table.requested.copy()
    (outcome,) = Cycle(table, seed=1).schedule(
        [pods.parse(pod("big", cpu="99"), templates)], default_profile()
    )
    assert isinstance(outcome, Failure)
    assert np.array_equal(table.requested, before)


def test_the_kernel_is_compiled() -> None:
    assert str(first.__file__).endswith(".so")


def naive_place(has, used, counted, ids, amounts, ask, rejected, image, weights, most, order, start, wanted):
    """The feasible rows in the order seen, and their totals."""
    found, seen = [], 0
    while seen < len(order) and len(found) < wanted:
        row = order[(start + seen) % len(order)]
        seen += 1
        fits = all(a <= has[i][row] - used[i][row] for i, a in zip(ids, amounts, strict=True))
        if not rejected[row] and fits:
            found.append(row)
    totals = []
    for row in found:
        parts = []
        for r in (0, 1):
            capacity, want = has[r][row], counted[r][row] + ask[2 + r]
            if capacity:
                free = max(capacity - want, 0)
                parts.append(
                    (100 if most and want > capacity else want * 100 // capacity)
                    if most
                    else free * 100 // capacity
                )
        score = sum(parts) // len(parts) if parts else 0

        def balance(extra: tuple[int, int], row: int = row) -> int:
            fractions = [min((used[r][row] + extra[r]) / has[r][row], 1.0) for r in (0, 1) if has[r][row]]
            return int((1 - (abs((fractions[0] - fractions[1]) / 2) if len(fractions) == 2 else 0.0)) * 100.0)

        gain = 50 + (50 + balance((ask[0], ask[1])) - balance((0, 0))) // 2
        totals.append(image[row] + weights[2] * score + weights[3] * gain)
    return found, totals, (start + seen) % len(order)


@pytest.mark.parametrize("seed", range(40))
def test_the_kernel_scores_as_plain_python_does(seed: int) -> None:
    rng = random.Random(seed)
    n = rng.randrange(1, 40)
    # Large capacities too: their products leave the range in which doubles are exact.
    scale = rng.choice((10**4, 10**11, 1 << 52))
    has = [[rng.choice((0, rng.randrange(1, scale))) for _ in range(n)] for _ in range(4)]
    used = [[int(value * rng.random() * 1.1) for value in line] for line in has]
    counted = [line[:] for line in used[:2]]
    ask = [rng.randrange(scale // 10 + 1), rng.randrange(scale // 10 + 1)]
    ask += ask
    ids, amounts = [0, 1, 3], [*ask[:2], 1]
    rejected = [rng.random() < 0.2 for _ in range(n)]
    image = [rng.randrange(100) for _ in range(n)]
    weights, most = [3, 2, rng.randrange(1, 3), rng.randrange(3)], rng.random() < 0.3
    order = rng.sample(range(n), n)
    start, wanted = rng.randrange(n), rng.randrange(1, n + 1)
    found, totals, end = naive_place(
        has, used, counted, ids, amounts, ask, rejected, image, weights, most, order, start, wanted
    )
    requested, nonzero = np.array(used, np.int64), np.array(counted, np.int64)
    none = np.empty(0, np.int64)
    row, at = first.place(
        np.array(has, np.int64),
        requested,
        nonzero,
        np.array(ids, np.int32),
        np.array(amounts, np.int64),
        np.array(ask, np.int64),
        np.array(rejected, np.uint8),
        np.array(image, np.int64),
        none,
        none,
        np.array(weights, np.int64),
        most,
        np.array(order, np.int32),
        start,
        wanted,
        np.array([seed + 1], np.uint64),
        np.empty(n, np.int32),
        np.empty(n, np.int64),
    )
    assert at == end
    if not found:
        assert row == -1
        return
    assert row in [r for r, total in zip(found, totals, strict=True) if total == max(totals)]
    assert (requested - np.array(used))[ids, row].tolist() == amounts
    assert (nonzero - np.array(counted))[:, row].tolist() == ask[2:]


def test_pods_that_name_their_nodes_share_a_shape() -> None:
    table, templates = cluster(1, 0)
    for i in range(20):
        table.set_node(node(f"n{i}"))
    profile = default_profile()
    cycle = Cycle(table, seed=1)
    for i in range(20):
        field = {"key": "metadata.name", "operator": "In", "values": [f"n{i}"]}
        required = {"nodeSelectorTerms": [{"matchFields": [field]}]}
        affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
        (outcome,) = cycle.schedule(
            [pods.parse(pod(f"p{i}", spec={"affinity": affinity}), templates)], profile
        )
        assert isinstance(outcome, Placement)
        assert outcome.node_name == f"n{i}"
    assert not cycle._verdicts
    assert len(cycle._first[profile.name]._shapes) == 1
    assert cycle._start == 0
