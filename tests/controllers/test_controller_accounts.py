"""Controllers that act as service accounts of their own: their bootstrap roles allow all that they ask for."""

from __future__ import annotations

import asyncio

import pytest

from apiserver.dict_lookup import DictLookup
from coxswain.apiserver import bootstrap
from coxswain.apiserver.authz import Attributes, Authorizer
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.cli.cluster import service_account
from coxswain.client.interface import Client
from coxswain.controllers import registry
from coxswain.controllers.accounttokens.cleaner import TRACKING
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.manager import Manager
from fakeapi import FakeApi

#: What each asks of its own client: verb, group, resource, subresource, namespace, name.
_CSR = ("certificates.k8s.io", "certificatesigningrequests")
_NET = ("networking.k8s.io", "servicecidrs")
_STORAGE = "storage.k8s.io"
_SLICES = [
    (verb, "discovery.k8s.io", "endpointslices", "", "d", "a") for verb in ("create", "update", "delete")
]
_CLAIMS, _VOLUMES = ("", "persistentvolumeclaims"), ("", "persistentvolumes")
_SETS, _REVISIONS, _JOBS = ("apps", "replicasets"), ("apps", "controllerrevisions"), ("batch", "jobs")


def _pods(*verbs: str) -> list[tuple[str, ...]]:
    return [(verb, "", "pods", "", "d", "" if verb == "create" else "a") for verb in verbs]


_HISTORY = [(verb, *_REVISIONS, "", "d", "a") for verb in ("create", "get", "update", "delete", "patch")]
ASKED = {
    "persistentvolume-attach-detach-controller": [
        ("create", _STORAGE, "volumeattachments", "", "", ""),
        ("delete", _STORAGE, "volumeattachments", "", "", "a"),
        ("patch", "", "nodes", "status", "", "a"),
    ],
    "disruption-controller": [
        ("update", "policy", "poddisruptionbudgets", "status", "d", "a"),
        ("get", "example.com", "boats", "scale", "d", "a"),
        ("patch", "", "pods", "status", "d", "a"),
    ],
    "endpoints-controller": [(v, "", "endpoints", "", "d", "a") for v in ("create", "update", "delete")],
    "endpointslice-controller": _SLICES,
    "endpointslice-mirroring-controller": _SLICES,
    "ephemeral-volume-controller": [("create", *_CLAIMS, "", "d", ""), ("get", *_CLAIMS, "", "d", "a")],
    "persistentvolume-binder-controller": [
        ("get", *_CLAIMS, "", "d", "a"),
        *[("update", *_CLAIMS, subresource, "d", "a") for subresource in ("", "status")],
        *[("update", *_VOLUMES, subresource, "", "a") for subresource in ("", "status")],
    ],
    "local-path-provisioner-controller": [
        ("create", *_VOLUMES, "", "", ""),
        ("delete", *_VOLUMES, "", "", "a"),
    ],
    "volumeattributesclass-protection-controller": [
        ("update", _STORAGE, "volumeattributesclasses", "", "", "a"),
        ("list", *_VOLUMES, "", "", ""),
        ("list", *_CLAIMS, "", "", ""),
    ],
    "node-ipam-controller": [("patch", "", "nodes", "", "", "a")],
    "horizontal-pod-autoscaler-controller": [
        ("get", "apps", "deployments", "scale", "d", "a"),
        ("update", "example.com", "boats", "scale", "d", "a"),
        ("update", "autoscaling", "horizontalpodautoscalers", "status", "d", "a"),
        ("list", "", "pods", "", "d", ""),
        ("list", "metrics.k8s.io", "pods", "", "d", ""),
        ("get", "custom.metrics.k8s.io", "pods", "rps", "d", "*"),
        ("list", "external.metrics.k8s.io", "queue", "", "d", ""),
    ],
    "certificatesigningrequest-signing-controller": [("update", *_CSR, "status", "", "a")],
    "certificatesigningrequest-approving-controller": [
        ("update", *_CSR, "approval", "", "a"),
        ("create", "authorization.k8s.io", "subjectaccessreviews", "", "", ""),
    ],
    "certificatesigningrequest-cleaner-controller": [("delete", *_CSR, "", "", "a")],
    "ttl-controller": [("patch", "", "nodes", "", "", "a")],
    "bootstrap-signer-controller": [("update", "", "configmaps", "", "kube-public", "cluster-info")],
    "token-cleaner-controller": [("delete", "", "secrets", "", "kube-system", "a")],
    "service-cidr-controller": [
        ("patch", *_NET, "", "", "a"),
        ("update", *_NET, "status", "", "a"),
    ],
    "validatingadmissionpolicy-status-controller": [
        ("update", "admissionregistration.k8s.io", "validatingadmissionpolicies", "status", "", "a")
    ],
    "serviceaccount-controller": [("create", "", "serviceaccounts", "", "d", "")],
    "clusterrole-aggregation-controller": [
        ("update", "rbac.authorization.k8s.io", "clusterroles", "", "", "a"),
        ("escalate", "rbac.authorization.k8s.io", "clusterroles", "", "", "a"),
    ],
    "replicaset-controller": [
        *_pods("create", "delete", "patch"),
        ("get", *_SETS, "", "d", "a"),
        ("update", *_SETS, "status", "d", "a"),
    ],
    "replicationcontroller-controller": [
        *_pods("create", "delete", "patch"),
        ("get", "", "replicationcontrollers", "", "d", "a"),
        ("update", "", "replicationcontrollers", "status", "d", "a"),
    ],
    "deployment-controller": [
        *[(verb, *_SETS, "", "d", "a") for verb in ("create", "get", "update", "patch", "delete")],
        ("get", "apps", "deployments", "", "d", "a"),
        ("update", "apps", "deployments", "status", "d", "a"),
    ],
    "statefulset-controller": [
        *_pods("create", "get", "update", "patch", "delete"),
        *_HISTORY,
        *[(verb, *_CLAIMS, "", "d", "a") for verb in ("create", "get", "update", "delete")],
        ("get", "apps", "statefulsets", "", "d", "a"),
        ("update", "apps", "statefulsets", "status", "d", "a"),
    ],
    "daemonset-controller": [
        *_pods("create", "patch", "delete"),
        *_HISTORY,
        ("get", "apps", "daemonsets", "", "d", "a"),
        ("update", "apps", "daemonsets", "status", "d", "a"),
    ],
    "job-controller": [
        *_pods("create", "patch", "delete"),
        ("get", *_JOBS, "", "d", "a"),
        ("update", *_JOBS, "status", "d", "a"),
    ],
    "cronjob-controller": [
        *[(verb, *_JOBS, "", "d", "a") for verb in ("create", "get", "delete")],
        ("update", "batch", "cronjobs", "status", "d", "a"),
    ],
    "namespace-controller": [
        *[("update", "", "namespaces", subresource, "", "d") for subresource in ("status", "finalize")],
        *[(verb, "example.com", "boats", "", "d", "") for verb in ("list", "delete", "deletecollection")],
    ],
    "garbage-collector-controller": [
        (verb, "example.com", "boats", "", "d", "a") for verb in ("get", "patch", "delete")
    ],
    "resourcequota-controller": [("update", "", "resourcequotas", "status", "d", "a")],
    "node-lifecycle-controller": [
        ("update", "", "nodes", "status", "", "a"),
        ("patch", "", "nodes", "", "", "a"),
        ("patch", "", "pods", "status", "d", "a"),
    ],
    "taint-eviction-controller": [*_pods("delete"), ("patch", "", "pods", "status", "d", "a")],
    "pod-garbage-collector-controller": [
        *_pods("delete"),
        ("patch", "", "pods", "status", "d", "a"),
        ("get", "", "nodes", "", "", "a"),
    ],
    "root-ca-certificate-publisher-controller": [
        (verb, "", "configmaps", "", "d", "a") for verb in ("create", "update")
    ],
    "persistentvolumeclaim-protection-controller": [
        ("update", *_CLAIMS, "", "d", "a"),
        ("list", "", "pods", "", "d", ""),
    ],
    "persistentvolume-protection-controller": [("update", *_VOLUMES, "", "", "a")],
    "persistentvolume-expander-controller": [("create", "", "events", "", "d", "")],
    "legacy-serviceaccount-token-cleaner-controller": [
        ("get", "", "configmaps", "", "kube-system", TRACKING),
        *[(verb, "", "secrets", "", "d", "a") for verb in ("patch", "delete")],
    ],
    "ttl-after-finished-controller": [
        ("get", "batch", "jobs", "", "d", "a"),
        ("delete", "batch", "jobs", "", "d", "a"),
    ],
}


