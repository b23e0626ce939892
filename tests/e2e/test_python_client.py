"""The flow of the first hour through the Python client that the Kubernetes project publishes."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.machine import RunningCluster, fetch

pytestmark = [
    pytest.mark.e2e,
    # The published client leaves its connection pool to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
kubernetes = pytest.importorskip("kubernetes", reason="the PyPI package kubernetes is not installed")
SPACE = "python-client"


@pytest.fixture
def api(running: RunningCluster) -> Iterator[Any]:
    with kubernetes.config.new_client_from_config(str(running.kubeconfig)) as made:
        core = kubernetes.client.CoreV1Api(made)
        core.create_namespace({"metadata": {"name": SPACE}})
        yield made
        core.delete_namespace(SPACE)


def test_a_deployment_from_its_file_to_its_end(running: RunningCluster, api: Any) -> None:
    client = kubernetes.client
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    example = Path(__file__).parents[2] / "examples" / "web.yaml"
    kubernetes.utils.create_from_yaml(
        api, yaml_objects=list(yaml.safe_load_all(example.read_text())), namespace=SPACE
    )

    watch = kubernetes.watch.Watch()
    for event in watch.stream(apps.list_namespaced_deployment, SPACE, timeout_seconds=30):
        if event["object"].status.available_replicas == 3:
            watch.stop()
    pods = core.list_namespaced_pod(SPACE, label_selector="app=web").items
    assert len(pods) == 3
    assert all("Hello" in fetch(f"http://{pod.status.pod_ip}:8080/index.html") for pod in pods)
    assert "Serving HTTP" in core.read_namespaced_pod_log(pods[0].metadata.name, SPACE)
    assert core.read_namespaced_service("web", SPACE).spec.cluster_ip.startswith("10.96.")

    apps.patch_namespaced_deployment_scale("web", SPACE, {"spec": {"replicas": 1}})
    deployment = apps.read_namespaced_deployment("web", SPACE)
    assert deployment.spec.replicas == 1
    deployment.spec.template.spec.containers[0].env.append(client.V1EnvVar(name="COLOR", value="blue"))
    running.until(
        functools.partial(replaced, apps, deployment), "an update that meets no other change", timeout=10
    )
    running.until(lambda: rolled_out(apps), "the rollout")
    [pod] = [p for p in core.list_namespaced_pod(SPACE).items if not p.metadata.deletion_timestamp]
    assert any(entry.name == "COLOR" for entry in pod.spec.containers[0].env)

    apps.delete_namespaced_deployment("web", SPACE, propagation_policy="Foreground")
    running.until(lambda: not apps.list_namespaced_deployment(SPACE).items, "the deployment's end")
    with pytest.raises(client.ApiException) as caught:
        apps.read_namespaced_deployment("web", SPACE)
    assert caught.value.status == 404


def replaced(apps: Any, deployment: Any) -> Any:
    try:
        return apps.replace_namespaced_deployment("web", SPACE, deployment)
    except kubernetes.client.ApiException as error:
        assert error.status == 409
        found = apps.read_namespaced_deployment("web", SPACE)
        deployment.metadata.resource_version = found.metadata.resource_version
        return None


def rolled_out(apps: Any) -> bool:
    found = apps.read_namespaced_deployment_status("web", SPACE)
    status = found.status
    return bool(
        status.observed_generation >= found.metadata.generation
        and status.updated_replicas == status.replicas == status.available_replicas == 1
    )
