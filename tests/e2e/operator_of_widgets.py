"""An operator as its users write them, for ``kopf run``: each Widget gets a Deployment of its size.

It uses a finalizer (``on.delete``), the status subresource (what handlers return), events and a field handler.
"""

from __future__ import annotations

from typing import Any

import kopf
import kubernetes


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = True
    settings.persistence.finalizer = "example.com/widgets"
    kubernetes.config.load_kube_config()


def deployment(name: str, size: int) -> dict[str, Any]:
    labels = {"widget": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"widget-{name}", "labels": labels},
        "spec": {
            "replicas": size,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "none"}]},
            },
        },
    }


@kopf.on.create("example.com", "v1", "widgets")
def create(name: str, namespace: str, spec: kopf.Spec, **_: Any) -> dict[str, Any]:
    made = deployment(name, spec["size"])
    kopf.adopt(made)
    kubernetes.client.AppsV1Api().create_namespaced_deployment(namespace, made)
    return {"deployment": made["metadata"]["name"]}


@kopf.on.field("example.com", "v1", "widgets", field="spec.size")
def resize(name: str, namespace: str, old: int | None, new: int, **_: Any) -> None:
    if old is not None:
        patch = {"spec": {"replicas": new}}
        kubernetes.client.AppsV1Api().patch_namespaced_deployment_scale(f"widget-{name}", namespace, patch)


@kopf.on.delete("example.com", "v1", "widgets")
def delete(name: str, namespace: str, **_: Any) -> None:
    kubernetes.client.CoreV1Api().create_namespaced_config_map(
        namespace, {"metadata": {"name": f"farewell-{name}"}, "data": {"said": "good-bye"}}
    )
