"""Daemon sets: one pod a node, taints, rolling updates by deletion and by surge; convergence under faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controllerbench import running
from controllers.workloads import World, template
from coxswain.api import meta
from coxswain.api.errors import Conflict
from coxswain.api.names import (
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    NODES,
    PODS,
    REPLICATION_CONTROLLERS,
    Object,
)
from coxswain.base.tasks import Supervisor
from coxswain.controllers.daemonset.controller import DESCRIPTOR
from coxswain.controllers.daemonset.placement import target_node, verdict_of
from coxswain.controllers.replicationcontroller.controller import DESCRIPTOR as REPLICATION


def daemon_set(**spec: Any) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "d"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(),
            "updateStrategy": rolling(1, 0),
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


def rolling(unavailable: int, surge: int) -> Object:
    limits = {"maxUnavailable": unavailable, "maxSurge": surge}
    return {"type": "RollingUpdate", "rollingUpdate": limits}


def node(name: str, *taints: Object) -> Object:
    return {"metadata": {"name": name, "labels": {"zone": "a"}}, "spec": {"taints": list(taints)}}


@asynccontextmanager
async def world(nodes: int = 3) -> AsyncIterator[World]:
    it = World()
    for number in range(nodes):
        it.api.add(NODES, node(f"n{number}"))
    async with running(it.api, DESCRIPTOR, REPLICATION), Supervisor("kubelet") as tasks:
        tasks.start("kubelet", it.kubelet())
        it.watchers.append(_seat)
        yield it


def _seat(it: World) -> None:
    """The double's kubelet puts every pod on node ``n``: daemon pods belong where their affinity says."""
    for pod in it.pods():
        wanted = target_node({**pod, "spec": {**pod["spec"], "nodeName": ""}})
        if wanted and pod["spec"].get("nodeName") != wanted:
            it.api.change(PODS, meta.name(pod), "d", lambda p, w=wanted: p["spec"].update(nodeName=w))


def status(it: World) -> Object:
    return it.api.object(DAEMON_SETS, "agent", "d")["status"]


def update(it: World, image: str) -> None:
    def change(owner: Object) -> None:
        owner["spec"]["template"] = template(image)
        owner["metadata"]["generation"] += 1

    it.api.change(DAEMON_SETS, "agent", "d", change)


def test_node_affinity_and_taints_say_where_pods_belong() -> None:
    verdict = verdict_of(daemon_set())
    taint = {"key": "k", "effect": "NoSchedule"}
    assert verdict(node("a")) == (True, True)
    assert verdict(node("a", taint)) == (False, True)
    assert verdict(node("a", {**taint, "effect": "NoExecute"})) == (False, False)
    assert verdict(node("a", {**taint, "key": "node.kubernetes.io/unschedulable"})) == (True, True)
    terms = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}]
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    }
    assert verdict_of(daemon_set(template=template(affinity=affinity)))(node("a")) == (False, False)


@pytest.mark.virtual
async def test_every_node_has_one_pod_and_a_steady_set_is_not_written() -> None:
    async with world() as it:
        it.api.add(DAEMON_SETS, daemon_set())
        await it.settle()
        assert sorted(pod["spec"]["nodeName"] for pod in it.ready()) == ["n0", "n1", "n2"]
        assert status(it)["numberAvailable"] == status(it)["updatedNumberScheduled"] == 3
        taint = {"key": "k", "effect": "NoExecute"}
        it.api.change(NODES, "n1", "", lambda n: n["spec"].update(taints=[taint]))
        await it.settle()
        assert len(it.pods()) == status(it)["desiredNumberScheduled"] == 2
        it.api.add(NODES, node("n3"))
        await it.settle()
        before = len(it.api.writes())
        await it.settle(3600)
        assert len(it.pods()) == 3 and it.api.writes()[before:] == []


@pytest.mark.virtual
@pytest.mark.parametrize(("unavailable", "surge"), [(1, 0), (0, 1)])
async def test_an_update_keeps_its_limits_and_survives_faults(unavailable: int, surge: int) -> None:
    async with world() as it:
        it.api.lose_answer("create", CONTROLLER_REVISIONS)
        it.api.fail("update", DAEMON_SETS, Conflict, times=3)
        it.api.add(DAEMON_SETS, daemon_set(updateStrategy=rolling(unavailable, surge)))
        await it.settle(60)
        ready: list[int] = []
        total: list[int] = []
        it.watchers.append(lambda world: ready.append(len(world.ready())))
        it.watchers.append(lambda world: total.append(len(world.active())))
        it.api.lose_answer("delete", PODS)
        update(it, "web:2")
        await it.settle(2)
        it.api.drop_watches()
        await it.settle(400)
        assert it.images() == ["web:2"] * 3
        assert min(ready) >= 3 - unavailable and max(total) <= 3 + surge
        assert sorted(one["revision"] for one in it.api.objects(CONTROLLER_REVISIONS, "d")) == [1, 2]


@pytest.mark.virtual
async def test_failed_pods_are_replaced_with_a_growing_delay() -> None:
    async with world(1) as it:
        it.api.add(DAEMON_SETS, daemon_set())
        await it.settle(30.1)
        for _ in range(2):
            name = meta.name(it.pods()[0])
            it.api.change(PODS, name, "d", lambda pod: pod["status"].update(phase="Failed"))
            await it.settle(30.1)
            assert len(it.ready()) == 1
        assert [reason for _, reason, _ in it.events()].count("FailedDaemonPod") == 2


@pytest.mark.virtual
async def test_a_replication_controller_keeps_its_pods() -> None:
    async with world(0) as it:
        spec = {"replicas": 2, "selector": {"app": "web"}, "template": template()}
        it.api.add(REPLICATION_CONTROLLERS, {"metadata": {"name": "old", "namespace": "d"}, "spec": spec})
        await it.settle()
        assert len(it.ready()) == 2
        assert meta.controller_of(it.pods()[0])["kind"] == "ReplicationController"
        assert it.api.object(REPLICATION_CONTROLLERS, "old", "d")["status"]["readyReplicas"] == 2
