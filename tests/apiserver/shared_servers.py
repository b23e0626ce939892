"""Two API servers in this process over one etcd, each with caches of its own, for the tests of what they share."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from apiserver.core_support import Cluster
from coxswain.apiserver.encryption.settings import EncryptionSettings
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, EtcdSettings, ServingSettings, StorageSettings
from coxswain.store.etcd import EtcdStore
from coxswain.store.interface import Store
from store.etcd_server import Etcd

_numbers = itertools.count()


def config(etcd: Etcd, directory: Path, prefix: str, **options: Any) -> ApiServerConfig:
    """An API server without doors whose keys begin with ``prefix``."""
    place = EtcdSettings(
        (etcd.url,), prefix=prefix, timeout=5.0, patience=0.3, probe_interval=0.2, compaction_interval=0.0
    )
    return ApiServerConfig(
        data_dir=directory,
        disable_admission_plugins=("ServiceAccount",),
        serving=ServingSettings(port=-1),
        storage=StorageSettings("etcd", place),
        **options,
    )


@asynccontextmanager
async def two_servers(
    etcd: Etcd, directory: Path, *, encryption: Path | None = None, **options: Any
) -> AsyncIterator[tuple[ApiServer, ApiServer]]:
    """Both started at the same time, as after a power cut."""
    prefix = f"/s{next(_numbers)}"
    sealed = EncryptionSettings(config_file=encryption)
    servers = [
        ApiServer(config(etcd, directory / name, prefix, encryption=sealed, **options))
        for name in ("one", "two")
    ]
    try:
        await asyncio.gather(*(server.start() for server in servers))
        yield servers[0], servers[1]
    finally:
        for server in servers:
            await server.stop()


@asynccontextmanager
async def two_clusters(etcd: Etcd, directory: Path, **options: Any) -> AsyncIterator[tuple[Cluster, Cluster]]:
    """The same, with short words for calls."""
    async with two_servers(etcd, directory, **options) as (one, two):
        yield Cluster(one.pipeline), Cluster(two.pipeline)


def etcd_store(cluster: Cluster) -> EtcdStore:
    """The store below a server."""
    store: Store = cluster.core.storage.store
    assert isinstance(store, EtcdStore)
    return store
