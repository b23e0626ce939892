"""The cache comparer: silent while all is well, and whatever goes wrong in memory is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from coxswain.api.names import NAMESPACES, NODES, PODS, SERVICES
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.scheduler import Scheduler, SchedulerConfig
from coxswain.scheduler.comparer import Comparing, Comparison, compare
from coxswain.scheduler.pod import GROUP_LABEL, GROUP_MINIMUM
from coxswain.scheduler.watching import BUDGETS
from fakeapi import FakeApi
from scheduler.sched_objects import node, pod

ZONE = "topology.kubernetes.io/zone"


def furnish(api: FakeApi) -> None:
    """A little of everything that the scheduler keeps."""
    api.add(NAMESPACES, {"metadata": {"name": "d", "labels": {"team": "x"}}})
    service = {"metadata": {"name": "s", "namespace": "d"}, "spec": {"selector": {"app": "a"}}}
    api.add(SERVICES, service)
    budget = {
        "metadata": {"name": "b", "namespace": "d"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}},
    }
    api.add(BUDGETS, budget)
    for i in range(4):
        taints = [{"key": "k", "effect": "NoSchedule"}] if i == 3 else None
        images = {"repo/a:1": 10**8}
        api.add(NODES, node(f"n{i}", cpu="2", labels={ZONE: f"z{i % 2}"}, taints=taints, images=images))
    term = {"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": "lone"}}}
    away = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    api.add(PODS, pod("lone", labels={"app": "lone"}, spec={"affinity": away}))
    for i in range(5):
        api.add(PODS, pod(f"p{i}", cpu="500m", labels={"app": "a"}, priority=i % 2))
    api.add(PODS, pod("port", ports=[{"containerPort": 80, "hostPort": 80}]))
    api.add(PODS, pod("huge", cpu="50"))
    api.add(PODS, pod("gated", spec={"schedulingGates": [{"name": "g"}]}))
    for i in range(2):
        member = pod(f"g{i}", labels={GROUP_LABEL: "g"})
        member["metadata"]["annotations"] = {GROUP_MINIMUM: "2"}
        api.add(PODS, member)


@asynccontextmanager
async def scheduling(api: FakeApi) -> AsyncIterator[Scheduler]:
    scheduler = Scheduler(api.client(), SchedulerConfig())
    task = asyncio.ensure_future(scheduler.run())
    try:
        await clock.sleep(5)
        yield scheduler
    finally:
        await cancel_and_wait(task)


@pytest.mark.virtual
async def test_a_scheduler_that_is_well_differs_in_nothing() -> None:
    api = FakeApi()
    furnish(api)
    async with scheduling(api) as scheduler:
        found = await compare(scheduler)
        assert found.differences == []
        assert (found.nodes, found.pods, found.assumed, found.on_their_way) == (4, 9, 0, 0)
        assert found.verdicts > 0
        assert found.sizes["queue unschedulable"] == found.sizes["queue gated"] == 1


@pytest.mark.virtual
async def test_assumed_pods_count_where_they_were_put() -> None:
    api = FakeApi()
    furnish(api)
    async with scheduling(api) as scheduler:
        api.latency = 3.0
        api.add(PODS, pod("late"))
        await clock.sleep(0.1)
        listed = asyncio.ensure_future(compare(scheduler))
        api.latency = 0.0
        found = await listed
        assert found.differences == []
        assert found.assumed == 1


@pytest.mark.virtual
async def test_what_is_on_its_way_is_waited_for() -> None:
    api = FakeApi()
    furnish(api)
    async with scheduling(api) as scheduler:
        api.drop_watches()
        api.change(NODES, "n0", "", lambda obj: obj["spec"].update(unschedulable=True))
        found = await compare(scheduler)
        assert found.differences == []
        assert scheduler.table.unschedulable[scheduler.table.row_of["n0"]]


def _row(scheduler: Scheduler, name: str = "n0") -> int:
    return scheduler.table.row_of[name]


def _requested(scheduler: Scheduler) -> None:
    scheduler.table.requested[0, _row(scheduler)] += 1


def _allocatable(scheduler: Scheduler) -> None:
    scheduler.table.allocatable[1, _row(scheduler)] -= 1


def _cordon(scheduler: Scheduler) -> None:
    scheduler.table.unschedulable[_row(scheduler)] = True


def _taint(scheduler: Scheduler) -> None:
    scheduler.table.taint_set[_row(scheduler)] = scheduler.table.taint_set[_row(scheduler, "n3")]


def _label(scheduler: Scheduler) -> None:
    column = scheduler.table.column(ZONE)
    column.ids[_row(scheduler)] = column.ids[_row(scheduler, "n1")]


def _port(scheduler: Scheduler) -> None:
    scheduler.table.ports.clear()


def _image(scheduler: Scheduler) -> None:
    scheduler.table.images["repo/a:1"][1].discard(_row(scheduler))


def _group_of_placed(scheduler: Scheduler) -> None:
    group = next(iter(scheduler.table.placed))
    group.add(_row(scheduler), 1)


def _priority(scheduler: Scheduler) -> None:
    scheduler.table.priorities[7] += 1


def _placed(scheduler: Scheduler) -> None:
    scheduler.cache.remove("d/p0")


def _queue(scheduler: Scheduler) -> None:
    scheduler.queue.delete("d/huge")


def _namespace(scheduler: Scheduler) -> None:
    scheduler.table.facts.set_namespace("d", {"team": "y"})


def _service(scheduler: Scheduler) -> None:
    scheduler.table.facts.remove_service("d", "s")


def _budget(scheduler: Scheduler) -> None:
    scheduler.budgets.remove({"metadata": {"namespace": "d", "name": "b"}})


def _gang(scheduler: Scheduler) -> None:
    scheduler.gangs[0].pod_gone("d/g0")


def _verdict(scheduler: Scheduler) -> None:
    verdict = next(iter(scheduler.cycle.kept_verdicts()))
    verdict.refresh()
    verdict.rejected_by[_row(scheduler)] ^= 1


def _nomination(scheduler: Scheduler) -> None:
    lone = next(found for found, _ in scheduler.cache.all_placed() if found.key == "d/lone")
    scheduler.cycle.nominator.set(lone, "n0")


def _informer(scheduler: Scheduler) -> None:
    found = scheduler.watching.pods.get("d/p0")
    assert found is not None
    found.resource_version = "1"


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_requested, "table.nodes.n0.requested.cpu"),
        (_allocatable, "table.nodes.n0.allocatable.memory"),
        (_cordon, "table.nodes.n0.unschedulable"),
        (_taint, "table.nodes.n0.taints"),
        (_label, f"table.nodes.n0.column {ZONE}"),
        (_port, "table.ports"),
        (_image, "table.images.repo/a:1"),
        (_group_of_placed, "table.placed"),
        (_priority, "table.priorities.7"),
        (_placed, "placed.d/p0: missing"),
        (_queue, "queue.d/huge: missing"),
        (_namespace, "namespaces.d.team"),
        (_service, "services"),
        (_budget, "budgets.d/b: missing"),
        (_gang, "groups.d/g"),
        (_verdict, "of n0 is stale"),
        (_nomination, "nominated, but it does not wait"),
        (_informer, "pods d/p0: version 1 is known"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_whatever_goes_wrong_is_told(harm: Callable[[Scheduler], None], told: str) -> None:
    api = FakeApi()
    furnish(api)
    async with scheduling(api) as scheduler:
        harm(scheduler)
        found = await compare(scheduler)
        assert any(told in line for line in found.differences), found.differences


@pytest.mark.virtual
async def test_a_comparison_is_logged_on_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "coxswain.scheduler.comparer")
    api = FakeApi()
    furnish(api)
    async with scheduling(api) as scheduler:
        comparing = Comparing(scheduler)
        comparing.request()
        comparing.request()
        await clock.sleep(20)
        (first,) = caplog.records
        assert first.message == "the cache agrees with the API"
        assert Comparison(**first.fields["comparison"]).nodes == 4  # type: ignore[attr-defined]
        _requested(scheduler)
        comparing.request()
        await clock.sleep(20)
        assert "table.nodes.n0.requested.cpu" in caplog.records[-1].message
        await comparing.close()


@pytest.mark.virtual
async def test_nothing_is_compared_before_the_informers_have_synced(caplog: pytest.LogCaptureFixture) -> None:
    comparing = Comparing(Scheduler(FakeApi().client(), SchedulerConfig()))
    comparing.request()
    await clock.sleep(1)
    assert "have not synced" in caplog.text
    await comparing.close()
