"""The Node authorizer: a node reads what its pods refer to, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.dict_lookup import DictLookup
from coxswain.api.names import (
    CLUSTER_ROLES,
    GVR,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SECRETS,
    Object,
)
from coxswain.apiserver.authz import Attributes, Authorizer, Decision
from coxswain.apiserver.authz.node_relations import NodeRelations
from coxswain.client.interface import UserInfo

NODE = UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))
#: What somebody made of the role ``system:node``: nodes do not care.
RULES = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
POD: Object = {
    "nodeName": "n1",
    "serviceAccountName": "robot",
    "imagePullSecrets": [{"name": "pull"}],
    "containers": [
        {
            "name": "c",
            "envFrom": [{"secretRef": {"name": "env"}}, {"configMapRef": {"name": "env"}}],
            "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "key", "key": "k"}}},
            ],
        }
    ],
    "volumes": [
        {"name": "s", "secret": {"secretName": "volume"}},
        {"name": "m", "configMap": {"name": "volume"}},
        {
            "name": "p",
            "projected": {
                "sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "projected"}}]
            },
        },
        {"name": "d", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "driver"}}},
        {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
        {"name": "e", "ephemeral": {"volumeClaimTemplate": {}}},
    ],
    "resourceClaims": [{"name": "gpu"}, {"name": "net", "resourceClaimName": "given"}],
}
STATUS = {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "made"}]}


@pytest.fixture
def lookup() -> DictLookup:
    found = DictLookup()
    found.put(CLUSTER_ROLES, "system:node", rules=RULES)
    found.put(PODS, "web", "shop", spec=POD, status=STATUS)
    found.put(
        PODS, "other", "shop", spec={**POD, "nodeName": "n2", "imagePullSecrets": [{"name": "foreign"}]}
    )
    found.put(PERSISTENT_VOLUME_CLAIMS, "claim", "shop", spec={"volumeName": "v"})
    ref = {"namespace": "shop", "name": "claim"}
    csi = {"nodeStageSecretRef": {"namespace": "vault", "name": "stage"}}
    found.put(PERSISTENT_VOLUMES, "v", spec={"claimRef": ref, "csi": csi})
    found.put(PERSISTENT_VOLUMES, "w", spec={"claimRef": {"namespace": "shop", "name": "elsewhere"}})
    found.put(GVR("storage.k8s.io", "v1", "volumeattachments"), "a", spec={"nodeName": "n1"})
    found.put(GVR("storage.k8s.io", "v1", "volumeattachments"), "b", spec={"nodeName": "n2"})
    found.put(GVR("resource.k8s.io", "v1", "resourceslices"), "mine", spec={"nodeName": "n1"})
    return found


@pytest.fixture
def authorizer(lookup: DictLookup) -> Authorizer:
    return Authorizer(lookup)


def ask(authorizer: Authorizer, verb: str, resource: str, name: str = "", **more: Any) -> Decision:
    group, _, plain = resource.rpartition("|")
    plural, _, subresource = plain.partition("/")
    more.setdefault("namespace", "shop")
    return authorizer.authorize(Attributes(NODE, verb, group, "v1", plural, subresource, name=name, **more))


@pytest.mark.parametrize("name", ["pull", "env", "key", "volume", "projected", "driver"])
def test_secrets_of_own_pods_may_be_read(authorizer: Authorizer, name: str) -> None:
    for verb in ("get", "list", "watch"):
        assert ask(authorizer, verb, "secrets", name).allowed


def test_a_secret_of_a_bound_volume_may_be_read(authorizer: Authorizer) -> None:
    assert ask(authorizer, "get", "secrets", "stage", namespace="vault").allowed
    assert not ask(authorizer, "get", "secrets", "stage").allowed


@pytest.mark.parametrize("name", ["env", "key", "volume", "projected"])
def test_config_maps_of_own_pods_may_be_read(authorizer: Authorizer, name: str) -> None:
    assert ask(authorizer, "get", "configmaps", name).allowed


@pytest.mark.parametrize(
    ("verb", "resource", "name"),
    [
        ("get", "persistentvolumeclaims", "claim"),
        ("get", "persistentvolumeclaims", "web-e"),
        ("update", "persistentvolumeclaims/status", "claim"),
        ("get", "persistentvolumes", "v"),
        ("get", "resource.k8s.io|resourceclaims", "made"),
        ("get", "resource.k8s.io|resourceclaims", "given"),
        ("get", "storage.k8s.io|volumeattachments", "a"),
        ("update", "resource.k8s.io|resourceslices", "mine"),
        ("create", "resource.k8s.io|resourceslices", ""),
        ("create", "serviceaccounts/token", "robot"),
        ("get", "serviceaccounts", "robot"),
        ("get", "pods", "web"),
        ("create", "pods/eviction", "web"),
        ("patch", "pods/status", "web"),
        ("get", "nodes", "n1"),
        ("watch", "nodes", "n1"),
        ("update", "nodes/status", "n1"),
        ("get", "services", "any"),
        ("get", "storage.k8s.io|csinodes", "n1"),
    ],
)
def test_what_a_node_has_to_do_with_is_allowed(
    authorizer: Authorizer, verb: str, resource: str, name: str
) -> None:
    assert ask(authorizer, verb, resource, name).allowed


@pytest.mark.parametrize(
    ("verb", "resource", "name", "why"),
    [
        ("get", "secrets", "foreign", "no relationship found between node 'n1' and this object"),
        ("get", "secrets", "nobody", "no relationship found between node 'n1' and this object"),
        ("list", "secrets", "", "No Object name found"),
        ("update", "secrets", "pull", "can only read resources of this type"),
        ("get", "persistentvolumes", "w", "no relationship found between node 'n1' and this object"),
        ("list", "persistentvolumes", "", "can only get individual resources of this type"),
        (
            "get",
            "storage.k8s.io|volumeattachments",
            "b",
            "no relationship found between node 'n1' and this object",
        ),
        (
            "create",
            "serviceaccounts/token",
            "root",
            "no relationship found between node 'n1' and this object",
        ),
        ("create", "serviceaccounts", "", "can only create tokens for individual service accounts"),
        ("get", "pods", "other", "no relationship found between node 'n1' and this object"),
        ("list", "pods", "", "can only list/watch pods with spec.nodeName field selector"),
        ("get", "nodes", "n2", "node 'n1' cannot read 'n2', only its own Node object"),
        ("list", "nodes", "", "node 'n1' cannot read all nodes, only its own Node object"),
        ("delete", "nodes", "n1", ""),
        ("create", "pods/binding", "web", ""),
        (
            "list",
            "resource.k8s.io|resourceslices",
            "",
            "can only list/watch/deletecollection resourceslices with nodeName field selector",
        ),
        (
            "get",
            "storage.k8s.io|csinodes",
            "n2",
            "can only access CSINode with the same name as the requesting node",
        ),
        ("get", "deployments", "x", ""),
    ],
)
def test_everything_else_is_refused(
    authorizer: Authorizer, verb: str, resource: str, name: str, why: str
) -> None:
    decision = ask(authorizer, verb, resource, name)
    assert not decision.allowed
    assert decision.reason.partition("\n")[0] == why


def test_pods_are_listed_by_own_node_only(authorizer: Authorizer) -> None:
    assert ask(authorizer, "list", "pods", field_selector="spec.nodeName=n1").allowed
    assert ask(authorizer, "watch", "pods", field_selector="status.phase!=Failed,spec.nodeName=n1").allowed
    for selector in ("spec.nodeName!=n1", "spec.nodeName=n2", "spec.nodeName", "metadata.name=web"):
        assert not ask(authorizer, "list", "pods", field_selector=selector).allowed


@pytest.mark.parametrize("verb", ["get", "create", "update", "patch", "delete"])
def test_own_lease(authorizer: Authorizer, verb: str) -> None:
    lease = "coordination.k8s.io|leases"
    assert ask(authorizer, verb, lease, "n1", namespace="kube-node-lease").allowed
    assert not ask(authorizer, verb, lease, "n1", namespace="default").allowed
    if verb != "create":
        assert not ask(authorizer, verb, lease, "n2", namespace="kube-node-lease").allowed


def test_mirror_pods_give_no_access(lookup: DictLookup) -> None:
    lookup.put(PODS, "web", "shop", metadata={"annotations": {"kubernetes.io/config.mirror": "x"}}, spec=POD)
    authorizer = Authorizer(lookup)
    assert ask(authorizer, "get", "pods", "web").allowed
    assert not ask(authorizer, "get", "secrets", "pull").allowed


def test_only_the_group_makes_a_node(lookup: DictLookup) -> None:
    impostor = UserInfo("system:node:n1", ("system:authenticated",))
    attributes = Attributes(impostor, "get", "", "v1", "secrets", namespace="shop", name="pull")
    assert not Authorizer(lookup).authorize(attributes).allowed
    nameless = Attributes(UserInfo("system:node:", ("system:nodes",)), "get", "", "v1", "services")
    assert not Authorizer(lookup).authorize(nameless).allowed


class _Pod:
    """A pod in the cache that counts how often it is decoded."""

    def __init__(self, spec: Object) -> None:
        self.key = "shop/web"
        self.spec = spec
        self.decoded = 0

    def decode(self) -> Object:
        self.decoded += 1
        return {"metadata": {"name": "web", "namespace": "shop"}, "spec": self.spec}


def test_only_changed_pods_are_read_again(lookup: DictLookup) -> None:
    pods = [_Pod(POD)]
    relations = NodeRelations(lookup, lambda node: pods if node == "n1" else ())
    for _ in range(3):
        assert relations.related("n1", "secrets", "shop", "pull")
    assert pods[0].decoded == 1
    pods[0] = _Pod({"nodeName": "n1"})
    assert not relations.related("n1", "secrets", "shop", "pull")
    pods.clear()
    assert not relations.related("n1", "pods", "shop", "web")


def test_a_secret_that_no_pod_names_any_more_is_closed_at_once(lookup: DictLookup) -> None:
    authorizer = Authorizer(lookup)
    assert ask(authorizer, "get", "secrets", "pull").allowed
    lookup.drop(PODS, "web", "shop")
    lookup.put(SECRETS, "pull", "shop")
    assert not ask(authorizer, "get", "secrets", "pull").allowed
