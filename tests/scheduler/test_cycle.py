"""The cycle: batches equal one at a time, caches equal fresh verdicts, sampling is kube-scheduler's."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from coxswain.scheduler import pod as pods
from coxswain.scheduler.cycle import Cycle, Failure, Placement, feasible_nodes_to_find
from coxswain.scheduler.framework import Scope
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.plugins.registry import default_profile
from coxswain.scheduler.template import Templates
from coxswain.scheduler.verdict import Verdict
from scheduler.sched_objects import node, pod
from scheduler.test_nodetable import random_node, random_pod


@pytest.mark.parametrize(
    ("nodes", "percentage", "expected"),
    [
        (10, 0, 10),
        (99, 30, 99),
        (100, 0, 100),
        (1000, 0, 420),
        (5000, 0, 500),
        (6000, 0, 300),
        (100000, 0, 5000),
        (1000, 3, 100),
        (1000, 40, 400),
        (1000, 100, 1000),
    ],
)
def test_how_many_feasible_nodes_are_enough(nodes: int, percentage: int, expected: int) -> None:
    assert feasible_nodes_to_find(nodes, percentage) == expected


def cluster(seed: int, nodes: int) -> tuple[NodeTable, Templates]:
    rng = random.Random(seed)
    table = NodeTable()
    for i in range(nodes):
        table.set_node(random_node(rng, f"n{i}"))
    return table, Templates(table)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("percentage", [0, 100])
def test_a_batch_places_as_one_at_a_time_does(seed: int, percentage: int) -> None:
    profile = default_profile(percentage_of_nodes_to_score=percentage)
    rng = random.Random(seed)
    results = []
    spec = {}
    if seed % 2:
        preference = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
        spec["affinity"] = {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": preference}]
            }
        }
    taint = {"key": "k", "effect": "PreferNoSchedule"}
    cpu = rng.choice(("", "300m", "2"))
    for size in (1, 7, 1000):
        table, templates = cluster(seed, 150)
        for i in range(0, 150, 3):
            table.set_node(node(f"n{i}", taints=[taint] if i % 2 else []))
        cycle = Cycle(table, seed=99)
        todo = [pods.parse(pod(f"p{i}", cpu=cpu, spec=spec, image="repo/a:1"), templates) for i in range(400)]
        outcome = []
        for start in range(0, 400, size):
            outcome += cycle.schedule(todo[start : start + size], profile)
        results.append([o.node_name if isinstance(o, Placement) else o.diagnosis.message for o in outcome])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("seed", range(30))
def test_a_kept_verdict_equals_a_fresh_one_after_any_history(seed: int) -> None:
    rng = random.Random(seed)
    table, templates = cluster(seed, 20)
    profile = default_profile()
    cycle = Cycle(table, seed=seed)
    waiting = [pods.parse(random_pod(rng, f"w{i}"), templates) for i in range(4)]
    for step in range(40):
        action = rng.random()
        name = f"n{rng.randrange(90)}"
        if action < 0.3:
            table.set_node(random_node(rng, name))
        elif action < 0.4:
            table.remove_node(name)
        else:
            kind = pods.parse(random_pod(rng, f"s{step}"), templates)
            cycle.schedule([kind] if action < 0.7 else [rng.choice(waiting)] * 1, profile)
        for one in waiting:
            kept = cycle.verdict(one.template, profile)
            fresh = Verdict(one.template, profile, table)
            by, code = kept.judge()
            rows = table.order
            fresh_by, fresh_code = fresh.judge_rows(rows)
            assert by[rows].tolist() == fresh_by.tolist()
            assert code[rows].tolist() == fresh_code.tolist()
            plan = kept.plan()
            for weighted in kept.scores:
                if weighted.plugin.SCOPE is Scope.CLUSTER:
                    continue
                raw = weighted.plugin.score(one.template, table, rows)
                assert kept.raw(weighted.plugin)[rows].tolist() == raw.tolist()
            steady = [w for w in kept.scores if w.plugin.NORMALIZE == "none"]
            base = sum((w.plugin.score(one.template, table, rows) * w.weight for w in steady), np.int64(0))
            assert np.array_equal(plan.base[rows], base)


def test_searches_go_round_and_zones_share_the_load() -> None:
    table, templates = NodeTable(), None
    for i in range(300):
        table.set_node(node(f"n{i}", labels={"topology.kubernetes.io/zone": f"z{i % 3}"}))
    templates = Templates(table)
    cycle = Cycle(table, seed=1)
    outcome = cycle.schedule([pods.parse(pod(f"p{i}"), templates) for i in range(300)], default_profile())
    assert set(Counter(o.node_name for o in outcome if isinstance(o, Placement)).values()) <= {1, 2}


def test_a_pod_that_names_nodes_looks_only_at_them() -> None:
    table, templates = cluster(0, 0)
    templates = Templates(table)
    for i in range(3):
        table.set_node(node(f"n{i}", cpu="1"))
    field = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
    spec = {
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchFields": [field]}]
                }
            }
        }
    }
    first, second = (pods.parse(pod(f"p{i}", cpu="800m", spec=spec), templates) for i in range(2))
    placed, failed = Cycle(table, seed=1).schedule([first, second], default_profile())
    assert isinstance(placed, Placement)
    assert placed.node_name == "n1"
    assert isinstance(failed, Failure)
    assert failed.diagnosis.message == (
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. "
        "no new claims to deallocate, preemption: 0/3 nodes are available: 1 No preemption victims found for "
        "incoming pod, 2 Preemption is not helpful for scheduling."
    )


def test_reasons_are_counted_and_sorted_as_text() -> None:
    table = NodeTable()
    templates = Templates(table)
    for i in range(11):
        table.set_node(node(f"small{i}", cpu="1", memory="1Gi"))
    table.set_node(node("tainted", taints=[{"key": "k", "effect": "NoSchedule"}]))
    table.set_node(node("full", pods="0"))
    one = pods.parse(pod("p", cpu="3", memory="2Gi", spec={"preemptionPolicy": "Never"}), templates)
    (failed,) = Cycle(table, seed=1).schedule([one], default_profile())
    assert isinstance(failed, Failure)
    assert failed.diagnosis.message == (
        "0/13 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint(s), 11 Insufficient cpu, "
        "11 Insufficient memory. no new claims to deallocate, preemption: not eligible due to "
        "preemptionPolicy=Never."
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("percentage", [0, 20, 100])
def test_judging_in_parts_finds_what_judging_all_nodes_does(seed: int, percentage: int) -> None:
    rng = random.Random(seed)
    profile = default_profile(percentage_of_nodes_to_score=percentage)
    table, templates = cluster(seed, 400)
    labels = {"app": "x"}
    term = {
        "topologyKey": rng.choice(("kubernetes.io/hostname", "zone")),
        "labelSelector": {"matchLabels": labels},
    }
    away = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    for i in range(rng.choice((0, 150, 390))):
        table.add_pod(pods.parse(pod(f"x{i}", labels=labels), templates), f"n{i}")
    one = pods.parse(pod("p", labels=labels, spec={"affinity": away}), templates)
    cycle = Cycle(table, seed=1)
    cycle._start = rng.randrange(1000)
    start = cycle._start
    verdict = cycle.verdict(one.template, profile)
    asked = verdict.asked_every_time()
    assert asked
    parts, after = cycle._sample_in_parts(verdict, asked).tolist(), cycle._start
    cycle._start = start
    whole = cycle._sample(verdict, verdict.judge()[0]).tolist()
    assert parts == whole
    assert after == cycle._start
