"""A store that keeps cipher text: between the watch cache, which knows plain objects, and the real store.

    commit   values of encrypted resources are sealed; what was sealed is remembered until the watch brings it back,
             so that nobody opens what this process wrote itself
    list, get, watch   values are opened

A value that no key opens is left out and noted in ``unreadable`` with the reason: requests for it are answered with 500,
as Kubernetes does, and everything else works. When other keys come (``replace``) and something was unreadable, the running
watch ends as if it had been compacted: the reader loads everything again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from coxswain.api import errors
from coxswain.apiserver.encryption.ciphers import TransformError
from coxswain.apiserver.encryption.providers import ENCRYPTED, Identity
from coxswain.apiserver.encryption.resources import Transformers
from coxswain.store.interface import (
    Change,
    Compacted,
    CompareFailed,
    Entry,
    Op,
    Page,
    Store,
    Watch,
    side_by_side,
)

log = logging.getLogger(__name__)

_PLAIN = Identity()


class EncryptedStore:
    """A ``Store`` over another one. See the module's text."""

    def __init__(self, store: Store, transformers: Transformers) -> None:
        """``transformers`` have been started."""
        #: Storage keys that cannot be read, and why.
        self.unreadable: dict[str, str] = {}
        self._store = store
        self._transformers = transformers
        #: Which key each encrypted resource's values are under.
        self._labels: dict[str, str] = {}
        #: By storage key: what was sealed last, what it was before, and the label.
        self._sealed: dict[str, tuple[bytes, bytes, str]] = {}
        self._watches: set[_OpenedWatch] = set()
        #: Whether readers have to load everything again before they go on watching.
        self.reload_due = False

    @property
    def revision(self) -> int:
        return self._store.revision

    @property
    def oldest(self) -> int:
        return self._store.oldest

    @property
    def transformers(self) -> Transformers:
        """Those in use."""
        return self._transformers

    @property
    def shared(self) -> bool:
        return self._store.shared

    @property
    def problem(self) -> str:
        return self._store.problem

    async def newest(self) -> int:
        """See ``Store.newest``."""
        return await self._store.newest()

    def is_stale(self, key: str) -> bool:
        """Whether the value of ``key`` is under another key than its next one would be."""
        transformer = self._transformers.of_key(key)
        return transformer is not None and self._labels.get(key, "") != transformer.label

    def replace(self, transformers: Transformers) -> Transformers:
        """Use other keys from now on; the former ones, for the caller to close."""
        former, self._transformers = self._transformers, transformers
        if self.unreadable:
            self.reload_due = True
            for watch in tuple(self._watches):
                watch.wake()
        return former

    # -- writing

    async def commit(self, ops: Sequence[Op]) -> int:
        """See ``Store.commit``. Raises ``InternalError`` when a value cannot be sealed."""
        sealed = [self._seal(op) for op in ops]
        try:
            return await self._store.commit(sealed)
        except CompareFailed as failure:
            self._forget(ops)
            if failure.current is not None:
                failure.current = await self._opened_entry(failure.current)
            raise
        except BaseException:
            self._forget(ops)
            raise

    async def commit_each(self, ops: Sequence[Op]) -> Sequence[int | Exception]:
        """See ``Store.commit_each``."""
        return await side_by_side(self, ops)

    def _seal(self, op: Op) -> Op:
        if op.value is None:
            return op
        transformer = self._transformers.of_key(op.key)
        if transformer is None:
            return op
        try:
            value = transformer.seal(op.value, op.key.encode())
        except TransformError as error:
            raise errors.InternalError(f"Internal error occurred: {error}") from None
        self._sealed[op.key] = (value, op.value, transformer.label)
        return op._replace(value=value)

    def _forget(self, ops: Iterable[Op]) -> None:
        for op in ops:
            self._sealed.pop(op.key, None)

    # -- reading

    async def get(self, key: str) -> Entry | None:
        """See ``Store.get``. Raises ``InternalError`` for what cannot be read."""
        entry = await self._store.get(key)
        return None if entry is None else await self._opened_entry(entry)

    async def _opened_entry(self, entry: Entry) -> Entry:
        await self._fetch_keys([(entry.key, entry.value)])
        try:
            return entry._replace(value=self._open(entry.key, entry.value)[0])
        except TransformError as error:
            raise errors.InternalError(f"Internal error occurred: {error}") from None

    async def list(self, prefix: str, *, revision: int = 0, limit: int = 0, after: str = "") -> Page:
        """See ``Store.list``. Of the newest state, what cannot be read is left out and noted.

        Raises ``InternalError`` when an earlier state has something that cannot be read.
        """
        page = await self._store.list(prefix, revision=revision, limit=limit, after=after)
        await self._fetch_keys([(entry.key, entry.value) for entry in page.entries])
        if not (revision or limit):
            self.reload_due = False
            for key in [one for one in self.unreadable if one.startswith(prefix)]:
                del self.unreadable[key]
        opened: list[Entry] = []
        for entry in page.entries:
            try:
                value, label = self._open(entry.key, entry.value)
            except TransformError as error:
                if revision:
                    raise unreadable(entry.key, str(error)) from None
                self._note(entry.key, str(error))
                continue
            if not revision:
                self._set_label(entry.key, label)
                self.unreadable.pop(entry.key, None)
            opened.append(entry if value is entry.value else entry._replace(value=value))
        return Page(opened, page.revision, page.remaining)

    def watch(self, prefix: str, revision: int) -> Watch:
        """See ``Store.watch``."""
        watch = _OpenedWatch(self, self._store.watch(prefix, revision), revision, self._watches.discard)
        self._watches.add(watch)
        return watch

    async def opened(self, batch: Sequence[Change]) -> Sequence[Change]:
        """A batch of a watch, with plain values."""
        if self._transformers.kms:
            await self._fetch_keys(
                (one.key, one.value) for one in batch if one.value is not None and not self._is_own(one)
            )
        return [self._opened(change) for change in batch]

    def _is_own(self, change: Change) -> bool:
        """Whether this process has sealed the change, and still knows what it was."""
        known = self._sealed.get(change.key)
        return known is not None and known[0] is change.value

    def _opened(self, change: Change) -> Change:
        key, value = change.key, change.value
        if value is None:
            self._labels.pop(key, None)
            self._sealed.pop(key, None)
            self.unreadable.pop(key, None)
            return change
        if self._is_own(change):
            _, plain, label = self._sealed.pop(key)
        else:
            try:
                plain, label = self._open(key, value)
            except TransformError as error:
                return self._hidden(change, str(error))
        self._set_label(key, label)
        if self.unreadable:
            self.unreadable.pop(key, None)
        return change if plain is value else change._replace(value=plain)

    def _hidden(self, change: Change, why: str) -> Change:
        """What a watch gets instead of a value that cannot be read: the object seems to go."""
        seen = change.previous and change.key not in self.unreadable
        self._note(change.key, why)
        # Of a key that readers have not seen they need to know nothing but the revision.
        return change._replace(value=None, key=change.key if seen else f"/unreadable{change.key}")

    def _open(self, key: str, value: bytes) -> tuple[bytes, str]:
        transformer = self._transformers.of_key(key)
        if transformer is not None:
            return transformer.open(value, key.encode())
        return _PLAIN.open(value, b"") if value.startswith(ENCRYPTED) else (value, "")

    def _set_label(self, key: str, label: str) -> None:
        if label:
            self._labels[key] = label
        elif self._labels:
            self._labels.pop(key, None)

    def _note(self, key: str, why: str) -> None:
        if self.unreadable.get(key) != why:
            log.error("cannot read %s: %s", key, why)
        self.unreadable[key] = why

    async def _fetch_keys(self, values: Iterable[tuple[str, bytes]]) -> None:
        """Have KMS plugins decrypt the keys of ``values`` first, for opening itself waits for nobody."""
        if self._transformers.kms:
            found = [value for _, value in values]
            for provider in self._transformers.kms:
                await provider.prepare(found)

    # -- the rest

    async def compact(self, revision: int) -> None:
        """See ``Store.compact``."""
        await self._store.compact(revision)

    async def close(self) -> None:
        """Close the store, then the transformers."""
        await self._store.close()
        await self._transformers.close()

    async def __aenter__(self) -> Self:
        await self._store.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


class _OpenedWatch:
    """A watch of the real store, opened on the way."""

    def __init__(
        self,
        store: EncryptedStore,
        watch: Watch,
        revision: int,
        on_close: Callable[[_OpenedWatch], None],
    ) -> None:
        self._store = store
        self._watch = watch
        self._seen = revision
        self._on_close = on_close

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[Change]:
        batch: Sequence[Change] = ()
        try:
            if not self._store.reload_due:
                batch = await self._watch.__anext__()
        except StopAsyncIteration:
            if not self._store.reload_due:
                raise
        if self._store.reload_due:
            raise Compacted(self._seen, self._store.revision)
        self._seen = batch[-1].revision
        return await self._store.opened(batch)

    def wake(self) -> None:
        """End the wait for changes, so that the reader learns that it has to load everything again."""
        self._watch.close()

    def close(self) -> None:
        self._on_close(self)
        self._watch.close()


def unreadable(key: str, why: str) -> errors.InternalError:
    """The answer to a list that has to show ``key``, in Kubernetes' words."""
    return errors.InternalError(f'Internal error occurred: unable to transform key "{key}": {why}')
