"""Certificate requests: who is approved, what is signed and for how long, what is refused, and when they go."""

from __future__ import annotations

import base64
import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controllerbench import running
from coxswain.api import meta
from coxswain.api.errors import Conflict, ServiceUnavailable
from coxswain.api.names import SUBJECT_ACCESS_REVIEWS, Object
from coxswain.base import clock
from coxswain.client.interface import Call
from coxswain.controllers.certificates import approving, cleaner, signing
from coxswain.controllers.certificates.requests import (
    API_CLIENT,
    KUBELET_CLIENT,
    KUBELET_SERVING,
    REQUESTS,
    Unfit,
    check,
)
from fakeapi import FakeApi

KEY = ec.generate_private_key(ec.SECP256R1())
CLIENT = ["digital signature", "key encipherment", "client auth"]
SERVING = ["digital signature", "server auth"]


class Api(FakeApi):
    """Answers access reviews, and lets conditions through the approval door."""

    def __init__(self, *permissions: str) -> None:
        super().__init__()
        self.permissions = set(permissions)

    def _do_create(self, call: Call) -> Object:
        if call.resource != SUBJECT_ACCESS_REVIEWS:
            return super()._do_create(call)
        asked = orjson.loads(call.body)["spec"]["resourceAttributes"]["subresource"]
        return {"status": {"allowed": asked in self.permissions}}

    def _replace(self, call: Call, obj: Object) -> Object:
        if call.subresource == "approval":
            call.subresource = "status"
        return super()._replace(call, obj)


def asked(cn: str = "system:node:n", org: str = "system:nodes", names: list[Any] | None = None) -> Any:
    subject = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, org),
        x509.NameAttribute(NameOID.COMMON_NAME, cn),
    ]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256())


def request(
    what: Any = None, *, signer: str = KUBELET_CLIENT, usages: list[str] | None = None, **spec: Any
) -> Object:
    pem = (what or asked()).public_bytes(serialization.Encoding.PEM)
    return {
        "metadata": {"name": "r"},
        "spec": {
            "request": base64.b64encode(pem).decode(),
            "signerName": signer,
            "usages": usages or CLIENT,
            "username": "system:bootstrap:abcdef",
            **spec,
        },
    }


def decided(of: Object, kind: str = "Approved") -> Object:
    entry = {"type": kind, "status": "True", "lastUpdateTime": clock.timestamp()}
    return {**of, "status": {"conditions": [entry]}}


def authority(directory: Path, *, days: int = 3650) -> dict[str, str]:
    now = datetime.fromtimestamp(clock.now(), UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(KEY, hashes.SHA256())
    )
    files = directory / "ca.crt", directory / "ca.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem, form, plain = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    files[1].write_bytes(KEY.private_bytes(pem, form, plain))
    return {"cluster_signing_cert_file": str(files[0]), "cluster_signing_key_file": str(files[1])}


def issued(api: FakeApi) -> x509.Certificate:
    return x509.load_pem_x509_certificate(
        base64.b64decode(api.object(REQUESTS, "r")["status"]["certificate"])
    )


# --- approving ---------------------------------------------------------------------------------------------


@pytest.mark.virtual
async def test_nodes_that_may_are_approved_even_when_writes_fail() -> None:
    for permission, user in (("nodeclient", "system:bootstrap:x"), ("selfnodeclient", "system:node:n")):
        api = Api(permission)
        api.fail("create", SUBJECT_ACCESS_REVIEWS, ServiceUnavailable)
        api.fail("update", REQUESTS, Conflict)
        api.add(REQUESTS, request(username=user))
        async with running(api, approving.DESCRIPTOR):
            await clock.sleep(5)
            entry = meta.condition(api.object(REQUESTS, "r"), "Approved")
            assert entry is not None
            assert (entry["reason"], entry["status"]) == ("AutoApproved", "True")
            writes = len(api.writes())
            await clock.sleep(500)
            assert len(api.writes()) == writes


@pytest.mark.virtual
async def test_one_who_may_not_is_approved_once_he_may() -> None:
    api = Api("selfnodeclient")
    api.add(REQUESTS, request())
    async with running(api, approving.DESCRIPTOR):
        await clock.sleep(100)
        assert "status" not in api.object(REQUESTS, "r")
        assert len(api.writes()) < 12
        api.permissions.add("nodeclient")
        await clock.sleep(200)
        assert meta.condition(api.object(REQUESTS, "r"), "Approved") is not None


@pytest.mark.parametrize(
    "other",
    [
        request(signer=KUBELET_SERVING),
        request(usages=SERVING),
        request(asked(cn="somebody")),
        request(asked(org="system:masters")),
        request(asked(names=[x509.DNSName("n")])),
        request() | {"spec": {**request()["spec"], "request": "bm9uc2Vuc2U="}},
    ],
)
def test_other_requests_are_not_ours(other: Object) -> None:
    assert approving.recognized(other) == []


# --- signing -----------------------------------------------------------------------------------------------


