"""Audit events to a server, in batches (an EventList by POST), in their order.

Events wait until there are ``webhook_batch_events`` of them or the oldest has waited ``webhook_batch_wait`` seconds. A
batch that cannot be sent is tried again with growing pauses, then given up. When ``webhook_buffer`` events wait,
newer ones are dropped and counted: requests never wait for the server.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

import orjson

from coxswain.api.names import Object
from coxswain.apiserver.audit import metrics
from coxswain.apiserver.audit.settings import AuditSettings
from coxswain.base import clock
from coxswain.base.errors import ResourceUnavailable

log = logging.getLogger(__name__)

_ATTEMPTS = 5
#: Seconds that the last events get when the server stops.
_LAST_WORDS = 5.0


class Receiver(Protocol):
    """The server."""

    async def send(self, body: bytes) -> None:
        """POST ``body``. Raises ``ResourceUnavailable``."""
        ...

    async def close(self) -> None: ...


class Webhook:
    """A sink. ``run`` sends; ``close`` sends what is left."""

    def __init__(self, receiver: Receiver, settings: AuditSettings) -> None:
        self._receiver = receiver
        self._settings = settings
        self._events: deque[Object] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def write(self, event: Object) -> None:
        """Take an event."""
        if len(self._events) >= self._settings.webhook_buffer:
            metrics.LOST.labels("webhook").inc()
            return
        self._events.append(event)
        if len(self._events) == 1 or len(self._events) >= self._settings.webhook_batch_events:
            self._wake.set()

    async def close(self) -> None:
        """Send what is left, if that does not take long. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        self._closing = True
        self._wake.set()
        try:
            await asyncio.wait_for(task, _LAST_WORDS)
        except TimeoutError:
            metrics.LOST.labels("webhook").inc(len(self._events))
            log.warning("%d audit events were not sent before the end", len(self._events))
        await self._receiver.close()

    async def _run(self) -> None:
        settings = self._settings
        while not self._closing or self._events:
            if not self._events:
                await self._woken()
                continue
            due = clock.monotonic() + settings.webhook_batch_wait
            while len(self._events) < settings.webhook_batch_events and not self._closing:
                if not await self._woken(due - clock.monotonic()):
                    break
            count = min(len(self._events), settings.webhook_batch_events)
            await self._send([self._events.popleft() for _ in range(count)])

    async def _woken(self, seconds: float | None = None) -> bool:
        """Wait for more to do; False when ``seconds`` passed."""
        self._wake.clear()
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _send(self, events: list[Object]) -> None:
        items = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": events}
        body = orjson.dumps(items)
        pause = self._settings.webhook_initial_backoff
        for attempt in range(_ATTEMPTS):
            try:
                await self._receiver.send(body)
                return
            except ResourceUnavailable as error:
                log.warning("audit events could not be sent: %s", error)
            if attempt + 1 < _ATTEMPTS and not self._closing:
                await self._woken_at_end(pause)
                pause *= 2
        metrics.LOST.labels("webhook").inc(len(events))

    async def _woken_at_end(self, seconds: float) -> None:
        """Pause, but not when everything ends."""
        end = clock.monotonic() + seconds
        while not self._closing and clock.monotonic() < end:
            await self._woken(end - clock.monotonic())
