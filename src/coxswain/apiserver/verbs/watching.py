"""Watches: what a client gets first, and then every change, until it goes or its time is up.

    resourceVersion N           every change after N, or an ERROR event with 410 when N is too long ago
    "" or "0"                   the present objects as ADDED, then changes
    sendInitialEvents=true      the same, closed by a BOOKMARK with the annotation k8s.io/initial-events-end
    sendInitialEvents=false     changes from now on

A ``WatchSession`` is the same for every wire; the REST door writes its lines, others its events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import orjson

from coxswain.api import errors
from coxswain.api.fields import Errors, forbidden, not_supported
from coxswain.api.names import Object
from coxswain.apiserver.conversion import Remote
from coxswain.apiserver.converted_fields import converted_fields
from coxswain.apiserver.negotiation import JSON, PROTOBUF, Representation, check_streamable
from coxswain.apiserver.options import flag, number
from coxswain.apiserver.registry import Entry
from coxswain.apiserver.representation import Render, protobuf_for, render_for
from coxswain.apiserver.request import Context, Core
from coxswain.apiserver.selecting import scope_of
from coxswain.apiserver.verbs.reading import parse_revision, reach, select
from coxswain.apiserver.watchcache import ResourceCache, watch_frame
from coxswain.apiserver.watchers import Delivery, Watcher
from coxswain.base import clock
from coxswain.client.interface import WatchEvent

INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class WatchSession:
    """A running watch. ``close`` it when the client has gone; it ends itself when its time is up."""

    def __init__(
        self,
        core: Core,
        entry: Entry,
        watcher: Watcher,
        render: Render | None,
        encode: Render | None = None,
        shape: str = "",
    ) -> None:
        """``render`` makes what is shown of stored JSON; ``encode``, if given, the protobuf form of that."""
        self.watcher = watcher
        #: What the cache feeds: the watcher itself, unless a webhook converts what comes before it is shown.
        self.source = watcher
        self._stop_relay: Callable[[], None] | None = None
        self.content_type = JSON if encode is None else f"{PROTOBUF};stream=watch"
        self._encode = encode
        self._shape = shape
        self._core = core
        self._entry = entry
        self._render = render
        self._timer: asyncio.TimerHandle | None = None

    @property
    def _rendered(self) -> tuple[str, ...]:
        """Kinds of events whose own bytes (not the cache's) are rendered: a bookmark is no row of a table."""
        return ("ADDED",) if self._shape == "Table" else ("ADDED", "BOOKMARK")

    @property
    def cache(self) -> ResourceCache:
        """What is watched."""
        assert self._entry.cache is not None
        return self._entry.cache

    def start_timer(self, seconds: float) -> None:
        """End after ``seconds``."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        if self.watcher.bookmarks and not self.watcher.ended:
            self.send_bookmark()
        self.watcher.end()

    def send_bookmark(self, *, initial_events_end: bool = False) -> None:
        """Tell the watcher how far it has seen everything."""
        revision = self._core.storage.revision
        self.source.send("BOOKMARK", bookmark(self._entry, revision, initial_events_end=initial_events_end))

    def _protobuf(self, deliveries: Sequence[Delivery]) -> bytes:
        from coxswain.api import protobuf

        assert self._encode is not None
        frame, encode = protobuf.frame_encoded_event, self._encode
        return b"".join(
            [
                frame(kind, encode(event.raw(kind) if event is not None else raw))
                for kind, event, raw in deliveries
            ]
        )

    def lines(self, deliveries: Sequence[Delivery]) -> bytes:
        """Deliveries as lines of JSON (or frames of protobuf), ready for the wire."""
        if self._encode is not None:
            return self._protobuf(deliveries)
        render = self._render
        return b"".join(
            [
                event.frame(kind, render)
                if event is not None
                else watch_frame(kind, render(raw) if render and kind in self._rendered else raw)
                for kind, event, raw in deliveries
            ]
        )

    def events(self, deliveries: Sequence[Delivery]) -> list[WatchEvent]:
        """Deliveries as events for transports of our own."""
        render = self._render
        found = []
        for kind, event, raw in deliveries:
            if event is not None:
                raw = event.raw(kind)
            if render is not None and kind in ("ADDED", "MODIFIED", "DELETED"):
                raw = render(raw)
            found.append(WatchEvent(kind, raw))  # type: ignore[arg-type]
        return found

    def close(self) -> None:
        """Forget the watcher. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.watcher.end()
        self.cache.unsubscribe(self.source)
        if self._stop_relay is not None:
            self._stop_relay()
            self._stop_relay = None

    def convert_first(self, remote: Remote, limit: int) -> Watcher:
        """Put a relay between the cache and the watcher: events are shown once a webhook has converted them."""
        judge = converted_fields(self._entry, self.watcher.scope)
        scope = self.watcher.scope if judge is None else judge.stored
        self.source = Watcher(scope, limit=limit, bookmarks=self.watcher.bookmarks)
        narrow = None if judge is None else judge.narrow
        self._stop_relay = remote.relay(self.source, self.watcher, self.cache, narrow)
        return self.source


def bookmark(entry: Entry, revision: int, *, initial_events_end: bool = False) -> bytes:
    """The object of a BOOKMARK event."""
    metadata: Object = {"resourceVersion": str(revision)}
    if initial_events_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    return orjson.dumps({"kind": entry.kind, "apiVersion": entry.gvk.api_version, "metadata": metadata})


async def open_watch(core: Core, ctx: Context, *, queue_limit: int) -> WatchSession:
    """Start a watch. Raises ``ApiError``: ``Expired`` when its revision is too long ago."""
    query, entry = ctx.query, ctx.entry
    _check_options(query)
    check_streamable(ctx.representation, custom=entry.custom)
    scope = scope_of(entry.selectable, entry.namespaced, ctx.namespace, ctx.name, query)
    version = query.get("resourceVersion") or ""
    initial = flag(query, "sendInitialEvents") if "sendInitialEvents" in query else None
    timeout = number(query, "timeoutSeconds") or 0
    if initial or version in ("", "0"):
        revision = await reach(core, version)
    else:
        revision = parse_revision(version)
    watcher = Watcher(scope, limit=queue_limit, bookmarks=flag(query, "allowWatchBookmarks"))
    representation = ctx.representation
    render = render_for(entry, representation, query.get("includeObject") or "")
    encode = protobuf_for(entry, representation)
    session = WatchSession(core, entry, watcher, render, encode, representation.shape)
    cache = session.cache
    if entry.conversion is not None and entry.conversion.remote is not None:
        watcher = session.convert_first(entry.conversion.remote, queue_limit)
    if initial or (initial is None and version in ("", "0")):
        present = [Delivery("ADDED", None, item.raw) for item in select(cache, watcher.scope)]
        cache.shown += len(present)
        watcher.preload(present)
        if initial and watcher.bookmarks:
            session.send_bookmark(initial_events_end=True)
        cache.subscribe(watcher, None)
    elif version in ("", "0"):
        cache.subscribe(watcher, None)
    else:
        watcher.after = revision
        cache.subscribe(watcher, revision)
    session.start_timer(timeout if timeout > 0 else _default_timeout(core))
    return session


def watch_error(representation: Representation, status: Object) -> tuple[str, bytes]:
    """The content type and only event of a watch that cannot be."""
    if representation.media_type != PROTOBUF:
        return JSON, watch_frame("ERROR", orjson.dumps(status))
    from coxswain.api import protobuf

    return f"{PROTOBUF};stream=watch", protobuf.frame_event("ERROR", status)


def _default_timeout(core: Core) -> float:
    return core.watch.min_timeout * (1 + clock.random().random())


def _check_options(query: Mapping[str, str]) -> None:
    match = query.get("resourceVersionMatch")
    problems: Errors = []
    if query.get("sendInitialEvents") is not None:
        if not match:
            why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            problems.append(forbidden("resourceVersionMatch", why))
        elif match != "NotOlderThan":
            problems.append(not_supported("resourceVersionMatch", match, ("NotOlderThan",)))
    elif match:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        problems.append(forbidden("resourceVersionMatch", why))
    if query.get("continue"):
        problems.append(forbidden("continue", "continue is forbidden for watch"))
    if problems:
        raise errors.invalid("meta.k8s.io", "ListOptions", "", problems)


class EventStream:
    """A watch as an asynchronous iterator of batches, for the transports inside this process and gRPC.

    It is opened when its context is entered, which raises what ``opener`` raises.
    """

    def __init__(self, opener: Callable[[], Awaitable[WatchSession]]) -> None:
        """``opener``: an async function that returns the ``WatchSession``."""
        self._opener = opener
        self._session: WatchSession | None = None
        self._wake: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._session = await self._opener()
        self._session.watcher.on_ready = self._ready
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            self._session.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[WatchEvent]:
        assert self._session is not None, "enter the watch before iterating"
        watcher = self._session.watcher
        while not watcher.queue:
            if watcher.ended:
                raise StopAsyncIteration
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        return self._session.events(watcher.drain())

    def _ready(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


def send_bookmarks(core: Core, entries: Sequence[Entry]) -> None:
    """Bookmarks for every watcher that asked for them and is up to date."""
    for entry in entries:
        if entry.cache is None or (entry.conversion is not None and entry.conversion.storage != entry.gvr):
            continue
        raw: bytes | None = None
        for watcher in entry.cache.watchers():
            if watcher.bookmarks and not watcher.queue and core.storage.revision >= watcher.after:
                raw = raw or bookmark(entry, core.storage.revision)
                watcher.send("BOOKMARK", raw)


__all__ = ["EventStream", "WatchSession", "bookmark", "open_watch", "send_bookmarks", "watch_error"]
