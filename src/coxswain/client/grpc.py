"""The gRPC transport: many calls to a message, over mTLS, to our own API server.

    call() --+
    call() --+--> one CallBatch (everything asked for in the same turn of the loop) --> Exchange stream
    batch() -+                                                                              |
    futures <------------------------- AnswerBatch, matched by its id <---------------------+

A call alone costs a Python server about 200 microseconds on gRPC, in a batch 15: so nobody sends alone what
others send at the same moment. A component that has much to do at a time may ``gather``: what is asked for while a
message is unanswered goes together as soon as it is answered, or so many seconds after it was sent. Lists come in
chunks; each watch has a stream of its own.

When a stream breaks, its unanswered calls fail with ``ServiceUnavailable`` (they may have been carried out:
the caller decides whether to repeat) and the next call opens a new one; the channel reconnects by itself.
Long answers (logs) go over REST, which the same kubeconfig names.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson

from coxswain.api import errors
from coxswain.api.errors import ApiError
from coxswain.base.errors import ConfigurationError
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.grpcwire import batch_number, decode_answers, encode_batch, encode_call
from coxswain.client.interface import Answer, Answers, Call, EventType, RawList, WatchEvent
from coxswain.client.kubeconfig import Config

if TYPE_CHECKING:
    from coxswain.client.rest import RestTransport

#: Calls and bytes in one batch; what is more goes in the next one, so that answers keep flowing.
_BATCH_CALLS = 256
_BATCH_BYTES = 4 << 20
_MESSAGE_BYTES = 64 << 20


class GrpcTransport:
    """A ``Transport`` over gRPC. ``timeout`` is seconds for one batch of calls; for ``gather`` see the module's text."""

    def __init__(self, config: Config, *, timeout: float = 60.0, gather: float = 0.0) -> None:
        if config.insecure:
            raise ConfigurationError("gRPC cannot skip TLS verification: give the kubeconfig the authority")
        self._config = config
        self._timeout = timeout
        self._gather = gather
        self._channel: Any = None
        self._exchange: _Exchange | None = None
        self._waiting: list[_Asked] = []
        #: What waits is sent then at the latest; None: in this turn of the loop, or nothing waits.
        self._held: asyncio.TimerHandle | None = None
        self._rest: RestTransport | None = None
        self._elder: GrpcTransport | None = None

    def sibling(self) -> GrpcTransport:
        """A transport over the same connection that has a token of its own (``use_token``); it ends with this one."""
        config = replace(self._config, token="", token_file="")
        found = GrpcTransport(config, timeout=self._timeout, gather=self._gather)
        found._elder = self
        return found

    def use_token(self, token: str) -> None:
        """Carry ``token`` from the next call on; calls under way and watches end as they began."""
        self._config = replace(self._config, token=token, token_file="")
        if self._exchange is not None:
            self._exchange.retire()
            self._exchange = None
        if self._rest is not None:
            self._rest.use_token(token)

    # ---- Transport

    async def call(self, call: Call) -> Answer:
        return (await self._ask([call]))[0]

    async def batch(self, calls: Sequence[Call]) -> Answers:
        parts = [(part, self._ask(part)) for part in _parts(calls)]
        answers: Answers = []
        for part, future in parts:
            try:
                answers += await future
            except ApiError as error:
                answers += [Answer(error.code, orjson.dumps(error.status()))] * len(part)
        return answers

    async def list(self, call: Call) -> RawList:
        from coxswain._generated import messages

        found = RawList([], "")
        stream = self._open(messages.LIST, messages.ListChunk)
        with _translated(self._config.grpc_address):
            async for chunk in stream(encode_call(call), timeout=self._timeout, metadata=self._metadata()):
                if chunk.HasField("failure"):
                    raise errors.from_status(orjson.loads(chunk.failure.body))
                found.items.extend(chunk.items)
                found.resource_version = chunk.resource_version
                found.continue_ = getattr(chunk, "continue")
                found.remaining = chunk.remaining
        if not found.resource_version:
            raise errors.ServiceUnavailable(f"{self._config.grpc_address}: the list broke off")
        return found

    @asynccontextmanager
    async def watch(self, call: Call) -> AsyncIterator[AsyncIterator[Sequence[WatchEvent]]]:
        from coxswain._generated import messages

        open_stream = self._open(messages.WATCH, messages.WatchBatch)
        stream = open_stream(encode_call(call), metadata=self._metadata())
        events = self._events(stream)
        try:
            yield events
        finally:
            await events.aclose()
            stream.cancel()

    async def stream(self, call: Call) -> AsyncIterator[bytes]:
        if self._rest is None:
            from coxswain.client.rest import RestTransport

            config = self._config
            if self._elder is not None:  # the token says who asks; over REST a certificate would
                config = replace(config, certificate=b"", key=b"")
            self._rest = RestTransport(config)
        return await self._rest.stream(call)

    async def close(self) -> None:
        if self._held is not None:
            self._held.cancel()
            self._held = None
            waiting, self._waiting = self._waiting, []
            _fail(waiting, errors.ServiceUnavailable("the client was closed"))
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            await exchange.close()
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        if self._rest is not None:
            await self._rest.close()

    # ---- inside

    def _ask(self, calls: Sequence[Call]) -> asyncio.Future[Answers]:
        """``calls`` are few and small enough for one message; all are answered together."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answers] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append(_Asked(calls, future))
        return future

    def _flush(self) -> None:
        exchange = self._exchange
        if self._gather and exchange is not None and exchange.awaits_answers:
            loop, due = asyncio.get_running_loop(), exchange.sent_at + self._gather
            if loop.time() < due:
                self._held = loop.call_at(due, self._send)
                return
        self._send()

    def _answered(self) -> None:
        if self._held is not None:
            self._held.cancel()
            self._held = None
            # In two turns: those who were answered now ask for their next first.
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._send)

    def _send(self) -> None:
        self._held = None
        waiting, self._waiting = self._waiting, []
        try:
            exchange = self._exchange
            if exchange is None or exchange.broken:
                exchange = self._exchange = self._new_exchange()
        except ConfigurationError as error:
            _fail(waiting, errors.ServiceUnavailable(str(error)))
            return
        for message in _messages(waiting):
            exchange.send(message)

    def _new_exchange(self) -> _Exchange:
        from coxswain._generated import messages

        opener = self._connected().stream_stream(messages.EXCHANGE)
        stream = opener(metadata=self._metadata())
        return _Exchange(stream, self._timeout, self._config.grpc_address, self._answered)

    def _open(self, method: str, answer: Any) -> Any:
        return self._connected().unary_stream(method, response_deserializer=answer.FromString)

    def _connected(self) -> Any:
        if self._elder is not None:
            return self._elder._connected()
        if self._channel is None:
            import grpc
            import grpc.aio

            config = self._config
            credentials = grpc.ssl_channel_credentials(
                config.authority or None, config.key or None, config.certificate or None
            )
            options: list[tuple[str, Any]] = [
                ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MESSAGE_BYTES),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 2000),
                ("grpc.keepalive_time_ms", 30000),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.primary_user_agent", config.agent),
            ]
            if config.server_name:
                options.append(("grpc.ssl_target_name_override", config.server_name))
            self._channel = grpc.aio.secure_channel(config.grpc_address, credentials, options=options)
        return self._channel

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = self._config.token
        if self._config.token_file:
            try:
                with open(self._config.token_file) as file:
                    token = file.read().strip()
            except OSError as error:
                raise errors.Unauthorized(
                    f"token file {self._config.token_file} cannot be read: {error.strerror}"
                ) from None
        return (("authorization", f"Bearer {token}"),) if token else ()

    async def _events(self, stream: Any) -> AsyncGenerator[Sequence[WatchEvent], None]:
        from coxswain._generated.messages import EVENT_NAMES

        with _translated(self._config.grpc_address):
            async for batch in stream:
                events = [
                    WatchEvent(cast("EventType", EVENT_NAMES[event.type]), event.object)
                    for event in batch.events
                ]
                if events and events[-1].type == "ERROR":
                    if len(events) > 1:
                        yield events[:-1]
                    raise errors.from_status(orjson.loads(events[-1].raw))
                yield events


class _Exchange:
    """One Exchange stream: a writer, a reader, and the futures in between."""

    def __init__(self, stream: Any, timeout: float, address: str, answered: Callable[[], None]) -> None:
        """``answered`` is called after each message that was answered."""
        self._stream = stream
        self._answered = answered
        self.sent_at = 0.0
        self._timeout = timeout
        self._address = address
        self._ids = itertools.count(1)
        self._pending: dict[int, tuple[list[_Asked], asyncio.TimerHandle]] = {}
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self.broken = False
        self._retired = False
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._run(self._write()), name="grpc exchange writer"),
            loop.create_task(self._run(self._read()), name="grpc exchange reader"),
        ]

    @property
    def awaits_answers(self) -> bool:
        """Whether a message is unanswered, and may still be."""
        return bool(self._pending) and not self.broken

    def send(self, asked: list[_Asked]) -> None:
        """Send calls as one batch; their futures get the answers."""
        number, loop = next(self._ids), asyncio.get_running_loop()
        self.sent_at = loop.time()
        timer = loop.call_later(self._timeout, self._late, number)
        self._pending[number] = (asked, timer)
        self._outgoing.put_nowait(encode_batch(number, [call for one in asked for call in one.calls]))

    def retire(self) -> None:
        """End the stream as soon as everything is answered; nothing more is sent."""
        self._retired = True
        self._end_if_retired()

    def _end_if_retired(self) -> None:
        if self._retired and not self._pending:
            self._break(errors.ServiceUnavailable("the stream was replaced"))

    async def close(self) -> None:
        """End the stream; what is unanswered fails."""
        self._break(errors.ServiceUnavailable("the client was closed"))
        for task in self._tasks:
            await cancel_and_wait(task)

    async def _run(self, work: Any) -> None:
        try:
            with _translated(self._address):
                await work
            self._break(errors.ServiceUnavailable(f"{self._address} ended the stream"))
        except ApiError as error:
            self._break(error)

    async def _write(self) -> None:
        while True:
            await self._stream.write(await self._outgoing.get())

    async def _read(self) -> None:
        async for data in self._stream:
            number, at = batch_number(data)
            asked, timer = self._pending.pop(number, ([], None))
            if timer is not None:
                timer.cancel()
            answers = decode_answers(data, at, sum(len(one.calls) for one in asked))
            start = 0
            for one in asked:
                end = start + len(one.calls)
                if end <= len(answers) and not one.future.done():
                    one.future.set_result(answers[start:end])
                start = end
            _fail(asked, errors.InternalError(f"{self._address} left calls of a batch unanswered"))
            self._answered()
            self._end_if_retired()

    def _late(self, number: int) -> None:
        asked, _ = self._pending.pop(number)
        _fail(asked, errors.Timeout(f"{self._address} did not answer within {self._timeout:g} s"))

    def _break(self, error: ApiError) -> None:
        self.broken = True
        pending, self._pending = self._pending, {}
        for asked, timer in pending.values():
            timer.cancel()
            _fail(asked, error)
        self._stream.cancel()
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()


class _Asked(NamedTuple):
    """Calls that travel in one message, and who waits for their answers."""

    calls: Sequence[Call]
    future: asyncio.Future[Answers]


def _fail(asked: list[_Asked], error: ApiError) -> None:
    for one in asked:
        if not one.future.done():
            one.future.set_exception(type(error)(error.message, details=error.details))


def _parts(calls: Sequence[Call]) -> list[list[Call]]:
    """``calls`` in order, cut where a message would become too large."""
    parts: list[list[Call]] = []
    size = 0
    for call in calls:
        length = len(call.body)
        if not parts or len(parts[-1]) >= _BATCH_CALLS or size + length > _BATCH_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(call)
        size += length
    return parts


def _messages(waiting: list[_Asked]) -> list[list[_Asked]]:
    """What was asked for at one moment, in order, as few messages as it fits in."""
    found: list[list[_Asked]] = []
    count = size = 0
    for asked in waiting:
        length = sum(len(call.body) for call in asked.calls)
        if not found or count + len(asked.calls) > _BATCH_CALLS or size + length > _BATCH_BYTES:
            found.append([])
            count = size = 0
        found[-1].append(asked)
        count += len(asked.calls)
        size += length
    return found


@contextlib.contextmanager
def _translated(address: str) -> Any:
    """gRPC's failures as ``ApiError``s."""
    import grpc
    import grpc.aio

    try:
        yield
    except grpc.aio.UsageError as error:
        raise errors.ServiceUnavailable(f"{address}: {error}") from None
    except grpc.RpcError as error:
        code, text = error.code(), f"{address}: {error.details()}"
        if code == grpc.StatusCode.UNAUTHENTICATED:
            raise errors.Unauthorized() from None
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            raise errors.Timeout(text) from None
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise errors.RequestTooLarge(text) from None
        raise errors.ServiceUnavailable(text) from None
