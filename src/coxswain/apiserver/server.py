"""The API server, composed: store, caches, pipeline, doors; started and stopped as one thing.

    server = ApiServer(ApiServerConfig(data_dir=..., ...))
    await server.start()        # the store is loaded, bootstrap objects exist, the doors are open
    server.backend, server.url, server.kubeconfig
    await server.stop()         # watches ended, running requests finished, store closed

Files under ``data_dir`` (0700): ``store.db``, ``pki/``, ``kubeconfig`` (the administrator's) and one kubeconfig
for each component, all 0600.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from coxswain.api import errors
from coxswain.api.names import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    EVENTS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_CIDRS,
)
from coxswain.apiserver import bootstrap, pki
from coxswain.apiserver.admission.default import default_chain
from coxswain.apiserver.advertising import advertised
from coxswain.apiserver.allocators import ServiceAllocator
from coxswain.apiserver.bootstrap import BootstrapConfig, Item
from coxswain.apiserver.census import settle_regularly
from coxswain.apiserver.customresources.controller import Controller as CustomResources
from coxswain.apiserver.expiry import Expiry
from coxswain.apiserver.health import Health
from coxswain.apiserver.identity import Identity, assemble
from coxswain.apiserver.kubelet_client import KubeletClient
from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.proxying.settings import ProxySettings
from coxswain.apiserver.registry import Registry
from coxswain.apiserver.request import Core
from coxswain.apiserver.service_ranges import networks
from coxswain.apiserver.service_repair import ServiceRepair
from coxswain.apiserver.settings import ApiServerConfig
from coxswain.apiserver.storage import Storage
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError, ResourceUnavailable
from coxswain.base.tasks import Supervisor
from coxswain.client.interface import Backend, Call, UserInfo
from coxswain.store.interface import Store

if TYPE_CHECKING:
    from coxswain.apiserver.aggregation.controller import Aggregator
    from coxswain.apiserver.audit.auditor import Auditor
    from coxswain.apiserver.audit.doors import AuditedBackend
    from coxswain.apiserver.encryption.reloading import Encryption
    from coxswain.apiserver.fairness.controller import Fairness
    from coxswain.apiserver.grpc_door import GrpcDoor
    from coxswain.apiserver.proxying.passages import Proxies
    from coxswain.apiserver.rest import RestServer
    from coxswain.apiserver.shared.masterleases import MasterLeases

log = logging.getLogger(__name__)

#: Who writes the bootstrap objects, and whatever else the server itself keeps in order.
LOOPBACK_USER = UserInfo(
    "system:apiserver", ("system:masters", "system:authenticated"), agent="kube-apiserver"
)

_RECONCILED = frozenset({CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS, ROLES, ROLE_BINDINGS, SERVICE_CIDRS})
_BOOTSTRAP_BATCH = 64


class ApiServer:
    """See the module's text. One instance is started and stopped once."""

    def __init__(self, config: ApiServerConfig) -> None:
        self.config = config
        self.port = config.serving.port
        self.grpc_port = config.serving.grpc_port
        self.pki: pki.Pki | None = None
        self._store: Store | None = None
        self._encryption: Encryption | None = None
        self._storage: Storage | None = None
        self._identity: Identity | None = None
        self._kubelets: KubeletClient | None = None
        self._pipeline: Pipeline | None = None
        self._customs: CustomResources | None = None
        self._aggregator: Aggregator | None = None
        self._auditor: Auditor | None = None
        self._audited: AuditedBackend | None = None
        self._rest: RestServer | None = None
        self._grpc: GrpcDoor | None = None
        self._tasks: Supervisor | None = None
        self._leases: MasterLeases | None = None
        self._advertised = advertised(config.serving.address, config.serving.advertise_address)
        self._ready = False
        self._leaving = False

    # -- what composers use

    @property
    def backend(self) -> Backend:
        """The pipeline, for transports in this process; behind the auditor where requests are audited."""
        return self._audited or self.pipeline

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline of a started server."""
        if self._pipeline is None:
            raise RuntimeError("the API server has not been started")
        return self._pipeline

    @property
    def url(self) -> str:
        """Where clients reach the server."""
        address = self.config.serving.address
        host = "127.0.0.1" if address in ("0.0.0.0", "::") else address
        return f"https://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.config.data_dir / "kubeconfig"

    # -- life

    async def start(self) -> None:
        """Open everything. Raises ``ConfigurationError`` or ``ResourceUnavailable`` and leaves nothing open."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        config = self.config
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.pki = pki.Pki(config.data_dir / "pki")
        registry = await self._open_storage()
        identity = self._identity = assemble(config, self.pki, registry)
        client = self.pki.client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", (pki.MASTERS,))
        tls = _kubelet_tls(client, self.pki.ca.certificate, config.proxies)
        self._kubelets = KubeletClient(tls, allow_plain=self._reaches_loopback())
        allocator = ServiceAllocator(
            registry.lookup, config.service_cidr, _port_range(config.node_port_range)
        )
        core = self._core(registry, identity, allocator)
        shared = core.storage.store.shared
        self._pipeline = identity.pipeline(core, kubelets=self._kubelets, shared=shared)
        self._customs = CustomResources(self._pipeline, LOOPBACK_USER)
        self._customs.start()
        self._open_audit_log(identity)
        if config.serving.port >= 0:
            await self._open_doors(identity)
        await self._bootstrap()
        self._ready = True
        if config.serving.port >= 0:
            self._write_kubeconfigs()
        self._supervise(registry, allocator)

    async def _open_storage(self) -> Registry:
        """The store behind its keys, its caches, and what is served of it."""
        config = self.config
        self._store = await _open_store(config)
        sealing = None
        if config.encryption.config_file is not None:
            from coxswain.apiserver.encryption.reloading import Encryption

            self._encryption = await Encryption.open(self._store, config.encryption)
            self._store = sealing = self._encryption.store
        if self._store.shared:
            from coxswain.apiserver.shared import joining

            self._storage = joining.storage(self._store, config.watch.ring_events, sealing)
        else:
            self._storage = Storage(self._store, ring_events=config.watch.ring_events, sealing=sealing)
        registry = Registry(self._storage)
        registry.add_built_in()
        try:
            await self._storage.start()
        except orjson.JSONDecodeError:
            raise ConfigurationError(
                "the store holds objects that are no JSON: where they are encrypted, "
                "--encryption-provider-config has to name the file with their keys; what kube-apiserver "
                "keeps in etcd as protobuf cannot be read, --etcd-prefix names another place"
            ) from None
        return registry

    def _core(self, registry: Registry, identity: Identity, allocator: ServiceAllocator) -> Core:
        """What all requests share."""
        assert self._storage is not None
        config = self.config
        admission = default_chain(
            registry.lookup,
            identity.authorizer,
            disable=config.disable_admission_plugins,
            enable=config.enable_admission_plugins,
            registry=registry,
            config_file=config.admission_config_file,
        )
        return Core(
            self._storage,
            registry,
            admission,
            identity.authorizer,
            allocator,
            identity.reviews,
            identity.tokens,
            config.watch,
        )

    def _supervise(self, registry: Registry, allocator: ServiceAllocator) -> None:
        """Start what goes on beside the requests, for as long as the server runs."""
        assert self._storage is not None and self._customs is not None
        config, pipeline = self.config, self.pipeline
        tasks = self._tasks = Supervisor("apiserver")
        tasks.supervise("bookmarks", pipeline.send_bookmarks)
        tasks.supervise("old events", self._forget)
        tasks.supervise("callers", settle_regularly)
        if self._storage.store.shared:
            self._join(tasks)
        else:
            tasks.supervise("compaction", self._compact)
        repair = ServiceRepair(pipeline, registry.lookup, allocator, LOOPBACK_USER)
        tasks.supervise("service addresses", repair.run)
        if self._encryption is not None and config.encryption.automatic_reload:
            tasks.supervise("encryption configuration", self._encryption.follow)
        tasks.supervise("custom resources", self._customs.run)
        if self._aggregator is not None:
            tasks.supervise("aggregation", self._aggregator.run)
        events = registry.get(EVENTS)
        assert events is not None
        tasks.supervise("event expiry", Expiry(self._storage, events).run)
        if config.fairness.enabled and config.serving.port >= 0:
            from coxswain.apiserver.fairness.upkeep import Upkeep

            tasks.supervise("flow control", Upkeep(pipeline, registry.lookup, LOOPBACK_USER).run)

    def _join(self, tasks: Supervisor) -> None:
        """Take a place among the servers that share the store; who compacts it is settled there."""
        from coxswain.apiserver.shared.joining import join

        assert self._store is not None
        if self.port > 0:
            place = (self._advertised, self.port)
            self._leases = join(tasks, self._store, self.pipeline, LOOPBACK_USER, *place)

    async def _forget(self) -> None:
        assert self._storage is not None
        await self._storage.forget_regularly(self.config.watch.ring_seconds)

    async def _compact(self) -> None:
        assert self._storage is not None
        await self._storage.compact_regularly(self.config.storage.compaction_interval)

    async def _open_doors(self, identity: Identity) -> None:
        from coxswain.apiserver.endpoints import Endpoints
        from coxswain.apiserver.rest import RestServer

        assert self.pki is not None and self._customs is not None
        config, serving, customs = self.config, self.config.serving, self._customs
        names = (serving.address, self._advertised, str(networks(config.service_cidr)[0][1]))
        pair = self.pki.serving([*names, *serving.certificate_names])
        tls = pki.server_context(pair, self.pki.ca, identity.authorities)
        aggregator = self._aggregator = self._aggregation()
        self.pipeline.elsewhere = aggregator.extensions
        endpoints = Endpoints(
            self._health(),
            published=lambda: aggregator.published(customs.published),
            address=f"{self._advertised}:{serving.port}",
            issuer=identity.issuer,
        )
        rest = RestServer(
            self.pipeline,
            endpoints,
            identity.authenticator,
            serving,
            config.limits,
            tls,
            gate=self._fairness(),
            auditor=self._auditor,
            proxies=self._proxies(aggregator),
        )
        try:
            await rest.start()
        except OSError as error:
            raise ResourceUnavailable(
                f"cannot listen on {serving.address}:{serving.port}: {_why(error)}; choose another with --port"
            ) from None
        self._rest = rest
        self.port = rest.port
        if serving.grpc_port >= 0:
            from coxswain.apiserver.grpc_door import GrpcDoor

            self._grpc = GrpcDoor(
                self.pipeline,
                identity.authenticator,
                serving=pair,
                client_ca=self.pki.ca.certificate,
                audited=self._audited,
            )
            self.grpc_port = await self._grpc.start(f"{serving.address}:{serving.grpc_port}")

    def _aggregation(self) -> Aggregator:
        from coxswain.apiserver.aggregation.assembly import aggregator

        assert self.pki is not None and self._kubelets is not None
        return aggregator(self.config, self.pki, self.pipeline, LOOPBACK_USER, self._kubelets)

    def _proxies(self, aggregator: Aggregator) -> Proxies:
        from coxswain.apiserver.proxying.passages import Proxies

        assert self._kubelets is not None
        loopback = self._reaches_loopback()
        return Proxies(self.pipeline, self._kubelets, loopback=loopback, extensions=aggregator.extensions)

    def _open_audit_log(self, identity: Identity) -> None:
        """The audit log, where there is to be one."""
        if self.config.audit.enabled:
            from coxswain.apiserver.audit.auditor import Auditor
            from coxswain.apiserver.audit.doors import AuditedBackend

            self._auditor = Auditor.open(self.config.audit)
            self._audited = AuditedBackend(self.pipeline, identity.authorizer.authorize, self._auditor)

    def _fairness(self) -> Fairness | None:
        """Who is served first, where that is switched on."""
        config = self.config
        if not config.fairness.enabled:
            return None
        from coxswain.apiserver.fairness.controller import Fairness

        seats = config.limits.max_in_flight + config.limits.max_mutating_in_flight
        if seats <= 0:
            raise ConfigurationError(
                "fairness has no seats to give: the limits of requests in flight must add up to more than 0"
            )
        return Fairness(config.fairness, self.pipeline.core.registry.lookup, seats)

    def _reaches_loopback(self) -> bool:
        """Whether requests may be passed on to what listens on this machine only."""
        wanted = self.config.proxies.loopback
        local = self.config.serving.address in ("127.0.0.1", "::1", "localhost")
        return local if wanted is None else wanted

    def _health(self) -> Health:
        health = Health()
        health.add("ping", lambda: None)
        health.add("etcd", self._store_problem)
        health.add("poststarthook/rbac/bootstrap-roles", self._start_problem, ("healthz", "readyz"))
        if self._encryption is not None and self._encryption.is_checked:
            health.add("kms-providers", self._encryption.problem)
        health.add("watch-cache", self._cache_problem, ("readyz",))
        health.add("shutdown", self._end_near, ("readyz",))
        return health

    def _store_problem(self) -> str | None:
        if self._storage is None or not self._storage.healthy:
            return "the store does not answer"
        return self._storage.store.problem or None

    def _cache_problem(self) -> str | None:
        assert self._storage is not None
        return None if self._storage.healthy else "the watch cache does not follow the store"

    def _end_near(self) -> str | None:
        return "process is shutting down" if self._leaving else None

    def _start_problem(self) -> str | None:
        return None if self._ready else "not finished"

    # -- bootstrap

    async def _bootstrap(self) -> None:
        """Make sure that a cluster's first objects exist."""
        assert self.pki is not None and self._storage is not None
        wanted = bootstrap.items(
            BootstrapConfig(
                service_cidr=self.config.service_cidr,
                advertise_address="" if self._storage.store.shared else self._advertised,
                port=self.port if self.port > 0 else 6443,
                client_ca=self.pki.ca.certificate,
            )
        )
        batch: list[Item] = []
        for item in wanted:
            # A namespace has to be there before what lies in it.
            if batch and (len(batch) >= _BOOTSTRAP_BATCH or item.namespace != batch[-1].namespace):
                await self._ensure(batch)
                batch = []
            batch.append(item)
        await self._ensure(batch)

    async def _ensure(self, items: Iterable[Item]) -> None:
        lookup = self.pipeline.core.registry.lookup
        calls: list[Call] = []
        ensured: list[Item] = []
        for item in items:
            existing = lookup.get(item.resource, item.namespace, item.name)
            if existing is None:
                calls.append(Call("create", item.resource, item.namespace, body=orjson.dumps(item.object)))
                ensured.append(item)
            elif item.resource in _RECONCILED:
                changed = bootstrap.reconcile(existing, item.object)
                if changed is not None:
                    calls.append(_put(item, changed))
                    ensured.append(item)
        answers = await self.pipeline.exchange(calls, LOOPBACK_USER)
        for item, answer in zip(ensured, answers, strict=True):
            if answer.code >= 400 and answer.code != errors.AlreadyExists.code:
                if lookup.get(item.resource, item.namespace, item.name) is not None:
                    continue  # another server over the same store was quicker
                message = orjson.loads(answer.body).get("message")
                log.warning("bootstrap of %s %s: %s", item.resource.group_resource, item.name, message)

    def _write_kubeconfigs(self) -> None:
        assert self.pki is not None
        ca = self.pki.ca.certificate
        grpc = f"{self.config.serving.address}:{self.grpc_port}" if self.grpc_port > 0 else ""
        clients = {
            "kubeconfig": ("kubernetes-admin", self.pki.admin()),
            "scheduler.kubeconfig": ("system:kube-scheduler", self.pki.scheduler()),
            "controller-manager.kubeconfig": (
                "system:kube-controller-manager",
                self.pki.controller_manager(),
            ),
        }
        for name, (user, client) in clients.items():
            pki.write_kubeconfig(
                self.config.data_dir / name,
                server=self.url,
                ca=ca,
                client=client,
                user=user,
                grpc_address=grpc,
            )

    async def stop(self) -> None:
        """End watches, finish running requests, close the store. Idempotent.

        First ``/readyz`` says so, for as long as ``shutdown_delay``, while everything is still served.
        """
        if self._rest is not None and not self._leaving:
            self._leaving = True
            await clock.sleep(self.config.serving.shutdown_delay)
        self._ready = False
        if self._tasks is not None:
            await self._tasks.close()
            self._tasks = None
        if self._leases is not None:
            await self._leases.leave()
            self._leases = None
        if self._grpc is not None:
            await self._grpc.stop()
            self._grpc = None
        if self._rest is not None:
            await self._rest.stop()
            self._rest = None
        if self._auditor is not None:
            await self._auditor.close()
            self._auditor = None
        if self._kubelets is not None:
            await self._kubelets.close()
        if self._identity is not None:
            await self._identity.close()
        if self._pipeline is not None:
            await self._pipeline.core.admission.close()
        if self._storage is not None:
            await self._storage.stop()
        if self._store is not None:
            await self._store.close()
            self._store = None


