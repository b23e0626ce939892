"""The cluster's storage as the pipeline sees it: commits that end in the watch cache, and all caches.

    writer --commit--> store --watch--> pump --> ResourceCache of each resource --> watchers
       ^----------- answers once its revision has passed the pump -----------------'

There is one source of what the caches hold: the store's own watch. A write is answered only after its
commit is durable *and* has arrived in the cache, so whoever got an answer reads its write everywhere.
``revision`` is how far the caches are; every event up to it has been offered to the watchers.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import orjson

from coxswain.api import errors
from coxswain.api.names import GVR, Object
from coxswain.apiserver import metrics
from coxswain.apiserver.watchcache import CacheSpec, Item, Pending, ResourceCache
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.store.interface import Change, Compacted, Entry, Op, SlowWatcher, Store, StoreClosed

log = logging.getLogger(__name__)

ROOT = "/registry/"

#: Where Kubernetes' storage path of a built-in resource is not simply the resource's name.
_SPECIAL = {
    ("", "services"): "services/specs",
    ("", "endpoints"): "services/endpoints",
    ("", "nodes"): "minions",
    ("", "replicationcontrollers"): "controllers",
    ("networking.k8s.io", "ingresses"): "ingress",
    ("apiextensions.k8s.io", "customresourcedefinitions"): "apiextensions.k8s.io/customresourcedefinitions",
    ("apiregistration.k8s.io", "apiservices"): "apiregistration.k8s.io/apiservices",
}


def prefix_of(resource: GVR, *, custom: bool = False) -> str:
    """The store's key prefix of a resource, in Kubernetes' layout."""
    path = _SPECIAL.get((resource.group, resource.resource))
    if path is None:
        path = f"{resource.group}/{resource.resource}" if custom else resource.resource
    return f"{ROOT}{path}/"


class Sealing(Protocol):
    """What an encrypted store knows of its values."""

    unreadable: dict[str, str]

    def is_stale(self, key: str) -> bool: ...


class Storage:
    """Store and caches of one API server. ``start`` before use, ``stop`` at the end."""

    def __init__(self, store: Store, *, ring_events: int = 8192, sealing: Sealing | None = None) -> None:
        """``ring_events``: how many events each resource remembers for watchers that come back.

        ``sealing``: the store, where it encrypts.
        """
        self.store = store
        #: Keys whose values no key opens, and why (encryption at rest).
        self.unreadable: Mapping[str, str] = sealing.unreadable if sealing is not None else {}
        self._sealing = sealing
        self.revision = 0
        self.caches: dict[str, ResourceCache] = {}
        self._ring_events = ring_events
        self._orphans: dict[str, Entry] = {}
        self._pending: dict[str, Pending] = {}
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._sequence = itertools.count()
        self._pump: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    # -- life

    async def start(self) -> None:
        """Load everything that the store holds, then follow it."""
        await self._load()
        self._pump = asyncio.get_running_loop().create_task(self._follow(), name="watch cache pump")

    async def _load(self) -> None:
        page = await self.store.list(ROOT)
        self.revision = page.revision
        self._orphans.clear()
        groups: dict[str, list[Entry]] = {prefix: [] for prefix in self.caches}
        for entry in page.entries:
            cache = self._route(entry.key)
            if cache is None:
                self._orphans[entry.key] = entry
            else:
                groups[cache.spec.prefix].append(entry)
        for prefix, group in groups.items():
            self.caches[prefix].load_all(group, page.revision)

    async def stop(self) -> None:
        """End the watchers and stop following; the store stays open."""
        for cache in self.caches.values():
            for watcher in cache.watchers():
                watcher.end()
        if self._pump is not None:
            await cancel_and_wait(self._pump)
            self._pump = None
        self._fail(StoreClosed("the API server is stopping"))

    def add(self, spec: CacheSpec) -> ResourceCache:
        """Serve a resource from now on; what the store already holds of it is there at once."""
        cache = ResourceCache(
            spec, revision=self.revision, ring_events=self._ring_events, unreadable=self.unreadable
        )
        self.caches[spec.prefix] = cache
        for key in sorted(key for key in self._orphans if key.startswith(spec.prefix)):
            entry = self._orphans.pop(key)
            cache.load(key[len(spec.prefix) :], entry.value, entry.modified)
        return cache

    def remove(self, prefix: str) -> None:
        """Serve a resource no longer (a custom resource whose definition went); its watchers end.

        What is stored of it stays, for the day when the resource is served again.
        """
        cache = self.caches.pop(prefix, None)
        if cache is None:
            return
        for watcher in cache.watchers():
            watcher.end()
        for item in cache.items.values():
            key = prefix + item.key
            self._orphans[key] = Entry(key, without_resource_version(item), item.revision, item.revision)

    # -- following the store

    async def _follow(self) -> None:
        while True:
            watch = self.store.watch(ROOT, self.revision)
            try:
                async for batch in watch:
                    self._take(batch)
                raise StoreClosed("the store ended the watch")
            except SlowWatcher:
                log.warning("the watch cache fell behind the store; following again from %d", self.revision)
            except Compacted:
                log.warning("the watch cache fell behind compaction; loading everything again")
                await self._reload()
            except Exception as error:
                if not isinstance(error, StoreClosed):
                    log.exception("the watch cache cannot follow the store any more")
                self._fail(error)
                return
            finally:
                watch.close()

    def _take(self, batch: Sequence[Change]) -> None:
        for change in batch:
            cache = self._route(change.key)
            if cache is None:
                self._take_orphan(change)
                continue
            cache.apply(change, self._pending.get(change.key))
        self.revision = batch[-1].revision
        self._wake()

    def _wake(self) -> None:
        """Let go on who waits for what the caches now have."""
        while self._waiters and self._waiters[0][0] <= self.revision:
            future = heapq.heappop(self._waiters)[2]
            if not future.done():
                future.set_result(None)

    def _take_orphan(self, change: Change) -> None:
        if change.value is None:
            self._orphans.pop(change.key, None)
        else:
            self._orphans[change.key] = Entry(change.key, change.value, change.revision, change.revision)

    def _route(self, key: str) -> ResourceCache | None:
        first = key.find("/", len(ROOT)) + 1
        cache = self.caches.get(key[:first])
        if cache is None:
            second = key.find("/", first) + 1
            cache = self.caches.get(key[:second])
        return cache

    async def _reload(self) -> None:
        for cache in list(self.caches.values()):
            for watcher in cache.watchers():
                watcher.end("the watch cache had to start anew")
        await self._load()
        self._wake()

    def _fail(self, error: Exception) -> None:
        self._failure = error
        waiters, self._waiters = self._waiters, []
        for _, _, future in waiters:
            if not future.done():
                future.set_exception(errors.ServiceUnavailable(f"storage is not available: {error}"))

    # -- writing and waiting

    def is_stale(self, key: str) -> bool:
        """Whether the value of ``key`` should be written again though it does not change: its key is old."""
        return self._sealing is not None and self._sealing.is_stale(key)

    async def commit(self, op: Op, pending: Pending | None) -> int:
        """Write one key; the revision, once the cache has it. Raises what ``Store.commit`` raises."""
        if pending is not None:
            self._pending[op.key] = pending
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            revision = await self.store.commit((op,))
            self._note_commits((op,), loop.time() - started)
            await self.wait_for(revision)
        finally:
            if pending is not None and self._pending.get(op.key) is pending:
                del self._pending[op.key]
        return revision

    async def commit_each(self, writes: Sequence[tuple[Op, Pending]]) -> Sequence[int | Exception]:
        """Write several keys at one time, each for itself: what ``commit`` would have returned or raised of each.

        All are in the cache then that were written. Raises ``StoreClosed``.
        """
        ops = [op for op, _ in writes]
        self._pending.update([(op.key, pending) for op, pending in writes])
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            outcomes = await self.store.commit_each(ops)
            done = [op for op, outcome in zip(ops, outcomes, strict=True) if type(outcome) is int]
            self._note_commits(done, loop.time() - started)
            await self.wait_for(max((outcome for outcome in outcomes if isinstance(outcome, int)), default=0))
        finally:
            for op, pending in writes:
                if self._pending.get(op.key) is pending:
                    del self._pending[op.key]
        return outcomes

    def _note_commits(self, ops: Sequence[Op], seconds: float) -> None:
        """For the metrics: what was written, and how long it took."""
        counts: dict[tuple[str, str, str], int] = {}
        for op in ops:
            cache = self._route(op.key)
            if cache is not None:
                kind = "delete" if op.value is None else "update" if op.expect else "create"
                written = (kind, *cache.spec.shown_as)
                counts[written] = counts.get(written, 0) + 1
        for written, times in counts.items():
            metrics.STORED.observe(written, seconds, times)

    async def commit_many(self, ops: Sequence[Op]) -> int:
        """Write several keys at once; the revision, once the cache has it."""
        revision = await self.store.commit(ops)
        await self.wait_for(revision)
        return revision

    async def wait_for(self, revision: int, timeout: float | None = None) -> None:
        """Return when the caches have seen ``revision``. Raises ``TimeoutError`` after ``timeout`` seconds."""
        if revision <= self.revision:
            return
        if self._failure is not None:
            raise errors.ServiceUnavailable(f"storage is not available: {self._failure}")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (revision, next(self._sequence), future))
        if timeout is None:
            await future
        else:
            await asyncio.wait_for(future, timeout)

    async def catch_up(self) -> None:
        """Wait until the caches show every commit that the store has acknowledged so far."""
        if self.store.revision > self.revision:
            await self.wait_for(self.store.revision)

    async def compact_regularly(self, every: float) -> None:
        """Forget old revisions: each ``every`` seconds, what is older than one such interval."""
        last = self.store.revision
        while True:
            await clock.sleep(every)
            now = self.store.revision
            if last > self.store.oldest:
                await self.store.compact(last)
            last = now

    async def forget_regularly(self, every: float) -> None:
        """Let the caches forget old events: each ``every`` seconds, what is older than one such interval."""
        last = self.revision
        while True:
            await clock.sleep(every)
            for cache in self.caches.values():
                cache.forget(last)
            last = self.revision

    @property
    def healthy(self) -> bool:
        """Whether the caches follow the store."""
        return self._failure is None and self._pump is not None and not self._pump.done()


def without_resource_version(item: Item) -> bytes:
    """The bytes of an item as they are stored."""
    own = b'"resourceVersion":"%d"' % item.revision
    return item.raw.replace(own + b",", b"", 1) if own + b"," in item.raw else item.raw.replace(own, b"", 1)


class CacheLookup:
    """``Lookup`` over the caches of a ``Storage``; ``prefixes`` says where each resource lies."""

    def __init__(self, storage: Storage, prefixes: dict[GVR, str]) -> None:
        self._storage = storage
        self._prefixes = prefixes

    def _cache(self, gvr: GVR) -> ResourceCache | None:
        return self._storage.caches.get(self._prefixes.get(gvr, ""))

    def get(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        cache = self._cache(gvr)
        item = cache.get(namespace, name) if cache is not None else None
        return _decoded(item, cache.spec) if cache is not None and item is not None else None

    def list(self, gvr: GVR, namespace: str = "") -> Iterable[Object]:
        cache = self._cache(gvr)
        if cache is None:
            return []
        return [_decoded(item, cache.spec) for item in cache.scan(namespace)]

    def raw(self, gvr: GVR, namespace: str, name: str) -> bytes | None:
        cache = self._cache(gvr)
        item = cache.get(namespace, name) if cache is not None else None
        return item.raw if item is not None else None

    def labels(self, gvr: GVR, namespace: str, name: str) -> Mapping[str, str]:
        cache = self._cache(gvr)
        item = cache.get(namespace, name) if cache is not None else None
        return item.labels if item is not None else {}

    def generation(self, gvr: GVR) -> int:
        cache = self._cache(gvr)
        return cache.generation if cache is not None else 0

    def on_change(self, gvr: GVR, changed: Callable[[], None]) -> None:
        cache = self._cache(gvr)
        if cache is not None:
            cache.listeners += (changed,)


def _decoded(item: Item, spec: CacheSpec) -> Object:
    if item.decoded is not None:
        return item.decoded
    obj: Object = orjson.loads(item.raw)
    if spec.keep_decoded:
        item.decoded = obj
    return obj
