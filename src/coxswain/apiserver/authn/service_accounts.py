"""Service account tokens: who a token is, for as long as what it is bound to exists.

The signature of a token is verified once; on every use its times are checked, and that the service account
(and the pod, secret or node it is bound to) still exists with the same UID. Tokens of the old kind, which lie
in secrets of type ``kubernetes.io/service-account-token`` and never expire, are good while their secret holds
them.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any, NamedTuple

from coxswain.api import errors
from coxswain.api.names import GVR, NODES, PODS, SECRETS, SERVICE_ACCOUNTS, Object
from coxswain.apiserver.authn.credentials import CREDENTIAL_ID, Identity, authenticated
from coxswain.apiserver.authn.issuer import LEGACY_ISSUER, Issuer
from coxswain.apiserver.authn.legacy_use import LegacyTokenUse
from coxswain.apiserver.authn.tokens import digest
from coxswain.apiserver.lookup import Lookup
from coxswain.base import clock
from coxswain.client.interface import UserInfo

PREFIX = "system:serviceaccount:"
GROUP = "system:serviceaccounts"
PRIVATE_CLAIM = "kubernetes.io"

#: The label with the day from which on a token in a secret is good no more.
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"

#: Seconds that clocks may differ, and that an object may be deleted before its tokens end (as Kubernetes).
LEEWAY = 60.0
#: Verified tokens remembered at most.
TOKENS = 8192


class _Bound(NamedTuple):
    """An object that must still be there, with the same UID."""

    kind: GVR
    namespace: str
    name: str
    uid: str


class _Known(NamedTuple):
    identity: Identity
    not_before: float
    not_after: float
    bound: tuple[_Bound, ...]
    #: For a token of the old kind, its digest: the secret must still hold this very token.
    held: bytes = b""


class ServiceAccountTokens:
    """Users by JWT."""

    def __init__(self, issuer: Issuer, lookup: Lookup, audiences: tuple[str, ...] = ()) -> None:
        """``audiences`` are those of the API server itself; the issuer where none are given."""
        self.issuer = issuer
        self.audiences = audiences or issuer.issuers
        self._lookup = lookup
        #: Told of the secret of every token of the old kind that was good.
        self.legacy_use = LegacyTokenUse()
        self._known: dict[bytes, _Known] = {}

    def authenticate(self, token: str, audiences: tuple[str, ...] = ()) -> Identity | None:
        """The account of ``token`` if it is for one of ``audiences`` (the server's by default).

        None when it is no token of ours; raises ``Unauthorized`` with the reason when it is, but not good.
        """
        if token.count(".") != 2:
            return None
        key = digest(token)
        known = self._known.get(key)
        if known is None:
            if not self.issuer.is_ours(token):
                return None
            if len(self._known) >= TOKENS:
                self._known.clear()
            claims = self.issuer.verify(token)
            if claims.get("iss") == LEGACY_ISSUER:
                known = _read_legacy(claims, key, self.audiences)
            else:
                known = _read(claims)
            self._known[key] = known
        now = clock.now()
        if now > known.not_after + LEEWAY:
            raise errors.Unauthorized("service account token has expired")
        if now < known.not_before - LEEWAY:
            raise errors.Unauthorized("service account token is not valid yet")
        secret: Object | None = None
        for bound in known.bound:
            found = self._check(bound, now)
            if known.held and bound.kind is SECRETS:
                _check_held(found, known.held)
                secret = found
        wanted = audiences or self.audiences
        good = tuple(a for a in wanted if a in known.identity.audiences)
        if not good:
            raise errors.Unauthorized(
                f"token audiences {_listed(known.identity.audiences)} is invalid for the target audiences {_listed(wanted)}"
            )
        if secret is not None:
            self.legacy_use.note(secret)
        return Identity(known.identity.user, good)

    def _check(self, bound: _Bound, now: float) -> Object:
        found = self._lookup.get(bound.kind, bound.namespace, bound.name)
        if found is None:
            raise errors.Unauthorized("service account token has been invalidated")
        meta = found["metadata"]
        deleted = meta.get("deletionTimestamp")
        if (bound.uid and meta.get("uid") != bound.uid) or (
            deleted and clock.parse_time(deleted) < now - LEEWAY
        ):
            raise errors.Unauthorized("service account token has been invalidated")
        return found


def _check_held(secret: Object, token: bytes) -> None:
    """Whether the secret holds the token of this digest and nobody declared that invalid."""
    try:
        held = base64.b64decode((secret.get("data") or {}).get("token") or "", validate=True)
    except binascii.Error:
        held = b""
    same = hmac.compare_digest(digest(held.decode("utf-8", "surrogateescape")), token)
    if not same or (secret["metadata"].get("labels") or {}).get(INVALID_SINCE):
        raise errors.Unauthorized("service account token has been invalidated")


def _listed(audiences: tuple[str, ...]) -> str:
    return "[" + " ".join(f'"{audience}"' for audience in audiences) + "]"


def _read(claims: Object) -> _Known:
    """What to remember of verified claims. Raises ``Unauthorized`` when they are not those of an account."""
    private: Any = claims.get(PRIVATE_CLAIM)
    try:
        namespace, account = str(private["namespace"]), private["serviceaccount"]
        name, uid = str(account["name"]), str(account["uid"])
        expires = float(claims["exp"])
    except (TypeError, KeyError, ValueError):
        raise errors.Unauthorized("invalid bearer token") from None
    if claims.get("sub") != f"{PREFIX}{namespace}:{name}":
        raise errors.Unauthorized("Token: invalid sub claim")
    bound = [_Bound(SERVICE_ACCOUNTS, namespace, name, uid)]
    extra: dict[str, tuple[str, ...]] = {}
    if claims.get("jti"):
        extra[CREDENTIAL_ID] = (f"JTI={claims['jti']}",)
    for field, kind in (("pod", PODS), ("secret", SECRETS), ("node", NODES)):
        ref = private.get(field)
        if not isinstance(ref, dict):
            continue
        if field != "secret":
            extra[f"authentication.kubernetes.io/{field}-name"] = (str(ref.get("name")),)
            extra[f"authentication.kubernetes.io/{field}-uid"] = (str(ref.get("uid")),)
        if field == "node" and "pod" in private:
            continue  # says where the pod runs; the token is bound to the pod
        where = "" if field == "node" else namespace
        bound.append(_Bound(kind, where, str(ref.get("name")), str(ref.get("uid") or "")))
    audiences = claims.get("aud") or ()
    audiences = (audiences,) if isinstance(audiences, str) else tuple(audiences)
    user = UserInfo(f"{PREFIX}{namespace}:{name}", (GROUP, f"{GROUP}:{namespace}"), uid, extra)
    begins = float(claims.get("nbf") or 0)
    return _Known(Identity(authenticated(user), audiences), begins, expires, tuple(bound))


def _read_legacy(claims: Object, token: bytes, audiences: tuple[str, ...]) -> _Known:
    """What to remember of a verified token of the old kind; ``token`` is its digest."""
    wanted = ("namespace", "secret.name", "service-account.name", "service-account.uid")
    namespace, secret, name, uid = (
        str(claims.get(f"kubernetes.io/serviceaccount/{claim}") or "") for claim in wanted
    )
    if not (namespace and secret and name and uid) or claims.get("sub") != f"{PREFIX}{namespace}:{name}":
        raise errors.Unauthorized("invalid bearer token")
    user = UserInfo(f"{PREFIX}{namespace}:{name}", (GROUP, f"{GROUP}:{namespace}"), uid)
    bound = (_Bound(SERVICE_ACCOUNTS, namespace, name, uid), _Bound(SECRETS, namespace, secret, ""))
    return _Known(Identity(authenticated(user), audiences), 0.0, float("inf"), bound, token)
