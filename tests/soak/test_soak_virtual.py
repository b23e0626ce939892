"""Churn in virtual time: API server, scheduler, controllers and hollow nodes on one loop, compared every minute.

``make test-heavy`` soaks for two hours of virtual time; COXSWAIN_SOAK_VIRTUAL_SECONDS says otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.base import loop
from coxswain.base.tasks import Supervisor
from coxswain.cli import cluster
from coxswain.client.client import ApiClient
from coxswain.client.inprocess import InProcessTransport
from coxswain.client.interface import Client
from coxswain.controllers import manager
from coxswain.kubelet import hollow
from coxswain.scheduler import Scheduler, SchedulerConfig
from coxswain.scheduler.comparer import compare
from soak.soaking import Soak


async def soak(data_dir: Path, seconds: float, *, seed: int, hollow_nodes: int, **how: Any) -> Soak:
    """A whole control plane, soaked for so long."""
    serving, storage = ServingSettings(port=-1), StorageSettings(backend="memory")
    server = ApiServer(ApiServerConfig(data_dir=data_dir, serving=serving, storage=storage))
    await server.start()

    def client(user: cluster.UserInfo) -> Client:
        return ApiClient(InProcessTransport(server.backend, user))

    scheduler = Scheduler(client(cluster.SCHEDULER), SchedulerConfig())

    async def compared() -> dict[str, Any]:
        return (await compare(scheduler)).told()

    try:
        async with Supervisor("control plane") as tasks:
            tasks.supervise("scheduler", scheduler.run)
            tasks.supervise("controllers", lambda: manager.run(client(cluster.CONTROLLER_MANAGER)))
            if hollow_nodes:
                names = client(cluster.HOLLOW_NODES)
                tasks.supervise("hollow nodes", lambda: hollow.run(names, count=hollow_nodes))
                await cluster.wait_for_nodes(client(cluster.ADMIN), hollow_nodes)
            one = Soak(client(cluster.ADMIN), compared, seed=seed, controllers=True, **how)
            await one.run(seconds)
            return one
    finally:
        await server.stop()


def test_minutes_of_churn(tmp_path: Path) -> None:
    one = loop.run(soak(tmp_path, 55, seed=1, hollow_nodes=2, nodes=8, load=1.5), seed=1)
    assert one.wrong == []
    assert one.comparisons >= 2
    assert one.checker.counts["bindings"] > 50


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_hours_of_churn(tmp_path: Path, seed: int) -> None:
    seconds = float(os.environ.get("COXSWAIN_SOAK_VIRTUAL_SECONDS", "7200"))
    report = Path(os.environ.get("COXSWAIN_SOAK_REPORT", tmp_path), f"virtual-{seed}.jsonl")
    how = {"hollow_nodes": 10, "nodes": 20, "load": 2.0, "report": report}
    one = loop.run(soak(tmp_path, seconds, seed=seed, **how), seed=seed)
    assert one.wrong == []
    assert one.checker.counts["bindings"] > seconds / 4
