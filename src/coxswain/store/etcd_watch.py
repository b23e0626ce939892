"""Watches of etcd: one stream each, taken up again wherever it broke off.

    etcd --events--> feeder: changes of one response, in order --> buffer --> the watcher

A stream watches everything that etcd holds, not the prefix alone: then each revision is an event, and the watcher
knows how far it has seen without having to ask (etcd's own notes of progress may overtake events before 3.4.25).
What lies elsewhere becomes a change without a key, at most one a response.

A stream begins at the last revision that was seen, which is then dropped, and not at the one after it: so etcd says
that it was compacted exactly when something may have been missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

from coxswain._generated.messages import message
from coxswain.base import clock
from coxswain.store.etcd_client import EtcdClient
from coxswain.store.hub import HubWatch, WatchHub
from coxswain.store.interface import Change, Compacted, StoreError, passed

log = logging.getLogger(__name__)

_REQUEST = message("etcdserverpb.WatchRequest")
_CREATE = message("etcdserverpb.WatchCreateRequest")
_RESPONSE = message("etcdserverpb.WatchResponse")
_DELETE: Final = 1
#: All keys there are, as a range.
_ALL: Final = b"\0"
#: Seconds between attempts to watch again; doubled up to the second.
_BACKOFF: Final = 0.05
_MAX_BACKOFF: Final = 2.0

#: The store's name of one of etcd's keys; None for a key that is not the store's.
Decode = Callable[[bytes], str | None]


class EtcdWatches(WatchHub):
    """The watches of one store."""

    def __init__(
        self,
        client: EtcdClient,
        decode: Decode,
        max_changes: int,
        on_compacted: Callable[[int], None],
    ) -> None:
        """``on_compacted`` is told of compactions that a watch learned of."""
        super().__init__(max_changes)
        self._client = client
        self._decode = decode
        self._limit = max_changes
        self._on_compacted = on_compacted
        self._feeders: dict[HubWatch, asyncio.Task[None]] = {}
        self._seen: dict[HubWatch, int] = {}
        self._arrived = asyncio.Event()
        #: By key: values that this process is writing. A watcher gets those very objects, so that whoever wrote them
        #: knows them again without reading them.
        self._own: dict[str, bytes] = {}

    def open(self, prefix: str, revision: int) -> HubWatch:
        """A watch of what happens behind ``revision``."""
        watch = self.add(prefix, None, revision)
        self._seen[watch] = revision
        self._feeders[watch] = asyncio.get_running_loop().create_task(
            self._feed(watch), name=f"etcd watch of {prefix}"
        )
        return watch

    def remove(self, watch: HubWatch) -> None:
        super().remove(watch)
        self._seen.pop(watch, None)
        self._arrived.set()
        feeder = self._feeders.pop(watch, None)
        if feeder is not None and feeder is not asyncio.current_task():
            feeder.cancel()

    def writing(self, key: str, value: bytes) -> None:
        """``value`` is on its way into the store."""
        if self._feeders:
            self._own[key] = value

    def failed(self, key: str, value: bytes) -> None:
        """It did not get there."""
        if self._own.get(key) is value:
            del self._own[key]

    async def reach(self, revision: int, timeout: float) -> None:
        """Return when every watch has seen ``revision``, or after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while any(seen < revision for seen in self._seen.values()):
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            log.warning("not every watch has seen revision %d", revision)

    # -- one watch

    async def _feed(self, watch: HubWatch) -> None:
        delay = _BACKOFF
        while watch in self._seen:
            try:
                async with aclosing(self._client.watch(self._request(watch), _RESPONSE)) as responses:
                    async for response in responses:
                        delay = _BACKOFF
                        self._take(watch, response)
                        if watch not in self._seen:
                            return
            except StoreError as error:
                log.warning("watching etcd from revision %d again: %s", self._seen.get(watch, 0), error)
            except Exception as error:
                log.exception("a bug ended a watch of etcd")
                watch.end(StoreError(f"the watch cannot go on: {error!r}"))
                return
            await clock.sleep(delay)
            delay = min(delay * 2, _MAX_BACKOFF)

    def _request(self, watch: HubWatch) -> Any:
        start = max(self._seen[watch], 1)
        return _REQUEST(create_request=_CREATE(key=_ALL, range_end=_ALL, start_revision=start, prev_kv=True))

    def _take(self, watch: HubWatch, response: Any) -> None:
        seen = self._seen.get(watch)
        if seen is None:
            return
        if response.canceled:
            if response.compact_revision:
                self._on_compacted(response.compact_revision)
                self._own.clear()
                watch.end(Compacted(seen, response.compact_revision))
                return
            raise StoreError(f"etcd ended the watch: {response.cancel_reason}")
        if not response.events:
            return
        changes = self._changes(watch.prefix, response.events, seen)
        self._seen[watch] = max(seen, response.events[-1].kv.mod_revision)
        if changes:
            watch.offer(changes, self._limit)
        self._arrived.set()

    def _changes(self, prefix: str, events: Sequence[Any], seen: int) -> list[Change]:
        """What a watcher of ``prefix`` that has seen revision ``seen`` is told of ``events``."""
        changes: list[Change] = []
        elsewhere = 0
        for event in events:
            kv = event.kv
            revision = kv.mod_revision
            if revision <= seen:
                continue
            key = self._decode(kv.key)
            if key is None:
                elsewhere = revision
            elif key.startswith(prefix):
                changes.append(self._change(key, event))
        if elsewhere and (not changes or changes[-1].revision < elsewhere):
            changes.append(passed(elsewhere))
        return changes

    def _change(self, key: str, event: Any) -> Change:
        kv, before = event.kv, event.prev_kv
        # The value before may be compacted already: then it was there, and it is not known since when.
        if event.type == _DELETE:
            created, previous = before.create_revision or kv.mod_revision, before.mod_revision
            return Change(key, None, kv.mod_revision, created, previous or created)
        value: bytes = kv.value
        if self._own:
            own = self._own.get(key)
            if own is not None and own == value:
                value = self._own.pop(key)
        previous = before.mod_revision or (kv.create_revision if kv.version > 1 else 0)
        return Change(key, value, kv.mod_revision, kv.create_revision, previous)
