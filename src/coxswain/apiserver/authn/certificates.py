"""Client certificates: the common name is the user, the organizations are the groups.

TLS has verified the chain. Validity is checked again here, because a connection may outlive a certificate.
"""

from __future__ import annotations

from typing import NamedTuple

from coxswain.api import errors
from coxswain.apiserver.authn.credentials import CREDENTIAL_ID, authenticated
from coxswain.base import clock
from coxswain.client.interface import UserInfo

#: Certificates remembered at most.
CERTIFICATES = 4096


class _Known(NamedTuple):
    user: UserInfo
    not_before: float
    not_after: float


class ClientCertificates:
    """Users by certificate (DER), remembered."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}

    def authenticate(self, der: bytes) -> UserInfo:
        """The user of a verified certificate. Raises ``Unauthorized`` when it expired or names nobody."""
        known = self._known.get(der)
        if known is None:
            if len(self._known) >= CERTIFICATES:
                self._known.clear()
            known = self._known[der] = _read(der)
        if not known.not_before <= clock.now() <= known.not_after:
            raise errors.Unauthorized()
        return known.user


def _read(der: bytes) -> _Known:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    try:
        certificate = x509.load_der_x509_certificate(der)
        names = [str(a.value) for a in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        groups = [str(a.value) for a in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    except ValueError:
        raise errors.Unauthorized() from None
    if not names or not names[0]:
        raise errors.Unauthorized()
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    user = UserInfo(names[0], tuple(groups), extra={CREDENTIAL_ID: (f"X509SHA256={fingerprint}",)})
    return _Known(
        authenticated(user),
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )
