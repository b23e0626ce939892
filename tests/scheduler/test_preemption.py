"""Preemption: who has to leave, which node is chosen, what is said when nobody can; both ways of a dry run agree."""

from __future__ import annotations

import random
from typing import Any

import pytest

from coxswain.scheduler import pod as pods
from coxswain.scheduler.cycle import Cycle, Failure, Placement
from coxswain.scheduler.disruption import Budgets
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.plugins.registry import default_profile
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.preemption import (
    Candidate,
    PreemptionArgs,
    _Arithmetic,
    _by_judgement,
    importance,
    pick_one,
)
from coxswain.scheduler.template import Templates
from coxswain.scheduler.verdict import Verdict
from scheduler.sched_objects import node, pod


class Cluster:
    def __init__(self) -> None:
        self.table = NodeTable()
        self.templates = Templates(self.table)
        self.budgets = Budgets()
        self.cycle = Cycle(self.table, seed=3, budgets=self.budgets)

    def place(self, name: str, on: str, start: str = "", **more: Any) -> Pod:
        obj = pod(name, **more)
        obj["spec"]["nodeName"] = on
        if start:
            obj["status"]["startTime"] = start
        placed = pods.parse(obj, self.templates)
        self.table.add_pod(placed, on)
        return placed

    def schedule(self, *objs: dict[str, Any]) -> list[Placement | Failure]:
        return self.cycle.schedule([pods.parse(obj, self.templates) for obj in objs], default_profile())


def names(found: list[Pod] | tuple[Pod, ...]) -> list[str]:
    return [one.name for one in found]


def victims_of(outcome: Placement | Failure) -> tuple[str, list[str]]:
    assert isinstance(outcome, Failure)
    assert outcome.diagnosis.preempts is not None
    return outcome.diagnosis.preempts.node_name, names(outcome.diagnosis.preempts.victims)


def test_the_less_important_leave_and_as_few_as_possible() -> None:
    cluster = Cluster()
    cluster.table.set_node(node("n0", cpu="4"))
    for i, (cpu, priority) in enumerate((("1", 5), ("1", 1), ("1", 3), ("1", 2))):
        cluster.place(f"p{i}", "n0", cpu=cpu, priority=priority)
    (outcome,) = cluster.schedule(pod("big", cpu="2", priority=10))
    assert victims_of(outcome) == ("n0", ["p3", "p1"])
    assert outcome.diagnosis.message == "0/1 nodes are available: 1 Insufficient cpu."  # type: ignore[union-attr]
    assert cluster.cycle.nominator.node_of("uid-big") == "n0"
    assert len(cluster.table.node(0).pods) == 4


def test_who_started_earlier_is_more_important() -> None:
    cluster = Cluster()
    cluster.table.set_node(node("n0", cpu="2"))
    cluster.place("old", "n0", "2026-01-01T00:00:00Z", cpu="1")
    cluster.place("young", "n0", "2026-01-02T00:00:00Z", cpu="1")
    (outcome,) = cluster.schedule(pod("p", cpu="1", priority=1))
    assert victims_of(outcome) == ("n0", ["young"])


def test_budgets_are_kept_where_that_is_possible() -> None:
    cluster = Cluster()
    for i in range(2):
        cluster.table.set_node(node(f"n{i}", cpu="1"))
    cluster.place("guarded", "n0", cpu="1", labels={"app": "db"})
    cluster.place("free", "n1", cpu="1", priority=3)
    budget = {
        "metadata": {"name": "b", "namespace": "d"},
        "spec": {"selector": {"matchLabels": {"app": "db"}}},
    }
    cluster.budgets.set({**budget, "status": {"disruptionsAllowed": 0}})
    (outcome,) = cluster.schedule(pod("p", cpu="1", priority=5))
    assert victims_of(outcome) == ("n1", ["free"])
    cluster.budgets.set({**budget, "status": {"disruptionsAllowed": 0, "disruptedPods": {"guarded": "x"}}})
    (outcome,) = cluster.schedule(pod("q", cpu="1", priority=3))
    assert victims_of(outcome) == ("n0", ["guarded"])
    cluster.budgets.remove(budget)
    cluster.budgets.set({**budget, "status": {"disruptionsAllowed": 0}})
    violating, others = cluster.budgets.split(cluster.table.node(0).pods.values())
    assert names(violating) == ["guarded"]
    assert others == []


