"""A store behind encryption keeps the contract: nobody above it can tell."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from hypothesis import given, settings

from coxswain.apiserver.encryption.providers import Identity, Keyed, Transformer
from coxswain.apiserver.encryption.resources import Transformers
from coxswain.apiserver.encryption.sealedstore import EncryptedStore
from coxswain.store.interface import Op, Store
from coxswain.store.memory import MemoryStore
from coxswain.store.sqlite import SqliteStore
from store.contract import StoreContract
from store.model import HISTORIES, Model, Step, compare, play


def everything() -> Transformers:
    """Keys for all resources."""
    return Transformers({("*", "*"): Transformer([Keyed("aesgcm", [("key1", bytes(32))]), Identity()])})


class TestEncryptedStore(StoreContract):
    def open(self, *, max_watch_changes: int = 100_000) -> AbstractAsyncContextManager[Store]:
        return EncryptedStore(MemoryStore(max_watch_changes=max_watch_changes), everything())


@given(HISTORIES)
@settings(deadline=None, max_examples=40)
def test_random_histories_agree_with_the_model(history: list[Step]) -> None:
    async def main() -> None:
        async with EncryptedStore(MemoryStore(), everything()) as store:
            model = Model()
            await play(store, model, history)
            await compare(store, model)

    asyncio.run(main())


async def test_histories_from_before_the_start_are_opened(tmp_path: Path) -> None:
    keys = [f"/registry/secrets/default/{number}" for number in range(5)]
    below = await SqliteStore.open(tmp_path / "store.db")
    async with EncryptedStore(below, everything()) as store:
        for key in keys:
            await store.commit([Op(key, b'{"plain":true}')])
    below = await SqliteStore.open(tmp_path / "store.db")
    async with EncryptedStore(below, everything()) as store:
        watch = store.watch("/registry/", 0)
        seen = [change for _ in keys for change in await watch.__anext__()]
        assert [(change.key, change.value) for change in seen] == [(key, b'{"plain":true}') for key in keys]
        watch.close()
