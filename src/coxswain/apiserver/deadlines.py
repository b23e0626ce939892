"""How long a request may take: the server's limit, or less where the client asks so with ``?timeout=``.

The parameter is a Go duration; a malformed one is refused in Kubernetes' words (``request_deadline.go``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from coxswain.api import errors

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)")
_INVALID = "invalid timeout specified in the request URL - time: "


def allowed_seconds(query: Mapping[str, str], limit: float) -> float:
    """Seconds that a request with these parameters may take. Raises ``BadRequest``."""
    text = query.get("timeout")
    if not text:
        return limit
    asked = parse_duration(text)
    return min(asked, limit) if asked > 0 else limit


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as ``1m30s``. Raises ``BadRequest``."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    seconds, position = 0.0, 0
    while position < len(rest):
        part = _PART.match(rest, position)
        if part is None:
            raise errors.BadRequest(f'{_INVALID}invalid duration "{text}"')
        number, unit = part.groups()
        if not unit:
            raise errors.BadRequest(f'{_INVALID}missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise errors.BadRequest(f'{_INVALID}unknown unit "{unit}" in duration "{text}"')
        seconds += float(number) * _UNITS[unit]
        position = part.end()
    if not rest:
        raise errors.BadRequest(f'{_INVALID}invalid duration "{text}"')
    return -seconds if text.startswith("-") else seconds
