"""The etcd backend keeps the contract, against a real etcd."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from coxswain.store.etcd import EtcdSettings, EtcdStore
from coxswain.store.interface import Store
from store.contract import StoreContract
from store.etcd_server import Etcd, needs_etcd, running
from store.model import HISTORIES, Model, Step, compare, play

pytestmark = needs_etcd

_numbers = itertools.count()


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with running() as server:
        yield server


@asynccontextmanager
async def opened(etcd: Etcd, **changes: object) -> AsyncIterator[EtcdStore]:
    """A store whose keys nobody else uses."""
    base = EtcdSettings((etcd.url,), prefix=f"/t{next(_numbers)}", compaction_interval=0.0)
    async with await EtcdStore.open(replace(base, **changes), root="") as store:  # type: ignore[arg-type]
        yield store


class TestEtcdStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, etcd: Etcd) -> None:
        self.etcd = etcd

    def open(self, *, max_watch_changes: int = 100_000) -> AbstractAsyncContextManager[Store]:
        return opened(self.etcd, max_watch_changes=max_watch_changes)


@given(HISTORIES)
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_histories_on_etcd_agree_with_the_model(etcd: Etcd, history: list[Step]) -> None:
    async def main() -> None:
        async with opened(etcd) as store:
            model = Model(base=store.revision)
            await play(store, model, history)
            await compare(store, model)

    asyncio.run(main())
