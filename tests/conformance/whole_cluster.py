"""A whole cluster in virtual time: API server, controllers, scheduler and kubelets, as ``cox up`` composes them.

    async with whole_cluster(tmp_path, programs={"fails": fails}) as it:
        await it.create(JOBS, job(...))
        await it.until(lambda: it.succeeded("job"))

Everything is the product's except the container runtime (``pretended_runtime``). The store is in memory and no
port is opened; clients act as the users that they would be over the wire, so RBAC and admission hold. Most
calls are the administrator's, in the namespace ``work``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import orjson

from conformance.pretended_runtime import PretendedRuntime, Process, Program
from coxswain import scheduler
from coxswain.api import kinds
from coxswain.api.errors import ApiError, Conflict, NotFound
from coxswain.api.names import GVR, NAMESPACES, NODES, PODS, SERVICE_ACCOUNTS, Object
from coxswain.apiserver.authn.issuer import Issuer
from coxswain.apiserver.customresources.published import Published
from coxswain.apiserver.endpoints import Endpoints
from coxswain.apiserver.health import Health
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.base import clock
from coxswain.base.tasks import Supervisor
from coxswain.cli.cluster import (
    ADMIN,
    CONTROLLER_MANAGER,
    SCHEDULER,
    node_user,
    service_account,
    wait_for_nodes,
)
from coxswain.client.client import ApiClient
from coxswain.client.inprocess import InProcessTransport
from coxswain.client.interface import MERGE_PATCH, Backend, Call, UserInfo
from coxswain.controllers import manager
from coxswain.kubelet.agent import Agent
from coxswain.kubelet.config import KubeletConfig, NodeSettings, ServerSettings

T = TypeVar("T")
WORK = "work"
#: Resources whose objects lie in no namespace.
CLUSTER_SCOPED = {resource.gvr for resource in kinds.resources() if not resource.namespaced}


class Whole:
    """The running cluster, with short words for calls."""

    def __init__(
        self,
        backend: Backend,
        published: Callable[[], Published],
        issuer: Issuer | None = None,
        kubelets: Mapping[str, PretendedRuntime] | None = None,
    ) -> None:
        """``published`` tells what discovery shows; ``kubelets`` are the runtimes by the names of their nodes."""
        self.kubelets = kubelets or {}
        self._backend = backend
        self._published = published
        self._issuer = issuer
        self.client = self.act_as(ADMIN)

    def act_as(self, user: UserInfo) -> ApiClient:
        """A client of another user."""
        return ApiClient(InProcessTransport(self._backend, user))

    # -- verbs

    async def create(self, resource: GVR, obj: Object, namespace: str = WORK, **options: Any) -> Object:
        return await self.client.create(resource, obj, _scope(resource, namespace), **options)

    async def get(self, resource: GVR, name: str, namespace: str = WORK, *, subresource: str = "") -> Object:
        return await self.client.get(resource, name, _scope(resource, namespace), subresource=subresource)

    async def list(self, resource: GVR, namespace: str = WORK, **selectors: str) -> list[Object]:
        """Decoded; ``namespace`` empty means all."""
        found = await self.client.list(resource, _scope(resource, namespace), **selectors)  # type: ignore[arg-type]
        return [orjson.loads(raw) for raw in found.items]

    async def update(self, resource: GVR, obj: Object, subresource: str = "") -> Object:
        return await self.client.update(resource, obj, subresource=subresource)

    async def edit(
        self,
        resource: GVR,
        name: str,
        change: Callable[[Object], Any],
        namespace: str = WORK,
        *,
        subresource: str = "",
    ) -> Object:
        """Get, change, update; again when somebody else was faster."""
        for _ in range(10):
            obj = await self.get(resource, name, namespace)
            change(obj)
            try:
                return await self.client.update(resource, obj, subresource=subresource)
            except Conflict:
                continue
        raise AssertionError(f"{resource.resource} {name}: ten conflicts in a row")

    async def patch(
        self,
        resource: GVR,
        name: str,
        patch: Any,
        namespace: str = WORK,
        *,
        kind: str = MERGE_PATCH,
        subresource: str = "",
    ) -> Object:
        scope = _scope(resource, namespace)
        return await self.client.patch(resource, name, patch, scope, kind=kind, subresource=subresource)

    async def delete(self, resource: GVR, name: str, namespace: str = WORK, **options: Any) -> Object:
        return await self.client.delete(resource, name, _scope(resource, namespace), **options)

    async def delete_collection(self, resource: GVR, namespace: str = WORK, **selectors: str) -> None:
        await self.client.delete_collection(resource, _scope(resource, namespace), **selectors)

    async def call(
        self,
        verb: Any,
        resource: GVR,
        name: str = "",
        body: Any = None,
        namespace: str = WORK,
        **options: Any,
    ) -> Object:
        """Any request; ``options`` are those of ``Call``. Raises the ``ApiError`` of a failure."""
        data = b"" if body is None else orjson.dumps(body)
        call = Call(verb, resource, _scope(resource, namespace), name, body=data, **options)
        answers = await self.client.batch([call])
        return answers[0].object()

    async def exists(self, resource: GVR, name: str, namespace: str = WORK) -> bool:
        try:
            await self.get(resource, name, namespace)
        except NotFound:
            return False
        return True

    # -- waiting

    async def until(self, check: Callable[[], Awaitable[T]], seconds: float = 300) -> T:
        """What ``check`` answers as soon as that is true, at most ``seconds`` of virtual time from now."""
        end = clock.monotonic() + seconds
        last: Any = None
        while clock.monotonic() < end:
            last = await check()
            if last:
                return last  # type: ignore[no-any-return]
            await clock.sleep(0.25)
        raise AssertionError(f"not within {seconds:g} s: {getattr(check, '__name__', check)}: last {last!r}")

    async def until_gone(
        self, resource: GVR, name: str, namespace: str = WORK, *, seconds: float = 300
    ) -> None:
        async def gone() -> bool:
            return not await self.exists(resource, name, namespace)

        await self.until(gone, seconds)

    async def until_status(
        self, resource: GVR, name: str, namespace: str = WORK, *, seconds: float = 300, **wanted: Any
    ) -> Object:
        """The object as soon as its status has these fields (None: absent or zero), seen by its controller."""
        seen: Object = {}

        async def reached() -> Object | None:
            seen.update(obj := await self.get(resource, name, namespace))
            status = obj.get("status") or {}
            observed = status.get("observedGeneration")
            if observed is not None and observed < obj["metadata"].get("generation", 0):
                return None
            same = all((status.get(key) or None) == (value or None) for key, value in wanted.items())
            return obj if same else None

        try:
            return await self.until(reached, seconds)
        except AssertionError:
            raise AssertionError(f"{name}: wanted {wanted}, got {seen.get('status')}") from None

    @asynccontextmanager
    async def following(
        self, resource: GVR, namespace: str = WORK, **selectors: str
    ) -> AsyncIterator[Follower]:
        """A watch from now on; its events are gathered while the block runs."""
        scope = _scope(resource, namespace)
        listed = await self.client.list(resource, scope, **selectors)  # type: ignore[arg-type]
        follower = Follower(self)
        async with Supervisor("following") as tasks:
            tasks.start("watch", follower.follow(resource, scope, listed.resource_version, selectors))
            await clock.sleep(0)
            yield follower

    # -- pods and what runs in them

    async def pods(self, namespace: str = WORK, **labels: str) -> list[Object]:
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        return await self.list(PODS, namespace, label_selector=selector)

    async def until_pods(
        self, count: int, namespace: str = WORK, *, ready: bool = True, seconds: float = 300, **labels: str
    ) -> list[Object]:
        """The pods with these labels, as soon as they are ``count`` (all of them Ready unless told otherwise)."""

        async def reached() -> list[Object] | None:
            found = await self.pods(namespace, **labels)
            good = all(is_ready(pod) for pod in found) or not ready
            return found if len(found) == count and good else None

        if count:
            return await self.until(reached, seconds)

        async def none() -> bool:
            return not await self.pods(namespace, **labels)

        await self.until(none, seconds)
        return []

    def process(self, pod: str, namespace: str = WORK) -> Process:
        """The newest container of the pod."""
        found = [
            process
            for runtime in self.kubelets.values()
            for process in runtime.processes.values()
            if (process.sandbox.namespace, process.sandbox.name) == (namespace, pod)
        ]
        return found[-1]

    # -- what is served beside resources

    def served(self, path: str, accept: str = "application/json") -> Any:
        """The document at ``path``, as the API server answers it over HTTPS."""
        endpoints = Endpoints(
            Health(), published=self._published, address="127.0.0.1:6443", issuer=self._issuer
        )
        reply = endpoints.answer(path, {}, accept, False)
        assert reply is not None, f"nothing is served at {path}"
        return orjson.loads(reply.body)

    def discovered(self, resource: GVR) -> Object:
        """The resource's entry in discovery, found from the group list down as clients find it."""
        if resource.group:
            groups = self.served("/apis")["groups"]
            (group,) = [entry for entry in groups if entry["name"] == resource.group]
            assert resource.api_version in [v["groupVersion"] for v in group["versions"]]
            resources = self.served(f"/apis/{resource.api_version}")["resources"]
        else:
            resources = self.served("/api/v1")["resources"]
        (found,) = [entry for entry in resources if entry["name"] == resource.resource]
        return dict(found)