def test_an_only_way_that_violates_a_budget_is_taken() -> None:
    cluster = Cluster()
    cluster.table.set_node(node("n0", cpu="2"))
    cluster.place("guarded", "n0", cpu="1", labels={"app": "db"})
    cluster.place("free", "n0", cpu="1")
    budget = {
        "metadata": {"name": "b", "namespace": "d"},
        "spec": {"selector": {"matchLabels": {"app": "db"}}},
    }
    cluster.budgets.set({**budget, "status": {}})
    (one,) = cluster.schedule(pod("one", cpu="1", priority=1))
    assert victims_of(one) == ("n0", ["free"])
    cluster.cycle.nominator.remove("uid-one")
    (two,) = cluster.schedule(pod("two", cpu="2", priority=1))
    assert sorted(victims_of(two)[1]) == ["free", "guarded"]
    assert two.diagnosis.preempts.violations == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("spec", "priority", "said"),
    [
        ({}, 0, ("preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, "
                "1 Preemption is not helpful for scheduling.")),
        ({"preemptionPolicy": "Never"}, 9, "preemption: not eligible due to preemptionPolicy=Never."),
        ({}, 1, "preemption: 0/2 nodes are available: 1 Insufficient cpu, 1 Preemption is not helpful for scheduling."),
    ],
)  # fmt: skip
def test_nobody_to_preempt_is_explained(spec: dict[str, Any], priority: int, said: str) -> None:
    cluster = Cluster()
    cluster.table.set_node(node("n0", cpu="2"))
    cluster.table.set_node(node("tainted", taints=[{"key": "k", "effect": "NoSchedule"}]))
    cluster.place("equal", "n0", cpu="1", priority=1)
    cluster.place("lower", "n0", cpu="500m", priority=0)
    (outcome,) = cluster.schedule(pod("p", cpu="1500m", priority=priority, spec=spec))
    assert isinstance(outcome, Failure)
    assert outcome.diagnosis.preempts is None
    assert outcome.diagnosis.message == (
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). "
        f"no new claims to deallocate, {said}"
    )


def test_a_pod_waits_while_its_victims_end() -> None:
    cluster = Cluster()
    cluster.table.set_node(node("n0", cpu="1"))
    victim = cluster.place("v", "n0", cpu="1")
    (outcome,) = cluster.schedule(pod("p", cpu="1", priority=1))
    assert victims_of(outcome) == ("n0", ["v"])
    victim.deleting = victim.preempted = True
    (outcome,) = cluster.schedule(pod("p", cpu="1", priority=1))
    assert isinstance(outcome, Failure)
    assert outcome.diagnosis.message.endswith(
        "preemption: not eligible due to a terminating pod on the nominated node."
    )
    cluster.table.remove_pod(victim, "n0")
    (outcome,) = cluster.schedule(pod("p", cpu="1", priority=1))
    assert isinstance(outcome, Placement)
    assert len(cluster.cycle.nominator) == 0


@pytest.mark.parametrize("many", [False, True])
def test_room_of_a_nominated_pod_is_left_to_it(many: bool) -> None:
    cluster = Cluster()
    cluster.table.set_node(node("n0", cpu="4"))
    expected = pods.parse(pod("expected", cpu="3", priority=5), cluster.templates)
    cluster.cycle.nominator.set(expected, "n0")
    small = [pod(f"s{i}", cpu="300m") for i in range(6)]
    if many:
        outcomes = cluster.schedule(*small)
    else:
        outcomes = [outcome for one in small for outcome in cluster.schedule(one)]
    assert [isinstance(one, Placement) for one in outcomes] == [True] * 3 + [False] * 3
    (greater,) = cluster.schedule(pod("greater", cpu="2500m", priority=9))
    assert isinstance(greater, Placement)
    assert cluster.table.requested[0, 0] == 3400


