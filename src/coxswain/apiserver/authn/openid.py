"""OpenID Connect: users by the ID tokens of a provider that is trusted.

A token is verified against the provider's keys: signature by an allowed algorithm, issuer, audience, times.
Then its claims become a user by the provider's ``Mapping``. What was verified is remembered until it expires.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from coxswain.api import errors
from coxswain.apiserver.authn.credentials import CREDENTIAL_ID, Identity, authenticated
from coxswain.apiserver.authn.issuer import claimed_issuer
from coxswain.apiserver.authn.provider_keys import ProviderKeys
from coxswain.apiserver.authn.settings import OpenIdSettings
from coxswain.apiserver.authn.tokens import digest
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError
from coxswain.client.interface import UserInfo

log = logging.getLogger(__name__)

Claims = Mapping[str, Any]
#: Makes a user of claims; raises ``ClaimError`` when they do not do.
ToUser = Callable[[Claims], UserInfo]

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"})
#: Verified tokens remembered at most.
TOKENS = 8192


class ClaimError(Exception):
    """Claims that make no user. The text says which and why, without values."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Whose tokens are good here, and who they are."""

    issuer: str
    audiences: tuple[str, ...]
    to_user: ToUser
    algorithms: tuple[str, ...] = ("RS256",)


class OpenIdTokens:
    """Users by the tokens of one provider."""

    def __init__(self, provider: Provider, keys: ProviderKeys, api_audiences: tuple[str, ...]) -> None:
        """``api_audiences`` are what a user of such a token is authenticated for."""
        self._provider = provider
        self._keys = keys
        self._api_audiences = api_audiences
        self._known: dict[bytes, tuple[float, UserInfo]] = {}

    def authenticate(self, token: str, audiences: tuple[str, ...]) -> Identity | None:
        """The user of ``token``, or None. Raises ``Pending``, and ``Unauthorized`` with a reason."""
        key = digest(token)
        known = self._known.get(key)
        if known is None:
            if claimed_issuer(token) != self._provider.issuer:
                return None
            known = self._verify(token)
            if len(self._known) >= TOKENS:
                self._known.clear()
            self._known[key] = known
        if clock.now() > known[0]:
            del self._known[key]
            raise errors.Unauthorized("oidc: verify token: oidc: token is expired")
        good = tuple(a for a in self._api_audiences if a in audiences) if audiences else self._api_audiences
        if audiences and not good:
            return None
        return Identity(known[1], good)

    def _verify(self, token: str) -> tuple[float, UserInfo]:
        import jwt

        provider = self._provider
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise errors.Unauthorized("invalid bearer token") from None
        reason = "failed to verify signature"
        for key in self._keys.find(str(header.get("kid") or "")):
            try:
                claims = jwt.decode(
                    token,
                    key,
                    algorithms=list(provider.algorithms),
                    issuer=provider.issuer,
                    audience=list(provider.audiences),
                    options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
                )
            except jwt.InvalidSignatureError:
                continue
            except (jwt.InvalidTokenError, TypeError, ValueError) as error:
                reason = type(error).__name__
                continue
            return self._accept(claims)
        raise errors.Unauthorized(f"oidc: verify token: {reason}")

    def _accept(self, claims: dict[str, Any]) -> tuple[float, UserInfo]:
        """Times, then who it is."""
        now = clock.now()
        try:
            expires, begins = float(claims["exp"]), float(claims.get("nbf") or 0)
        except (KeyError, TypeError, ValueError):
            raise errors.Unauthorized("oidc: verify token: the token has no expiry") from None
        if now > expires:
            raise errors.Unauthorized("oidc: verify token: oidc: token is expired")
        if begins > now + 300:
            raise errors.Unauthorized("oidc: verify token: the token is not valid yet")
        try:
            user = self._provider.to_user(claims)
        except ClaimError as error:
            raise errors.Unauthorized(f"oidc: {error}") from None
        if claims.get("jti") and CREDENTIAL_ID not in user.extra:
            extra = {**user.extra, CREDENTIAL_ID: (f"JTI={claims['jti']}",)}
            user = UserInfo(user.name, user.groups, user.uid, extra)
        return expires, authenticated(user)

    async def close(self) -> None:
        """Close connections. Idempotent."""
        await self._keys.close()


def by_flags(settings: OpenIdSettings) -> Provider:
    """The provider that ``--oidc-*`` describe. Raises ``ConfigurationError``."""
    if not settings.issuer_url.startswith("https://"):
        raise ConfigurationError("--oidc-issuer-url has to be an https URL")
    if not settings.client_id:
        raise ConfigurationError("--oidc-issuer-url needs --oidc-client-id")
    unknown = set(settings.signing_algorithms) - ALGORITHMS
    if unknown:
        raise ConfigurationError(f"--oidc-signing-algs: {', '.join(sorted(unknown))} cannot be used")

    def to_user(claims: Claims) -> UserInfo:
        for claim, value in settings.required_claims:
            if claim not in claims:
                raise ClaimError(f"required claim {claim} not present in ID token")
            if claims[claim] != value:
                raise ClaimError(f"required claim {claim} value does not match")
        name = username(claims, settings.username_claim)
        prefix = settings.username_prefix
        if prefix is None:
            prefix = "" if settings.username_claim == "email" else f"{settings.issuer_url}#"
        groups: tuple[str, ...] = ()
        if settings.groups_claim:
            groups = tuple(settings.groups_prefix + group for group in strings(claims, settings.groups_claim))
        return UserInfo(("" if prefix == "-" else prefix) + name, groups)

    return Provider(settings.issuer_url, (settings.client_id,), to_user, settings.signing_algorithms)


def username(claims: Claims, claim: str) -> str:
    """The claim that names the user; an email must not be known as unverified. Raises ``ClaimError``."""
    name = claims.get(claim)
    if not isinstance(name, str) or not name:
        raise ClaimError(f"parse username claims {claim!r}: claim not present")
    if claim == "email" and claims.get("email_verified", True) is not True:
        raise ClaimError("email not verified")
    return name


def strings(claims: Claims, claim: str) -> list[str]:
    """A claim that is a string or a list of them. Raises ``ClaimError``."""
    value = claims.get(claim)
    if value is None:
        return []
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise ClaimError(f"parse groups claim {claim!r}: neither a string nor a list of strings")
    return values
