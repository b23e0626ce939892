"""The runtime's contract: CRI's verbs (``k8s.io/cri-api runtime.v1``), as far as this kubelet needs them.

    sandbox:    run -> READY -> stop -> NOTREADY -> remove
    container:  create -> CREATED -> start -> RUNNING -> (exit) -> EXITED -> remove

Guarantees that each runtime keeps:
1. ``stop`` and ``remove`` of something that is gone succeed: every verb may be repeated after a crash.
2. What runs outlives the kubelet: ``sandboxes()`` and ``containers()`` of a new process list it again, with
   the labels and annotations it was made with. Nothing is ever started twice.
3. ``events()`` reports each exit soon after it happens; it may miss some (the kubelet also relists).
4. A log file has CRI's format: ``2026-11-21T02:34:30.123456789Z stdout F line``.

    RuntimeFailure
      ImageUnavailable      the image cannot be had (ErrImagePull)
      ContainerNotFound
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from coxswain.base.errors import CoxswainError

#: The label that names the pod of a container; kubelet's name for it.
POD_UID_LABEL = "io.kubernetes.pod.uid"


class RuntimeFailure(CoxswainError):
    """The runtime could not do it; ``reason`` is a Kubernetes waiting reason (CamelCase)."""

    def __init__(self, message: str, reason: str = "RunContainerError") -> None:
        super().__init__(message)
        self.reason = reason


class ImageUnavailable(RuntimeFailure):
    """The image is not there and cannot be pulled."""

    def __init__(self, message: str, reason: str = "ErrImagePull") -> None:
        super().__init__(message, reason)


class ContainerNotFound(RuntimeFailure):
    """No container of this id."""


class ContainerState(Enum):
    """CRI's container states."""

    CREATED = "CONTAINER_CREATED"
    RUNNING = "CONTAINER_RUNNING"
    EXITED = "CONTAINER_EXITED"
    UNKNOWN = "CONTAINER_UNKNOWN"


@dataclass(frozen=True, slots=True)
class Mount:
    """A host path shown inside the container."""

    host_path: str
    container_path: str
    readonly: bool = False
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """What a pod's sandbox is made from. ``log_directory`` holds its containers' logs."""

    name: str
    namespace: str
    uid: str
    attempt: int
    hostname: str
    log_directory: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    host_network: bool = False
    host_pid: bool = False
    cgroup_parent: str = ""
    port_mappings: Sequence[tuple[int, int, str]] = ()


@dataclass(frozen=True, slots=True)
class Resources:
    """Linux limits. cpu in millicores, memory in bytes; 0 is unlimited."""

    cpu_request_milli: int = 0
    cpu_limit_milli: int = 0
    memory_limit: int = 0
    oom_score_adj: int = 0


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """What a container is made from. ``log_path`` is relative to the sandbox's log directory."""

    name: str
    attempt: int
    image: str
    command: Sequence[str]
    args: Sequence[str]
    working_dir: str
    env: Sequence[tuple[str, str]]
    mounts: Sequence[Mount]
    log_path: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    stdin: bool = False
    tty: bool = False
    resources: Resources = field(default_factory=Resources)
    run_as_user: int | None = None
    run_as_group: int | None = None
    privileged: bool = False
    stop_signal: str = ""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox as the runtime reports it."""

    id: str
    ready: bool
    created_at: float
    ips: Sequence[str]
    config: SandboxConfig


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the runtime reports it. Times are seconds since the epoch, 0 when not yet."""

    id: str
    sandbox_id: str
    name: str
    attempt: int
    state: ContainerState
    image: str
    image_id: str
    created_at: float
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    log_path: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command run inside a container left behind."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Version:
    """The runtime's name and version, and the prefix of container ids (``process://...``)."""

    name: str
    version: str
    scheme: str


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """Something happened to a container: the kubelet looks at the pod at once."""

    sandbox_id: str
    container_id: str


class Runtime(Protocol):
    """See the module's text for the guarantees. Every method may raise ``RuntimeFailure``."""

    async def version(self) -> Version: ...

    async def run_sandbox(self, config: SandboxConfig) -> str:
        """Make the sandbox and its network; its id."""
        ...

    async def stop_sandbox(self, sandbox_id: str) -> None: ...

    async def remove_sandbox(self, sandbox_id: str) -> None: ...

    async def sandboxes(self, pod_uid: str = "") -> list[Sandbox]:
        """All sandboxes, or those of one pod."""
        ...

    async def ensure_image(self, image: str, policy: str) -> str:
        """Make the image available under Kubernetes' pull policy; its id. Raises ``ImageUnavailable``."""
        ...

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str: ...

    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, timeout: float) -> None:
        """The stop signal, then SIGKILL after ``timeout`` seconds; returns when it has ended."""
        ...

    async def remove_container(self, container_id: str) -> None: ...

    async def containers(self, pod_uid: str = "") -> list[Container]:
        """All containers, or those of one pod (by the label ``POD_UID_LABEL``)."""
        ...

    async def exec(self, container_id: str, command: Sequence[str], timeout: float) -> ExecResult:
        """Run a command inside; ``timeout`` seconds (0: none). Raises ``TimeoutError``."""
        ...

    async def reopen_log(self, container_id: str) -> None:
        """The log file was rotated away: write to a new one."""
        ...

    def events(self) -> AsyncIterator[RuntimeEvent]: ...

    async def close(self) -> None:
        """Let go; what runs goes on running."""
        ...
