"""What Kubernetes' conformance asks of kubectl, on nodes that pretend (and of logs, on one that does not)."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any

import pytest

from e2e.machine import RunningCluster

pytestmark = pytest.mark.e2e
CLIENT = "[sig-cli] Kubectl client "


def controller(name: str = "agnhost-primary", replicas: int = 1) -> str:
    labels = {"app": "agnhost", "role": "primary"}
    container = {"name": name, "image": "agnhost:2", "ports": [{"name": "server", "containerPort": 6379}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": labels, "template": template}
    body = {"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": name}, "spec": spec}
    return json.dumps(body)


def running(desk: RunningCluster, count: int, selector: str = "app=agnhost") -> list[dict[str, Any]]:
    """The pods, as soon as they are this many and run."""

    def found() -> list[dict[str, Any]] | None:
        pods = desk.pods(selector)
        good = len(pods) == count and all(pod["status"]["phase"] == "Running" for pod in pods)
        return pods if good else None

    return desk.until(found, f"{count} running pods")


@pytest.mark.conformance(
    f"{CLIENT}Kubectl api-versions should check if v1 is in available api versions [Conformance]",
    f"{CLIENT}Kubectl cluster-info should check if Kubernetes control plane services is included in cluster-info [Conformance]",
    f"{CLIENT}Kubectl version should check is all data is printed [Conformance]",
)
def test_the_cluster_says_what_it_is(desk: RunningCluster) -> None:
    assert "v1" in desk.kubectl("api-versions").splitlines()
    info = re.sub(r"\x1b\[[0-9;]*m", "", desk.kubectl("cluster-info"))
    assert "Kubernetes control plane is running at https://127.0.0.1" in info
    version = desk.kubectl("version")
    assert "Client Version: v" in version and "Server Version: v1.36" in version


@pytest.mark.conformance(
    f"{CLIENT}Kubectl describe should check if kubectl describe prints relevant information for rc and pods [Conformance]",
    f"{CLIENT}Kubectl expose should create services for rc [Conformance]",
    f"{CLIENT}Kubectl patch should add annotations for pods in rc [Conformance]",
    f"{CLIENT}Kubectl label should update the label on a resource [Conformance]",
    f"{CLIENT}Update Demo should create and stop a replication controller [Conformance]",
    f"{CLIENT}Update Demo should scale a replication controller [Conformance]",
    note="no page is fetched from the pods",
)
def test_a_controller_is_described_exposed_patched_labelled_scaled_and_stopped(desk: RunningCluster) -> None:
    desk.kubectl("create", "-f", "-", stdin=controller())
    (pod,) = running(desk, 1)
    name = pod["metadata"]["name"]
    described = desk.kubectl("describe", "pod", name)
    wanted = (
        "Controlled By:",
        "ReplicationController/agnhost-primary",
        "Image:",
        "State:",
        "Running",
        "QoS Class:",
    )
    assert all(word in described for word in (name, "app=agnhost", "role=primary", *wanted))
    described = desk.kubectl("describe", "rc", "agnhost-primary")
    assert "1 current / 1 desired" in described and "1 Running / 0 Waiting" in described
    assert "agnhost-primary" in desk.kubectl("describe", "node", pod["spec"]["nodeName"])
    desk.kubectl("expose", "rc", "agnhost-primary", "--name=rm2", "--port=1234", "--target-port=6379")
    desk.kubectl("expose", "service", "rm2", "--name=rm3", "--port=2345", "--target-port=6379")
    for service, port in (("rm2", 1234), ("rm3", 2345)):
        (listed,) = desk.json("get", "service", service)["spec"]["ports"]
        assert (listed["port"], listed["targetPort"]) == (port, 6379)
        address = pod["status"]["podIP"]

        def reached(service: str = service, address: str = address) -> bool:
            slices = desk.json("get", "endpointslices", "-l", f"kubernetes.io/service-name={service}")[
                "items"
            ]
            return any(address in each["addresses"] for one in slices for each in one["endpoints"] or ())

        desk.until(reached, f"the pod behind {service}")
    desk.kubectl("patch", "pod", name, "-p", '{"metadata":{"annotations":{"x":"y"}}}')
    assert desk.json("get", "pod", name)["metadata"]["annotations"]["x"] == "y"
    desk.kubectl("label", "pod", name, "testing-label=testing-label-value")
    assert "testing-label-value" in desk.kubectl("get", "pod", name, "-L", "testing-label")
    desk.kubectl("label", "pod", name, "testing-label-")
    assert "testing-label-value" not in desk.kubectl("get", "pod", name, "-L", "testing-label")
    desk.kubectl("scale", "rc", "agnhost-primary", "--replicas=2", "--timeout=5m")
    running(desk, 2)
    desk.kubectl("scale", "rc", "agnhost-primary", "--replicas=1", "--timeout=5m")
    running(desk, 1)
    desk.kubectl("delete", "rc", "agnhost-primary", "--grace-period=0", "--force")
    desk.until(lambda: not desk.pods("app=agnhost"), "pods that are gone")


@pytest.mark.conformance(
    f"{CLIENT}Kubectl run pod should create a pod from an image when restart is Never [Conformance]",
    f"{CLIENT}Kubectl replace should update a single-container pod's image [Conformance]",
    f"{CLIENT}Kubectl server-side dry-run should check if kubectl can dry-run update Pods [Conformance]",
    f"{CLIENT}Kubectl diff should check if kubectl diff finds a difference for Deployments [Conformance]",
)
def test_images_are_run_replaced_tried_and_compared(desk: RunningCluster) -> None:
    desk.kubectl("run", "pod", "--restart=Never", "--image=httpd:1", "--labels=run=pod")
    pod = desk.json("get", "pod", "pod")
    assert (pod["spec"]["restartPolicy"], pod["spec"]["containers"][0]["image"]) == ("Never", "httpd:1")
    running(desk, 1, "run=pod")
    patch = '{"spec":{"containers":[{"name":"pod","image":"busybox:1"}]}}'
    desk.kubectl("patch", "pod", "pod", "-p", patch, "--dry-run=server")
    assert desk.json("get", "pod", "pod")["spec"]["containers"][0]["image"] == "httpd:1"
    pod = desk.json("get", "pod", "pod")
    pod["spec"]["containers"][0]["image"] = "busybox:1"
    desk.kubectl("replace", "-f", "-", stdin=json.dumps(pod))
    assert desk.json("get", "pod", "pod")["spec"]["containers"][0]["image"] == "busybox:1"
    desk.kubectl("create", "deployment", "httpd", "--image=httpd:1")
    deployment = desk.json("get", "deployment", "httpd")
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "busybox:1"
    difference = desk.kubectl("diff", "-f", "-", stdin=json.dumps(deployment), code=1)
    assert re.search(r"^-\s+- image: httpd:1$", difference, re.MULTILINE)
    assert re.search(r"^\+\s+- image: busybox:1$", difference, re.MULTILINE)


@pytest.mark.conformance(
    f"{CLIENT}Proxy server should support proxy with --port 0 [Conformance]",
    f"{CLIENT}Proxy server should support --unix-socket=/path [Conformance]",
)
def test_the_api_is_served_by_a_proxy_at_a_port_and_at_a_socket(desk: RunningCluster, tmp_path: Path) -> None:
    with subprocess.Popen(desk.command("proxy", "-p", "0"), stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        said = proxy.stdout.readline()
        (port,) = re.findall(r"127\.0\.0\.1:(\d+)", said)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/", timeout=5) as answer:
            assert json.load(answer)["versions"] == ["v1"]
        proxy.terminate()
    path = tmp_path / "socket"
    with subprocess.Popen(desk.command("proxy", f"--unix-socket={path}"), stdout=subprocess.PIPE) as proxy:
        assert proxy.stdout is not None and b"socket" in proxy.stdout.readline()
        client = HTTPConnection("localhost")
        client.sock = socket(AF_UNIX)
        client.sock.settimeout(5)
        client.sock.connect(str(path))
        client.request("GET", "/api/")
        assert json.load(client.getresponse())["versions"] == ["v1"]
        client.close()
        proxy.terminate()


@pytest.mark.conformance(
    "[sig-cli] Kubectl logs logs should be able to retrieve and filter logs [Conformance]"
)
def test_logs_are_read_whole_and_in_part(kube: RunningCluster) -> None:
    script = "import time; [print('line', n, flush=True) for n in range(20)]; time.sleep(1000)"
    kube.kubectl("run", "logs", "--image=none", "--restart=Never", "--command", "--", "python3", "-c", script)
    kube.kubectl("wait", "pod/logs", "--for=condition=Ready", "--timeout=60s")
    kube.until(lambda: "line 19" in kube.kubectl("logs", "logs"), "all lines")
    assert kube.kubectl("logs", "logs", "logs", "--tail=1") == "line 19\n"
    assert len(kube.kubectl("logs", "logs", "--limit-bytes=1")) == 1
    (stamped,) = kube.kubectl("logs", "logs", "--tail=1", "--timestamps").splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z line 19", stamped)
    assert kube.kubectl("logs", "logs", "--since=24h").count("line") == 20
    assert not kube.kubectl("logs", "logs", "--since-time=2999-01-01T00:00:00Z")
