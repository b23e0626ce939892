"""HTTP/1.1 for the API server: connections and requests, on httptools (llhttp).

    bytes -> parser -> Request (whole, body included) -> handler -> respond | start_stream | take_over

Guarantees:
- The handler gets the requests of a connection one at a time and in their order; it has to end each with
  ``respond``, ``Stream.end`` or ``take_over``. What was pipelined behind it waits, up to a bound, then unread.
- A request that is too long (head: ``max_head_bytes``, body: ``max_body_bytes``) or is no HTTP reaches the
  handler with ``failure`` set; its connection closes after the answer, once the client had time to read it. A body
  that is too long may be an ``upload`` instead: then the handler gets the request while the body still comes.
- Memory is bounded: a connection holds a few pipelined requests (``_PIPELINED``, ``_PIPELINED_BYTES``) besides the one
  at work, all bodies together ``max_buffered_bytes`` (large ones are refused beyond it), and answers that nobody
  reads ``max_unread_bytes`` (the connections that have stood still the longest are cut off).
- Nobody waits for ever: one timer of the server sweeps all connections for idle ones, for heads and bodies
  that do not arrive, for requests past their ``deadline`` and for readers that take nothing any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import cast

import httptools

from coxswain.apiserver.heads import Head, Heads
from coxswain.apiserver.uploads import Upload
from coxswain.apiserver.wire import Failure, Request, Stream, status_line
from coxswain.base import clock

__all__ = ["Connection", "HttpLimits", "HttpServer", "Request", "Stream", "status_line"]

log = logging.getLogger(__name__)

#: Others are not spoken here, whatever the parser makes of them.
_VERSIONS = ("1.1", "1.0")
_SWEEP_SECONDS = 1.0
#: Requests that may wait behind the one at work before nothing more is read from their connection.
_PIPELINED = 64
#: The same in bytes of their bodies.
_PIPELINED_BYTES = 1 << 20
#: Bodies up to this size are taken even when all of them together are too much.
_SMALL_BODY = 32 << 10
#: Seconds that a refused client gets to stop sending and read why.
_LINGER_SECONDS = 2.0
_JOIN_BELOW = 64 << 10
#: Larger answers are sent in pieces of this size.
_PIECE = 256 << 10
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of connections. Sizes are bytes, times seconds."""

    max_body_bytes: int
    max_head_bytes: int
    max_connections: int
    idle_timeout: float
    head_timeout: float = 32.0
    """As kube-apiserver's ReadHeaderTimeout."""
    body_timeout: float = 60.0
    unread_timeout: float = 120.0
    """How long a client may read nothing of an answer that waits for it."""
    max_buffered_bytes: int = 256 << 20
    """Request bodies of all connections."""
    max_unread_bytes: int = 1 << 30
    """Answers of all connections that wait to be read."""


