"""The store that several API servers share: etcd (v3), under the keys that Kubernetes uses.

    commit     one transaction: compare the keys' revisions, then write, or read what is there instead. Commits of one
               moment are under way together, and etcd makes one fsync of them.
    get, list  linearizable reads; a list is read in pages, all at the revision of the first
    watch      a stream of etcd's (etcd_watch)

- Revisions are etcd's, so the resource version of an object is its key's mod_revision, and ``etcdctl get`` shows what a
  user of Kubernetes expects.
- The watch asks etcd for the value before each change: that costs some bytes on the wire, and neither memory nor a
  second index that could be wrong.
- What etcd does not answer is repeated where that is harmless (etcd_client). A commit whose fate is unknown ends with
  ``StoreUnavailable``, undecided.
- Compaction is every server's turn once (etcd_compaction).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final, Self

from coxswain._generated.messages import message
from coxswain.base import clock
from coxswain.base.errors import ResourceUnavailable
from coxswain.base.tasks import cancel_and_wait
from coxswain.store.etcd_client import RANGE, STATUS, TXN, EtcdClient, EtcdSettings, NotAvailableAtRevision
from coxswain.store.etcd_compaction import Compactor, compact
from coxswain.store.etcd_watch import EtcdWatches
from coxswain.store.interface import (
    ANY,
    Compacted,
    CompareFailed,
    Entry,
    Op,
    Page,
    StoreClosed,
    StoreError,
    StoreFull,
    StoreUnavailable,
    Watch,
    side_by_side,
)
from coxswain.store.memory import check_keys

log = logging.getLogger(__name__)

#: etcd's own limit (--max-txn-ops) unless it was told otherwise.
MAX_OPS: Final = 128

_RANGE_REQUEST, _RANGE_RESPONSE = message("etcdserverpb.RangeRequest"), message("etcdserverpb.RangeResponse")
_TXN_REQUEST, _TXN_RESPONSE = message("etcdserverpb.TxnRequest"), message("etcdserverpb.TxnResponse")
_STATUS_REQUEST = message("etcdserverpb.StatusRequest")
_STATUS_RESPONSE = message("etcdserverpb.StatusResponse")
_MOD: Final = 2
#: Seconds that watches get to see the last commits when the store is closed.
_FAREWELL: Final = 1.0


class EtcdStore:
    """A ``Store`` in etcd. Make it with ``open``; use it from one event loop."""

    def __init__(self, settings: EtcdSettings, client: EtcdClient, root: str) -> None:
        self._settings = settings
        self._client = client
        self._root = root
        self._prefix = settings.prefix.rstrip("/").encode()
        self._inside = self._prefix + b"/"
        self._revision = 0
        self._oldest = 0
        self._closed = False
        self._room = asyncio.Semaphore(settings.max_in_flight)
        self._watches = EtcdWatches(client, self._name, settings.max_watch_changes, self._note_compaction)
        self._asking: asyncio.Task[int] | None = None
        self._next: asyncio.Task[int] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._problem = ""

    @classmethod
    async def open(cls, settings: EtcdSettings, *, root: str = "/registry") -> EtcdStore:
        """Connect. Keys that begin with ``root`` here begin with the settings' prefix in etcd.

        Raises ``ResourceUnavailable`` when etcd does not answer and ``ConfigurationError`` for wrong settings.
        """
        client = EtcdClient(settings)
        store = cls(settings, client, root)
        try:
            answer = await client.call(
                RANGE, store._question(), _RANGE_RESPONSE, timeout=5.0, patience=settings.start_timeout
            )
            store._revision = answer.header.revision
            await store._check_permission()
            await store._greet()
        except StoreError as error:
            await client.close()
            raise ResourceUnavailable(f"etcd cannot be used as a store: {error}") from None
        loop = asyncio.get_running_loop()
        store._tasks.append(loop.create_task(store._look_after(), name="etcd health"))
        if settings.compaction_interval > 0:
            work = Compactor(client).run(settings.compaction_interval)
            store._tasks.append(loop.create_task(work, name="etcd compaction"))
        return store

    async def _check_permission(self) -> None:
        """Watches are of all keys, and a refused one would not say so before something is missed."""
        anything = _RANGE_REQUEST(key=b"\0", range_end=b"\0", limit=1, keys_only=True)
        try:
            await self._client.call(RANGE, anything, _RANGE_RESPONSE)
        except StoreUnavailable:
            raise
        except StoreError as error:
            raise StoreError(f"{error} (its user has to be allowed to read all keys)") from None

    async def _greet(self) -> None:
        status = await self._client.call(STATUS, _STATUS_REQUEST(), _STATUS_RESPONSE)
        log.info("etcd %s at %s, revision %d", status.version, self._client.endpoint, self._revision)
        for alarm in status.errors:
            log.warning("etcd says: %s", alarm)

    # -- names

    def _key(self, name: str) -> bytes:
        """etcd's key of a key of ours."""
        if not name.startswith(self._root):
            raise ValueError(f"{name} does not begin with {self._root}")
        return self._prefix + name[len(self._root) :].encode("utf-8", "surrogateescape")

    def _name(self, key: bytes) -> str | None:
        """Our key of a key of etcd's; None when it belongs to somebody else."""
        if not key.startswith(self._inside):
            return None
        return self._root + key[len(self._prefix) :].decode("utf-8", "surrogateescape")

    def _entry(self, kv: Any) -> Entry:
        name = self._name(kv.key)
        assert name is not None, "etcd answered with a key that nobody asked for"
        return Entry(name, kv.value, kv.create_revision, kv.mod_revision)

    # -- reading

    @property
    def revision(self) -> int:
        """The newest revision that an answer of etcd's has named."""
        return self._revision

    @property
    def oldest(self) -> int:
        """The newest compaction that this process knows of: others compact, too."""
        return self._oldest

    @property
    def shared(self) -> bool:
        return True

    @property
    def problem(self) -> str:
        return self._problem

    async def newest(self) -> int:
        """See ``Store.newest``. Whoever asks at one time shares a question to etcd."""
        if self._next is None:
            # A question under way may have been answered already, before what the caller has to see.
            self._next = asyncio.get_running_loop().create_task(self._ask(self._asking))
            self._next.add_done_callback(_seen)
        return await asyncio.shield(self._next)

    async def _ask(self, before: asyncio.Task[int] | None) -> int:
        if before is not None and not before.done():
            await asyncio.wait((before,))
        self._asking, self._next = self._next, None
        self._check_open()
        answer = await self._client.call(RANGE, self._question(), _RANGE_RESPONSE)
        self._note(answer)
        revision: int = answer.header.revision
        return revision

    def _question(self) -> Any:
        """The cheapest question that only a member in touch with the majority can answer."""
        return _RANGE_REQUEST(key=self._inside, keys_only=True)

    async def get(self, key: str) -> Entry | None:
        self._check_open()
        answer = await self._client.call(RANGE, _RANGE_REQUEST(key=self._key(key)), _RANGE_RESPONSE)
        self._note(answer)
        return self._entry(answer.kvs[0]) if answer.kvs else None

    async def list(self, prefix: str, *, revision: int = 0, limit: int = 0, after: str = "") -> Page:
        self._check_open()
        if revision and revision < self._oldest:
            raise Compacted(revision, self._oldest)
        start, end = self._key(prefix), _end_of(self._key(prefix))
        if after >= prefix:
            start = self._key(after) + b"\0"
        entries: list[Entry] = []
        at = revision
        while True:
            count = min(self._settings.page, limit - len(entries)) if limit else self._settings.page
            request = _RANGE_REQUEST(key=start, range_end=end, limit=count, revision=at)
            answer = await self._range(request, revision)
            at = at or answer.header.revision
            entries += [self._entry(kv) for kv in answer.kvs]
            if not answer.more or (limit and len(entries) >= limit):
                return Page(entries, at, answer.count - len(answer.kvs))
            start = answer.kvs[-1].key + b"\0"

    async def _range(self, request: Any, wanted: int) -> Any:
        try:
            answer = await self._client.call(RANGE, request, _RANGE_RESPONSE)
        except NotAvailableAtRevision as error:
            if error.future:
                raise ValueError(f"revision {request.revision} is in the future") from None
            raise Compacted(request.revision, max(self._oldest, request.revision + 1)) from None
        self._note(answer)
        return answer

    def watch(self, prefix: str, revision: int) -> Watch:
        self._check_open()
        if revision < self._oldest:
            raise Compacted(revision, self._oldest)
        self._key(prefix)
        return self._watches.open(prefix, revision)

    # -- writing

    async def commit(self, ops: Sequence[Op]) -> int:
        """See ``Store.commit``. Raises ``StoreUnavailable``, too, and ``ValueError`` for more than 128 operations."""
        if not ops:
            return self._revision
        if len(ops) > MAX_OPS:
            raise ValueError(f"a commit may have {MAX_OPS} operations at most, not {len(ops)}")
        check_keys(ops)
        self._check_open()
        request, before = self._transaction(ops), self._revision
        for op in ops:
            if op.value is not None:
                self._watches.writing(op.key, op.value)
        try:
            async with self._room:
                try:
                    answer = await self._client.call(TXN, request, _TXN_RESPONSE, writes=True)
                except StoreFull:
                    if revision := await self._landed(ops, before):
                        return revision
                    raise
            self._note(answer)
            if not answer.succeeded:
                raise self._compare_failed(ops, answer)
        except BaseException:
            for op in ops:
                if op.value is not None:
                    self._watches.failed(op.key, op.value)
            raise
        done: int = answer.header.revision
        return done

    async def commit_each(self, ops: Sequence[Op]) -> Sequence[int | Exception]:
        """See ``Store.commit_each``."""
        return await side_by_side(self, ops)

    async def _landed(self, ops: Sequence[Op], before: int) -> int:
        """The revision of a commit that etcd had no room for, 0 if it is not there; ``before``: it must be newer.

        The commit that takes the last room is answered like those after it, but it is done.
        """
        revisions = set()
        for op in ops:
            if op.value is not None:
                entry = await self.get(op.key)
                if entry is None or entry.value != op.value:
                    return 0
                revisions.add(entry.modified)
        return revisions.pop() if len(revisions) == 1 and min(revisions) > before else 0

    def _transaction(self, ops: Sequence[Op]) -> Any:
        request = _TXN_REQUEST()
        for op in ops:
            key = self._key(op.key)
            if op.expect != ANY:
                request.compare.add(target=_MOD, key=key, mod_revision=op.expect)
            if op.value is None:
                request.success.add().request_delete_range.key = key
            else:
                put = request.success.add().request_put
                put.key, put.value = key, op.value
            request.failure.add().request_range.key = key
        return request

    def _compare_failed(self, ops: Sequence[Op], answer: Any) -> StoreError:
        for position, (op, response) in enumerate(zip(ops, answer.responses, strict=True)):
            found = response.response_range.kvs
            if op.expect != ANY and op.expect != (found[0].mod_revision if found else 0):
                return CompareFailed(position, op.key, op.expect, self._entry(found[0]) if found else None)
        return StoreError("etcd refused a comparison that holds")

    async def compact(self, revision: int) -> None:
        self._check_open()
        if revision > self._oldest:
            await compact(self._client, revision)
            self._note_compaction(revision)

    # -- the rest

    def _note(self, answer: Any) -> None:
        revision: int = answer.header.revision
        if revision > self._revision:
            self._revision = revision

    def _note_compaction(self, revision: int) -> None:
        self._oldest = max(self._oldest, revision)

    async def _look_after(self) -> None:
        """Ask regularly whether etcd answers, so that ``problem`` is true and a dead member is left."""
        interval = self._settings.probe_interval
        while True:
            endpoint = self._client.endpoint
            try:
                await self._client.call(
                    RANGE, self._question(), _RANGE_RESPONSE, timeout=interval, patience=0.0
                )
                self._problem = ""
            except StoreError as error:
                if not self._problem:
                    log.error("etcd does not answer: %s", error)
                self._problem = str(error)
                self._client.leave(endpoint)
            await clock.sleep(interval)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            await cancel_and_wait(task)
        if not self._problem:
            await self._watches.reach(self._revision, _FAREWELL)
        self._watches.close("the store was closed")
        await self._client.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the store was closed")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def _end_of(prefix: bytes) -> bytes:
    """The first key behind all that begin with ``prefix``."""
    cut = prefix.rstrip(b"\xff")
    return cut[:-1] + bytes([cut[-1] + 1]) if cut else b"\0"


def _seen(task: asyncio.Task[int]) -> None:
    """Those who asked may have gone: then nobody else looks at the failure."""
    if not task.cancelled():
        task.exception()


__all__ = ["EtcdSettings", "EtcdStore", "StoreUnavailable"]
