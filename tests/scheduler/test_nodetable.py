"""The node table: after any history it equals a table built afresh."""

from __future__ import annotations

import random

import pytest

from coxswain.scheduler import pod as pods
from coxswain.scheduler.content import content as told_by
from coxswain.scheduler.cycle import Cycle, Placement
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.plugins.registry import default_profile
from coxswain.scheduler.template import Templates
from scheduler.sched_objects import node, pod


def content(table: NodeTable) -> object:
    """Everything the table says, by name instead of by row."""
    names = {i: name for name, i in table.resources.items()}
    sets = {number: taints for taints, number in table.taint_sets.items()}
    return {
        n.name: {
            "allocatable": {names[i]: int(v) for i, v in enumerate(table.allocatable[:, n.row]) if v},
            "requested": {names[i]: int(v) for i, v in enumerate(table.requested[:, n.row]) if v},
            "nonzero": table.nonzero[:, n.row].tolist(),
            "unschedulable": bool(table.unschedulable[n.row]),
            "taints": sets[int(table.taint_set[n.row])],
            "pods": sorted(n.pods),
            "disk": _label(table, "disk", n.row),
            "images": sorted(name for name, (_, rows) in table.images.items() if n.row in rows),
            "ports": sorted(
                (key, tuple(used[n.row].items())) for key, used in table.ports.items() if n.row in used
            ),
        }
        for n in table
    }


def _label(table: NodeTable, key: str, row: int) -> str | None:
    column = table.column(key)
    return {number: value for value, number in column.values.items()}.get(int(column.ids[row]))


def random_node(rng: random.Random, name: str) -> dict:
    return node(
        name,
        cpu=str(rng.randrange(1, 9)),
        labels=rng.choice(({}, {"disk": "ssd"}, {"disk": "hdd"}, {"topology.kubernetes.io/zone": "a"})),
        taints=rng.choice((None, [{"key": "k", "effect": "NoSchedule"}])),
        unschedulable=rng.random() < 0.2,
        images=rng.choice(({}, {"repo/a:1": 10**9}, {"repo/a:1": 10**9, "repo/b:1": 10**8})),
        extra=rng.choice(({}, {"example.com/gpu": "2"})),
    )


def random_pod(rng: random.Random, name: str) -> dict:
    ports = [{"containerPort": 80, "hostPort": rng.choice((80, 81))}] if rng.random() < 0.3 else None
    extra = {"example.com/gpu": "1"} if rng.random() < 0.3 else {}
    return pod(name, cpu=rng.choice(("", "100m", "1")), ports=ports, extra=extra)


@pytest.mark.parametrize("seed", range(60))
def test_any_history_equals_a_table_built_afresh(seed: int) -> None:
    rng = random.Random(seed)
    table = NodeTable()
    templates = Templates(table, limit=4)
    table.column("disk")
    nodes: dict[str, dict] = {}
    placed: dict[str, tuple[dict, str]] = {}
    for step in range(80):
        name = f"n{rng.randrange(70 if seed % 2 else 6)}"
        action = rng.random()
        if action < 0.4:
            nodes[name] = random_node(rng, name)
            table.set_node(nodes[name])
        elif action < 0.5:
            nodes.pop(name, None)
            table.remove_node(name)
        elif action < 0.8:
            obj = random_pod(rng, f"p{step}")
            placed[f"p{step}"] = (obj, name)
            table.add_pod(pods.parse(obj, templates), name)
        elif placed:
            gone = rng.choice(sorted(placed))
            obj, where = placed.pop(gone)
            table.remove_pod(pods.parse(obj, templates), where)
    fresh = NodeTable()
    fresh_templates = Templates(fresh)
    for obj in nodes.values():
        fresh.set_node(obj)
    for obj, where in placed.values():
        fresh.add_pod(pods.parse(obj, fresh_templates), where)
    assert content(table) == content(fresh)
    assert sorted(table.node(r).name for r in table.order.tolist()) == sorted(nodes)


def test_zones_take_turns_in_the_order_of_nodes() -> None:
    table = NodeTable()
    for i, zone in enumerate("aaabbc"):
        table.set_node(node(f"n{i}", labels={"topology.kubernetes.io/zone": zone}))
    assert [table.node(r).name for r in table.order.tolist()] == ["n0", "n3", "n5", "n1", "n4", "n2"]


def test_pods_of_an_unknown_node_count_when_it_comes() -> None:
    table = NodeTable()
    templates = Templates(table)
    table.add_pod(pods.parse(pod("p", cpu="2"), templates), "late")
    assert len(table) == 0
    late = table.set_node(node("late"))
    assert table.requested[0, late.row] == 2000
    table.remove_node("late")
    assert table.requested.sum() == 0
    assert table.requested[0, table.set_node(node("late")).row] == 2000


def test_a_change_log_tells_who_lags_too_far_to_start_over() -> None:
    table = NodeTable()
    start = table.pod_log.end
    for i in range(3):
        table.set_node(node(f"n{i}"))
    assert table.pod_log.since(start).tolist() == [0, 1, 2]
    for _ in range(3 * table.capacity):
        table.set_node(node("n0"))
    assert table.pod_log.since(start) is None


def test_labels_and_taints_that_no_node_has_any_more_are_forgotten() -> None:
    table = NodeTable()
    templates = Templates(table)
    cycle, profile = Cycle(table, seed=1), default_profile()
    here = "kubernetes.io/hostname"
    chosen = 0
    for i in range(1000):
        taint = {"key": "ends", "value": str(i % 300), "effect": "NoSchedule"}
        table.set_node(node(f"n{i}", cpu="8", labels={"zone": str(i)}, taints=[taint] if i % 2 else []))
        if i >= 5:
            table.remove_node(f"n{i - 5}")
        # Who stays the same throughout sees the nodes as they are at every moment.
        wanted = pod(f"p{i}", labels={"app": "a"}, spec={"nodeSelector": {here: f"n{i}"}})
        apart = pod(f"q{i}", labels={"app": "a"}, spec=_spread_over("zone"))
        for obj in (wanted, apart):
            (outcome,) = cycle.schedule([pods.parse(obj, templates)], profile)
            if isinstance(outcome, Placement):
                chosen += 1
                assert int(outcome.node_name[1:]) > i - 5
                assert int(outcome.node_name[1:]) % 2 == 0
    assert chosen > 1400
    assert len(table.column(here).values) <= 2 * table.capacity
    assert len(table.column("zone").values) <= 2 * table.capacity
    assert len(table.taint_sets) <= 2 * table.capacity
    assert told_by(table)["nodes"].keys() == {f"n{i}" for i in range(995, 1000)}


def _spread_over(key: str) -> dict:
    selector = {"matchLabels": {"app": "a"}}
    constraint = {
        "maxSkew": 5,
        "topologyKey": key,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": selector,
    }
    return {"topologySpreadConstraints": [constraint]}
