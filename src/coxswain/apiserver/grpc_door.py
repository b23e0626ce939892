"""The gRPC front door: the requests of REST, many to a message (``proto/coxswain/v1/api.proto``).

    Exchange   batches of calls in, batches of answers out, in the same order. Batches run side by side, up
               to ``in_flight`` a stream; then the door stops reading and flow control holds the client.
    List       one list as chunks of about ``chunk_bytes``.
    Watch      batches of events as the backend frames them, split at ``chunk_bytes``. A watcher that does not
               read holds its own stream only; the backend's buffer bounds say when it is cut off.

Who asks, and with which program, is found out once a stream: by the client's certificate, which TLS demands and
verifies, or by an ``authorization: Bearer`` metadata entry, which counts instead where there is one. A failure of one
call is an answer; only a request that nobody may make ends a stream with a gRPC status.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import unquote

import orjson

from coxswain._generated import messages
from coxswain.api import errors
from coxswain.api.names import GVR
from coxswain.apiserver.authn.authenticator import Authenticator
from coxswain.apiserver.pending import decided
from coxswain.apiserver.pki import KeyPair
from coxswain.base.errors import ResourceUnavailable
from coxswain.client.grpcwire import encode_answers, encode_events
from coxswain.client.interface import JSON, Answer, Backend, Call, UserInfo, Verb, WatchEvent

if TYPE_CHECKING:
    import grpc.aio

    from coxswain.apiserver.audit.doors import AuditedBackend, Origin

log = logging.getLogger(__name__)

_VERBS = frozenset({"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"})


class ExchangeBackend(Backend, Protocol):
    """The API server's pipeline, as the door needs it."""

    async def exchange(self, calls: Sequence[Call], user: UserInfo) -> Sequence[Answer]:
        """Every call answered, in order; failures are answers."""
        ...


@dataclass(frozen=True, slots=True)
class GrpcSettings:
    """Limits of the door."""

    max_message_bytes: int = 32 << 20
    """Bytes of one message in either direction: a batch of some thousand pods."""
    max_body_bytes: int = 3 << 20
    """Bytes of one call's body, as for REST."""
    max_batch_calls: int = 4096
    """Calls in one batch."""
    in_flight: int = 16
    """Batches of one stream that run at the same time."""
    chunk_bytes: int = 1 << 20
    """Bytes after which a list chunk or watch batch is sent: large enough to be cheap, small enough to flow."""
    max_streams: int = 4096
    """Streams of one connection."""


