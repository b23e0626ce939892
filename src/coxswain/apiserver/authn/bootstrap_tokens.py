"""Bootstrap tokens: how a machine that is nobody yet asks to become a node.

A token ``abcdef.0123456789abcdef`` is good while kube-system has the secret ``bootstrap-token-abcdef`` of type
``bootstrap.kubernetes.io/token`` with that token's two halves, allowed for authentication and not expired.
Its user is ``system:bootstrap:abcdef`` in the group ``system:bootstrappers`` and those that the secret adds.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import re

from coxswain.api.names import SECRETS, Object
from coxswain.apiserver.authn.credentials import Identity, authenticated
from coxswain.apiserver.lookup import Lookup
from coxswain.base import clock
from coxswain.client.interface import UserInfo

log = logging.getLogger(__name__)

NAMESPACE = "kube-system"
SECRET_TYPE = "bootstrap.kubernetes.io/token"
PREFIX = "system:bootstrap:"
GROUP = "system:bootstrappers"

_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})", re.ASCII)
_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]", re.ASCII)


class BootstrapTokens:
    """Users by bootstrap token."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def authenticate(self, token: str) -> Identity | None:
        """The machine that shows ``token``, or None. Why a token is not good is logged, without its secret half."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        name, secret = match[1], match[2]
        found = self._lookup.get(SECRETS, NAMESPACE, f"bootstrap-token-{name}")
        if found is None:
            return None
        problem = _problem(found, name, secret)
        if problem:
            log.info("bootstrap token %s is refused: %s", name, problem)
            return None
        groups = _groups(found)
        if groups is None:
            log.warning("bootstrap token %s is refused: its auth-extra-groups are no bootstrappers", name)
            return None
        return Identity(authenticated(UserInfo(f"{PREFIX}{name}", (GROUP, *groups))))


def _data(secret: Object, name: str) -> str:
    try:
        return base64.b64decode((secret.get("data") or {}).get(name) or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _problem(found: Object, name: str, secret: str) -> str:
    if found["metadata"].get("deletionTimestamp"):
        return "its secret is being deleted"
    if found.get("type") != SECRET_TYPE:
        return f"its secret is not of type {SECRET_TYPE}"
    if not hmac.compare_digest(_data(found, "token-secret").encode(), secret.encode()):
        return "the secret half is another"
    if _data(found, "token-id") != name:
        return "token-id is another"
    expiration = _data(found, "expiration")
    if expiration and not _future(expiration):
        return "it has expired"
    if _data(found, "usage-bootstrap-authentication") != "true":
        return "it is not for authentication"
    return ""


def _future(expiration: str) -> bool:
    try:
        return clock.parse_time(expiration) > clock.now()
    except ValueError:
        return False


def _groups(found: Object) -> list[str] | None:
    """The groups that the secret adds, sorted; None when one of them must not be given away like this."""
    groups = sorted(
        {group.strip() for group in _data(found, "auth-extra-groups").split(",") if group.strip()}
    )
    return groups if all(_GROUP.fullmatch(group) for group in groups) else None
