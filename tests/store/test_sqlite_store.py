"""The SQLite backend keeps the contract, across restarts, crashes and full disks."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings

from coxswain.base.errors import ResourceUnavailable
from coxswain.store.interface import ANY, Op, Store, StoreFull
from coxswain.store.sqlite import SqliteStore
from coxswain.store.sqlite_file import AT_ONCE, SqliteSettings
from store.contract import StoreContract
from store.model import HISTORIES, Model, Step, compare, play


@asynccontextmanager
async def temporary(max_watch_changes: int) -> AsyncIterator[Store]:
    with tempfile.TemporaryDirectory() as directory:
        store = await SqliteStore.open(
            f"{directory}/state.db", SqliteSettings(max_watch_changes=max_watch_changes, compaction_slice=2)
        )
        async with store:
            yield store


class TestSqliteStore(StoreContract):
    def open(self, *, max_watch_changes: int = 100_000) -> AbstractAsyncContextManager[Store]:
        return temporary(max_watch_changes)


@given(HISTORIES, HISTORIES)
@settings(deadline=None, max_examples=25)
def test_random_histories_with_a_restart_agree_with_the_model(before: list[Step], after: list[Step]) -> None:
    async def main(path: str) -> None:
        model = Model()
        async with await SqliteStore.open(path) as store:
            await play(store, model, before)
        async with await SqliteStore.open(path) as store:
            await compare(store, model)
            await play(store, model, after)
            await compare(store, model)

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(f"{directory}/state.db"))


WRITER = """
import asyncio, sys
from coxswain.store.interface import ABSENT, Op
from coxswain.store.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(sys.argv[1])
    print("open", store.revision, flush=True)
    async def write(worker):
        number = 0
        while True:
            key = f"/w/{store.revision:08d}-{worker}-{number}"
            revision = await store.commit([Op(key, b"x" * 300, ABSENT), Op(f"/last/{worker}", key.encode())])
            print("ack", revision, key, flush=True)
            number += 1
    async def compact():
        while True:
            await asyncio.sleep(0.02)
            await store.compact(max(0, store.revision - 50))
    await asyncio.gather(compact(), *(write(worker) for worker in range(50)))