@pytest.mark.virtual
async def test_an_approved_request_is_signed(tmp_path: Path) -> None:
    api = FakeApi()
    api.add(REQUESTS, request(expirationSeconds=3600))
    api.fail("update", REQUESTS, Conflict)
    api.lose_answer("update", REQUESTS)
    async with running(api, signing.DESCRIPTOR, **authority(tmp_path)):
        await clock.sleep(5)
        assert api.writes() == []
        api.change(REQUESTS, "r", "", lambda obj: obj.update(decided(obj)))
        await clock.sleep(5)
        found = issued(api)
        now = datetime.fromtimestamp(clock.now(), UTC)
        assert timedelta(minutes=59) < found.not_valid_after_utc - now <= timedelta(hours=1)
        assert now - found.not_valid_before_utc >= timedelta(minutes=5)
        assert found.subject == asked().subject
        assert found.issuer.rfc4514_string() == "CN=ca"
        purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert [purpose.dotted_string for purpose in purposes] == ["1.3.6.1.5.5.7.3.2"]
        usage = found.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical and usage.value.digital_signature and usage.value.key_encipherment
        assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        writes = len(api.writes())
        await clock.sleep(500)
        assert len(api.writes()) == writes


@pytest.mark.virtual
async def test_names_are_kept_and_nothing_outlives_the_authority(tmp_path: Path) -> None:
    api = FakeApi()
    names = [x509.DNSName("n.example.com"), x509.IPAddress(ipaddress.ip_address("10.0.0.1"))]
    api.add(REQUESTS, decided(request(asked(names=names), signer=KUBELET_SERVING, usages=SERVING)))
    async with running(api, signing.DESCRIPTOR, **authority(tmp_path, days=30)):
        await clock.sleep(1)
        found = issued(api)
        assert list(found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == names
        assert found.not_valid_after_utc <= datetime.fromtimestamp(clock.now(), UTC) + timedelta(days=30)


@pytest.mark.virtual
async def test_what_may_not_be_granted_fails_for_good(tmp_path: Path) -> None:
    api = FakeApi()
    api.add(REQUESTS, decided(request(signer=API_CLIENT, usages=["server auth"])))
    async with running(api, signing.DESCRIPTOR, **authority(tmp_path)):
        await clock.sleep(60)
        entry = meta.condition(api.object(REQUESTS, "r"), "Failed")
        assert entry is not None
        assert entry["reason"] == "SignerValidationFailure"
        assert entry["message"] == "invalid usage for client certificate: server auth"
        assert len(api.writes()) == 1


@pytest.mark.virtual
async def test_denied_and_foreign_requests_and_those_without_an_authority_are_left_alone(
    tmp_path: Path,
) -> None:
    api = FakeApi()
    api.add(REQUESTS, decided(request(), "Denied"))
    foreign = decided(request(signer="example.com/x"))
    foreign["metadata"] = {"name": "f"}
    api.add(REQUESTS, foreign)
    async with running(api, signing.DESCRIPTOR, **authority(tmp_path)):
        await clock.sleep(60)
    async with running(api, signing.DESCRIPTOR):
        await clock.sleep(60)
    assert api.writes() == []


@pytest.mark.parametrize(
    ("signer", "what", "usages", "why"),
    [
        (KUBELET_SERVING, asked(), SERVING, "DNS or IP subjectAltName is required"),
        (KUBELET_SERVING, asked(names=[x509.DNSName("n"), x509.RFC822Name("a@b")]), SERVING, "Email subject"),
        (
            KUBELET_SERVING,
            asked(names=[x509.DNSName("n")]),
            CLIENT,
            "usages did not match [digital signature",
        ),
        (KUBELET_CLIENT, asked(cn="n"), CLIENT, "subject common name does not begin with system:node:"),
        (KUBELET_CLIENT, asked(org="x"), CLIENT, "subject organization is not system:nodes"),
        (API_CLIENT, asked(), ["digital signature"], "missing required usage for client certificate"),
    ],
)
def test_signers_say_why_not(signer: str, what: Any, usages: list[str], why: str) -> None:
    with pytest.raises(Unfit) as refusal:
        check(signer, what, usages)
    assert str(refusal.value).startswith(why)


# --- cleaning ----------------------------------------------------------------------------------------------


@pytest.mark.virtual
async def test_requests_go_after_their_time() -> None:
    api = FakeApi()
    for name, obj in (
        ("pending", request()),
        ("approved", decided(request())),
        ("denied", decided(request(), "Denied")),
    ):
        api.add(REQUESTS, {**obj, "metadata": {"name": name}})
    api.fail("delete", REQUESTS, ServiceUnavailable)
    async with running(api, cleaner.DESCRIPTOR):
        await clock.sleep(3500)
        assert api.writes() == []
        await clock.sleep(200)
        assert [meta.name(one) for one in api.objects(REQUESTS)] == ["pending"]
        await clock.sleep(86400)
        assert api.objects(REQUESTS) == []
