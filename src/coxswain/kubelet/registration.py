"""The node's presence in the API: registered at start, its lease renewed, its status kept current."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping

from coxswain.api.errors import AlreadyExists, ApiError, NotFound
from coxswain.api.names import LEASES, NODES, Object
from coxswain.base import clock
from coxswain.client.interface import MERGE_PATCH, Client
from coxswain.kubelet import node as nodes
from coxswain.kubelet.config import KubeletConfig
from coxswain.kubelet.node import NodeFacts

log = logging.getLogger(__name__)


def machine_capacity(max_pods: int, data_dir: str) -> dict[str, str]:
    """cpu, memory, disk and pods of this machine, as quantities."""
    with open("/proc/meminfo") as file:
        memory = int(next(line for line in file if line.startswith("MemTotal:")).split()[1])
    disk = os.statvfs(data_dir)
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{memory}Ki",
        "ephemeral-storage": f"{disk.f_blocks * disk.f_frsize // 1024}Ki",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "pods": str(max_pods),
    }


class Registration:
    """Keeps one node registered; ``node`` is the object as last seen."""

    def __init__(
        self,
        client: Client,
        config: KubeletConfig,
        facts: Callable[[], NodeFacts],
        on_cidr: Callable[[str], None],
    ) -> None:
        self.node: Object | None = None
        self._client = client
        self._config = config
        self._facts = facts
        self._on_cidr = on_cidr

    async def register(self) -> None:
        """Create the node, or bring one that is there up to date; retried until it works."""
        delay = 0.05
        while True:
            try:
                await self._register()
                return
            except ApiError as error:
                log.warning("node %s cannot be registered yet: %s", self._config.node_name, error)
            await clock.sleep(delay)
            delay = min(delay * 2, 7.0)

    async def _register(self) -> None:
        wanted = nodes.node_object(self._facts(), clock.timestamp())
        try:
            self._seen(await self._client.create(NODES, wanted))
        except AlreadyExists:
            old = await self._client.get(NODES, self._config.node_name)
            labels = {"metadata": {"labels": wanted["metadata"]["labels"]}}
            await self._client.patch(NODES, self._config.node_name, labels, kind=MERGE_PATCH)
            await self._write_status(old)

    def _seen(self, node: Object) -> None:
        self.node = node
        if cidr := (node.get("spec") or {}).get("podCIDR"):
            self._on_cidr(cidr)

    async def _write_status(self, old: Object, not_ready: str = "") -> None:
        before = (old.get("status") or {}).get("conditions") or ()
        status = nodes.status(self._facts(), clock.timestamp(), before, not_ready)
        others = {entry["type"] for entry in status["conditions"]}
        status["conditions"] = [c for c in before if c["type"] not in others] + status["conditions"]
        body = {"status": status}
        self._seen(
            await self._client.patch(
                NODES, self._config.node_name, body, kind=MERGE_PATCH, subresource="status"
            )
        )

    async def keep_status(self) -> None:
        """Look at the node every 10 s; write its status when it is due or when something broke it."""
        written = clock.monotonic()
        pause = 0.3
        while True:
            await clock.sleep(pause)
            try:
                node = await self._client.get(NODES, self._config.node_name)
                self._seen(node)
                pause = 10.0 if (node.get("spec") or {}).get("podCIDR") else min(pause * 2, 10.0)
                due = clock.monotonic() - written >= self._config.node.status_interval
                if due or not _all_known(node):
                    await self._write_status(node)
                    written = clock.monotonic()
            except NotFound:
                log.warning("node %s was deleted; registering it again", self._config.node_name)
                await self.register()
            except ApiError as error:
                log.warning("node status cannot be written: %s", error)

    async def keep_lease(self) -> None:
        """Renew the lease; soon again after a failure."""
        name = self._config.node_name
        while True:
            pause = self._config.node.lease_interval
            try:
                await self._renew(name)
            except ApiError as error:
                log.warning("lease of node %s cannot be renewed: %s", name, error)
                pause = 1.0
            await clock.sleep(pause * clock.random().uniform(0.96, 1.04))

    async def _renew(self, name: str) -> None:
        now = clock.micro_timestamp()
        spec = {"spec": {"renewTime": now, "holderIdentity": name}}
        try:
            await self._client.patch(LEASES, name, spec, nodes.LEASE_NAMESPACE, kind=MERGE_PATCH)
        except NotFound:
            uid = self.node["metadata"]["uid"] if self.node else ""
            await self._client.create(LEASES, nodes.lease(name, now, uid))


def _all_known(node: Object) -> bool:
    """No condition was set to Unknown meanwhile (by the node lifecycle controller)."""
    conditions: list[Mapping[str, str]] = (node.get("status") or {}).get("conditions") or []
    return all(condition["status"] != "Unknown" for condition in conditions) and len(conditions) >= 4
