"""Connections that stop to be HTTP: the request is sent on, and if the other side agrees, bytes are copied both ways.

    client --request with Upgrade--> API server --the same, to the location--> kubelet, pod, extension server
           <--- 101 and its headers -----------<--- 101 ---------------------
           <=================== bytes, until either side ends ===============>

What is inside (SPDY/3.1, WebSocket with v4 or v5 channels) is nobody's business here. A side that reads slowly slows the
other down: nothing piles up. An answer other than 101 comes back as it is. Either side's end ends the other.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

import httptools

from coxswain.api import errors
from coxswain.apiserver.http1 import Request
from coxswain.apiserver.proxying.headers import Fields
from coxswain.apiserver.proxying.locations import Location
from coxswain.apiserver.request import Reply

#: Seconds to connect and shake hands, and to answer the request.
_CONNECT_TIMEOUT = 10.0
_ANSWER_TIMEOUT = 60.0
#: Seconds that one side gets to read the rest when the other has ended.
_GRACE = 5.0
_MOST_HEAD = 64 << 10
_MOST_REFUSAL = 1 << 20
#: Bytes that may come before anybody takes them.
_EARLY = 64 << 10


class Pipe(asyncio.Protocol):
    """One end. What comes is kept until ``join`` gives it a peer to write to."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.early = bytearray()
        self.ended = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._peer: Pipe | None = None
        self._arrived: asyncio.Future[None] | None = None

    def join(self, peer: Pipe) -> None:
        """From now on what comes here goes to ``peer``."""
        self._peer = peer
        early = self.take()
        if early:
            peer.send(early)
        if self.ended:
            peer.end()

    def take(self) -> bytes:
        """What has come so far, for a reader that is no peer."""
        early, self.early = bytes(self.early), bytearray()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
        return early

    def send(self, data: bytes) -> None:
        """Write to this end."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def end(self) -> None:
        """Close this end once everything is written."""
        if self.transport is not None:
            self.transport.close()

    async def more(self) -> None:
        """Wait until something has come, or the end."""
        if not self.ended:
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived

    def _notify(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not derived from asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._peer is not None:
            self._peer.send(data)
            return
        self.early += data
        if len(self.early) > _EARLY and self.transport is not None:
            self.transport.pause_reading()
        self._notify()

    def pause_writing(self) -> None:
        peer = self._peer
        if peer is not None and peer.transport is not None and not peer.transport.is_closing():
            peer.transport.pause_reading()

    def resume_writing(self) -> None:
        peer = self._peer
        if peer is not None and peer.transport is not None and not peer.transport.is_closing():
            peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._notify()
        if not self.closed.done():
            self.closed.set_result(None)
        if self._peer is not None:
            self._peer.end()


async def pass_upgrade(
    request: Request, location: Location, fields: Fields, tls: ssl.SSLContext | None, server_name: str = ""
) -> Reply | None:
    """Send ``request`` on; None when the connection was upgraded and both sides have ended.

    ``fields``: all headers but Host and Content-Length. Raises ``ApiError`` when nobody answers.
    """
    upstream = await _connect(location, tls, server_name)
    try:
        upstream.send(_opening(request, location, fields))
        head = await asyncio.wait_for(_head(upstream), _ANSWER_TIMEOUT)
        if not head.startswith((b"HTTP/1.1 101", b"HTTP/1.0 101")):
            return await asyncio.wait_for(_refusal(upstream, head), _ANSWER_TIMEOUT)
        client = Pipe()
        transport, leftover = request.connection.take_over(request, client)
        client.connection_made(transport)
        transport.write(head)
        if leftover:
            upstream.send(leftover)
        upstream.join(client)
        client.join(upstream)
        await _until_closed(client, upstream)
        return None
    except TimeoutError:
        raise errors.Timeout(f"{location.authority} did not answer the request to upgrade in time") from None
    finally:
        upstream.end()


async def _until_closed(*pipes: Pipe) -> None:
    """Return when all have ended: the first ends the others, which get a moment to write what they have."""
    closed = [pipe.closed for pipe in pipes]
    try:
        await asyncio.wait(closed, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(closed, timeout=_GRACE)
    finally:
        for pipe in pipes:
            if pipe.transport is not None and not pipe.closed.done():
                pipe.transport.abort()


async def _connect(location: Location, tls: ssl.SSLContext | None, server_name: str) -> Pipe:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            _, pipe = await loop.create_connection(
                Pipe,
                location.host,
                location.port,
                ssl=tls,
                server_hostname=(server_name or location.host) if tls is not None else None,
            )
    except TimeoutError:
        raise dial_failure(f"dial tcp {location.host}:{location.port}: i/o timeout") from None
    except (OSError, ssl.SSLError) as error:
        raise dial_failure(f"dial tcp {location.host}:{location.port}: {_why(error)}") from None
    return pipe


def dial_failure(why: str) -> errors.ApiError:
    """The answer when the other side cannot be reached, in Kubernetes' words."""
    return errors.ApiError(f"error dialing backend: {why}", code=500)


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return str(getattr(error, "verify_message", "") or error.reason or error)
    return (error.strerror or str(error)).lower()


def _opening(request: Request, location: Location, fields: Fields) -> bytes:
    lines = [f"{request.method} {location.target} HTTP/1.1", f"Host: {location.authority}"]
    lines += [f"{name}: {value}" for name, value in fields]
    if request.body or request.method not in ("GET", "HEAD"):
        lines.append(f"Content-Length: {len(request.body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + request.body


async def _head(pipe: Pipe) -> bytes:
    """The answer's head, with the empty line. What came behind it stays in the pipe."""
    while True:
        end = pipe.early.find(b"\r\n\r\n")
        if end >= 0:
            head = bytes(pipe.early[: end + 4])
            del pipe.early[: end + 4]
            return head
        if pipe.ended or len(pipe.early) > _MOST_HEAD:
            raise dial_failure("malformed HTTP response")
        await pipe.more()


class _Answer:
    """Collects an answer that is no 101."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.content_type = "text/plain; charset=utf-8"
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self.content_type = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


async def _refusal(pipe: Pipe, head: bytes) -> Reply:
    """An answer that refuses the upgrade: as it is, up to a size."""
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    try:
        parser.feed_data(head)
        code = parser.get_status_code()
        while not answer.complete and len(answer.body) < _MOST_REFUSAL:
            data = pipe.take()
            if data:
                parser.feed_data(data)
            elif pipe.ended:
                break
            else:
                await pipe.more()
    except httptools.HttpParserError:
        raise dial_failure("malformed HTTP response") from None
    return Reply(code, bytes(answer.body), answer.content_type)