def _put(item: Item, obj: dict[str, Any]) -> Call:
    return Call("update", item.resource, item.namespace, item.name, body=orjson.dumps(obj))


async def _open_store(config: ApiServerConfig) -> Store:
    if config.storage.backend == "memory":
        from coxswain.store.memory import MemoryStore

        return MemoryStore()
    if config.storage.backend == "etcd":
        from coxswain.store.etcd import EtcdStore

        return await EtcdStore.open(config.storage.etcd)
    from coxswain.store.sqlite import SqliteStore

    return await SqliteStore.open(config.data_dir / "store.db")


def _kubelet_tls(client: pki.KeyPair, ca: bytes, settings: ProxySettings) -> ssl.SSLContext:
    """TLS towards kubelets, whose certificates have to be good for their nodes' names."""
    authority = settings.kubelet_certificate_authority
    try:
        trusted = authority.read_text() if authority is not None else ca.decode()
        context = ssl.create_default_context(cadata=trusted)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"kubelet certificate authority {authority}: {error}") from None
    if settings.kubelet_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(client.certificate_file, client.key_file)
    return context


def _why(error: OSError) -> str:
    """The system's words alone: asyncio wraps them in the address, which the reader knows."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _port_range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not (dash and first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536):
        raise ConfigurationError(f"node_port_range {text!r} is not FIRST-LAST")
    return int(first), int(last)


async def run(config: ApiServerConfig, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set."""
    server = ApiServer(config)
    await server.start()
    log.info("serving on %s", server.url)
    try:
        await stop.wait()
    finally:
        await server.stop()
