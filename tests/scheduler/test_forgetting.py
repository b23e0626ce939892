"""What is gone is forgotten: templates and verdicts of pods that there are no more, without a garbage collector."""

from __future__ import annotations

import gc

import pytest

from coxswain.scheduler import placed
from coxswain.scheduler import pod as pods
from coxswain.scheduler.cycle import Cycle, Placement
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.plugins.registry import default_profile
from coxswain.scheduler.template import Template, Templates
from coxswain.scheduler.verdict import Verdict
from scheduler.naive_plugins import HOST, PREFERRED, REQUIRED, ZONE
from scheduler.sched_objects import node, pod

KEPT, LOGGED = 20, 20


def alive(kind: type) -> int:
    return sum(isinstance(obj, kind) for obj in gc.get_objects())


def opinionated(number: int) -> dict:
    """A pod like no other, whose rules are about all others."""
    selector = {"matchLabels": {"app": "a"}}
    term = {"topologyKey": ZONE, "labelSelector": selector}
    affinity = {
        "podAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": term}]},
        "podAntiAffinity": {
            REQUIRED: [{"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": "b"}}}]
        },
    }
    spread = [
        {"maxSkew": 9, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}
    ]
    labels = {"app": "a", "number": str(number)}
    spec = {"affinity": affinity, "topologySpreadConstraints": spread}
    return pod("p", labels=labels, spec=spec if number % 3 else {})


def test_what_follows_from_pods_that_are_gone_goes_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placed, "_LOGGED", LOGGED)
    table = NodeTable()
    templates = Templates(table, limit=KEPT)
    # Memory for the least number of verdicts.
    cycle, profile = Cycle(table, seed=1, memory=0), default_profile()
    for i in range(6):
        table.set_node(node(f"n{i}", labels={ZONE: "abc"[i % 3]}))
    before_templates, before_verdicts = alive(Template), alive(Verdict)
    running = []
    gc.disable()
    try:
        for number in range(400):
            one = opinionated(number)
            batch = []
            for i in range(3):
                one["metadata"]["uid"] = f"{number}-{i}"
                batch.append(pods.parse(one, templates))
            outcomes = cycle.schedule(batch[:1], profile) + cycle.schedule(batch[1:], profile)
            running += [outcome for outcome in outcomes if isinstance(outcome, Placement)]
            while len(running) > 30:
                gone = running.pop(0)
                table.remove_pod(gone.pod, gone.node_name)
        del batch, outcomes, gone
        in_use = {id(one.pod.template) for one in running}
        held = sum(1 for _ in cycle.kept_verdicts())
        assert alive(Verdict) - before_verdicts <= held + 32  # and those of shapes of first pods
        assert alive(Template) - before_templates <= len(in_use) + KEPT + 2 * LOGGED + held + 32
    finally:
        gc.enable()
