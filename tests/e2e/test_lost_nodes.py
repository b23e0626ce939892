"""The whole control plane on the virtual clock: a node that falls silent loses its pods to the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from coxswain import scheduler
from coxswain.api import meta
from coxswain.api.names import DEPLOYMENTS, NODES, PODS, Object
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.base import clock
from coxswain.base.tasks import Supervisor
from coxswain.cli import cluster
from coxswain.client.client import ApiClient
from coxswain.client.inprocess import InProcessTransport
from coxswain.client.interface import Client
from coxswain.controllers import manager
from coxswain.kubelet import hollow

STOPPED = {"metadata": {"annotations": {hollow.HEARTBEAT_ANNOTATION: "stopped"}}}
WELL = {"metadata": {"annotations": {hollow.HEARTBEAT_ANNOTATION: None}}}


@asynccontextmanager
async def control_plane(data_dir: Path, nodes: int) -> AsyncIterator[Client]:
    """API server (without doors), scheduler, controllers and hollow nodes; the administrator's client."""
    server = ApiServer(
        ApiServerConfig(
            data_dir=data_dir, serving=ServingSettings(port=-1), storage=StorageSettings(backend="memory")
        )
    )
    await server.start()

    def client(user: cluster.UserInfo) -> Client:
        return ApiClient(InProcessTransport(server.backend, user))

    try:
        async with Supervisor("control plane") as tasks:
            tasks.supervise("scheduler", lambda: scheduler.run(client(cluster.SCHEDULER)))
            tasks.supervise("controllers", lambda: manager.run(client(cluster.CONTROLLER_MANAGER)))
            tasks.supervise("hollow nodes", lambda: hollow.run(client(cluster.HOLLOW_NODES), count=nodes))
            await cluster.wait_for_nodes(client(cluster.ADMIN), nodes)
            yield client(cluster.ADMIN)
    finally:
        await server.stop()


def a_deployment(replicas: int, **spec: Any) -> Object:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


async def listed(client: Client, resource: Any, namespace: str = "") -> list[Object]:
    return [orjson.loads(raw) for raw in (await client.list(resource, namespace)).items]


async def until(client: Client, found: Callable[[Object], bool], timeout: float) -> float:
    """Seconds until the deployment is as wanted."""
    started = clock.monotonic()
    async with asyncio.timeout(timeout):
        while not found(await client.get(DEPLOYMENTS, "web", "default")):
            await clock.sleep(0.5)
    return clock.monotonic() - started


def available(count: int) -> Callable[[Object], bool]:
    return lambda deployment: deployment.get("status", {}).get("availableReplicas", 0) == count


@pytest.mark.virtual
async def test_pods_of_a_silent_node_are_evicted_and_replaced(tmp_path: Path) -> None:
    async with control_plane(tmp_path, nodes=3) as client:
        await client.create(DEPLOYMENTS, a_deployment(9))
        assert await until(client, available(9), 30) < 30
        lost = (await listed(client, PODS, "default"))[0]["spec"]["nodeName"]
        doomed = {
            pod["metadata"]["name"] for pod in await listed(client, PODS) if pod["spec"]["nodeName"] == lost
        }
        await client.patch(NODES, lost, STOPPED)

        # Noticed after the grace period of a node (50 s), left after what pods tolerate (300 s).
        assert 30 < await until(client, available(9 - len(doomed)), 120) < 70
        await clock.sleep(15)
        node = await client.get(NODES, lost)
        assert {taint["key"] for taint in node["spec"]["taints"]} == {"node.kubernetes.io/unreachable"}
        assert {taint["effect"] for taint in node["spec"]["taints"]} == {"NoSchedule", "NoExecute"}
        ready = meta.condition(node, "Ready")
        assert ready is not None and ready["status"] == "Unknown"
        assert 270 < await until(client, available(9), 600) < 320

        pods = await listed(client, PODS, "default")
        alive = [pod for pod in pods if not meta.is_terminating(pod)]
        assert len(alive) == 9 and all(pod["spec"]["nodeName"] != lost for pod in alive)
        # Nobody there can say that they have ended, so they stay, to be deleted.
        assert {pod["metadata"]["name"] for pod in pods if meta.is_terminating(pod)} == doomed


@pytest.mark.virtual
async def test_a_node_that_comes_back_ends_its_old_pods(tmp_path: Path) -> None:
    async with control_plane(tmp_path, nodes=2) as client:
        toleration = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
        short = a_deployment(4, tolerations=[{**toleration, "tolerationSeconds": 10}])
        await client.create(DEPLOYMENTS, short)
        await until(client, available(4), 30)
        lost = (await listed(client, PODS, "default"))[0]["spec"]["nodeName"]
        await client.patch(NODES, lost, STOPPED)
        await until(client, lambda deployment: not available(4)(deployment), 120)
        assert await until(client, available(4), 60) < 30
        await client.patch(NODES, lost, WELL)
        await clock.sleep(60)
        assert "taints" not in (await client.get(NODES, lost))["spec"]
        assert len(await listed(client, PODS, "default")) == 4


@pytest.mark.virtual
async def test_a_deleted_nodes_pods_are_collected(tmp_path: Path) -> None:
    async with control_plane(tmp_path, nodes=3) as client:
        await client.create(DEPLOYMENTS, a_deployment(6))
        await until(client, available(6), 30)
        lost = (await listed(client, PODS, "default"))[0]["spec"]["nodeName"]
        await client.patch(NODES, lost, STOPPED)
        await client.delete(NODES, lost)
        await clock.sleep(180)
        pods = await listed(client, PODS, "default")
        assert len(pods) == 6 and all(pod["spec"]["nodeName"] != lost for pod in pods)
        await until(client, available(6), 30)
