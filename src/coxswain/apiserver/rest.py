"""The HTTPS door: HTTP requests into ``Call``s, ``Reply``s into HTTP responses, watches into chunks.

    TLS (h1) -> authenticate -> impersonate -> in-flight limit -> pipeline | endpoints -> response

``http1`` speaks HTTP; here is what the requests mean. What the cache can answer at once is answered at once,
without a task. Watches are written straight to the transport, one chunk for a run of events: nobody waits for
a watcher, and one whose connection holds back more than ``buffer_bytes`` is cut off. Every failure is answered
with a Status; a bug is logged and answered with 500.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import orjson

from coxswain.api import errors
from coxswain.api.names import GVR
from coxswain.apiserver import metrics
from coxswain.apiserver.authn.impersonation import impersonated
from coxswain.apiserver.authz.attributes import Attributes
from coxswain.apiserver.endpoints import Endpoints
from coxswain.apiserver.http1 import HttpLimits, HttpServer, Request, Stream, status_line
from coxswain.apiserver.kubelet_client import StreamReply
from coxswain.apiserver.negotiation import JSON, PROTOBUF, negotiate
from coxswain.apiserver.pending import Pending
from coxswain.apiserver.pipeline import Pipeline, internal
from coxswain.apiserver.proxying.passages import Passage, Proxies
from coxswain.apiserver.request import Reply, not_served, wrong_method
from coxswain.apiserver.routes import Route, is_true, parse_path, parse_query, verb_of
from coxswain.apiserver.settings import LimitSettings, ServingSettings
from coxswain.apiserver.verbs.watching import WatchSession
from coxswain.apiserver.verbs.writing import new_uid
from coxswain.apiserver.watchcache import watch_frame
from coxswain.client.interface import Call, UserInfo

log = logging.getLogger(__name__)

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_LONG_SUBRESOURCES = frozenset({"log"})
_PRETTY_AGENTS = ("curl", "Wget", "Mozilla/")
_NO_RESOURCE = GVR("", "", "")


class Authenticator(Protocol):
    """Finds out who asks."""

    def authenticate(
        self,
        peer_certificate_der: bytes | None,
        authorization: str | None,
        fields: Sequence[tuple[bytes, bytes]] = (),
    ) -> UserInfo | None: ...


class Target(NamedTuple):
    """What a method and URL mean. ``verb`` is None where the path does not take the method."""

    path: str
    query: Mapping[str, str]
    route: Route | None
    verb: str | None


class Exchange:
    """A request being answered, and what the metrics say of it."""

    __slots__ = ("request", "started", "target")

    def __init__(self, request: Request, started: float) -> None:
        self.request = request
        self.started = started
        self.target: Target | None = None


class RestServer:
    """The door. ``start`` listens, ``stop`` closes watches and lets running requests finish."""

    def __init__(
        self,
        pipeline: Pipeline,
        endpoints: Endpoints,
        authenticator: Authenticator,
        serving: ServingSettings,
        limits: LimitSettings,
        tls: ssl.SSLContext | None,
    ) -> None:
        """``tls`` None serves plain HTTP: for tests only."""
        self._pipeline = pipeline
        self._endpoints = endpoints
        self._authenticator = authenticator
        self._serving = serving
        self._limits = limits
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._server: HttpServer | None = None
        self._listener: asyncio.Server | None = None
        self._watches: set[_Pump] = set()
        self._streams: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading = 0
        self._writing = 0
        self._stopping = False
        self.port = serving.port
        #: Answers what nodes, pods, services and extension servers are asked.
        self.proxies: Proxies | None = None

    async def start(self) -> None:
        """Listen; ``port`` is then the real one. Raises ``OSError`` when the port is taken."""
        serving = self._serving
        limits = HttpLimits(
            max_body_bytes=serving.max_body_bytes,
            max_head_bytes=serving.max_header_bytes,
            max_connections=serving.max_connections,
            idle_timeout=serving.idle_timeout,
        )
        server = HttpServer(self.accept, limits)
        self._listener = await self._loop.create_server(
            server, serving.address, serving.port, ssl=self._tls, backlog=1024
        )
        server.start()
        self._server = server
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, end watches, finish what runs (up to ``shutdown_grace`` seconds). Idempotent."""
        self._stopping = True
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._server is not None:
            self._server.stopping = True
        for pump in tuple(self._watches):
            pump.session.watcher.end()
        for task in tuple(self._streams):
            task.cancel()
        server, self._server = self._server, None
        if server is not None:
            await server.stop(self._serving.shutdown_grace)

    # -- one request

    def accept(self, request: Request) -> None:
        """Answer ``request``, now or by a task."""
        exchange = Exchange(request, self._loop.time())
        try:
            if request.failure is not None:
                raise _refusal(request, self._serving)
            target = exchange.target = resolve(request.method, request.target)
            user = self._authenticate(request)
            if self.proxies is not None and self.proxies.concerns(target):
                passage = self.proxies.passage(request, target, user)
                self._streams.add(self._begin(exchange, self._elsewhere(exchange, passage)))
                return
            if target.route is None:
                self._answer(exchange, self._non_resource(request, target, user))
            elif target.verb == "watch":
                self._begin(exchange, self._watch(exchange, target.route, target.query, user))
            elif target.verb is None:
                raise wrong_method()
            elif target.route.subresource in _LONG_SUBRESOURCES:
                self._streams.add(self._begin(exchange, self._stream(exchange, target.route, target, user)))
            else:
                self._limited(exchange, target.route, target.verb, target.query, user)
        except Pending as pending:
            self._begin(exchange, self._again(exchange, pending))
        except Exception as error:
            self._fail(exchange, error)

    async def _again(self, exchange: Exchange, pending: Pending) -> None:
        """Begin again once somebody outside has said who this is or what they may do."""
        try:
            await pending.answer()
        except Exception as error:
            self._fail(exchange, error)
        else:
            self.accept(exchange.request)

    def _authenticate(self, request: Request) -> UserInfo:
        headers = request.headers
        authorization = request.header(b"authorization") if b"authorization" in headers else None
        user = self._authenticator.authenticate(request.connection.certificate, authorization, request.fields)
        if user is None:
            raise errors.Unauthorized()
        for name in headers:
            if name.startswith(b"impersonate"):
                fields = [
                    (key.decode("utf-8", "replace"), value.decode("utf-8", "replace"))
                    for key, value in request.fields
                ]
                return impersonated(fields, user, self._pipeline.core.authorizer.authorize) or user
        return user

    def _non_resource(self, request: Request, target: Target, user: UserInfo) -> Reply:
        path, method = target.path, request.method
        self._pipeline.authorize(Attributes(user, method.lower(), path=path, is_resource=False))
        if method not in ("GET", "HEAD"):
            raise wrong_method() if self._endpoints.answer(path, {}, "", False) else not_served()
        accept = request.header(b"accept")
        reply = self._endpoints.answer(path, target.query, accept, _pretty(request, target.query))
        if reply is None:
            raise not_served()
        return reply

    def _limited(
        self, exchange: Exchange, route: Route, verb: str, query: Mapping[str, str], user: UserInfo
    ) -> None:
        """A request that counts against the limits of what is in progress."""
        request, limits = exchange.request, self._limits
        if self._stopping:
            raise errors.ServiceUnavailable("the API server is shutting down", retry_after=1)
        call = _call(request, route, verb, query)
        agent, pretty = request.header(b"user-agent"), _pretty(request, query)
        if verb in _WRITES:
            if self._writing >= limits.max_mutating_in_flight:
                raise _too_many()
            request.deadline = exchange.started + limits.request_timeout
            self._writing += 1
            self._begin(exchange, self._write(exchange, call, user, agent, pretty))
            return
        if self._reading >= limits.max_in_flight:
            raise _too_many()
        reply = self._pipeline.answer_now(call, user, user_agent=agent, pretty=pretty)
        if reply is not None:
            self._answer(exchange, reply)
            return
        self._reading += 1
        self._begin(exchange, self._read(exchange, call, user, agent, pretty))

    def _begin(self, exchange: Exchange, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = exchange.request.task = self._loop.create_task(work)
        # The loop itself does not keep tasks alive.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _write(self, exchange: Exchange, call: Call, user: UserInfo, agent: str, pretty: bool) -> None:
        try:
            reply = await self._pipeline.handle(call, user, user_agent=agent, pretty=pretty)
            assert isinstance(reply, Reply)
            self._answer(exchange, reply)
        except asyncio.CancelledError:
            if not exchange.request.expired:
                raise
            self._fail(exchange, _took_too_long())
        except Exception as error:
            self._fail(exchange, error)
        finally:
            self._writing -= 1

    async def _read(self, exchange: Exchange, call: Call, user: UserInfo, agent: str, pretty: bool) -> None:
        # Reads wait for nothing but the cache, which bounds that itself.
        try:
            reply = await self._pipeline.handle(call, user, user_agent=agent, pretty=pretty)
            assert isinstance(reply, Reply)
            self._answer(exchange, reply)
        except Exception as error:
            self._fail(exchange, error)
        finally:
            self._reading -= 1

    # -- answers

    def _answer(self, exchange: Exchange, reply: Reply, more: bytes = b"") -> None:
        for warning in reply.warnings:
            more += b"Warning: 299 - %b\r\n" % _quoted(warning).encode()
        exchange.request.respond(_head(reply.code, reply.content_type, more), reply.body)
        self._observe(exchange, reply.code)

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        target = exchange.target
        if isinstance(error, errors.ApiError):
            failure = error
        elif isinstance(error, ValueError) and target is None:
            # A URL that cannot be read at all.
            log.info("a malformed request was refused: %s", error)
            failure = errors.BadRequest("the request could not be understood")
        else:
            route = target.route if target is not None else None
            failure = internal(error, Call("get", route.resource if route else _NO_RESOURCE))
        more = b""
        if failure.retry_after is not None:
            more += b"Retry-After: %d\r\n" % failure.retry_after
        if failure.code == 401:
            more += b'WWW-Authenticate: Bearer realm="coxswain"\r\n'
        self._answer(exchange, Reply(failure.code, orjson.dumps(failure.status())), more)

    def _observe(self, exchange: Exchange, code: int) -> None:
        target, elapsed = exchange.target, self._loop.time() - exchange.started
        if target is None or target.route is None:
            metrics.observe(exchange.request.method.lower(), "", "", "", code, elapsed)
        elif target.verb != "watch":
            group, _, resource = target.route.resource
            verb = target.verb or exchange.request.method.lower()
            metrics.observe(verb, group, resource, target.route.subresource, code, elapsed)

    # -- watches and other streams

    async def _watch(
        self, exchange: Exchange, route: Route, query: Mapping[str, str], user: UserInfo
    ) -> None:
        request = exchange.request
        try:
            accept = _watch_accept(request.header(b"accept", JSON))
            call = Call(
                "watch", route.resource, route.namespace, route.name, route.subresource, query, accept=accept
            )
            agent = request.header(b"user-agent")
            session = await self._pipeline.open_watch(call, user, user_agent=agent)
        except errors.Expired as error:
            # A revision that is gone is told inside of the watch, as Kubernetes does.
            stream = request.start_stream(_head(200, JSON))
            stream.write(watch_frame("ERROR", orjson.dumps(error.status())))
            stream.end()
        except ConnectionError:
            return
        except Exception as error:
            self._fail(exchange, error)
        else:
            self._pump(request, session)

    def _pump(self, request: Request, session: WatchSession) -> None:
        try:
            stream = request.start_stream(_head(200, JSON))
        except ConnectionError:
            session.close()
            return
        pump = _Pump(session, stream, self._pipeline.core.watch.buffer_bytes, self._watches.discard)
        self._watches.add(pump)
        request.on_lost = pump.finish
        pump.start()
        if self._stopping:
            session.watcher.end()

    async def _stream(self, exchange: Exchange, route: Route, target: Target, user: UserInfo) -> None:
        """Logs and proxies: passed on piece by piece."""
        request, query = exchange.request, target.query
        task = asyncio.current_task()
        assert task is not None
        # A followed log may be silent for ever: only this tells that nobody listens any more.
        request.on_lost = task.cancel
        try:
            call = _call(request, route, target.verb or "", query)
            call.accept = JSON
            if route.rest:
                call.query = {**query, "path": route.rest}
            reply = await self._pipeline.handle(call, user)
            if isinstance(reply, Reply):
                self._answer(exchange, reply)
            else:
                await self._pass_on(exchange, reply)
        except ConnectionError:
            log.debug("a client left a stream of %s", route.resource.resource)
        except Exception as error:
            self._fail(exchange, error)
        finally:
            self._streams.discard(task)

    async def _elsewhere(self, exchange: Exchange, passage: Passage) -> None:
        """What somebody else answers: whole, piece by piece, or by taking the connection over."""
        task = asyncio.current_task()
        assert task is not None
        exchange.request.on_lost = task.cancel
        try:
            reply = await passage
            if isinstance(reply, StreamReply):
                await self._pass_on(exchange, reply)
            elif reply is not None:
                self._answer(exchange, reply)
            else:
                self._observe(exchange, 101)
        except ConnectionError:
            log.debug("a client left while its request was passed on")
        except Exception as error:
            self._fail(exchange, error)
        finally:
            self._streams.discard(task)

    async def _pass_on(self, exchange: Exchange, reply: StreamReply) -> None:
        request = exchange.request
        complete = False
        try:
            head = status_line(reply.code) + _lines(reply.headers)
            if reply.code in (204, 304):
                complete = True
                request.respond(head, b"")
                self._observe(exchange, reply.code)
                return
            stream = request.start_stream(head)
            async for chunk in reply.body:
                stream.write(chunk)
                await stream.drain()
            complete = True
            stream.end()
            self._observe(exchange, reply.code)
        finally:
            close = getattr(reply.body, "aclose", None)
            if close is not None:
                await close()
            if not complete:
                # The rest will not come: only a broken connection says so.
                request.connection.drop()


class _Pump:
    """Moves what a watcher has queued to its connection, until one of them ends."""

    def __init__(
        self,
        session: WatchSession,
        stream: Stream,
        buffer_bytes: int,
        on_end: Callable[[_Pump], object],
    ) -> None:
        self.session = session
        self._stream = stream
        self._transport = stream.transport
        self._limit = buffer_bytes
        self._on_end = on_end
        self._ended = False

    def start(self) -> None:
        """Write what is queued, and from now on whatever comes."""
        metrics.WATCHERS.inc()
        self.session.watcher.on_ready = self._flush
        self._flush()

    def finish(self) -> None:
        """The watch has ended, or the connection is lost. Idempotent."""
        if self._ended:
            return
        self._ended = True
        self.session.watcher.on_ready = None
        self.session.close()
        metrics.WATCHERS.dec()
        self._on_end(self)
        self._stream.end()

    def _flush(self) -> None:
        watcher, transport = self.session.watcher, self._transport
        if self._ended:
            return
        if transport.is_closing():
            self.finish()
            return
        if watcher.queue:
            self._stream.write(self.session.lines(watcher.drain()))
            waiting = transport.get_write_buffer_size()
            if waiting > self._limit:
                watcher.end(f"the watcher left {waiting} bytes unread")
        if watcher.failure is not None:
            log.info("a watcher was cut off: %s", watcher.failure)
            transport.abort()
            self.finish()
        elif watcher.ended:
            self.finish()


# -- requests


def resolve(method: str, url: bytes) -> Target:
    """What a request is about. Raises ``ValueError`` for a URL that cannot be read."""
    return _resolved(method, url) if len(url) < 512 else _resolved.__wrapped__(method, url)


@lru_cache(maxsize=8192)
def _resolved(method: str, url: bytes) -> Target:
    text = url.decode("utf-8", "replace").partition("#")[0]
    if not text.startswith("/") and "://" in text:
        # The absolute form, which proxies use.
        text = "/" + text.partition("://")[2].partition("/")[2]
    path, _, query_text = text.partition("?")
    query = parse_query(query_text)
    route = parse_path(path)
    return Target(path, query, route, verb_of(method, route, query) if route is not None else None)


def _call(request: Request, route: Route, verb: str, query: Mapping[str, str]) -> Call:
    return Call(
        verb,  # type: ignore[arg-type]
        route.resource,
        route.namespace,
        route.name,
        route.subresource,
        query,
        request.body,
        request.header(b"content-type", JSON),
        request.header(b"accept", JSON),
    )


def _pretty(request: Request, query: Mapping[str, str]) -> bool:
    if "pretty" in query:
        return is_true(query["pretty"])
    return request.header(b"user-agent").startswith(_PRETTY_AGENTS)


def _watch_accept(accept: str) -> str:
    """Watches are served as JSON; a client that takes protobuf streams only is refused."""
    cleaned = accept.replace(";stream=watch", "")
    if negotiate(cleaned).media_type == PROTOBUF:
        raise errors.NotAcceptable(
            "only the following media types are accepted: application/json;stream=watch"
        )
    return cleaned


# -- refusals


def _refusal(request: Request, serving: ServingSettings) -> errors.ApiError:
    """What to say about a request that could not be taken whole."""
    if request.failure == "body":
        return errors.RequestTooLarge(f"Request entity too large: limit is {serving.max_body_bytes}")
    if request.failure == "head":
        message = f"Request header fields too large: limit is {serving.max_header_bytes}"
        return errors.ApiError(message, code=431)
    if request.failure == "slow":
        return errors.ApiError("the request did not arrive in time", code=408)
    if request.failure == "method":
        return wrong_method()
    return errors.BadRequest("the request could not be understood")


def _too_many() -> errors.TooManyRequests:
    metrics.REJECTED.inc()
    return errors.TooManyRequests("too many requests, please try again later", retry_after=1)


def _took_too_long() -> errors.Timeout:
    return errors.Timeout("request did not complete within the allotted timeout", retry_after=1)


# -- responses

_openings: dict[tuple[int, str], bytes] = {}


def _head(code: int, content_type: str, more: bytes = b"") -> bytes:
    """Status line and headers; those of the server's own content types are made once."""
    opening = _openings.get((code, content_type))
    if opening is None:
        opening = b"%bCache-Control: no-cache, private\r\nContent-Type: %b\r\nAudit-Id: " % (
            status_line(code),
            content_type.encode(),
        )
        _openings[code, content_type] = opening
    return b"%b%b\r\n%b" % (opening, new_uid().encode(), more)


def _lines(headers: Mapping[str, str]) -> bytes:
    """Headers that somebody else answered with."""
    lines = [f"{name}: {value}" for name, value in headers.items() if not {"\r", "\n"} & set(name + value)]
    return b"".join(line.encode("utf-8", "surrogateescape") + b"\r\n" for line in lines)


def _quoted(text: str) -> str:
    cleaned = "".join(char if char.isprintable() else " " for char in text)
    escaped = cleaned.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
