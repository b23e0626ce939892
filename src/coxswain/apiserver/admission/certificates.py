"""CertificateApproval, CertificateSigning, CertificateSubjectRestriction: who may vouch for certificates, and for whom.

To approve or sign a request one needs the verb ``approve`` or ``sign`` on the ``signers`` of its signer (or of all
signers of that domain, ``example.com/*``). Nobody gets a client certificate of the group that may do everything.
"""

from __future__ import annotations

import base64
import binascii
from typing import ClassVar

from coxswain.api.fields import quote
from coxswain.api.names import GVR, Object
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.authn.users import user_info
from coxswain.apiserver.authz.attributes import Attributes
from coxswain.apiserver.authz.authorizer import Authorizer
from coxswain.client.interface import UserInfo

REQUESTS = GVR("certificates.k8s.io", "v1", "certificatesigningrequests")
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
MASTERS = "system:masters"


def may_use_signer(authorizer: Authorizer, user: UserInfo, verb: str, signer: str) -> bool:
    """Whether ``user`` has ``verb`` on a signer by its name or by its domain."""
    domain = signer.partition("/")[0]
    return any(
        authorizer.authorize(Attributes(user, verb, REQUESTS.group, "*", "signers", "", "", name)).allowed
        for name in (signer, f"{domain}/*")
    )


class _SignerPermission(Plugin):
    """Asks whether the user may do ``VERB`` for the signer of a request."""

    VERB: ClassVar[str]
    SUBRESOURCE: ClassVar[str]

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation == "UPDATE" and resource == REQUESTS and subresource == self.SUBRESOURCE

    def validate(self, request: Request) -> None:
        new, old = request.object or {}, request.old_object or {}
        if not self.concerns(new, old):
            return
        signer = (old.get("spec") or {}).get("signerName") or ""
        if not may_use_signer(self._authorizer, request.user, self.VERB, signer):
            raise request.forbidden(
                f"user not permitted to {self.VERB} requests with signerName {quote(signer)}"
            )

    def concerns(self, new: Object, old: Object) -> bool:
        """Whether this change is one that needs the permission."""
        return True


class CertificateApproval(_SignerPermission):
    """Approving and denying."""

    NAME = "CertificateApproval"
    VERB = "approve"
    SUBRESOURCE = "approval"


class CertificateSigning(_SignerPermission):
    """Putting the certificate, or a word on its failure, into the status."""

    NAME = "CertificateSigning"
    VERB = "sign"
    SUBRESOURCE = "status"

    def concerns(self, new: Object, old: Object) -> bool:
        after, before = new.get("status") or {}, old.get("status") or {}
        return any(
            (after.get(part) or None) != (before.get(part) or None) for part in ("certificate", "conditions")
        )


class CertificateSubjectRestriction(Plugin):
    """No client certificates for ``system:masters``."""

    NAME = "CertificateSubjectRestriction"

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation == "CREATE" and resource == REQUESTS and not subresource

    def validate(self, request: Request) -> None:
        spec = (request.object or {}).get("spec") or {}
        if spec.get("signerName") != CLIENT_SIGNER:
            return
        try:
            organizations = _organizations(spec.get("request") or "")
        except ValueError as error:
            raise request.forbidden(f"failed to parse CSR: {error}") from None
        if MASTERS in organizations:
            raise request.forbidden(f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")


class CertificateRequester(Plugin):
    """Writes into a request who asks, whatever it says itself: approvers decide by that.

    Not one of Kubernetes' plugins (there the strategy of the kind does it), so it cannot be switched off.
    """

    NAME = "CertificateRequester"

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation == "CREATE" and resource == REQUESTS and not subresource

    def admit(self, request: Request) -> None:
        assert request.object is not None
        spec = request.object.setdefault("spec", {})
        for name in ("username", "uid", "groups", "extra"):
            spec.pop(name, None)
        spec.update(user_info(request.user))


def _organizations(encoded: str) -> list[str]:
    """The organizations in the subject of a request (PEM in base64). Raises ``ValueError``."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        pem = base64.b64decode(encoded)
    except (binascii.Error, ValueError):
        pem = b""
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem:
        raise ValueError("PEM block type must be CERTIFICATE REQUEST")
    subject = x509.load_pem_x509_csr(pem).subject
    return [str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
