"""What the process runtime keeps on disk, and how it is read back.

    ROOT/sandboxes/ID/config.json       SandboxConfig, address, namespace; removed last
    ROOT/containers/ID/config.json      what it was made from, and what the shim runs
                       started          made by the shim before anything else: it starts at most once
                       state.json       pids with their start times
                       exit.json        exit code and time
                       lock             held by the supervisor while it lives

All files are 0600 below a 0700 directory: they hold environments.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
from collections.abc import Iterator
from typing import Any

import orjson

from coxswain.base import clock
from coxswain.kubelet.runtime.interface import (
    Container,
    ContainerConfig,
    ContainerState,
    Mount,
    Resources,
    Sandbox,
    SandboxConfig,
)

Record = dict[str, Any]


def read(path: str) -> Record | None:
    """A JSON file, or None when it is not there (or not whole)."""
    try:
        with open(path, "rb") as file:
            record: Record = orjson.loads(file.read())
            return record
    except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
        return None


def write(path: str, record: Record) -> None:
    """Put a JSON file in place at once."""
    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps(record))
    os.rename(path + ".new", path)


def subdirectories(path: str) -> Iterator[str]:
    """Names of the entries of a directory; none where it does not exist."""
    try:
        yield from sorted(os.listdir(path))
    except FileNotFoundError:
        return


def sandbox_config(record: Record) -> SandboxConfig:
    """The configuration that ``dataclasses.asdict`` wrote."""
    fields = {**record, "port_mappings": [tuple(port) for port in record.get("port_mappings", ())]}
    return SandboxConfig(**fields)


def container_config(record: Record) -> ContainerConfig:
    """The configuration that ``dataclasses.asdict`` wrote."""
    fields = dict(record)
    fields["mounts"] = [Mount(**mount) for mount in record["mounts"]]
    fields["env"] = [tuple(pair) for pair in record["env"]]
    fields["resources"] = Resources(**record["resources"])
    return ContainerConfig(**fields)


def sandbox(identifier: str, record: Record) -> Sandbox:
    """A sandbox as it is recorded."""
    ips = [record["ip"]] if record.get("ip") else []
    return Sandbox(
        identifier, not record.get("stopped"), record["created_at"], ips, sandbox_config(record["config"])
    )


def as_record(value: SandboxConfig | ContainerConfig) -> Record:
    """A configuration as JSON has it."""
    record: Record = dataclasses.asdict(value)
    for key in ("labels", "annotations"):
        record[key] = dict(record[key])
    return record


def alive(pid: int, started: int) -> bool:
    """Whether the process of this pid that started at that tick still runs (a zombie does not)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return False
    return int(fields[19]) == started and fields[0] != b"Z"


def send(pid: int, started: int, number: int, group: bool = False) -> bool:
    """Signal exactly that process (and its group); whether it was there."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not alive(pid, started):
            return False
        signal.pidfd_send_signal(descriptor, number)
        if group:
            os.killpg(pid, number)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def supervised(directory: str) -> bool:
    """Whether a supervisor holds the container's lock."""
    try:
        descriptor = os.open(directory + "/lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def container(identifier: str, directory: str, record: Record) -> Container:
    """A container's state from its files. One whose supervisor died without a word has exited with 137."""
    config = record["config"]
    exit_record = read(directory + "/exit.json")
    running = read(directory + "/state.json")
    state, reason, message, code, finished = ContainerState.CREATED, "", "", 0, 0.0
    if exit_record is None and running is not None:
        state = ContainerState.RUNNING
        if not supervised(directory):
            # The exit may have been written between our two looks.
            exit_record = read(directory + "/exit.json") or _lost(directory, running)
    if exit_record is not None:
        state = ContainerState.EXITED
        code, finished = int(exit_record["exit_code"]), float(exit_record["finished_at"])
        reason, message = exit_record.get("reason", ""), exit_record.get("message", "")
    return Container(
        id=identifier,
        sandbox_id=record["sandbox_id"],
        name=config["name"],
        attempt=config["attempt"],
        state=state,
        image=config["image"],
        image_id=config["image"],
        created_at=record["created_at"],
        started_at=float(running["started_at"]) if running else 0.0,
        finished_at=finished,
        exit_code=code,
        reason=reason,
        message=message,
        log_path=record["process"]["log_path"],
        labels=config["labels"],
        annotations=config["annotations"],
    )


def _lost(directory: str, running: Record) -> Record:
    """The supervisor is gone (the machine was restarted, or it was killed): end what may be left."""
    send(running["pid"], running["pid_start"], signal.SIGKILL, group=True)
    record = {"exit_code": 137, "finished_at": clock.now(), "reason": "Error"}
    write(directory + "/exit.json", record)
    return record


def exists(path: str) -> bool:
    """Whether a file is there; a local look, cheap enough for the loop."""
    return os.path.exists(path)


def make(path: str, mode: int) -> None:
    """Make a directory and those above it."""
    os.makedirs(path, mode=mode, exist_ok=True)


def absolute(path: str) -> str:
    """``path`` from the root."""
    return os.path.abspath(path)
