"""Workloads in a few words, for the tests of what conformance asks."""

from __future__ import annotations

from typing import Any

from coxswain.api.names import Object

#: An exec probe that tests break and mend by ``Process.healthy``.
READINESS = {"exec": {"command": ["healthy"]}, "periodSeconds": 1, "failureThreshold": 1}


def pod_spec(image: str = "web:1", **spec: Any) -> Object:
    container = {"name": "c", "image": image, **spec.pop("container", {})}
    return {"containers": [container], "terminationGracePeriodSeconds": 1, **spec}


def pod(name: str, labels: dict[str, str] | None = None, image: str = "web:1", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {"app": name}},
        "spec": pod_spec(image, **spec),
    }


def template(labels: dict[str, str], image: str = "web:1", **spec: Any) -> Object:
    return {"metadata": {"labels": labels}, "spec": pod_spec(image, **spec)}


def workload(
    kind: str,
    name: str,
    replicas: int | None = None,
    *,
    image: str = "web:1",
    pod: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A ReplicaSet, Deployment, StatefulSet or DaemonSet whose pods have the label ``app: name``."""
    wanted = labels or {"app": name}
    body: Object = {
        "selector": {"matchLabels": wanted},
        "template": template(wanted, image, **(pod or {})),
        **spec,
    }
    if replicas is not None:
        body["replicas"] = replicas
    if kind == "StatefulSet":
        body.setdefault("serviceName", name)
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": wanted},
        "spec": body,
    }


def replication_controller(name: str, replicas: int, **pod: Any) -> Object:
    labels = {"app": name}
    return {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": replicas, "selector": labels, "template": template(labels, **pod)},
    }


def job(name: str, image: str = "done", *, pod: dict[str, Any] | None = None, **spec: Any) -> Object:
    inner = {"restartPolicy": "Never", **(pod or {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "template": {"metadata": {"labels": {"of": name}}, "spec": pod_spec(image, **inner)},
            **spec,
        },
    }
