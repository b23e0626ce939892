"""The API's history of nodes and pods, in the order in which it happened.

Two watches bring changes; resource versions say which came first, for they are one sequence. How far both have
been heard is known from marks: an annotation that is written to a pod and to a node. So ``advance`` hands over
every change up to its mark, in order, with the time when it was heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import orjson

from coxswain.api.errors import ApiError
from coxswain.api.names import GVR, NODES, PODS, Object
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.interface import Client

MARK = "soak/mark"


class Change(NamedTuple):
    """``obj`` as it is now (or was last, if ``gone``)."""

    revision: int
    heard: float
    resource: GVR
    obj: Object
    gone: bool


class History:
    """See the module's text. ``patience``: seconds that a mark may take to be heard."""

    def __init__(self, client: Client, patience: float = 60.0) -> None:
        self._client = client
        self._patience = patience
        self._heard: list[Change] = []
        self._marks: dict[GVR, int] = {}
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._number = 0
        #: The longest that a mark took to be heard.
        self.slowest = 0.0

    async def start(self) -> list[Change]:
        """Make what bears the marks, then watch. Gives what there is already."""
        await self._client.create(NODES, {"metadata": {"name": "mark"}, "spec": {"unschedulable": True}})
        container = {"name": "c", "image": "i"}
        spec = {"schedulerName": "nobody", "containers": [container]}
        await self._client.create(PODS, {"metadata": {"name": "mark", "namespace": "default"}, "spec": spec})
        found = []
        for resource in (NODES, PODS):
            page = await self._client.list(resource)
            objects = (orjson.loads(raw) for raw in page.items)
            found += [
                Change(0, float("-inf"), resource, obj, False)
                for obj in objects
                if obj["metadata"]["name"] != "mark"
            ]
            self._tasks.append(asyncio.ensure_future(self._follow(resource, page.resource_version)))
        return found

    async def close(self) -> None:
        for task in self._tasks:
            await cancel_and_wait(task)

    async def _follow(self, resource: GVR, revision: str) -> None:
        while True:
            try:
                async with self._client.watch(resource, resource_version=revision) as batches:
                    async for events in batches:
                        for event in events:
                            obj = event.object
                            assert event.type != "ERROR", obj
                            revision = obj["metadata"]["resourceVersion"]
                            if event.type != "BOOKMARK":
                                self._hear(resource, obj, event.type == "DELETED")
                        self._news.set()
            except ApiError as error:
                assert error.code != 410, "a watch missed something"
                await clock.sleep(0.5)

    def _hear(self, resource: GVR, obj: Object, gone: bool) -> None:
        if obj["metadata"]["name"] == "mark":
            mark = (obj["metadata"].get("annotations") or {}).get(MARK)
            if mark == str(self._number):
                self._marks[resource] = int(obj["metadata"]["resourceVersion"])
            return
        revision = int(obj["metadata"]["resourceVersion"])
        self._heard.append(Change(revision, clock.monotonic(), resource, obj, gone))

    async def advance(self, take: Callable[[Change], None]) -> int:
        """Hand over all changes up to now, in order; how many."""
        self._number += 1
        self._marks.clear()
        started = clock.monotonic()
        patch = {"metadata": {"annotations": {MARK: str(self._number)}}}
        for resource, namespace in ((PODS, "default"), (NODES, "")):
            await self._client.patch(resource, "mark", patch, namespace)
        async with asyncio.timeout(self._patience):
            while len(self._marks) < 2:
                for task in self._tasks:
                    if task.done():
                        task.result()
                self._news.clear()
                await self._news.wait()
        self.slowest = max(self.slowest, clock.monotonic() - started)
        upto = min(self._marks.values())
        ready = sorted(
            (change for change in self._heard if change.revision <= upto), key=lambda change: change.revision
        )
        self._heard = [change for change in self._heard if change.revision > upto]
        for change in ready:
            take(change)
        return len(ready)
