"""A whole cluster on virtual time, whose parts can be killed: store, API server, controllers, scheduler, nodes.

    Chronicle (the store) --every commit, with who asked for it--> Observer
         ^
    Server: the real pipeline; stops and starts again over the same store
         ^ FaultyTransport, one for each controller, so that it is known who writes
    Component: "controllers", "scheduler", "kubelets"; crashes between any two calls, starts again

One ``random.Random`` each for faults and history, and the loop's own for the components, all from the seed: a
number is a history.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chaos.faults import ACTOR, Faults, FaultyTransport, Life
from coxswain import scheduler
from coxswain.api import errors
from coxswain.api.names import CONFIGMAPS, GVR, NAMESPACES, Object
from coxswain.apiserver.admission.default import default_chain
from coxswain.apiserver.allocators import ServiceAllocator
from coxswain.apiserver.authz.authorizer import Authorizer
from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.registry import Registry
from coxswain.apiserver.request import Core
from coxswain.apiserver.storage import Storage
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.client import ApiClient
from coxswain.controllers import registry as controllers
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.manager import Manager
from coxswain.kubelet import hollow
from coxswain.store.interface import Op
from coxswain.store.memory import MemoryStore

STORAGE_CLASSES = GVR("storage.k8s.io", "v1", "storageclasses")
#: Told of each op of a commit: revision, who asked for it, and the op.
Told = Callable[[int, str, Op], None]


class Chronicle(MemoryStore):
    """A store that tells of every commit, in order and at once."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told = told

    async def commit(self, ops: Sequence[Op]) -> int:
        before = self.revision
        revision = await super().commit(ops)
        if revision > before:
            for op in ops:
                self._told(revision, ACTOR.get(), op)
        return revision


class Server:
    """The API server without doors; ``backend`` is the pipeline of the moment."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._pipeline: Pipeline | None = None
        self._bookmarks: asyncio.Task[None] | None = None

    def backend(self) -> Pipeline:
        if self._pipeline is None:
            raise errors.ServiceUnavailable("connection refused")
        return self._pipeline

    async def start(self) -> None:
        storage = Storage(self._store, ring_events=1000)
        registry = Registry(storage)
        registry.add_built_in()
        await storage.start()
        authorizer = Authorizer(registry.lookup)
        chain = default_chain(registry.lookup, authorizer, disable=("ServiceAccount",), registry=registry)
        core = Core(storage, registry, chain, authorizer, ServiceAllocator(registry.lookup))
        self._pipeline = Pipeline(core)
        self._bookmarks = asyncio.ensure_future(self._pipeline.send_bookmarks())

    async def stop(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None and self._bookmarks is not None:
            await cancel_and_wait(self._bookmarks)
            await pipeline.core.storage.stop()
            await pipeline.core.admission.close()


class Component:
    """Something that runs, is killed and runs again. ``make`` gets the transport maker of the new process."""

    def __init__(self, name: str, faults: Faults, make: Callable[[Life], Awaitable[None]]) -> None:
        self.name = name
        self.life = Life(name, dead=True)
        self.is_down = True
        self._faults = faults
        self._make = make
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.life = Life(self.name)
        self.is_down = False
        self._faults.born(self.life)
        self._task = asyncio.ensure_future(self._run(self.life))

    async def _run(self, life: Life) -> None:
        work = asyncio.ensure_future(self._make(life))
        life.on_death = work.cancel
        try:
            await work
        finally:
            life.die()
            if not work.done():
                await cancel_and_wait(work)
            self._faults.bury(life)

    async def stop(self) -> None:
        """Kill it now, and wait until nothing of it runs."""
        self.life.die()
        if self._task is not None:
            await asyncio.wait((self._task,))
            if not self._task.cancelled():
                self._task.exception()


class World:
    """See the module's text. ``async with`` starts everything."""

    def __init__(
        self,
        seed: int,
        directory: Path,
        told: Told,
        *,
        nodes: int = 5,
        faults: Faults | None = None,
        selection: str = "*",
        pod_latency: float | None = None,
    ) -> None:
        self.faults = faults or Faults(random.Random(f"faults {seed}"))
        self.rng = random.Random(f"world {seed}")
        self.store = Chronicle(told)
        self.server = Server(self.store)
        self.nodes = [f"node-{number}" for number in range(nodes)]
        self._directory = directory
        self._selection = selection
        latency = self.rng.choice([0.0, 0.5, 3.0]) if pod_latency is None else pod_latency
        self._hollow = hollow.HollowSettings(pod_latency=latency)
        self.manager: Manager | None = None
        self.user_faults = Faults(random.Random(0))
        self.user = self.client("user", Life("user"), self.user_faults)
        makers = {"controllers": self._controllers, "scheduler": self._scheduler, "kubelets": self._kubelets}
        self.components = {name: Component(name, self.faults, make) for name, make in makers.items()}

    def client(self, actor: str, life: Life, faults: Faults | None = None) -> ApiClient:
        """A client whose writes are ``actor``'s."""
        return ApiClient(FaultyTransport(self.server.backend, actor, life, faults or self.faults))

    async def __aenter__(self) -> World:
        await self.server.start()
        for name in ("default", "kube-system", "kube-node-lease", "kube-public"):
            await self.user.create(NAMESPACES, {"metadata": {"name": name}})
        await self.user.create(CONFIGMAPS, _AUTHENTICATION)
        await self.user.create(STORAGE_CLASSES, _LOCAL_CLASS)
        for component in self.components.values():
            component.start()
        await clock.sleep(3)
        return self

    async def __aexit__(self, *error: object) -> None:
        for component in self.components.values():
            await component.stop()
        await self.server.stop()
        await self.store.close()

    # -- components

    async def _scheduler(self, life: Life) -> None:
        await scheduler.run(self.client("scheduler", life))

    async def _kubelets(self, life: Life) -> None:
        await hollow.run(self.client("kubelet", life), self.nodes, settings=self._hollow)

    async def _controllers(self, life: Life) -> None:
        def lookup(name: str) -> Descriptor:
            found = controllers.descriptor(name)

            async def run(context: ControllerContext) -> None:
                await found.run(replace(context, client=self.client(name, life)))

            return replace(found, run=run)

        options = {"local-path-provisioner-controller": {"directory": str(self._directory)}}
        client = self.client("controllers", life)
        self.manager = Manager(client, self._selection, options, lookup=lookup)
        await self.manager.run()

    # -- what goes wrong at large

    async def restart(self, name: str, down: float) -> None:
        """Kill a component now; it starts again after ``down`` seconds."""
        component = self.components[name]
        if not component.is_down:
            component.is_down = True
            await component.stop()
            await clock.sleep(down)
            component.start()

    async def restart_server(self, down: float) -> None:
        """Kill the API server; it starts again over the same store."""
        await self.server.stop()
        await clock.sleep(down)
        await self.server.start()

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        asyncio.get_running_loop().clock.set_forward(seconds)  # type: ignore[attr-defined]


_AUTHENTICATION: Any = {
    "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
    "data": {"client-ca-file": "-----BEGIN CERTIFICATE-----"},
}
_LOCAL_CLASS: Object = {
    "metadata": {"name": "local"},
    "provisioner": "coxswain.dev/local-path",
    "volumeBindingMode": "WaitForFirstConsumer",
    "reclaimPolicy": "Delete",
}
