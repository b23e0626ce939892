"""What ``cox up`` and ``cox down`` say when something is in the way: one line, what to do, the right exit code."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from coxswain.api.names import NODES
from coxswain.cli import podrange
from coxswain.cli.place import Place
from coxswain.client.connect import connect
from coxswain.client.interface import Client
from e2e.machine import COX, cox

#: No node on this machine: nothing here needs root.
UP = ("up", "--no-local-node", "--port=0")


def said(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line on standard error of a command that ended with ``code``."""
    assert done.returncode == code, done.stdout + done.stderr
    line, end, rest = done.stderr.partition("\n")
    assert line.startswith("error: ") and end and not rest, done.stderr
    return line


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    data_dir = tmp_path_factory.mktemp("running")
    done = cox(*UP, "--detach", "--hollow-nodes=2", f"--data-dir={data_dir}", "--output=json")
    assert done.returncode == 0, done.stderr
    yield {**orjson.loads(done.stdout), "data_dir": data_dir}
    assert cox("down", f"--data-dir={data_dir}").returncode == 0


async def test_a_detached_cluster_is_ready_when_the_command_returns(running: dict[str, Any]) -> None:
    assert running["server"].startswith("https://127.0.0.1:")
    assert Path(running["kubeconfig"]).stat().st_mode & 0o777 == 0o600
    client: Client
    async with await connect(running["kubeconfig"]) as client:
        assert len((await client.list(NODES)).items) == 2
    shown = cox("status", f"--data-dir={running['data_dir']}")
    assert shown.returncode == 0 and "2 of 2 ready" in shown.stdout


@pytest.mark.parametrize("flags", [(), ("--detach",)])
def test_a_second_cluster_in_the_same_directory_is_refused(
    running: dict[str, Any], flags: tuple[str, ...]
) -> None:
    line = said(cox(*UP, *flags, f"--data-dir={running['data_dir']}"), 1)
    assert "already runs" in line and "cox down" in line


@pytest.mark.parametrize("flags", [(), ("--detach",)])
def test_a_taken_port_is_named_and_so_is_the_way_out(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = said(cox("up", "--no-local-node", f"--port={port}", f"--data-dir={tmp_path}", *flags), 1)
    assert line == (
        f"error: cannot listen on 127.0.0.1:{port}: address already in use; choose another with --port"
    )


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--port=99999", "is not a port"),
        ("--hollow-nodes=-1", "--hollow-nodes must be 0 or more"),
        ("--node-name=Bad_Name!", "is no name of a node"),
        ("--controllers=nope", "nope"),
    ],
)
def test_values_that_cannot_be_are_refused_at_once(tmp_path: Path, flag: str, words: str) -> None:
    assert words in said(cox(*UP, f"--data-dir={tmp_path}", flag), 1)


@pytest.mark.parametrize("flag", ["--runtime=magic", "--bogus", "--port=x"])
def test_wrong_usage_ends_with_2(flag: str) -> None:
    done = cox("up", flag)
    assert done.returncode == 2
    assert done.stderr.endswith("Run 'cox up --help' for usage.\n")


@pytest.mark.parametrize("command", ["up", "apiserver"])
def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path, command: str) -> None:
    file = tmp_path / "file"
    file.touch()
    assert str(file) in said(cox(command, f"--data-dir={file}", "--port=0"), 1)


def test_down_may_be_said_twice(tmp_path: Path) -> None:
    assert cox(*UP, "--detach", "--store=memory", f"--data-dir={tmp_path}").returncode == 0
    assert cox("down", f"--data-dir={tmp_path}").stdout == "stopped\n"
    again = cox("down", f"--data-dir={tmp_path}")
    assert (again.returncode, again.stdout) == (0, f"no cluster runs from {tmp_path}\n")
    assert not Place(tmp_path).record.exists()


def test_down_stops_a_cluster_that_is_still_starting(tmp_path: Path) -> None:
    place = Place(tmp_path)
    waiting = "import sys,time; from pathlib import Path; from coxswain.cli.place import Place\n"
    waiting += "place = Place(Path(sys.argv[1])); place.acquire(); print('held', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", waiting, str(tmp_path)], stdout=subprocess.PIPE) as starting:
        assert starting.stdout is not None and starting.stdout.readline() == b"held\n"
        assert place.holder() == starting.pid and place.running() is None
        assert cox("down", f"--data-dir={tmp_path}").stdout == "stopped\n"
        assert starting.wait() == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    command = [*COX, *UP, f"--data-dir={tmp_path}", "--output=json", "--log-level=error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert orjson.loads(process.stdout.readline())["pid"] == process.pid
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr.read() == b""
    assert Place(tmp_path).holder() is None


def test_each_component_in_its_own_process(tmp_path: Path) -> None:
    done = cox(*UP, "--processes", "--hollow-nodes=3", "--detach", f"--data-dir={tmp_path}", "--output=json")
    assert done.returncode == 0, done.stderr
    processes = orjson.loads(done.stdout)["processes"]
    assert processes.keys() == {"apiserver", "scheduler", "controller-manager", "hollow-nodes"}
    assert cox("down", f"--data-dir={tmp_path}").returncode == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes.values())


# -- ranges of pod addresses


def test_clusters_that_run_at_one_time_have_different_pod_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(podrange.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(podrange, "_ranges_of_interfaces", lambda: {"10.245.0.0/16"})
    homes = [tmp_path / name for name in ("a", "b")]
    for home in homes:
        home.mkdir()
    first, second = (podrange.PodRange(home) for home in homes)
    assert (first.cidr, second.cidr) == ("10.244.0.0/16", "10.246.0.0/16")
    second.release()
    first.release()
    again = podrange.PodRange(homes[1])
    assert again.cidr == "10.246.0.0/16", "a cluster keeps its range"
    again.release()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert str(tmp_path) in said(cox(*UP, f"--data-dir={tmp_path}/d"), 1)
