"""Any cluster state: each decision is one that the naive twins would allow, and none of them is missed.

Decisions are taken pod by pod, in runs of identical pods and as gangs; a preemption is carried out, and must help.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from coxswain.scheduler import pod as pods
from coxswain.scheduler.content import content, differences
from coxswain.scheduler.cycle import Cycle, Failure, Placement
from coxswain.scheduler.disruption import Budgets
from coxswain.scheduler.group import Refusal, schedule_group
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.plugins.registry import default_profile
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.template import Templates
from scheduler import random_states as states
from scheduler.naive_cluster import NaiveCluster, key_of
from scheduler.naive_plugins import REQUIRED
from soak import arithmetic as sums

Object = dict[str, Any]


class Twins:
    """The scheduler's table and a naive cluster, which get the same."""

    def __init__(self, nodes: list[Object], objects: dict[str, list[Object]], percentage: int) -> None:
        self.table = NodeTable()
        self.templates = Templates(self.table)
        self.budgets = Budgets()
        self.cycle = Cycle(self.table, seed=7, budgets=self.budgets)
        self.profile = default_profile(percentage_of_nodes_to_score=percentage)
        self.naive = NaiveCluster(nodes, [], states.NAMESPACES, objects)
        self.objects: dict[str, Object] = {}
        for space in states.NAMESPACES:
            self.table.facts.set_namespace(space["metadata"]["name"], space["metadata"]["labels"])
        for kind, found in objects.items():
            for obj in found:
                self.table.volumes.set(kind.lower(), copy.deepcopy(obj))
        for obj in nodes:
            self.table.set_node(copy.deepcopy(obj))

    def parse(self, obj: Object) -> Pod:
        self.objects[key_of(obj)] = obj
        return pods.parse(copy.deepcopy(obj), self.templates)

    def place(self, obj: Object, name: str) -> None:
        """Somebody placed it already, for better or worse."""
        self.naive.place(obj, name)
        self.table.add_pod(self.parse(obj), name)

    def schedule(self, objs: list[Object]) -> list[Placement | Failure]:
        """Decide about identical pods, and judge each decision as it was when it was taken."""
        outcomes = self.cycle.schedule([self.parse(obj) for obj in objs], self.profile)
        for obj, outcome in zip(objs, outcomes, strict=True):
            good = self.naive.feasible(obj)
            if isinstance(outcome, Placement):
                assert outcome.node_name in good, self.naive.rejects(obj, outcome.node_name)
                self.naive.place(obj, outcome.node_name)
            else:
                assert not good, f"{key_of(obj)} fits on {good}: {outcome.diagnosis.message}"
        return outcomes

    def preempt(self, obj: Object, failure: Failure) -> None:
        """Whoever has to leave leaves, and the pod gets the node; nobody leaves in vain, or of equal rank."""
        candidate = failure.diagnosis.preempts
        if candidate is None:
            # What removing pods does for affinity to others is not worth a search.
            if not _minds_whom_it_evicts(obj):
                helped = self.naive.helped_by_preemption(obj)
                assert not helped, f"{key_of(obj)} could preempt on {helped}: {failure.diagnosis.message}"
            return
        victims = [self.objects[victim.key] for victim in candidate.victims]
        assert victims
        assert all(sums.priority(victim) < sums.priority(obj) for victim in victims)
        assert obj["spec"].get("preemptionPolicy") != "Never"
        after = self.naive.without(victims)
        assert not after.rejects(obj, candidate.node_name)
        if not any(map(_minds_whom_it_evicts, (obj, *victims))):
            for spared in victims:
                kept = self.naive.without([one for one in victims if one is not spared])
                assert kept.rejects(obj, candidate.node_name), f"{key_of(spared)} need not have left"
        for victim in candidate.victims:
            self.table.remove_pod(victim, candidate.node_name)
        self.naive = after
        (outcome,) = self.schedule([obj])
        assert isinstance(outcome, Placement)
        assert outcome.node_name == candidate.node_name


def _minds_whom_it_evicts(obj: Object) -> bool:
    spec = obj["spec"]
    near = (spec.get("affinity") or {}).get("podAffinity", {}).get(REQUIRED)
    return bool(near or spec.get("topologySpreadConstraints"))


def _alike(obj: Object, count: int) -> list[Object]:
    made = []
    for i in range(count):
        one = copy.deepcopy(obj)
        one["metadata"] |= {"name": f"{obj['metadata']['name']}-{i}", "uid": f"{obj['metadata']['uid']}-{i}"}
        made.append(one)
    return made


