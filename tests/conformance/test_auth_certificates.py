"""Certificate requests' endpoints do what conformance asks of them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from conformance.api_operations import check_api_operations
from conformance.whole_cluster import Whole, whole_cluster
from coxswain.api import meta
from coxswain.api.errors import Forbidden
from coxswain.api.names import GVR, Object
from coxswain.base import clock
from coxswain.client.interface import UserInfo

REQUESTS = GVR("certificates.k8s.io", "v1", "certificatesigningrequests")
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = serialization.Encoding.PEM


def request(name: str, signer: str = "example.com/signer", common_name: str = "somebody") -> Object:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(KEY, hashes.SHA256())
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(made.public_bytes(PEM)).decode(),
            "signerName": signer,
            "expirationSeconds": 3600,
            "usages": ["digital signature", "key encipherment", "client auth"],
        },
    }


def condition(kind: str, status: str = "True") -> Object:
    return {"type": kind, "status": status, "reason": f"By{kind}", "message": "Set from a test"}


def kinds(obj: Object) -> list[str]:
    return [each["type"] for each in obj["status"].get("conditions") or ()]


async def signed(it: Whole, name: str) -> bytes:
    async def reached() -> str:
        return str((await it.get(REQUESTS, name))["status"].get("certificate") or "")

    return base64.b64decode(await it.until(reached))


@pytest.mark.virtual
@pytest.mark.conformance(
    "[sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations [Conformance]"
)
async def test_every_operation_of_the_endpoints_is_served(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await check_api_operations(it, REQUESTS, request, "CertificateSigningRequest")
        made = await it.create(REQUESTS, request("one"))
        assert made["spec"]["username"] == "kubernetes-admin"
        approval = await it.get(REQUESTS, "one", subresource="approval")
        assert (approval["kind"], meta.uid(approval)) == ("CertificateSigningRequest", meta.uid(made))
        patch = {
            "metadata": {"annotations": {"patchedapproval": "true"}},
            "status": {"conditions": [condition("ApprovalPatch")]},
        }
        found = await it.patch(REQUESTS, "one", patch, subresource="approval")
        assert kinds(found) == ["ApprovalPatch"]
        assert meta.annotations(found)["patchedapproval"] == "true"
        found = await it.edit(
            REQUESTS,
            "one",
            lambda o: o["status"]["conditions"].append(condition("Approved")),
            subresource="approval",
        )
        assert kinds(found) == ["ApprovalPatch", "Approved"]
        status = await it.get(REQUESTS, "one", subresource="status")
        assert meta.uid(status) == meta.uid(made)
        certificate = base64.b64encode((tmp_path / "apiserver/pki/ca.crt").read_bytes()).decode()
        patch = {
            "metadata": {"annotations": {"patchedstatus": "true"}},
            "status": {"certificate": certificate},
        }
        found = await it.patch(REQUESTS, "one", patch, subresource="status")
        assert found["status"]["certificate"] == certificate
        assert meta.annotations(found)["patchedstatus"] == "true"
        found = await it.edit(
            REQUESTS,
            "one",
            lambda o: o["status"]["conditions"].append(condition("StatusUpdate")),
            subresource="status",
        )
        assert kinds(found) == ["ApprovalPatch", "Approved", "StatusUpdate"]
        await it.delete(REQUESTS, "one")
        await it.until_gone(REQUESTS, "one")


@pytest.mark.virtual
async def test_an_approved_request_is_signed_by_the_clusters_authority(tmp_path: Path) -> None:
    signer = "kubernetes.io/kube-apiserver-client"
    async with whole_cluster(tmp_path) as it:
        await it.create(REQUESTS, request("one", signer, "somebody"))
        await clock.sleep(30)
        assert not (await it.get(REQUESTS, "one"))["status"]
        nobody = it.act_as(UserInfo("nobody", ("system:authenticated",)))
        with pytest.raises(Forbidden):
            await nobody.get(REQUESTS, "one")
        patch = {"status": {"conditions": [condition("Approved")]}}
        await it.patch(REQUESTS, "one", patch, subresource="approval")
        certificate = x509.load_pem_x509_certificate(await signed(it, "one"))
        authority = x509.load_pem_x509_certificate((tmp_path / "apiserver/pki/ca.crt").read_bytes())
        certificate.verify_directly_issued_by(authority)
        assert certificate.subject.rfc4514_string() == "CN=somebody"
        length = certificate.not_valid_after_utc.timestamp() - clock.now()
        assert 3000 < length <= 3600
