"""One watcher: what it wants to see, and the bounded queue of what it has not yet read.

    cache --offer(event)--> [selectors] --> queue --on_ready--> whoever writes to the wire

A watcher never makes the cache wait. When its queue holds more than ``limit`` deliveries it is ended:
``failure`` is set, the queue emptied, and the reader told. ``on_ready`` is called once for a run of
deliveries (through ``call_soon``), so a burst of events goes out in one write.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from coxswain.apiserver.bell import Bell
    from coxswain.apiserver.watchcache import Event, Item, ResourceCache


class Matcher(Protocol):
    """A label or field selector."""

    def matches(self, values: Mapping[str, str], /) -> bool: ...


class Delivery(NamedTuple):
    """Something to be sent: an event as this watcher sees it, or (``event`` None) ready-made JSON."""

    type: str
    event: Event | None
    raw: bytes = b""


class Scope(NamedTuple):
    """What a list or watch wants to see. Selectors that select everything are None.

    ``indexed`` is the value that the resource's indexed field must have, where the selector says so.
    """

    namespace: str = ""
    name: str = ""
    labels: Matcher | None = None
    fields: Matcher | None = None
    indexed: str | None = None

    def admits(self, item: Item, cache: ResourceCache) -> bool:
        """Whether ``item`` is in the selection."""
        if self.namespace and item.namespace != self.namespace:
            return False
        if self.name and item.name != self.name:
            return False
        if self.labels is not None and not self.labels.matches(item.labels):
            return False
        return self.fields is None or self.fields.matches(cache.fields_of(item))

    @property
    def bucket(self) -> tuple[str, str]:
        """Under which key the cache files the watcher: the narrowest of its conditions."""
        if self.name:
            return ("name", f"{self.namespace}/{self.name}" if self.namespace else self.name)
        if self.indexed is not None:
            return ("field", self.indexed)
        return ("namespace", self.namespace) if self.namespace else ("", "")


class Watcher:
    """See the module's text."""

    def __init__(self, scope: Scope, *, limit: int, bookmarks: bool = False) -> None:
        """``limit``: deliveries that may wait; ``bookmarks``: whether it asked for them."""
        self.scope = scope
        self.bucket = scope.bucket
        self.bookmarks = bookmarks
        #: Events up to this revision are not wanted (it may lie in the future).
        self.after = 0
        self.queue: deque[Delivery] = deque()
        self.on_ready: Callable[[], None] | None = None
        #: What wakes it together with the other watchers of its resource.
        self.bell: Bell | None = None
        self.failure: str | None = None
        self.ended = False
        self._limit = limit
        self._announced = False

    def offer(self, event: Event, cache: ResourceCache) -> None:
        """Queue ``event`` if it is in the selection, before or after."""
        if event.revision <= self.after or self.ended:
            return
        kind = self._judge(event, cache)
        if kind:
            self._push(Delivery(kind, event))

    def _judge(self, event: Event, cache: ResourceCache) -> str:
        scope = self.scope
        if scope.labels is None and scope.fields is None:
            # Names and namespaces do not change: what the item is now decides.
            return event.type if scope.admits(event.item, cache) else ""
        before = event.previous is not None and scope.admits(event.previous, cache)
        after = event.type != "DELETED" and scope.admits(event.item, cache)
        if before:
            return "MODIFIED" if after else "DELETED"
        return "ADDED" if after else ""

    def send(self, kind: str, raw: bytes) -> None:
        """Queue ready-made JSON (initial objects, bookmarks, errors)."""
        self._push(Delivery(kind, None, raw))

    def preload(self, deliveries: list[Delivery]) -> None:
        """Queue the initial state, which may be longer than the limit."""
        self.queue.extend(deliveries)
        self._announce()

    def end(self, failure: str | None = None) -> None:
        """No more will come; a ``failure`` also drops what is queued. Idempotent."""
        if self.ended:
            return
        self.ended = True
        if failure is not None:
            self.failure = failure
            self.queue.clear()
        self._announce()

    def drain(self) -> list[Delivery]:
        """Everything that is queued."""
        taken = list(self.queue)
        self.queue.clear()
        return taken

    def _push(self, delivery: Delivery) -> None:
        if self.ended:
            return
        if len(self.queue) >= self._limit:
            self.end(f"the watcher fell more than {self._limit} events behind")
            return
        self.queue.append(delivery)
        if not self._announced:
            self._announce()

    def _announce(self) -> None:
        if self.on_ready is not None and not self._announced:
            self._announced = True
            if self.bell is not None:
                self.bell.add(self._ready)
            else:
                asyncio.get_running_loop().call_soon(self._ready)

    def _ready(self) -> None:
        self._announced = False
        if self.on_ready is not None:
            self.on_ready()
