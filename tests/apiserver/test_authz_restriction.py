"""NodeRestriction: what a node may write into the objects that it may write."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.dict_lookup import DictLookup
from coxswain.api import errors
from coxswain.api.names import GVR, LEASES, NODES, PERSISTENT_VOLUME_CLAIMS, PODS, SERVICE_ACCOUNTS, Object
from coxswain.apiserver.admission.node_restriction import NodeRestriction
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.authz import Authorizer
from coxswain.client.interface import UserInfo

NODE = UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))
CSI_NODES = GVR("storage.k8s.io", "v1", "csinodes")
SLICES = GVR("resource.k8s.io", "v1", "resourceslices")
OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "uid-n1", "controller": True}


@pytest.fixture
def lookup() -> DictLookup:
    found = DictLookup()
    found.put(NODES, "n1")
    found.put(PODS, "mine", "ns", spec={"nodeName": "n1"})
    found.put(PODS, "yours", "ns", spec={"nodeName": "n2"})
    return found


@pytest.fixture
def plugin(lookup: DictLookup) -> NodeRestriction:
    return NodeRestriction(lookup, Authorizer(lookup))


def send(
    plugin: NodeRestriction, operation: Any, gvr: GVR, name: str, obj: Object | None = None, **more: Any
) -> None:
    more.setdefault("namespace", "ns")
    request = Request(NODE, operation, gvr, name=name, object=obj, **more)
    assert plugin.handles(operation, gvr, request.subresource)
    plugin.validate(request)


def refused(plugin: NodeRestriction, words: str, *arguments: Any, **more: Any) -> None:
    with pytest.raises(errors.Forbidden) as failure:
        send(plugin, *arguments, **more)
    assert words in failure.value.message


def mirror(owners: list[Object] | None = None, **spec: Any) -> Object:
    return {
        "metadata": {
            "name": "m",
            "annotations": {"kubernetes.io/config.mirror": "x"},
            "ownerReferences": [OWNER] if owners is None else owners,
        },
        "spec": {"nodeName": "n1", **spec},
    }


def test_mirror_pods_of_its_own_may_be_created(plugin: NodeRestriction) -> None:
    send(plugin, "CREATE", PODS, "m", mirror())


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        (mirror([]), "with an owner reference set to itself"),
        (mirror([OWNER, OWNER]), "with a single owner reference set to itself"),
        (mirror([{**OWNER, "name": "n2"}]), "with an owner reference set to itself"),
        (mirror([{**OWNER, "controller": False}]), "with a controller owner reference set to itself"),
        (mirror([{**OWNER, "blockOwnerDeletion": True}]), "must not set blockOwnerDeletion"),
        (mirror([{**OWNER, "uid": "other"}]), "node n1 UID mismatch: expected other got uid-n1"),
        (mirror(nodeName="n2"), "with spec.nodeName set to itself"),
        (mirror(serviceAccountName="root"), "reference a service account"),
        (mirror(imagePullSecrets=[{"name": "s"}]), "reference secrets"),
        (mirror(volumes=[{"name": "v", "configMap": {"name": "m"}}]), "reference configmaps"),
        (
            mirror(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]),
            "reference persistentvolumeclaims",
        ),
        (
            mirror(
                volumes=[{"name": "v", "projected": {"sources": [{"clusterTrustBundle": {"name": "b"}}]}}]
            ),
            "reference clustertrustbundles",
        ),
        (mirror(resourceClaims=[{"name": "c"}]), "reference resourceclaims"),
    ],
)
def test_mirror_pods_refer_to_nothing(plugin: NodeRestriction, pod: Object, words: str) -> None:
    refused(plugin, words, "CREATE", PODS, "m", pod)


def test_pods_of_other_nodes_are_left_alone(plugin: NodeRestriction, lookup: DictLookup) -> None:
    yours = lookup.get(PODS, "ns", "yours")
    mine = lookup.get(PODS, "ns", "mine")
    assert mine is not None
    send(plugin, "CREATE", PODS, "mine", {"metadata": {}}, subresource="eviction")
    refused(plugin, "can only evict pods", "CREATE", PODS, "yours", {"metadata": {}}, subresource="eviction")
    refused(plugin, "can only delete pods", "DELETE", PODS, "yours", old_object=yours)
    refused(
        plugin,
        "can only update pod status",
        "UPDATE",
        PODS,
        "yours",
        yours,
        old_object=yours,
        subresource="status",
    )
    refused(
        plugin,
        "unexpected pod subresource",
        "UPDATE",
        PODS,
        "mine",
        mine,
        old_object=mine,
        subresource="resize",
    )
    refused(plugin, "unexpected operation", "UPDATE", PODS, "mine", mine, old_object=mine)


def test_status_of_a_pod_does_not_carry_labels_or_claims(plugin: NodeRestriction, lookup: DictLookup) -> None:
    old = lookup.get(PODS, "ns", "mine")
    assert old is not None
    labelled = {**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}
    refused(
        plugin, "cannot update labels", "UPDATE", PODS, "mine", labelled, old_object=old, subresource="status"
    )
    claimed = {**old, "status": {"resourceClaimStatuses": [{"name": "c", "resourceClaimName": "x"}]}}
    refused(plugin, "resource claim", "UPDATE", PODS, "mine", claimed, old_object=old, subresource="status")
    extended = {**old, "status": {"extendedResourceClaimStatus": {"resourceClaimName": "x"}}}
    refused(plugin, "resource claim", "UPDATE", PODS, "mine", extended, old_object=old, subresource="status")


def node(**meta: Any) -> Object:
    return {"metadata": {"name": "n1", **meta}, "spec": {}}


@pytest.mark.parametrize(
    "label",
    [
        "node-restriction.kubernetes.io/x",
        "a.node-restriction.kubernetes.io/x",
        "node-role.kubernetes.io/master",
        "k8s.io/x",
        "x.k8s.io/y",
    ],
)
def test_labels_that_steer_work_are_not_the_nodes_to_set(plugin: NodeRestriction, label: str) -> None:
    refused(plugin, "not allowed to set the following labels", "CREATE", NODES, "", node(labels={label: "1"}))
    refused(
        plugin,
        f"is not allowed to modify labels: {label}",
        "UPDATE",
        NODES,
        "n1",
        node(labels={label: "1"}),
        old_object=node(),
    )
    refused(
        plugin,
        "is not allowed to modify labels",
        "UPDATE",
        NODES,
        "n1",
        node(),
        old_object=node(labels={label: "1"}),
    )


@pytest.mark.parametrize(
    "label",
    ["kubernetes.io/hostname", "node.kubernetes.io/x", "a.kubelet.kubernetes.io/x", "example.com/x", "plain"],
)
def test_labels_of_its_own(plugin: NodeRestriction, label: str) -> None:
    send(plugin, "CREATE", NODES, "", node(labels={label: "1"}))
    send(plugin, "UPDATE", NODES, "n1", node(labels={label: "1"}), old_object=node())


def test_other_nodes_and_its_owners_are_not_its_own(plugin: NodeRestriction) -> None:
    refused(plugin, 'not allowed to modify node "n2"', "UPDATE", NODES, "n2", node(), old_object=node())
    owned = node(ownerReferences=[{"name": "x"}])
    refused(plugin, "not allowed to modify ownerReferences", "UPDATE", NODES, "n1", owned, old_object=node())


def test_claims_grow_and_nothing_else(plugin: NodeRestriction) -> None:
    old: Object = {
        "metadata": {"name": "c", "resourceVersion": "1"},
        "spec": {},
        "status": {"phase": "Bound"},
    }
    grown = {
        "metadata": {"name": "c"},
        "spec": {},
        "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}},
    }
    send(plugin, "UPDATE", PERSISTENT_VOLUME_CLAIMS, "c", grown, old_object=old, subresource="status")
    lost = {**grown, "status": {"phase": "Lost"}}
    refused(
        plugin,
        "not allowed to update fields other",
        "UPDATE",
        PERSISTENT_VOLUME_CLAIMS,
        "c",
        lost,
        old_object=old,
        subresource="status",
    )
    refused(
        plugin, "may only update PVC status", "UPDATE", PERSISTENT_VOLUME_CLAIMS, "c", grown, old_object=old
    )


def token(uid: str = "uid-mine", pod: str = "mine", audiences: tuple[str, ...] = ()) -> Object:
    ref = {"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": uid}
    return {"spec": {"boundObjectRef": ref, "audiences": list(audiences)}}


def test_tokens_are_for_own_pods_and_audiences_they_ask_for(
    plugin: NodeRestriction, lookup: DictLookup
) -> None:
    sources = [
        {"serviceAccountToken": {"path": "t"}},
        {"serviceAccountToken": {"path": "u", "audience": "vault"}},
    ]
    volumes = [{"name": "t", "projected": {"sources": sources}}]
    lookup.put(PODS, "mine", "ns", spec={"nodeName": "n1", "volumes": volumes})
    request = {"subresource": "token"}
    send(plugin, "CREATE", SERVICE_ACCOUNTS, "default", token(), **request)
    send(plugin, "CREATE", SERVICE_ACCOUNTS, "default", token(audiences=("vault",)), **request)
    refused(
        plugin,
        "not found in pod spec volume",
        "CREATE",
        SERVICE_ACCOUNTS,
        "default",
        token(audiences=("bank",)),
        **request,
    )
    refused(
        plugin,
        "0 or 1 audiences",
        "CREATE",
        SERVICE_ACCOUNTS,
        "default",
        token(audiences=("a", "b")),
        **request,
    )
    refused(plugin, "without a uid", "CREATE", SERVICE_ACCOUNTS, "default", token(""), **request)
    refused(
        plugin,
        "does not match the UID in record",
        "CREATE",
        SERVICE_ACCOUNTS,
        "default",
        token("old"),
        **request,
    )
    refused(
        plugin,
        "different node",
        "CREATE",
        SERVICE_ACCOUNTS,
        "default",
        token("uid-yours", "yours"),
        **request,
    )
    with pytest.raises(errors.NotFound):
        send(plugin, "CREATE", SERVICE_ACCOUNTS, "default", token(pod="gone"), **request)


@pytest.mark.parametrize("gvr", [LEASES, CSI_NODES])
def test_leases_and_csi_nodes_bear_its_name(plugin: NodeRestriction, gvr: GVR) -> None:
    where = {"namespace": "kube-node-lease"}
    send(plugin, "CREATE", gvr, "", {"metadata": {"name": "n1"}}, **where)
    refused(
        plugin,
        "with the same name as the requesting node",
        "CREATE",
        gvr,
        "",
        {"metadata": {"name": "n2"}},
        **where,
    )
    refused(
        plugin,
        "with the same name as the requesting node",
        "UPDATE",
        gvr,
        "n2",
        {"metadata": {"name": "n2"}},
        **where,
    )


def test_resource_slices_bear_its_node(plugin: NodeRestriction) -> None:
    send(plugin, "CREATE", SLICES, "s", {"metadata": {}, "spec": {"nodeName": "n1"}})
    refused(
        plugin,
        "can only create ResourceSlice",
        "CREATE",
        SLICES,
        "s",
        {"metadata": {}, "spec": {"allNodes": True}},
    )
    refused(
        plugin,
        "can only delete ResourceSlice",
        "DELETE",
        SLICES,
        "s",
        old_object={"metadata": {}, "spec": {"nodeName": "n2"}},
    )
