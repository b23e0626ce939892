"""``cox up`` killed with -9 and started again finds its running pods, and starts none of them twice."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from e2e.machine import RunningCluster, can_run_pods, cox, processes

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not can_run_pods(), reason="pods that are processes need root on Linux"),
]
#: Each start of a container leaves a line; the sleep's length makes the processes recognizable.
SCRIPT = "echo $POD >> /starts/log; exec sleep {seconds}"


def deployment(directory: Path, replicas: int, seconds: int) -> dict[str, Any]:
    labels = {"app": "kept"}
    container = {
        "name": "c",
        "image": "none",
        "command": ["sh", "-c", SCRIPT.format(seconds=seconds)],
        "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "volumeMounts": [{"name": "starts", "mountPath": "/starts"}],
    }
    volumes = [{"name": "starts", "hostPath": {"path": str(directory)}}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "kept"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 0},
            },
        },
    }


def pods(cluster: RunningCluster) -> dict[str, dict[str, Any]]:
    shown = cox("get", "pods", "-o", "json", f"--kubeconfig={cluster.kubeconfig}")
    assert shown.returncode == 0, shown.stderr
    return {pod["metadata"]["name"]: pod for pod in orjson.loads(shown.stdout)["items"]}


def ready(cluster: RunningCluster) -> dict[str, dict[str, Any]]:
    return {
        name: pod
        for name, pod in pods(cluster).items()
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
    }


def sleepers(seconds: int) -> set[int]:
    return {
        pid for pid in processes(f"sleep {seconds}") if Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
    }


def namespaces(cluster: RunningCluster) -> list[str]:
    tag = hashlib.sha256(f"{cluster.data_dir}/kubelet/runtime".encode()).hexdigest()[:8]
    return [entry.name for entry in Path("/run/netns").glob(f"cox-{tag}-*")]


def kill(cluster: RunningCluster) -> None:
    record = orjson.loads((cluster.data_dir / "run" / "cluster.json").read_bytes())
    os.kill(record["pid"], signal.SIGKILL)
    while Path(f"/proc/{record['pid']}").exists():
        time.sleep(0.01)


def test_running_pods_are_adopted_after_kill_9(tmp_path: Path) -> None:
    seconds = 86_000 + os.getpid() % 300
    starts = tmp_path / "starts"
    starts.mkdir()
    manifest = tmp_path / "kept.json"
    manifest.write_bytes(orjson.dumps(deployment(starts, 3, seconds)))
    with RunningCluster(tmp_path / "data") as cluster:
        applied = cox("apply", "-f", str(manifest), f"--kubeconfig={cluster.kubeconfig}")
        assert applied.returncode == 0, applied.stderr
        before = cluster.until(lambda: len(ready(cluster)) == 3 and ready(cluster), "three ready pods")
        running = sleepers(seconds)
        assert len(running) == 3

        kill(cluster)
        assert sleepers(seconds) == running, "pods do not die with what runs them"
        cluster.start()
        after = cluster.until(lambda: len(ready(cluster)) == 3 and ready(cluster), "three ready pods again")
        time.sleep(0.5)
        assert after.keys() == before.keys()
        assert sleepers(seconds) == running
        for name, pod in after.items():
            [status], [old] = pod["status"]["containerStatuses"], before[name]["status"]["containerStatuses"]
            assert (status["restartCount"], status["containerID"]) == (0, old["containerID"])
            assert pod["status"]["podIP"] == before[name]["status"]["podIP"]
        assert sorted((starts / "log").read_text().split()) == sorted(before)
    assert not sleepers(seconds), "cox down ends the pods"


def test_pods_that_were_just_starting_run_once_after_kill_9(tmp_path: Path) -> None:
    seconds = 86_400 + os.getpid() % 300
    starts = tmp_path / "starts"
    starts.mkdir()
    manifest = tmp_path / "kept.json"
    manifest.write_bytes(orjson.dumps(deployment(starts, 8, seconds)))
    with RunningCluster(tmp_path / "data") as cluster:
        applied = cox("apply", "-f", str(manifest), f"--kubeconfig={cluster.kubeconfig}")
        assert applied.returncode == 0, applied.stderr
        cluster.until(lambda: sleepers(seconds), "a first process")
        kill(cluster)
        cluster.start()
        cluster.until(lambda: len(ready(cluster)) == 8, "eight ready pods")
        assert len(sleepers(seconds)) == 8
        names = (starts / "log").read_text().split()
        assert sorted(names) == sorted(ready(cluster))
        kill(cluster)
        down = cox("down", f"--data-dir={cluster.data_dir}")
        assert "no cluster runs" in down.stdout and "ended 8 pods" in down.stdout
        assert not sleepers(seconds)
        assert not namespaces(cluster), "networks of pods that had no record yet are gone, too"
