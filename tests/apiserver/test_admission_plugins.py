"""Certificates, growing claims, topology labels, and the finer rules of older plugins."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apiserver.core_support import PODS as CORE_PODS
from apiserver.core_support import cluster
from apiserver.core_support import pod as core_pod
from apiserver.dict_lookup import DictLookup
from coxswain.api import errors
from coxswain.api.names import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Object,
)
from coxswain.apiserver.admission.certificates import CLIENT_SIGNER, REQUESTS
from coxswain.apiserver.admission.default import default_chain
from coxswain.apiserver.admission.defaults import STORAGE_CLASSES
from coxswain.apiserver.admission.limit_ranger import ANNOTATION, LIMIT_RANGES
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.admission.runtime_class import RUNTIME_CLASSES
from coxswain.apiserver.admission.tolerations import merged
from coxswain.apiserver.authz import Authorizer
from coxswain.base.errors import ConfigurationError
from coxswain.client.interface import UserInfo

USER = UserInfo("jane", ("system:authenticated",))


class World:
    def __init__(self) -> None:
        self.lookup = DictLookup()
        self.lookup.put(NAMESPACES, "ns", status={"phase": "Active"})
        self.lookup.put(SERVICE_ACCOUNTS, "default", "ns")
        self.chain = default_chain(self.lookup, Authorizer(self.lookup))

    def send(self, gvr: Any, obj: Object, operation: Any = "CREATE", **more: Any) -> Object:
        name = obj["metadata"].get("name", "")
        options = {"user": USER, "namespace": "ns", "name": name, **more}
        request = Request(operation=operation, resource=gvr, object=obj, **options)
        self.chain.mutate(request)
        self.chain.validate(request)
        return obj

    def pod(self, **spec: Any) -> Object:
        containers = spec.pop("containers", [{"name": "c", "image": "i"}])
        return self.send(PODS, {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}})

    def allow(self, verb: str, signer: str) -> None:
        rules = [
            {
                "apiGroups": ["certificates.k8s.io"],
                "resources": ["signers"],
                "verbs": [verb],
                "resourceNames": [signer],
            }
        ]
        self.lookup.put(CLUSTER_ROLES, "r", rules=rules)
        self.lookup.put(
            CLUSTER_ROLE_BINDINGS,
            "b",
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
            subjects=[{"kind": "User", "name": "jane"}],
        )


@pytest.fixture
def world() -> World:
    return World()


def signing_request(*organizations: str) -> str:
    names = [x509.NameAttribute(NameOID.COMMON_NAME, "jane")]
    names += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in organizations]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def csr(signer: str, request: str = "", **status: Any) -> Object:
    return {"metadata": {"name": "x"}, "spec": {"signerName": signer, "request": request}, "status": status}


@pytest.mark.parametrize(
    ("verb", "subresource", "status"),
    [("approve", "approval", {}), ("sign", "status", {"certificate": "abc"})],
)
@pytest.mark.parametrize("signer", ["example.com/one", "example.com/*"])
def test_vouching_for_a_certificate_needs_the_signer(
    world: World, verb: str, subresource: str, status: Object, signer: str
) -> None:
    old, new = csr("example.com/one"), csr("example.com/one", **status)
    more: dict[str, Any] = {"old_object": old, "subresource": subresource, "namespace": ""}
    with pytest.raises(errors.Forbidden) as refused:
        world.send(REQUESTS, new, "UPDATE", **more)
    assert refused.value.message == (
        'certificatesigningrequests.certificates.k8s.io "x" is forbidden: user not permitted to '
        f'{verb} requests with signerName "example.com/one"'
    )
    world.allow(verb, signer)
    world.send(REQUESTS, new, "UPDATE", **more)


def test_other_changes_of_a_status_need_no_signer(world: World) -> None:
    old = csr("example.com/one", certificate="abc")
    world.send(REQUESTS, {**old}, "UPDATE", old_object=old, subresource="status", namespace="")


def test_a_request_says_who_really_asks(world: World) -> None:
    lie = csr("example.com/one", signing_request("devs"))
    lie["spec"] |= {
        "username": "system:admin",
        "uid": "1",
        "groups": ["system:masters"],
        "extra": {"a": ["b"]},
    }
    kept = world.send(REQUESTS, lie, namespace="")["spec"]
    assert (kept["username"], kept["groups"]) == ("jane", ["system:authenticated"])
    assert "uid" not in kept and "extra" not in kept


def test_no_certificates_for_masters(world: World) -> None:
    world.send(REQUESTS, csr(CLIENT_SIGNER, signing_request("devs")), namespace="")
    world.send(REQUESTS, csr("example.com/one", signing_request("system:masters")), namespace="")
    with pytest.raises(errors.Forbidden) as refused:
        world.send(REQUESTS, csr(CLIENT_SIGNER, signing_request("devs", "system:masters")), namespace="")
    assert refused.value.message == (
        'certificatesigningrequests.certificates.k8s.io "x" is forbidden: use of '
        "kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    )
    with pytest.raises(
        errors.Forbidden, match="failed to parse CSR: PEM block type must be CERTIFICATE REQUEST"
    ):
        world.send(REQUESTS, csr(CLIENT_SIGNER, "Z2FyYmFnZQ=="), namespace="")


def claim(size: str, phase: str = "Bound", storage_class: str = "gold") -> Object:
    spec = {"resources": {"requests": {"storage": size}}, "storageClassName": storage_class}
    return {"metadata": {"name": "c"}, "spec": spec, "status": {"phase": phase}}


def test_claims_grow_where_their_class_lets_them(world: World) -> None:
    world.lookup.put(STORAGE_CLASSES, "gold", allowVolumeExpansion=True)
    world.lookup.put(STORAGE_CLASSES, "tin")
    resource = PERSISTENT_VOLUME_CLAIMS
    world.send(resource, claim("2Gi"), "UPDATE", old_object=claim("1Gi"))
    world.send(resource, claim("1Gi"), "UPDATE", old_object=claim("1024Mi", "Pending", "tin"))
    with pytest.raises(errors.Forbidden, match="Only bound persistent volume claims can be expanded"):
        world.send(resource, claim("2Gi"), "UPDATE", old_object=claim("1Gi", "Pending"))
    for storage_class in ("tin", "none", ""):
        with pytest.raises(errors.Forbidden, match="only dynamically provisioned pvc can be resized and the"):
            old = claim("1Gi", storage_class=storage_class)
            world.send(resource, claim("2Gi", storage_class=storage_class), "UPDATE", old_object=old)


async def test_bound_pods_carry_their_nodes_topology() -> None:
    async with cluster() as running:
        labels = {"topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r1", "other": "x"}
        await running.do("create", NODES, body={"metadata": {"name": "n1", "labels": labels}})
        await running.do("create", CORE_PODS, body=core_pod("p"))
        binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
        await running.do("create", CORE_PODS, "p", binding, subresource="binding")
        bound = await running.do("get", CORE_PODS, "p")
        assert bound["metadata"]["labels"] == {
            "app": "web",
            "topology.kubernetes.io/zone": "z1",
            "topology.kubernetes.io/region": "r1",
        }
        placed = await running.do("create", CORE_PODS, body=core_pod("q", nodeName="n1"))
        assert placed["metadata"]["labels"]["topology.kubernetes.io/zone"] == "z1"


def test_the_last_limit_range_that_set_something_is_noted(world: World) -> None:
    first = [
        {"type": "Container", "defaultRequest": {"cpu": "1", "memory": "1Gi"}},
        {"type": "Container", "defaultRequest": {"cpu": "2"}},
    ]
    world.lookup.put(LIMIT_RANGES, "a", "ns", spec={"limits": first})
    world.lookup.put(
        LIMIT_RANGES, "b", "ns", spec={"limits": [{"type": "Container", "default": {"cpu": "3"}}]}
    )
    pod = world.pod()
    resources = pod["spec"]["containers"][0]["resources"]
    assert resources == {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "3"}}
    assert pod["metadata"]["annotations"][ANNOTATION] == "LimitRanger plugin set: cpu limit for container c"


def test_sidecars_count_for_the_pods_limits(world: World) -> None:
    world.lookup.put(LIMIT_RANGES, "a", "ns", spec={"limits": [{"type": "Pod", "max": {"cpu": "3"}}]})
    two = {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}
    main = [{"name": "c", "resources": two}]
    world.pod(containers=main, initContainers=[{"name": "i", "resources": two}])
    with pytest.raises(errors.Forbidden, match="maximum cpu usage per Pod is 3, but limit is 4"):
        world.pod(
            containers=main, initContainers=[{"name": "i", "resources": two, "restartPolicy": "Always"}]
        )


def test_limits_say_each_thing_once_and_let_go_what_leaves(world: World) -> None:
    bound = {"type": "Container", "min": {"cpu": "1"}}
    world.lookup.put(LIMIT_RANGES, "a", "ns", spec={"limits": [bound]})
    low = {"requests": {"cpu": "1m"}}
    containers = [{"name": "a", "resources": low}, {"name": "b", "resources": low}]
    with pytest.raises(errors.Forbidden) as refused:
        world.pod(containers=containers)
    assert refused.value.message == (
        'pods "p" is forbidden: minimum cpu usage per Container is 1, but request is 1m'
    )
    claims = {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}
    world.lookup.put(LIMIT_RANGES, "a", "ns", spec={"limits": [claims]})
    with pytest.raises(errors.Forbidden) as refused:
        world.send(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "c"}, "spec": {}})
    assert refused.value.message == (
        'persistentvolumeclaims "c" is forbidden: [minimum storage usage per PersistentVolumeClaim is 1Gi.  '
        "No request is specified, maximum storage usage per PersistentVolumeClaim is 2Gi.  No request is specified]"
    )
    leaving = {"metadata": {"name": "c", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}}
    world.send(
        PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "c"}, "spec": {}}, "UPDATE", old_object=leaving
    )


def test_every_way_to_a_secret_is_closed(world: World) -> None:
    world.lookup.put(
        SERVICE_ACCOUNTS,
        "default",
        "ns",
        metadata={"annotations": {"kubernetes.io/enforce-mountable-secrets": "T"}},
        secrets=[{"name": "mine"}],
        imagePullSecrets=[{"name": "pull"}],
    )
    yours = {
        "name": "c",
        "image": "i",
        "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "yours"}}}],
    }
    whole = {"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "yours"}}]}
    end = "is not allowed because service account default does not reference that"
    for spec, words in (
        (
            {"initContainers": [yours]},
            f'init container c with envVar E referencing secret.secretName="yours" {end} secret',
        ),
        (
            {"containers": [whole]},
            f'container c with envFrom referencing secret.secretName="yours" {end} secret',
        ),
        (
            {"imagePullSecrets": [{"name": "pull"}, {"name": "x"}]},
            f'imagePullSecrets[1].name="x" {end} imagePullSecret',
        ),
    ):
        with pytest.raises(errors.Forbidden) as refused:
            world.pod(**spec)
        assert refused.value.message == f'pods "p" is forbidden: {words}'
    pod = {
        "metadata": {"name": "p"},
        "spec": {"serviceAccountName": "default", "ephemeralContainers": [yours]},
    }
    with pytest.raises(errors.Forbidden, match="ephemeral container c with envVar E"):
        world.send(PODS, pod, "UPDATE", old_object=pod, subresource="ephemeralcontainers")


def test_runtime_classes_compare_amounts(world: World) -> None:
    world.lookup.put(RUNTIME_CLASSES, "kata", overhead={"podFixed": {"cpu": "1"}})
    assert world.pod(runtimeClassName="kata", overhead={"cpu": "1000m"})["spec"]["overhead"] == {"cpu": "1"}
    world.lookup.put(RUNTIME_CLASSES, "kata", scheduling={"nodeSelector": {"kata": "yes"}})
    with pytest.raises(errors.Forbidden) as refused:
        world.pod(runtimeClassName="kata", nodeSelector={"kata": "no"})
    assert refused.value.message == (
        'pods "p" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[kata] = yes; '
        "pod.spec.nodeSelector[kata] = no"
    )


def test_tolerations_that_others_cover_are_dropped() -> None:
    one = {"key": "a", "operator": "Equal", "value": "1", "effect": "NoSchedule"}
    wide = {"key": "a", "operator": "Exists"}
    short = {"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    long = {**short, "tolerationSeconds": 50}
    assert merged([one, wide]) == [wide]
    assert merged([wide, one, one]) == [wide]
    assert merged([one, one]) == [one]
    assert merged([short, long]) == [long]
    assert merged([one, {"operator": "Exists"}]) == [{"operator": "Exists"}]
    assert merged([one, {**one, "value": "2"}]) == [one, {**one, "value": "2"}]


class TestOptional:
    """Plugins that are off by default."""

    def world(self, *names: str) -> World:
        world = World()
        world.chain = default_chain(world.lookup, Authorizer(world.lookup), enable=names)
        return world

    def test_names_must_exist(self) -> None:
        with pytest.raises(
            ConfigurationError, match="admission plugins that do not exist: ImagePolicyWebhook"
        ):
            self.world("ImagePolicyWebhook")
        names = [plugin.NAME for plugin in self.world("AlwaysPullImages", "Priority").chain.plugins]
        assert names.index("AlwaysPullImages") == names.index("PodSecurity") - 1

    def test_images_are_always_pulled(self) -> None:
        world = self.world("AlwaysPullImages")
        made = world.pod(containers=[{"name": "c", "image": "i", "imagePullPolicy": "Never"}])
        assert made["spec"]["containers"][0]["imagePullPolicy"] == "Always"
        old = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        world.send(PODS, {**old}, "UPDATE", old_object=old)
        assert "imagePullPolicy" not in old["spec"]["containers"][0]

    def test_no_external_addresses(self) -> None:
        world = self.world("DenyServiceExternalIPs")
        service = {"metadata": {"name": "s"}, "spec": {"externalIPs": ["1.2.3.4"]}}
        with pytest.raises(errors.Forbidden, match="Use of external IPs is denied by admission control"):
            world.send(SERVICES, service)
        world.send(SERVICES, service, "UPDATE", old_object=service)

    def test_devices_are_tolerated(self) -> None:
        world = self.world("ExtendedResourceToleration")
        resources = {"requests": {"example.com/gpu": "1", "cpu": "1"}}
        spec = world.pod(containers=[{"name": "c", "resources": resources}])["spec"]
        assert {"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]

    def test_everything_is_refused(self) -> None:
        with pytest.raises(errors.Forbidden, match="admission control is denying all modifications"):
            self.world("AlwaysDeny").pod()
