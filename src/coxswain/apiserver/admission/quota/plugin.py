"""The plugin ResourceQuota: judges at once, and waits only for a charge that has to be written."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from functools import partial

from coxswain.api import errors
from coxswain.api.names import GVR, Object
from coxswain.apiserver.admission.quota.evaluate import QUOTAS, additions, is_charged
from coxswain.apiserver.admission.quota.ledger import Ledger
from coxswain.apiserver.admission.quota.limited import Limited
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.registry import Registry
from coxswain.apiserver.watchcache import Pending
from coxswain.store.interface import Op, StoreClosed, StoreFull


class ResourceQuota(Plugin):
    """See the package's text. Without a ``ledger`` it only refuses."""

    NAME = "ResourceQuota"
    READS = (QUOTAS,)

    def __init__(self, lookup: Lookup, ledger: Ledger | None = None, limited: Iterable[Limited] = ()) -> None:
        self._lookup = lookup
        self._ledger = ledger
        self._limited: dict[str, list[Limited]] = {}
        for one in limited:
            self._limited.setdefault(one.source, []).append(one)

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return is_charged(operation, resource, subresource)

    def repeats(self, request: Request) -> bool:
        return not self._limited and next(iter(self._lookup.list(QUOTAS, request.namespace)), None) is None

    def validate(self, request: Request) -> Awaitable[None] | None:
        if not request.namespace:
            return None
        quotas = list(self._lookup.list(QUOTAS, request.namespace))
        if not quotas and not self._limited:
            return None
        limited = self._limited.get(request.resource.group_resource, ())
        if not additions(request, quotas, limited):
            return None
        if request.dry_run or self._ledger is None or self._is_vain(request):
            return None
        return self._ledger.charge(request.namespace, partial(additions, request))

    async def close(self) -> None:
        if self._ledger is not None:
            await self._ledger.close()

    def _is_vain(self, request: Request) -> bool:
        """Whether the object to be created exists already: that will be refused, and need not be charged."""
        if request.operation != "CREATE" or not request.name:
            return False
        return self._lookup.raw(request.resource, request.namespace, request.name) is not None


class QuotaWriter:
    """Stores quotas as the registry would, without asking admission again."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def __call__(self, quota: Object, revision: int) -> None:
        """Replace the quota that is at ``revision``. Raises ``CompareFailed`` and ``ApiError``."""
        entry = self._registry.get(QUOTAS)
        assert entry is not None and entry.cache is not None
        metadata = quota["metadata"]
        value = entry.encode(quota)
        pending = Pending(value, metadata.get("labels") or {}, entry.cache.spec.field_values(quota))
        try:
            op = Op(entry.key(metadata["namespace"], metadata["name"]), value, revision)
            await self._registry.storage.commit(op, pending)
        except StoreFull as error:
            raise errors.InternalError(f"no space is left in the store: {error}", code=507) from error
        except StoreClosed as error:
            raise errors.ServiceUnavailable(f"the store is closed: {error}", retry_after=1) from error

    async def catch_up(self) -> None:
        """Wait until the lookup shows every acknowledged write."""
        await self._registry.storage.catch_up()
