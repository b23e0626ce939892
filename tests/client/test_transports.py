"""The three transports mean the same: one story, told to a real API server over each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coxswain.api import errors
from coxswain.api.names import CONFIGMAPS, NAMESPACES, Object
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.client import ApiClient, create_call, delete_call, patch_call
from coxswain.client.connect import connect
from coxswain.client.informer import InformerFactory
from coxswain.client.inprocess import InProcessTransport
from coxswain.client.interface import UserInfo
from coxswain.controllers.manager import Manager


@asynccontextmanager
async def client_of(tmp_path: Path, wire: str, program: str = "") -> AsyncIterator[ApiClient]:
    config = ApiServerConfig(
        data_dir=tmp_path,
        serving=ServingSettings(port=0, grpc_port=0),
        storage=StorageSettings(backend="memory"),
    )
    server = ApiServer(config)
    await server.start()
    try:
        if wire == "inprocess":
            user = UserInfo("admin", ("system:masters", "system:authenticated"), agent=program)
            client = ApiClient(InProcessTransport(server.backend, user))
        else:
            client = await connect(
                server.kubeconfig, wire="grpc" if wire == "grpc" else "rest", program=program
            )
        async with client:
            yield client
    finally:
        await server.stop()


def config_map(name: str, **data: str) -> Object:
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


@pytest.mark.parametrize("wire", ["inprocess", "grpc", "rest"])
async def test_fields_are_managed_by_the_program_that_wrote_them(tmp_path: Path, wire: str) -> None:
    async with client_of(tmp_path, wire, program="kube-scheduler") as client:
        await client.create(CONFIGMAPS, config_map("a", x="1"))
        await client.batch([patch_call(CONFIGMAPS, "a", {"data": {"y": "2"}}, "default")] * 2)
        (entry,) = (await client.get(CONFIGMAPS, "a", "default"))["metadata"]["managedFields"]
        assert entry["manager"] == "kube-scheduler"
        assert entry["fieldsV1"]["f:data"].keys() == {".", "f:x", "f:y"}


@pytest.mark.parametrize("wire", ["inprocess", "grpc", "rest"])
async def test_one_story_over_every_wire(tmp_path: Path, wire: str) -> None:
    async with client_of(tmp_path, wire) as client:
        made = await client.create(CONFIGMAPS, config_map("a", x="1"))
        with pytest.raises(errors.AlreadyExists, match='configmaps "a" already exists'):
            await client.create(CONFIGMAPS, config_map("a"))
        await client.patch(CONFIGMAPS, "a", {"data": {"y": "2"}}, "default")
        with pytest.raises(errors.Conflict):
            await client.update(CONFIGMAPS, made)
        with pytest.raises(errors.Invalid):
            await client.create(CONFIGMAPS, config_map("Not_A_Name"))
        answers = await client.batch(
            [
                create_call(CONFIGMAPS, config_map("b")),
                patch_call(CONFIGMAPS, "none", {"data": {}}, "default"),
                create_call(CONFIGMAPS, config_map("c")),
            ]
        )
        assert [answer.code for answer in answers] == [201, 404, 201]
        page = await client.list(
            CONFIGMAPS, "default", limit=2, field_selector="metadata.name!=kube-root-ca.crt"
        )
        assert len(page.items) == 2
        assert page.continue_
        with pytest.raises(errors.Conflict):
            await client.delete(CONFIGMAPS, "a", "default", uid="another")
        (gone,) = await client.batch([delete_call(CONFIGMAPS, "a", "default")])
        assert gone.code == 200
        with pytest.raises(errors.NotFound):
            await client.get(CONFIGMAPS, "a", "default")


@pytest.mark.parametrize("wire", ["inprocess", "grpc", "rest"])
async def test_informers_see_every_change_over_every_wire(tmp_path: Path, wire: str) -> None:
    async with client_of(tmp_path, wire) as client:
        factory = InformerFactory(client)
        informer = factory.informer(CONFIGMAPS, "default")
        seen: list[str] = []
        done = asyncio.Event()

        def note(obj: Object) -> None:
            seen.append(obj["metadata"]["name"])
            if obj["metadata"]["name"] == "last":
                done.set()

        informer.add_handler(note)
        await factory.start()
        await factory.wait_for_sync()
        names = [f"c{number}" for number in range(50)]
        for name in names:
            await client.create(CONFIGMAPS, config_map(name))
        await client.create(CONFIGMAPS, config_map("last"))
        async with asyncio.timeout(10):
            await done.wait()
        assert seen == [*names, "last"]
        kept = informer.get("default/c7")
        assert kept is not None
        assert (kept["kind"], kept["apiVersion"]) == ("ConfigMap", "v1")
        await factory.stop()


async def test_controllers_work_over_grpc_with_the_server_they_are_made_for(tmp_path: Path) -> None:
    async with client_of(tmp_path, "grpc") as client:
        boss = Manager(client)
        task = asyncio.ensure_future(boss.run())
        meta = {"name": "team"}
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        factory = InformerFactory(client)
        spaces = factory.informer(NAMESPACES)
        published = factory.informer(CONFIGMAPS, "team")
        ready, gone = asyncio.Event(), asyncio.Event()
        published.add_handler(lambda _: ready.set())
        spaces.add_handler(on_delete=lambda _: gone.set())
        await factory.start()
        async with asyncio.timeout(20):
            await ready.wait()
            assert boss.healthy()
            await client.delete(NAMESPACES, "team")
            await gone.wait()
        await factory.stop()
        await cancel_and_wait(task)
