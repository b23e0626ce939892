"""Clients that others publish, and an operator on kopf, against a whole cluster with hollow nodes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.machine import RunningCluster

pytestmark = [
    pytest.mark.e2e,
    # They leave connection pools and temporary certificates to the garbage collector, and use what is deprecated.
    pytest.mark.filterwarnings("ignore"),
]
WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "properties": {"size": {"type": "integer", "minimum": 0}},
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


def deployment(name: str, replicas: int = 2) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "none"}]},
            },
        },
    }


@pytest.fixture(scope="module")
def widgets(hollow: RunningCluster) -> Iterator[Any]:
    """The dynamic client of the ``kubernetes`` package, and the Widgets' definition."""
    kubernetes = pytest.importorskip("kubernetes", reason="the PyPI package kubernetes is not installed")
    from kubernetes.dynamic import DynamicClient

    with kubernetes.config.new_client_from_config(str(hollow.kubeconfig)) as api:
        client = DynamicClient(api)
        definitions = client.resources.get(
            api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition"
        )
        definitions.create(body=WIDGETS)
        hollow.until(lambda: _established(definitions), "the definition to be established")
        yield client
        definitions.delete(name="widgets.example.com")


def _established(definitions: Any) -> bool:
    conditions = definitions.get(name="widgets.example.com").status.conditions or []
    return any(each.type == "Established" and each.status == "True" for each in conditions)


def test_the_dynamic_client_handles_built_in_and_custom_objects(hollow: RunningCluster, widgets: Any) -> None:
    deployments = widgets.resources.get(api_version="apps/v1", kind="Deployment")
    deployments.create(body=deployment("dynamic"), namespace="default")
    hollow.until(
        lambda: deployments.get(name="dynamic", namespace="default").status.availableReplicas == 2,
        "two replicas",
    )
    applied = deployments.server_side_apply(
        body=deployment("dynamic", 1), namespace="default", field_manager="test", force_conflicts=True
    )
    assert applied.spec.replicas == 1
    pods = widgets.resources.get(api_version="v1", kind="Pod")
    hollow.until(
        lambda: len(pods.get(namespace="default", label_selector="app=dynamic").items) == 1,
        "one pod to be left",
    )

    own = widgets.resources.get(api_version="example.com/v1", kind="Widget")
    made = own.create(body={"metadata": {"name": "w"}, "spec": {"size": 1}}, namespace="default")
    for event in own.watch(namespace="default", timeout=2, resource_version=0):
        assert (event["type"], event["object"].metadata.uid) == ("ADDED", made.metadata.uid)
        break
    with pytest.raises(Exception, match="should be greater than or equal to 0"):
        own.patch(
            name="w",
            namespace="default",
            body={"spec": {"size": -1}},
            content_type="application/merge-patch+json",
        )
    own.delete(name="w", namespace="default")
    deployments.delete(name="dynamic", namespace="default")


def test_lightkube_creates_applies_watches_and_waits(hollow: RunningCluster) -> None:
    lightkube = pytest.importorskip("lightkube", reason="the PyPI package lightkube is not installed")
    from lightkube.core.exceptions import ApiError
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.apps_v1 import Deployment
    from lightkube.resources.core_v1 import ConfigMap, Pod

    config = lightkube.KubeConfig.from_file(str(hollow.kubeconfig))
    client = lightkube.Client(config=config, field_manager="lightkube")
    client.create(Deployment.from_dict(deployment("light")), namespace="default")
    done = client.wait(Deployment, "light", for_conditions=["Available"], namespace="default")
    assert done.status.availableReplicas == 2
    scaled = client.patch(Deployment, "light", {"spec": {"replicas": 1}}, namespace="default")
    assert scaled.metadata.generation == 2

    settings = ConfigMap(metadata=ObjectMeta(name="light", namespace="default"), data={"a": "1"})
    assert client.apply(settings).data == {"a": "1"}
    settings.data = {"b": "2"}
    assert client.apply(settings).data == {"b": "2"}
    with pytest.raises(ApiError) as conflict:
        client.apply(settings.from_dict({**settings.to_dict(), "data": {"b": "3"}}), field_manager="other")
    assert conflict.value.status.code == 409 and "lightkube" in conflict.value.status.message

    kind, seen = next(iter(client.watch(Pod, namespace="default", labels={"app": "light"}, server_timeout=5)))
    assert kind == "ADDED" and seen.metadata.labels["app"] == "light"
    assert len(list(client.list(Pod, namespace="*", chunk_size=1, labels={"app": "light"}))) >= 1
    client.delete(Deployment, "light", namespace="default")
    client.delete(ConfigMap, "light", namespace="default")


