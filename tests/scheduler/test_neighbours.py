"""Spreading and pod affinity in batches: placed as one at a time, whatever happens between the batches."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coxswain._native import neighbours
from coxswain._native.neighbours import Neighbours
from coxswain.scheduler import pod as pods
from coxswain.scheduler.cycle import Cycle, Placement
from coxswain.scheduler.framework import Profile
from coxswain.scheduler.neighbourhood import Neighbourhood
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.plugins.inter_pod_affinity import InterPodAffinity, terms_of
from coxswain.scheduler.plugins.pod_topology_spread import PodTopologySpread
from coxswain.scheduler.plugins.registry import default_profile
from coxswain.scheduler.template import Templates
from scheduler.naive_plugins import HOST, REQUIRED, ZONE
from scheduler.sched_objects import node, pod
from scheduler.test_plugins_against_twins import labelled_pod, random_affinity, random_constraint

Object = dict[str, Any]


def random_node(rng: random.Random, name: str) -> Object:
    labels = rng.choice(({}, {ZONE: "a"}, {ZONE: "b"}, {ZONE: "c"})) | rng.choice(
        ({}, {"gen": "2"}, {"gen": "4"})
    )
    taints = rng.choice((None, None, None, [{"key": "k", "value": "v", "effect": "NoSchedule"}]))
    return node(name, labels=labels, taints=taints, pods=rng.choice(("2", "4", "110")))


def waiting_pod(rng: random.Random) -> Object:
    """A pod that minds others, nearly always."""
    spec: Object = {}
    if rng.random() < 0.7:
        spec["affinity"] = random_affinity(rng)
    if rng.random() < 0.6:
        spec["topologySpreadConstraints"] = [random_constraint(rng) for _ in range(rng.randrange(1, 4))]
    if rng.random() < 0.15:
        field = {"key": "metadata.name", "operator": "In", "values": ["n1", "n2", "n77"]}
        required = {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [field]}]}}
        spec["affinity"] = {**spec.get("affinity", {}), "nodeAffinity": required}
    labels = {"app": rng.choice("ab")} | rng.choice(({}, {"tier": "x"}))
    return pod("w", namespace=rng.choice("de"), labels=labels, spec=spec)


class World:
    """A table, its templates, and a cycle that places in batches or one at a time."""

    def __init__(self, nodes: list[Object], *, batches: bool) -> None:
        self.table = NodeTable()
        self.templates = Templates(self.table)
        for name, labels in (("d", {"team": "x"}), ("e", {})):
            self.table.facts.set_namespace(name, labels)
        for obj in nodes:
            self.table.set_node(obj)
        self.cycle = Cycle(self.table, seed=5)
        self.batches = batches
        #: Pods that the kernel placed minding others.
        self.minding = 0
        ordinary = self.cycle._schedule_batch

        def watched(pods: Any, verdict: Any, neighbours: Any = None, named: Any = None) -> Any:
            placed = ordinary(pods, verdict, neighbours, named)
            self.minding += len(placed) if neighbours is not None else 0
            return placed

        self.cycle._schedule_batch = watched  # type: ignore[method-assign]
        if not batches:
            self.cycle._batchable = lambda verdict: False  # type: ignore[method-assign]
            self.cycle._place_first = lambda pod, profile: None  # type: ignore[method-assign]

    def schedule(self, obj: Object, name: str, count: int, profile: Profile) -> list[str]:
        """The nodes of ``count`` such pods; stops at the first that fits nowhere."""
        run = []
        for i in range(count):
            metadata = {**obj["metadata"], "name": f"{name}-{i}", "uid": f"{name}-{i}"}
            run.append(pods.parse({**obj, "metadata": metadata}, self.templates, placed=False))
        step = len(run) if self.batches else 1
        found: list[str] = []
        for start in range(0, len(run), step):
            outcomes = self.cycle.schedule(run[start : start + step], profile, preempt=False)
            found += [one.node_name for one in outcomes if isinstance(one, Placement)]
            if not all(isinstance(one, Placement) for one in outcomes):
                break
        return found

    def place(self, obj: Object, node_name: str, *, deleting: bool = False) -> None:
        metadata = {**obj["metadata"], **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleting else {})}
        self.table.add_pod(pods.parse({**obj, "metadata": metadata}, self.templates), node_name)

    def take_one_away(self, at: int) -> None:
        held = [(pod, found.name) for found in self.table for pod in found.pods.values()]
        if held:
            self.table.remove_pod(*held[at % len(held)])


def go_on(rng: random.Random, worlds: list[World], step: int, size: int) -> None:
    """Something else happens in all worlds."""
    action, name = rng.random(), f"n{rng.randrange(size + 2)}"
    if action < 0.3:
        obj = random_node(rng, name)
        for world in worlds:
            world.table.set_node(obj)
    elif action < 0.35:
        for world in worlds:
            world.table.remove_node(name)
    elif action < 0.4:
        labels = {"team": rng.choice("xy")}
        for world in worlds:
            world.table.facts.set_namespace("e", labels)
    elif action < 0.45:
        selector = rng.choice(({"app": "a"}, {"app": "b"}, None))
        for world in worlds:
            world.table.facts.set_service("d", "s", selector)
    elif action < 0.8:
        obj, deleting = labelled_pod(rng, f"other{step}"), rng.random() < 0.2
        for world in worlds:
            world.place(obj, name, deleting=deleting)
    else:
        at = rng.randrange(1000)
        for world in worlds:
            world.take_one_away(at)


def compare(seed: int, percentage: int, size: int) -> int:
    """How many pods that mind others were placed alike in both worlds."""
    rng = random.Random(seed)
    profile = default_profile(percentage_of_nodes_to_score=percentage)
    nodes = [random_node(rng, f"n{i}") for i in range(size)]
    worlds = [World(nodes, batches=True), World(nodes, batches=False)]
    kinds = [waiting_pod(rng) for _ in range(3)]
    for step in range(12):
        for _ in range(rng.randrange(4)):
            go_on(rng, worlds, step * 10 + _, size)
        kind, count = rng.choice(kinds), rng.randrange(2, 12)
        mine, theirs = (world.schedule(kind, f"s{step}", count, profile) for world in worlds)
        assert mine == theirs, f"step {step}"
        assert worlds[0].cycle._start == worlds[1].cycle._start
        assert worlds[0].cycle._chance == worlds[1].cycle._chance
    assert np.array_equal(worlds[0].table.requested, worlds[1].table.requested)
    assert worlds[1].minding == 0
    return worlds[0].minding


@pytest.mark.parametrize("percentage", [0, 100])
def test_batches_of_pods_that_mind_others_are_placed_as_one_at_a_time(percentage: int) -> None:
    rng = random.Random(percentage)
    placed = [compare(seed, percentage, rng.choice((3, 8, 130))) for seed in range(40)]
    assert sum(map(bool, placed)) > 30
    assert sum(placed) > 700


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((5, 20, 100)), st.integers(1, 160))
def test_any_history_places_batches_as_one_at_a_time(seed: int, percentage: int, size: int) -> None:
    compare(seed, percentage, size)


@pytest.mark.parametrize("seed", range(40))
def test_kept_tallies_equal_those_counted_afresh(seed: int) -> None:
    rng = random.Random(seed)
    nodes = [random_node(rng, f"n{i}") for i in range(8)]
    world = World(nodes, batches=True)
    profile = default_profile()
    kinds = [pods.parse(waiting_pod(rng), world.templates, placed=False).template for _ in range(4)]

    def hood(template: Any) -> Neighbourhood:
        return Neighbourhood(template, world.table, profile.filters, profile.scores)

    kept = [hood(template) for template in kinds]
    for step in range(60):
        go_on(rng, [world], step, 8)
        for template, one in zip(kinds, kept, strict=True):
            fresh = hood(template)
            assert (one.refresh() is None) <= (fresh.refresh() is None)
            for slot, tally in fresh._tallies.items():
                assert tally.counts.tolist() == one._tallies[slot].counts.tolist(), slot
            for slot in one._tallies.keys() - fresh._tallies.keys():
                assert not one._tallies[slot].counts.any(), "a rule of pods that are gone"


def test_plain_pods_have_no_neighbours() -> None:
    world = World([node("n0")], batches=True)
    template = pods.parse(pod("p"), world.templates).template
    profile = default_profile()
    plain = Neighbourhood(template, world.table, profile.filters, profile.scores)
    assert plain.refresh() is None
    world.place(pod("other"), "n0")
    assert plain.refresh() is None
    away = {"podAntiAffinity": {REQUIRED: [{"topologyKey": HOST, "labelSelector": {}}]}}
    world.place(pod("shy", spec={"affinity": away}), "n0")
    assert plain.refresh() is not None


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_found_by_labels_as_by_looking_at_all(seed: int) -> None:
    rng = random.Random(seed)
    world = World([random_node(rng, f"n{i}") for i in range(6)], batches=True)
    placed, facts = world.table.placed, world.table.facts
    kinds = [pods.parse(waiting_pod(rng), world.templates, placed=False).template for _ in range(6)]
    for step in range(60):
        go_on(rng, [world], step, 6)
        for template in kinds:
            terms = terms_of(template)
            for selector in (term.selector for term in (*terms.affinity, *terms.anti, *terms.preferred)):
                among = list(placed.selected(selector).values())
                assert all(group in among for group in placed if selector.matches(group.template.labels))
            among = list(placed.opinionated_of(template.labels))
            for group in placed.opinionated:
                theirs = terms_of(group.template)
                means = any(
                    term.matches(template, facts)
                    for term in (*theirs.affinity, *theirs.anti, *theirs.preferred)
                )
                assert not means or group in among
    while any(found.pods for found in world.table):
        world.take_one_away(0)
    for name in list(world.table.row_of):
        world.table.remove_node(name)
    assert (len(placed), placed._labelled, placed._about) == (0, {}, {})


def test_only_plugins_that_a_profile_has_are_asked() -> None:
    world = World([node("n0", labels={ZONE: "a"})], batches=True)
    constraint = {
        "maxSkew": 1,
        "topologyKey": ZONE,
        "labelSelector": {"matchLabels": {"app": "a"}},
    }
    both = [{**constraint, "whenUnsatisfiable": kind} for kind in ("DoNotSchedule", "ScheduleAnyway")]
    obj = pod("p", labels={"app": "a"}, spec={"topologySpreadConstraints": both})
    template = pods.parse(obj, world.templates).template
    plugins = [PodTopologySpread(), InterPodAffinity()]
    profile = default_profile()
    for filters, scores, slots in (
        (plugins, profile.scores, 2),
        (plugins, (), 1),
        ([], profile.scores, 1),
        ([], (), 0),
    ):
        hood = Neighbourhood(template, world.table, filters, scores)
        hood.refresh()
        assert len(hood._tallies) == slots


def test_the_kernel_is_compiled_and_refuses_counters_that_make_no_sense() -> None:
    assert str(neighbours.__file__).endswith(".so")
    rows, counts, none = np.zeros(3, np.int32), np.zeros(1, np.int64), np.empty(0, np.uint8)

    def counter(kind: int, present: Any = none, rows: Any = rows) -> Any:
        return (kind, rows, rows, counts, present, 1, 1, 1, 1, False)

    Neighbours([counter(0), counter(3)], True, True, 1, 1)
    for wrong in ([counter(3), counter(0)], [counter(2)], [counter(0, rows=rows[:0])]):
        with pytest.raises(ValueError, match=r"counters?|domain"):
            Neighbours(wrong, True, True, 1, 1)
