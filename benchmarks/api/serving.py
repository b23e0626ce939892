"""The request pipeline in process, without doors: create, get, list, patch, apply, and a watch's fan-out."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import orjson
import uvloop

from benchmarks.end_to_end.api_server import deployment, ordinary_pod
from coxswain.api.names import DEPLOYMENTS, PODS
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.client.interface import APPLY_PATCH, STRATEGIC_MERGE_PATCH, Answer, Call, UserInfo

ADMIN = UserInfo("admin", groups=("system:masters", "system:authenticated"))
MANY = 1000


class Pipeline:
    """Seconds for a thousand requests, against the store that forgets."""

    timeout = 120

    def setup(self) -> None:
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.directory = tempfile.TemporaryDirectory()
        self.runner.run(self._start())

    async def _start(self) -> None:
        self.server = ApiServer(
            ApiServerConfig(
                data_dir=Path(self.directory.name),
                disable_admission_plugins=("ServiceAccount",),
                serving=ServingSettings(port=-1),
                storage=StorageSettings(backend="memory"),
            )
        )
        await self.server.start()
        answers = await self._all(self._creates())
        self.names = [orjson.loads(answer.body)["metadata"]["name"] for answer in answers]
        await self._all(self._applies(0))

    def teardown(self) -> None:
        self.runner.run(self.server.stop())
        self.runner.close()
        self.directory.cleanup()

    async def _all(self, calls: list[Call]) -> list[Answer]:
        answers: list[Answer] = []
        for start in range(0, len(calls), 250):
            answers += await self.server.pipeline.exchange(calls[start : start + 250], ADMIN)
        assert all(answer.code < 300 for answer in answers), next(a for a in answers if a.code >= 300)
        return answers

    def _creates(self) -> list[Call]:
        return [Call("create", PODS, "default", body=ordinary_pod(number)) for number in range(MANY)]

    def _applies(self, image: int) -> list[Call]:
        return [
            Call(
                "patch",
                DEPLOYMENTS,
                "default",
                f"d{number}",
                query={"fieldManager": "bench"},
                body=deployment(number, image),
                content_type=APPLY_PATCH,
            )
            for number in range(MANY)
        ]

    def time_create(self) -> None:
        self.runner.run(self._all(self._creates()))

    def time_get(self) -> None:
        self.runner.run(self._all([Call("get", PODS, "default", name) for name in self.names]))

    def time_list_500(self) -> None:
        async def lists() -> None:
            answers = await self._all([Call("list", PODS, "default", query={"limit": "500"})] * 10)
            assert all(answer.body.count(b'"uid":') == 500 for answer in answers)

        self.runner.run(lists())

    def time_patch_status(self) -> None:
        body = orjson.dumps(
            {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        )
        calls = [
            Call("patch", PODS, "default", name, "status", body=body, content_type=STRATEGIC_MERGE_PATCH)
            for name in self.names
        ]
        self.runner.run(self._all(calls))

    def time_apply(self) -> None:
        self.runner.run(self._all(self._applies(1)))

    def time_watch_fan_out(self) -> None:
        """Ten changes to each of a thousand watchers."""
        self.runner.run(self._fan_out(1000, 10))

    async def _fan_out(self, watchers: int, changes: int) -> None:
        seen = 0
        ready = asyncio.Event()
        waiting = watchers

        async def watch() -> None:
            nonlocal seen, waiting
            query: dict[str, Any] = {"watch": "true", "fieldSelector": f"metadata.name={self.names[0]}"}
            async with self.server.pipeline.watch_events(
                Call("watch", PODS, "default", query=query), ADMIN
            ) as events:
                waiting -= 1
                if not waiting:
                    ready.set()
                mine = 0
                async for batch in events:
                    mine += sum(event.type == "MODIFIED" for event in batch)
                    if mine == changes:
                        break
                seen += mine

        tasks = [asyncio.create_task(watch()) for _ in range(watchers)]
        await ready.wait()
        for number in range(changes):
            body = orjson.dumps({"metadata": {"annotations": {"number": str(number)}}})
            call = Call(
                "patch", PODS, "default", self.names[0], body=body, content_type=STRATEGIC_MERGE_PATCH
            )
            await self._all([call])
        await asyncio.gather(*tasks)
        assert seen == watchers * changes
        clean = orjson.dumps({"metadata": {"annotations": None}})
        await self._all(
            [Call("patch", PODS, "default", self.names[0], body=clean, content_type=STRATEGIC_MERGE_PATCH)]
        )
