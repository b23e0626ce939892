"""Compaction of an etcd that several API servers share: each interval one of them does it.

The turn is the version of the key ``compact_rev_key``. Who finds it as it was one interval ago writes the revision of
that time to it, which makes the next version, and compacts up to there; the others see that it was done. It is
kube-apiserver's own protocol, so both may run over one etcd. Revisions of the last one to two intervals are kept.
"""

from __future__ import annotations

import logging
from typing import Final

from coxswain._generated.messages import message
from coxswain.base import clock
from coxswain.store.etcd_client import COMPACT, TXN, EtcdClient, NotAvailableAtRevision
from coxswain.store.interface import StoreError

log = logging.getLogger(__name__)

KEY: Final = b"compact_rev_key"

_TXN_REQUEST, _TXN_RESPONSE = message("etcdserverpb.TxnRequest"), message("etcdserverpb.TxnResponse")
_COMPACT_REQUEST = message("etcdserverpb.CompactionRequest")
_COMPACT_RESPONSE = message("etcdserverpb.CompactionResponse")
_VERSION: Final = 0


class Compactor:
    """One API server's part in it."""

    def __init__(self, client: EtcdClient) -> None:
        self._client = client
        self._turn = 0
        self._revision = 0

    async def run(self, interval: float) -> None:
        """Take turns each ``interval`` seconds, until cancelled."""
        while True:
            await clock.sleep(interval)
            try:
                await self.take_turn()
            except StoreError as error:
                log.warning("etcd was not compacted this time: %s", error)

    async def take_turn(self) -> int:
        """Compact up to the revision of the last turn if nobody else did; the revision forgotten up to, 0 for none."""
        answer = await self._client.call(TXN, self._request(), _TXN_RESPONSE, writes=True)
        if not answer.succeeded:
            found = answer.responses[0].response_range.kvs
            self._turn = found[0].version if found else 0
            self._revision = answer.header.revision
            return 0
        self._turn += 1
        compacted, self._revision = self._revision, answer.header.revision
        if compacted:
            await compact(self._client, compacted)
            log.debug("etcd was compacted at revision %d", compacted)
        return compacted

    def _request(self) -> object:
        return _TXN_REQUEST(
            compare=[{"target": _VERSION, "key": KEY, "version": self._turn}],
            success=[{"request_put": {"key": KEY, "value": b"%d" % self._revision}}],
            failure=[{"request_range": {"key": KEY}}],
        )


async def compact(client: EtcdClient, revision: int) -> None:
    """Have etcd forget what was overwritten before ``revision``. Raises ``ValueError`` for one in the future."""
    try:
        await client.call(COMPACT, _COMPACT_REQUEST(revision=revision), _COMPACT_RESPONSE)
    except NotAvailableAtRevision as error:
        if error.future:
            raise ValueError(f"revision {revision} is in the future") from None