class GrpcDoor:
    """One gRPC server. ``start`` binds, ``stop`` lets running calls end."""

    def __init__(
        self,
        backend: ExchangeBackend,
        authenticator: Authenticator,
        *,
        serving: KeyPair,
        client_ca: bytes,
        settings: GrpcSettings | None = None,
        require_client_certificate: bool = True,
        audited: AuditedBackend | None = None,
    ) -> None:
        """``client_ca`` is PEM. Without ``require_client_certificate`` only bearer tokens authenticate.

        ``audited`` stands before the backend where requests are audited.
        """
        self._backend = backend
        self._audited = audited
        self._authenticator = authenticator
        self._serving = serving
        self._client_ca = client_ca
        self._settings = settings or GrpcSettings()
        self._require = require_client_certificate
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str = "127.0.0.1:6444") -> int:
        """Listen on ``host:port`` (port 0: any) and return the port. Raises ``ResourceUnavailable``."""
        import grpc
        import grpc.aio

        limit = self._settings.max_message_bytes
        options = [
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", limit),
            ("grpc.max_concurrent_streams", self._settings.max_streams),
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
        ]
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((self._handlers(),))
        credentials = grpc.ssl_server_credentials(
            [(self._serving.key, self._serving.certificate)],
            root_certificates=self._client_ca if self._require else None,
            require_client_auth=self._require,
        )
        try:
            port = server.add_secure_port(address, credentials)
        except RuntimeError:
            port = 0
        if port == 0:
            raise ResourceUnavailable(f"gRPC address {address} cannot be used: is another server running?")
        await server.start()
        self._server = server
        return int(port)

    async def stop(self, grace: float = 1.0) -> None:
        """Take no new calls; those that run may end within ``grace`` seconds. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace)

    def _handlers(self) -> Any:
        import grpc

        def serialize(message: Any) -> bytes:
            return bytes(message.SerializeToString())

        # What is sent by the hundred is written by hand (``grpcwire``) and needs no serializer.
        methods: dict[str, Any] = {
            "Exchange": grpc.stream_stream_rpc_method_handler(self.exchange, messages.CallBatch.FromString),
            "List": grpc.unary_stream_rpc_method_handler(self.list, messages.Call.FromString, serialize),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch, messages.Call.FromString),
        }
        return grpc.method_handlers_generic_handler(messages.SERVICE, methods)

    async def exchange(
        self, batches: AsyncIterator[messages.CallBatch], context: Any
    ) -> AsyncIterator[bytes]:
        """Answer batches in their order while later ones are already at work."""
        user = await self._user(context, "Exchange")
        backend = self._seen(context)
        running: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()
        room = asyncio.Semaphore(self._settings.in_flight)
        reader = asyncio.create_task(self._read(batches, backend, user, running, room))
        try:
            while (task := await running.get()) is not None:
                room.release()
                yield await task
            await reader
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
            while not running.empty():
                left = running.get_nowait()
                if left is not None:
                    left.cancel()

    async def _read(
        self,
        batches: AsyncIterator[messages.CallBatch],
        backend: ExchangeBackend,
        user: UserInfo,
        running: asyncio.Queue[asyncio.Task[bytes] | None],
        room: asyncio.Semaphore,
    ) -> None:
        async for batch in batches:
            await room.acquire()
            running.put_nowait(asyncio.create_task(self._answer(batch, backend, user)))
        running.put_nowait(None)

    async def _answer(self, batch: messages.CallBatch, backend: ExchangeBackend, user: UserInfo) -> bytes:
        calls, refusals = self._accept(batch)
        try:
            answers = iter(await backend.exchange(calls, user)) if calls else iter(())
        except errors.ApiError as error:
            answers = iter([_failure(error)] * len(calls))
        except Exception:
            log.exception("a batch of %d calls failed", len(calls))
            internal = errors.InternalError("Internal error occurred: the batch could not be processed")
            answers = iter([_failure(internal)] * len(calls))
        return encode_answers(batch.id, [refused or next(answers) for refused in refusals])

    def _accept(self, batch: messages.CallBatch) -> tuple[list[Call], list[Answer | None]]:
        """The calls that can be made, and for each call of the batch its refusal or None."""
        if len(batch.calls) > self._settings.max_batch_calls:
            error = errors.RequestTooLarge(
                f"a batch may have at most {self._settings.max_batch_calls} calls, not {len(batch.calls)}"
            )
            return [], [_failure(error)] * len(batch.calls)
        calls: list[Call] = []
        refusals: list[Answer | None] = []
        for message in batch.calls:
            try:
                calls.append(self._call(message))
                refusals.append(None)
            except errors.ApiError as error:
                refusals.append(_failure(error))
        return calls, refusals

    def _call(self, message: messages.Call) -> Call:
        verb, body = message.verb, message.body
        if verb not in _VERBS:
            raise errors.BadRequest(f"verb {verb!r} is not known")
        if len(body) > self._settings.max_body_bytes:
            raise errors.RequestTooLarge(
                f"Request entity too large: limit is {self._settings.max_body_bytes}"
            )
        query = message.query
        return Call(
            cast("Verb", verb),
            _resource(message.group, message.version, message.resource),
            message.namespace,
            message.name,
            message.subresource,
            dict(query) if query else {},
            body,
            message.content_type or JSON,
            message.accept or JSON,
        )

    async def list(self, message: messages.Call, context: Any) -> AsyncIterator[messages.ListChunk]:
        """One list in chunks; a failure is the only chunk."""
        user = await self._user(context, "List")
        try:
            found = await self._seen(context).list_raw(self._call(message), user)
        except errors.ApiError as error:
            failure = _failure(error)
            yield messages.ListChunk(failure=messages.Answer(code=failure.code, body=failure.body))
            return
        chunks = [*_split(found.items, len, self._settings.chunk_bytes)] or [[]]
        for chunk in chunks[:-1]:
            yield messages.ListChunk(items=chunk)
        yield messages.ListChunk(
            items=chunks[-1],
            resource_version=found.resource_version,
            remaining=found.remaining,
            **{"continue": found.continue_},
        )

    async def watch(self, message: messages.Call, context: Any) -> AsyncIterator[bytes]:
        """Events in batches; a failure is an ERROR event and ends the watch."""
        user = await self._user(context, "Watch")
        try:
            async with self._seen(context).watch_events(self._call(message), user) as stream:
                async for events in stream:
                    for chunk in _split(events, _event_size, self._settings.chunk_bytes):
                        yield encode_events(chunk)
        except errors.ApiError as error:
            yield encode_events([WatchEvent("ERROR", orjson.dumps(error.status()))])

    def _seen(self, context: Any) -> ExchangeBackend:
        """The backend, for requests from a stream's other end."""
        return self._backend if self._audited is None else self._audited.seen_from(_origin(context))

    async def _user(self, context: Any, method: str) -> UserInfo:
        """Who opened a stream; ends it with UNAUTHENTICATED where that is nobody."""
        import grpc

        bearer = next((v for k, v in context.invocation_metadata() or () if k == "authorization"), None)
        certificates = context.auth_context().get("x509_pem_cert") or ()
        der = None
        if certificates and not bearer:
            der = ssl.PEM_cert_to_DER_cert(certificates[0].decode())
        try:
            user = await decided(lambda: self._authenticator.authenticate(der, bearer))
        except errors.Unauthorized:
            user = None
        if user is None:
            if self._audited is not None:
                ways = ["bearer"] * bool(bearer) + ["x509"] * bool(certificates)
                path = f"/{messages.SERVICE}/{method}"
                self._audited.seen_from(_origin(context)).unauthenticated(path, ways)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Unauthorized")
            raise errors.Unauthorized()  # abort has raised already
        return replace(user, agent=_agent(context))


