"""A request as it came over the wire, and the ways to answer it; ``http1`` makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, Protocol

from coxswain.apiserver.heads import Field, Head
from coxswain.apiserver.uploads import Upload

if TYPE_CHECKING:
    from coxswain.apiserver.http1 import Connection

Failure = Literal["malformed", "method", "head", "body", "slow", "busy"]

_LAST_CHUNK = b"0\r\n\r\n"


def status_line(code: int) -> bytes:
    """``HTTP/1.1 404 Not Found`` and its line end."""
    try:
        phrase = HTTPStatus(code).phrase
    except ValueError:
        phrase = ""
    return b"HTTP/1.1 %d %b\r\n" % (code, phrase.encode())


class Cancellable(Protocol):
    """What answers a request: a task, or a write that waits for its commit."""

    def cancel(self) -> object: ...


class Request:
    """A request. ``headers`` holds the first of each name (lower case), ``fields`` all in their order.

    Both may be shared with other requests, as ``head`` is: they are not to be changed.
    """

    __slots__ = (
        "body",
        "connection",
        "deadline",
        "expired",
        "failure",
        "fields",
        "head",
        "headers",
        "http10",
        "keep_alive",
        "method",
        "on_lost",
        "target",
        "task",
        "upload",
    )

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.method = ""
        self.target = b""
        self.fields: list[Field] = []
        self.headers: dict[bytes, bytes] = {}
        #: None until the headers are complete.
        self.head: Head | None = None
        self.body = b""
        #: A body too long to be held, as it comes; ``body`` is empty then.
        self.upload: Upload | None = None
        self.http10 = False
        self.keep_alive = True
        self.failure: Failure | None = None
        #: What answers it, if that takes time; cancelled once the loop's clock passes ``deadline`` (0: never).
        self.task: Cancellable | None = None
        self.deadline = 0.0
        self.expired = False
        #: Called when the connection is lost before the answer is complete.
        self.on_lost: Callable[[], object] | None = None

    def header(self, name: bytes, default: str = "") -> str:
        """A header's value."""
        value = self.headers.get(name)
        return default if value is None else value.decode("utf-8", "replace")

    def respond(self, head: bytes, body: bytes) -> None:
        """The whole answer. ``head``: status line and headers, but those that this module adds."""
        self.connection.respond(self, head, body)

    def start_stream(self, head: bytes) -> Stream:
        """An answer in pieces: chunks, or for HTTP/1.0 whatever comes until the connection closes."""
        return self.connection.start_stream(self, head)


class Stream:
    """An answer in pieces."""

    def __init__(self, connection: Connection, request: Request, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._connection = connection
        self._request = request
        self._frame = b"" if request.http10 else b"%x\r\n%b\r\n"
        self._silent = request.method == "HEAD"

    def write(self, data: bytes) -> None:
        """Send a piece, without waiting; see ``transport.get_write_buffer_size`` and ``drain``."""
        if data and not self._silent:
            self.transport.write(self._frame % (len(data), data) if self._frame else data)

    async def drain(self) -> None:
        """Wait until the client has read enough. Raises ``ConnectionResetError``."""
        await self._connection.drain()

    def end(self) -> None:
        """The answer is complete."""
        if self._frame and not self._silent and not self.transport.is_closing():
            self.transport.write(_LAST_CHUNK)
        self._connection.finish(self._request)
