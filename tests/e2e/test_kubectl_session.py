"""What somebody does with kubectl in the first hour, on pods that are real processes."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from e2e.machine import RunningCluster, fetch, processes

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples" / "web.yaml"
PAGE = "<h1>Hello from Coxswain</h1>\n"


def deploy_web(kube: RunningCluster) -> None:
    kube.kubectl("apply", "-f", str(EXAMPLE))
    kube.kubectl("rollout", "status", "deploy/web", "--timeout=30s")


def test_the_example_serves_its_page_from_every_pod(kube: RunningCluster) -> None:
    assert "deployment.apps/web created" in kube.kubectl("apply", "-f", str(EXAMPLE))
    kube.kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=30s")
    kube.kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    assert "unchanged" in kube.kubectl("apply", "-f", str(EXAMPLE))

    pods = kube.pods("app=web")
    addresses = {pod["status"]["podIP"] for pod in pods}
    assert len(addresses) == 3
    assert all(fetch(f"http://{address}:8080/index.html") == PAGE for address in addresses)
    assert all(address in kube.kubectl("get", "pods", "-o", "wide") for address in addresses)

    slices = kube.until(lambda: kube.json("get", "endpointslices")["items"], "an endpoint slice")
    ready = {one["addresses"][0] for one in slices[0]["endpoints"] if one["conditions"]["ready"]}
    assert ready == addresses

    pod = pods[0]["metadata"]["name"]
    described = kube.kubectl("describe", "pod", pod)
    assert "Scheduled" in described and "ConfigMap (a volume populated by a ConfigMap)" in described
    assert '"GET /index.html HTTP/1.1" 200' in kube.kubectl("logs", pod)
    with subprocess.Popen(kube.command("logs", "-f", pod, "--tail=0"), stdout=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        fetch(f"http://{pods[0]['status']['podIP']}:8080/index.html?followed")
        assert "GET /index.html" in follower.stdout.readline().decode()
        follower.terminate()

    assert "deleted" in kube.kubectl("delete", "-f", str(EXAMPLE), "--timeout=20s")
    kube.until(lambda: not kube.json("get", "pods")["items"], "pods that are gone")


def test_rollouts_go_forth_and_back(kube: RunningCluster) -> None:
    deploy_web(kube)
    assert "scaled" in kube.kubectl("scale", "deploy/web", "--replicas=2")
    assert "env updated" in kube.kubectl("set", "env", "deploy/web", "COLOR=blue")
    assert "successfully rolled out" in kube.kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    blue = kube.pods("app=web")
    assert len(blue) == 2
    assert all({"name": "COLOR", "value": "blue"} in pod["spec"]["containers"][0]["env"] for pod in blue)
    history = kube.kubectl("rollout", "history", "deploy/web")
    assert [line.split()[0] for line in history.splitlines()[2:4]] == ["1", "2"]
    assert "rolled back" in kube.kubectl("rollout", "undo", "deploy/web")
    kube.kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    deployment = kube.json("get", "deploy", "web")
    assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert all(
        entry["name"] != "COLOR" for entry in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    )


def test_labels_annotations_and_three_kinds_of_patches(kube: RunningCluster) -> None:
    kube.kubectl("create", "deployment", "idle", "--image=none", "--", "sleep", "1000")
    kube.kubectl("wait", "--for=condition=Available", "deploy/idle", "--timeout=30s")
    kube.kubectl("label", "deploy/idle", "tier=front")
    kube.kubectl("annotate", "deploy/idle", "note=hello there")
    kube.kubectl(
        "patch",
        "deploy/idle",
        "-p",
        '{"spec":{"template":{"spec":{"containers":[{"name":"none","tty":true}]}}}}',
    )
    kube.kubectl("patch", "deploy/idle", "--type=merge", "-p", '{"metadata":{"labels":{"tier":null}}}')
    kube.kubectl(
        "patch", "deploy/idle", "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":2}]'
    )
    got = kube.json("get", "deploy", "idle")
    assert got["metadata"]["annotations"]["note"] == "hello there"
    assert "tier" not in got["metadata"]["labels"]
    assert got["spec"]["replicas"] == 2
    [container] = got["spec"]["template"]["spec"]["containers"]
    assert container["tty"] is True and container["command"] == ["sleep", "1000"]
    kube.kubectl("rollout", "status", "deploy/idle", "--timeout=30s")
    kube.kubectl("delete", "deploy", "idle", "--timeout=10s")
    assert "NotFound" in kube.kubectl("get", "deploy", "idle", code=1)


def test_creating_from_the_command_line_and_asking_for_permissions(kube: RunningCluster) -> None:
    kube.kubectl("create", "configmap", "settings", "--from-literal=a=b")
    assert kube.json("get", "configmap", "settings")["data"] == {"a": "b"}
    assert "already exists" in kube.kubectl("create", "configmap", "settings", "--from-literal=a=c", code=1)
    assert kube.kubectl("auth", "can-i", "create", "pods").startswith("yes")
    assert kube.kubectl("auth", "can-i", "create", "pods", "--as=nobody", code=1).startswith("no")
    refused = kube.kubectl("get", "secrets", "--as=nobody", code=1)
    assert 'User "nobody" cannot list resource "secrets" in API group ""' in refused
    kube.kubectl(
        "apply", "--server-side", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\n"
    )
    broken = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: C}]}\n"
    assert "spec.containers[0].image: Required value" in kube.kubectl(
        "create", "-f", "-", stdin=broken, code=1
    )


def test_a_killed_process_is_restarted_with_back_off(kube: RunningCluster) -> None:
    kube.kubectl("create", "deployment", "idle", "--image=none", "--", "sleep", "86399")
    kube.kubectl("wait", "--for=condition=Available", "deploy/idle", "--timeout=30s")
    [first] = kube.until(sleepers, "a running process")
    os.kill(first, signal.SIGKILL)
    once = kube.until(lambda: restarted(kube, 1), "a restart")
    assert once["lastState"]["terminated"]["exitCode"] == 137
    [second] = kube.until(lambda: sleepers() if sleepers() != [first] else None, "another process")
    os.kill(second, signal.SIGKILL)
    waiting = kube.until(lambda: restarted(kube, 1)["state"].get("waiting"), "a pause")
    assert waiting["reason"] == "CrashLoopBackOff"
    kube.until(lambda: "BackOff" in kube.kubectl("get", "events"), "an event")


def sleepers() -> list[int]:
    return [pid for pid in processes("sleep 86399") if Path(f"/proc/{pid}/comm").read_text() == "sleep\n"]


def restarted(kube: RunningCluster, count: int) -> dict[str, dict[str, dict[str, object]]]:
    [pod] = kube.pods("app=idle")
    [status] = pod["status"]["containerStatuses"]
    return status if status["restartCount"] >= count else {}