@pytest.fixture(scope="module")
def authorizer() -> Authorizer:
    lookup = DictLookup()
    for item in bootstrap.rbac():
        rest = {key: value for key, value in item.object.items() if key != "metadata"}
        lookup.put(item.resource, item.name, item.namespace, **rest)
    return Authorizer(lookup)


@pytest.mark.parametrize("name", registry.names())
def test_the_account_may_do_what_its_controller_asks(name: str, authorizer: Authorizer) -> None:
    account = registry.descriptor(name).account
    assert bool(account) == (name in ASKED), "list here what a controller with an account asks for"
    for verb, group, resource, subresource, namespace, of in ASKED.get(name, ()):
        wanted = Attributes(service_account(account), verb, group, "v1", resource, subresource, namespace, of)
        assert authorizer.authorize(wanted).allowed, (verb, resource, subresource)


@pytest.mark.parametrize("signer", ["kube-apiserver-client", "kubelet-serving", "legacy-unknown"])
def test_the_signer_may_sign_for_kubernetes_own(signer: str, authorizer: Authorizer) -> None:
    user = service_account("certificate-controller")
    wanted = Attributes(
        user, "sign", "certificates.k8s.io", "*", "signers", "", "", f"kubernetes.io/{signer}"
    )
    assert authorizer.authorize(wanted).allowed


@pytest.mark.virtual
async def test_a_controller_with_an_account_gets_a_client_that_acts_as_it() -> None:
    seen: dict[str, Client] = {}

    def lookup(name: str) -> Descriptor:
        async def run(context: ControllerContext) -> None:
            seen[name] = context.client
            await asyncio.Event().wait()

        return Descriptor(name, run, account="" if name == "namespace-controller" else "robot")

    own, robot = FakeApi().client(), FakeApi().client()
    accounts: list[str] = []

    def acting_as(account: str) -> Client:
        accounts.append(account)
        return robot

    boss = Manager(own, "namespace,serviceaccount", lookup=lookup, acting_as=acting_as)
    task = asyncio.ensure_future(boss.run())
    await clock.sleep(1)
    await cancel_and_wait(task)
    assert seen == {"namespace-controller": own, "serviceaccount-controller": robot}
    assert accounts == ["robot"]
