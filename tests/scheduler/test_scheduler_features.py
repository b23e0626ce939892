"""The component with preemption, profiles, gangs, extenders, hints and users' plugins, against an API in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from coxswain.api.names import EVENTS, NODES, PODS
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.scheduler import Scheduler, SchedulerConfig
from coxswain.scheduler.comparer import compare
from coxswain.scheduler.configuration import API_VERSION, KIND, parse
from coxswain.scheduler.framework import UNSCHEDULABLE, Event, Rejection, Scope
from coxswain.scheduler.lifecycle import CycleState, Wait
from coxswain.scheduler.nodetable import Node, NodeTable
from coxswain.scheduler.pod import GROUP_LABEL, GROUP_MINIMUM, Pod
from coxswain.scheduler.template import Template
from coxswain.scheduler.watching import BUDGETS, POD_GROUPS
from fakeapi import FakeApi
from scheduler.sched_objects import node, pod


@asynccontextmanager
async def scheduling(api: FakeApi, *plugins: Any, **fields: Any) -> AsyncIterator[Scheduler]:
    """``plugins`` join the default profile in front; ``fields`` are of KubeSchedulerConfiguration."""
    file = parse({"apiVersion": API_VERSION, "kind": KIND, **fields})
    scheduler = Scheduler(api.client(), SchedulerConfig(file=file))
    for name, profile in scheduler.profiles.items():
        scheduler.profiles[name] = profile._replace(
            filters=(*(p for p in plugins if hasattr(p, "filter")), *profile.filters),
            binding=(*(p for p in plugins if hasattr(p, "takes_part")), *profile.binding),
        )
    for plugin in plugins:
        scheduler._plugins[plugin.NAME] = plugin
    task = asyncio.ensure_future(scheduler.run())
    try:
        yield scheduler
    finally:
        await cancel_and_wait(task)


def node_of(api: FakeApi, name: str) -> str:
    return str(api.object(PODS, name, "d")["spec"].get("nodeName") or "")


def exists(api: FakeApi, name: str) -> bool:
    return any(one["metadata"]["name"] == name for one in api.objects(PODS))


def running(name: str, node_name: str, grace: int, **more: Any) -> dict[str, Any]:
    """A pod on a node, with its grace period in seconds."""
    obj = pod(name, **more)
    obj["spec"] |= {"nodeName": node_name, "terminationGracePeriodSeconds": grace}
    return obj


@pytest.mark.virtual
async def test_a_pod_of_higher_priority_takes_the_place_of_another() -> None:
    api = FakeApi()
    api.add(NODES, node("n0", cpu="1"))
    api.add(PODS, running("victim", "n0", 0, cpu="1"))
    async with scheduling(api):
        await clock.sleep(1)
        api.add(PODS, pod("important", cpu="1", priority=10))
        await clock.sleep(0.05)
        first = api.object(PODS, "important", "d")
        await clock.sleep(10)
        assert not exists(api, "victim")
        assert node_of(api, "important") == "n0"
    assert first["status"].get("nominatedNodeName", "n0") == "n0"
    events = {event["reason"]: event for event in api.objects(EVENTS)}
    assert events["Preempted"]["message"] == "Preempted by pod uid-important on node n0"
    assert events["Preempted"]["type"] == "Normal"
    assert events["FailedScheduling"]["message"] == "0/1 nodes are available: 1 Insufficient cpu."


@pytest.mark.virtual
async def test_victims_end_with_their_grace_and_the_condition_that_says_why() -> None:
    api = FakeApi()
    api.add(NODES, node("n0", cpu="1"))
    api.add(PODS, running("victim", "n0", 30, cpu="1"))
    api.add(PODS, pod("important", cpu="1", priority=10))
    async with scheduling(api) as scheduler:
        await clock.sleep(20)
        ending = api.object(PODS, "victim", "d")
        assert "deletionTimestamp" in ending["metadata"]
        (condition,) = (c for c in ending["status"]["conditions"] if c["type"] == "DisruptionTarget")
        assert (condition["status"], condition["reason"]) == ("True", "PreemptionByScheduler")
        assert condition["message"] == "default-scheduler: preempting to accommodate a higher priority pod"
        assert api.object(PODS, "important", "d")["status"]["nominatedNodeName"] == "n0"
        # Its room is not given to a lesser pod meanwhile.
        api.change(PODS, "victim", "d", lambda p: p["status"].update(phase="Failed"))
        api.add(PODS, pod("lesser", cpu="1"))
        await clock.sleep(15)
        assert node_of(api, "important") == "n0"
        assert node_of(api, "lesser") == ""
        assert len(scheduler.cycle.nominator) == 0


@pytest.mark.virtual
async def test_a_better_preemptor_takes_the_nomination_of_a_lesser_one() -> None:
    api = FakeApi()
    api.add(NODES, node("n0", cpu="1"))
    api.add(PODS, running("victim", "n0", 30, cpu="1"))
    async with scheduling(api):
        await clock.sleep(1)
        api.add(PODS, pod("good", cpu="1", priority=5))
        await clock.sleep(2)
        assert api.object(PODS, "good", "d")["status"]["nominatedNodeName"] == "n0"
        api.add(PODS, pod("better", cpu="1", priority=9))
        await clock.sleep(5)
        assert "nominatedNodeName" not in api.object(PODS, "good", "d")["status"]
        assert api.object(PODS, "better", "d")["status"]["nominatedNodeName"] == "n0"
        api.change(PODS, "victim", "d", lambda p: p["status"].update(phase="Failed"))
        await clock.sleep(30)
        assert (node_of(api, "better"), node_of(api, "good")) == ("n0", "")


@pytest.mark.virtual
async def test_budgets_decide_who_has_to_go() -> None:
    api = FakeApi()
    for i in range(2):
        api.add(NODES, node(f"n{i}", cpu="1"))
        api.add(PODS, running(f"v{i}", f"n{i}", 0, cpu="1", labels={"app": f"a{i}"}))
    api.add(
        BUDGETS,
        {
            "metadata": {"name": "b", "namespace": "d"},
            "spec": {"selector": {"matchLabels": {"app": "a0"}}},
            "status": {"disruptionsAllowed": 0},
        },
    )
    api.add(PODS, pod("p", cpu="1", priority=1))
    async with scheduling(api):
        await clock.sleep(10)
    assert node_of(api, "p") == "n1"
    assert exists(api, "v0")
    assert not exists(api, "v1")


def member(name: str, group: str, minimum: int, **more: Any) -> dict[str, Any]:
    obj = pod(name, labels={GROUP_LABEL: group}, **more)
    obj["metadata"]["annotations"] = {GROUP_MINIMUM: str(minimum)}
    return obj


@pytest.mark.virtual
async def test_a_gang_is_placed_whole_or_not_at_all() -> None:
    api = FakeApi()
    api.add(NODES, node("n0", cpu="2"))
    async with scheduling(api) as scheduler:
        for i in range(2):
            api.add(PODS, member(f"a{i}", "a", 3, cpu="1"))
        await clock.sleep(5)
        assert scheduler.queue.size("gated") == 2
        api.add(PODS, member("a2", "a", 3, cpu="1"))
        await clock.sleep(5)
        assert [node_of(api, f"a{i}") for i in range(3)] == ["", "", ""]
        assert scheduler.table.requested.sum() == 0
        message = str(api.object(PODS, "a0", "d")["status"]["conditions"])
        assert "minCount (3) cannot be satisfied: 2 scheduled, 1 remaining" in message
        api.add(NODES, node("n1", cpu="1"))
        await clock.sleep(15)
        assert sorted(node_of(api, f"a{i}") for i in range(3)) == ["n0", "n0", "n1"]


@pytest.mark.virtual
async def test_room_that_nobody_is_nominated_to_any_more_is_given_away() -> None:
    api = FakeApi()
    api.add(NODES, node("n0", cpu="4"))
    api.add(PODS, running("victim", "n0", 30, cpu="2"))
    async with scheduling(api):
        await clock.sleep(1)
        api.add(PODS, pod("large", cpu="3", priority=5))
        await clock.sleep(2)
        assert api.object(PODS, "large", "d")["status"]["nominatedNodeName"] == "n0"
        api.add(PODS, pod("small", cpu="2"))
        await clock.sleep(2)
        (condition,) = api.object(PODS, "small", "d")["status"]["conditions"]
        assert condition["message"].startswith("0/1 nodes are available: 1 Insufficient cpu. ")
        # It takes what the victim will leave, so the nomination is void.
        api.add(PODS, pod("better", cpu="2", priority=9))
        await clock.sleep(2)
        assert node_of(api, "better") == "n0"
        api.change(PODS, "victim", "d", lambda p: p["status"].update(phase="Failed"))
        await clock.sleep(30)
        assert node_of(api, "large") == ""
        assert node_of(api, "small") == "n0"


@pytest.mark.virtual
@pytest.mark.parametrize("gives_up", ["deleted", "withdrawn"])
async def test_the_room_of_a_nominated_pod_that_goes_is_free(gives_up: str) -> None:
    api = FakeApi()
    api.add(NODES, node("n0", cpu="2"))
    large = pod("large", cpu="3", priority=5)
    large["status"]["nominatedNodeName"] = "n0"
    api.add(PODS, large)
    async with scheduling(api):
        await clock.sleep(1)
        api.change(PODS, "large", "d", lambda p: p["status"].update(nominatedNodeName="n0"))
        api.add(PODS, pod("small", cpu="1"))
        await clock.sleep(2)
        assert node_of(api, "small") == ""
        if gives_up == "deleted":
            api.remove(PODS, "large", "d")
        else:
            api.change(PODS, "large", "d", lambda p: p["status"].pop("nominatedNodeName"))
        await clock.sleep(15)
        assert node_of(api, "small") == "n0"


@pytest.mark.virtual
async def test_a_gang_makes_room_for_all_of_it() -> None:
    api = FakeApi()
    for i in range(3):
        api.add(NODES, node(f"n{i}", cpu="1"))
    for i in range(2):
        api.add(PODS, running(f"v{i}", f"n{i}", 30, cpu="1"))
    async with scheduling(api) as scheduler:
        for i in range(3):
            api.add(PODS, member(f"a{i}", "a", 3, cpu="1", priority=5))
        await clock.sleep(5)
        # Who found room at once keeps it for the time when the others have theirs.
        nominated = {api.object(PODS, f"a{i}", "d")["status"]["nominatedNodeName"] for i in range(3)}
        assert nominated == {"n0", "n1", "n2"}
        assert scheduler.table.requested[0].sum() == 2000
        api.add(PODS, pod("lesser", cpu="1"))
        await clock.sleep(5)
        for i in range(2):
            assert "deletionTimestamp" in api.object(PODS, f"v{i}", "d")["metadata"]
            api.change(PODS, f"v{i}", "d", lambda p: p["status"].update(phase="Failed"))
            await clock.sleep(12)
            whole = {node_of(api, f"a{j}") for j in range(3)}
            assert whole == ({"n0", "n1", "n2"} if i else {""})
        assert node_of(api, "lesser") == ""
        assert len(scheduler.cycle.nominator) == 0


@pytest.mark.virtual
async def test_nobody_is_evicted_for_a_gang_that_would_not_run_then() -> None:
    api = FakeApi()
    for i, priority in enumerate((0, 9)):
        api.add(NODES, node(f"n{i}", cpu="1"))
        api.add(PODS, running(f"v{i}", f"n{i}", 0, cpu="1", priority=priority))
    async with scheduling(api) as scheduler:
        for i in range(2):
            api.add(PODS, member(f"a{i}", "a", 2, cpu="1", priority=5))
        await clock.sleep(20)
        assert [node_of(api, f"a{i}") for i in range(2)] == ["", ""]
        assert all("nominatedNodeName" not in api.object(PODS, f"a{i}", "d")["status"] for i in range(2))
        assert "deletionTimestamp" not in api.object(PODS, "v0", "d")["metadata"]
        assert len(scheduler.cycle.nominator) == 0
        # The last one that is missing may be worth an eviction.
        api.remove(PODS, "v1", "d")
        await clock.sleep(20)
        assert sorted(node_of(api, f"a{i}") for i in range(2)) == ["n0", "n1"]
        assert not exists(api, "v0")


class RaisesOnce:
    """A filter that fails when it is asked for the ``turn``-th time."""

    NAME = "RaisesOnce"
    SCOPE = Scope.CLUSTER
    EVENTS = Event(0)

    def __init__(self, turn: int) -> None:
        self.left = turn

    def needed(self, template: Template) -> bool:
        return "important" in template.labels

    def relevant(self, template: Template, table: NodeTable) -> bool:
        return True

    def filter(self, template: Template, table: NodeTable, rows: Any) -> Any:
        self.left -= 1
        if not self.left:
            raise RuntimeError("boom")
        return np.zeros(len(rows), np.uint8)


@pytest.mark.virtual
@pytest.mark.parametrize("turn", range(1, 14))
async def test_a_plugin_that_fails_while_a_gang_is_decided_leaves_no_trace(turn: int) -> None:
    api = FakeApi()
    for i in range(3):
        api.add(NODES, node(f"n{i}", cpu="1"))
    for i in range(2):
        api.add(PODS, running(f"v{i}", f"n{i}", 0, cpu="1"))
    plugin = RaisesOnce(turn)
    async with scheduling(api, plugin) as scheduler:
        for i in range(3):
            obj = member(f"a{i}", "a", 3, cpu="1", priority=5)
            obj["metadata"]["labels"]["important"] = ""
            api.add(PODS, obj)
        await clock.sleep(40)
        assert {node_of(api, f"a{i}") for i in range(3)} == {"n0", "n1", "n2"}
        assert plugin.left <= 0
        assert (await compare(scheduler)).differences == []
        assert scheduler.table.requested[0].sum() == 3000


@pytest.mark.virtual
async def test_a_gang_that_lost_what_it_waited_for_starts_again() -> None:
    api = FakeApi()
    for i in range(2):
        api.add(NODES, node(f"n{i}", cpu="1"))
    api.add(PODS, running("victim", "n0", 30, cpu="1"))
    async with scheduling(api):
        for i in range(2):
            api.add(PODS, member(f"a{i}", "a", 2, cpu="1", priority=5))
        await clock.sleep(5)
        assert "deletionTimestamp" in api.object(PODS, "victim", "d")["metadata"]
        api.add(PODS, pod("better", cpu="1", priority=9))
        await clock.sleep(5)
        api.change(PODS, "victim", "d", lambda p: p["status"].update(phase="Failed"))
        await clock.sleep(30)
        assert node_of(api, "better")
        assert [node_of(api, f"a{i}") for i in range(2)] == ["", ""]
        api.add(NODES, node("n2", cpu="1"))
        await clock.sleep(30)
        assert sorted([node_of(api, "better"), *(node_of(api, f"a{i}") for i in range(2))]) == [
            "n0",
            "n1",
            "n2",
        ]


@pytest.mark.virtual
async def test_a_pod_group_object_says_how_many_are_needed() -> None:
    api = FakeApi()
    api.add(NODES, node("n0"))
    for i in range(2):
        api.add(PODS, pod(f"p{i}", spec={"schedulingGroup": {"podGroupName": "g"}}))
    async with scheduling(api):
        await clock.sleep(5)
        assert node_of(api, "p0") == ""
        policy = {"schedulingPolicy": {"gang": {"minCount": 2}}}
        api.add(POD_GROUPS, {"metadata": {"name": "g", "namespace": "d"}, "spec": policy})
        await clock.sleep(5)
        assert node_of(api, "p0") == node_of(api, "p1") == "n0"


@pytest.mark.virtual
async def test_each_profile_has_its_own_pods_and_plugins() -> None:
    api = FakeApi()
    api.add(NODES, node("n0", taints=[{"key": "k", "effect": "NoSchedule"}]))
    for name in ("default-scheduler", "careless", "foreign"):
        api.add(PODS, pod(name, spec={"schedulerName": name}))
    careless = {
        "schedulerName": "careless",
        "plugins": {"filter": {"disabled": [{"name": "TaintToleration"}]}},
    }
    async with scheduling(api, profiles=[{"schedulerName": "default-scheduler"}, careless]):
        await clock.sleep(3)
    assert node_of(api, "careless") == "n0"
    assert node_of(api, "default-scheduler") == node_of(api, "foreign") == ""
    assert {event["reportingComponent"] for event in api.objects(EVENTS)} == {"default-scheduler", "careless"}


@pytest.mark.virtual
async def test_only_changes_that_help_wake_a_pod() -> None:
    api = FakeApi()
    api.add(NODES, node("n0"))
    api.add(PODS, pod("p", spec={"nodeSelector": {"disk": "ssd"}}))
    async with scheduling(api) as scheduler:
        await clock.sleep(30)
        queued = scheduler.queue.get("d/p")
        assert queued is not None
        attempts = queued.attempts
        api.add(NODES, node("n1", labels={"disk": "hdd"}))
        await clock.sleep(30)
        assert queued.attempts == attempts
        api.add(NODES, node("n2", labels={"disk": "ssd"}))
        await clock.sleep(2)
        assert node_of(api, "p") == "n2"


class Turnstile:
    """A plugin of every point after a node was chosen; remembers what it was asked."""

    NAME = "Turnstile"
    EVENTS = Event.NODE_ADD

    def __init__(self, **answers: Any) -> None:
        self.said: list[str] = []
        self._answers = answers

    def takes_part(self, pod: Pod) -> bool:
        return True

    def _answer(self, point: str) -> Any:
        self.said.append(point)
        return self._answers.get(point)

    def reserve(self, state: CycleState, pod: Pod, node_name: str) -> Rejection | None:
        state["Turnstile"] = node_name
        answer: Rejection | None = self._answer("reserve")
        return answer

    def unreserve(self, state: CycleState, pod: Pod, node_name: str) -> None:
        assert state["Turnstile"] == node_name
        self._answer("unreserve")

    def permit(self, state: CycleState, pod: Pod, node_name: str) -> Any:
        return self._answer("permit")

    async def pre_bind(self, state: CycleState, pod: Pod, node_name: str) -> Rejection | None:
        answer: Rejection | None = self._answer("pre_bind")
        return answer

    def post_bind(self, state: CycleState, pod: Pod, node_name: str) -> None:
        self._answer("post_bind")


@pytest.mark.virtual
async def test_plugins_take_part_in_binding_in_order() -> None:
    api = FakeApi()
    api.add(NODES, node("n0"))
    api.add(PODS, pod("p"))
    plugin = Turnstile()
    async with scheduling(api, plugin):
        await clock.sleep(2)
    assert node_of(api, "p") == "n0"
    assert plugin.said == ["reserve", "permit", "pre_bind", "post_bind"]


@pytest.mark.virtual
@pytest.mark.parametrize("point", ["reserve", "permit", "pre_bind"])
async def test_whoever_refuses_gives_the_room_back(point: str) -> None:
    api = FakeApi()
    api.add(NODES, node("n0"))
    api.add(PODS, pod("p"))
    plugin = Turnstile(**{point: Rejection(UNSCHEDULABLE, ("not today",))})
    async with scheduling(api, plugin) as scheduler:
        await clock.sleep(3)
        assert node_of(api, "p") == ""
        assert plugin.said[-1] == "unreserve"
        assert scheduler.table.requested.sum() == 0
        assert "not today" in str(api.object(PODS, "p", "d")["status"])


@pytest.mark.virtual
async def test_permit_holds_a_pod_until_it_is_allowed_or_too_late() -> None:
    api = FakeApi()
    api.add(NODES, node("n0"))
    api.add(PODS, pod("p"))
    plugin = Turnstile(permit=Wait(10))
    async with scheduling(api, plugin) as scheduler:
        await clock.sleep(5)
        (held,) = scheduler.waiting()
        assert (held.pod.name, held.node_name) == ("p", "n0")
        await clock.sleep(6)
        assert "rejected due to timeout after waiting 10s at plugin Turnstile" in str(api.objects(EVENTS))
        api.add(NODES, node("n1"))
        await clock.sleep(3)
        (held,) = scheduler.waiting()
        held.allow("Turnstile")
        await clock.sleep(1)
        assert node_of(api, "p")


class OddNodes:
    """A user's plugin for one node at a time."""

    NAME = "OddNodes"

    def filter_node(self, template: Template, node: Node) -> Rejection | None:
        odd = int(node.name[1:]) % 2 == 1
        return None if odd else Rejection(UNSCHEDULABLE, ("node(s) were even",))

    def score_node(self, template: Template, node: Node) -> int:
        return int(node.name[1:])


@pytest.mark.virtual
async def test_a_users_plugin_comes_from_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    class Found:
        def load(self) -> Any:
            return lambda args: OddNodes()

    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group, name: [Found()] if name == "OddNodes" else []
    )
    api = FakeApi()
    for i in range(6):
        api.add(NODES, node(f"n{i}"))
    for i in range(3):
        api.add(PODS, pod(f"p{i}"))
    api.add(PODS, pod("nowhere", spec={"nodeSelector": {"kubernetes.io/hostname": "n2"}}))
    enabled = {"multiPoint": {"enabled": [{"name": "OddNodes", "weight": 100}]}}
    async with scheduling(api, profiles=[{"plugins": enabled}]):
        await clock.sleep(3)
    assert {node_of(api, f"p{i}") for i in range(3)} == {"n5"}
    assert "1 node(s) were even" in str(api.object(PODS, "nowhere", "d")["status"])