def test_kr8s_sees_scales_and_deletes(hollow: RunningCluster) -> None:
    pytest.importorskip("kr8s", reason="the PyPI package kr8s is not installed")

    async def flow() -> None:
        import kr8s
        from kr8s.asyncio.objects import Deployment

        api = await kr8s.asyncio.api(kubeconfig=str(hollow.kubeconfig))
        assert (await api.version())["minor"] == "36"
        made = await Deployment(deployment("kr8s"), namespace="default", api=api)
        await made.create()
        await made.wait("condition=Available", timeout=20)
        pods = await made.pods()
        assert len(pods) == 2
        assert all([await pod.ready() for pod in pods])
        await made.scale(1)
        await made.label(team="blue")
        await made.annotate({"note": "seen"})
        await made.refresh()
        assert (made.replicas, made.labels["team"], made.annotations["note"]) == (1, "blue", "seen")
        names = [node.name async for node in api.get("nodes")]
        assert names == ["hollow-1", "hollow-2"]
        await made.delete()
        await made.wait("delete", timeout=20)
        assert not await made.exists()

    asyncio.run(flow())


def test_an_operator_on_kopf_creates_resizes_and_says_good_bye(
    hollow: RunningCluster, widgets: Any, tmp_path: Path
) -> None:
    pytest.importorskip("kopf", reason="the PyPI package kopf is not installed")
    own = widgets.resources.get(api_version="example.com/v1", kind="Widget")
    deployments = widgets.resources.get(api_version="apps/v1", kind="Deployment")
    settings = widgets.resources.get(api_version="v1", kind="ConfigMap")
    log = tmp_path / "operator.log"
    command = [sys.executable, "-m", "kopf", "run", "-n", "default", "--standalone", "operator_of_widgets.py"]
    with log.open("wb") as out:
        operator = subprocess.Popen(
            command,
            cwd=Path(__file__).parent,
            env={**os.environ, "KUBECONFIG": str(hollow.kubeconfig)},
            stdout=out,
            stderr=out,
        )
    try:
        own.create(body={"metadata": {"name": "blue"}, "spec": {"size": 2}}, namespace="default")

        def replicas(count: int) -> bool:
            found = deployments.get(namespace="default", label_selector="widget=blue").items
            return bool(found) and found[0].status.availableReplicas == count

        hollow.until(lambda: replicas(2), "the operator's deployment")
        widget = own.get(name="blue", namespace="default")
        assert widget.metadata.finalizers == ["example.com/widgets"]
        assert widget.status.create.deployment == "widget-blue"
        own.patch(
            name="blue",
            namespace="default",
            body={"spec": {"size": 3}},
            content_type="application/merge-patch+json",
        )
        hollow.until(lambda: replicas(3), "the resized deployment")
        own.delete(name="blue", namespace="default")
        hollow.until(
            lambda: not deployments.get(namespace="default", label_selector="widget=blue").items,
            "the garbage collector",
        )
        assert settings.get(name="farewell-blue", namespace="default").data.said == "good-bye"
        assert not own.get(namespace="default").items
    finally:
        operator.terminate()
        try:
            operator.wait(20)
        except subprocess.TimeoutExpired:
            operator.kill()
            operator.wait()
    assert "Traceback" not in log.read_text()
