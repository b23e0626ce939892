"""The example in ``examples/scheduler_plugin`` works as it says."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from coxswain.scheduler import pod as pods
from coxswain.scheduler.configuration import load
from coxswain.scheduler.cycle import Cycle, Placement
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.profiles import build_all
from coxswain.scheduler.template import Templates
from scheduler.sched_objects import node, pod

EXAMPLE = Path(__file__).parents[2] / "examples" / "scheduler_plugin"


def test_the_example_filters_and_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("rack_aware", EXAMPLE / "rack_aware.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class Found:
        def __init__(self, name: str) -> None:
            self._name = name

        def load(self) -> Any:
            return getattr(module, self._name)

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group, name: [Found(name)])
    profile = build_all(load(EXAMPLE / "scheduler.yaml"))["rack-aware"]
    table = NodeTable()
    soft = [{"key": "k", "effect": "PreferNoSchedule"}]
    table.set_node(node("weak", labels={"power": "low"}))
    table.set_node(node("tainted", taints=soft))
    table.set_node(node("good"))
    templates = Templates(table)
    cycle = Cycle(table, seed=1)
    (outcome,) = cycle.schedule([pods.parse(pod("p"), templates)], profile)
    assert isinstance(outcome, Placement)
    assert outcome.node_name == "good"
    only = pod("q", spec={"nodeSelector": {"kubernetes.io/hostname": "weak"}})
    (failed,) = cycle.schedule([pods.parse(only, templates)], profile)
    assert not isinstance(failed, Placement)
    assert "1 node(s) were on a rack short of power" in failed.diagnosis.message
