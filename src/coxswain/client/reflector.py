"""List, then watch, for ever: how a component keeps a copy of one resource.

    list (in pages) --> replace(everything) --> watch from its revision --> apply(batch) ... --+
         ^                                        ^   | ends, connection lost: from the last    |
         |                                        +---+ revision seen, with back-off            |
         +---------- 410 Gone: the revision was compacted <-------------------------------------+

Guarantees to the sink: ``replace`` comes first; then every change after that list exactly once and in
revision order, until the next ``replace``. Bookmarks move the revision, so a quiet watch resumes without a
new list. Failures are retried for ever with exponential back-off and jitter (0.2 s to 30 s), forgotten as
soon as a watch brings something.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from coxswain.api import errors
from coxswain.api.errors import ApiError
from coxswain.api.names import GVR
from coxswain.base import clock
from coxswain.client.interface import Client, WatchEvent

log = logging.getLogger(__name__)

#: Objects asked for in one page of a list: bounds what is in memory twice.
PAGE = 10_000
_SHORTEST, _LONGEST = 0.2, 30.0
#: Watches ask the server to end them after five to ten minutes, as client-go does, so that load evens out.
_WATCH_SECONDS = 300


class Sink(Protocol):
    """Who receives what a reflector sees. All calls are synchronous."""

    def decode(self, raws: Sequence[bytes]) -> Sequence[Any]:
        """What the sink keeps of a page of a list; a part of a coming ``replace``."""
        ...

    def replace(self, objects: Sequence[Any], revision: str) -> None:
        """The complete state at ``revision``, as ``decode`` made it."""
        ...

    def apply(self, events: Sequence[WatchEvent]) -> str:
        """Changes in order; returns the last revision seen (bookmarks have one too), or "" for none."""
        ...


class Reflector:
    """Keeps ``sink`` equal to what the selectors choose. ``run`` ends only by cancellation."""

    def __init__(
        self,
        client: Client,
        resource: GVR,
        sink: Sink,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self._client = client
        self._resource = resource
        self._sink = sink
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._revision = ""
        self._delay = _SHORTEST

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            try:
                if not self._revision:
                    await self._list()
                    self._delay = _SHORTEST
                if await self._watch():
                    self._delay = _SHORTEST
                else:
                    await self._back_off()
            except errors.Expired:
                log.info("%s: revision %s is gone; listing again", self._what, self._revision)
                self._revision = ""
                await self._back_off()
            except (ApiError, OSError) as error:
                self._report(error)
                await self._back_off(getattr(error, "retry_after", None))

    @property
    def _what(self) -> str:
        return self._resource.group_resource

    def _report(self, error: Exception) -> None:
        level = logging.INFO if self._delay <= _SHORTEST else logging.WARNING
        log.log(level, "%s: %s failed: %s", self._what, "watch" if self._revision else "list", error)

    async def _back_off(self, at_least: float | None = None) -> None:
        delay = max(self._delay, at_least or 0.0)
        self._delay = min(self._delay * 2, _LONGEST)
        await clock.sleep(delay * clock.random().uniform(1.0, 1.5))

    async def _list(self) -> None:
        objects: list[Any] = []
        token = ""
        while True:
            page = await self._client.list(
                self._resource,
                self._namespace,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                limit=PAGE,
                continue_=token,
            )
            # Page by page: neither the bytes of a whole list are held, nor the loop for all of it.
            objects.extend(self._sink.decode(page.items))
            token = page.continue_
            if not token:
                break
        self._sink.replace(objects, page.resource_version)
        self._revision = page.resource_version

    async def _watch(self) -> bool:
        """One watch until it ends; whether it was worth it (it lasted, or brought something)."""
        started = clock.monotonic()
        useful = False
        stream = self._client.watch(
            self._resource,
            self._namespace,
            resource_version=self._revision,
            timeout_seconds=int(_WATCH_SECONDS * clock.random().uniform(1.0, 2.0)),
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        async with stream as batches:
            async for events in batches:
                if events and events[-1].type == "ERROR":
                    self._advance(events[:-1])
                    raise errors.from_status(orjson.loads(events[-1].raw))
                self._advance(events)
                useful = True
                self._delay = _SHORTEST
        return useful or clock.monotonic() - started > 1.0

    def _advance(self, events: Sequence[WatchEvent]) -> None:
        revision = self._sink.apply(events)
        if revision:
            self._revision = revision
