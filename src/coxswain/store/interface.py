"""The store's contract.

A store maps keys to byte values under one cluster-wide revision counter (etcd's model):

    commit(ops)              all ops or none; every op is a compare-and-swap; returns the new revision
    commit_each(ops)         each op a commit of its own, for many writes of one moment
    get(key)                 the newest value
    list(prefix, ...)        a consistent page of a prefix, now or at an earlier revision
    watch(prefix, revision)  every change after ``revision``, once, in order

Guarantees that each backend keeps (tests/store/contract.py):
1. Revisions grow with each commit and are never used twice, not even after a crash. Where nobody else writes they
   start at 1 and grow by one.
2. A commit that was acknowledged survives ``kill -9`` and power loss (``memory`` excepted: it says so).
3. A commit is atomic: other readers and watchers see all of its ops or none; a watcher gets the ops of one
   commit in one batch.
4. An op whose comparison fails makes the whole commit fail with ``CompareFailed`` and changes nothing.
5. A watch from revision R delivers each change with revision > R exactly once, in revision order, or
   raises ``Compacted``; it never skips silently. A watcher that reads too slowly is ended with ``SlowWatcher``.
6. ``list`` at an uncompacted revision shows exactly the state at that revision.
7. Backends bound their memory: queued commits wait (back-pressure), watch buffers are limited.

A ``shared`` store (etcd) has other writers. What they acknowledged is behind the revision that ``newest`` returns, and
a watch also tells of revisions in which nothing happened that it could show: as a change without key or value.

Keys and values follow Kubernetes' layout (``/registry/pods/<namespace>/<name>``, JSON without
``metadata.resourceVersion``: the revision of the key is the resource version).

    StoreError
      CompareFailed     the key is not at the expected revision; has .op_index and .current
      Compacted         the revision is no longer kept; has .oldest
      SlowWatcher       the watcher's buffer ran over
      StoreClosed       the store is closed or failed for good
      StoreFull         no space left; nothing was changed
      ValueTooLarge     the store does not take so much in one commit; nothing was changed
      StoreUnavailable  a shared store does not answer now; .undecided: what was asked for may have been done
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

from coxswain.base.errors import CoxswainError

# Made once or more for each write: tuples, because a frozen dataclass takes five times as long to make.

#: ``Op.expect``: write whatever is there.
ANY = -1
#: ``Op.expect``: the key must not exist.
ABSENT = 0


class Entry(NamedTuple):
    """A key's value. Revisions: ``created`` when the key appeared, ``modified`` when it last changed."""

    key: str
    value: bytes
    created: int
    modified: int


class Op(NamedTuple):
    """One write. ``value`` None deletes. ``expect``: a modified revision, ``ABSENT`` or ``ANY``.

    Deleting an absent key with ``ANY`` changes nothing and makes no event. A commit names a key once.
    """

    key: str
    value: bytes | None
    expect: int = ANY


class Change(NamedTuple):
    """One key's change in a commit. ``value`` is None for a deletion.

    ``created`` is the revision at which the key appeared (this one: it is new), ``previous`` the revision of
    the key's value before this change (0: there was none). The value before is not repeated: whoever needs
    it has seen it.
    """

    key: str
    value: bytes | None
    revision: int
    created: int
    previous: int


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a prefix at ``revision``; ``remaining`` entries follow after the last one here."""

    entries: list[Entry]
    revision: int
    remaining: int


class StoreError(CoxswainError):
    """Base of the store's errors."""


class CompareFailed(StoreError):
    """An op found its key at another revision; nothing was written."""

    def __init__(self, op_index: int, key: str, expected: int, current: Entry | None) -> None:
        found = "absent" if current is None else f"at revision {current.modified}"
        wanted = {ANY: "anything", ABSENT: "absence"}.get(expected, f"revision {expected}")
        super().__init__(f"{key}: expected {wanted}, found it {found}")
        self.op_index = op_index
        self.current = current


