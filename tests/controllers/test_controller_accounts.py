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
