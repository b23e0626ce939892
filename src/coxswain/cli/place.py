"""Where a cluster lives on disk, and how one process knows that another runs it.

DATA_DIR/                0700
  kubeconfig             the administrator's, 0600
  run/cluster.json       what runs: pid, address, nodes (written when ready, removed at the end)
  run/lock               held by the running ``cox up``: the truth about "is it running"
  log/cox.log            of a detached cluster
  apiserver/ kubelet/ ...  what the components keep
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from coxswain.base.errors import ConfigurationError, ResourceUnavailable


def default_data_dir() -> Path:
    """``$COXSWAIN_DATA_DIR``, else ``~/.coxswain``."""
    return Path(os.environ.get("COXSWAIN_DATA_DIR") or Path.home() / ".coxswain")


@dataclass(frozen=True, slots=True)
class Running:
    """What ``run/cluster.json`` says of a running cluster."""

    pid: int
    server: str
    kubeconfig: str
    node: str = ""
    runtime: str = ""
    hollow_nodes: int = 0
    processes: dict[str, int] = field(default_factory=dict)


class Place:
    """A cluster's directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.expanduser().absolute()
        self.run_dir = self.data_dir / "run"
        self.log_file = self.data_dir / "log" / "cox.log"
        self.record = self.run_dir / "cluster.json"
        self._lock_fd = -1

    def prepare(self) -> None:
        """Make the directories. Raises ``ConfigurationError`` when they cannot be made."""
        try:
            for directory in (self.data_dir, self.run_dir, self.log_file.parent):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the data directory {self.data_dir} cannot be used: {error.strerror}; name another with --data-dir"
            ) from error

    def acquire(self) -> None:
        """Become the process that runs this cluster. Raises ``ResourceUnavailable`` if another one is."""
        self.prepare()
        lock_fd = os.open(self.run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock_fd)
            raise ResourceUnavailable(
                f"a cluster already runs from {self.data_dir}; stop it with 'cox down', "
                "or start another with --data-dir and --port"
            ) from None
        os.ftruncate(lock_fd, 0)
        os.write(lock_fd, f"{os.getpid()}\n".encode())
        self._lock_fd = lock_fd

    def release(self) -> None:
        """The end of ``acquire``; the record goes with it."""
        self.record.unlink(missing_ok=True)
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def write(self, running: Running) -> None:
        """Say what runs (atomically, 0600)."""
        temporary = self.record.with_suffix(".tmp")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(orjson.dumps(asdict(running), option=orjson.OPT_INDENT_2))
        temporary.replace(self.record)

    def is_running(self) -> bool:
        """Whether some process holds the lock."""
        try:
            lock_fd = os.open(self.run_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(lock_fd)
        return False

    def holder(self) -> int | None:
        """The process that runs the cluster, ready or still starting; None when none does."""
        if not self.is_running():
            return None
        text = (self.run_dir / "lock").read_text().strip()
        return int(text) if text.isdigit() else None

    def running(self) -> Running | None:
        """The record of the running cluster; None when none runs or it is not ready yet."""
        if not self.is_running():
            return None
        try:
            return Running(**orjson.loads(self.record.read_bytes()))
        except FileNotFoundError:
            return None
