"""What a batch of a scheduler's writes costs the API server's one Python thread, as it comes over gRPC.

CPU time of that thread for each call: messages read, requests answered, answers written. TLS and HTTP/2 are grpc's own
threads and are not in it, nor is the writer of the durable store. Four batches of 64 are under way, as the scheduler
sends them, from a user with the scheduler's rights; nodes have zones, and somebody watches pods and events.

    python -m benchmarks.api.batches [rounds]
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import orjson
import uvloop

from benchmarks.end_to_end.api_server import ordinary_pod
from coxswain._generated import messages
from coxswain.api.names import EVENTS, GVR, NODES, PODS
from coxswain.apiserver.grpc_door import GrpcDoor
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings
from coxswain.client.client import ApiClient
from coxswain.client.events import EventRecorder
from coxswain.client.grpcwire import encode_batch
from coxswain.client.inprocess import InProcessTransport
from coxswain.client.interface import NOTHING, Answer, Call, UserInfo
from coxswain.scheduler import writes
from coxswain.scheduler.pod import Pod

if TYPE_CHECKING:
    from coxswain.apiserver.authn.authenticator import Authenticator
    from coxswain.apiserver.pki import KeyPair
    from coxswain.client.interface import Backend
    from coxswain.scheduler.template import Template

ADMIN = UserInfo("admin", groups=("system:masters", "system:authenticated"))
SCHEDULER = UserInfo(
    "system:kube-scheduler", groups=("system:authenticated",), agent="kube-scheduler/v1.36.0 (linux/x86_64)"
)
ZONE = "topology.kubernetes.io/zone"
BATCH, SIDE_BY_SIDE = 64, 4


class Server:
    """An API server in this process, a door without a port, and watchers who look at what they get."""

    def __init__(self, directory: str) -> None:
        self.api = ApiServer(
            ApiServerConfig(
                data_dir=Path(directory),
                disable_admission_plugins=("ServiceAccount",),
                serving=ServingSettings(port=-1),
            )
        )
        self.seen = {PODS: 0, EVENTS: 0}
        self._watches: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.api.start()
        unused, keys = cast("Authenticator", None), cast("KeyPair", None)
        self.door = GrpcDoor(self.api.pipeline, unused, serving=keys, client_ca=b"")
        node = {"metadata": {"name": "n1", "labels": {ZONE: "a"}}}
        await self.ask([Call("create", NODES, body=orjson.dumps(node))], ADMIN)
        self._watches = [asyncio.create_task(self._watch(resource)) for resource in self.seen]
        await asyncio.sleep(0)

    async def stop(self) -> None:
        for task in self._watches:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.api.stop()

    async def _watch(self, resource: GVR) -> None:
        async with self.api.pipeline.watch_events(Call("watch", resource), ADMIN) as events:
            async for batch in events:
                self.seen[resource] += len(batch)

    async def ask(self, calls: list[Call], user: UserInfo) -> list[Answer]:
        """Calls in batches, side by side, all of which must succeed."""
        return _succeeded(await self.send(_encoded(calls), user))

    async def send(self, batches: list[bytes], user: UserInfo) -> list[bytes]:
        """Batches as they come over the wire, a few side by side; their answers."""
        room = asyncio.Semaphore(SIDE_BY_SIDE)

        async def one(data: bytes) -> bytes:
            async with room:
                return await self.door._answer(messages.CallBatch.FromString(data), self.api.pipeline, user)

        return await asyncio.gather(*map(one, batches))

    async def pods(self, count: int) -> list[Pod]:
        """New pods, as the scheduler knows them."""
        calls = [Call("create", PODS, "default", body=ordinary_pod(number)) for number in range(count)]
        metas = [orjson.loads(answer.body)["metadata"] for answer in await self.ask(calls, ADMIN)]
        template = cast("Template", None)
        return [
            Pod(f"default/{each['name']}", each["uid"], template, resource_version=each["resourceVersion"])
            for each in metas
        ]

    async def bindings(self, count: int) -> float:
        """Microseconds of this thread for a binding."""
        pods = await self.pods(count)
        batches = _encoded([writes.binding(pod, "n1") for pod in pods])
        took = await self._timed(PODS, batches, count)
        pod = self.api.pipeline.core.storage.caches["/registry/pods/"].get("default", pods[-1].name)
        assert pod is not None and pod.labels[ZONE] == "a" and pod.fields[0] == "n1"
        return took

    async def events(self, count: int) -> float:
        """Microseconds of this thread for an Event of the scheduler's."""
        pods = await self.pods(count)
        return await self._timed(EVENTS, _encoded(await recorded(pods)), count)

    async def _timed(self, resource: GVR, batches: list[bytes], count: int) -> float:
        await asyncio.sleep(0.2)
        seen, started = self.seen[resource], time.thread_time()
        answers = await self.send(batches, SCHEDULER)
        took = time.thread_time() - started
        await asyncio.sleep(0.2)
        assert len(_succeeded(answers)) == count
        assert self.seen[resource] - seen == count
        return 1e6 * took / count


def _encoded(calls: list[Call]) -> list[bytes]:
    return [encode_batch(start, calls[start : start + BATCH]) for start in range(0, len(calls), BATCH)]


def _succeeded(batches: list[bytes]) -> list[Answer]:
    """The answers of batches, none of them a failure."""
    found = [answer for data in batches for answer in messages.AnswerBatch.FromString(data).answers]
    assert all(answer.code == 201 for answer in found), next(a for a in found if a.code != 201)
    return [Answer(answer.code, answer.body) for answer in found]


async def recorded(pods: list[Pod]) -> list[Call]:
    """What the scheduler's recorder writes about pods that were bound."""

    class Listener(InProcessTransport):
        """Keeps the calls."""

        async def batch(self, calls: Sequence[Call]) -> list[Answer]:
            found.extend(calls)
            return [Answer(201, b"")] * len(calls)

    found: list[Call] = []
    client = ApiClient(Listener(cast("Backend", None), SCHEDULER))
    recorder = EventRecorder(client, "default-scheduler", series=True, yields_to=lambda: False)
    for pod in pods:
        message = f"Successfully assigned {pod.key} to n1"
        recorder.event(writes.reference(pod), "Normal", "Scheduled", message, action="Binding")
    await recorder.close()
    assert len(found) == len(pods) and all(call.accept == NOTHING for call in found)
    return found


class Batches:
    """Microseconds of the server's thread for a call."""

    timeout = 120
    unit = "µs"

    def _measure(self, what: Callable[[Server], Awaitable[float]], rounds: int = 5) -> float:
        async def main(directory: str) -> float:
            server = Server(directory)
            await server.start()
            try:
                await what(server)
                return min([await what(server) for _ in range(rounds)])
            finally:
                await server.stop()

        with (
            tempfile.TemporaryDirectory() as directory,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            return runner.run(main(directory))

    def track_bindings(self, rounds: int = 5) -> float:
        return self._measure(lambda server: server.bindings(1024), rounds)

    def track_events(self, rounds: int = 5) -> float:
        return self._measure(lambda server: server.events(1024), rounds)


if __name__ == "__main__":
    ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"binding: {Batches().track_bindings(ROUNDS):.1f} µs")
    print(f"event:   {Batches().track_events(ROUNDS):.1f} µs")
