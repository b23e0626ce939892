"""A silent node is noticed, tainted at its zone's rate, and left by its pods; a speaking one never is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controllerbench import running
from coxswain.api import errors
from coxswain.api.meta import condition
from coxswain.api.names import EVENTS, LEASES, NODES, PODS, Object
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.controllers.nodelifecycle import controller, eviction, health, zones
from coxswain.controllers.nodelifecycle.health import HealthSettings
from coxswain.controllers.nodelifecycle.tolerance import seconds_tolerated
from coxswain.controllers.tolerations import tolerates
from fakeapi import FakeApi

NOT_READY, UNREACHABLE = health.NOT_READY, health.UNREACHABLE


def add_node(api: FakeApi, name: str, zone: str = "", **status: str) -> None:
    conditions = [
        {
            "type": kind,
            "status": status.get(kind, "True" if kind == "Ready" else "False"),
            "lastHeartbeatTime": clock.timestamp(),
            "lastTransitionTime": clock.timestamp(),
        }
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    ]
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    api.add(
        NODES,
        {"metadata": {"name": name, "labels": labels}, "spec": {}, "status": {"conditions": conditions}},
    )
    lease = {
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {"renewTime": clock.micro_timestamp()},
    }
    api.add(LEASES, lease)


def add_pod(api: FakeApi, name: str, node: str, *tolerations: Object) -> None:
    conditions = [{"type": "Ready", "status": "True"}]
    api.add(
        PODS,
        {
            "metadata": {"name": name, "namespace": "d"},
            "spec": {"nodeName": node, "tolerations": list(tolerations)},
            "status": {"phase": "Running", "conditions": conditions},
        },
    )


def tolerating(key: str, seconds: int | None = None) -> Object:
    toleration: Object = {"key": key, "operator": "Exists", "effect": "NoExecute"}
    return toleration if seconds is None else {**toleration, "tolerationSeconds": seconds}


async def heartbeats(api: FakeApi, *names: str) -> None:
    while True:
        await clock.sleep(10)
        for name in names:
            api.change(
                LEASES,
                name,
                "kube-node-lease",
                lambda obj: obj["spec"].update(renewTime=clock.micro_timestamp()),
            )


def taints(api: FakeApi, name: str) -> set[tuple[str, str]]:
    return {(taint["key"], taint["effect"]) for taint in api.object(NODES, name)["spec"].get("taints") or ()}


def ready(api: FakeApi, name: str) -> Any:
    return condition(api.object(NODES, name), "Ready")


@pytest.mark.virtual
async def test_a_silent_node_becomes_unknown_is_tainted_and_emptied() -> None:
    api = FakeApi()
    add_node(api, "good")
    add_node(api, "bad")
    add_pod(api, "stays", "good", tolerating(UNREACHABLE, 300))
    add_pod(api, "leaves", "bad", tolerating(UNREACHABLE, 300))
    add_pod(api, "daemon", "bad", tolerating(UNREACHABLE))
    async with running(api, controller.DESCRIPTOR, eviction.DESCRIPTOR):
        alive = asyncio.ensure_future(heartbeats(api, "good"))
        await clock.sleep(49)
        assert ready(api, "bad")["status"] == "True"
        await clock.sleep(10)
        assert ready(api, "bad")["status"] == "Unknown"
        assert ready(api, "bad")["reason"] == "NodeStatusUnknown"
        assert ready(api, "bad")["message"] == "Kubelet stopped posting node status."
        assert taints(api, "bad") == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}
        assert condition(api.object(PODS, "leaves", "d"), "Ready")["status"] == "False"  # type: ignore[index]
        await clock.sleep(290)
        assert "deletionTimestamp" not in api.object(PODS, "leaves", "d")["metadata"]
        await clock.sleep(20)
        gone = api.object(PODS, "leaves", "d")
        assert "deletionTimestamp" in gone["metadata"]
        assert condition(gone, "DisruptionTarget")["reason"] == "DeletionByTaintManager"  # type: ignore[index]
        for name in ("stays", "daemon"):
            assert "deletionTimestamp" not in api.object(PODS, name, "d")["metadata"]
        assert taints(api, "good") == set()
        await cancel_and_wait(alive)
    reasons = {(event["involvedObject"]["name"], event["reason"]) for event in api.objects(EVENTS)}
    assert {
        ("bad", "NodeNotReady"),
        ("leaves", "NodeNotReady"),
        ("leaves", "TaintManagerEviction"),
    } <= reasons


@pytest.mark.virtual
async def test_a_node_that_speaks_again_is_free_at_once_and_its_pods_stay() -> None:
    api = FakeApi()
    add_node(api, "good")
    add_node(api, "bad")
    add_pod(api, "p", "bad", tolerating(UNREACHABLE, 300))
    async with running(api, controller.DESCRIPTOR, eviction.DESCRIPTOR):
        alive = asyncio.ensure_future(heartbeats(api, "good"))
        await clock.sleep(100)
        assert (UNREACHABLE, "NoExecute") in taints(api, "bad")
        await cancel_and_wait(alive)
        alive = asyncio.ensure_future(heartbeats(api, "good", "bad"))

        def speak(node: Object) -> None:
            for entry in node["status"]["conditions"]:
                entry["status"] = "True" if entry["type"] == "Ready" else "False"
                entry["lastHeartbeatTime"] = clock.timestamp()

        api.change(NODES, "bad", "", speak)
        await clock.sleep(1)
        assert taints(api, "bad") == set()
        await clock.sleep(600)
        assert "deletionTimestamp" not in api.object(PODS, "p", "d")["metadata"]
        await cancel_and_wait(alive)
    messages = {event["message"] for event in api.objects(EVENTS)}
    assert "Cancelling deletion of Pod d/p" in messages


@pytest.mark.virtual
async def test_nothing_is_emptied_while_every_node_is_silent() -> None:
    api = FakeApi()
    for name in "abc":
        add_node(api, name)
        add_pod(api, f"p{name}", name)
    async with running(api, controller.DESCRIPTOR, eviction.DESCRIPTOR):
        await clock.sleep(1000)
        for name in "abc":
            assert taints(api, name) == {(UNREACHABLE, "NoSchedule")}
            assert "deletionTimestamp" not in api.object(PODS, f"p{name}", "d")["metadata"]


@pytest.mark.virtual
async def test_nodes_of_a_zone_are_emptied_one_in_ten_seconds() -> None:
    api = FakeApi()
    good = [f"good{number}" for number in range(6)]
    for name in good:
        add_node(api, name, "z1")
    for number in range(4):
        add_node(api, f"bad{number}", "z1")
    async with running(api, controller.DESCRIPTOR):
        alive = asyncio.ensure_future(heartbeats(api, *good))
        seen = []
        for _ in range(10):
            await clock.sleep(10)
            seen.append(sum((UNREACHABLE, "NoExecute") in taints(api, f"bad{n}") for n in range(4)))
        assert seen[:5] == [0, 0, 0, 0, 0]
        assert seen[5:] == [1, 2, 3, 4, 4]
        await cancel_and_wait(alive)


@pytest.mark.virtual
async def test_conditions_and_cordons_become_taints() -> None:
    api = FakeApi()
    add_node(api, "a", MemoryPressure="True")
    add_node(api, "b", Ready="False")
    add_node(api, "c")
    foreign = {"key": "example.com/x", "effect": "NoExecute"}
    api.change(NODES, "c", "", lambda node: node["spec"].update(unschedulable=True, taints=[foreign]))
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(2)
        assert taints(api, "a") == {("node.kubernetes.io/memory-pressure", "NoSchedule")}
        assert taints(api, "b") == {(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")}
        assert taints(api, "c") == {("example.com/x", "NoExecute"), (health.UNSCHEDULABLE, "NoSchedule")}
        api.change(NODES, "c", "", lambda node: node["spec"].pop("unschedulable"))
        await clock.sleep(1)
        assert taints(api, "c") == {("example.com/x", "NoExecute")}


@pytest.mark.virtual
async def test_a_node_that_never_spoke_gets_its_conditions_after_a_minute() -> None:
    api = FakeApi()
    api.add(NODES, {"metadata": {"name": "a"}, "spec": {}})
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(58)
        assert ready(api, "a") is None
        await clock.sleep(10)
        assert ready(api, "a")["reason"] == "NodeStatusNeverUpdated"


@pytest.mark.virtual
async def test_healthy_nodes_are_not_written_to() -> None:
    api = FakeApi()
    for name in "abc":
        add_node(api, name)
        add_pod(api, f"p{name}", name)
    async with running(api, controller.DESCRIPTOR, eviction.DESCRIPTOR):
        alive = asyncio.ensure_future(heartbeats(api, *"abc"))
        await clock.sleep(600)
        assert [write for write in api.writes() if write[1] != "events"] == []
        await cancel_and_wait(alive)


@pytest.mark.virtual(seed=5)
async def test_the_same_comes_out_when_writes_fail() -> None:
    api = FakeApi()
    add_node(api, "good")
    add_node(api, "bad")
    add_pod(api, "p", "bad")
    async with running(api, controller.DESCRIPTOR, eviction.DESCRIPTOR):
        alive = asyncio.ensure_future(heartbeats(api, "good"))
        api.fail("update", NODES, errors.Conflict, times=2)
        api.fail("patch", NODES, errors.InternalError, times=3)
        api.lose_answer("patch", NODES)
        api.fail("update", PODS, errors.Conflict, times=2)
        api.lose_answer("delete", PODS)
        api.drop_watches()
        await clock.sleep(300)
        assert taints(api, "bad") == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}
        assert "deletionTimestamp" in api.object(PODS, "p", "d")["metadata"]
        await cancel_and_wait(alive)


@pytest.mark.parametrize(
    ("ready_nodes", "silent", "state"),
    [
        (0, 0, "Normal"),
        (0, 1, "FullDisruption"),
        (1, 2, "Normal"),
        (2, 3, "PartialDisruption"),
        (5, 4, "Normal"),
    ],
)
def test_zone_states_are_those_of_kubernetes(ready_nodes: int, silent: int, state: str) -> None:
    assert zones.state_of(ready_nodes, silent, HealthSettings()).value == state


def test_an_unhealthy_zone_is_emptied_slowly_or_not_at_all() -> None:
    partial = zones.ZoneState.PARTIAL
    assert zones.rate_of(partial, 51, HealthSettings()) == 0.01
    assert zones.rate_of(partial, 50, HealthSettings()) == 0.0
    queue = zones.ZoneQueue(0.0)
    queue.add("a")
    assert queue.take(1000.0) is None
    queue.set_rate(0.1, 1000.0)
    assert queue.take(1010.0) == "a"


def test_tolerations_are_matched_as_kubernetes_does() -> None:
    taint = {"key": "k", "value": "v", "effect": "NoExecute"}
    assert tolerates({"operator": "Exists"}, taint)
    assert tolerates({"key": "k", "value": "v"}, taint)
    assert not tolerates({"key": "k", "value": "w"}, taint)
    assert not tolerates({"key": "k", "operator": "Exists", "effect": "NoSchedule"}, taint)
    other = {"key": "o", "effect": "NoExecute"}
    pod = {"spec": {"tolerations": [tolerating("k", 60), tolerating("o", 30)]}}
    assert seconds_tolerated(pod, [taint, other]) == 30
    assert seconds_tolerated(pod, [taint]) == 60
    assert seconds_tolerated(pod, []) is None
    assert seconds_tolerated({"spec": {}}, [taint]) == 0
    assert seconds_tolerated({"spec": {"tolerations": [tolerating("k", -5)]}}, [taint]) == 0


@pytest.mark.virtual
async def test_excluded_nodes_do_not_judge_their_zone() -> None:
    api = FakeApi()
    add_node(api, "alone")
    add_node(api, "excluded")
    label = {"node.kubernetes.io/exclude-disruption": "true"}
    api.change(NODES, "excluded", "", lambda node: node["metadata"].update(labels=label))
    beats = asyncio.ensure_future(heartbeats(api, "excluded"))
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(120)
        # The only node that counts is silent: it may be us, so nothing is emptied.
        assert (UNREACHABLE, "NoExecute") not in taints(api, "alone")
    await cancel_and_wait(beats)


@pytest.mark.virtual
async def test_taints_do_not_clash_with_other_writes_about_a_node_but_with_those_of_taints() -> None:
    api = FakeApi()
    taint = _not_ready()
    seen = api.add(NODES, {"metadata": {"name": "a"}, "spec": {"taints": [taint]}})
    client = api.client()
    await client.patch(NODES, "a", {"spec": {"podCIDR": "10.0.0.0/24"}})
    foreign = {"key": "example.com/x", "effect": "NoSchedule"}
    patch, kind = health.taints_patch(seen, [foreign])
    await client.patch(NODES, "a", patch, kind=kind)
    assert api.object(NODES, "a")["spec"] == {"podCIDR": "10.0.0.0/24", "taints": [foreign]}
    for others in ([], [foreign, taint]):
        patch, kind = health.taints_patch(seen, others)
        with pytest.raises(errors.Invalid):
            await client.patch(NODES, "a", patch, kind=kind)
    patch, kind = health.taints_patch(api.object(NODES, "a"), [])
    await client.patch(NODES, "a", patch, kind=kind)
    bare = api.object(NODES, "a")
    assert "taints" not in bare["spec"]
    patch, kind = health.taints_patch(bare, [taint])
    await client.patch(NODES, "a", {"metadata": {"labels": {"x": "y"}}})
    with pytest.raises(errors.Conflict):
        await client.patch(NODES, "a", patch, kind=kind)


@pytest.mark.virtual
async def test_taints_that_others_changed_meanwhile_are_looked_at_again() -> None:
    api = FakeApi()
    foreign = {"key": "example.com/x", "effect": "NoSchedule"}
    add_node(api, "a")
    api.change(NODES, "a", "", lambda one: one["spec"].update(taints=[_not_ready()]))
    api.fail("patch", NODES, times=4)
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(0.001)
        api.hold(NODES)
        api.change(NODES, "a", "", lambda one: one["spec"]["taints"].append(foreign))
        await clock.sleep(2)
        assert taints(api, "a") == {(NOT_READY, "NoExecute"), ("example.com/x", "NoSchedule")}
        api.let_go(NODES)
        await clock.sleep(30)
        assert api.object(NODES, "a")["spec"]["taints"] == [foreign]


def _not_ready() -> Object:
    return {"key": NOT_READY, "effect": "NoExecute"}
