"""A controller manager that starts in a cluster that is as it should be writes nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from coxswain import scheduler
from coxswain.api import meta
from coxswain.api.names import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    GVR,
    PODS,
    SERVICES,
    STATEFUL_SETS,
    Object,
)
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.base import clock
from coxswain.base.tasks import Supervisor, cancel_and_wait
from coxswain.cli.cluster import ADMIN, CONTROLLER_MANAGER, HOLLOW_NODES, SCHEDULER, service_account
from coxswain.client.client import ApiClient
from coxswain.client.inprocess import InProcessTransport
from coxswain.client.interface import Answer, Answers, Backend, Call, UserInfo
from coxswain.controllers.manager import Manager
from coxswain.kubelet import hollow

BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
QUOTAS = GVR("", "v1", "resourcequotas")
SCALERS = GVR("autoscaling", "v2", "horizontalpodautoscalers")
Written = list[tuple[str, str, str]]


class CountingTransport(InProcessTransport):
    """Notes every write that is asked for, whether it changes anything or not; events excepted."""

    def __init__(self, backend: Backend, user: UserInfo, written: Written) -> None:
        super().__init__(backend, user)
        self._written = written

    def _note(self, call: Call) -> None:
        if call.verb not in ("get", "list", "watch") and call.resource.resource != "events":
            what = f"{call.resource.resource}/{call.subresource}".rstrip("/")
            self._written.append((call.verb, what, f"{call.namespace}/{call.name}"))

    async def call(self, call: Call) -> Answer:
        self._note(call)
        return await super().call(call)

    async def batch(self, calls: Sequence[Call]) -> Answers:
        for call in calls:
            self._note(call)
        return await super().batch(calls)


class World:
    """An API server with hollow nodes and a scheduler, and controller managers that come and go."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.admin = self._client(ADMIN)

    def _client(self, user: UserInfo) -> ApiClient:
        return ApiClient(InProcessTransport(self._server.backend, user))

    @asynccontextmanager
    async def managed(self) -> AsyncIterator[Written]:
        """The writes that a controller manager asks for while the block lasts."""
        written: Written = []

        def acting_as(user: UserInfo) -> ApiClient:
            return ApiClient(CountingTransport(self._server.backend, user, written))

        manager = Manager(
            acting_as(CONTROLLER_MANAGER), acting_as=lambda name: acting_as(service_account(name))
        )
        task = asyncio.ensure_future(manager.run())
        try:
            yield written
            assert manager.healthy(), manager.health
        finally:
            await cancel_and_wait(task)

    async def pods(self) -> Counter[str]:
        """How many are ready, and how many not."""
        raws = (await self.admin.list(PODS)).items
        return Counter("ready" if meta.is_pod_ready(orjson.loads(raw)) else "unready" for raw in raws)


@asynccontextmanager
async def _world(directory: Path, nodes: int) -> AsyncIterator[World]:
    server = ApiServer(
        ApiServerConfig(
            data_dir=directory, serving=ServingSettings(port=-1), storage=StorageSettings(backend="memory")
        )
    )
    await server.start()
    world = World(server)
    try:
        async with Supervisor("world") as tasks:
            tasks.start("scheduler", scheduler.run(world._client(SCHEDULER)))
            tasks.start("nodes", hollow.run(world._client(HOLLOW_NODES), count=nodes))
            yield world
    finally:
        await server.stop()


def _workload(kind: str, name: str, **spec: Any) -> Object:
    labels = {"app": name}
    containers = [{"name": "c", "image": "app:1", "ports": [{"containerPort": 80, "name": "http"}]}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


async def _fill(world: World, deployments: int, replicas: int) -> None:
    create = world.admin.create
    for number in range(deployments):
        name = f"web-{number}"
        await create(DEPLOYMENTS, _workload("Deployment", name, replicas=replicas))
        ports = [{"port": 80, "targetPort": "http"}]
        await create(SERVICES, _named("Service", name, {"selector": {"app": name}, "ports": ports}))
    selector = {"matchLabels": {"app": "web-0"}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web-1"}
    scaler = {"minReplicas": replicas, "maxReplicas": 2 * replicas, "scaleTargetRef": target}
    job = {"template": {"spec": {"template": _workload("Job", "j")["spec"]["template"]}}}
    job["template"]["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    await create(STATEFUL_SETS, _workload("StatefulSet", "db", replicas=3, serviceName="db"))
    await create(DAEMON_SETS, _workload("DaemonSet", "agent"))
    await create(BUDGETS, _named("PodDisruptionBudget", "web", {"minAvailable": 1, "selector": selector}))
    await create(QUOTAS, _named("ResourceQuota", "all", {"hard": {"pods": "100k", "configmaps": "10"}}))
    await create(SCALERS, _named("HorizontalPodAutoscaler", "web", scaler))
    await create(
        CRON_JOBS,
        _named(
            "CronJob", "nightly", {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job["template"]["spec"]}}
        ),
    )


def _named(kind: str, name: str, spec: Object) -> Object:
    versions = {
        "PodDisruptionBudget": "policy/v1",
        "HorizontalPodAutoscaler": "autoscaling/v2",
        "CronJob": "batch/v1",
    }
    meta_ = {"name": name, "namespace": "default"}
    return {"apiVersion": versions.get(kind, "v1"), "kind": kind, "metadata": meta_, "spec": spec}


async def _restarts_in_silence(directory: Path, deployments: int, replicas: int, nodes: int) -> None:
    async with _world(directory, nodes) as world:
        async with world.managed() as written:
            await clock.sleep(10)
            await _fill(world, deployments, replicas)
            await clock.sleep(60)
            assert await world.pods() == {"ready": deployments * replicas + 3 + nodes}
            written.clear()
            await clock.sleep(60)
            assert written == [], "a steady cluster is not written"
        for _ in range(2):
            async with world.managed() as written:
                await clock.sleep(60)
                assert written == []


@pytest.mark.virtual
async def test_a_manager_that_starts_anew_writes_nothing(tmp_path: Path) -> None:
    await _restarts_in_silence(tmp_path, deployments=6, replicas=4, nodes=2)


@pytest.mark.heavy
@pytest.mark.virtual
async def test_a_manager_that_starts_anew_among_thousands_writes_nothing(tmp_path: Path) -> None:
    await _restarts_in_silence(tmp_path, deployments=100, replicas=20, nodes=30)
