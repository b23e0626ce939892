"""What a secret of type ``kubernetes.io/service-account-token`` should hold, and the claims of its token. No IO."""

from __future__ import annotations

import base64

from coxswain.api import meta
from coxswain.api.names import Object

SECRET_TYPE = "kubernetes.io/service-account-token"
ACCOUNT, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
LEGACY_ISSUER = "kubernetes/serviceaccount"
_CLAIM = "kubernetes.io/serviceaccount/"


def account_of(secret: Object) -> str:
    """The name of the account that a token secret is for; empty if it is no such secret."""
    if secret.get("type") != SECRET_TYPE:
        return ""
    return meta.annotations(secret).get(ACCOUNT, "")


def belongs(secret: Object, account: Object | None) -> bool:
    """Whether ``account`` is the one that the secret is for, and not a later one of that name."""
    if account is None:
        return False
    uid = meta.annotations(secret).get(ACCOUNT_UID)
    return not uid or uid == meta.uid(account)


def claims(secret: Object, account: Object) -> dict[str, str]:
    """What the token says. It has no end: it is good while its secret is there."""
    namespace, name = meta.namespace(account), meta.name(account)
    return {
        "iss": LEGACY_ISSUER,
        f"{_CLAIM}namespace": namespace,
        f"{_CLAIM}secret.name": meta.name(secret),
        f"{_CLAIM}service-account.name": name,
        f"{_CLAIM}service-account.uid": meta.uid(account),
        "sub": f"system:serviceaccount:{namespace}:{name}",
    }


def needs_token(secret: Object) -> bool:
    """Whether there is no token in it."""
    return not (secret.get("data") or {}).get("token")


def completed(secret: Object, account: Object, certificate: str, token: str) -> Object | None:
    """The secret with all that belongs in it; None if nothing is missing. ``token`` may be empty: it is kept."""
    data = dict(secret.get("data") or {})
    if certificate:
        data["ca.crt"] = _encode(certificate)
    if not data.get("namespace"):
        data["namespace"] = _encode(meta.namespace(secret))
    if token:
        data["token"] = _encode(token)
    annotations = {**meta.annotations(secret), ACCOUNT: meta.name(account), ACCOUNT_UID: meta.uid(account)}
    if data == (secret.get("data") or {}) and annotations == meta.annotations(secret):
        return None
    return {**secret, "metadata": {**secret["metadata"], "annotations": annotations}, "data": data}


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