def _origin(context: Any) -> Origin:
    from coxswain.apiserver.audit.doors import Origin

    return Origin(_addresses(context.peer()), _agent(context))


def _agent(context: Any) -> str:
    """How the program at a stream's other end calls itself."""
    return str(next((v for k, v in context.invocation_metadata() or () if k == "user-agent"), ""))


def _addresses(peer: str) -> tuple[str, ...]:
    """The address in ``ipv4:10.0.0.5:4711`` or ``ipv6:%5B::1%5D:4711``."""
    family, _, rest = peer.partition(":")
    address = unquote(rest).rpartition(":")[0].strip("[]")
    return (address,) if family in ("ipv4", "ipv6") and address else ()


@lru_cache(256)
def _resource(group: str, version: str, resource: str) -> GVR:
    """One and the same for calls of a kind: it is cheaper to find than to make."""
    return GVR(group, version, resource)


def _failure(error: errors.ApiError) -> Answer:
    return Answer(error.code, orjson.dumps(error.status()))


def _event_size(event: WatchEvent) -> int:
    return len(event.raw)


def _split(items: Sequence[Any], size: Any, limit: int) -> Iterator[list[Any]]:
    """``items`` in runs of at most ``limit`` bytes (one larger item is a run of its own)."""
    run: list[Any] = []
    total = 0
    for item in items:
        length = size(item)
        if run and total + length > limit:
            yield run
            run, total = [], 0
        run.append(item)
        total += length
    if run:
        yield run
