"""The memory backend keeps the contract."""

import asyncio
from contextlib import AbstractAsyncContextManager

from hypothesis import given, settings

from coxswain.store.interface import Store
from coxswain.store.memory import MemoryStore
from store.contract import StoreContract
from store.model import HISTORIES, Model, Step, compare, play


class TestMemoryStore(StoreContract):
    def open(self, *, max_watch_changes: int = 100_000) -> AbstractAsyncContextManager[Store]:
        return MemoryStore(max_watch_changes=max_watch_changes)


@given(HISTORIES)
@settings(deadline=None, max_examples=60)
def test_random_histories_agree_with_the_model(history: list[Step]) -> None:
    async def main() -> None:
        async with MemoryStore() as store:
            model = Model()
            await play(store, model, history)
            await compare(store, model)

    asyncio.run(main())