def test_each_of_many_preemptors_gets_a_node_of_its_own() -> None:
    cluster = Cluster()
    for i in range(4):
        cluster.table.set_node(node(f"n{i}", cpu="4"))
        for j in range(4):
            cluster.place(f"p{i}{j}", f"n{i}", cpu="900m")
    outcomes = cluster.schedule(*(pod(f"big{i}", cpu="3", priority=10) for i in range(5)))
    assert len({victims_of(outcome)[0] for outcome in outcomes[:4]}) == 4
    assert all(len(victims_of(outcome)[1]) == 3 for outcome in outcomes[:4])
    assert isinstance(outcomes[4], Failure)
    assert outcomes[4].diagnosis.preempts is None


def test_preemption_helps_with_ports_and_affinity_too() -> None:
    cluster = Cluster()
    cluster.table.set_node(node("n0"))
    ports = [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
    cluster.place("port", "n0", ports=ports)
    cluster.place("other", "n0")
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "loud"}}}
    away = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    cluster.place("loud", "n0", labels={"app": "loud"})
    (outcome,) = cluster.schedule(pod("p", priority=1, ports=ports, spec={"affinity": away}))
    assert sorted(victims_of(outcome)[1]) == ["loud", "port"]


@pytest.mark.parametrize(
    ("one", "two", "best"),
    [
        ([(5, 0.0)], [(4, 0.0), (4, 0.0)], 1),
        ([(4, 0.0), (3, 0.0)], [(4, 0.0), (2, 0.0)], 1),
        ([(4, 0.0)], [(4, 0.0), (-(2**31), 0.0)], 0),
        ([(4, 1.0)], [(4, 2.0)], 1),
        ([(4, 1.0)], [(4, 1.0)], 0),
    ],
)
def test_the_best_candidate(one: list[tuple[int, float]], two: list[tuple[int, float]], best: int) -> None:
    templates = Templates(NodeTable())

    def candidate(name: str, parts: list[tuple[int, float]]) -> Candidate:
        found = []
        for priority, start in parts:
            victim = pods.parse(pod("v", priority=priority), templates)
            victim.start = start
            found.append(victim)
        return Candidate(name, tuple(sorted(found, key=importance)))

    candidates = [candidate("0", one), candidate("1", two)]
    assert pick_one(candidates) is candidates[best]
    worse = Candidate("2", candidates[best].victims, violations=1)
    assert pick_one([worse, *candidates]) is candidates[best]


@pytest.mark.parametrize("nodes", [1, 50, 100, 500, 5000])
def test_how_many_candidates_are_looked_for(nodes: int) -> None:
    assert PreemptionArgs().candidates(nodes) == min(max(nodes // 10, 100), nodes)


@pytest.mark.parametrize("seed", range(20))
def test_arithmetic_and_judgement_name_the_same_victims(seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster()
    cluster.table.set_node(node("n0", cpu="4", memory="8Gi", pods=str(rng.randrange(4, 12))))
    lower = [
        cluster.place(
            f"p{i}", "n0", cpu=f"{rng.randrange(100, 900)}m", memory=f"{rng.randrange(1, 1500)}Mi",
            priority=rng.randrange(5),
        )
        for i in range(8)
    ]  # fmt: skip
    lower.sort(key=importance)
    wanted = pods.parse(pod("w", cpu="1500m", memory="3Gi", priority=9), cluster.templates)
    ahead = [pods.parse(pod("a", cpu="500m", priority=9), cluster.templates)] if seed % 2 else []
    verdict = Verdict(wanted.template, default_profile(), cluster.table)
    before = cluster.table.requested.copy(), cluster.table.pod_log.end
    arithmetic = _Arithmetic(verdict)
    found = arithmetic.victims(0, lower, ahead), _by_judgement(verdict, 0, lower, ahead)
    assert found[0] == found[1]
    assert arithmetic.victims(0, lower, ahead) == found[1]
    fewer = lower[: rng.randrange(1, 8)]
    assert arithmetic.victims(0, fewer, ahead) == _Arithmetic(verdict).victims(0, fewer, ahead)
    assert (cluster.table.requested == before[0]).all()
    assert cluster.table.pod_log.end == before[1]