class Connection(asyncio.Protocol):
    """One client. See the module's text."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = server.loop
        self._parser = httptools.HttpRequestParser(self)
        self._heads = Heads(server.limits.max_head_bytes)
        #: Whether the parser is at the start of a request, and the latest one that it took whole.
        self._fresh = True
        self._parsed: Request | None = None
        self._transport: asyncio.Transport | None = None
        #: What the client's certificate says, in DER, where TLS demanded and verified one.
        self.certificate: bytes | None = None
        self.touched = self._began = self._loop.time()
        self._queue: deque[Request] = deque()
        self._active: Request | None = None
        self._advancing = False
        self._out: list[bytes] = []
        self._corked = False
        self._paused = False
        #: What is left of a large answer; see ``_pour``.
        self._rest: memoryview | None = None
        self._unread = 0
        #: Who waits for the client to read.
        self._drained: list[asyncio.Future[None]] = []
        self._closing = False
        self._refused = False
        self._linger_until = 0.0
        self._unheeded = False
        #: Bytes of bodies that wait in the queue, and of those held in all (as the server counts them).
        self._queued_bytes = 0
        self._held = 0
        self._counted_unread = 0
        self._address: str | None = None
        #: The body that is passed on while it comes.
        self._upload: Upload | None = None
        #: What came behind a request to upgrade, whose parser has stopped (None: no such request).
        self._leftover: bytes | None = None
        self._begin()

    def _begin(self) -> None:
        self._request: Request | None = None
        self._in_head = False
        self._head_bytes = 0
        self._body: bytes | bytearray = b""
        self._body_bytes = 0
        self._owes_continue = False

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not derived from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.certificate = tls.getpeercert(binary_form=True)
        self._server.connections.add(self)
        if len(self._server.connections) > self._limits.max_connections:
            log.warning("more than %d connections: refusing one", self._limits.max_connections)
            self._transport.abort()

    @property
    def peer(self) -> str:
        """The client's address; empty where it has none."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(name[0]) if isinstance(name, tuple) else ""

    @property
    def address(self) -> str:
        """The client's IP address; empty for sockets that have none."""
        if self._address is None:
            peer = self._transport.get_extra_info("peername") if self._transport is not None else None
            self._address = peer[0] if isinstance(peer, tuple) else ""
        return self._address

    @property
    def local(self) -> bool:
        """Whether the client is on this machine."""
        return self.address.startswith("127.") or self.address in ("::1", "")

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._hold(-self._held)
        self._count_unread(0)
        self._closing = True
        if self._upload is not None:
            self._upload.fail()
        self._transport = self._rest = None
        self._queue.clear()
        for future in self._drained:
            if not future.done():
                future.set_exception(ConnectionResetError("the client has gone"))
        self._drained.clear()
        active = self._active
        if active is not None and active.on_lost is not None:
            active.on_lost()

    def pause_writing(self) -> None:
        self._paused = True
        self._unread = 0
        self.touched = self._loop.time()
        if self._transport is not None:
            self._count_unread(self._transport.get_write_buffer_size() + self._left)

    def resume_writing(self) -> None:
        self._paused = False
        self._count_unread(0)
        self._tell_drained()
        self._pour()
        self._advance()

    def data_received(self, data: bytes) -> None:
        fresh = self._fresh
        if fresh and self._active is None and not self._paused and self._recognize(data):
            return
        if self._refused:
            return
        if self._leftover is not None:
            self._leftover += data
            self._heed(len(self._leftover) < _JOIN_BELOW)
            return
        self.touched = self._loop.time()
        began = self._in_head
        self._corked = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._leftover = data[upgrade.args[0] :]
            if self._request is not None:
                self._complete(self._request)
        except httptools.HttpParserInvalidMethodError:
            self._refuse("method")
        except httptools.HttpParserError:
            self._refuse("malformed")
        if began and self._in_head:
            # Only lines that ended were counted so far: one without end must not grow for ever either.
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.max_head_bytes:
                self._refuse("head")
        parsed, self._parsed = self._parsed, None
        if fresh and self._fresh and parsed is not None and parsed.head is not None:
            self._heads.remember(data, parsed.target, parsed.head)
        self._corked = False
        self._advance()
        self._flush()

    def _recognize(self, data: bytes) -> bool:
        """Answer a request that comes with the headers of an earlier one, past the parser."""
        found = self._heads.recall(data) if len(data) < _SMALL_BODY else None
        if found is None:
            return False
        self.touched = self._loop.time()
        request = self._active = Request(self)
        request.method, request.target, head, body = found
        request.head, request.fields, request.headers = head, head.fields, head.headers
        if body:
            request.body = body
            self._hold(len(body))
        self._server.handler(request)
        return True

    @property
    def _left(self) -> int:
        """Bytes of the answer at work that were not handed to the transport yet."""
        return 0 if self._rest is None else len(self._rest)

    def _count_unread(self, waiting: int) -> None:
        self._server.unread += waiting - self._counted_unread
        self._counted_unread = waiting

    def _hold(self, size: int) -> None:
        self._held += size
        self._server.buffered += size

    # -- the parser

    def on_message_begin(self) -> None:
        self._begin()
        self._fresh = False
        if not self._refused:
            self._in_head = True
            self._request = Request(self)
            self._began = self.touched

    def on_url(self, url: bytes) -> None:
        if self._request is not None:
            self._request.target += url
            self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come here, too, and mean nothing.
        if self._in_head and self._request is not None:
            self._request.fields.append((name.lower(), value))
            # The line's colon, blank and end, too: many short headers are not free.
            self._count_head(len(name) + len(value) + 4)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.max_head_bytes:
            self._refuse("head")

    def on_headers_complete(self) -> None:
        request, parser = self._request, self._parser
        if request is None:
            return
        self._in_head = False
        request.method = parser.get_method().decode("ascii")
        version = parser.get_http_version()
        if version not in _VERSIONS:
            self._refuse("malformed")
            return
        request.http10 = version == "1.0"
        request.keep_alive = parser.should_keep_alive() and not request.http10
        request.headers = headers = dict(reversed(request.fields))
        length = headers.get(b"content-length")
        size = self._head_bytes - len(request.target)
        request.head = Head(request.fields, headers, size, int(length or 0))
        if length is not None and int(length) > self._limits.max_body_bytes:
            if not self._begin_upload(int(length)):
                self._refuse("body")
        elif headers.get(b"expect", b"").lower() == b"100-continue" and not request.http10:
            self._owes_continue = True
            self._continue()

    def on_body(self, data: bytes) -> None:
        if self._refused:
            return
        if self._upload is not None:
            self._upload.feed(data)
            return
        self._owes_continue = False
        if not self._body:
            self._body = data
        else:
            # Not a list of pieces: chunks of one byte would take fifty times their size.
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data
        size = len(data)
        self._body_bytes += size
        self._hold(size)
        if self._body_bytes > self._limits.max_body_bytes:
            if not self._begin_upload(None):
                self._refuse("body")
        elif self._server.buffered > self._limits.max_buffered_bytes and self._body_bytes > _SMALL_BODY:
            self._refuse("busy")

    def on_message_complete(self) -> None:
        if self._upload is not None:
            self._upload.end()
            self._upload = None
        # The parser says what came behind a request to upgrade when it is done with the data: until then it waits.
        request = self._request
        if request is not None and not self._parser.should_upgrade():
            self._fresh = request.keep_alive
            self._parsed = request
            self._complete(request)

    def _begin_upload(self, length: int | None) -> bool:
        """Hand on a request whose body is too long to be held, if it is one that may have such."""
        request, transport = self._request, self._transport
        if request is None or transport is None or self._active is not None or self._queue:
            return False
        if request.http10 or not self._server.uploads(request):
            return False
        upload = request.upload = self._upload = Upload(transport, length)
        if self._body:
            upload.feed(bytes(self._body))
        self._hold(-self._body_bytes)
        self._body, self._body_bytes = b"", 0
        self._request = None
        # What comes behind such a body is not waited for.
        request.keep_alive = False
        if request.headers.get(b"expect", b"").lower() == b"100-continue":
            self._send(_CONTINUE)
        self._enqueue(request)
        return True

    def _complete(self, request: Request) -> None:
        self._request = None
        body = self._body
        if body:
            request.body = bytes(body)
            self._body = b""
        self._enqueue(request)

    def _continue(self) -> None:
        """Ask for the body, once everything before it is answered."""
        if self._owes_continue and self._active is None and not self._queue and self._transport is not None:
            self._owes_continue = False
            self._send(_CONTINUE)

    # -- requests in their order

    def _refuse(self, failure: Failure) -> None:
        """Give up on what this client sends: its last request is answered with an error."""
        if self._refused:
            return
        self._refused = True
        self._fresh = False
        if self._upload is not None:
            self._upload.fail()
            self._upload = None
        request = self._request or Request(self)
        self._hold(-self._body_bytes)
        self._begin()
        request.failure = failure
        request.keep_alive = False
        self._enqueue(request)

    def _enqueue(self, request: Request) -> None:
        self._queue.append(request)
        self._queued_bytes += len(request.body)
        self._heed_queue()
        if not self._corked or len(self._queue) == 1:
            self._advance()

    def _heed_queue(self) -> None:
        self._heed(len(self._queue) <= _PIPELINED and self._queued_bytes <= _PIPELINED_BYTES)

    def _heed(self, heed: bool) -> None:
        """Read what the client sends, or do not."""
        if heed == self._unheeded and self._transport is not None and not self._transport.is_closing():
            self._unheeded = not heed
            if heed:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _advance(self) -> None:
        """Hand on what is next. A loop, for answers may be complete before the handler returns."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._active is None and self._queue and not (self._paused or self._closing):
                request = self._active = self._queue.popleft()
                self._queued_bytes -= len(request.body)
                if self._unheeded:
                    self._heed_queue()
                self._server.handler(request)
        finally:
            self._advancing = False
        if self._owes_continue:
            self._continue()

    def finish(self, request: Request) -> None:
        """The answer of ``request`` is written."""
        if self._active is not request:
            return
        self._active = None
        request.on_lost = None
        if request.body:
            self._hold(-len(request.body))
            request.body = b""
        if self._closing or self._transport is None:
            return
        if not request.keep_alive or self._server.stopping:
            upload = request.upload
            if upload is not None:
                upload.close()
            self._close(lingering=request.failure is not None or (upload is not None and not upload.ended))
        else:
            if self._leftover is not None and not self._queue:
                self._resume_parsing(self._leftover)
            if self._queue or self._owes_continue:
                self._advance()

    def _resume_parsing(self, leftover: bytes) -> None:
        """After a request for an upgrade that nobody wanted: go on with HTTP."""
        self._parser = httptools.HttpRequestParser(self)
        self._fresh = True
        self._leftover = None
        self._heed(True)
        if leftover:
            self._loop.call_soon(self.data_received, leftover)

    def _close(self, *, lingering: bool) -> None:
        self._flush()
        self._closing = True
        self._fresh = False
        self._queue.clear()
        if self._transport is None:
            return
        if lingering:
            # Closing while the client still sends would reset the connection, and the answer with it.
            self._linger_until = self._loop.time() + _LINGER_SECONDS
            with contextlib.suppress(NotImplementedError, OSError):
                if self._transport.can_write_eof():
                    self._transport.write_eof()
        else:
            self._transport.close()

    # -- answers

    def _send(self, data: bytes) -> None:
        if self._corked:
            self._out.append(data)
        elif self._transport is not None:
            self._transport.write(data)

    def _flush(self) -> None:
        out = self._out
        if out:
            self._out = []
            if self._transport is not None and not self._transport.is_closing():
                self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def respond(self, request: Request, head: bytes, body: bytes) -> None:
        """See ``Request.respond``."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._active is not request:
            self.finish(request)
            return
        last = not request.keep_alive or self._server.stopping
        opening = b"%b%bContent-Length: %d\r\n%b\r\n" % (
            head,
            self._server.date,
            len(body),
            b"Connection: close\r\n" if last else b"",
        )
        if request.method == "HEAD":
            self._send(opening)
        elif len(body) < _JOIN_BELOW:
            self._send(opening + body)
        else:
            self._flush()
            transport.write(opening)
            self._rest = memoryview(body)
            self._pour()
            return
        self.finish(request)

    def _pour(self) -> None:
        """Send the next piece of a large answer, as the client reads: in between, others get their turn."""
        transport, rest, request = self._transport, self._rest, self._active
        if rest is None or request is None or transport is None or self._paused:
            return
        transport.write(rest[:_PIECE])
        rest = self._rest = rest[_PIECE:] or None
        if rest is None:
            self._tell_drained()
            self.finish(request)
        elif not self._paused:
            self._loop.call_soon(self._pour)

    def start_stream(self, request: Request, head: bytes) -> Stream:
        """See ``Request.start_stream``. Raises ``ConnectionResetError``."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._active is not request:
            raise ConnectionResetError("the client has gone")
        if request.http10:
            request.keep_alive = False
        framing = b"" if request.http10 else b"Transfer-Encoding: chunked\r\n"
        closing = b"" if request.keep_alive else b"Connection: close\r\n"
        self._flush()
        transport.write(b"%b%b%b%b\r\n" % (head, self._server.date, framing, closing))
        return Stream(self, request, transport)

    def take_over(self, request: Request, protocol: asyncio.Protocol) -> tuple[asyncio.Transport, bytes]:
        """Give the connection to another protocol, after an upgrade.

        Returns the transport and what the client has sent already behind its request.
        """
        transport = self._transport
        if transport is None or self._active is not request:
            raise ConnectionResetError("the client has gone")
        self._flush()
        self._closing = True
        self._active = self._transport = None
        self._server.connections.discard(self)
        self._hold(-self._held)
        self._count_unread(0)
        transport.set_protocol(protocol)
        if self._unheeded:
            transport.resume_reading()
        return transport, self._leftover or b""

    async def drain(self) -> None:
        """Wait until the client has read enough. Raises ``ConnectionResetError``."""
        while True:
            if self._transport is None:
                raise ConnectionResetError("the client has gone")
            if not self._paused and self._rest is None:
                return
            future = self._loop.create_future()
            self._drained.append(future)
            await future

    def _tell_drained(self) -> None:
        for future in self._drained:
            if not future.done():
                future.set_result(None)
        self._drained.clear()

    # -- the sweep

    @property
    def unread(self) -> int:
        """Bytes that wait for the client to read, as last counted."""
        return self._counted_unread

    @property
    def busy(self) -> bool:
        """Whether a request is at work or waits."""
        return self._active is not None or bool(self._queue)

    def sweep(self, now: float) -> None:
        """End what takes too long."""
        transport, active, limits = self._transport, self._active, self._limits
        if transport is None:
            return
        if self._linger_until:
            if now > self._linger_until:
                transport.abort()
        elif self._paused and self._stuck(transport, now):
            log.info("a client that reads nothing was cut off")
            transport.abort()
        elif active is not None:
            upload = self._upload
            if upload is not None and not upload.paused and now > self.touched + limits.body_timeout:
                upload.fail()
            if active.deadline and now > active.deadline and active.task is not None:
                active.expired = True
                active.deadline = 0.0
                active.task.cancel()
        elif self._closing or self._paused:
            return
        elif self._request is not None:
            # Since its first byte: who sends one now and then gets no further.
            if now > self._began + (limits.head_timeout if self._in_head else limits.body_timeout):
                self._refuse("slow")
        elif now > self.touched + limits.idle_timeout:
            transport.close()

    def _stuck(self, transport: asyncio.Transport, now: float) -> bool:
        waiting = transport.get_write_buffer_size() + self._left
        self._count_unread(waiting)
        if waiting != self._unread:
            self._unread = waiting
            self.touched = now
        return now > self.touched + self._limits.unread_timeout

    def shut_down(self) -> None:
        """Close, after the answer that is at work."""
        if not self.busy and not self._closing:
            self._close(lingering=False)

    def drop(self) -> None:
        """Close at once: the answer at work will not be completed."""
        if self._transport is not None:
            self._transport.abort()

    def abort(self) -> None:
        """Close at once, and cancel what is at work."""
        if self._active is not None and self._active.task is not None:
            self._active.task.cancel()
        if self._transport is not None:
            self._transport.abort()


class HttpServer:
    """Makes connections (it is their protocol factory) and sweeps them. ``start`` before use."""

    def __init__(
        self,
        handler: Callable[[Request], None],
        limits: HttpLimits,
        uploads: Callable[[Request], bool] = lambda request: False,
    ) -> None:
        """``handler`` must not raise. ``uploads`` says whose bodies may be longer than the limit."""
        self.handler = handler
        self.uploads = uploads
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.stopping = False
        #: Bytes of request bodies held, and of answers unread, by all connections.
        self.buffered = 0
        self.unread = 0
        self.date = b""
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> Connection:
        return Connection(self)

    def start(self) -> None:
        """Begin to sweep."""
        self._sweep()

    def _sweep(self) -> None:
        # Once a second is what the header can say, too.
        self.date = f"Date: {formatdate(clock.now(), usegmt=True)}\r\n".encode()
        now = self.loop.time()
        for connection in tuple(self.connections):
            connection.sweep(now)
        if self.unread > self.limits.max_unread_bytes:
            self._cut_off_readers()
        self._timer = self.loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _cut_off_readers(self) -> None:
        """Make room: those go first that have read nothing for the longest time."""
        readers = [connection for connection in self.connections if connection.unread]
        left = self.unread
        for connection in sorted(readers, key=lambda one: one.touched):
            if left <= self.limits.max_unread_bytes:
                break
            left -= connection.unread
            log.info("a client that reads too slowly was cut off: too much waits to be read")
            connection.drop()

    async def stop(self, grace: float) -> None:
        """Let running requests end, up to ``grace`` seconds, and close all connections. Idempotent."""
        self.stopping = True
        deadline = clock.monotonic() + grace
        for connection in tuple(self.connections):
            connection.shut_down()
        while any(one.busy for one in self.connections) and clock.monotonic() < deadline:
            await clock.sleep(0.01)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # What is closing says good-bye to its client: TLS takes a moment for it.
        for _ in range(10):
            if not self.connections or any(one.busy for one in self.connections):
                break
            await clock.sleep(0.01)
        for connection in tuple(self.connections):
            connection.abort()
        await clock.sleep(0)
