"""The HTTPS door: HTTP requests into ``Call``s, ``Reply``s into HTTP responses, watches into chunks.

    TLS (h1) -> authenticate -> impersonate -> in-flight limit -> pipeline | endpoints -> response

It is aiohttp's low-level server behind an interface of ours (``RestServer``); nothing else knows aiohttp.
Watches are written straight to the transport, one chunk for a run of events: nobody waits for a watcher, and
one whose connection holds back more than ``buffer_bytes`` is cut off. Every failure is answered with a Status;
a bug is logged and answered with 500.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson
from aiohttp import HttpVersion11, hdrs, web
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict

from coxswain.api import errors
from coxswain.api.names import GVR
from coxswain.apiserver import metrics
from coxswain.apiserver.authn.impersonation import impersonated
from coxswain.apiserver.authz.attributes import Attributes
from coxswain.apiserver.endpoints import Endpoints
from coxswain.apiserver.kubelet_client import StreamReply
from coxswain.apiserver.negotiation import JSON, PROTOBUF, negotiate
from coxswain.apiserver.pipeline import Pipeline, internal
from coxswain.apiserver.request import Reply, not_served, wrong_method
from coxswain.apiserver.routes import Route, is_true, parse_path, parse_query, verb_of
from coxswain.apiserver.settings import LimitSettings, ServingSettings
from coxswain.apiserver.verbs.watching import WatchSession
from coxswain.apiserver.verbs.writing import new_uid
from coxswain.apiserver.watchcache import watch_frame
from coxswain.base import clock
from coxswain.client.interface import Call, UserInfo

log = logging.getLogger(__name__)

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_LONG_SUBRESOURCES = frozenset({"log", "proxy", "exec", "attach", "portforward"})
_PRETTY_AGENTS = ("curl", "Wget", "Mozilla/")
_AUDIT_ID = "Audit-Id"


class Authenticator(Protocol):
    """Finds out who asks."""

    def authenticate(
        self, peer_certificate_der: bytes | None, authorization: str | None
    ) -> UserInfo | None: ...


class _Server(web.Server):
    """aiohttp's server, which also says when a connection is lost and counts connections."""

    def __init__(self, door: RestServer, settings: ServingSettings) -> None:
        self._limit = settings.max_body_bytes
        super().__init__(
            door.handle,
            request_factory=self._request,
            keepalive_timeout=settings.idle_timeout,
            max_line_size=settings.max_header_bytes,
            max_field_size=settings.max_header_bytes,
            access_log=None,
            tcp_keepalive=True,
        )
        self._max_connections = settings.max_connections
        self.on_lost: dict[RequestHandler, Callable[[], object]] = {}
        self.certificates: dict[RequestHandler, bytes | None] = {}

    def _request(self, message, payload, protocol, writer, task):  # type: ignore[no-untyped-def]
        return web.BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=self._limit
        )

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        tls = transport.get_extra_info("ssl_object")
        self.certificates[handler] = tls.getpeercert(binary_form=True) if tls is not None else None
        if len(self.connections) > self._max_connections:
            log.warning("more than %d connections: refusing one", self._max_connections)
            transport.abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self.certificates.pop(handler, None)
        lost = self.on_lost.pop(handler, None)
        if lost is not None:
            lost()
        super().connection_lost(handler, exc)


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
        self._server: _Server | None = None
        self._listener: asyncio.Server | None = None
        self._watches: set[WatchSession] = set()
        self._streams: set[asyncio.Task[Any]] = set()
        self._reading = 0
        self._writing = 0
        self._stopping = False
        self.port = serving.port

    async def start(self) -> None:
        """Listen; ``port`` is then the real one. Raises ``OSError`` when the port is taken."""
        self._server = _Server(self, self._serving)
        self._listener = await asyncio.get_running_loop().create_server(
            self._server, self._serving.address, self._serving.port, ssl=self._tls, backlog=1024
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, end watches, finish what runs (up to ``shutdown_grace`` seconds). Idempotent."""
        self._stopping = True
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for session in tuple(self._watches):
            session.watcher.end()
        for task in tuple(self._streams):
            task.cancel()
        if self._server is not None:
            deadline = clock.monotonic() + self._serving.shutdown_grace
            while (self._watches or self._reading or self._writing) and clock.monotonic() < deadline:
                await clock.sleep(0.01)
            await self._server.shutdown(0.1)
            self._server = None

    # -- one request

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never raises, except when the connection went."""
        started = clock.monotonic()
        route: Route | None = None
        verb = request.method.lower()
        code = 500
        try:
            path, query_text = request.rel_url.raw_path, request.rel_url.raw_query_string
            route = parse_path(path)
            query = parse_query(query_text)
            if route is not None:
                verb = verb_of(request.method, route, query) or verb
            user = self._authenticate(request)
            if route is None:
                response = self._non_resource(request, path, query, user)
            elif verb == "watch":
                response = await self._watch(request, route, query, user)
            else:
                response = await self._limited(request, route, query, user)
        except errors.ApiError as error:
            response = _failure(error, request)
        except web.HTTPRequestEntityTooLarge:
            limit = self._serving.max_body_bytes
            response = _failure(
                errors.RequestTooLarge(f"Request entity too large: limit is {limit}"), request
            )
        except (ValueError, web.RequestPayloadError) as error:
            # A URL, header or body that cannot be read at all.
            log.info("a malformed request was refused: %s", error)
            response = _failure(errors.BadRequest("the request could not be understood"), request)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            call = Call("get", route.resource if route else _NO_RESOURCE)
            response = _failure(internal(error, call), request)
        code = response.status
        if verb != "watch":
            elapsed = clock.monotonic() - started
            if route is not None:
                metrics.observe(
                    verb, route.resource.group, route.resource.resource, route.subresource, code, elapsed
                )
            else:
                metrics.observe(verb, "", "", "", code, elapsed)
        return response

    def _authenticate(self, request: web.BaseRequest) -> UserInfo:
        assert self._server is not None
        certificate = self._server.certificates.get(request.protocol)
        headers = request.headers
        user = self._authenticator.authenticate(certificate, headers.get(hdrs.AUTHORIZATION))
        if user is None:
            raise errors.Unauthorized()
        if any(name[:11].lower() == "impersonate" for name in headers):
            authorize = self._pipeline.core.authorizer.authorize
            return impersonated(headers.items(), user, authorize) or user
        return user

    def _non_resource(
        self, request: web.BaseRequest, path: str, query: Mapping[str, str], user: UserInfo
    ) -> web.StreamResponse:
        self._pipeline.authorize(Attributes(user, request.method.lower(), path=path, is_resource=False))
        if request.method not in ("GET", "HEAD"):
            raise wrong_method() if self._endpoints.answer(path, {}, "", False) else not_served()
        accept = request.headers.get(hdrs.ACCEPT, "")
        reply = self._endpoints.answer(path, query, accept, _pretty(request, query))
        if reply is None:
            raise not_served()
        return _response(reply)

    async def _limited(
        self, request: web.BaseRequest, route: Route, query: Mapping[str, str], user: UserInfo
    ) -> web.StreamResponse:
        """A request that counts against the limits of what is in progress."""
        verb = verb_of(request.method, route, query)
        if verb is None:
            raise wrong_method()
        if route.subresource in _LONG_SUBRESOURCES:
            return await self._stream(request, route, query, user, verb)
        writes = verb in _WRITES
        if self._stopping:
            raise errors.ServiceUnavailable("the API server is shutting down", retry_after=1)
        if writes:
            if self._writing >= self._limits.max_mutating_in_flight:
                raise _too_many()
            self._writing += 1
        else:
            if self._reading >= self._limits.max_in_flight:
                raise _too_many()
            self._reading += 1
        try:
            call = await _call(request, route, query, verb)
            agent = request.headers.get(hdrs.USER_AGENT, "")
            pretty = _pretty(request, query)
            handled = self._pipeline.handle(call, user, user_agent=agent, pretty=pretty)
            if writes:
                async with asyncio.timeout(self._limits.request_timeout):
                    reply = await handled
            else:
                # Reads wait for nothing but the cache, which bounds that itself: a timer would be a waste.
                reply = await handled
        except TimeoutError:
            raise errors.Timeout(
                "request did not complete within the allotted timeout", retry_after=1
            ) from None
        finally:
            if writes:
                self._writing -= 1
            else:
                self._reading -= 1
        assert isinstance(reply, Reply)
        return _response(reply)

    # -- watches and other streams

    async def _watch(
        self, request: web.BaseRequest, route: Route, query: Mapping[str, str], user: UserInfo
    ) -> web.StreamResponse:
        accept = _watch_accept(request.headers.get(hdrs.ACCEPT, JSON))
        call = Call(
            "watch", route.resource, route.namespace, route.name, route.subresource, query, accept=accept
        )
        agent = request.headers.get(hdrs.USER_AGENT, "")
        response = web.StreamResponse(headers={"Content-Type": JSON, "Cache-Control": "no-cache, private"})
        chunked = request.version >= HttpVersion11
        if chunked:
            response.enable_chunked_encoding()
        else:
            # HTTP/1.0 knows no chunks: such a watch ends with its connection.
            response.force_close()
        try:
            session = await self._pipeline.open_watch(call, user, user_agent=agent)
        except errors.Expired as error:
            # A revision that is gone is told inside of the watch, as Kubernetes does.
            await response.prepare(request)
            await response.write(watch_frame("ERROR", orjson.dumps(error.status())))
            await response.write_eof()
            return response
        metrics.WATCHERS.inc()
        self._watches.add(session)
        try:
            await response.prepare(request)
            limit = self._pipeline.core.watch.buffer_bytes
            await _Pump(session, request, limit, self._server, chunked=chunked).run()
            if request.transport is not None and not request.transport.is_closing():
                await response.write_eof()
        finally:
            self._watches.discard(session)
            session.close()
            metrics.WATCHERS.dec()
        return response

    async def _stream(
        self, request: web.BaseRequest, route: Route, query: Mapping[str, str], user: UserInfo, verb: str
    ) -> web.StreamResponse:
        """Logs and proxies: passed on piece by piece."""
        call = await _call(request, route, query, verb)
        call.accept = JSON
        if route.rest:
            call.query = {**query, "path": route.rest}
        reply = await self._pipeline.handle(call, user)
        if isinstance(reply, Reply):
            return _response(reply)
        response = web.StreamResponse(status=reply.code, headers=dict(reply.headers))
        task = asyncio.current_task()
        assert task is not None and self._server is not None
        server = self._server
        # A followed log may be silent for ever: only this tells that nobody listens any more.
        server.on_lost[request.protocol] = task.cancel
        self._streams.add(task)
        try:
            await response.prepare(request)
            async for chunk in reply.body:
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            log.debug("a client left a stream of %s", route.resource.resource)
        finally:
            self._streams.discard(task)
            server.on_lost.pop(request.protocol, None)
            await _close(reply)
        return response


_NO_RESOURCE = GVR("", "", "")


async def _close(reply: StreamReply) -> None:
    close = getattr(reply.body, "aclose", None)
    if close is not None:
        await close()


class _Pump:
    """Moves what a watcher has queued to its connection, until one of them ends."""

    def __init__(
        self,
        session: WatchSession,
        request: web.BaseRequest,
        buffer_bytes: int,
        server: _Server | None,
        *,
        chunked: bool,
    ) -> None:
        self._session = session
        self._frame = b"%x\r\n%b\r\n" if chunked else b""
        self._limit = buffer_bytes
        self._server = server
        self._protocol = request.protocol
        self._transport = request.transport
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Returns when the watch has ended or the connection is lost."""
        if self._transport is None or self._server is None:
            return
        self._server.on_lost[self._protocol] = self._finish
        self._session.watcher.on_ready = self._flush
        self._flush()
        try:
            await self._done
        finally:
            self._session.watcher.on_ready = None
            self._server.on_lost.pop(self._protocol, None)

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _flush(self) -> None:
        watcher, transport = self._session.watcher, self._transport
        if self._done.done() or transport is None:
            return
        if transport.is_closing():
            self._finish()
            return
        if watcher.queue:
            lines = self._session.lines(watcher.drain())
            transport.write(self._frame % (len(lines), lines) if self._frame else lines)
            waiting = transport.get_write_buffer_size()
            if waiting > self._limit:
                watcher.end(f"the watcher left {waiting} bytes unread")
        if watcher.failure is not None:
            log.info("a watcher was cut off: %s", watcher.failure)
            transport.abort()
            self._finish()
        elif watcher.ended:
            self._finish()


# -- requests and responses


async def _call(request: web.BaseRequest, route: Route, query: Mapping[str, str], verb: str) -> Call:
    body = await request.read() if request.can_read_body else b""
    headers = request.headers
    return Call(
        verb,  # type: ignore[arg-type]
        route.resource,
        route.namespace,
        route.name,
        route.subresource,
        query,
        body,
        headers.get(hdrs.CONTENT_TYPE, JSON),
        headers.get(hdrs.ACCEPT, JSON),
    )


def _pretty(request: web.BaseRequest, query: Mapping[str, str]) -> bool:
    if "pretty" in query:
        return is_true(query["pretty"])
    return request.headers.get(hdrs.USER_AGENT, "").startswith(_PRETTY_AGENTS)


def _watch_accept(accept: str) -> str:
    """Watches are served as JSON; a client that takes protobuf streams only is refused."""
    cleaned = accept.replace(";stream=watch", "")
    if negotiate(cleaned).media_type == PROTOBUF:
        raise errors.NotAcceptable(
            "only the following media types are accepted: application/json;stream=watch"
        )
    return cleaned


def _too_many() -> errors.TooManyRequests:
    metrics.REJECTED.inc()
    return errors.TooManyRequests("too many requests, please try again later", retry_after=1)


def _response(reply: Reply) -> web.Response:
    headers: CIMultiDict[str] = CIMultiDict(
        (
            (_AUDIT_ID, new_uid()),
            ("Cache-Control", "no-cache, private"),
            ("Content-Type", reply.content_type),
        )
    )
    for warning in reply.warnings:
        headers.add("Warning", f"299 - {_quoted(warning)}")
    return web.Response(status=reply.code, body=reply.body, headers=headers)


def _quoted(text: str) -> str:
    cleaned = "".join(char if char.isprintable() else " " for char in text)
    escaped = cleaned.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _failure(error: errors.ApiError, request: web.BaseRequest) -> web.Response:
    response = _response(Reply(error.code, orjson.dumps(error.status())))
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.code == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="coxswain"'
    return response
