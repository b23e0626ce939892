"""Metrics under kube-scheduler's names say what happened; times of plugins come from one decision in ten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry, Histogram

from coxswain.api.names import NODES, PODS
from coxswain.base import clock, metrics
from coxswain.base.tasks import cancel_and_wait
from coxswain.scheduler import Scheduler, SchedulerConfig
from coxswain.scheduler.framework import Change, Event
from coxswain.scheduler.metrics import label_of
from coxswain.scheduler.timing import ONE_IN
from fakeapi import FakeApi
from scheduler.sched_objects import node, pod


@asynccontextmanager
async def scheduling(api: FakeApi) -> AsyncIterator[Scheduler]:
    scheduler = Scheduler(api.client(), SchedulerConfig())
    task = asyncio.ensure_future(scheduler.run())
    try:
        yield scheduler
    finally:
        await cancel_and_wait(task)


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def incoming(queue: str, event: str) -> float:
    return value("scheduler_queue_incoming_pods_total", queue=queue, event=event)


def evaluated(plugin: str, point: str) -> float:
    return value(
        "scheduler_plugin_evaluation_total",
        plugin=plugin,
        extension_point=point,
        profile="default-scheduler",
    )


@pytest.mark.virtual
async def test_queues_are_counted_by_what_brings_pods_into_them() -> None:
    names = [
        ("active", "UnschedulablePodAdd"),
        ("gated", "UnschedulablePodAdd"),
        ("active", "UnschedulablePodUpdate"),
        ("unschedulable", "ScheduleAttemptFailure"),
        ("active", "NodeAdd"),
    ]
    before = {name: incoming(*name) for name in names}
    api = FakeApi()
    api.add(NODES, node("n0", cpu="1"))
    api.add(PODS, pod("fits"))
    api.add(PODS, pod("huge", cpu="3"))
    api.add(PODS, pod("gated", spec={"schedulingGates": [{"name": "x"}]}))
    async with scheduling(api) as scheduler:
        await clock.sleep(30)
        assert value("scheduler_pending_pods", queue="unschedulable") == 1
        assert value("scheduler_pending_pods", queue="gated") == 1
        assert (
            value("scheduler_unschedulable_pods", plugin="NodeResourcesFit", profile="default-scheduler") == 1
        )
        api.change(PODS, "gated", "d", lambda obj: obj["spec"].pop("schedulingGates"))
        api.add(NODES, node("n1", cpu="9"))
        await clock.sleep(30)
        assert scheduler._measuring.owed is None  # all is told: an idle scheduler sleeps
        assert value("scheduler_pending_pods", queue="unschedulable") == 0
        assert value("scheduler_scheduler_cache_size", type="nodes") == 2
        assert value("scheduler_scheduler_cache_size", type="pods") == 3
    assert {name: incoming(*name) - before[name] for name in names} == {
        ("active", "UnschedulablePodAdd"): 2,
        ("gated", "UnschedulablePodAdd"): 1,
        ("active", "UnschedulablePodUpdate"): 1,
        ("unschedulable", "ScheduleAttemptFailure"): 1,
        ("active", "NodeAdd"): 1,
    }


@pytest.mark.virtual
@pytest.mark.parametrize("alike", [True, False], ids=["one template", "every pod its own"])
async def test_every_pod_counts_for_each_plugin_that_is_asked(alike: bool) -> None:
    names = [("NodeResourcesFit", "Filter"), ("NodeResourcesFit", "Score"), ("TaintToleration", "Filter")]
    before = {name: evaluated(*name) for name in names}
    ports = evaluated("NodePorts", "Filter")
    api = FakeApi()
    for i in range(5):
        api.add(NODES, node(f"n{i}", cpu="100"))
    for i in range(50):
        api.add(PODS, pod(f"p{i}", cpu="100m" if alike else f"{100 + i}m"))
    async with scheduling(api):
        await clock.sleep(5)
    assert {name: evaluated(*name) - before[name] for name in names} == dict.fromkeys(names, 50)
    assert evaluated("NodePorts", "Filter") == ports  # no pod has one


@pytest.mark.virtual
async def test_one_decision_in_ten_is_timed() -> None:
    def timed(point: str, status: str = "Success") -> float:
        name = "scheduler_framework_extension_point_duration_seconds_count"
        return value(name, extension_point=point, status=status, profile="default-scheduler")

    def ran(plugin: str, point: str, status: str) -> float:
        name = "scheduler_plugin_execution_duration_seconds_count"
        return value(name, plugin=plugin, extension_point=point, status=status)

    api = FakeApi()
    api.add(NODES, node("n0", cpu="100"))
    before = timed("Score"), timed("Bind")
    async with scheduling(api):
        for i in range(3 * ONE_IN):
            api.add(PODS, pod(f"p{i}", cpu=f"{100 + i}m"))
            await clock.sleep(0.1)
        assert (timed("Score") - before[0], timed("Bind") - before[1]) == (3, 3)
        failures = ran("NodeResourcesFit", "Filter", "Unschedulable")
        preemptions = ran("DefaultPreemption", "PostFilter", "Unschedulable")
        for i in range(ONE_IN):
            api.add(PODS, pod(f"huge{i}", cpu=f"{900 + i}"))
            await clock.sleep(0.1)
        assert ran("NodeResourcesFit", "Filter", "Unschedulable") - failures >= 1
        assert ran("DefaultPreemption", "PostFilter", "Unschedulable") - preemptions == 1


@pytest.mark.virtual
async def test_time_until_bound_is_told_by_the_number_of_attempts() -> None:
    def bound(attempts: str) -> float:
        return value("scheduler_pod_scheduling_sli_duration_seconds_count", attempts=attempts)

    before = bound("1"), bound("2")
    api = FakeApi()
    api.add(NODES, node("n0", cpu="1"))
    api.add(PODS, pod("fits"))
    api.add(PODS, pod("huge", cpu="3"))
    async with scheduling(api):
        await clock.sleep(5)
        api.add(NODES, node("n1", cpu="9"))
        await clock.sleep(5)
    assert (bound("1") - before[0], bound("2") - before[1]) == (1, 1)


def test_values_told_together_are_counted_as_each_alone() -> None:
    values = [0.0, 0.001, 0.0011, 0.3, 7.0, 1e9, 0.3]
    shown = []
    for together in (True, False):
        one = Histogram(
            "some_seconds", "Some.", registry=CollectorRegistry(), buckets=metrics.LATENCY_BUCKETS
        )
        if together:
            metrics.observe_all(one, values)
        else:
            for each in values:
                one.observe(each)
        shown.append(
            [(sample.name, sample.labels, sample.value) for sample in next(iter(one.collect())).samples]
        )
    assert shown[0] == shown[1] and len(shown[0]) == len(metrics.LATENCY_BUCKETS) + 3


def test_events_are_called_as_kube_scheduler_calls_them() -> None:
    assert label_of(Change(Event.NODE_ADD, None, object())) == "NodeAdd"
    assert label_of(Change(Event.POD_DELETE, object(), None)) == "AssignedPodDelete"
    assert label_of(Change(Event.PVC, object(), object())) == "PersistentVolumeClaimUpdate"
    assert label_of(Change(Event.NODE_TAINT, object(), object())) == "NodeUpdateNodeTaint"
    assert label_of(Change(Event.NODE_LABEL | Event.NODE_TAINT, object(), object())).startswith("NodeUpdate")
