"""A whole control plane on one loop, and its bounds made so small that they are reached at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coxswain.api.managedfields import shape, update
from coxswain.apiserver import moulds, replicas, watchcache
from coxswain.apiserver.admission.webhooks import hooks
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.base.tasks import Supervisor
from coxswain.cli import cluster
from coxswain.client import events
from coxswain.client.client import ApiClient
from coxswain.client.inprocess import InProcessTransport
from coxswain.client.interface import Client, UserInfo
from coxswain.controllers import manager
from coxswain.controllers.garbagecollector import controller as garbage_collector
from coxswain.kubelet import hollow
from coxswain.scheduler import (
    Scheduler,
    SchedulerConfig,
    cache,
    cycle,
    firstpod,
    neighbourhood,
    nodetable,
    placed,
    podsource,
)
from coxswain.scheduler import template as templates
from coxswain.scheduler.plugins import inter_pod_affinity
from leaks.rounds import ClientOf

#: What is remembered of what has gone: where, the name of the bound, and a bound that a few rounds reach.
BOUNDS = (
    (watchcache, "_FEWEST", 4),
    (replicas, "_BODIES", 8),
    (moulds, "_MOULDS", 8),
    (hooks, "_MOST_REMEMBERED", 64),
    (update, "_MAX_OUTLINES", 8),
    (shape, "_MAX_STRUCTS", 64),
    (events, "_CACHE", 2),
    (garbage_collector, "_ABSENT", 4),
    (podsource, "_MOST_KNOWN", 16),
    (cache, "_MOST_KNOWN", 16),
    (neighbourhood, "_MOST_KNOWN", 16),
    (inter_pod_affinity, "_MOST_KNOWN", 16),
    (placed, "_LOGGED", 32),
    (firstpod, "_MOST_SHAPES", 2),
    (nodetable, "_FIRST_CAPACITY", 4),
)


def make_bounds_small(patch: pytest.MonkeyPatch) -> None:
    """For what is made from now on. Function caches are emptied by the census instead."""
    for module, name, bound in BOUNDS:
        patch.setattr(module, name, bound)
    patch.setattr(templates.Templates.__init__, "__defaults__", (32,))
    patch.setitem(cycle.Cycle.__init__.__kwdefaults__, "memory", 1)


@asynccontextmanager
async def control_plane(data_dir: Path, hollow_nodes: int) -> AsyncIterator[ClientOf]:
    """API server, scheduler, all controllers, hollow nodes; gives what makes a user's client."""
    serving, storage = ServingSettings(port=-1), StorageSettings(backend="memory")
    server = ApiServer(ApiServerConfig(data_dir=data_dir, serving=serving, storage=storage))
    await server.start()

    def client(user: UserInfo) -> Client:
        return ApiClient(InProcessTransport(server.backend, user))

    scheduler = Scheduler(client(cluster.SCHEDULER), SchedulerConfig())
    try:
        async with Supervisor("control plane") as tasks:
            tasks.supervise("scheduler", scheduler.run)
            tasks.supervise("controllers", lambda: manager.run(client(cluster.CONTROLLER_MANAGER)))
            names = client(cluster.HOLLOW_NODES)
            tasks.supervise("hollow nodes", lambda: hollow.run(names, count=hollow_nodes))
            await cluster.wait_for_nodes(client(cluster.ADMIN), hollow_nodes)
            yield client
    finally:
        await server.stop()
