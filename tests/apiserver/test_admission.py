"""The admission chain and its small plugins."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.dict_lookup import DictLookup
from coxswain.api import errors
from coxswain.api.names import (
    CONFIGMAPS,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    ROLES,
    SERVICE_ACCOUNTS,
    Object,
)
from coxswain.apiserver.admission.default import default_chain
from coxswain.apiserver.admission.defaults import INGRESS_CLASSES, INGRESSES, STORAGE_CLASSES
from coxswain.apiserver.admission.limit_ranger import LIMIT_RANGES
from coxswain.apiserver.admission.priority import PRIORITY_CLASSES
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.admission.runtime_class import RUNTIME_CLASSES
from coxswain.apiserver.authz import Authorizer
from coxswain.base.errors import ConfigurationError
from coxswain.client.interface import UserInfo

ROOT = UserInfo("admin", ("system:masters",))
NODE = UserInfo("system:node:n1", ("system:nodes",))


class World:
    """A namespace with a default account, and the default chain."""

    def __init__(self) -> None:
        self.lookup = DictLookup()
        self.lookup.put(NAMESPACES, "ns", status={"phase": "Active"})
        self.lookup.put(SERVICE_ACCOUNTS, "default", "ns")
        self.chain = default_chain(self.lookup, Authorizer(self.lookup))

    def send(self, gvr: Any, obj: Object | None, operation: Any = "CREATE", **more: Any) -> Object:
        name = ((obj or {}).get("metadata") or {}).get("name", "")
        options = {"user": ROOT, "namespace": "ns", "name": name, **more}
        request = Request(operation=operation, resource=gvr, object=obj, **options)
        self.chain.mutate(request)
        self.chain.validate(request)
        return obj or {}

    def pod(self, metadata: Object | None = None, **spec: Any) -> Object:
        containers = spec.pop("containers", [{"name": "c", "image": "i"}])
        obj = {"metadata": {"name": "p", **(metadata or {})}, "spec": {"containers": containers, **spec}}
        return self.send(PODS, obj)


@pytest.fixture
def world() -> World:
    return World()


def test_unknown_plugin_is_a_configuration_error(world: World) -> None:
    with pytest.raises(ConfigurationError, match="NoSuch"):
        default_chain(world.lookup, Authorizer(world.lookup), disable=["NoSuch"])
    chain = default_chain(world.lookup, Authorizer(world.lookup), disable=["Priority"])
    assert "Priority" not in {plugin.NAME for plugin in chain.plugins}


def test_missing_namespace(world: World) -> None:
    with pytest.raises(errors.NotFound, match='namespaces "none" not found'):
        world.send(CONFIGMAPS, {"metadata": {"name": "x"}}, namespace="none")


def test_terminating_namespace(world: World) -> None:
    world.lookup.put(NAMESPACES, "ns", status={"phase": "Terminating"})
    with pytest.raises(errors.Forbidden) as refused:
        world.send(CONFIGMAPS, {"metadata": {"name": "z"}})
    assert refused.value.message == (
        'configmaps "z" is forbidden: unable to create new content in namespace ns because it is being terminated'
    )
    assert refused.value.status()["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    world.send(CONFIGMAPS, {"metadata": {"name": "z"}}, "UPDATE", old_object={"metadata": {"name": "z"}})


def test_immortal_namespaces(world: World) -> None:
    with pytest.raises(errors.Forbidden, match='namespaces "default" is forbidden: this namespace may not'):
        world.send(NAMESPACES, None, "DELETE", name="default", namespace="")
    world.send(NAMESPACES, None, "DELETE", name="ns", namespace="")


def test_pod_gets_account_token_priority_and_tolerations(world: World) -> None:
    spec = world.pod()["spec"]
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert len(volume["name"]) == len("kube-api-access-") + 5
    assert spec["containers"][0]["volumeMounts"] == [
        {
            "name": volume["name"],
            "readOnly": True,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        }
    ]
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert [t["key"] for t in spec["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]


def test_token_is_not_mounted_where_unwanted(world: World) -> None:
    assert "volumes" not in world.pod(automountServiceAccountToken=False)["spec"]
    mounts = [{"name": "own", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]
    assert "volumes" not in world.pod(containers=[{"name": "c", "volumeMounts": mounts}])["spec"]
    world.lookup.put(SERVICE_ACCOUNTS, "default", "ns", automountServiceAccountToken=False)
    assert "volumes" not in world.pod()["spec"]
    assert "volumes" in world.pod(automountServiceAccountToken=True)["spec"]


def test_pull_secrets_come_from_the_account(world: World) -> None:
    world.lookup.put(SERVICE_ACCOUNTS, "default", "ns", imagePullSecrets=[{"name": "pull"}])
    assert world.pod()["spec"]["imagePullSecrets"] == [{"name": "pull"}]


def test_missing_account(world: World) -> None:
    world.lookup.drop(SERVICE_ACCOUNTS, "default", "ns")
    with pytest.raises(errors.Forbidden) as refused:
        world.pod()
    assert refused.value.message == (
        'pods "p" is forbidden: error looking up service account ns/default: serviceaccount "default" not found'
    )


def test_mountable_secrets_are_enforced(world: World) -> None:
    world.lookup.put(
        SERVICE_ACCOUNTS,
        "default",
        "ns",
        metadata={"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
        secrets=[{"name": "mine"}],
    )
    world.pod(volumes=[{"name": "v", "secret": {"secretName": "mine"}}])
    with pytest.raises(errors.Forbidden, match=r'secret\.secretName="yours" is not allowed'):
        world.pod(volumes=[{"name": "v", "secret": {"secretName": "yours"}}])
    env = [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "yours"}}}]
    with pytest.raises(errors.Forbidden, match="container c with envVar E"):
        world.pod(containers=[{"name": "c", "env": env}])


def test_mirror_pods_have_no_account(world: World) -> None:
    mirror = {"annotations": {"kubernetes.io/config.mirror": "x"}}
    assert "serviceAccountName" not in world.pod(mirror)["spec"]
    with pytest.raises(errors.Forbidden, match="may not reference service accounts"):
        world.pod(mirror, serviceAccountName="default")
    with pytest.raises(errors.Forbidden, match="may not reference secrets"):
        world.pod(mirror, volumes=[{"name": "v", "secret": {"secretName": "s"}}])


def test_priority_classes(world: World) -> None:
    with pytest.raises(
        errors.Forbidden, match='pods "p" is forbidden: no PriorityClass with name nope was found'
    ):
        world.pod(priorityClassName="nope")
    with pytest.raises(errors.Forbidden, match=r"the integer value of priority \(10\) must not be provided"):
        world.pod(priority=10)
    world.lookup.put(PRIORITY_CLASSES, "high", value=1000, preemptionPolicy="Never")
    spec = world.pod(priorityClassName="high")["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (1000, "Never")
    with pytest.raises(errors.Forbidden, match="the string value of PreemptionPolicy"):
        world.pod(preemptionPolicy="Never")
    world.lookup.put(PRIORITY_CLASSES, "usual", value=5, globalDefault=True)
    spec = world.pod()["spec"]
    assert (spec["priorityClassName"], spec["priority"]) == ("usual", 5)
    with pytest.raises(errors.Forbidden, match="PriorityClass usual is already marked as default"):
        world.send(
            PRIORITY_CLASSES, {"metadata": {"name": "other"}, "value": 1, "globalDefault": True}, namespace=""
        )


def test_refusal_before_a_name_is_made_shows_the_prefix(world: World) -> None:
    obj = {"metadata": {"generateName": "web-"}, "spec": {"priority": 3, "containers": []}}
    with pytest.raises(errors.Forbidden, match='pods "web-" is forbidden'):
        world.send(PODS, obj)


def test_runtime_class(world: World) -> None:
    with pytest.raises(errors.Forbidden, match='RuntimeClass "kata" not found'):
        world.pod(runtimeClassName="kata")
    with pytest.raises(errors.Forbidden, match="Pod Overhead set without corresponding RuntimeClass"):
        world.pod(overhead={"cpu": "1"})
    world.lookup.put(
        RUNTIME_CLASSES,
        "kata",
        overhead={"podFixed": {"cpu": "250m"}},
        scheduling={"nodeSelector": {"kata": "yes"}, "tolerations": [{"key": "kata"}]},
    )
    spec = world.pod(runtimeClassName="kata", nodeSelector={"a": "b"})["spec"]
    assert spec["overhead"] == {"cpu": "250m"}
    assert spec["nodeSelector"] == {"a": "b", "kata": "yes"}
    assert {"key": "kata"} in spec["tolerations"]
    with pytest.raises(errors.Forbidden, match="conflict"):
        world.pod(runtimeClassName="kata", nodeSelector={"kata": "no"})
    with pytest.raises(errors.Forbidden, match="doesn't match RuntimeClass's defined Overhead"):
        world.pod(runtimeClassName="kata", overhead={"cpu": "1"})


def test_new_nodes_are_tainted(world: World) -> None:
    node = world.send(NODES, {"metadata": {"name": "n1"}}, namespace="")
    assert node["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


def test_storage_defaults(world: World) -> None:
    claim = world.send(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "c"}, "spec": {}})
    assert claim["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert "storageClassName" not in claim["spec"]
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    for name, created in (("old", "2020"), ("b", "2021"), ("a", "2021")):
        world.lookup.put(
            STORAGE_CLASSES, name, metadata={"annotations": annotations, "creationTimestamp": created}
        )
    claim = world.send(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "c"}, "spec": {}})
    assert claim["spec"]["storageClassName"] == "a"
    named = {"metadata": {"name": "c"}, "spec": {"storageClassName": ""}}
    assert world.send(PERSISTENT_VOLUME_CLAIMS, named)["spec"]["storageClassName"] == ""


def test_default_ingress_class(world: World) -> None:
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"}
    world.lookup.put(INGRESS_CLASSES, "nginx", metadata={"annotations": annotations})
    assert world.send(INGRESSES, {"metadata": {"name": "i"}})["spec"]["ingressClassName"] == "nginx"


def test_limit_range_defaults_and_bounds(world: World) -> None:
    limit = {
        "type": "Container",
        "default": {"cpu": "200m"},
        "defaultRequest": {"cpu": "100m"},
        "max": {"cpu": "1"},
        "min": {"cpu": "50m"},
    }
    world.lookup.put(LIMIT_RANGES, "limits", "ns", spec={"limits": [limit]})
    pod = world.pod()
    assert pod["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m"},
        "limits": {"cpu": "200m"},
    }
    assert pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    )
    large = {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}
    with pytest.raises(errors.Forbidden, match="maximum cpu usage per Container is 1, but limit is 2"):
        world.pod(containers=[{"name": "c", "resources": large}])
    small = {"requests": {"cpu": "10m"}, "limits": {"cpu": "1"}}
    with pytest.raises(errors.Forbidden, match="minimum cpu usage per Container is 50m, but request is 10m"):
        world.pod(containers=[{"name": "c", "resources": small}])


def test_limit_range_of_pods_claims_and_ratios(world: World) -> None:
    limits = [
        {"type": "Pod", "max": {"memory": "1Gi"}, "maxLimitRequestRatio": {"memory": "2"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}, "min": {"storage": "1Mi"}},
    ]
    world.lookup.put(LIMIT_RANGES, "limits", "ns", spec={"limits": limits})
    with pytest.raises(errors.Forbidden, match="No limit is specified"):
        world.pod()
    half = {"requests": {"memory": "100Mi"}, "limits": {"memory": "600Mi"}}
    both = [{"name": "a", "resources": half}, {"name": "b", "resources": half}]
    with pytest.raises(errors.Forbidden) as refused:
        world.pod(containers=both)
    assert "maximum memory usage per Pod is 1Gi, but limit is 1200Mi" in refused.value.message
    assert (
        "memory max limit to request ratio per Pod is 2, but provided ratio is 6.0" in refused.value.message
    )
    claim = {"metadata": {"name": "c"}, "spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    with pytest.raises(
        errors.Forbidden, match="maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"
    ):
        world.send(PERSISTENT_VOLUME_CLAIMS, claim)


class TestNodeRestriction:
    """A node's agent changes what is its own."""

    def send(self, world: World, gvr: Any, obj: Object | None, operation: Any, **more: Any) -> None:
        world.send(gvr, obj, operation, user=NODE, **more)

    def test_nodes(self, world: World) -> None:
        own = {"metadata": {"name": "n1"}, "spec": {}}
        self.send(world, NODES, dict(own), "CREATE", namespace="")
        self.send(world, NODES, own, "UPDATE", old_object=own, namespace="")
        with pytest.raises(errors.Forbidden, match='node "n1" is not allowed to modify node "n2"'):
            self.send(world, NODES, {"metadata": {"name": "n2"}}, "UPDATE", old_object={}, namespace="")
        with pytest.raises(errors.Forbidden, match="not allowed to modify taints"):
            tainted = {"metadata": {"name": "n1"}, "spec": {"taints": [{"key": "x"}]}}
            self.send(world, NODES, tainted, "UPDATE", old_object=own, namespace="")

    def test_pods(self, world: World) -> None:
        mine = {"metadata": {"name": "p"}, "spec": {"nodeName": "n1"}}
        yours = {"metadata": {"name": "p"}, "spec": {"nodeName": "n2"}}
        self.send(world, PODS, mine, "UPDATE", old_object=mine, subresource="status")
        self.send(world, PODS, None, "DELETE", old_object=mine, name="p")
        with pytest.raises(errors.Forbidden, match="can only delete pods with"):
            self.send(world, PODS, None, "DELETE", old_object=yours, name="p")
        with pytest.raises(errors.Forbidden, match="can only update pod status for pods"):
            self.send(world, PODS, yours, "UPDATE", old_object=yours, subresource="status")
        with pytest.raises(errors.Forbidden, match="can only create mirror pods"):
            self.send(world, PODS, mine, "CREATE")

    def test_tokens(self, world: World) -> None:
        world.lookup.put(PODS, "p", "ns", spec={"nodeName": "n2"})
        ref = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "uid-p"}
        request = {"spec": {"boundObjectRef": ref}}
        with pytest.raises(errors.Forbidden, match="scheduled on a different node"):
            self.send(world, SERVICE_ACCOUNTS, request, "CREATE", subresource="token", name="default")
        with pytest.raises(errors.Forbidden, match="not bound to a pod"):
            self.send(world, SERVICE_ACCOUNTS, {"spec": {}}, "CREATE", subresource="token", name="default")


def test_escalation_is_refused_by_the_chain(world: World) -> None:
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    role = {"metadata": {"name": "esc"}, "rules": rules}
    with pytest.raises(errors.Forbidden, match="attempting to grant RBAC permissions not currently held"):
        world.send(ROLES, role, user=UserInfo("jane"))
    world.send(ROLES, role)
