"""Connections, callers and requests of every kind that come and go leave nothing in the API server.

Over real sockets: each round has a user of its own, REST and gRPC connections of its own, watches that are left in
different ways, requests that are refused, and paths that nobody asked for before.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from coxswain.api.names import CONFIGMAPS, PODS, SERVICE_ACCOUNTS
from coxswain.apiserver import census as callers
from coxswain.apiserver import replicas, watchcache
from coxswain.apiserver.audit.settings import AuditSettings
from coxswain.apiserver.authn import service_accounts
from coxswain.apiserver.authz import rbac
from coxswain.apiserver.fairness import controller as fairness
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.cli.cluster import ADMIN
from coxswain.client.client import ApiClient
from coxswain.client.connect import connect
from coxswain.client.inprocess import InProcessTransport
from leaks.tables import Census, census, growing

ROUNDS = 8
TABLES = (
    "coxswain.apiserver.census.Census.watches",
    "coxswain.apiserver.census.Census.streams",
    "coxswain.apiserver.census.Census.tasks",
    "coxswain.apiserver.census.Census.callers",
    "coxswain.apiserver.fairness.controller.Fairness.flows",
    "coxswain.apiserver.authn.service_accounts.ServiceAccountTokens._known",
    "coxswain.apiserver.authz.rbac.Rbac._users",
    "coxswain.apiserver.watchcache.ResourceCache._watchers",
)
_POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: RequestResponse}]\n"


@contextlib.asynccontextmanager
async def _server(directory: Path) -> AsyncIterator[ApiServer]:
    policy = directory / "policy.yaml"
    policy.write_text(_POLICY)
    server = ApiServer(
        ApiServerConfig(
            data_dir=directory / "data",
            serving=ServingSettings(port=0, grpc_port=0, shutdown_grace=0.1),
            storage=StorageSettings(backend="memory"),
            audit=AuditSettings(policy_file=policy, log_path=str(directory / "audit.log")),
            disable_admission_plugins=("ServiceAccount",),
        )
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Rounds:
    def __init__(self, server: ApiServer) -> None:
        assert server.pki is not None
        self._server = server
        self._tls = ssl.create_default_context(cadata=server.pki.ca.certificate.decode())
        self._admin = ApiClient(InProcessTransport(server.backend, ADMIN))
        self._steady = ""

    async def prepare(self) -> None:
        """The account that stays."""
        self._steady = await self._account("steady")

    async def _account(self, name: str) -> str:
        """A new service account's token."""
        await self._admin.create(SERVICE_ACCOUNTS, {"metadata": {"name": name, "namespace": "default"}})
        asked: dict[str, object] = {"spec": {}}
        answer = await self._admin.create(SERVICE_ACCOUNTS, asked, "default", name=name, subresource="token")
        return str(answer["status"]["token"])

    async def one(self, n: int) -> None:
        await self._rest(n, await self._account(f"account-{n}"))
        await self._grpc(n)
        await self._wire(n)
        await self._admin.delete(SERVICE_ACCOUNTS, f"account-{n}", "default")

    async def _rest(self, n: int, token: str) -> None:
        connector = aiohttp.TCPConnector(ssl=self._tls)
        bearer = {"Authorization": f"Bearer {token}", "User-Agent": f"agent-{n}"}
        watch = f"/api/v1/namespaces/default/configmaps?watch=1&labelSelector=n%3D{n}"
        async with aiohttp.ClientSession(self._server.url, connector=connector) as client:
            for path in ("/version", "/apis", "/openapi/v2", f"/nothing/{n}", f"/api/v1/nothing{n}"):
                async with client.get(path, headers=bearer) as answer:
                    await answer.read()
            for headers in ({}, {"Authorization": f"Bearer wrong-{n}"}, bearer):
                async with client.get(f"/api/v1/pods/p-{n}", headers=headers) as answer:
                    assert answer.status in (401, 403, 404)
            async with client.get(watch, headers=bearer) as answer:
                assert answer.status == 403
            steady = {"Authorization": f"Bearer {self._steady}"}
            async with client.get(f"/api/v1/namespaces/ns-{n}/pods", headers=steady) as answer:
                assert answer.status == 403

    async def _grpc(self, n: int) -> None:
        async with await connect(self._server.kubeconfig, wire="grpc") as client:
            async with client.watch(CONFIGMAPS, "default", resource_version="") as changes:
                labels = {"n": str(n)}
                await client.create(
                    CONFIGMAPS, {"metadata": {"name": f"c-{n}", "namespace": "default", "labels": labels}}
                )
                await anext(changes)
            await client.list(PODS, label_selector=f"n={n}")
        async with await connect(self._server.kubeconfig, wire="rest") as client:
            # One watch is left while it is told of something, the other by losing the connection.
            async with client.watch(CONFIGMAPS, resource_version="", label_selector=f"n={n}") as changes:
                await anext(changes)
            lost = client.watch(CONFIGMAPS, resource_version="", field_selector=f"metadata.name=c-{n}")
            await lost.__aenter__()
            await client.delete(CONFIGMAPS, f"c-{n}", "default")

    async def _wire(self, n: int) -> None:
        """What is no request, or only half of one."""
        for data in (b"nonsense\r\n\r\n", b"GET /x%d HTTP/1.1\r\nHost:" % n, b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port, ssl=self._tls)
            writer.write(data)
            await writer.drain()
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()
            del reader

    async def settled(self, tasks: int) -> Census:
        """What is kept once all connections have ended and what is old was forgotten."""
        async with asyncio.timeout(20):
            while len(asyncio.all_tasks()) > tasks:  # noqa: ASYNC110 - nothing tells when a socket is gone
                await asyncio.sleep(0.02)
        storage = self._server.pipeline.core.storage
        await storage.store.compact(storage.revision)
        for cache in storage.caches.values():
            cache.forget(storage.revision)
        for server in callers.RUNNING:
            server.settle_callers()
        return census()


#: What is remembered of who asked, and bounds that a few rounds reach.
BOUNDS = (
    (watchcache, "_FEWEST", 1),
    (replicas, "_BODIES", 2),
    (callers, "_MANY_USERS", 4),
    (service_accounts, "TOKENS", 4),
    (rbac, "USERS", 4),
    (rbac, "SHAPES", 8),
    (rbac, "NAMESPACES", 2),
    (fairness, "_REMEMBERED", 16),
)


@pytest.mark.usefixtures("no_log")
async def test_nothing_is_kept_of_who_came_and_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, bound in BOUNDS:
        monkeypatch.setattr(module, name, bound)
    counted = []
    async with _server(tmp_path) as server:
        rounds = Rounds(server)
        await rounds.prepare()
        tasks = len(asyncio.all_tasks())
        for number in range(3 * ROUNDS):
            await rounds.one(number)
            if number % ROUNDS == ROUNDS - 1:
                counted.append(await rounds.settled(tasks))
    assert [name for name in TABLES if name not in counted[0]] == []
    assert growing(*counted, ROUNDS) == {}
