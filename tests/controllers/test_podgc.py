"""Pods that nobody else deletes are deleted; all others are left alone."""

from __future__ import annotations

import pytest

from controllerbench import running
from coxswain.api.names import NODES, PODS
from coxswain.base import clock
from coxswain.controllers import podgc
from fakeapi import FakeApi


def add_pod(api: FakeApi, name: str, node: str = "", phase: str = "Running") -> None:
    spec = {"nodeName": node} if node else {}
    api.add(PODS, {"metadata": {"name": name, "namespace": "d"}, "spec": spec, "status": {"phase": phase}})


def left(api: FakeApi) -> list[str]:
    return [pod["metadata"]["name"] for pod in api.objects(PODS)]


@pytest.mark.virtual
async def test_pods_of_a_vanished_node_go_after_the_quarantine() -> None:
    api = FakeApi()
    api.add(NODES, {"metadata": {"name": "n"}, "spec": {}})
    add_pod(api, "stays", "n")
    add_pod(api, "goes", "gone")
    async with running(api, podgc.DESCRIPTOR):
        await clock.sleep(39)
        assert left(api) == ["goes", "stays"]
        await clock.sleep(25)
        assert left(api) == ["stays"]
    assert ("patch", "pods/status", "d/goes") in api.writes()


@pytest.mark.virtual
async def test_a_node_that_the_informer_missed_keeps_its_pods() -> None:
    api = FakeApi()
    add_pod(api, "p", "late")
    async with running(api, podgc.DESCRIPTOR):
        await clock.sleep(30)
        api.add(NODES, {"metadata": {"name": "late"}, "spec": {}})
        await clock.sleep(300)
        assert left(api) == ["p"]


@pytest.mark.virtual
async def test_terminating_pods_without_a_node_go() -> None:
    api = FakeApi()
    add_pod(api, "p")
    api.change(PODS, "p", "d", lambda pod: pod["metadata"].update(deletionTimestamp=clock.timestamp()))
    add_pod(api, "q")
    async with running(api, podgc.DESCRIPTOR):
        await clock.sleep(1)
        assert left(api) == ["q"]


@pytest.mark.virtual
async def test_terminating_pods_of_a_node_out_of_service_go() -> None:
    api = FakeApi()
    taint = {"key": podgc.OUT_OF_SERVICE, "effect": "NoExecute"}
    api.add(NODES, {"metadata": {"name": "n"}, "spec": {"taints": [taint]}})
    add_pod(api, "p", "n")
    add_pod(api, "q", "n")
    api.change(PODS, "p", "d", lambda pod: pod["metadata"].update(deletionTimestamp=clock.timestamp()))
    async with running(api, podgc.DESCRIPTOR):
        await clock.sleep(1)
        assert left(api) == ["q"]


@pytest.mark.virtual
async def test_the_oldest_finished_pods_beyond_the_threshold_go_evicted_ones_first() -> None:
    api = FakeApi()
    api.add(NODES, {"metadata": {"name": "n"}, "spec": {}})
    for number in range(4):
        add_pod(api, f"p{number}", "n", "Succeeded")
        await clock.sleep(1)
    add_pod(api, "young", "n", "Failed")
    api.change(PODS, "young", "d", lambda pod: pod["status"].update(reason="Evicted"))
    add_pod(api, "running", "n")
    async with running(api, podgc.DESCRIPTOR, terminated_threshold=2):
        await clock.sleep(1)
        assert left(api) == ["p2", "p3", "running"]
        writes = len(api.writes())
        await clock.sleep(300)
        assert len(api.writes()) == writes
