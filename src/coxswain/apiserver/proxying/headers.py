"""Which headers go along with a request that is passed on, and with the answer to it.

Left behind are what concerns one connection only (RFC 9110, 7.6.1), what the user has proved who he is with, and what
would make somebody believe that another front proxy has spoken: only this server says who the user is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote

from coxswain.client.interface import UserInfo

Fields = list[tuple[str, str]]

#: Of one connection. ``upgrade`` and ``connection`` are added again where the connection is upgraded.
HOP = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)
_IDENTITY = (
    "authorization",
    "impersonate-",
    "x-remote-user",
    "x-remote-group",
    "x-remote-uid",
    "x-remote-extra-",
)
_TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io."


def passed_on(fields: Iterable[tuple[bytes, bytes]], peer: str) -> Fields:
    """The headers of a request (names in lower case) that go along; ``peer`` is the client's address."""
    kept: Fields = []
    named = {name for key, value in fields if key == b"connection" for name in _names(value)}
    forwarded: list[str] = []
    for key, value in fields:
        name, text = key.decode("latin-1"), value.decode("latin-1")
        if name in HOP or name in named or name.startswith(_IDENTITY):
            continue
        if name == "x-forwarded-for":
            forwarded.append(text)
            continue
        if name == "sec-websocket-protocol":
            text = _without_token(text)
            if not text:
                continue
        kept.append((name, text))
    if peer:
        kept.append(("X-Forwarded-For", ", ".join([*forwarded, peer])))
    return kept


def _names(value: bytes) -> list[str]:
    return [part.strip().lower() for part in value.decode("latin-1").split(",")]


def _without_token(text: str) -> str:
    """WebSocket clients in browsers can show their token only among the protocols."""
    protocols = [part.strip() for part in text.split(",")]
    return ", ".join(one for one in protocols if not one.startswith(_TOKEN_PROTOCOL))


_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))


def on_the_wire(part: str | bytes) -> str:
    """A path or query as it came, fit for a request line: what is not printable ASCII is percent-encoded."""
    return quote(part, safe=_PRINTABLE)


def query_of(target: bytes) -> str:
    """The query of a request line's target, as it came."""
    return on_the_wire(target.partition(b"?")[2].partition(b"#")[0])


def is_upgrade(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request asks for another protocol."""
    return b"upgrade" in headers and b"upgrade" in headers.get(b"connection", b"").lower()


def upgrade_fields(headers: Mapping[bytes, bytes]) -> Fields:
    """What asks the next server for the same protocol."""
    return [("Connection", "Upgrade"), ("Upgrade", headers[b"upgrade"].decode("latin-1"))]


def identity(user: UserInfo) -> Fields:
    """Who the user is, as extension API servers believe it of a front proxy (``X-Remote-*``)."""
    fields = [("X-Remote-User", user.name)]
    if user.uid:
        fields.append(("X-Remote-Uid", user.uid))
    fields += [("X-Remote-Group", group) for group in user.groups]
    for key, values in user.extra.items():
        fields += [(f"X-Remote-Extra-{_escaped(key)}", value) for value in values]
    return [(name, _one_line(value)) for name, value in fields]


_TOKEN = frozenset("!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _escaped(key: str) -> str:
    """A key of extra fields as part of a header's name: what may not stand there is percent-encoded."""
    return "".join(
        char if char in _TOKEN else "".join(f"%{byte:02X}" for byte in char.encode()) for char in key
    )


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")


def answered(fields: Iterable[tuple[str, str]]) -> Fields:
    """The headers of an answer that go along."""
    return [(name, value) for name, value in fields if name.lower() not in HOP]
