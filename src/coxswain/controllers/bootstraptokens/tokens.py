"""Bootstrap token secrets, and signatures made with them. No IO.

A signature is a detached JWS (RFC 7515) of the kubeconfig in ``cluster-info``, HMAC SHA-256 with the whole token
as its key: who knows the token can check it, and nobody else can make it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re

import orjson

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock

SECRET_TYPE = "bootstrap.kubernetes.io/token"
NAMESPACE = "kube-system"
SIGNATURE = "jws-kubeconfig-"
_PREFIX = "bootstrap-token-"
_ID, _SECRET = re.compile(r"[a-z0-9]{6}", re.ASCII), re.compile(r"[a-z0-9]{16}", re.ASCII)


def field(secret: Object, name: str) -> str:
    """One field of a secret, decoded; empty if there is none."""
    try:
        return base64.b64decode((secret.get("data") or {}).get(name) or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def expiry(secret: Object) -> float | None:
    """When a token expires (seconds since the epoch); 0 if that cannot be read, None if it never does."""
    text = field(secret, "expiration")
    if not text:
        return None
    try:
        return clock.parse_time(text)
    except ValueError:
        return 0.0


def signing_token(secret: Object, now: float) -> tuple[str, str] | None:
    """The two halves of a token that signs at ``now``, or None."""
    found, half = field(secret, "token-id"), field(secret, "token-secret")
    if secret.get("type") != SECRET_TYPE or meta.name(secret) != f"{_PREFIX}{found}":
        return None
    if not _ID.fullmatch(found) or not _SECRET.fullmatch(half):
        return None
    end = expiry(secret)
    if (end is not None and end <= now) or field(secret, "usage-bootstrap-signing") != "true":
        return None
    return found, half


def signature(content: str, token_id: str, token_secret: str) -> str:
    """The detached JWS of ``content``."""
    header = _encode(orjson.dumps({"alg": "HS256", "kid": token_id}))
    key = f"{token_id}.{token_secret}".encode()
    signed = hmac.digest(key, f"{header}.{_encode(content.encode())}".encode(), hashlib.sha256)
    return f"{header}..{_encode(signed)}"


def signed(data: dict[str, str], tokens: dict[str, str]) -> dict[str, str] | None:
    """``cluster-info``'s data with the signatures of ``tokens`` (id: secret half) alone; None if it has them."""
    content = data.get("kubeconfig")
    if not content:
        return None
    wanted = {name: value for name, value in data.items() if not name.startswith(SIGNATURE)}
    for token_id, half in sorted(tokens.items()):
        wanted[f"{SIGNATURE}{token_id}"] = signature(content, token_id, half)
    return None if wanted == data else wanted


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
