"""Audits what comes through doors without HTTP: gRPC, and components in this process.

    backend = AuditedBackend(pipeline, authorize, auditor, Origin(("10.0.0.5",), "cox/1"))

It offers what the pipeline offers and stands before it only where there is an audit policy; without one these doors
lead to the pipeline itself. The events are those of the same request over REST: the path it would have there, the
address and agent of whoever opened the stream. Requests of a component in this process come from loopback.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlencode

import orjson

from coxswain.api import errors
from coxswain.api.names import NAMESPACES
from coxswain.apiserver.audit.annotations import CURRENT
from coxswain.apiserver.audit.record import Record
from coxswain.apiserver.authz.attributes import Attributes, Decision
from coxswain.apiserver.pending import decided
from coxswain.apiserver.pipeline import SELECTIVE, selective
from coxswain.apiserver.request import Reply
from coxswain.client.interface import Answer, Backend, Call, RawList, UserInfo, WatchEvent, WatchStream
from coxswain.client.rest import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coxswain.apiserver.audit.auditor import Auditor

_LOOPBACK = ("127.0.0.1",)


class Origin(NamedTuple):
    """Where requests come from."""

    addresses: Sequence[str] = _LOOPBACK
    agent: str = ""


class Doing(Backend, Protocol):
    """The pipeline, as far as it is needed here."""

    async def exchange(self, calls: Sequence[Call], user: UserInfo) -> Sequence[Answer]: ...


class AuditedBackend:
    """See the module's text."""

    def __init__(
        self,
        backend: Doing,
        authorize: Callable[[Attributes], Decision],
        auditor: Auditor,
        origin: Origin | None = None,
    ) -> None:
        self._backend = backend
        self._authorize = authorize
        self._auditor = auditor
        self._origin = origin or Origin()

    def seen_from(self, origin: Origin) -> AuditedBackend:
        """The same, for requests from elsewhere."""
        return AuditedBackend(self._backend, self._authorize, self._auditor, origin)

    def unauthenticated(self, path: str, ways: Sequence[str]) -> None:
        """Nobody we know opened a stream at ``path``; they tried ``ways`` to say who they are."""
        self._auditor.unauthenticated_stream(path, self._origin.addresses, self._origin.agent, ways)

    async def call(self, call: Call, user: UserInfo) -> Answer:
        """As the pipeline's."""
        record = await self._receive(call, user)
        if record is None:
            return await self._backend.call(call, user)
        with _annotating(record):
            answer = await self._backend.call(call, user)
        record.completed(answer.code, Reply(answer.code, answer.body))
        return answer

    async def exchange(self, calls: Sequence[Call], user: UserInfo) -> list[Answer]:
        """As the pipeline's: side by side, so that their writes share a commit."""
        return list(await asyncio.gather(*(self.call(call, user) for call in calls)))

    async def list_raw(self, call: Call, user: UserInfo) -> RawList:
        """As the pipeline's. Raises ``ApiError``."""
        record = await self._receive(call, user)
        if record is None:
            return await self._backend.list_raw(call, user)
        with _failures(record):
            found = await self._backend.list_raw(call, user)
        record.completed(200, Reply(200, _shown(found) if record.level == "RequestResponse" else b""))
        return found

    def watch_events(self, call: Call, user: UserInfo) -> WatchStream:
        """As the pipeline's."""
        return self._watch(call, user)

    @asynccontextmanager
    async def _watch(self, call: Call, user: UserInfo) -> AsyncIterator[AsyncIterator[Sequence[WatchEvent]]]:
        record = await self._receive(call, user)
        stream = self._backend.watch_events(call, user)
        if record is None:
            async with stream as events:
                yield events
            return
        with _failures(record):
            events = await stream.__aenter__()
        record.started(200)
        try:
            yield events
        finally:
            await stream.__aexit__(None, None, None)
            record.ended()

    async def stream(self, call: Call, user: UserInfo) -> AsyncIterator[bytes]:
        """As the pipeline's. Raises ``ApiError``."""
        record = await self._receive(call, user)
        if record is None:
            return await self._backend.stream(call, user)
        with _failures(record):
            body = await self._backend.stream(call, user)
        record.started(200)

        async def followed() -> AsyncIterator[bytes]:
            try:
                async for chunk in body:
                    yield chunk
            finally:
                record.ended()

        return followed()

    async def _receive(self, call: Call, user: UserInfo) -> Record | None:
        attributes = attributes_of(call, user)
        path = path_of(call)
        uri = f"{path}?{urlencode(call.query)}" if call.query else path
        body = (call.body, call.content_type)
        agent = self._origin.agent or user.agent
        record = self._auditor.receive_call(attributes, uri, self._origin.addresses, agent, body)
        if record is not None:
            record.decided(await decided(lambda: self._authorize(attributes)))
        return record


def attributes_of(call: Call, user: UserInfo) -> Attributes:
    """A call as policies and authorizers see it."""
    group, version, resource = call.resource
    namespace = call.name if call.resource == NAMESPACES and call.name else call.namespace
    if call.verb in SELECTIVE and call.query:
        return selective(call, user, namespace)
    return Attributes(user, call.verb, group, version, resource, call.subresource, namespace, call.name)


@contextmanager
def _annotating(record: Record) -> Iterator[None]:
    token = CURRENT.set(record.annotations)
    try:
        yield
    finally:
        CURRENT.reset(token)


@contextmanager
def _failures(record: Record) -> Iterator[None]:
    """Annotate, and end the record where the request fails."""
    try:
        with _annotating(record):
            yield
    except errors.ApiError as error:
        record.completed(error.code, Reply(error.code, orjson.dumps(error.status())))
        raise


def _shown(found: RawList) -> bytes:
    meta = {"resourceVersion": found.resource_version, "continue": found.continue_}
    return b'{"metadata":%b,"items":[%b]}' % (orjson.dumps(meta), b",".join(found.items))
