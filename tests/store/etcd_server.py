"""An etcd for tests: processes with directories of their own, which can be stopped, frozen and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ETCD = shutil.which("etcd")
needs_etcd = pytest.mark.skipif(ETCD is None, reason="etcd is not installed")


class Etcd:
    """One member, reached at ``url``; its ports stay the same when it is started again."""

    def __init__(
        self, directory: Path, flags: Sequence[str] = (), scheme: str = "http", name: str = "default"
    ) -> None:
        self._directory = directory
        self._flags = flags
        self._name = name
        self.url, self._peer = f"{scheme}://127.0.0.1:{_free_port()}", f"http://127.0.0.1:{_free_port()}"
        #: Which members there are, and where they reach one another.
        self.cluster = self.place
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> str:
        """How the other members are told of this one."""
        return f"{self._name}={self._peer}"

    def start(self) -> None:
        """Start it; whoever asks waits for it."""
        assert ETCD is not None
        command = [
            ETCD,
            f"--name={self._name}",
            f"--data-dir={self._directory / self._name}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={self._peer}",
            f"--initial-advertise-peer-urls={self._peer}",
            f"--initial-cluster={self.cluster}",
            "--heartbeat-interval=10",
            "--election-timeout=100",
            "--log-level=error",
            *self._flags,
        ]
        environment = {**os.environ, "ETCD_UNSUPPORTED_ARCH": "arm64"}
        with (self._directory / "etcd.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP freezes it, SIGCONT thaws it."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        """Kill it; its data stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def wait(self) -> None:
        """Return when it accepts connections."""
        host, port = self.url.rpartition("/")[2].split(":")
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
                return
            time.sleep(0.02)
        raise AssertionError((self._directory / "etcd.log").read_text()[-2000:])


@contextlib.contextmanager
def running(flags: Sequence[str] = (), scheme: str = "http") -> Iterator[Etcd]:
    """An etcd that runs until the block ends."""
    with tempfile.TemporaryDirectory(prefix="etcd-") as directory:
        etcd = Etcd(Path(directory), flags, scheme)
        etcd.start()
        try:
            etcd.wait()
            yield etcd
        finally:
            etcd.stop()


@contextlib.contextmanager
def running_cluster(size: int = 3) -> Iterator[list[Etcd]]:
    """The members of one etcd cluster."""
    with tempfile.TemporaryDirectory(prefix="etcd-") as directory:
        members = [Etcd(Path(directory), name=f"m{number}") for number in range(size)]
        for member in members:
            member.cluster = ",".join(each.place for each in members)
            member.start()
        try:
            for member in members:
                member.wait()
            yield members
        finally:
            for member in members:
                member.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
