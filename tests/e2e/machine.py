"""A cluster as a user has it: started by ``cox``, driven by kubectl, with processes on this machine.

with RunningCluster(data_dir) as cluster:
    cluster.kubectl("get", "pods", "-o", "wide")     # its output; an AssertionError with its words otherwise
    cluster.json("get", "deploy", "web")
    cluster.until(lambda: ..., "what is waited for")
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import orjson

T = TypeVar("T")
COX = (sys.executable, "-m", "coxswain.cli.main")
_numbers = itertools.count(1)


def can_run_pods() -> bool:
    """Whether pods get namespaces and addresses here."""
    return sys.platform == "linux" and os.geteuid() == 0


def cox(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run ``cox`` to its end."""
    return subprocess.run(
        [*COX, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
    )


class RunningCluster:
    """See the module's text. ``flags`` are further ones of ``cox up``."""

    def __init__(self, data_dir: Path, *flags: str) -> None:
        self.data_dir = data_dir
        self.kubeconfig = data_dir / "kubeconfig"
        self.flags = flags
        self._namespace = "default"

    def start(self) -> dict[str, Any]:
        """``cox up --detach``; what it says of the cluster."""
        done = cox("up", "--detach", "--port=0", f"--data-dir={self.data_dir}", "--output=json", *self.flags)
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = orjson.loads(done.stdout)
        return said

    def stop(self) -> None:
        """``cox down``."""
        done = cox("down", f"--data-dir={self.data_dir}")
        assert done.returncode == 0, done.stderr

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @contextmanager
    def namespace(self) -> Iterator[None]:
        """Let kubectl use a fresh namespace; it is deleted with all that is in it."""
        self._namespace = f"test-{next(_numbers)}"
        self.kubectl("create", "namespace", self._namespace)
        try:
            yield
        finally:
            name, self._namespace = self._namespace, "default"
            self.kubectl("delete", "pods", "--all", "-n", name, "--grace-period=0", "--force", "--wait=false")
            self.kubectl("delete", "namespace", name, "--wait=false")

    @property
    def current_namespace(self) -> str:
        """The namespace that kubectl uses."""
        return self._namespace

    def command(self, *arguments: str) -> list[str]:
        """The command line of kubectl against this cluster."""
        return ["kubectl", f"--kubeconfig={self.kubeconfig}", f"--namespace={self._namespace}", *arguments]

    def kubectl(self, *arguments: str, stdin: str | None = None, code: int = 0) -> str:
        """What kubectl prints (both streams); it must end with ``code``."""
        done = subprocess.run(
            self.command(*arguments),
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        """The object or list that ``kubectl ... -o json`` prints."""
        return orjson.loads(self.kubectl(*arguments, "-o", "json"))

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """The pods with these labels that are not being deleted."""
        items: list[dict[str, Any]] = self.json("get", "pods", "-l", selector)["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def until(self, found: Callable[[], T | None], what: str, timeout: float = 30) -> T:
        """The first answer that is not empty or None."""
        deadline = time.monotonic() + timeout
        while not (answer := found()):
            assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
            time.sleep(0.05)
        return answer


def fetch(url: str) -> str:
    """The text at a URL."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def processes(text: str) -> list[int]:
    """Ids of this machine's processes whose command line holds ``text``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in line.replace(b"\0", b" "):
                found.append(int(entry.name))
    return found
