"""The store's contract as tests: a backend's test module subclasses ``StoreContract`` and says how to open.

Numbers in the names refer to the guarantees listed in ``coxswain.store.interface``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from coxswain.store.interface import (
    ABSENT,
    ANY,
    Change,
    Compacted,
    CompareFailed,
    Op,
    SlowWatcher,
    Store,
    StoreClosed,
    Watch,
)


async def take(watch: Watch, count: int) -> list[Change]:
    """The next ``count`` changes of a watch."""
    seen: list[Change] = []
    while len(seen) < count:
        seen.extend(await asyncio.wait_for(watch.__anext__(), 10))
    return seen


def facts(changes: Sequence[Change]) -> list[tuple[str, bytes | None, int]]:
    return [(change.key, change.value, change.revision) for change in changes]


class StoreContract:
    """Every backend passes these."""

    def open(self, *, max_watch_changes: int = 100_000) -> AbstractAsyncContextManager[Store]:
        raise NotImplementedError

    async def test_an_empty_store_is_at_revision_zero(self) -> None:
        async with self.open() as store:
            assert store.revision == 0
            assert await store.get("/a") is None
            page = await store.list("/")
            assert (page.entries, page.revision, page.remaining) == ([], 0, 0)

    async def test_1_each_commit_is_the_next_revision(self) -> None:
        async with self.open() as store:
            assert await store.commit([Op("/a", b"1")]) == 1
            assert await store.commit([Op("/b", b"2"), Op("/c", b"3")]) == 2
            assert await store.commit([Op("/a", None)]) == 3
            assert store.revision == 3

    async def test_an_entry_knows_when_it_was_created_and_modified(self) -> None:
        async with self.open() as store:
            await store.commit([Op("/a", b"1")])
            await store.commit([Op("/a", b"2")])
            entry = await store.get("/a")
            assert entry is not None
            assert (entry.value, entry.created, entry.modified) == (b"2", 1, 2)
            await store.commit([Op("/a", None)])
            await store.commit([Op("/a", b"3")])
            entry = await store.get("/a")
            assert entry is not None
            assert (entry.created, entry.modified) == (4, 4)

    async def test_a_commit_that_changes_nothing_has_no_revision(self) -> None:
        async with self.open() as store:
            await store.commit([Op("/a", b"1")])
            assert await store.commit([]) == 1
            assert await store.commit([Op("/gone", None)]) == 1
            assert store.revision == 1

    async def test_3_4_a_failed_comparison_changes_nothing_and_shows_what_is_there(self) -> None:
        async with self.open() as store:
            await store.commit([Op("/a", b"1")])
            with pytest.raises(CompareFailed) as caught:
                await store.commit([Op("/b", b"2", ABSENT), Op("/a", b"9", ABSENT)])
            assert caught.value.op_index == 1
            assert caught.value.current is not None
            assert (caught.value.current.value, caught.value.current.modified) == (b"1", 1)
            assert await store.get("/b") is None
            assert store.revision == 1
            with pytest.raises(CompareFailed) as caught:
                await store.commit([Op("/nothing", b"x", 7)])
            assert caught.value.current is None

    async def test_4_of_concurrent_writers_with_one_expectation_one_wins(self) -> None:
        async with self.open() as store:
            await store.commit([Op("/a", b"0")])
            outcomes = await asyncio.gather(
                *(store.commit([Op("/a", str(i).encode(), 1)]) for i in range(20)), return_exceptions=True
            )
            assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CompareFailed"] * 19 + ["int"]

    async def test_a_key_may_stand_in_a_commit_only_once(self) -> None:
        async with self.open() as store:
            with pytest.raises(ValueError, match="once"):
                await store.commit([Op("/a", b"1"), Op("/a", b"2")])

    async def test_list_is_in_key_order_and_pages_through(self) -> None:
        async with self.open() as store:
            for name in ("c", "a", "e", "b", "d"):
                await store.commit([Op(f"/x/{name}", name.encode())])
            await store.commit([Op("/y/z", b"other")])
            first = await store.list("/x/", limit=2)
            assert [entry.key for entry in first.entries] == ["/x/a", "/x/b"]
            assert (first.remaining, first.revision) == (3, 6)
            rest = await store.list("/x/", after="/x/b", revision=first.revision)
            assert [entry.key for entry in rest.entries] == ["/x/c", "/x/d", "/x/e"]
            assert rest.remaining == 0

    async def test_6_list_at_an_earlier_revision_shows_that_state(self) -> None:
        async with self.open() as store:
            await store.commit([Op("/a", b"1")])
            await store.commit([Op("/b", b"1")])
            await store.commit([Op("/a", b"2")])
            await store.commit([Op("/b", None)])
            states = [
                [(entry.key, entry.value) for entry in (await store.list("/", revision=revision)).entries]
                for revision in (1, 2, 3, 4)
            ]
            assert states == [
                [("/a", b"1")],
                [("/a", b"1"), ("/b", b"1")],
                [("/a", b"2"), ("/b", b"1")],
                [("/a", b"2")],
            ]
            with pytest.raises(ValueError, match="future"):
                await store.list("/", revision=5)

    async def test_5_a_watch_replays_the_past_and_goes_on_live_without_gap(self) -> None:
        async with self.open() as store:
            await store.commit([Op("/a", b"1")])
            await store.commit([Op("/b", b"2"), Op("/other", b"x"), Op("/bb", b"3")])
            watch = store.watch("/b", 0)
            await store.commit([Op("/b", None)])
            assert facts(await take(watch, 3)) == [("/b", b"2", 2), ("/bb", b"3", 2), ("/b", None, 3)]
            await store.commit([Op("/b", b"4", ABSENT)])
            change = (await take(watch, 1))[0]
            assert (change.revision, change.created, change.previous) == (4, 4, 0)
            await store.commit([Op("/b", b"5", 4)])
            change = (await take(watch, 1))[0]
            assert (change.revision, change.created, change.previous) == (5, 4, 4)
            watch.close()

    async def test_3_a_watcher_gets_one_commit_in_one_batch(self) -> None:
        async with self.open() as store:
            live = store.watch("/", 0)
            await store.commit([Op("/a", b"1"), Op("/b", b"2")])
            await store.commit([Op("/c", b"3")])
            past = store.watch("/", 0)
            for watch in (live, past):
                assert [change.key for change in await watch.__anext__()] == ["/a", "/b"]
                assert [change.key for change in await watch.__anext__()] == ["/c"]

    async def test_5_a_watch_from_now_sees_only_what_comes(self) -> None:
        async with self.open() as store:
            revision = await store.commit([Op("/a", b"1")])
            watch = store.watch("/", revision)
            await store.commit([Op("/a", b"2")])
            assert facts(await take(watch, 1)) == [("/a", b"2", 2)]

    async def test_5_a_closed_watch_ends(self) -> None:
        async with self.open() as store:
            watch = store.watch("/", 0)
            waiting = asyncio.ensure_future(watch.__anext__())
            await asyncio.sleep(0)
            watch.close()
            with pytest.raises(StopAsyncIteration):
                await waiting
            watch.close()

    async def test_7_a_slow_watcher_is_cut_off_and_the_writer_is_not_held_up(self) -> None:
        async with self.open(max_watch_changes=10) as store:
            watch = store.watch("/", 0)
            for number in range(20):
                await store.commit([Op(f"/{number}", b"x")])
            with pytest.raises(SlowWatcher):
                await take(watch, 20)
            again = store.watch("/", 10)
            assert [change.revision for change in await take(again, 10)] == list(range(11, 21))

    async def test_compaction_forgets_the_past_and_nothing_else(self) -> None:
        async with self.open() as store:
            for number in range(5):
                await store.commit([Op("/a", str(number).encode())])
            await store.commit([Op("/b", b"x")])
            await store.commit([Op("/b", None)])
            await store.commit([Op("/a", b"new")])
            await store.compact(7)
            assert store.oldest == 7
            assert [entry.value for entry in (await store.list("/", revision=7)).entries] == [b"4"]
            assert [entry.value for entry in (await store.list("/")).entries] == [b"new"]
            with pytest.raises(Compacted) as caught:
                await store.list("/", revision=6)
            assert caught.value.oldest == 7
            with pytest.raises(Compacted):
                await store.watch("/", 6).__anext__()
            assert facts(await take(store.watch("/", 7), 1)) == [("/a", b"new", 8)]
            await store.compact(3)
            assert store.oldest == 7

    async def test_a_closed_store_refuses_and_ends_its_watches(self) -> None:
        async with self.open() as store:
            watch = store.watch("/", 0)
            await store.commit([Op("/a", b"1")])
            await store.close()
            await store.close()
            assert len(await take(watch, 1)) == 1
            with pytest.raises(StoreClosed):
                await watch.__anext__()
            with pytest.raises(StoreClosed):
                await store.commit([Op("/a", b"2", ANY)])
