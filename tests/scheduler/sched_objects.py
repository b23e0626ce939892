"""Nodes and pods for the scheduler's tests."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def node(name: str, *, cpu: str = "4", memory: str = "32Gi", pods: str = "110", **more: Any) -> Object:
    """A node; ``labels``, ``taints``, ``unschedulable``, ``images`` and ``extra`` resources as given."""
    labels = {"kubernetes.io/hostname": name, **more.get("labels", {})}
    spec: Object = {}
    if more.get("taints"):
        spec["taints"] = more["taints"]
    if more.get("unschedulable"):
        spec["unschedulable"] = True
    resources = {"cpu": cpu, "memory": memory, "pods": pods, **more.get("extra", {})}
    status: Object = {"allocatable": resources, "capacity": resources}
    if more.get("images"):
        status["images"] = [{"names": [n], "sizeBytes": size} for n, size in more["images"].items()]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": status,
    }


def pod(name: str, *, cpu: str = "100m", memory: str = "500Mi", namespace: str = "d", **more: Any) -> Object:
    """A pod of one container; ``spec`` is merged over its spec, ``labels`` and ``ports`` as given."""
    container: Object = {"name": "c", "image": more.get("image", "pause:3")}
    requests = {"cpu": cpu, "memory": memory} if cpu else {}
    requests |= more.get("extra", {})
    if requests:
        container["resources"] = {"requests": requests}
    if more.get("ports"):
        container["ports"] = more["ports"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "labels": more.get("labels", {}),
        },
        "spec": {
            "schedulerName": "default-scheduler",
            "containers": [container],
            "priority": more.get("priority", 0),
            **more.get("spec", {}),
        },
        "status": {"phase": "Pending"},
    }
