"""What the server fills in, keeps and counts."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from coxswain.api import defaults, strategy
from coxswain.api.defaults.pods import pull_policy
from coxswain.api.names import GVK, Object

POD = GVK("", "v1", "Pod")
DEPLOYMENT = GVK("apps", "v1", "Deployment")
SERVICE = GVK("", "v1", "Service")


def pod(**spec: Any) -> Object:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}], **spec}}


def test_a_pod_gets_kubernetes_defaults() -> None:
    obj = pod()
    defaults.default(obj, POD)
    assert obj["spec"] == {
        "containers": [
            {
                "name": "c",
                "image": "i:1",
                "imagePullPolicy": "IfNotPresent",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "resources": {},
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
    }


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("host:5000/a/b", "Always"),
        ("host:5000/a/b:2", "IfNotPresent"),
        ("a@sha256:" + "0" * 64, "IfNotPresent"),
        ("", "IfNotPresent"),
        ("Not An Image", "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


def test_limits_become_requests_in_pods_only() -> None:
    resources = {"limits": {"cpu": "1"}}
    obj = pod(containers=[{"name": "c", "image": "i", "resources": copy.deepcopy(resources)}])
    defaults.default(obj, POD)
    assert obj["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1"}
    owner: Object = {"spec": {"template": {"spec": {"containers": [{"name": "c", "resources": resources}]}}}}
    defaults.default(owner, DEPLOYMENT)
    assert "requests" not in owner["spec"]["template"]["spec"]["containers"][0]["resources"]


@pytest.mark.parametrize(
    ("gvk", "obj"),
    [
        (POD, pod(volumes=[{"name": "v"}, {"name": "s", "secret": {"secretName": "s"}}], hostNetwork=True)),
        (DEPLOYMENT, {"spec": {"template": {}}}),
        (SERVICE, {"spec": {"type": "LoadBalancer", "ports": [{"port": 1}]}}),
        (GVK("", "v1", "Secret"), {"stringData": {"a": "b"}}),
        (GVK("apps", "v1", "StatefulSet"), {"spec": {"volumeClaimTemplates": [{}]}}),
        (GVK("batch", "v1", "Job"), {"spec": {}}),
        (GVK("", "v1", "LimitRange"), {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}}),
        (GVK("autoscaling", "v2", "HorizontalPodAutoscaler"), {"spec": {"behavior": {}}}),
    ],
)
def test_defaulting_is_idempotent(gvk: GVK, obj: Object) -> None:
    defaults.default(obj, gvk)
    once = copy.deepcopy(obj)
    defaults.default(obj, gvk)
    assert obj == once


def test_secrets_store_text_as_data() -> None:
    obj: Object = {"data": {"k": "b2xk"}, "stringData": {"k": "new"}}
    defaults.default(obj, GVK("", "v1", "Secret"))
    assert obj == {"data": {"k": "bmV3"}, "type": "Opaque"}


def test_create_clears_status_and_counts_from_one() -> None:
    obj: Object = {"metadata": {"name": "d", "generation": 7}, "spec": {}, "status": {"replicas": 3}}
    strategy.prepare_for_create(obj, DEPLOYMENT)
    assert obj["metadata"]["generation"] == 1
    assert "status" not in obj


def test_cluster_scoped_objects_lose_their_namespace() -> None:
    obj: Object = {"metadata": {"name": "r", "namespace": "n"}}
    strategy.prepare_for_create(obj, GVK("rbac.authorization.k8s.io", "v1", "ClusterRole"))
    assert obj["metadata"] == {"name": "r"}


def test_update_counts_changes_of_spec_and_keeps_status() -> None:
    old: Object = {
        "metadata": {"name": "d", "uid": "u", "resourceVersion": "5", "generation": 1},
        "spec": {"replicas": 1},
        "status": {"replicas": 1},
    }
    new: Object = {"metadata": {"name": "d"}, "spec": {"replicas": 2}, "status": {"replicas": 9}}
    strategy.prepare_for_update(new, old, DEPLOYMENT)
    assert new["metadata"] == {"name": "d", "uid": "u", "resourceVersion": "5", "generation": 2}
    assert new["status"] == {"replicas": 1}
    same = copy.deepcopy(old)
    strategy.prepare_for_update(same, old, DEPLOYMENT)
    assert same["metadata"]["generation"] == 1


def test_status_update_changes_status_only() -> None:
    old: Object = {"metadata": {"name": "d", "generation": 1}, "spec": {"replicas": 1}}
    new: Object = {"metadata": {"name": "d"}, "spec": {"replicas": 2}, "status": {"replicas": 9}}
    strategy.prepare_for_status_update(new, old, DEPLOYMENT)
    assert new["spec"] == {"replicas": 1}
    assert new["status"] == {"replicas": 9}


def test_node_ports_survive_an_update_that_does_not_name_them() -> None:
    old: Object = {"metadata": {}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}}
    # Ports are known by their names.
    new: Object = {"metadata": {}, "spec": {"type": "NodePort", "ports": [{"port": 81}]}}
    strategy.prepare_for_update(new, old, SERVICE)
    assert new["spec"]["ports"][0]["nodePort"] == 30001
    turned: Object = {
        "metadata": {},
        "spec": {"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30001}]},
    }
    strategy.prepare_for_update(turned, old, SERVICE)
    assert "nodePort" not in turned["spec"]["ports"][0]


def test_a_new_pod_is_pending_and_gates_are_told() -> None:
    obj = pod(schedulingGates=[{"name": "g"}])
    strategy.prepare_for_create(obj, POD)
    assert obj["status"]["phase"] == "Pending"
    assert obj["status"]["qosClass"] == "BestEffort"
    assert obj["status"]["conditions"][0]["reason"] == "SchedulingGated"


def test_generated_names_fit_and_differ() -> None:
    name = strategy.generate_name("x" * 100)
    assert len(name) == 63
    assert strategy.generate_name("a-") != strategy.generate_name("a-")


def test_authors_are_warned() -> None:
    ports = [{"name": "m", "containerPort": 1}]
    obj = pod(
        containers=[
            {"name": "a", "ports": ports},
            {"name": "b", "ports": [{"name": "m", "containerPort": 2}]},
        ],
        nodeSelector={"beta.kubernetes.io/os": "linux"},
        volumes=[{"name": "v", "glusterfs": {}}],
    )
    assert strategy.warnings(obj, POD) == [
        'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead',
        "spec.volumes[0].glusterfs: deprecated in v1.25, non-functional in v1.26+",
        (
            'spec.containers[1].ports[0]: duplicate port name "m" with spec.containers[0].ports[0], services and '
            "probes that select ports by name will use spec.containers[0].ports[0]"
        ),
    ]
    assert strategy.deprecation(GVK("", "v1", "Endpoints")) is not None
