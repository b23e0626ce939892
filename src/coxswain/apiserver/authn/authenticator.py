"""All ways to authenticate, in kube-apiserver's order: certificate, token file, service account, anonymous.

A request without credentials is ``system:anonymous`` (RBAC lets it see /healthz, /livez, /readyz and
/version only); one with a wrong token is nobody and gets 401.
"""

from __future__ import annotations

from collections.abc import Sequence

from coxswain.api import errors
from coxswain.apiserver.authn.certificates import ClientCertificates
from coxswain.apiserver.authn.credentials import ANONYMOUS, Identity
from coxswain.apiserver.authn.service_accounts import ServiceAccountTokens
from coxswain.apiserver.authn.tokens import StaticTokens
from coxswain.client.interface import UserInfo

_BEARER = "bearer "


class Authenticator:
    """Synchronous; a credential seen before costs a dictionary look-up and a digest."""

    def __init__(
        self,
        *,
        tokens: StaticTokens | None = None,
        service_accounts: ServiceAccountTokens | None = None,
        anonymous: bool = True,
    ) -> None:
        self._certificates = ClientCertificates()
        self._tokens = tokens
        self._service_accounts = service_accounts
        self._anonymous = ANONYMOUS if anonymous else None

    def authenticate(
        self,
        peer_certificate_der: bytes | None,
        authorization: str | None,
        fields: Sequence[tuple[bytes, bytes]] = (),
    ) -> UserInfo | None:
        """Who sends a request; None where it is anonymous and that is switched off.

        ``peer_certificate_der`` is the certificate that TLS verified against the client CA,
        ``authorization`` the header. Raises ``Unauthorized``.
        """
        if peer_certificate_der:
            return self._certificates.authenticate(peer_certificate_der)
        if authorization and authorization[:7].lower() == _BEARER:
            token = authorization[7:].strip()
            if token:
                try:
                    return self.review(token).user
                except errors.Unauthorized:
                    raise errors.Unauthorized() from None  # the reason is for reviews, not for strangers
        return self._anonymous

    def review(self, token: str, audiences: tuple[str, ...] = ()) -> Identity:
        """The identity of a bearer token for ``audiences``. Raises ``Unauthorized`` with the reason."""
        accounts = self._service_accounts
        found = self._tokens.authenticate(token) if self._tokens else None
        if found is not None:
            default = accounts.audiences if accounts else ()
            return Identity(found.user, audiences or default)
        if accounts is not None:
            found = accounts.authenticate(token, audiences)
        if found is None:
            raise errors.Unauthorized("invalid bearer token")
        return found