def decide_about_any_state(data: st.DataObject) -> None:
    nodes = data.draw(states.nodes())
    twins = Twins(nodes, data.draw(states.storage()), data.draw(st.sampled_from((0, 100))))
    for number in range(data.draw(st.integers(0, 3))):
        selector = {"matchLabels": {"app": states.APPS[number]}}
        budget = {"metadata": {"name": f"b{number}", "namespace": "d"}, "spec": {"selector": selector}}
        twins.budgets.set(budget | {"status": {"disruptionsAllowed": data.draw(st.integers(0, 2))}})
    for number in range(data.draw(st.integers(0, 8))):
        obj = data.draw(states.pods(f"old{number}"))
        name = data.draw(st.sampled_from(nodes))["metadata"]["name"]
        if data.draw(st.booleans()) or not twins.naive.rejects(obj, name):
            twins.place(obj, name)
    for number in range(data.draw(st.integers(1, 6))):
        obj = data.draw(states.pods(f"new{number}"))
        objs = _alike(obj, data.draw(st.sampled_from((1, 1, 2, 6))))
        if data.draw(st.integers(0, 4)) == 4:
            decide_about_gang(twins, objs, data.draw(st.integers(1, len(objs) + 1)))
            continue
        outcomes = twins.schedule(objs)
        failed = [(one, out) for one, out in zip(objs, outcomes, strict=True) if isinstance(out, Failure)]
        # The first of those that failed goes on alone: others leave nominated pods their room.
        for one, _ in failed[1:]:
            twins.cycle.nominator.remove(one["metadata"]["uid"])
        if failed:
            twins.preempt(*failed[0])
            twins.cycle.nominator.remove(failed[0][0]["metadata"]["uid"])


def decide_about_gang(twins: Twins, objs: list[Object], missing: int) -> None:
    """All that are missing at least, each where it may be; or none, and no trace of them.

    Whoever has to leave for them is of lower rank, and they are placed as was said once these have left.
    """
    before = content(twins.table)
    pods = [twins.parse(one) for one in objs]
    decided = schedule_group(twins.cycle, pods, twins.profile, missing)
    if isinstance(decided, Refusal):
        # (To ask for a label makes a column of it.)
        changed = [line for line in differences(content(twins.table), before) if ".column " not in line]
        assert not changed
        nominated = {pod.key: name for pod in pods if (name := twins.cycle.nominator.node_of(pod.uid))}
        assert nominated == decided.nominated
        if not nominated:
            return
        assert len(nominated) == missing
        _evict(twins, decided)
        decided = schedule_group(twins.cycle, pods, twins.profile, missing)
        assert not isinstance(decided, Refusal), decided
        found = {out.pod.key: out.node_name for out in decided if isinstance(out, Placement)}
        assert nominated.items() <= found.items()
    placed = [outcome for outcome in decided if isinstance(outcome, Placement)]
    assert len(placed) >= missing
    for outcome in placed:
        obj = twins.objects[outcome.pod.key]
        assert not twins.naive.rejects(obj, outcome.node_name)
        twins.naive.place(obj, outcome.node_name)
    for pod in pods:
        twins.cycle.nominator.remove(pod.uid)


def _evict(twins: Twins, refusal: Refusal) -> None:
    candidates = {
        key: refusal.failures[key].diagnosis.preempts for key in refusal.nominated if key in refusal.failures
    }
    assert any(candidates.values())
    for key, candidate in candidates.items():
        for victim in candidate.victims if candidate else ():
            assert sums.priority(twins.objects[victim.key]) < sums.priority(twins.objects[key])
            assert twins.objects[key]["spec"].get("preemptionPolicy") != "Never"
            twins.table.remove_pod(victim, refusal.nominated[key])
            twins.naive = twins.naive.without([twins.objects[victim.key]])


PHASES = [Phase.explicit, Phase.generate]
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=_SLOW, phases=PHASES)
@given(st.data())
def test_every_decision_is_one_that_the_twins_allow(data: st.DataObject) -> None:
    decide_about_any_state(data)


@pytest.mark.heavy
@settings(max_examples=3000, deadline=None, suppress_health_check=_SLOW, print_blob=True)
@given(st.data())
def test_every_decision_about_thousands_of_states(data: st.DataObject) -> None:
    decide_about_any_state(data)
