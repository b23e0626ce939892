"""Hollow nodes on virtual time against an API server in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from coxswain.api.errors import Conflict, InternalError
from coxswain.api.names import LEASES, NODES, PODS, Object
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.kubelet import hollow
from coxswain.kubelet.hollow import HEARTBEAT_ANNOTATION
from fakeapi import FakeApi


@asynccontextmanager
async def nodes(api: FakeApi, count: int) -> AsyncIterator[None]:
    task = asyncio.create_task(hollow.run(api.client(), count=count))
    await clock.sleep(2)
    try:
        yield
    finally:
        await cancel_and_wait(task)


def pod(name: str, node: str, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "d"},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "img"}], **spec},
        "status": {"phase": "Pending"},
    }


def renewed(api: FakeApi, name: str) -> float:
    return clock.parse_time(api.object(LEASES, name, "kube-node-lease")["spec"]["renewTime"])


@pytest.mark.virtual
async def test_nodes_register_as_ready_with_leases() -> None:
    api = FakeApi()
    async with nodes(api, 3):
        assert [n["metadata"]["name"] for n in api.objects(NODES)] == ["hollow-1", "hollow-2", "hollow-3"]
        found = {
            c["type"]: (c["status"], c["reason"])
            for c in api.object(NODES, "hollow-1")["status"]["conditions"]
        }
        assert found == {
            "MemoryPressure": ("False", "KubeletHasSufficientMemory"),
            "DiskPressure": ("False", "KubeletHasNoDiskPressure"),
            "PIDPressure": ("False", "KubeletHasSufficientPID"),
            "Ready": ("True", "KubeletReady"),
        }
        lease = api.object(LEASES, "hollow-2", "kube-node-lease")
        assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseDurationSeconds"]) == ("hollow-2", 40)


@pytest.mark.virtual
async def test_leases_are_renewed_every_ten_seconds_and_statuses_every_five_minutes() -> None:
    api = FakeApi()
    async with nodes(api, 20):
        await clock.sleep(330)
        for number in range(1, 21):
            assert clock.now() - renewed(api, f"hollow-{number}") <= 12
        patches = [c for c in api.calls if c.verb == "patch" and c.resource == LEASES]
        assert len(patches) == pytest.approx(20 * 33, rel=0.05)
        statuses = [c for c in api.calls if c.verb == "patch" and c.resource == NODES]
        assert len(statuses) == pytest.approx(22, abs=2)
        transitions = {c["lastTransitionTime"] for c in api.object(NODES, "hollow-1")["status"]["conditions"]}
        assert transitions == {api.object(NODES, "hollow-1")["metadata"]["creationTimestamp"]}


@pytest.mark.virtual
async def test_a_bound_pod_is_running_and_ready_with_an_address_of_its_own() -> None:
    api = FakeApi()
    async with nodes(api, 2):
        for number in range(20):
            init = [{"name": "i", "image": "img"}] if number % 2 else []
            api.add(PODS, pod(f"p{number}", f"hollow-{number % 2 + 1}", initContainers=init))
        api.add(PODS, pod("elsewhere", "other"))
        await clock.sleep(1)
        statuses = [api.object(PODS, f"p{number}", "d")["status"] for number in range(20)]
        assert all(s["phase"] == "Running" and s["containerStatuses"][0]["ready"] for s in statuses)
        assert {c["type"] for c in statuses[0]["conditions"] if c["status"] == "True"} == {
            "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled",
        }  # fmt: skip
        assert len({s["podIP"] for s in statuses}) == 20
        assert statuses[1]["initContainerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
        assert api.object(PODS, "elsewhere", "d")["status"] == {"phase": "Pending"}


@pytest.mark.virtual
async def test_a_deleted_pod_goes_at_once() -> None:
    api = FakeApi()
    async with nodes(api, 1):
        api.add(PODS, pod("a", "hollow-1"))
        await clock.sleep(1)
        await api.client().delete(PODS, "a", "d", grace_period_seconds=30)
        await clock.sleep(1)
        assert not api.exists(PODS, "a", "d")


@pytest.mark.virtual
async def test_a_node_whose_heartbeats_are_stopped_goes_stale_until_they_resume() -> None:
    api = FakeApi()
    async with nodes(api, 2):

        def annotate(value: str | None) -> None:
            def edit(node: dict[str, Any]) -> None:
                node["metadata"]["annotations"][HEARTBEAT_ANNOTATION] = value

            api.change(NODES, "hollow-1", "", edit)

        annotate("stopped")
        await clock.sleep(60)
        assert clock.now() - renewed(api, "hollow-1") > 45
        assert clock.now() - renewed(api, "hollow-2") < 12
        api.add(PODS, pod("a", "hollow-1"))
        await clock.sleep(1)
        assert api.object(PODS, "a", "d")["status"]["phase"] == "Pending"
        annotate(None)
        await clock.sleep(1)
        assert clock.now() - renewed(api, "hollow-1") < 2
        assert api.object(PODS, "a", "d")["status"]["phase"] == "Running"


@pytest.mark.virtual
async def test_writes_that_fail_are_tried_again() -> None:
    api = FakeApi()
    async with nodes(api, 1):
        api.fail("patch", PODS, times=3)
        api.add(PODS, pod("a", "hollow-1"))
        await clock.sleep(10)
        assert api.object(PODS, "a", "d")["status"]["phase"] == "Running"


@pytest.mark.virtual
async def test_a_node_that_was_deleted_and_is_there_again_has_a_lease_again() -> None:
    api = FakeApi()
    async with nodes(api, 1):
        node = api.object(NODES, "hollow-1")
        api.remove(NODES, "hollow-1")
        api.remove(LEASES, "hollow-1", "kube-node-lease")
        await clock.sleep(30)
        assert not api.exists(LEASES, "hollow-1", "kube-node-lease")
        api.add(NODES, {**node, "metadata": {"name": "hollow-1"}})
        await clock.sleep(30)
        assert clock.now() - renewed(api, "hollow-1") < 12


@pytest.mark.virtual
async def test_pods_that_were_doubted_while_their_node_was_silent_are_ready_again() -> None:
    api = FakeApi()
    async with nodes(api, 1):
        api.add(PODS, pod("a", "hollow-1"))
        await clock.sleep(1)

        def doubt(obj: dict[str, Any]) -> None:
            for condition in obj["status"]["conditions"]:
                if condition["type"] == "Ready":
                    condition["status"] = "False"

        api.change(PODS, "a", "d", doubt)
        await clock.sleep(3)
        conditions = api.object(PODS, "a", "d")["status"]["conditions"]
        assert [c["status"] for c in conditions if c["type"] == "Ready"] == ["True"]


@pytest.mark.virtual
async def test_after_a_restart_no_address_is_given_twice() -> None:
    api = FakeApi()
    async with nodes(api, 1):
        for name in ("a", "z"):
            api.add(PODS, pod(name, "hollow-1"))
        await clock.sleep(1)
    api.remove(PODS, "a", "d")
    for name in ("b", "c"):
        api.add(PODS, pod(name, "hollow-1"))  # listed before z, which has its address since long
    async with nodes(api, 1):
        api.add(PODS, pod("y", "hollow-1"))
        await clock.sleep(1)
    addresses = [one["status"]["podIP"] for one in api.objects(PODS, "d")]
    assert len(set(addresses)) == len(addresses) == 4


@pytest.mark.virtual
@pytest.mark.parametrize("refused", [False, True])
async def test_a_status_that_is_long_under_way_is_not_overtaken_by_the_pods_end(refused: bool) -> None:
    class SlowStarts(FakeApi):
        async def batch(self, calls: Any) -> Any:
            if any(b'"Running"' in call.body for call in calls) and not refused:
                await clock.sleep(5)
            return await super().batch(calls)

    api = SlowStarts()
    async with nodes(api, 1):
        held = pod("a", "hollow-1")
        held["metadata"]["finalizers"] = ["x/y"]
        if refused:
            api.fail("patch", PODS, InternalError)
        api.add(PODS, held)
        await clock.sleep(0.2)
        await api.client().delete(PODS, "a", "d")
        await clock.sleep(30)
        assert api.object(PODS, "a", "d")["status"]["phase"] == "Failed"


@pytest.mark.virtual
async def test_no_batch_has_two_writes_of_one_pod() -> None:
    """Calls of a batch are carried out side by side."""
    sent: list[list[tuple[str, str]]] = []

    class Watched(FakeApi):
        async def batch(self, calls: Any) -> Any:
            sent.append([(call.verb, call.name) for call in calls if call.resource == PODS])
            return await super().batch(calls)

    api = Watched()
    async with nodes(api, 1):
        held = pod("a", "hollow-1")
        held["metadata"]["finalizers"] = ["x/y"]
        api.add(PODS, held)
        await clock.sleep(1)
        await api.client().delete(PODS, "a", "d")
        await clock.sleep(1)
    assert [calls for calls in sent if calls] == [[("patch", "a")], [("patch", "a")], [("delete", "a")]]


@pytest.mark.virtual
@pytest.mark.parametrize("clash", [False, True])
async def test_a_pod_whose_deletion_comes_with_its_binding_is_not_started(clash: bool) -> None:
    api = FakeApi()
    if clash:
        api.fail("patch", PODS, Conflict)
    async with nodes(api, 1):
        held = pod("a", "hollow-1")
        held["metadata"]["finalizers"] = ["x/y"]
        api.hold(PODS)
        api.add(PODS, held)
        await api.client().delete(PODS, "a", "d")
        api.let_go(PODS)
        await clock.sleep(30)
        assert api.object(PODS, "a", "d")["status"] == {"phase": "Failed"}


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({}, {"phase": "Pending", "qosClass": "Burstable"}),
        ({"hostNetwork": True, "volumes": [{"name": "v", "emptyDir": {}}]}, {}),
        ({"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}}, {"phase": "Pending"}),
        (
            {
                "initContainers": [
                    {"name": "first", "image": "a:1", "env": [{"name": "X", "value": "y"}]},
                    {"name": "beside", "image": "b:1", "restartPolicy": "Always"},
                ]
            },
            {"conditions": [{"type": "example.com/gate", "status": "True", "message": "kept"}]},
        ),
    ],
)
def test_of_a_pod_enough_is_read_for_its_whole_status(spec: Object, status: Object) -> None:
    limits = {"limits": {"cpu": "1", "memory": "1Gi"}}
    containers = [{"name": "c", "image": "i:1", "resources": limits, "ports": [{"containerPort": 80}]}]
    metadata = {"name": "p", "namespace": "d", "uid": "u", "generation": 3, "labels": {"a": "b"}}
    pod = {
        "metadata": metadata,
        "spec": {"nodeName": "n", "containers": containers, **spec},
        "status": status,
    }
    read = hollow._read_pod(orjson.dumps(pod))
    assert "labels" not in read["metadata"]
    args = ("10.0.0.1", "10.0.0.2", "2026-01-01T00:00:00Z")
    assert hollow.running_status(read, *args) == hollow.running_status(pod, *args)
