"""All ways to authenticate, in kube-apiserver's order.

    proxy's headers -> client certificate -> basic -> token: file, bootstrap, service account, OpenID, webhook
    -> anonymous

The first that knows the credential decides. A request without credentials is ``system:anonymous`` (RBAC lets it
see health and version only); one whose credentials nobody knows gets 401, and is not told why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from coxswain.api import errors
from coxswain.apiserver.authn import websocket
from coxswain.apiserver.authn.basic import BasicPasswords
from coxswain.apiserver.authn.bootstrap_tokens import BootstrapTokens
from coxswain.apiserver.authn.certificates import ClientCertificates
from coxswain.apiserver.authn.credentials import ANONYMOUS, Identity
from coxswain.apiserver.authn.proxies import RequestHeaders
from coxswain.apiserver.authn.service_accounts import ServiceAccountTokens
from coxswain.apiserver.authn.tokens import StaticTokens
from coxswain.client.interface import UserInfo

_BEARER = "bearer "
_BASIC = "basic "


class OutsideTokens(Protocol):
    """Tokens that somebody outside knows; ``authenticate`` may raise ``Pending``."""

    def authenticate(self, token: str, audiences: tuple[str, ...]) -> Identity | None: ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Ways:
    """Ways to authenticate beside the usual ones; what is absent is not served."""

    certificates: ClientCertificates = field(default_factory=ClientCertificates)
    proxies: RequestHeaders | None = None
    basic: BasicPasswords | None = None
    bootstrap: BootstrapTokens | None = None
    outside: tuple[OutsideTokens, ...] = ()
    #: Where one may be anonymous; empty: everywhere.
    anonymous_paths: tuple[str, ...] = ()


class Authenticator:
    """Synchronous; a credential seen before costs a dictionary look-up and a digest."""

    def __init__(
        self,
        *,
        tokens: StaticTokens | None = None,
        service_accounts: ServiceAccountTokens | None = None,
        anonymous: bool = True,
        ways: Ways | None = None,
        audiences: tuple[str, ...] = (),
    ) -> None:
        """``audiences`` are the server's own; those of the service accounts' tokens where none are given."""
        self._tokens = tokens
        self._service_accounts = service_accounts
        self._anonymous = ANONYMOUS if anonymous else None
        self._ways = ways or Ways()
        self.audiences = audiences or (service_accounts.audiences if service_accounts else ())

    def authenticate(
        self,
        peer_certificate_der: bytes | None,
        authorization: str | None,
        fields: Sequence[tuple[bytes, bytes]] = (),
        target: bytes = b"",
    ) -> UserInfo | None:
        """Who sends a request; None where it is anonymous and that is switched off.

        ``peer_certificate_der`` is the certificate that TLS verified, ``authorization`` the header, ``fields``
        all headers, ``target`` path and query. Raises ``Unauthorized``, and ``Pending`` where somebody outside
        has to be asked first.
        """
        failed = False
        if peer_certificate_der:
            user, failed = self._by_certificate(peer_certificate_der, fields)
            if user is not None:
                return user
        if authorization:
            scheme = authorization[:7].lower()
            if scheme == _BEARER:
                token = authorization[7:].strip()
                if token:
                    return self._by_token(token)
            elif self._ways.basic is not None and scheme[:6] == _BASIC:
                user = self._ways.basic.authenticate(authorization[6:].strip())
                if user is not None:
                    return user
                failed = True
        elif any(name == websocket.HEADER for name, _ in fields):
            token = websocket.token_of(fields)
            if token:
                return self._by_token(token)
        if failed:
            raise errors.Unauthorized()
        paths = self._ways.anonymous_paths
        if paths and target.partition(b"?")[0].decode("utf-8", "replace") not in paths:
            return None
        return self._anonymous

    def lasting(self, peer_certificate_der: bytes | None, authorization: str) -> UserInfo | None:
        """Who sends all requests with this header, for as long as the server runs, if anybody can tell.

        Only the token file is read once; whatever else proves a user may expire or be taken back. A certificate
        counts before the header. Where this gives a user, ``authenticate`` gives the same one.
        """
        if peer_certificate_der or self._tokens is None or authorization[:7].lower() != _BEARER:
            return None
        found = self._tokens.authenticate(authorization[7:].strip())
        return None if found is None else found.user

    def _by_certificate(
        self, der: bytes, fields: Sequence[tuple[bytes, bytes]]
    ) -> tuple[UserInfo | None, bool]:
        """The user, or whether the certificate is not good."""
        ways = self._ways
        if ways.proxies is not None:
            user = ways.proxies.authenticate(der, fields)
            if user is not None:
                return user, False
        try:
            return ways.certificates.authenticate(der), False
        except errors.Unauthorized:
            return None, True

    def _by_token(self, token: str) -> UserInfo:
        try:
            return self.review(token).user
        except errors.Unauthorized:
            raise errors.Unauthorized() from None  # the reason is for reviews, not for strangers

    def review(self, token: str, audiences: tuple[str, ...] = ()) -> Identity:
        """The identity of a bearer token for ``audiences`` (by default the server's own).

        Raises ``Unauthorized`` with the reason, and ``Pending``.
        """
        # What proves a user without saying for whom is good for the server's own audiences.
        own = tuple(a for a in self.audiences if a in audiences) if audiences else self.audiences
        if own or not audiences or not self.audiences:
            found = self._tokens.authenticate(token) if self._tokens else None
            if found is None and self._ways.bootstrap is not None:
                found = self._ways.bootstrap.authenticate(token)
            if found is not None:
                return Identity(found.user, own)
        reason = "invalid bearer token"
        if self._service_accounts is not None:
            found = self._service_accounts.authenticate(token, audiences)
            if found is not None:
                return found
        for outside in self._ways.outside:
            try:
                found = outside.authenticate(token, audiences)
            except errors.Unauthorized as error:
                reason = error.message
                continue
            if found is not None:
                return found
        raise errors.Unauthorized(reason)

    async def close(self) -> None:
        """Close connections to those outside. Idempotent."""
        for outside in self._ways.outside:
            await outside.close()
