"""Bootstrap tokens, the time to live of nodes' caches, and service CIDRs."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from controllerbench import running
from coxswain.api import meta
from coxswain.api.errors import Conflict, ServiceUnavailable
from coxswain.api.names import CONFIGMAPS, IP_ADDRESSES, NODES, SECRETS, SERVICE_CIDRS, Object
from coxswain.base import clock
from coxswain.controllers import ttl
from coxswain.controllers.bootstraptokens import cleaner, signer
from coxswain.controllers.bootstraptokens.tokens import SECRET_TYPE
from coxswain.controllers.servicecidr import controller as servicecidr
from coxswain.controllers.servicecidr.decide import FINALIZER
from fakeapi import FakeApi


def token(name: str = "abcdef", *, lives: float | None = None, **fields: str) -> Object:
    data = {"token-id": name, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true", **fields}
    if lives is not None:
        data["expiration"] = clock.format_time(clock.now() + lives)
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": f"bootstrap-token-{name}", "namespace": "kube-system"}
    return {"metadata": metadata, "type": SECRET_TYPE, "data": encoded}


def cluster_info() -> Object:
    return {
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": "KUBECONFIG", "jws-kubeconfig-zzzzzz": "stale"},
    }


@pytest.mark.virtual
async def test_cluster_info_carries_the_signature_of_every_token_that_may_sign() -> None:
    api = FakeApi()
    api.add(CONFIGMAPS, cluster_info())
    api.add(SECRETS, token())
    api.add(SECRETS, token("shorty", lives=100))
    api.add(SECRETS, token("mutemu", **{"usage-bootstrap-signing": "false"}))
    api.fail("update", CONFIGMAPS, Conflict)
    async with running(api, signer.DESCRIPTOR):
        await clock.sleep(5)
        data = api.object(CONFIGMAPS, "cluster-info", "kube-public")["data"]
        assert set(data) == {"kubeconfig", "jws-kubeconfig-abcdef", "jws-kubeconfig-shorty"}
        header, payload, signature = data["jws-kubeconfig-abcdef"].split(".")
        assert payload == ""
        signed = f"{header}.{base64.urlsafe_b64encode(b'KUBECONFIG').rstrip(b'=').decode()}"
        mac = hmac.digest(b"abcdef.0123456789abcdef", signed.encode(), hashlib.sha256)
        assert base64.urlsafe_b64decode(signature + "=") == mac
        writes = len(api.writes())
        await clock.sleep(90)
        assert len(api.writes()) == writes
        await clock.sleep(20)
        assert "jws-kubeconfig-shorty" not in api.object(CONFIGMAPS, "cluster-info", "kube-public")["data"]
        api.remove(SECRETS, "bootstrap-token-abcdef", "kube-system")
        await clock.sleep(1)
        assert set(api.object(CONFIGMAPS, "cluster-info", "kube-public")["data"]) == {"kubeconfig"}


@pytest.mark.virtual
async def test_expired_tokens_are_deleted() -> None:
    api = FakeApi()
    api.add(SECRETS, token())
    api.add(SECRETS, token("shorty", lives=100))
    api.fail("delete", SECRETS, ServiceUnavailable)
    async with running(api, cleaner.DESCRIPTOR):
        await clock.sleep(90)
        assert len(api.objects(SECRETS)) == 2
        await clock.sleep(20)
        assert [meta.name(one) for one in api.objects(SECRETS)] == ["bootstrap-token-abcdef"]


def test_steps_of_the_time_to_live_overlap() -> None:
    steps = ttl.Steps()
    seen = []
    for _ in range(101):
        steps.add()
    seen.append(steps.seconds)
    for _ in range(11):
        steps.remove()
    seen.append(steps.seconds)
    steps.remove()
    seen.append(steps.seconds)
    assert seen == [15, 15, 0]


@pytest.mark.virtual
async def test_nodes_are_told_their_time_to_live_once() -> None:
    api = FakeApi()
    api.add(NODES, {"metadata": {"name": "a"}})
    api.fail("patch", NODES, Conflict)
    async with running(api, ttl.DESCRIPTOR):
        await clock.sleep(5)
        assert meta.annotations(api.object(NODES, "a")) == {ttl.TTL: "0"}
        writes = len(api.writes())
        api.change(NODES, "a", "", lambda node: node.update(status={"phase": "x"}))
        await clock.sleep(50)
        assert len(api.writes()) == writes
        for number in range(100):
            api.add(NODES, {"metadata": {"name": f"n{number}"}})
        await clock.sleep(5)
        api.change(NODES, "a", "", lambda node: node.update(status={"phase": "y"}))
        await clock.sleep(5)
        assert meta.annotations(api.object(NODES, "a")) == {ttl.TTL: "15"}


def service_range(name: str, cidr: str) -> Object:
    return {"metadata": {"name": name}, "spec": {"cidrs": [cidr]}}


@pytest.mark.virtual
async def test_a_service_cidr_stays_while_its_addresses_are_in_use() -> None:
    api = FakeApi()
    api.add(SERVICE_CIDRS, service_range("kubernetes", "10.96.0.0/16"))
    api.add(SERVICE_CIDRS, service_range("more", "10.97.0.0/16"))
    api.add(IP_ADDRESSES, {"metadata": {"name": "10.97.0.5"}})
    api.fail("patch", SERVICE_CIDRS, Conflict)
    api.lose_answer("update", SERVICE_CIDRS)
    async with running(api, servicecidr.DESCRIPTOR):
        await clock.sleep(5)
        found = api.object(SERVICE_CIDRS, "more")
        assert meta.finalizers(found) == [FINALIZER]
        assert meta.is_condition_true(found, "Ready")
        writes = len(api.writes())
        await clock.sleep(500)
        assert len(api.writes()) == writes
        await api.client().delete(SERVICE_CIDRS, "more")
        await clock.sleep(60)
        said = meta.condition(api.object(SERVICE_CIDRS, "more"), "Ready")
        assert said is not None
        assert (said["status"], said["reason"]) == ("False", "Terminating")
        api.remove(IP_ADDRESSES, "10.97.0.5")
        await clock.sleep(5)
        assert not api.exists(SERVICE_CIDRS, "more")


@pytest.mark.virtual
async def test_a_service_cidr_goes_at_once_when_another_covers_its_addresses() -> None:
    api = FakeApi()
    api.add(SERVICE_CIDRS, service_range("small", "10.97.0.0/24"))
    api.add(SERVICE_CIDRS, service_range("big", "10.97.0.0/16"))
    api.add(IP_ADDRESSES, {"metadata": {"name": "10.97.0.5"}})
    async with running(api, servicecidr.DESCRIPTOR):
        await clock.sleep(5)
        await api.client().delete(SERVICE_CIDRS, "small")
        await clock.sleep(5)
        assert api.exists(SERVICE_CIDRS, "small")  # allocators may not have heard of it
        await clock.sleep(10)
        assert not api.exists(SERVICE_CIDRS, "small")
