"""What the headers of a request say to the HTTP door, worked out once for all requests that have the same."""

from __future__ import annotations

from coxswain.apiserver.http1 import Request
from coxswain.apiserver.negotiation import JSON
from coxswain.client.interface import UserInfo

_PRETTY_AGENTS = ("curl", "Wget", "Mozilla/")


class Wishes:
    """Of the headers of ``request``."""

    __slots__ = ("accept", "agent", "content_type", "impersonates", "packed", "pretty", "user")

    def __init__(self, request: Request) -> None:
        self.accept = request.header(b"accept", JSON)
        self.content_type = request.header(b"content-type", JSON)
        self.agent = request.header(b"user-agent")
        #: Whether JSON is indented for who does not say.
        self.pretty = self.agent.startswith(_PRETTY_AGENTS)
        self.packed = b"content-encoding" in request.headers
        self.impersonates = any(name.startswith(b"impersonate") for name in request.headers)
        #: Who sends them, where that is so for good (see ``Authenticator.lasting``); asked for when they come again.
        self.user: UserInfo | None = None