asyncio.run(main())
"""


async def test_2_acknowledged_commits_survive_kill_9_and_no_revision_is_used_twice(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    acknowledged: dict[int, str] = {}
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for count, line in enumerate(writer.stdout):
                if not line.endswith("\n"):
                    break  # the kill cut it off
                word, *rest = line.split()
                if word == "open":
                    assert int(rest[0]) >= max(acknowledged, default=0)
                else:
                    assert int(rest[0]) not in acknowledged
                    acknowledged[int(rest[0])] = rest[1]
                if count == 400:
                    writer.send_signal(signal.SIGKILL)
    async with await SqliteStore.open(path) as store:
        entries = {entry.key: entry for entry in (await store.list("/w/")).entries}
        for revision, key in acknowledged.items():
            assert entries[key].modified == revision
        assert store.revision >= max(acknowledged)
        assert len({entry.modified for entry in entries.values()}) == len(entries)


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    async with await SqliteStore.open(tmp_path / "state.db"):
        with pytest.raises(ResourceUnavailable, match=f"in use by process {os.getpid()}"):
            await SqliteStore.open(tmp_path / "state.db")
    async with await SqliteStore.open(tmp_path / "state.db"):
        pass


async def test_the_files_are_private(tmp_path: Path) -> None:
    async with await SqliteStore.open(tmp_path / "data" / "state.db") as store:
        await store.commit([Op("/secret", b"x")])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert set(modes.values()) == {0o600}, modes


async def test_damage_is_found_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with await SqliteStore.open(path) as store:
        for number in range(200):
            await store.commit([Op(f"/{number}", os.urandom(500))])
    data = bytearray(path.read_bytes())
    data[8192:12288] = os.urandom(4096)
    path.write_bytes(data)
    with pytest.raises(ResourceUnavailable, match="cannot be used as a store"):
        await SqliteStore.open(path)


async def test_something_else_is_not_taken_for_a_store(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("this is a letter, not a database\n" * 100)
    with pytest.raises(ResourceUnavailable, match="cannot be used as a store"):
        await SqliteStore.open(tmp_path / "state.db")


async def test_a_full_disk_refuses_changes_nothing_and_recovers(tmp_path: Path) -> None:
    small = SqliteSettings(max_bytes=400 * 4096)
    async with await SqliteStore.open(tmp_path / "state.db", small) as store:
        revision = 0
        with pytest.raises(StoreFull, match="no space is left"):
            for number in range(1000):
                revision = await store.commit([Op(f"/{number}", b"x" * 4000)])
        assert store.revision == revision
        assert len((await store.list("/")).entries) == revision
        for number in range(0, revision, 2):
            try:
                await store.commit([Op(f"/{number}", None)])
            except StoreFull:
                break
            await store.compact(store.revision)
        assert await store.commit([Op("/again", b"x" * 4000)]) > revision


async def test_compaction_gives_space_back(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with await SqliteStore.open(path) as store:
        for _ in range(20):
            await asyncio.gather(*(store.commit([Op(f"/{number}", b"x" * 3000)]) for number in range(100)))
        with sqlite3.connect(path) as connection:
            pages = "SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count"
            before = connection.execute(pages).fetchone()[0]
            await store.compact(store.revision)
            after = connection.execute(pages).fetchone()[0]
        connection.close()
        assert after * 5 < before
        assert len((await store.list("/")).entries) == 100


async def test_7_commits_wait_when_the_queue_is_full_and_all_are_done(tmp_path: Path) -> None:
    tight = SqliteSettings(max_queued_bytes=10_000)
    async with await SqliteStore.open(tmp_path / "state.db", tight) as store:
        results = await asyncio.gather(*(store.commit([Op(f"/{i}", b"x" * 1000)]) for i in range(300)))
        assert sorted(results) == list(range(1, 301))


async def test_a_caller_that_gives_up_does_not_break_the_store(tmp_path: Path) -> None:
    async with await SqliteStore.open(tmp_path / "state.db") as store:
        impatient = asyncio.ensure_future(store.commit([Op("/a", b"1", ANY)]))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.gather(impatient, return_exceptions=True)
        assert await store.commit([Op("/b", b"2")]) == 2
        assert (await store.get("/a")) is not None


async def test_groups_of_every_size_are_written_whole_and_fail_whole(tmp_path: Path) -> None:
    path, sizes = tmp_path / "state.db", (1, 2, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE, 500)
    async with await SqliteStore.open(path) as store:
        for size in sizes:
            await store.commit([Op(f"/one/{size}/{i}", b"%d" % i) for i in range(size)])
            made = await store.commit_each([Op(f"/each/{size}/{i}", b"%d" % i) for i in range(size)])
            assert len({*made}) == size
    # Ten pages hold what is there and not much more.
    pages = path.stat().st_size // 4096 + 10
    settings = SqliteSettings(max_bytes=pages * 4096)
    async with await SqliteStore.open(path, settings) as store:
        for size in sizes:
            with pytest.raises(StoreFull):
                await store.commit([Op(f"/no/{size}/{i}", b"x" * (60_000 // size)) for i in range(size)])
            failed = await store.commit_each(
                [Op(f"/no/{size}/{i}", b"x" * (60_000 // size)) for i in range(size)]
            )
            assert {type(one) for one in failed} == {StoreFull}
        assert isinstance(await store.commit([Op("/yes", b"1")]), int)
    async with await SqliteStore.open(path) as store:
        assert (await store.list("/no/")).entries == [] and await store.get("/yes") is not None
        for size in sizes:
            for kind in ("one", "each"):
                found = {entry.key: entry.value for entry in (await store.list(f"/{kind}/{size}/")).entries}
                assert found == {f"/{kind}/{size}/{i}": b"%d" % i for i in range(size)}