class Follower:
    """Gathers the events of a watch."""

    def __init__(self, whole: Whole) -> None:
        self.events: list[tuple[str, Object]] = []
        self._whole = whole

    async def follow(self, resource: GVR, namespace: str, version: str, selectors: dict[str, str]) -> None:
        client = self._whole.client
        async with client.watch(
            resource, namespace, resource_version=version, bookmarks=False, **selectors
        ) as stream:  # type: ignore[arg-type]
            async for batch in stream:
                self.events.extend((event.type, event.object) for event in batch)

    def types(self, name: str = "") -> list[str]:
        """The types of the events so far (of one object)."""
        return [kind for kind, obj in self.events if name in ("", obj["metadata"]["name"])]

    async def until(
        self, kind: str, check: Callable[[Object], Any] = lambda _: True, seconds: float = 60
    ) -> Object:
        """The first object of an event of this type that passes ``check``."""

        async def seen() -> Object | None:
            return next((obj for type_, obj in self.events if type_ == kind and check(obj)), None)

        return (await self._whole.until(seen, seconds)) or {}


def is_ready(pod: Object) -> bool:
    """Ready, and not about to go."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def _scope(resource: GVR, namespace: str) -> str:
    return "" if resource in CLUSTER_SCOPED else namespace


@asynccontextmanager
async def whole_cluster(
    directory: Path,
    *,
    nodes: int = 2,
    controllers: str = "*",
    programs: Mapping[str, Program] | None = None,
    capacity: Mapping[str, str] | None = None,
) -> AsyncIterator[Whole]:
    """Run it; ``nodes`` 0 runs neither kubelets nor the scheduler, ``controllers`` "" no controllers."""
    server = ApiServer(
        ApiServerConfig(
            data_dir=directory / "apiserver",
            serving=ServingSettings(port=-1),
            storage=StorageSettings(backend="memory"),
            disable_admission_plugins=() if "*" in controllers else ("ServiceAccount",),
        )
    )
    await server.start()
    kubelets = {
        f"node-{number}": PretendedRuntime(programs or {}, f"10.64.{number}") for number in range(nodes)
    }
    customs, identity = server._customs, server._identity
    assert customs is not None and identity is not None
    whole = Whole(server.backend, lambda: customs.published, identity.issuer, kubelets)
    try:
        async with Supervisor("whole cluster") as tasks:
            if controllers:
                tasks.start("controllers", _manage(whole, server, controllers))
            if nodes:
                tasks.start("scheduler", scheduler.run(whole.act_as(SCHEDULER)))
            for number, (name, runtime) in enumerate(kubelets.items(), 1):
                tasks.start(name, _node(whole, name, number, runtime, directory, capacity or {}))
            await wait_for_nodes(whole.client, nodes)
            await whole.create(NAMESPACES, {"metadata": {"name": WORK}})
            if "*" in controllers:
                await whole.until(lambda: whole.exists(SERVICE_ACCOUNTS, "default"))
            yield whole
    finally:
        await server.stop()


async def _manage(whole: Whole, server: ApiServer, selection: str) -> None:
    pki = server.config.data_dir / "pki"
    signing = {
        "cluster_signing_cert_file": str(pki / "ca.crt"),
        "cluster_signing_key_file": str(pki / "ca.key"),
    }
    await manager.run(
        whole.act_as(CONTROLLER_MANAGER),
        selection,
        options={
            "certificatesigningrequest-signing-controller": signing,
            "serviceaccount-token-controller": {"service_account_private_key_file": str(pki / "sa.key")},
        },
        acting_as=lambda account: whole.act_as(service_account(account)),
    )


async def _node(
    whole: Whole,
    name: str,
    number: int,
    runtime: PretendedRuntime,
    directory: Path,
    capacity: Mapping[str, str],
) -> None:
    config = KubeletConfig(
        node_name=name,
        data_dir=str(directory / name),
        server=ServerSettings(enabled=False),
        node=NodeSettings(address=f"192.0.2.{number}"),
    )
    agent = Agent(whole.act_as(node_user(name)), config, runtime)
    agent.capacity = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110", **capacity}
    await agent.run()


__all__ = ["NODES", "WORK", "ApiError", "Whole", "is_ready", "whole_cluster"]
