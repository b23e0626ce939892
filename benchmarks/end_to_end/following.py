"""Follows the pods of a namespace as an independent witness: every change counts, in the API server's order.

pods = await follow(client, "default")      # as they are now
task = ensure_future(pods.run())            # every change from here on
pods.ready, pods.fewest_ready, pods.most_active
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from coxswain.api import meta
from coxswain.api.names import PODS, Object
from coxswain.client.interface import Client


def ready(pod: Object) -> bool:
    """Ready and not going away."""
    return meta.is_pod_ready(pod) and not meta.is_terminating(pod)


@dataclass
class PodCount:
    """The pods by uid, and the extremes of what was seen."""

    client: Client
    namespace: str
    revision: str = ""
    names: dict[str, str] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    ready: set[str] = field(default_factory=set)
    fewest_ready: int = 1 << 40
    most_active: int = 0

    def owner_of(self, uid: str) -> str:
        """The name of the controlling object."""
        return self.owners[uid]

    def see(self, pod: Object, gone: bool = False) -> None:
        uid = pod["metadata"]["uid"]
        if uid not in self.names:
            self.names[uid] = pod["metadata"]["name"]
            self.owners[uid] = (meta.controller_of(pod) or {}).get("name", "")
        _put(self.known, uid, not gone)
        _put(self.active, uid, not gone and meta.is_pod_active(pod))
        _put(self.ready, uid, not gone and ready(pod))

    async def run(self) -> None:
        """Follow until cancelled; the server ends a watch now and then."""
        while True:
            stream = self.client.watch(PODS, self.namespace, resource_version=self.revision)
            async with stream as batches:
                async for events in batches:
                    for event in events:
                        self._event(event)

    def _event(self, event: Any) -> None:
        obj = orjson.loads(event.raw)
        if event.type == "ERROR":
            raise SystemExit(f"the watch of pods failed: {obj}")
        self.revision = obj["metadata"]["resourceVersion"]
        if event.type == "BOOKMARK":
            return
        self.see(obj, event.type == "DELETED")
        self.fewest_ready = min(self.fewest_ready, len(self.ready))
        self.most_active = max(self.most_active, len(self.active))


def _put(members: set[str], uid: str, wanted: bool) -> None:
    if wanted:
        members.add(uid)
    else:
        members.discard(uid)


async def follow(client: Client, namespace: str) -> PodCount:
    """The pods of ``namespace`` as they are now; nothing is followed yet."""
    found = PodCount(client, namespace)
    page = await client.list(PODS, namespace)
    for raw in page.items:
        found.see(orjson.loads(raw))
    found.revision = page.resource_version
    return found
