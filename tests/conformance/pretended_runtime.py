"""A container runtime that pretends: an image is a coroutine of the test, started and stopped like a process.

    PretendedRuntime({"fails": fails})        async def fails(process): return 1

A program gets its ``Process`` (what the kubelet said about the container: environment, mounts, attempt) and
returns an exit code. Images without a program run until they are told to stop. ``exec`` answers 0 while
``process.healthy``: an exec probe of any command is a probe that tests can break and mend. A sandbox takes between
half a second and a second, so what happens meanwhile can be seen.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.kubelet.runtime.interface import (
    POD_UID_LABEL,
    Container,
    ContainerConfig,
    ContainerNotFound,
    ContainerState,
    ExecResult,
    RuntimeEvent,
    Sandbox,
    SandboxConfig,
    Version,
)

KILLED = 137


@dataclass
class Process:
    """One container, as its program sees it."""

    sandbox: SandboxConfig
    config: ContainerConfig
    record: Container
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    healthy: bool = True
    #: The commands that were run inside, and when.
    commands: list[tuple[float, list[str]]] = field(default_factory=list)
    task: asyncio.Task[int] | None = None

    @property
    def pod(self) -> str:
        """The name of its pod."""
        return self.sandbox.name

    @property
    def env(self) -> dict[str, str]:
        return dict(self.config.env)

    def read(self, path: str) -> str:
        """A file that a volume shows at ``path`` inside the container."""
        for mount in self.config.mounts:
            if path.startswith(mount.container_path.rstrip("/") + "/"):
                with open(mount.host_path + path[len(mount.container_path.rstrip("/")) :]) as file:
                    return file.read()
        raise FileNotFoundError(path)


Program = Callable[[Process], Awaitable[int]]


async def until_stopped(process: Process) -> int:
    """What an image does that has no program."""
    await process.stopping.wait()
    return 0


class PretendedRuntime:
    """Implements ``Runtime``; see the module's text."""

    def __init__(self, programs: Mapping[str, Program], network: str) -> None:
        """Pods get addresses ``<network>.2`` and so on."""
        self.processes: dict[str, Process] = {}
        self._programs = programs
        self._network = network
        self._sandboxes: dict[str, Sandbox] = {}
        self._numbers = itertools.count(2)
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()

    async def version(self) -> Version:
        return Version("pretended", "1.0", "pretended")

    # -- sandboxes

    async def run_sandbox(self, config: SandboxConfig) -> str:
        await clock.sleep(clock.random().uniform(0.5, 1.0))
        number = next(self._numbers)
        identifier = f"{self._network}-sandbox-{number}"
        address = f"{self._network}.{number % 253 + 2}"
        self._sandboxes[identifier] = Sandbox(identifier, True, clock.now(), [address], config)
        return identifier

    async def stop_sandbox(self, sandbox_id: str) -> None:
        if sandbox_id in self._sandboxes:
            await asyncio.gather(
                *(self.stop_container(p.record.id, 0) for p in self._within(sandbox_id) if p.task is not None)
            )
            self._sandboxes[sandbox_id] = replace(self._sandboxes[sandbox_id], ready=False)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        self._sandboxes.pop(sandbox_id, None)
        for process in self._within(sandbox_id):
            self.processes.pop(process.record.id)

    async def sandboxes(self, pod_uid: str = "") -> list[Sandbox]:
        return [box for box in self._sandboxes.values() if pod_uid in ("", box.config.uid)]

    def _within(self, sandbox_id: str) -> list[Process]:
        return [p for p in self.processes.values() if p.record.sandbox_id == sandbox_id]

    # -- containers

    async def ensure_image(self, image: str, policy: str) -> str:
        return f"sha256:{image}"

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        identifier = f"{self._network}-container-{next(self._numbers)}"
        record = Container(
            id=identifier,
            sandbox_id=sandbox_id,
            name=config.name,
            attempt=config.attempt,
            state=ContainerState.CREATED,
            image=config.image,
            image_id=f"sha256:{config.image}",
            created_at=clock.now(),
            labels=config.labels,
            annotations=config.annotations,
        )
        self.processes[identifier] = Process(self._sandboxes[sandbox_id].config, config, record)
        return identifier

    async def start_container(self, container_id: str) -> None:
        process = self._process(container_id)
        process.record = replace(process.record, state=ContainerState.RUNNING, started_at=clock.now())
        program = self._programs.get(process.config.image, until_stopped)
        process.task = asyncio.ensure_future(program(process))
        process.task.add_done_callback(lambda task: self._ended(process, task))

    def _ended(self, process: Process, task: asyncio.Task[int]) -> None:
        code = KILLED if task.cancelled() else task.result()
        process.record = replace(
            process.record,
            state=ContainerState.EXITED,
            finished_at=clock.now(),
            exit_code=code,
            reason="Completed" if code == 0 else "Error",
        )
        self._events.put_nowait(RuntimeEvent(process.record.sandbox_id, process.record.id))

    async def stop_container(self, container_id: str, timeout: float) -> None:
        process = self.processes.get(container_id)
        if process is None or process.task is None or process.task.done():
            return
        process.stopping.set()
        await asyncio.wait([process.task], timeout=timeout)
        if not process.task.done():
            await cancel_and_wait(process.task)

    async def remove_container(self, container_id: str) -> None:
        await self.stop_container(container_id, 0)
        self.processes.pop(container_id, None)

    async def containers(self, pod_uid: str = "") -> list[Container]:
        records = (process.record for process in self.processes.values())
        return [record for record in records if pod_uid in ("", record.labels.get(POD_UID_LABEL))]

    async def exec(self, container_id: str, command: Sequence[str], timeout: float) -> ExecResult:
        process = self._process(container_id)
        process.commands.append((clock.now(), list(command)))
        return ExecResult(0 if process.healthy else 1, b"", b"")

    async def reopen_log(self, container_id: str) -> None:
        """Nothing is logged."""

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        while True:
            yield await self._events.get()

    async def close(self) -> None:
        """Unlike a real runtime's, what runs ends with the test."""
        for process in self.processes.values():
            if process.task is not None:
                await cancel_and_wait(process.task)

    def _process(self, container_id: str) -> Process:
        try:
            return self.processes[container_id]
        except KeyError:
            raise ContainerNotFound(container_id) from None
