"""A whole request pipeline over a memory store, without doors, for the tests of the API server's core."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from coxswain.api.names import DEPLOYMENTS, GVR, NAMESPACES, NODES, PODS, Object
from coxswain.apiserver.admission.default import default_chain
from coxswain.apiserver.admission.webhooks.client import Caller
from coxswain.apiserver.allocators import ServiceAllocator
from coxswain.apiserver.authz.authorizer import Authorizer
from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.registry import Registry
from coxswain.apiserver.request import Core
from coxswain.apiserver.settings import WatchSettings
from coxswain.apiserver.shared import joining
from coxswain.apiserver.storage import Storage
from coxswain.client.interface import Answer, Call, UserInfo
from coxswain.store.memory import MemoryStore

ADMIN = UserInfo("admin", ("system:masters", "system:authenticated"))
NOBODY = UserInfo("nobody", ("system:authenticated",))
CONFIGMAPS = GVR("", "v1", "configmaps")


class Cluster:
    """The pipeline, with short words for calls."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.core = pipeline.core

    async def call(
        self,
        verb: Any,
        resource: GVR,
        name: str = "",
        body: Any = None,
        *,
        namespace: str = "default",
        user: UserInfo = ADMIN,
        subresource: str = "",
        content_type: str = "application/json",
        accept: str = "application/json",
        **query: str,
    ) -> Answer:
        if resource in (NAMESPACES, NODES):
            namespace = ""
        data = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        call = Call(verb, resource, namespace, name, subresource, query, data, content_type, accept)
        return await self.pipeline.call(call, user)

    async def do(self, *arguments: Any, **options: Any) -> Object:
        """``call``, and the object; raises the ``ApiError`` of a failure."""
        return (await self.call(*arguments, **options)).object()


@asynccontextmanager
async def cluster(
    *,
    store: MemoryStore | None = None,
    ring_events: int = 1000,
    watch: WatchSettings | None = None,
    caller: Caller | None = None,
    config_file: Path | None = None,
    disable: Collection[str] = ("ServiceAccount",),
    shared: bool = False,
) -> AsyncIterator[Cluster]:
    """A running pipeline with the namespace ``default``; ``shared``: as if others wrote to the store, too."""
    own = store or MemoryStore()
    storage = joining.storage(own, ring_events, None) if shared else Storage(own, ring_events=ring_events)
    registry = Registry(storage)
    registry.add_built_in()
    await storage.start()
    authorizer = Authorizer(registry.lookup)
    chain = default_chain(
        registry.lookup,
        authorizer,
        disable=disable,
        registry=registry,
        caller=caller,
        config_file=config_file,
    )
    core = Core(
        storage,
        registry,
        chain,
        authorizer,
        ServiceAllocator(registry.lookup),
        watch=watch or WatchSettings(),
    )
    running = Cluster(Pipeline(core))
    if registry.lookup.get(NAMESPACES, "", "default") is None:
        await running.do("create", NAMESPACES, body={"metadata": {"name": "default"}})
    try:
        yield running
    finally:
        await chain.close()
        await storage.stop()
        if store is None:
            await own.close()


def configmap(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def labelled(name: str, **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}}


def pod(name: str, **spec: Any) -> Object:
    container = {"name": "c", "image": "nginx:1.21"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [container], **spec},
    }


def deployment(name: str, replicas: int = 2) -> Object:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod("x")["spec"]}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


__all__ = [
    "ADMIN",
    "CONFIGMAPS",
    "DEPLOYMENTS",
    "NOBODY",
    "PODS",
    "Cluster",
    "cluster",
    "configmap",
    "deployment",
    "labelled",
    "pod",
]
