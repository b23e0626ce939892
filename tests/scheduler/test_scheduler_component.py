"""The scheduler against an API server in memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from coxswain.api.errors import Conflict, InternalError, TooManyRequests
from coxswain.api.names import EVENTS, NAMESPACES, NODES, PODS, SERVICES
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.client import ApiClient
from coxswain.client.interface import Answers, Call
from coxswain.scheduler import Scheduler, SchedulerConfig
from coxswain.scheduler import pod as pods
from coxswain.scheduler.cache import Cache
from coxswain.scheduler.comparer import compare
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.template import Templates
from fakeapi import FakeApi
from scheduler.sched_objects import node, pod


@asynccontextmanager
async def scheduling(api: FakeApi, **settings: object) -> AsyncIterator[Scheduler]:
    scheduler = Scheduler(api.client(), SchedulerConfig(**settings))  # type: ignore[arg-type]
    task = asyncio.ensure_future(scheduler.run())
    try:
        yield scheduler
    finally:
        await cancel_and_wait(task)


def node_of(api: FakeApi, name: str) -> str:
    return str(api.object(PODS, name, "d")["spec"].get("nodeName") or "")


@pytest.mark.virtual
async def test_pods_are_bound_and_nobody_is_overcommitted() -> None:
    api = FakeApi()
    for i in range(10):
        api.add(NODES, node(f"n{i}", cpu="1"))
    for i in range(100):
        api.add(PODS, pod(f"p{i}"))
    async with scheduling(api):
        await clock.sleep(5)
    counts: dict[str, int] = {}
    for i in range(100):
        counts[node_of(api, f"p{i}")] = counts.get(node_of(api, f"p{i}"), 0) + 1
    assert counts == {f"n{i}": 10 for i in range(10)}


@pytest.mark.virtual
async def test_scheduled_event_has_kubernetes_words() -> None:
    api = FakeApi()
    api.add(NODES, node("n0"))
    api.add(PODS, pod("p"))
    async with scheduling(api):
        await clock.sleep(2)
    (event,) = api.objects(EVENTS)
    assert event["message"] == "Successfully assigned d/p to n0"
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "Scheduled", "Binding")
    assert event["reportingComponent"] == "default-scheduler"
    assert not event["source"]


@pytest.mark.virtual
async def test_a_burst_is_placed_before_anything_is_told_about_it() -> None:
    api = FakeApi()
    for i in range(50):
        api.add(NODES, node(f"n{i}", cpu="100"))
    for i in range(1500):
        api.add(PODS, pod(f"p{i}"))
    async with scheduling(api):
        await clock.sleep(4)
    written = [resource for verb, resource, _ in api.writes() if verb == "create"]
    assert len(written) == 3000
    assert set(written[:1500]) == {"pods/binding"}


@pytest.mark.virtual
async def test_a_pod_that_fits_nowhere_is_told_why() -> None:
    api = FakeApi()
    for i in range(3):
        api.add(NODES, node(f"n{i}", cpu="1"))
    api.add(PODS, pod("huge", cpu="9"))
    api.add(PODS, pod("stuck", spec={"nodeSelector": {"disk": "ssd"}}))
    async with scheduling(api):
        await clock.sleep(2)
    huge = (
        "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    stuck = (
        "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. no new claims to "
        "deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    for name, message in (("huge", huge), ("stuck", stuck)):
        (condition,) = api.object(PODS, name, "d")["status"]["conditions"]
        assert condition["type"] == "PodScheduled"
        assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
        assert condition["message"] == message
    assert {e["message"] for e in api.objects(EVENTS)} == {huge, stuck}
    assert {e["reason"] for e in api.objects(EVENTS)} == {"FailedScheduling"}


@pytest.mark.virtual
async def test_without_nodes_a_pod_waits_for_the_first() -> None:
    api = FakeApi()
    api.add(PODS, pod("p"))
    async with scheduling(api):
        await clock.sleep(3)
        assert [e["message"] for e in api.objects(EVENTS)] == ["no nodes available to schedule pods"]
        api.add(NODES, node("n0"))
        await clock.sleep(3)
        assert node_of(api, "p") == "n0"


@pytest.mark.virtual
async def test_room_that_is_freed_is_given_to_who_waits() -> None:
    api = FakeApi()
    api.add(NODES, node("n0", cpu="1"))
    api.add(PODS, pod("first", cpu="1"))
    async with scheduling(api):
        await clock.sleep(2)
        api.add(PODS, pod("second", cpu="1"))
        await clock.sleep(30)
        assert node_of(api, "second") == ""
        api.change(PODS, "first", "d", lambda p: p["status"].update(phase="Succeeded"))
        await clock.sleep(2)
        assert node_of(api, "second") == "n0"


@pytest.mark.virtual
async def test_a_relabelled_node_wakes_the_pods_that_asked_for_the_label() -> None:
    api = FakeApi()
    api.add(NODES, node("n0"))
    api.add(PODS, pod("p", spec={"nodeSelector": {"disk": "ssd"}}))
    async with scheduling(api):
        await clock.sleep(20)
        assert node_of(api, "p") == ""
        api.change(NODES, "n0", "", lambda n: n["metadata"]["labels"].update(disk="ssd"))
        await clock.sleep(1)
        assert node_of(api, "p") == "n0"


@pytest.mark.virtual
async def test_a_failed_binding_frees_the_room_and_is_tried_again() -> None:
    api = FakeApi()
    api.add(NODES, node("n0", cpu="1"))
    api.fail("create", PODS, InternalError)
    api_pod = pod("p", cpu="1")
    api.add(PODS, api_pod)
    async with scheduling(api) as scheduler:
        await clock.sleep(0.5)
        assert node_of(api, "p") == ""
        assert scheduler.table.requested.sum() == 0
        await clock.sleep(3)
        assert node_of(api, "p") == "n0"


@pytest.mark.virtual
async def test_a_busy_server_is_waited_for() -> None:
    api = FakeApi()
    api.add(NODES, node("n0"))
    api.fail("create", PODS, TooManyRequests, times=3)
    api.add(PODS, pod("p"))
    async with scheduling(api):
        await clock.sleep(5)
        assert node_of(api, "p") == "n0"
    assert not [e for e in api.objects(EVENTS) if e["type"] == "Warning"]


@pytest.mark.virtual
async def test_a_pod_bound_by_somebody_else_counts_where_it_is() -> None:
    api = FakeApi()
    api.add(NODES, node("n0", cpu="1"))
    api.add(NODES, node("n1", cpu="1"))
    api.fail("create", PODS, Conflict)
    api.add(PODS, pod("p", cpu="1"))
    async with scheduling(api) as scheduler:
        await clock.sleep(0.2)
        api.change(PODS, "p", "d", lambda p: p["spec"].update(nodeName="n1"))
        await clock.sleep(20)
        used = {n.name: len(n.pods) for n in scheduler.table}
        assert used == {"n0": 0, "n1": 1}
        assert len(scheduler.queue) == 0


@pytest.mark.virtual
async def test_gated_and_foreign_pods_are_left_alone_until_theirs_is_lifted() -> None:
    api = FakeApi()
    api.add(NODES, node("n0"))
    api.add(PODS, pod("gated", spec={"schedulingGates": [{"name": "wait"}]}))
    api.add(PODS, pod("foreign", spec={"schedulerName": "other"}))
    async with scheduling(api):
        await clock.sleep(5)
        assert node_of(api, "gated") == node_of(api, "foreign") == ""
        api.change(PODS, "gated", "d", lambda p: p["spec"].pop("schedulingGates"))
        await clock.sleep(1)
        assert node_of(api, "gated") == "n0"
        assert node_of(api, "foreign") == ""


@pytest.mark.virtual
async def test_deleted_pods_and_nodes_leave_nothing_behind() -> None:
    api = FakeApi()
    api.add(NODES, node("n0"))
    api.add(PODS, pod("p"))
    async with scheduling(api) as scheduler:
        await clock.sleep(2)
        assert len(scheduler.cache) == 1
        api.remove(PODS, "p", "d")
        api.remove(NODES, "n0")
        await clock.sleep(1)
        assert len(scheduler.cache) == len(scheduler.queue) == len(scheduler.table) == 0
        assert scheduler.table.requested.sum() == scheduler.table.nonzero.sum() == 0


@pytest.mark.virtual
async def test_absurd_requests_harm_nobody_else() -> None:
    api = FakeApi()
    api.add(NODES, node("n0"))
    api.add(PODS, pod("absurd", cpu="9E", memory="99999999E"))
    api.add(PODS, pod("p"))
    async with scheduling(api):
        await clock.sleep(2)
    assert node_of(api, "absurd") == ""
    assert node_of(api, "p") == "n0"


@pytest.mark.virtual
async def test_a_decision_that_raises_is_tried_again_and_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = FakeApi()
    api.add(NODES, node("n0"))
    api.add(PODS, pod("p"))
    async with scheduling(api) as scheduler:
        decide = scheduler.cycle.schedule
        failures = iter([RuntimeError("first"), RuntimeError("second")])

        def failing(*args: object) -> object:
            for error in failures:
                raise error
            return decide(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(scheduler.cycle, "schedule", failing)
        await clock.sleep(1)
        assert node_of(api, "p") == ""
        await clock.sleep(5)
        assert node_of(api, "p") == "n0"


@pytest.mark.virtual
async def test_services_and_namespaces_decide_about_spreading_and_affinity() -> None:
    api = FakeApi()
    api.add(NAMESPACES, {"metadata": {"name": "d", "labels": {"team": "x"}}})
    service = {"metadata": {"name": "s", "namespace": "d"}, "spec": {"selector": {"app": "a"}}}
    api.add(SERVICES, service)
    for i in range(4):
        api.add(NODES, node(f"n{i}"))
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"app": "a"}},
        "namespaceSelector": {"matchLabels": {"team": "x"}},
    }
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    async with scheduling(api):
        await clock.sleep(1)
        for i in range(4):
            api.add(PODS, pod(f"p{i}", labels={"app": "a"}, spec={"affinity": {"podAntiAffinity": required}}))
        api.add(PODS, pod("fifth", labels={"app": "a"}, spec={"affinity": {"podAntiAffinity": required}}))
        await clock.sleep(5)
    assert {node_of(api, f"p{i}") for i in range(4)} == {f"n{i}" for i in range(4)}
    assert node_of(api, "fifth") == ""
    assert "4 node(s) didn't match pod anti-affinity rules" in str(api.object(PODS, "fifth", "d")["status"])


class LateAnswers:
    """What is asked of the API is done at once, but the answers of batches take their time."""

    def __init__(self, api: FakeApi) -> None:
        self._api = api

    def __getattr__(self, name: str) -> object:
        return getattr(self._api, name)

    async def batch(self, calls: Sequence[Call]) -> Answers:
        answers = await self._api.batch(calls)
        await clock.sleep(2)
        return answers


@pytest.mark.virtual
async def test_a_late_answer_about_a_pod_is_not_taken_for_its_successors() -> None:
    api = FakeApi()
    api.add(NODES, node("n0", cpu="1"))
    api.add(PODS, pod("p", cpu="1"))
    scheduler = Scheduler(ApiClient(LateAnswers(api)), SchedulerConfig())  # type: ignore[arg-type]
    task = asyncio.ensure_future(scheduler.run())
    await clock.sleep(1)
    assert node_of(api, "p") == "n0"
    # As a StatefulSet does: the next pod has the same name.
    api.remove(PODS, "p", "d")
    successor = pod("p", cpu="1")
    successor["metadata"]["uid"] = "another"
    successor["spec"]["schedulingGates"] = [{"name": "g"}]
    api.add(PODS, successor)
    await clock.sleep(5)
    assert (await compare(scheduler)).differences == []
    api.change(PODS, "p", "d", lambda obj: obj["spec"].pop("schedulingGates"))
    await clock.sleep(5)
    assert node_of(api, "p") == "n0"
    await cancel_and_wait(task)


def test_a_binding_that_failed_takes_nothing_from_another_pod_of_the_name() -> None:
    table = NodeTable()
    templates = Templates(table)
    cache = Cache(table)
    table.set_node(node("n0"))
    old, new = (pods.parse(pod("p", cpu="1") | {}, templates) for _ in range(2))
    new.uid = "another"
    table.add_pod(new, "n0")
    cache.note_assumed(new, "n0")
    assert not cache.forget(old)
    assert table.requested[0, 0] == 1000
    assert cache.forget(new)
    assert table.requested[0, 0] == 0
