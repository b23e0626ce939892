"""Every replica serves a page of its own, fetched through the API server's proxy."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from e2e.machine import RunningCluster

pytestmark = pytest.mark.e2e

SERVER = """
import http.server, socket

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = socket.gethostname().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.HTTPServer(("", 9376), Handler).serve_forever()
"""
PROBE = {"tcpSocket": {"port": 9376}, "periodSeconds": 1}


def manifest(kind: str) -> dict[str, Any]:
    labels = {"name": "my-hostname"}
    container = {
        "name": "server",
        "image": "none",
        "command": [sys.executable, "-c", SERVER],
        "readinessProbe": PROBE,
    }
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    is_set = kind == "ReplicaSet"
    return {
        "apiVersion": "apps/v1" if is_set else "v1",
        "kind": kind,
        "metadata": {"name": "my-hostname"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels} if is_set else labels,
            "template": template,
        },
    }


@pytest.mark.parametrize("kind", ["ReplicaSet", "ReplicationController"])
@pytest.mark.conformance(
    "[sig-apps] ReplicaSet should serve a basic image on each replica with a public image [Conformance]",
    "[sig-apps] ReplicationController should serve a basic image on each replica with a public image [Conformance]",
    note="with processes of this machine in the place of an image",
)
def test_every_replica_answers_with_its_name(kube: RunningCluster, kind: str) -> None:
    kube.kubectl("create", "-f", "-", stdin=json.dumps(manifest(kind)))

    def names() -> list[str] | None:
        pods = kube.pods("name=my-hostname")
        ready = [p for p in pods if {"type": "Ready", "status": "True"}.items() <= _ready(p).items()]
        return [pod["metadata"]["name"] for pod in ready] if len(ready) == 2 else None

    for name in kube.until(names, "two replicas that are ready"):
        path = f"/api/v1/namespaces/{kube.current_namespace}/pods/{name}:9376/proxy/"
        assert kube.kubectl("get", "--raw", path) == name


def _ready(pod: dict[str, Any]) -> dict[str, str]:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == "Ready"), {})
