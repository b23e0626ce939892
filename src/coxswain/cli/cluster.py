"""A whole cluster in one process: the API server, and the components as its in-process clients.

    ApiServer --backend--> scheduler | controllers | kubelet | hollow nodes      one loop, no wire between

Each component acts as the user that it would be over the wire, so RBAC and admission hold here too.
``processes`` is the other way to run the same components: each in a process of its own, gRPC between them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import orjson

from coxswain.api import meta
from coxswain.api.errors import ApiError
from coxswain.api.names import NODES
from coxswain.base import clock
from coxswain.base.tasks import Supervisor
from coxswain.client.client import ApiClient
from coxswain.client.inprocess import InProcessTransport
from coxswain.client.interface import Client, UserInfo

if TYPE_CHECKING:
    from coxswain.apiserver.server import ApiServer

#: Called with the API server's URL and the component processes' ids.
Ready = Callable[[str, dict[str, int]], Awaitable[None]]

AUTHENTICATED = "system:authenticated"
ADMIN = UserInfo("kubernetes-admin", ("system:masters", AUTHENTICATED))
SCHEDULER = UserInfo("system:kube-scheduler", (AUTHENTICATED,), agent="kube-scheduler")
_MANAGER = "kube-controller-manager"
CONTROLLER_MANAGER = UserInfo("system:kube-controller-manager", (AUTHENTICATED,), agent=_MANAGER)
HOLLOW_NODES = UserInfo("coxswain:hollow-nodes", (AUTHENTICATED,), agent="kubelet")


#: Room for 16,384 nodes with 254 pods each; what hollow nodes without a range count from, too.
WIDE_POD_NETWORK = "10.64.0.0/10"


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What ``cox up`` is asked for."""

    data_dir: Path
    port: int = 6443
    grpc_port: int = -1
    store: Literal["sqlite", "memory", "etcd"] = "sqlite"
    etcd_servers: tuple[str, ...] = ()
    hollow_nodes: int = 0
    local_node: bool = True
    runtime: str = "process"
    node_name: str = ""
    kubelet_port: int = 0
    controllers: str = "*"
    cluster_cidr: str = ""

    @property
    def node(self) -> str:
        """The local node's name: this machine's, in lower case."""
        return (self.node_name or socket.gethostname()).lower()

    @property
    def controller_options(self) -> dict[str, dict[str, str]]:
        """Options of single controllers: our own authority signs, and addresses as asked for."""
        certificate, key = self.signing_files
        signing = {"cluster_signing_cert_file": str(certificate), "cluster_signing_key_file": str(key)}
        found = {
            "certificatesigningrequest-signing-controller": signing,
            "serviceaccount-token-controller": {
                "service_account_private_key_file": str(self.service_account_key)
            },
        }
        found["local-path-provisioner-controller"] = {"directory": str(self.local_paths)}
        if self.pod_network:
            found["node-ipam-controller"] = {"cluster_cidr": self.pod_network}
        return found

    @property
    def local_paths(self) -> Path:
        """Where volumes of classes of the built-in local-path provisioner are made."""
        return self.data_dir / "volumes"

    @property
    def pod_network(self) -> str:
        """The addresses of all pods: a /16 has ranges for 256 nodes, more (hollow ones) get a wider network."""
        return WIDE_POD_NETWORK if self.expected_nodes > 256 else self.cluster_cidr

    @property
    def signing_files(self) -> tuple[Path, Path]:
        """The certificate and key of the authority that the API server made, or will make."""
        return self.data_dir / "pki" / "ca.crt", self.data_dir / "pki" / "ca.key"

    @property
    def service_account_key(self) -> Path:
        """The key that signs the tokens of service accounts, likewise."""
        return self.data_dir / "pki" / "sa.key"

    @property
    def expected_nodes(self) -> int:
        return self.hollow_nodes + int(self.local_node)


def node_user(name: str) -> UserInfo:
    """Who a node's agent is."""
    return UserInfo(f"system:node:{name}", ("system:nodes", AUTHENTICATED), agent="kubelet")


def service_account(name: str) -> UserInfo:
    """Who a controller is: its service account in kube-system, which the bootstrap roles know."""
    accounts = "system:serviceaccounts"
    groups = (accounts, f"{accounts}:kube-system", AUTHENTICATED)
    return UserInfo(f"system:serviceaccount:kube-system:{name}", groups, agent=_MANAGER)


class Cluster:
    """The composition; ``run`` it."""

    def __init__(self, options: ClusterOptions) -> None:
        self.options = options
        self.server: ApiServer = self._api_server()

    def _api_server(self) -> ApiServer:
        from coxswain.apiserver.server import ApiServer
        from coxswain.apiserver.settings import (
            ApiServerConfig,
            EtcdSettings,
            ServingSettings,
            StorageSettings,
        )

        options = self.options
        return ApiServer(
            ApiServerConfig(
                data_dir=options.data_dir,
                serving=ServingSettings(port=options.port, grpc_port=options.grpc_port),
                storage=StorageSettings(options.store, EtcdSettings(options.etcd_servers)),
            )
        )

    def client(self, user: UserInfo) -> Client:
        """A client that acts as ``user`` inside this process."""
        return ApiClient(InProcessTransport(self.server.backend, user))

    async def run(self, ready: Ready) -> None:
        """Run everything until cancelled; ``ready`` is awaited once all nodes are Ready."""
        await self.server.start()
        try:
            async with Supervisor("cluster") as tasks:
                for name, work in self._components().items():
                    tasks.supervise(name, work)
                await wait_for_nodes(self.client(ADMIN), self.options.expected_nodes)
                await ready(self.server.url, {})
                await asyncio.Event().wait()
        finally:
            await self.server.stop()

    def _components(self) -> dict[str, Callable[[], Awaitable[None]]]:
        from coxswain import scheduler
        from coxswain.controllers import manager

        options = self.options
        components: dict[str, Callable[[], Awaitable[None]]] = {
            "scheduler": lambda: scheduler.run(self.client(SCHEDULER)),
            "controllers": lambda: manager.run(
                self.client(CONTROLLER_MANAGER),
                options.controllers,
                options=options.controller_options,
                acting_as=lambda account: self.client(service_account(account)),
            ),
        }
        if options.local_node:
            components["kubelet"] = self._run_kubelet
        if options.hollow_nodes:
            components["hollow nodes"] = self._run_hollow
        return components

    async def _run_hollow(self) -> None:
        from coxswain.kubelet import hollow

        await hollow.run(self.client(HOLLOW_NODES), count=self.options.hollow_nodes)

    async def _run_kubelet(self) -> None:
        from coxswain.cli.node import issue_credentials, run_kubelet

        options = self.options
        files = issue_credentials(options.data_dir, options.node, self.server.url)
        await run_kubelet(
            self.client(node_user(options.node)),
            options.node,
            options.runtime,
            options.data_dir,
            port=options.kubelet_port,
            serving_certificate=files.serving_certificate,
            serving_key=files.serving_key,
            client_ca=files.client_ca,
            drain=True,
        )


async def wait_for_nodes(client: Client, count: int) -> None:
    """Return when ``count`` nodes are Ready."""
    while count:
        try:
            nodes = (await client.list(NODES)).items
        except ApiError:
            nodes = []
        ready = sum(1 for raw in nodes if meta.is_condition_true(orjson.loads(raw), "Ready"))
        if ready >= count:
            return
        await clock.sleep(0.02 if count < 50 else 0.2)
