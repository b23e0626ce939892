"""The store's contract as tests: a backend's test module subclasses ``StoreContract`` and says how to open.

Revisions are counted from ``base``, that of the store as it was opened: one that others share has a past. Numbers in the names refer to the guarantees listed in ``coxswain.store.interface``.
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

    async def test_an_empty_store_has_nothing_at_its_revision(self) -> None:
        async with self.open() as store:
            base = store.revision
            assert base == 0 or store.shared
            assert await store.get("/a") is None
            page = await store.list("/")
            assert (page.entries, page.revision, page.remaining) == ([], base, 0)
            assert await store.newest() == base

    async def test_1_each_commit_is_the_next_revision(self) -> None:
        async with self.open() as store:
            base = store.revision
            assert await store.commit([Op("/a", b"1")]) == base + 1
            assert await store.commit([Op("/b", b"2"), Op("/c", b"3")]) == base + 2
            assert await store.commit([Op("/a", None)]) == base + 3
            assert store.revision == await store.newest() == base + 3

    async def test_an_entry_knows_when_it_was_created_and_modified(self) -> None:
        async with self.open() as store:
            base = store.revision
            await store.commit([Op("/a", b"1")])
            await store.commit([Op("/a", b"2")])
            entry = await store.get("/a")
            assert entry is not None
            assert (entry.value, entry.created, entry.modified) == (b"2", base + 1, base + 2)
            await store.commit([Op("/a", None)])
            await store.commit([Op("/a", b"3")])
            entry = await store.get("/a")
            assert entry is not None
            assert (entry.created, entry.modified) == (base + 4, base + 4)

    async def test_a_commit_that_changes_nothing_has_no_revision(self) -> None:
        async with self.open() as store:
            base = store.revision
            await store.commit([Op("/a", b"1")])
            assert await store.commit([]) == base + 1
            assert await store.commit([Op("/gone", None)]) == base + 1
            assert store.revision == base + 1

    async def test_3_4_a_failed_comparison_changes_nothing_and_shows_what_is_there(self) -> None:
        async with self.open() as store:
            base = store.revision
            await store.commit([Op("/a", b"1")])
            with pytest.raises(CompareFailed) as caught:
                await store.commit([Op("/b", b"2", ABSENT), Op("/a", b"9", ABSENT)])
            assert caught.value.op_index == 1
            assert caught.value.current is not None
            assert (caught.value.current.value, caught.value.current.modified) == (b"1", base + 1)
            assert await store.get("/b") is None
            assert store.revision == base + 1
            with pytest.raises(CompareFailed) as caught:
                await store.commit([Op("/nothing", b"x", 7)])
            assert caught.value.current is None

    async def test_4_of_concurrent_writers_with_one_expectation_one_wins(self) -> None:
        async with self.open() as store:
            first = await store.commit([Op("/a", b"0")])
            outcomes = await asyncio.gather(
                *(store.commit([Op("/a", str(i).encode(), first)]) for i in range(20)), return_exceptions=True
            )
            assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CompareFailed"] * 19 + ["int"]

    async def test_4_of_many_commits_of_one_moment_each_is_judged_alone(self) -> None:
        async with self.open() as store:
            base = await store.commit([Op("/a", b"0")])
            watch = store.watch("/", base)
            ops = [Op("/a", b"1", base), Op("/b", b"2", ABSENT), Op("/c", b"3", 99), Op("/d", None, ANY)]
            done, made, failed, nothing = await store.commit_each(ops)
            assert (
                isinstance(done, int)
                and isinstance(made, int)
                and sorted((done, made)) == [base + 1, base + 2]
            )
            assert isinstance(failed, CompareFailed) and failed.current is None
            assert isinstance(nothing, int) and base <= nothing <= base + 2
            assert {change.key: change.value for change in await take(watch, 2)} == {"/a": b"1", "/b": b"2"}
            twice = await store.commit_each([Op("/f", b"1", ABSENT), Op("/f", b"2", ABSENT)])
            assert sorted(type(outcome).__name__ for outcome in twice) == ["CompareFailed", "int"]
            assert await store.commit_each([]) == []
            watch.close()

    async def test_a_key_may_stand_in_a_commit_only_once(self) -> None:
        async with self.open() as store:
            with pytest.raises(ValueError, match="once"):
                await store.commit([Op("/a", b"1"), Op("/a", b"2")])

    async def test_list_is_in_key_order_and_pages_through(self) -> None:
        async with self.open() as store:
            base = store.revision
            for name in ("c", "a", "e", "b", "d"):
                await store.commit([Op(f"/x/{name}", name.encode())])
            await store.commit([Op("/y/z", b"other")])
            first = await store.list("/x/", limit=2)
            assert [entry.key for entry in first.entries] == ["/x/a", "/x/b"]
            assert (first.remaining, first.revision) == (3, base + 6)
            rest = await store.list("/x/", after="/x/b", revision=first.revision)
            assert [entry.key for entry in rest.entries] == ["/x/c", "/x/d", "/x/e"]
            assert rest.remaining == 0

    async def test_6_list_at_an_earlier_revision_shows_that_state(self) -> None:
        async with self.open() as store:
            base = store.revision
            await store.commit([Op("/a", b"1")])
            await store.commit([Op("/b", b"1")])
            await store.commit([Op("/a", b"2")])
            await store.commit([Op("/b", None)])
            states = [
                [(entry.key, entry.value) for entry in (await store.list("/", revision=base + step)).entries]
                for step in (1, 2, 3, 4)
            ]
            assert states == [
                [("/a", b"1")],
                [("/a", b"1"), ("/b", b"1")],
                [("/a", b"2"), ("/b", b"1")],
                [("/a", b"2")],
            ]
            with pytest.raises(ValueError, match="future"):
                await store.list("/", revision=base + 5)

    async def test_5_a_watch_replays_the_past_and_goes_on_live_without_gap(self) -> None:
        async with self.open() as store:
            base = store.revision
            await store.commit([Op("/a", b"1")])
            two = await store.commit([Op("/b", b"2"), Op("/other", b"x"), Op("/bb", b"3")])
            watch = store.watch("/b", base)
            three = await store.commit([Op("/b", None)])
            seen = await take(watch, 3)
            assert facts(seen) == [("/b", b"2", two), ("/bb", b"3", two), ("/b", None, three)]
            assert (seen[2].created, seen[2].previous) == (two, two)
            four = await store.commit([Op("/b", b"4", ABSENT)])
            change = (await take(watch, 1))[0]
            assert (change.revision, change.created, change.previous) == (four, four, 0)
            five = await store.commit([Op("/b", b"5", four)])
            change = (await take(watch, 1))[0]
            assert (change.revision, change.created, change.previous) == (five, four, four)
            watch.close()

    async def test_3_a_watcher_gets_one_commit_in_one_batch(self) -> None:
        async with self.open() as store:
            base = store.revision
            live = store.watch("/", base)
            await store.commit([Op("/a", b"1"), Op("/b", b"2")])
            await store.commit([Op("/c", b"3")])
            past = store.watch("/", base)
            for watch in (live, past):
                batch = [change.key for change in await watch.__anext__()]
                assert batch[:2] == ["/a", "/b"]
                assert batch[2:] or [change.key for change in await watch.__anext__()] == ["/c"]

    async def test_5_a_watch_from_now_sees_only_what_comes(self) -> None:
        async with self.open() as store:
            revision = await store.commit([Op("/a", b"1")])
            watch = store.watch("/", revision)
            await store.commit([Op("/a", b"2")])
            assert facts(await take(watch, 1)) == [("/a", b"2", revision + 1)]

    async def test_5_a_closed_watch_ends(self) -> None:
        async with self.open() as store:
            watch = store.watch("/", store.revision)
            waiting = asyncio.ensure_future(watch.__anext__())
            await asyncio.sleep(0)
            watch.close()
            with pytest.raises(StopAsyncIteration):
                await waiting
            watch.close()

    async def test_7_a_slow_watcher_is_cut_off_and_the_writer_is_not_held_up(self) -> None:
        async with self.open(max_watch_changes=10) as store:
            base = store.revision
            watch = store.watch("/", base)
            for number in range(20):
                await store.commit([Op(f"/{number}", b"x")])
            with pytest.raises(SlowWatcher):
                await take(watch, 20)
            again = store.watch("/", base + 10)
            assert [change.revision - base for change in await take(again, 10)] == list(range(11, 21))

    async def test_compaction_forgets_the_past_and_nothing_else(self) -> None:
        async with self.open() as store:
            base = store.revision
            for number in range(5):
                await store.commit([Op("/a", str(number).encode())])
            await store.commit([Op("/b", b"x")])
            await store.commit([Op("/b", None)])
            await store.commit([Op("/a", b"new")])
            await store.compact(base + 7)
            assert store.oldest == base + 7
            assert [entry.value for entry in (await store.list("/", revision=base + 7)).entries] == [b"4"]
            assert [entry.value for entry in (await store.list("/")).entries] == [b"new"]
            with pytest.raises(Compacted) as caught:
                await store.list("/", revision=base + 6)
            assert caught.value.oldest == base + 7
            with pytest.raises(Compacted):
                await store.watch("/", base + 6).__anext__()
            assert facts(await take(store.watch("/", base + 7), 1)) == [("/a", b"new", base + 8)]
            await store.compact(base + 3)
            assert store.oldest == base + 7

    async def test_a_closed_store_refuses_and_ends_its_watches(self) -> None:
        async with self.open() as store:
            watch = store.watch("/", store.revision)
            await store.commit([Op("/a", b"1")])
            await store.close()
            await store.close()
            assert len(await take(watch, 1)) == 1
            with pytest.raises(StoreClosed):
                await watch.__anext__()
            with pytest.raises(StoreClosed):
                await store.commit([Op("/a", b"2", ANY)])
