"""The HTTPS door: HTTP requests into ``Call``s, ``Reply``s into HTTP responses, watches into chunks.

    TLS (h1) -> authenticate -> impersonate -> audit -> fairness -> pipeline | endpoints -> response

``http1`` speaks HTTP; here is what the requests mean. What the cache can answer at once is answered at once,
without a task, unless others wait for the same priority level. Long lists begin a few at a time (``pacing``), and
keep their seats until the client has read them. Every failure is answered with a Status; a bug is logged and
answered with 500.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import copy_context
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from coxswain.api import errors
from coxswain.api.names import GVR
from coxswain.apiserver import answers, compressing, metrics
from coxswain.apiserver.answers import Openings
from coxswain.apiserver.audit.annotations import CURRENT
from coxswain.apiserver.authn.impersonation import impersonated
from coxswain.apiserver.authz.attributes import Attributes
from coxswain.apiserver.census import READING, WRITING, Census, Long
from coxswain.apiserver.deadlines import allowed_seconds
from coxswain.apiserver.endpoints import TEXT as PLAIN_TEXT
from coxswain.apiserver.endpoints import Endpoints
from coxswain.apiserver.fairness.controller import Flow, Gate, too_many
from coxswain.apiserver.fairness.inflight import InFlightLimits
from coxswain.apiserver.fairness.queueset import Ticket
from coxswain.apiserver.fairness.width import NARROW, Width, list_bytes
from coxswain.apiserver.http1 import HttpLimits, HttpServer, Request, status_line
from coxswain.apiserver.kubelet_client import StreamReply
from coxswain.apiserver.memory import Returns
from coxswain.apiserver.negotiation import JSON, negotiate
from coxswain.apiserver.pacing import Pacer
from coxswain.apiserver.pending import Pending
from coxswain.apiserver.pipeline import Pipeline, internal
from coxswain.apiserver.proxying.passages import Passage, Proxies
from coxswain.apiserver.pump import Pump
from coxswain.apiserver.refusing import refusal, refuse_encoding, took_too_long
from coxswain.apiserver.request import Reply, Write, not_served, wrong_method
from coxswain.apiserver.routes import Route, is_true, parse_path, parse_query, verb_of
from coxswain.apiserver.settings import LimitSettings, ServingSettings
from coxswain.apiserver.verbs.watching import WatchSession, watch_error
from coxswain.apiserver.verbs.writing import told
from coxswain.apiserver.wishes import Wishes
from coxswain.apiserver.writes import Outcome, Writes
from coxswain.client.interface import Call, UserInfo
from coxswain.store.interface import CompareFailed

if TYPE_CHECKING:
    from coxswain.apiserver.audit.auditor import Auditor
    from coxswain.apiserver.audit.record import Record

log = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_LONG_SUBRESOURCES = frozenset({"log"})
_NO_RESOURCE = GVR("", "", "")
#: Bytes of lists that begin in one turn of the loop: some milliseconds' worth.
_PACE_BYTES = 8 << 20
#: After so many bytes of long lists memory is given back to the system, at most so often.
_RETURN_BYTES = 128 << 20
_RETURN_SECONDS = 5.0
#: Requests that are sent away in one turn of the loop.
_PACE_REFUSALS = 32
#: Lists of at least this many bytes are paced, and hold their seats until they are read.
_LONG_LIST = 256 << 10
#: Paths beside resources that are counted under their own names.
_HEALTH = frozenset({"/healthz", "/livez", "/readyz", "/metrics"})


class Authenticator(Protocol):
    """Finds out who asks."""

    def authenticate(
        self,
        peer_certificate_der: bytes | None,
        authorization: str | None,
        fields: Sequence[tuple[bytes, bytes]] = (),
        target: bytes = b"",
    ) -> UserInfo | None: ...

    def lasting(self, peer_certificate_der: bytes | None, authorization: str) -> UserInfo | None: ...


class Target:
    """What a method and URL mean. ``verb`` is None where the path does not take the method."""

    __slots__ = ("path", "query", "route", "served", "verb")

    def __init__(self, path: str, query: Mapping[str, str], route: Route | None, verb: str | None) -> None:
        self.path = path
        self.query = query
        self.route = route
        self.verb = verb
        #: Where such requests are counted, once that is known; patches are told apart by their headers, too.
        self.served: metrics.Served | None = None


class Exchange:
    """A request being answered, and what the metrics say of it."""

    __slots__ = ("audit", "flow", "request", "started", "target", "ticket")

    def __init__(self, request: Request, started: float) -> None:
        self.request = request
        self.started = started
        self.target: Target | None = None
        self.flow: Flow | None = None
        self.ticket: Ticket | None = None
        #: What the audit log will say of it; None where it is not logged.
        self.audit: Record | None = None


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
        gate: Gate | None = None,
        auditor: Auditor | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        """``tls`` None serves plain HTTP: for tests only. ``gate`` None: the plain limits of ``limits`` hold.

        ``proxies`` answer what nodes, pods, services and extension servers are asked.
        """
        self._pipeline = pipeline
        self._endpoints = endpoints
        self._authenticator = authenticator
        self._serving = serving
        self._limits = limits
        self._tls = tls
        self._gate = gate or InFlightLimits(limits.max_in_flight, limits.max_mutating_in_flight)
        self._auditor = auditor
        self._proxies = proxies
        self._loop = asyncio.get_running_loop()
        self._server: HttpServer | None = None
        self._listener: asyncio.Server | None = None
        self._writes = Writes(pipeline.core.storage)
        self._census = Census(pipeline.core.registry, self._writes)
        self._openings = Openings()
        self._pacer = Pacer(self._loop, _PACE_BYTES)
        self._returns = Returns(_RETURN_BYTES, _RETURN_SECONDS)
        self._refusals = Pacer(self._loop, _PACE_REFUSALS)
        self._stopping = False
        self.port = serving.port

    async def start(self) -> None:
        """Listen; ``port`` is then the real one. Raises ``OSError`` when the port is taken."""
        serving = self._serving
        limits = HttpLimits(
            max_body_bytes=serving.max_body_bytes,
            max_head_bytes=serving.max_header_bytes,
            max_connections=serving.max_connections,
            idle_timeout=serving.idle_timeout,
            head_timeout=serving.head_timeout,
            body_timeout=serving.body_timeout,
            unread_timeout=serving.unread_timeout,
            max_buffered_bytes=serving.max_buffered_bytes,
            max_unread_bytes=serving.max_unread_bytes,
        )
        server = HttpServer(self.accept, limits, self._takes_uploads)
        self._listener = await self._loop.create_server(
            server, serving.address, serving.port, ssl=self._tls, backlog=1024
        )
        server.start()
        self._gate.start()
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
        for pump in tuple(self._census.watches):
            pump.session.watcher.end()
        for task in tuple(self._census.streams):
            task.cancel()
        self._gate.stop()
        self._census.close()
        server, self._server = self._server, None
        if server is not None:
            await server.stop(self._serving.shutdown_grace)

    # -- one request

    def accept(self, request: Request, record: Record | None = None) -> None:
        """Answer ``request``, now or by a task. ``record``: what was begun of it before it had to wait."""
        exchange = Exchange(request, self._loop.time())
        try:
            if request.failure is not None:
                raise refusal(request, self._serving)
            target = exchange.target = resolve(request.method, request.target)
            wishes, caller = self._recognize(request)
            if self._auditor is not None:
                exchange.audit = record or self._auditor.receive(request, target, caller)
            user = self._impersonated(request, target, caller) if wishes.impersonates else caller
            if exchange.audit is not None:
                self._note_access(exchange.audit, request, target, caller, user)
            self._take_up(exchange, target, wishes, user)
        except Pending as pending:
            self._begin(exchange, partial(self._again, exchange, pending))
        except Exception as error:
            self._fail(exchange, error)

    def _takes_uploads(self, request: Request) -> bool:
        """Whether somebody else answers, who may be sent more than we would hold."""
        try:
            target = resolve(request.method, request.target)
        except ValueError:
            return False
        return self._proxies is not None and self._proxies.concerns(target)

    def _take_up(self, exchange: Exchange, target: Target, wishes: Wishes, user: UserInfo) -> None:
        """Pass it on, or have it answered in its turn. Raises ``ApiError`` and ``Pending``."""
        request, route, verb = exchange.request, target.route, target.verb
        proxies = self._proxies
        if proxies is not None and proxies.concerns(target):
            passage = proxies.passage(request, target, user)
            if not proxies.is_long(request, target):
                request.deadline = exchange.started + self._limits.request_timeout
            self._pass(exchange, passage)
            return
        if wishes.packed:
            refuse_encoding(request)
        if route is None:
            flow = exchange.flow = self._gate.flow(user, request.method.lower(), path=target.path)
            self._in_turn(exchange, flow, partial(self._non_resource, request, target, wishes, user))
        elif verb is None:
            raise wrong_method()
        elif route.subresource in _LONG_SUBRESOURCES and verb != "watch":
            call = _log_call(request, wishes, route, verb, target.query)
            self._pass(exchange, self._pipeline.handle(call, user))
        else:
            exchange.flow = self._gate.flow(user, verb, route.resource, route.subresource, route.namespace)
            self._fairly(exchange, exchange.flow, target, wishes, user)

    async def _again(self, exchange: Exchange, pending: Pending) -> None:
        """Begin again once somebody outside has said who this is or what they may do."""
        try:
            await pending.answer()
        except Exception as error:
            self._fail(exchange, error)
        else:
            self.accept(exchange.request, exchange.audit)

    def _recognize(self, request: Request) -> tuple[Wishes, UserInfo]:
        """What the headers say, and who sends them. Raises ``Unauthorized`` and ``Pending``."""
        head = request.head
        wishes = head.meaning if head is not None else None
        if not isinstance(wishes, Wishes):
            wishes = Wishes(request)
            if head is not None:
                head.meaning = wishes
        elif wishes.user is None:
            wishes.user = self._authenticator.lasting(
                request.connection.certificate, request.header(b"authorization")
            )
        user = wishes.user or self._authenticate(request)
        callers = self._census.callers
        callers[user.name] = callers.get(user.name, 0) + 1
        return wishes, user

    def _authenticate(self, request: Request) -> UserInfo:
        headers = request.headers
        authorization = request.header(b"authorization") if b"authorization" in headers else None
        user = self._authenticator.authenticate(
            request.connection.certificate, authorization, request.fields, request.target
        )
        if user is None:
            raise errors.Unauthorized()
        return user

    def _impersonated(self, request: Request, target: Target, user: UserInfo) -> UserInfo:
        """In whose name ``user`` asks."""
        fields = [
            (key.decode("utf-8", "replace"), value.decode("utf-8", "replace"))
            for key, value in request.fields
        ]
        authorize = self._pipeline.core.authorizer.authorize
        asked = partial(_attributes, target, request.method)
        return impersonated(fields, user, authorize, asked) or user

    def _note_access(
        self, record: Record, request: Request, target: Target, caller: UserInfo, user: UserInfo
    ) -> None:
        if user is not caller:
            record.impersonated(user)
        record.decided(self._pipeline.core.authorizer.authorize(_attributes(target, request.method, user)))

    def _non_resource(self, request: Request, target: Target, wishes: Wishes, user: UserInfo) -> Reply:
        path, method = target.path, request.method
        self._pipeline.authorize(Attributes(user, method.lower(), path=path, is_resource=False))
        if method not in ("GET", "HEAD"):
            raise wrong_method() if self._endpoints.answer(path, {}, "", False) else not_served()
        if path.startswith("/debug/") and (text := self._gate.debug(path)) is not None:
            return Reply(200, text.encode(), PLAIN_TEXT)
        accept = request.header(b"accept")
        reply = self._endpoints.answer(path, target.query, accept, _pretty(wishes, target.query))
        if reply is None:
            raise not_served()
        if reply.etag and f'"{reply.etag}"' in request.header(b"if-none-match").split(", "):
            return Reply(304, b"", reply.content_type, etag=reply.etag)
        return reply

    # -- turns

    def _in_turn(self, exchange: Exchange, flow: Flow, answer: Callable[[], Reply]) -> None:
        """Answer at once, unless others wait already."""
        if not flow.saturated:
            flow.served += 1
            self._answer(exchange, answer())
            return

        def answer_late() -> None:
            try:
                self._answer(exchange, answer())
            except Exception as error:
                self._fail(exchange, error)
            self._finish(exchange)

        self._admit(exchange, flow, NARROW, lambda: self._loop.call_soon(answer_late))

    def _fairly(self, exchange: Exchange, flow: Flow, target: Target, wishes: Wishes, user: UserInfo) -> None:
        """A request for a resource: now, in its turn, or not at all."""
        route, verb, query = target.route, target.verb, target.query
        assert route is not None and verb is not None
        if self._stopping:
            raise errors.ServiceUnavailable("the API server is shutting down", retry_after=1)
        if verb == "watch":
            size = self._list_bytes(route, query) if query.get("resourceVersion") in (None, "", "0") else 0
            self._heavy(exchange, flow, size, partial(self._watch, exchange, route, query, user))
            return
        seconds = (
            allowed_seconds(query, self._limits.request_timeout) if query else self._limits.request_timeout
        )
        call = _call(exchange.request, wishes, route, verb, query)
        agent, pretty = wishes.agent, _pretty(wishes, query)
        if verb in _WRITES:
            width = self._width_of_write(route, flow)
            self._admit(
                exchange,
                flow,
                width,
                partial(self._begin_write, exchange, seconds, call, user, agent, pretty),
            )
            return
        if not flow.saturated:
            reply = self._pipeline.answer_now(call, user, user_agent=agent, pretty=pretty)
            if reply is not None:
                flow.served += 1
                self._answer(exchange, reply)
                return
        size = self._list_bytes(route, query) if verb == "list" else 0
        work = partial(self._work, exchange, seconds, call, user, agent, pretty, size)
        self._heavy(exchange, flow, size, work)

    def _heavy(self, exchange: Exchange, flow: Flow, size: int, work: Work) -> None:
        """Admit what shows about ``size`` bytes of objects."""
        begin = partial(self._begin, exchange, work)
        if size < _LONG_LIST:
            self._admit(exchange, flow, NARROW, begin)
            return
        if self._server is not None and self._server.unread > self._serving.max_unread_bytes:
            self._turn_away(exchange)
            return
        width = self._gate.width_of_list(size, flow)
        self._admit(exchange, flow, width, partial(self._pacer.submit, size, begin))

    def _admit(self, exchange: Exchange, flow: Flow, width: Width, begin: Callable[[], object]) -> None:
        """Begin, now or in its turn, or send it away."""
        try:
            ticket = flow.admit(width, exchange.started, begin, partial(self._turn_away, exchange))
        except errors.TooManyRequests:
            self._turn_away(exchange)
            return
        exchange.ticket = ticket
        if ticket.started is None:
            exchange.request.on_lost = partial(self._gate.cancel, ticket, flow)

    def _turn_away(self, exchange: Exchange) -> None:
        """Answer 429: a few in a turn of the loop, or all else would wait while thousands are sent away."""
        self._refusals.submit(1, partial(self._fail, exchange, too_many()))

    def _finish(self, exchange: Exchange) -> None:
        """Give the seats back."""
        ticket, flow = exchange.ticket, exchange.flow
        if ticket is not None and flow is not None:
            exchange.ticket = None
            self._gate.finish(ticket, flow)

    def _list_bytes(self, route: Route, query: Mapping[str, str]) -> int:
        entry = self._pipeline.core.registry.get(route.resource)
        if entry is None or entry.cache is None:
            return 0
        return list_bytes(entry.cache, route.namespace if entry.namespaced else "", route.name, query)

    def _width_of_write(self, route: Route, flow: Flow) -> Width:
        entry = self._pipeline.core.registry.get(route.resource)
        if entry is None or entry.cache is None or flow.level.exempt:
            return NARROW
        watchers = entry.cache.audience(route.namespace if entry.namespaced else "")
        return self._gate.width_of_write(watchers, flow) if watchers else NARROW

    # -- work

    def _begin(self, exchange: Exchange, work: Work) -> asyncio.Task[None]:
        request = exchange.request
        request.on_lost = None
        target = exchange.target
        name = WRITING if target is not None and target.verb in _WRITES else READING
        if exchange.audit is None:
            task = request.task = self._loop.create_task(work(), name=name)
        else:
            context = copy_context()
            context.run(CURRENT.set, exchange.audit.annotations)
            task = request.task = context.run(partial(self._loop.create_task, work(), name=name))
        # The loop itself does not keep tasks alive.
        self._census.tasks.add(task)
        task.add_done_callback(self._census.tasks.discard)
        return task

    def _begin_write(
        self, exchange: Exchange, seconds: float, call: Call, user: UserInfo, agent: str, pretty: bool
    ) -> None:
        """Together with others, if nothing but its commit has to be waited for; else by a task of its own."""
        write = None
        if exchange.audit is None:
            try:
                write = self._pipeline.begin(call, user, user_agent=agent, pretty=pretty)
            except Exception:
                # The task is refused the same, and says so.
                write = None
        if write is None:
            self._begin(exchange, partial(self._work, exchange, seconds, call, user, agent, pretty))
            return
        request = exchange.request
        request.on_lost = None
        request.deadline = exchange.started + seconds
        request.task = self._writes.submit(write, partial(self._written, exchange, write))

    def _written(self, exchange: Exchange, write: Write, outcome: Outcome | None) -> None:
        """Answer a write that was begun. ``outcome`` None: it took too long, or the server stops."""
        if isinstance(outcome, CompareFailed):
            self._begin(exchange, partial(self._work_on, exchange, write.again()))
            return
        try:
            if isinstance(outcome, Exception):
                raise told(outcome)
            if outcome is not None:
                self._answer(exchange, write.reply())
            elif exchange.request.expired:
                raise took_too_long()
        except Exception as error:
            self._fail(exchange, error)
        self._finish(exchange)

    async def _work(
        self,
        exchange: Exchange,
        seconds: float,
        call: Call,
        user: UserInfo,
        agent: str,
        pretty: bool,
        size: int = 0,
    ) -> None:
        """A write, or a read that shows about ``size`` bytes of objects, for ``seconds`` at most."""
        # Not before this runs: a task that is cancelled before it began would never give its seats back.
        exchange.request.deadline = exchange.started + seconds
        await self._work_on(
            exchange, self._pipeline.handle(call, user, user_agent=agent, pretty=pretty), size
        )

    async def _work_on(
        self, exchange: Exchange, answer: Awaitable[Reply | StreamReply], size: int = 0
    ) -> None:
        try:
            reply = await answer
            assert isinstance(reply, Reply)
            if size >= _LONG_LIST:
                await self._answer_long(exchange, reply)
            else:
                self._answer(exchange, reply)
        except asyncio.CancelledError:
            if not exchange.request.expired:
                raise
            self._fail(exchange, took_too_long())
        except Exception as error:
            self._fail(exchange, error)
        finally:
            self._finish(exchange)

    async def _answer_long(self, exchange: Exchange, reply: Reply) -> None:
        """A long list: perhaps compressed; its seats are taken until the client has read it."""
        request, serving = exchange.request, self._serving
        more = b""
        far = serving.gzip_loopback or not request.connection.local
        if far and 0 < serving.gzip_min_bytes <= len(reply.body) and compressing.accepts_gzip(request):
            reply.body = await compressing.compressed(reply.body)
            more = compressing.HEADERS
        self._answer(exchange, reply, more)
        size, reply.body = len(reply.body), b""
        with contextlib.suppress(ConnectionError):
            await request.connection.drain()
        self._returns.count(size)

    # -- answers

    def _answer(self, exchange: Exchange, reply: Reply, more: bytes = b"") -> None:
        if exchange.flow is not None:
            more += exchange.flow.headers
        record = exchange.audit
        if record is not None:
            record.completed(reply.code, reply)
        if reply.etag:
            more += b'ETag: "%b"\r\nVary: Accept\r\n' % reply.etag.encode()
        if reply.warnings:
            more += answers.warnings(reply.warnings)
        audit_id = record.audit_id if record is not None else None
        head = self._openings.head(reply.code, reply.content_type, more, audit_id)
        exchange.request.respond(head, reply.body)
        self._observe(exchange, reply.code, len(reply.body))

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
            if exchange.audit is not None:
                exchange.audit.panicked(failure)
        more = b""
        if failure.retry_after is not None:
            more += b"Retry-After: %d\r\n" % failure.retry_after
        if failure.code == 401:
            self._census.refused += 1
            if self._auditor is not None and exchange.audit is None and target is not None:
                self._auditor.unauthenticated(exchange.request, target)
            more += b'WWW-Authenticate: Bearer realm="coxswain"\r\n'
        self._answer(exchange, Reply(failure.code, orjson.dumps(failure.status())), more)

    def _observe(self, exchange: Exchange, code: int, size: int = 0) -> None:
        """Count a request that was answered."""
        served = self._served(exchange)
        ticket, waited = exchange.ticket, 0.0
        if ticket is not None and ticket.started is not None and ticket.queue is not None:
            waited = ticket.started - ticket.arrived
        served.observe(code, self._loop.time() - exchange.started, size, waited)
        if code in (429, 504):
            served.terminate(code)

    def _served(self, exchange: Exchange) -> metrics.Served:
        request, target = exchange.request, exchange.target
        if target is not None and target.served is not None:
            return target.served
        if target is None or target.route is None:
            path = target.path if target is not None else ""
            return metrics.other(request.method, path if path in _HEALTH else "")
        route, verb = target.route, target.verb or request.method.lower()
        dry_run = bool(target.query) and "dryRun" in target.query
        known = self._pipeline.core.registry.serves
        patches = verb == "patch"
        if patches and request.header(b"content-type").startswith("application/apply-patch"):
            verb = "apply"
        served = metrics.of(
            verb, route.resource, route.subresource, route.namespace, route.name, dry_run, known
        )
        if not patches and known(route.resource, route.subresource):
            target.served = served
        return served

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
            try:
                session = await self._pipeline.open_watch(call, user, user_agent=agent)
            finally:
                self._finish(exchange)
        except errors.Expired as error:
            # A revision that is gone is told inside of the watch, as Kubernetes does.
            content_type, frame = watch_error(negotiate(accept), error.status())
            stream = request.start_stream(self._stream_head(exchange, content_type))
            stream.write(frame)
            stream.end()
        except ConnectionError:
            return
        except Exception as error:
            self._fail(exchange, error)
        else:
            self._pump(exchange, session)

    def _pump(self, exchange: Exchange, session: WatchSession) -> None:
        request = exchange.request
        try:
            stream = request.start_stream(self._stream_head(exchange, session.content_type))
        except ConnectionError:
            session.close()
            return
        if exchange.audit is not None:
            exchange.audit.started(200)
        limit = self._pipeline.core.watch.buffer_bytes
        pump = Pump(session, stream, limit, partial(self._watch_over, exchange))
        self._census.watches[pump] = _long(exchange)
        request.on_lost = pump.finish
        pump.start()
        if exchange.target is not None and is_true(exchange.target.query.get("sendInitialEvents")):
            long = _long(exchange)
            what = (long.group, long.version, long.resource, long.scope)
            metrics.WATCH_LISTS.observe(what, self._loop.time() - exchange.started)
        if self._stopping:
            session.watcher.end()

    def _stream_head(self, exchange: Exchange, content_type: str) -> bytes:
        """The head of a watch."""
        flow, record = exchange.flow, exchange.audit
        more = flow.headers if flow is not None else b""
        return self._openings.head(200, content_type, more, record.audit_id if record is not None else None)

    def _watch_over(self, exchange: Exchange, pump: Pump) -> None:
        self._census.ended(pump)
        self._observe(exchange, 200)
        if exchange.audit is not None:
            exchange.audit.ended()

    def _pass(self, exchange: Exchange, passage: Passage) -> None:
        task = self._begin(exchange, partial(self._elsewhere, exchange, passage))
        self._census.tasks.discard(task)
        self._census.streams[task] = _long(exchange)

    async def _elsewhere(self, exchange: Exchange, passage: Passage) -> None:
        """What somebody else answers (logs, too): whole, piece by piece, or by taking the connection over."""
        task = asyncio.current_task()
        assert task is not None
        # A followed log may be silent for ever: only this tells that nobody listens any more.
        exchange.request.on_lost = task.cancel
        try:
            reply = await passage
            if isinstance(reply, StreamReply):
                await self._pass_on(exchange, reply)
            elif reply is not None:
                self._answer(exchange, reply)
            else:
                if exchange.audit is not None:
                    exchange.audit.started(101)
                self._observe(exchange, 101)
        except asyncio.CancelledError:
            if not exchange.request.expired:
                raise
            self._fail(exchange, took_too_long())
        except ConnectionError:
            log.debug("a client left while its request was passed on")
        except Exception as error:
            self._fail(exchange, error)
        finally:
            self._census.streams.pop(task, None)
            if exchange.audit is not None:
                exchange.audit.ended()

    async def _pass_on(self, exchange: Exchange, reply: StreamReply) -> None:
        request = exchange.request
        complete = False
        try:
            head = status_line(reply.code) + answers.lines(reply.headers)
            if exchange.audit is not None:
                exchange.audit.started(reply.code)
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


def _attributes(target: Target, method: str, user: UserInfo) -> Attributes:
    """What a request is about, for authorization."""
    from coxswain.apiserver.audit.auditor import attributes_of

    return attributes_of(target, method, user)


def _call(request: Request, wishes: Wishes, route: Route, verb: str, query: Mapping[str, str]) -> Call:
    return Call(
        verb,  # type: ignore[arg-type]
        route.resource,
        route.namespace,
        route.name,
        route.subresource,
        query,
        request.body,
        wishes.content_type,
        wishes.accept,
    )


def _log_call(request: Request, wishes: Wishes, route: Route, verb: str, query: Mapping[str, str]) -> Call:
    call = _call(request, wishes, route, verb, query)
    call.accept = JSON  # of a failure: the log itself is text, whatever the client accepts
    return call


def _pretty(wishes: Wishes, query: Mapping[str, str]) -> bool:
    return is_true(query["pretty"]) if "pretty" in query else wishes.pretty


def _watch_accept(accept: str) -> str:
    """What a watch may look like; every media type of a stream is one of an object, too."""
    return accept.replace(";stream=watch", "")


def _long(exchange: Exchange) -> Long:
    """A watch or stream, as the metrics show it."""
    target = exchange.target
    if target is None or target.route is None:
        return Long(exchange.request.method, "", "", "", "", "")
    route = target.route
    scope = "resource" if route.name else "namespace" if route.namespace else "cluster"
    return Long("WATCH" if target.verb == "watch" else "CONNECT", *route.resource, route.subresource, scope)
