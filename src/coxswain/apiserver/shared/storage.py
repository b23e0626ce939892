"""Caches over a store that other API servers write to, too.

- ``catch_up`` asks the store for its newest revision and waits until the caches have it: an answer then shows what was
  acknowledged anywhere before the request came. Requests of one moment share one question.
- A service is committed together with claims on its addresses and ports (service_claims.py): two servers cannot give out the
  same one. The server that comes second gets ``Contended``.
- What the store does not answer is answered 503 where nothing was done, and 504 where that is not known.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from coxswain.api import errors
from coxswain.apiserver.shared.service_claims import PORTS, Claims
from coxswain.apiserver.storage import Sealing, Storage
from coxswain.apiserver.watchcache import Pending
from coxswain.base import clock
from coxswain.base.errors import CoxswainError
from coxswain.store.etcd import MAX_OPS
from coxswain.store.interface import CompareFailed, Op, Store, StoreError, StoreUnavailable, ValueTooLarge

log = logging.getLogger(__name__)

#: Seconds that a request waits for the caches to get as far as the store is.
_PATIENCE: Final = 3.0
#: Seconds between looks for claims that nobody has.
_MENDING: Final = 180.0
#: Seconds between attempts to load everything again.
_RELOAD: Final = 1.0


class Contended(CoxswainError):
    """Another server has given out what this commit claims; it is known here once ``revision`` is."""

    def __init__(self, key: str, revision: int) -> None:
        super().__init__(f"{key} is taken")
        self.revision = revision


class SharedStorage(Storage):
    """See the module's text."""

    def __init__(
        self, store: Store, claims: Claims, *, ring_events: int = 8192, sealing: Sealing | None = None
    ) -> None:
        super().__init__(store, ring_events=ring_events, sealing=sealing)
        self._claims = claims

    async def catch_up(self) -> None:
        """Wait until the caches show every commit that was acknowledged to anybody before this call."""
        try:
            revision = await self.store.newest()
        except StoreError as error:
            raise unavailable(error) from None
        if revision > self.revision:
            try:
                await self.wait_for(revision, _PATIENCE)
            except TimeoutError:
                why = f"the watch cache is at revision {self.revision}, the store at {revision}"
                raise errors.ServiceUnavailable(why, retry_after=1) from None

    async def commit(self, op: Op, pending: Pending | None) -> int:
        """As ``Storage.commit``, in words for clients; a service with its claims. Raises ``Contended``."""
        try:
            claims = self._claims_of(op) if op.key.startswith(self._claims.services) else ()
            if not claims:
                return await super().commit(op, pending)
            return await self._commit_with(op, claims, pending)
        except StoreUnavailable as error:
            raise unavailable(error) from None
        except ValueTooLarge as error:
            raise errors.RequestTooLarge(str(error)) from None

    async def commit_each(self, writes: Sequence[tuple[Op, Pending]]) -> Sequence[int | Exception]:
        """As ``Storage.commit_each``; each outcome is what ``commit`` here returns or raises."""
        outcomes = await asyncio.gather(*(self.commit(*write) for write in writes), return_exceptions=True)
        for outcome in outcomes:
            if not isinstance(outcome, int | Exception):
                raise outcome
        return outcomes  # type: ignore[return-value]

    async def _commit_with(self, op: Op, claims: Sequence[Op], pending: Pending | None) -> int:
        if len(claims) >= MAX_OPS:
            why = f"a service may claim {MAX_OPS - 1} addresses and node ports at one time, not {len(claims)}"
            raise errors.RequestTooLarge(why)
        if pending is not None:
            self._pending[op.key] = pending
        try:
            return await super().commit_many((op, *claims))
        except CompareFailed as failure:
            if failure.op_index == 0:
                raise
            taken = failure.current
            raise Contended(claims[failure.op_index - 1].key, taken.modified if taken else 0) from None
        finally:
            if pending is not None and self._pending.get(op.key) is pending:
                del self._pending[op.key]

    def _claims_of(self, op: Op) -> Sequence[Op]:
        cache = self.caches.get(self._claims.services)
        item = cache.items.get(op.key[len(self._claims.services) :]) if cache is not None else None
        return self._claims.beside(op, item.decode() if item is not None else None)

    async def mend_claims(self) -> int:
        """Remove claims on ports that no service has; how many. (Those on addresses are mended as objects.)"""
        page = await self.store.list(PORTS)
        await self.catch_up()
        cache = self.caches[self._claims.services]
        leftover = self._claims.leftover(page.entries, [item.decode() for item in cache.scan()])
        for op in leftover:
            log.warning("%s was claimed by no service", op.key)
            with contextlib.suppress(CompareFailed):
                await self.store.commit([op])
        return len(leftover)

    async def mend_regularly(self) -> None:
        """Look for such claims now and then, until cancelled."""
        while True:
            await self.mend_claims()
            await clock.sleep(_MENDING)

    async def commit_many(self, ops: Sequence[Op]) -> int:
        try:
            return await super().commit_many(ops)
        except StoreUnavailable as error:
            raise unavailable(error) from None

    async def _reload(self) -> None:
        while True:
            try:
                return await super()._reload()
            except StoreError as error:
                log.warning("cannot load everything again yet: %s", error)
                await clock.sleep(_RELOAD)


def unavailable(error: StoreError) -> errors.ApiError:
    """What a client is told; only what was certainly not done is it asked to do again."""
    if isinstance(error, StoreUnavailable) and error.undecided:
        return errors.Timeout(f"the store did not answer in time, the change may have been made: {error}")
    return errors.ServiceUnavailable(f"the store does not answer: {error}", retry_after=1)
