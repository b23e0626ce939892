"""What was acknowledged survives kill -9, no revision is given twice, and watchers find their way again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from coxswain.api.errors import ApiError, Expired
from coxswain.api.names import GVR, Object
from coxswain.base import clock
from coxswain.client.connect import connect
from coxswain.client.interface import MERGE_PATCH, Client
from e2e.machine import COX

pytestmark = pytest.mark.e2e
CONFIGMAPS = GVR("", "v1", "configmaps")


@asynccontextmanager
async def api_server(data_dir: Path, *flags: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Client]]:
    """``cox apiserver`` in a process of its own, and a REST client; killed at the end."""
    reader, writer = os.pipe()
    command = ("apiserver", "--port=0", f"--data-dir={data_dir}", f"--ready-fd={writer}", "--log-level=error")
    process = await asyncio.create_subprocess_exec(
        *COX, *command, *flags, pass_fds=(writer,), stdin=subprocess.DEVNULL
    )
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as ready:
            line = await asyncio.get_running_loop().run_in_executor(None, ready.readline)
            assert line.startswith(b"https://"), "the API server did not start"
        async with await connect(data_dir / "kubeconfig", wire="rest") as client:
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@dataclass(slots=True)
class History:
    """What clients know for certain: the last acknowledged write of each object, every revision seen."""

    last: dict[str, tuple[int, str]] = field(default_factory=dict)
    #: Writes that were sent and never answered: object -> value.
    open: dict[str, str] = field(default_factory=dict)
    revisions: list[int] = field(default_factory=list)
    watched: list[int] = field(default_factory=list)

    def acknowledge(self, obj: Object) -> None:
        """The server said that it wrote ``obj``."""
        name, revision = obj["metadata"]["name"], int(obj["metadata"]["resourceVersion"])
        self.last[name] = (revision, obj["data"]["value"])
        self.revisions.append(revision)
        del self.open[name]


async def write(client: Client, writer: int, history: History, tag: str) -> None:
    """Create objects and change them, until the server is gone."""
    number = 0
    while True:
        name, value = f"{tag}-{writer}-{number // 3}", f"{writer}/{number}"
        history.open[name] = value
        body = {"metadata": {"name": name, "namespace": "default"}, "data": {"value": value}}
        try:
            if number % 3 == 0:
                obj = await client.create(CONFIGMAPS, body)
            else:
                obj = await client.patch(
                    CONFIGMAPS, name, {"data": body["data"]}, "default", kind=MERGE_PATCH
                )
        except ApiError as error:
            assert error.code in (429, 503, 504), error
            if error.code != 429:
                return
            del history.open[name]
            await clock.sleep(0.05)
            continue
        history.acknowledge(obj)
        number += 1


async def watch(client: Client, history: History) -> None:
    """Note every revision, until the server is gone."""
    try:
        async with client.watch(CONFIGMAPS, "default", resource_version="1", bookmarks=False) as batches:
            async for batch in batches:
                history.watched += [int(event.object["metadata"]["resourceVersion"]) for event in batch]
    except ApiError:
        return


async def crash(data_dir: Path, history: History, *, writers: int, seconds: float, tag: str) -> None:
    """Write with ``writers`` clients and kill the server in the middle of it."""
    async with api_server(data_dir) as (process, client), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(client, history))
        for writer in range(writers):
            tasks.create_task(write(client, writer, history, tag))
        await asyncio.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def check(data_dir: Path, history: History) -> None:
    """The restarted server has all that was acknowledged, and goes on after the last revision."""
    async with api_server(data_dir) as (_, client):
        stored = [orjson.loads(raw) for raw in (await client.list(CONFIGMAPS, "default")).items]
        found = {
            obj["metadata"]["name"]: (
                int(obj["metadata"]["resourceVersion"]),
                obj.get("data", {}).get("value"),
            )
            for obj in stored
        }
        for name, (revision, value) in history.last.items():
            assert name in found, f"{name} was acknowledged and is gone"
            if found[name] != (revision, value):
                # Only a write that was under way when the server died may have come after.
                assert found[name][0] > revision and found[name][1] == history.open.get(name)
        unknown = found.keys() - history.last.keys() - history.open.keys() - {"kube-root-ca.crt"}
        assert not unknown
        history.last.update({name: found[name] for name in history.open if name in found})
        highest = max(history.revisions + history.watched + [revision for revision, _ in found.values()])
        body = {"metadata": {"generateName": "after-", "namespace": "default"}, "data": {"value": ""}}
        made = await client.create(CONFIGMAPS, body)
        history.last[made["metadata"]["name"]] = (int(made["metadata"]["resourceVersion"]), "")
        assert int(made["metadata"]["resourceVersion"]) > highest
        await check_watch(client, max(history.revisions), int(made["metadata"]["resourceVersion"]))


async def check_watch(client: Client, since: int, until: int) -> None:
    """A watcher that comes back gets what came after, or is told that it has to list again."""
    try:
        async with asyncio.timeout(10):
            async with client.watch(CONFIGMAPS, "default", resource_version=str(since)) as batches:
                async for batch in batches:
                    seen = [int(event.object["metadata"]["resourceVersion"]) for event in batch]
                    assert all(since < revision for revision in seen)
                    if until in seen:
                        return
    except Expired:
        return
    raise AssertionError("the watch ended early")


async def crash_and_check(data_dir: Path, *, writers: int, seconds: float, rounds: int) -> None:
    history = History()
    for number in range(rounds):
        history.open.clear()
        await crash(data_dir, history, writers=writers, seconds=seconds, tag=f"r{number}")
        assert len(history.revisions) == len(set(history.revisions)), "a revision was given twice"
        assert len(history.revisions) > writers, "hardly anything was written"
        await check(data_dir, history)


async def test_acknowledged_writes_survive_kill_9(tmp_path: Path) -> None:
    await crash_and_check(tmp_path, writers=50, seconds=1.0, rounds=1)


@pytest.mark.heavy
async def test_two_hundred_writers_through_five_crashes(tmp_path: Path) -> None:
    await crash_and_check(tmp_path, writers=200, seconds=3.0, rounds=5)
