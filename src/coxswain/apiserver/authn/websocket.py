"""Tokens of WebSocket clients in browsers, which can set no header: the token is one of the subprotocols.

    Sec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.dG9rZW4

There has to be another subprotocol beside it, for that is the one which the server answers with.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from coxswain.api import errors

HEADER = b"sec-websocket-protocol"
PREFIX = "base64url.bearer.authorization.k8s.io."


def token_of(fields: Sequence[tuple[bytes, bytes]]) -> str:
    """The token among the subprotocols of a WebSocket request; "" where there is none. Raises ``Unauthorized``."""
    named = [
        part.strip() for key, value in fields if key == HEADER for part in value.decode("latin-1").split(",")
    ]
    tokens = [part[len(PREFIX) :] for part in named if part.startswith(PREFIX)]
    if not tokens or not _upgrades(fields):
        return ""
    if len(tokens) > 1 or len(named) == len(tokens):
        raise errors.Unauthorized()
    text = tokens[0]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise errors.Unauthorized() from None


def _upgrades(fields: Sequence[tuple[bytes, bytes]]) -> bool:
    upgrade = any(key == b"upgrade" and value.strip().lower() == b"websocket" for key, value in fields)
    return upgrade and any(key == b"connection" and b"upgrade" in value.lower() for key, value in fields)
