"""The process runtime: CRI's verbs over host processes; images are names only and never pulled.

    run_sandbox        an address (see ``network``) and a record
    create_container   a record of what is to run
    start_container    one line to the nursery, which forks a supervisor (see ``shim``)
    everything else    reads and writes the records; a new kubelet sees what its predecessor started

A container's file system, decided once at start and told in the runtime's version:

    mount        (root) the host's files under a writable layer of the container's own, volumes bound at
                 their paths, in a mount namespace; the host is never written to except through hostPath
    user         (user namespaces allowed) the same without root
    substitute   (neither) the host's files as they are; a volume's path in command, args, working directory
                 and environment is replaced by its place on the host

Only one kubelet may use a data directory (a lock says so). Environment beyond the pod's own is PATH and HOME.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import hashlib
import logging
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from coxswain.base import clock
from coxswain.base.errors import ResourceUnavailable
from coxswain.kubelet.runtime.interface import (
    POD_UID_LABEL,
    Container,
    ContainerConfig,
    ContainerNotFound,
    ContainerState,
    ExecResult,
    RuntimeEvent,
    RuntimeFailure,
    Sandbox,
    SandboxConfig,
    Version,
)
from coxswain.kubelet.runtime.process import records
from coxswain.kubelet.runtime.process.cgroups import Cgroups
from coxswain.kubelet.runtime.process.network import BridgeNetwork, Network, choose

log = logging.getLogger(__name__)

SHIM = str(Path(__file__).with_name("shim.py"))
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_START_TIMEOUT = 20.0


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessSettings:
    """How host processes are run."""

    network: str = "auto"
    """auto, bridge or loopback; see ``network``."""
    isolation: str = "auto"
    """auto, mount, user or substitute; see the module's text."""
    pod_cidr: str = ""
    """Range of pod addresses on the bridge until the node gets its podCIDR; 10.244.0.0/24 by default."""
    log_max_bytes: int = 10 << 20
    """Bytes of a log file before it is rotated; Kubernetes' containerLogMaxSize."""
    log_max_files: int = 5
    """Log files kept for a container, the current one included; Kubernetes' containerLogMaxFiles."""
    layer_bytes: int = 256 << 20
    """Bytes a container may write outside of its volumes; they live in memory."""


