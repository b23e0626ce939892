"""The signing keys of an OpenID Connect provider: discovered, fetched, fetched again when one is unknown.

    GET {issuer}/.well-known/openid-configuration -> jwks_uri -> GET jwks_uri -> keys by id

Keys are fetched with the first token, and again for a key id that is not there, at most every ten seconds; a
token that has to wait for that raises ``Pending``.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from coxswain.apiserver.asking import Peer, Remembered
from coxswain.base import clock
from coxswain.base.errors import ResourceUnavailable

log = logging.getLogger(__name__)

WELL_KNOWN = "/.well-known/openid-configuration"
#: Seconds between two fetches; also how long a failure counts.
REFETCH = 10.0
#: Seconds after which keys are fetched anew even if nobody missed one.
LIFETIME = 6 * 3600.0


class _Keys(NamedTuple):
    by_id: dict[str, Any]
    fetched: float


class ProviderKeys:
    """See the module's text."""

    def __init__(self, issuer: str, peer: Peer, *, discovery_url: str = "") -> None:
        """``discovery_url``: where the discovery document is, if not at the issuer."""
        self._issuer = issuer
        self._url = discovery_url or issuer.rstrip("/") + WELL_KNOWN
        self._peer = peer
        self._keys: Remembered[_Keys] = Remembered(1)

    def find(self, key_id: str) -> list[Any]:
        """The keys that may have signed: that of ``key_id``, all where a token names none. May raise ``Pending``."""
        keys = self._keys.get("")
        if keys is None:
            raise self._keys.wait_for("", self._fetch)
        if not key_id:
            return list(keys.by_id.values())
        key = keys.by_id.get(key_id)
        if key is not None:
            return [key]
        if clock.monotonic() - keys.fetched >= REFETCH:
            raise self._keys.wait_for("", self._fetch)
        return []

    async def _fetch(self) -> tuple[_Keys, float]:
        now = clock.monotonic()
        try:
            document = await self._peer.get(self._url)
            if document.get("issuer") != self._issuer:
                raise ResourceUnavailable(f"{self._url} speaks for issuer {document.get('issuer')!r}")
            uri = str(document.get("jwks_uri") or "")
            if not uri.startswith("https://"):
                raise ResourceUnavailable(f"{self._url} names no https jwks_uri")
            found = _read((await self._peer.get(uri)).get("keys"))
        except ResourceUnavailable as error:
            log.warning("OpenID Connect provider %s: %s", self._issuer, error)
            return _Keys({}, now), REFETCH
        return _Keys(found, now), LIFETIME

    async def close(self) -> None:
        """Close connections. Idempotent."""
        await self._peer.close()


def _read(keys: Any) -> dict[str, Any]:
    """Public keys by id; what is not for signatures or not understood is left out."""
    import jwt

    found: dict[str, Any] = {}
    for number, key in enumerate(keys if isinstance(keys, list) else ()):
        if not isinstance(key, dict) or key.get("use", "sig") != "sig" or key.get("kty") == "oct":
            continue
        try:
            found[str(key.get("kid") or f"#{number}")] = jwt.PyJWK.from_dict(key).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
    return found
