"""Webhook token authentication: a server elsewhere reviews tokens that nobody here knows.

It gets a TokenReview and answers it. Good and bad answers are remembered for ``cache_ttl`` seconds, by the
token's digest; a server that does not answer makes the token unknown for a moment, and the log says so.
"""

from __future__ import annotations

import logging
from typing import Any

from coxswain.api.names import Object
from coxswain.apiserver.asking import Peer, Remembered
from coxswain.apiserver.authn.credentials import Identity, authenticated
from coxswain.apiserver.authn.settings import WebhookSettings
from coxswain.apiserver.authn.tokens import digest
from coxswain.base.errors import ConfigurationError, ResourceUnavailable
from coxswain.client.interface import UserInfo

log = logging.getLogger(__name__)

GROUP = "authentication.k8s.io"


class WebhookTokens:
    """Users by what the webhook says."""

    def __init__(
        self, settings: WebhookSettings, audiences: tuple[str, ...], peer: Peer | None = None
    ) -> None:
        """``audiences`` are this server's own. Raises ``ConfigurationError``."""
        if settings.version not in ("v1", "v1beta1"):
            raise ConfigurationError(
                f"--authentication-token-webhook-version {settings.version}: v1 or v1beta1"
            )
        assert settings.config_file is not None or peer is not None
        self._settings = settings
        self._audiences = audiences
        self._peer = peer or Peer.of(settings.config_file, timeout=settings.timeout)  # type: ignore[arg-type]
        self._known: Remembered[Identity | bool] = Remembered()

    def authenticate(self, token: str, audiences: tuple[str, ...]) -> Identity | None:
        """The user of ``token``, or None. Raises ``Pending`` when the webhook has to be asked."""
        wanted = audiences or self._audiences
        key = (digest(token), wanted)
        found = self._known.get(key)
        if found is None:
            raise self._known.wait_for(key, lambda: self._review(token, wanted))
        return found if isinstance(found, Identity) else None

    async def _review(self, token: str, audiences: tuple[str, ...]) -> tuple[Identity | bool, float]:
        spec: Object = {"token": token}
        if audiences:
            spec["audiences"] = list(audiences)
        version = f"{GROUP}/{self._settings.version}"
        review = {"apiVersion": version, "kind": "TokenReview", "metadata": {}, "spec": spec}
        try:
            answer = await self._peer.post(review)
        except ResourceUnavailable as error:
            log.warning("token webhook: %s", error)
            return False, 0.0
        return _identity(answer.get("status") or {}, audiences), self._settings.cache_ttl

    async def close(self) -> None:
        """Close connections. Idempotent."""
        await self._peer.close()


def _identity(status: Any, audiences: tuple[str, ...]) -> Identity | bool:
    """Who the answered review says it is; False for nobody."""
    if not isinstance(status, dict) or status.get("authenticated") is not True:
        return False
    given = status.get("user") or {}
    name = given.get("username")
    if not isinstance(name, str) or not name:
        return False
    answered = tuple(map(str, status.get("audiences") or ()))
    # A webhook that does not know of audiences speaks for this server's own.
    good = tuple(a for a in audiences if a in answered) if answered else audiences
    if audiences and not good:
        return False
    extra = {str(k).lower(): tuple(map(str, v or ())) for k, v in (given.get("extra") or {}).items()}
    user = UserInfo(name, tuple(map(str, given.get("groups") or ())), str(given.get("uid") or ""), extra)
    return Identity(authenticated(user), good)