class ProcessRuntime:
    """Implements ``Runtime``; made by ``open``."""

    def __init__(self, root: str, settings: ProcessSettings, network: Network, isolation: str) -> None:
        self.root = root
        self.network = network
        self.isolation = isolation
        self._settings = settings
        self._tag = hashlib.sha256(root.encode()).hexdigest()[:8]
        self._cgroups = Cgroups(self._tag)
        self._nursery: asyncio.subprocess.Process | None = None
        self._nursery_lock = asyncio.Lock()
        self._sandbox_lock = asyncio.Lock()
        self._waiting: dict[str, asyncio.Event] = {}
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._ended: dict[str, Container] = {}
        self._configs: dict[str, records.Record] = {}
        self._socket: socket.socket | None = None
        self._lock = -1

    @classmethod
    async def open(cls, data_dir: str, settings: ProcessSettings | None = None) -> ProcessRuntime:
        """Take over ``data_dir``/runtime. Raises ``ResourceUnavailable`` if another kubelet has it."""
        settings = settings or ProcessSettings()
        root = records.absolute(f"{data_dir}/runtime")
        for path in (root, f"{root}/sandboxes", f"{root}/containers"):
            os.makedirs(path, mode=0o700, exist_ok=True)
        lock = os.open(f"{root}/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise ResourceUnavailable(
                f"another kubelet uses {root}; stop it or choose another data directory"
            ) from None
        network = await choose(root, settings.network, settings.pod_cidr)
        runtime = cls(root, settings, network, await _choose_isolation(settings.isolation, root))
        runtime._lock = lock
        if isinstance(network, BridgeNetwork):
            await network.sweep(sandbox.id for sandbox in await runtime.sandboxes())
        runtime._listen()
        runtime._abandon_unstarted()
        await runtime._ensure_nursery()
        return runtime

    def use_pod_cidr(self, cidr: str) -> None:
        """The node's podCIDR became known."""
        if isinstance(self.network, BridgeNetwork) and cidr:
            self.network.use_cidr(cidr)

    async def version(self) -> Version:
        from coxswain import __version__

        build = f"{__version__}-no-images-{self.network.name}-network-{self.isolation}-fs"
        return Version("process", build, "process")

    # ---- sandboxes

    async def run_sandbox(self, config: SandboxConfig) -> str:
        identifier = hashlib.sha256(f"{config.uid}/{config.attempt}/{clock.now()}".encode()).hexdigest()
        directory = f"{self.root}/sandboxes/{identifier}"
        async with self._sandbox_lock:
            record: records.Record = {"config": records.as_record(config), "created_at": clock.now()}
            if not config.host_network:
                used = [ip for box in await self.sandboxes() if box.ready for ip in box.ips]
                try:
                    place = await self.network.attach(identifier, used)
                except BaseException:  # also when interrupted: a half-made network has no record
                    await asyncio.shield(self.network.detach(identifier))  # to its end, if interrupted again
                    raise
                record.update(ip=place.ip, netns=place.netns)
            os.makedirs(directory, mode=0o700)
            records.write(f"{directory}/config.json", record)
        records.make(config.log_directory, 0o755)
        return identifier

    async def stop_sandbox(self, sandbox_id: str) -> None:
        record = records.read(self._sandbox(sandbox_id))
        if record is None or record.get("stopped"):
            return
        inside = [c for c in await self.containers() if c.sandbox_id == sandbox_id]
        await asyncio.gather(*(self.stop_container(c.id, 0) for c in inside))
        if record.get("ip"):
            await self.network.detach(sandbox_id)
        records.write(self._sandbox(sandbox_id), {**record, "stopped": True})

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        for container in await self.containers():
            if container.sandbox_id == sandbox_id:
                await self.remove_container(container.id)
        shutil.rmtree(f"{self.root}/sandboxes/{sandbox_id}", ignore_errors=True)

    async def sandboxes(self, pod_uid: str = "") -> list[Sandbox]:
        found = []
        for identifier in records.subdirectories(f"{self.root}/sandboxes"):
            record = records.read(self._sandbox(identifier))
            if record is not None and pod_uid in ("", record["config"]["uid"]):
                if record.get("netns") and not records.exists(record["netns"]):
                    record["stopped"] = True  # the machine was restarted: its network is gone
                found.append(records.sandbox(identifier, record))
        return found

    def _sandbox(self, identifier: str) -> str:
        return f"{self.root}/sandboxes/{identifier}/config.json"

    # ---- containers

    async def ensure_image(self, image: str, policy: str) -> str:
        return image

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        sandbox = records.read(self._sandbox(sandbox_id))
        if sandbox is None:
            raise RuntimeFailure(f"sandbox {sandbox_id} is gone", "CreateContainerError")
        if not config.command and not config.args:
            raise RuntimeFailure(
                f"container {config.name} has no command: host processes have no image that could name one",
                "CreateContainerError",
            )
        seed = f"{sandbox_id}/{config.name}/{config.attempt}/{clock.now()}"
        identifier = hashlib.sha256(seed.encode()).hexdigest()
        record = {
            "sandbox_id": sandbox_id,
            "created_at": clock.now(),
            "config": records.as_record(config),
            "process": self._process(identifier, sandbox, config),
        }
        os.makedirs(self._container(identifier), mode=0o700)
        records.write(f"{self._container(identifier)}/config.json", record)
        return identifier

    def _process(self, identifier: str, sandbox: records.Record, config: ContainerConfig) -> records.Record:
        """What the shim runs."""
        argv = [*config.command, *config.args]
        env = {"PATH": DEFAULT_PATH, "HOME": os.path.expanduser("~"), **dict(config.env)}
        if not sandbox["config"]["host_network"]:
            env.setdefault("HOSTNAME", sandbox["config"]["hostname"])
        cwd = config.working_dir or "/"
        mounts = [
            (f"{mount.host_path}/{mount.sub_path}".rstrip("/"), mount.container_path, mount.readonly)
            for mount in config.mounts
        ]
        if self.isolation == "substitute":
            places = {target: source for source, target, _ in mounts}
            argv = [_substitute(text, places) for text in argv]
            env = {key: _substitute(text, places) for key, text in env.items()}
            cwd = _substitute(cwd, places)
        return {
            "argv": argv,
            "env": env,
            "cwd": cwd,
            "uid": config.run_as_user,
            "gid": config.run_as_group,
            "hostname": "" if sandbox["config"]["host_network"] else sandbox["config"]["hostname"],
            "netns": sandbox.get("netns", ""),
            "isolation": "none" if self.isolation == "substitute" else self.isolation,
            "mounts": sorted(mounts, key=lambda mount: mount[1].count("/")),
            "layer_bytes": self._settings.layer_bytes,
            "cgroups": self._cgroups.create(identifier, config.resources),
            "oom_score_adj": config.resources.oom_score_adj,
            "log_path": os.path.join(sandbox["config"]["log_directory"], config.log_path),
            "log_max_bytes": self._settings.log_max_bytes,
            "log_max_files": self._settings.log_max_files,
        }

    async def start_container(self, container_id: str) -> None:
        directory = self._container(container_id)
        if not records.exists(f"{directory}/config.json"):
            raise ContainerNotFound(f"container {container_id} is gone")
        if records.exists(f"{directory}/started"):
            return
        event = self._waiting[container_id] = asyncio.Event()
        try:
            await self._tell_nursery(container_id)
            async with asyncio.timeout(_START_TIMEOUT):
                while not event.is_set():
                    # Datagrams may be lost; the files are what counts.
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(event.wait(), 1.0)
                    if records.exists(f"{directory}/exit.json"):
                        break
        except TimeoutError:
            raise RuntimeFailure(
                f"container {container_id[:12]} did not start in {_START_TIMEOUT:.0f} s"
            ) from None
        finally:
            self._waiting.pop(container_id, None)
        ended = records.read(f"{directory}/exit.json")
        if ended is not None and ended.get("reason") == "StartError":
            raise RuntimeFailure(f"failed to start container: {ended['message']}", "RunContainerError")

    async def stop_container(self, container_id: str, timeout: float) -> None:
        directory = self._container(container_id)
        running = records.read(f"{directory}/state.json")
        if running is None or records.exists(f"{directory}/exit.json"):
            return
        config = records.read(f"{directory}/config.json")
        name = (config or {}).get("config", {}).get("stop_signal") or "SIGTERM"
        number = getattr(signal.Signals, name, signal.SIGTERM)
        pid, started = running["pid"], running["pid_start"]
        asked = timeout > 0 and records.send(pid, started, number)
        if asked and await self._wait_exit(container_id, timeout):
            return
        records.send(pid, started, signal.SIGKILL, group=True)
        await self._wait_exit(container_id, 5.0)

    async def _wait_exit(self, container_id: str, timeout: float) -> bool:
        """Whether the exit was recorded within ``timeout`` seconds."""
        directory = self._container(container_id)
        event = self._waiting.setdefault(container_id, asyncio.Event())
        until = clock.monotonic() + timeout
        try:
            while not records.exists(f"{directory}/exit.json"):
                left = until - clock.monotonic()
                if left <= 0 or not records.supervised(directory):
                    return records.exists(f"{directory}/exit.json")
                event.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), min(left, 0.5))
            return True
        finally:
            self._waiting.pop(container_id, None)

    async def remove_container(self, container_id: str) -> None:
        await self.stop_container(container_id, 0)
        self._ended.pop(container_id, None)
        self._configs.pop(container_id, None)
        shutil.rmtree(self._container(container_id), ignore_errors=True)
        self._cgroups.remove(container_id)

    async def containers(self, pod_uid: str = "") -> list[Container]:
        found = []
        for identifier in records.subdirectories(f"{self.root}/containers"):
            directory = self._container(identifier)
            record = self._configs.get(identifier) or records.read(f"{directory}/config.json")
            if record is None:
                continue
            self._configs[identifier] = record
            if pod_uid and record["config"]["labels"].get(POD_UID_LABEL) != pod_uid:
                continue
            if (ended := self._ended.get(identifier)) is not None:
                found.append(ended)
                continue
            container = records.container(identifier, directory, record)
            if container.state is ContainerState.EXITED:
                self._ended[identifier] = container
            found.append(container)
        return found

    async def exec(self, container_id: str, command: Sequence[str], timeout: float) -> ExecResult:
        directory = self._container(container_id)
        running = records.read(f"{directory}/state.json")
        config = records.read(f"{directory}/config.json")
        if running is None or config is None or not records.alive(running["pid"], running["pid_start"]):
            raise ContainerNotFound(f"container {container_id} does not run")
        argv = [
            sys.executable,
            "-I",
            "-S",
            SHIM,
            "--enter",
            str(running["pid"]),
            config["process"]["cwd"],
            "--",
        ]
        process = await asyncio.create_subprocess_exec(
            *argv,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), timeout or None)
        except (TimeoutError, asyncio.CancelledError):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        return ExecResult(process.returncode or 0, out, err)

    async def reopen_log(self, container_id: str) -> None:
        running = records.read(f"{self._container(container_id)}/state.json")
        if running is not None:
            records.send(running["supervisor"], running["supervisor_start"], signal.SIGUSR1)

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        while True:
            yield await self._events.get()

    async def release_network(self) -> None:
        """No pod is left on this node: take the bridge away too."""
        await self.network.close()

    async def close(self) -> None:
        if self._nursery is not None and self._nursery.stdin is not None:
            self._nursery.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nursery.wait(), 2)
            self._nursery = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # ---- the nursery and its news

    def _container(self, identifier: str) -> str:
        return f"{self.root}/containers/{identifier}"

    def _listen(self) -> None:
        """Open ROOT/events.sock; through /proc, because socket paths are short."""
        path = f"{self.root}/events.sock"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        here = os.open(self.root, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._socket.bind(f"/proc/self/fd/{here}/events.sock")
        finally:
            os.close(here)
        os.chmod(path, 0o600)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._on_datagram)

    def _on_datagram(self) -> None:
        assert self._socket is not None
        while True:
            try:
                text = self._socket.recv(512).decode()
            except BlockingIOError:
                return
            verb, _, identifier = text.partition(" ")
            if (event := self._waiting.get(identifier)) is not None:
                event.set()
            if verb == "exited":
                record = records.read(f"{self._container(identifier)}/config.json")
                if record is not None:
                    self._events.put_nowait(RuntimeEvent(record["sandbox_id"], identifier))

    def _abandon_unstarted(self) -> None:
        """Containers that a dead kubelet made and did not start never start: nobody waits for them."""
        for identifier in records.subdirectories(f"{self.root}/containers"):
            directory = self._container(identifier)
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.close(os.open(f"{directory}/started", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                shutil.rmtree(directory, ignore_errors=True)

    async def _ensure_nursery(self) -> asyncio.subprocess.Process:
        async with self._nursery_lock:
            if self._nursery is None or self._nursery.returncode is not None:
                self._nursery = await asyncio.create_subprocess_exec(
                    sys.executable, "-I", "-S", SHIM, self.root, stdin=asyncio.subprocess.PIPE
                )
            return self._nursery

    async def _tell_nursery(self, container_id: str) -> None:
        nursery = await self._ensure_nursery()
        assert nursery.stdin is not None
        try:
            nursery.stdin.write(f"start {container_id}\n".encode())
            await nursery.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise RuntimeFailure("the container nursery died; the next attempt starts a new one") from None


async def _choose_isolation(wanted: str, root: str) -> str:
    """The first kind of file system that works here."""
    for kind in ("mount", "user"):
        if wanted not in ("auto", kind) or (kind == "mount" and os.geteuid() != 0):
            continue
        scratch = f"{root}/probe"
        os.makedirs(scratch, exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", SHIM, "--can-isolate", kind, scratch,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, err = await process.communicate()
        shutil.rmtree(scratch, ignore_errors=True)
        if process.returncode == 0:
            return kind
        if wanted == kind:
            raise ResourceUnavailable(f"isolation {kind} does not work here: {err.decode().strip()[-200:]}")
    return "substitute"


def _substitute(text: str, places: dict[str, str]) -> str:
    """``text`` with each mount path, where it stands as a path of its own, replaced by its host path."""
    for target in sorted(places, key=len, reverse=True):
        pattern = rf"(?<![\w./-]){re.escape(target.rstrip('/'))}(?![\w.-])"
        text = re.sub(pattern, lambda _, target=target: places[target], text)  # type: ignore[misc]
    return text
