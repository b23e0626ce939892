"""Client certificates: the common name is the user, the organizations are the groups.

TLS has verified the chain against every authority that the server trusts for clients. Where some of those
vouch for proxies only, it is checked here which authority signed. Validity is checked again, because a
connection may outlive a certificate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from coxswain.api import errors
from coxswain.apiserver.authn.credentials import CREDENTIAL_ID, authenticated
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError
from coxswain.client.interface import UserInfo

if TYPE_CHECKING:
    from cryptography import x509

#: Where a subject carries the user's UID (Kubernetes' own object identifier).
UID_ATTRIBUTE = "1.3.6.1.4.1.57683.2"
#: Certificates remembered at most.
CERTIFICATES = 4096


class Authorities:
    """Certificates that may sign those of clients (PEM, one or several)."""

    def __init__(self, pem: bytes, source: str = "client authorities") -> None:
        """Raises ``ConfigurationError`` when there is no certificate in ``pem``; ``source`` is what it names."""
        from cryptography import x509

        try:
            self._certificates = x509.load_pem_x509_certificates(pem)
        except ValueError:
            raise ConfigurationError(f"{source}: no PEM certificate") from None
        self.pem = pem

    def signed(self, certificate: x509.Certificate) -> bool:
        """Whether one of them signed ``certificate`` itself (intermediate ones have to be listed, too)."""
        from cryptography.exceptions import InvalidSignature

        for authority in self._certificates:
            try:
                certificate.verify_directly_issued_by(authority)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return True
        return False


class _Known(NamedTuple):
    user: UserInfo
    issued: bool
    not_before: float
    not_after: float


class ClientCertificates:
    """Users by certificate (DER), remembered."""

    def __init__(self, authorities: Authorities | None = None) -> None:
        """``authorities``: who may have signed; None where TLS trusts nobody else."""
        self._authorities = authorities
        self._known: dict[bytes, _Known] = {}

    def authenticate(self, der: bytes) -> UserInfo:
        """The user of a verified certificate. Raises ``Unauthorized`` when it expired or names nobody."""
        known = self._remembered(der)
        if not known.issued or not known.user.name:
            raise errors.Unauthorized()
        if not known.not_before <= clock.now() <= known.not_after:
            raise errors.Unauthorized()
        return known.user

    def issued(self, der: bytes) -> bool:
        """Whether our authorities signed this certificate and it is valid now."""
        try:
            known = self._remembered(der)
        except errors.Unauthorized:
            return False
        return known.issued and known.not_before <= clock.now() <= known.not_after

    def common_name(self, der: bytes) -> str:
        """The common name of a certificate."""
        return self._remembered(der).user.name

    def _remembered(self, der: bytes) -> _Known:
        known = self._known.get(der)
        if known is None:
            if len(self._known) >= CERTIFICATES:
                self._known.clear()
            known = self._known[der] = self._read(der)
        return known

    def _read(self, der: bytes) -> _Known:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.x509.oid import NameOID

        try:
            certificate = x509.load_der_x509_certificate(der)
            subject = certificate.subject
            names = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
            groups = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
            uids = [
                str(a.value) for a in subject.get_attributes_for_oid(x509.ObjectIdentifier(UID_ATTRIBUTE))
            ]
        except ValueError:
            raise errors.Unauthorized() from None
        if len(uids) > 1 or "" in uids:
            raise errors.Unauthorized()
        fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        extra = {CREDENTIAL_ID: (f"X509SHA256={fingerprint}",)}
        user = UserInfo(names[0] if names else "", tuple(groups), uids[0] if uids else "", extra)
        return _Known(
            authenticated(user),
            self._authorities is None or self._authorities.signed(certificate),
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
        )