class Compacted(StoreError):
    """The revision asked for is older than ``oldest``, the oldest one kept."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"revision {revision} has been compacted; the oldest kept is {oldest}")
        self.oldest = oldest


class SlowWatcher(StoreError):
    """A watcher did not keep up and was cut off; watch again from the last revision seen."""


class StoreClosed(StoreError):
    """The store was closed or cannot go on; the message says why."""


class StoreFull(StoreError):
    """No space is left where the store lives; nothing was changed."""


class ValueTooLarge(StoreError):
    """A commit is larger than the store takes; nothing was changed."""


class StoreUnavailable(StoreError):
    """The store does not answer at present; it may again. ``undecided``: nobody knows whether the commit was done."""

    def __init__(self, message: str, *, undecided: bool = False) -> None:
        super().__init__(message)
        self.undecided = undecided


def passed(revision: int) -> Change:
    """What a watch of a shared store says of a revision that changed nothing under its prefix."""
    return Change("", None, revision, 0, 0)


async def side_by_side(store: Store, ops: Sequence[Op]) -> Sequence[int | Exception]:
    """``Store.commit_each`` of a store that gains nothing by knowing of all."""
    outcomes = await asyncio.gather(*(store.commit((op,)) for op in ops), return_exceptions=True)
    for outcome in outcomes:
        if not isinstance(outcome, int | Exception):
            raise outcome
    return outcomes  # type: ignore[return-value]


class Watch(Protocol):
    """A running watch: iterate over batches of one or more whole commits; ``close`` it when done."""

    def __aiter__(self) -> AsyncIterator[Sequence[Change]]: ...

    async def __anext__(self) -> Sequence[Change]: ...

    def close(self) -> None:
        """Stop; further iteration ends. Idempotent."""
        ...


class Store(Protocol):
    """See the module's text for the guarantees."""

    @property
    def revision(self) -> int:
        """The revision of the newest acknowledged commit (0 in an empty store)."""
        ...

    @property
    def oldest(self) -> int:
        """The oldest revision that ``list`` and ``watch`` still know."""
        ...

    @property
    def shared(self) -> bool:
        """Whether others write, too: then ``revision`` alone does not say how far the store is."""
        ...

    @property
    def problem(self) -> str:
        """Why the store does not answer at present; empty while it does."""
        ...

    async def newest(self) -> int:
        """A revision not older than any commit that was acknowledged, to whomever, before this was called.

        A watch of everything in the store reaches it. Raises ``StoreUnavailable``.
        """
        ...

    async def get(self, key: str) -> Entry | None:
        """The newest entry of ``key``."""
        ...

    async def list(self, prefix: str, *, revision: int = 0, limit: int = 0, after: str = "") -> Page:
        """Entries with ``prefix`` in key order, at most ``limit`` (0: all), behind key ``after``.

        ``revision`` 0 means now. Raises ``Compacted``, and ``ValueError`` for a revision in the future.
        """
        ...

    async def commit(self, ops: Sequence[Op]) -> int:
        """Apply all ``ops`` atomically; the revision they got. Raises ``CompareFailed``, ``StoreFull``.

        A commit that changes nothing (no ops, or deletions of absent keys) returns the present revision.
        """
        ...

    async def commit_each(self, ops: Sequence[Op]) -> Sequence[int | Exception]:
        """Apply each of ``ops`` as a commit of its own; what ``commit`` would have returned or raised of each.

        For many writes of one moment: they cost less than as many calls of ``commit`` side by side, which have no
        order among them either. Raises ``StoreClosed``.
        """
        ...

    def watch(self, prefix: str, revision: int) -> Watch:
        """Changes with ``prefix`` after ``revision``. Raises ``Compacted`` at once or on first iteration."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget what was overwritten or deleted at or before ``revision``."""
        ...

    async def close(self) -> None:
        """Finish queued commits, end the watches, release the lock. Idempotent."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: object) -> None: ...
