"""The cheapest API server there can be: JSON bytes in dictionaries, bindings spliced in, watchers told.

It costs a few microseconds a pod, so that what a workload measures is the scheduler: decoding of watch events,
queue, decision, binding calls and events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from coxswain.api.names import GVR, NODES, PODS
from coxswain.client.interface import Answer, Answers, Call, RawList, WatchEvent

_DONE = Answer(201, b'{"kind":"Status","apiVersion":"v1","status":"Success","code":201}')


class FakeTransport:
    """Pods and nodes; everything else is accepted and forgotten."""

    def __init__(self) -> None:
        self.stored: dict[GVR, dict[str, bytes]] = {NODES: {}, PODS: {}}
        self.bound: dict[str, str] = {}
        self.all_bound = asyncio.Event()
        self.expected = 0
        self._watchers: dict[GVR, list[asyncio.Queue[list[WatchEvent]]]] = {NODES: [], PODS: []}
        self._revision = 1_000_000

    def add(self, resource: GVR, objects: Sequence[dict[str, Any]]) -> None:
        """Store objects and tell watchers in one batch."""
        events = []
        for obj in objects:
            raw = orjson.dumps(obj)
            self.stored[resource][obj["metadata"]["name"]] = raw
            events.append(WatchEvent("ADDED", raw))
        self._tell(resource, events)

    def _tell(self, resource: GVR, events: list[WatchEvent]) -> None:
        for queue in self._watchers[resource]:
            queue.put_nowait(events)

    async def call(self, call: Call) -> Answer:
        return (await self.batch([call]))[0]

    async def batch(self, calls: Sequence[Call]) -> Answers:
        await asyncio.sleep(0)
        events = [self._bind(call) for call in calls if call.subresource == "binding"]
        if events:
            self._tell(PODS, events)
        if len(self.bound) >= self.expected:
            self.all_bound.set()
        return [_DONE] * len(calls)

    def _bind(self, call: Call) -> WatchEvent:
        node = orjson.loads(call.body)["target"]["name"]
        assert call.name not in self.bound, f"{call.name} was bound twice"
        self.bound[call.name] = node
        self._revision += 1
        raw = self.stored[PODS][call.name]
        raw = raw.replace(b'"spec":{', b'"spec":{"nodeName":"%s",' % node.encode(), 1)
        raw = raw.replace(b'"resourceVersion":"1"', b'"resourceVersion":"%d"' % self._revision, 1)
        self.stored[PODS][call.name] = raw
        return WatchEvent("MODIFIED", raw)

    async def list(self, call: Call) -> RawList:
        return RawList(list(self.stored.get(call.resource, {}).values()), str(self._revision))

    @asynccontextmanager
    async def watch(self, call: Call) -> AsyncIterator[AsyncIterator[Sequence[WatchEvent]]]:
        queue: asyncio.Queue[list[WatchEvent]] = asyncio.Queue()
        self._watchers.setdefault(call.resource, []).append(queue)

        async def batches() -> AsyncIterator[Sequence[WatchEvent]]:
            while True:
                yield await queue.get()

        yield batches()

    async def stream(self, call: Call) -> AsyncIterator[bytes]:
        raise NotImplementedError("logs are not scheduled")

    async def close(self) -> None:
        pass
