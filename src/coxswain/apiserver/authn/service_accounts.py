"""Service account tokens: who a token is, for as long as what it is bound to exists.

The signature of a token is verified once; on every use its times are checked, and that the service account
(and the pod, secret or node it is bound to) still exists with the same UID.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from coxswain.api import errors
from coxswain.api.names import GVR, NODES, PODS, SECRETS, SERVICE_ACCOUNTS, Object
from coxswain.apiserver.authn.credentials import CREDENTIAL_ID, Identity, authenticated
from coxswain.apiserver.authn.issuer import Issuer
from coxswain.apiserver.authn.tokens import digest
from coxswain.apiserver.lookup import Lookup
from coxswain.base import clock
from coxswain.client.interface import UserInfo

PREFIX = "system:serviceaccount:"
GROUP = "system:serviceaccounts"
PRIVATE_CLAIM = "kubernetes.io"

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


class ServiceAccountTokens:
    """Users by JWT."""

    def __init__(self, issuer: Issuer, lookup: Lookup, audiences: tuple[str, ...] = ()) -> None:
        """``audiences`` are those of the API server itself; the issuer where none are given."""
        self.issuer = issuer
        self.audiences = audiences or (issuer.issuer,)
        self._lookup = lookup
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
            known = self._known[key] = _read(self.issuer.verify(token))
        now = clock.now()
        if now > known.not_after + LEEWAY:
            raise errors.Unauthorized("service account token has expired")
        if now < known.not_before - LEEWAY:
            raise errors.Unauthorized("service account token is not valid yet")
        for bound in known.bound:
            self._check(bound, now)
        wanted = audiences or self.audiences
        good = tuple(a for a in wanted if a in known.identity.audiences)
        if not good:
            raise errors.Unauthorized(
                f"token audiences {_listed(known.identity.audiences)} is invalid for the target audiences {_listed(wanted)}"
            )
        return Identity(known.identity.user, good)

    def _check(self, bound: _Bound, now: float) -> None:
        found = self._lookup.get(bound.kind, bound.namespace, bound.name)
        if found is None:
            raise errors.Unauthorized("service account token has been invalidated")
        meta = found["metadata"]
        deleted = meta.get("deletionTimestamp")
        if (bound.uid and meta.get("uid") != bound.uid) or (
            deleted and clock.parse_time(deleted) < now - LEEWAY
        ):
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
