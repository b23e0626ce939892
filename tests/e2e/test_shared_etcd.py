"""Two API servers and an etcd, each a process: any of them may be killed, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from coxswain.api.errors import ApiError
from coxswain.api.names import ENDPOINTS, GVR, Object
from coxswain.client.interface import MERGE_PATCH, Client
from e2e.machine import RunningCluster
from e2e.test_durability import api_server
from store.etcd_server import Etcd, needs_etcd, running, running_cluster

pytestmark = [pytest.mark.e2e, pytest.mark.heavy, needs_etcd]
CONFIGMAPS = GVR("", "v1", "configmaps")
ADDRESSES = ("10.9.8.1", "10.9.8.2")

Servers = list[tuple[asyncio.subprocess.Process, Client]]


@pytest.fixture
def etcd() -> Iterator[Etcd]:
    with running() as server:
        yield server


@asynccontextmanager
async def server_of(
    etcd: Etcd | list[Etcd], directory: Path, number: int
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Client]]:
    """One of the two, with the keys of the first."""
    data_dir = directory / str(number)
    if number:
        shutil.copytree(directory / "0" / "pki", data_dir / "pki", dirs_exist_ok=True)
    members = etcd if isinstance(etcd, list) else [etcd]
    urls = ",".join(member.url for member in members)
    flags = ("--store=etcd", f"--etcd-servers={urls}", f"--advertise-address={ADDRESSES[number]}")
    async with api_server(data_dir, *flags) as server:
        yield server


@dataclass(slots=True)
class Told:
    """What the writers were told of each object."""

    last: dict[str, tuple[int, str]] = field(default_factory=dict)
    #: Values whose fate nobody was told, and those that the server said it did not store.
    unknown: dict[str, set[str]] = field(default_factory=dict)
    refused: dict[str, set[str]] = field(default_factory=dict)

    def check(self, found: dict[str, tuple[int, str]]) -> None:
        for name, (revision, value) in self.last.items():
            assert name in found, f"{name} was acknowledged and is gone"
            if found[name] != (revision, value):
                assert found[name][0] > revision
                assert found[name][1] in self.unknown.get(name, ())
        for name, (_, value) in found.items():
            assert value not in self.refused.get(name, ()), f"{name} has a value that was refused"


async def write(client: Client, writer: str, told: Told, stop: asyncio.Event) -> None:
    """Create objects and change them, until told to stop or the server is gone."""
    number = 0
    while not stop.is_set():
        name, value = f"{writer}-{number // 3}", f"{writer}/{number}"
        body = {"metadata": {"name": name, "namespace": "default"}, "data": {"value": value}}
        number += 1
        try:
            if name not in told.last:
                obj = await client.create(CONFIGMAPS, body)
            else:
                obj = await client.patch(
                    CONFIGMAPS, name, {"data": body["data"]}, "default", kind=MERGE_PATCH
                )
        except ApiError as error:
            # A refusal in words is of the server; without them the connection broke, and nobody knows.
            spoken = error.code == 503 and "does not answer" in error.message
            (told.refused if spoken else told.unknown).setdefault(name, set()).add(value)
            number += 3 - number % 3
            await asyncio.sleep(0.1)
        else:
            told.last[name] = (int(obj["metadata"]["resourceVersion"]), obj["data"]["value"])


async def stored(client: Client) -> dict[str, tuple[int, str]]:
    items: list[Object] = [orjson.loads(raw) for raw in (await client.list(CONFIGMAPS, "default")).items]
    return {
        one["metadata"]["name"]: (int(one["metadata"]["resourceVersion"]), one["data"]["value"])
        for one in items
        if "value" in (one.get("data") or {})
    }


async def until_stored(client: Client) -> dict[str, tuple[int, str]]:
    """What is stored, once the server answers again."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await stored(client)
            except ApiError:
                await asyncio.sleep(0.2)


async def endpoints(client: Client) -> list[str]:
    found = await client.get(ENDPOINTS, "kubernetes", "default")
    return [one["ip"] for subset in found["subsets"] for one in subset["addresses"]]


async def until_endpoints(client: Client, wanted: list[str]) -> None:
    async with asyncio.timeout(60):
        while await endpoints(client) != wanted:  # noqa: ASYNC110 (their turn comes with time)
            await asyncio.sleep(0.5)


async def test_a_server_killed_in_the_middle_of_writes_loses_nothing(etcd: Etcd, tmp_path: Path) -> None:
    told, stop = Told(), asyncio.Event()
    async with server_of(etcd, tmp_path, 0) as (process, first):  # noqa: SIM117 (this one dies)
        async with server_of(etcd, tmp_path, 1) as (_, survivor):
            await until_endpoints(survivor, list(ADDRESSES))
            async with asyncio.TaskGroup() as tasks:
                for number in range(20):
                    client = (first, survivor)[number % 2]
                    tasks.create_task(write(client, f"w{number}", told, stop))
                await asyncio.sleep(3)
                before = len(told.last)
                process.send_signal(signal.SIGKILL)
                await asyncio.sleep(3)
                stop.set()
            assert len(told.last) > before > 20
            told.check(await stored(survivor))
            await until_endpoints(survivor, [ADDRESSES[1]])
            # Started again it has all of it, and is listed.
            async with server_of(etcd, tmp_path, 0) as (_, again):
                found = await stored(again)
                assert found == await stored(survivor)
                told.check(found)
                await until_endpoints(again, list(ADDRESSES))


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_etcd_may_go_away_and_come_back_under_load(etcd: Etcd, tmp_path: Path, fault: str) -> None:
    told, stop = Told(), asyncio.Event()
    async with server_of(etcd, tmp_path, 0) as (_, one), server_of(etcd, tmp_path, 1) as (_, two):
        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(write((one, two)[number % 2], f"w{number}", told, stop))
            for _ in range(3):
                await asyncio.sleep(2)
                if fault == "killed":
                    etcd.stop()
                    await asyncio.sleep(1)
                    etcd.start()
                else:
                    etcd.signal(signal.SIGSTOP)
                    await asyncio.sleep(3)
                    etcd.signal(signal.SIGCONT)
            await asyncio.sleep(2)
            stop.set()
        found = await until_stored(one)
        assert found == await until_stored(two)
        assert len(told.last) > 50
        told.check(found)


async def test_any_member_of_etcd_may_die_under_load(tmp_path: Path) -> None:
    told, stop = Told(), asyncio.Event()
    with running_cluster() as members:
        async with server_of(members, tmp_path, 0) as (_, one), server_of(members, tmp_path, 1) as (_, two):
            async with asyncio.TaskGroup() as tasks:
                for number in range(20):
                    tasks.create_task(write((one, two)[number % 2], f"w{number}", told, stop))
                for member in members:
                    await asyncio.sleep(2)
                    written = len(told.last)
                    member.stop()
                    await asyncio.sleep(4)
                    assert len(told.last) > written, "two of three members are enough"
                    member.start()
                await asyncio.sleep(2)
                stop.set()
            found = await until_stored(one)
            assert found == await until_stored(two)
            told.check(found)


def test_a_whole_cluster_runs_over_etcd(etcd: Etcd, tmp_path: Path) -> None:
    flags = ("--store=etcd", f"--etcd-servers={etcd.url}", "--no-local-node", "--hollow-nodes=2")
    with RunningCluster(tmp_path / "data", *flags) as cluster:
        if shutil.which("kubectl") is None:
            pytest.skip("kubectl is not installed")
        cluster.kubectl("create", "deployment", "web", "--image=web", "--replicas=3")
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        cluster.kubectl("delete", "deployment", "web")
