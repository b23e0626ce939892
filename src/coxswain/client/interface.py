"""The client's contract: how components speak with an API server, whatever lies between.

``Client`` has Kubernetes' verbs over plain dicts. Below it lies a ``Transport``, which moves ``Call``s
(a request in REST's terms, with JSON bytes) and brings ``Answer``s; there are three. In a process that
also runs the API server, the transport hands the ``Call`` to a ``Backend``, which the API server's
pipeline implements: the same authentication, authorization, admission and validation as over the wire.

Guarantees:
- Every failure is an ``ApiError`` (a lost connection is ``ServiceUnavailable``, a deadline ``Timeout``).
- Objects handed out are the caller's own: it may change them.
- ``batch`` keeps the order of calls and answers each on its own: one may fail while others succeed.
- A watch delivers events in revision order, in batches; it ends normally when the server ends it, raises
  ``Expired`` when its revision is gone, and must be closed (it is an async context manager).
- Informers own relisting and reconnecting; components use those and never ``watch`` by hand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

import orjson

from coxswain.api import errors
from coxswain.api.names import GVR, Object

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
Propagation = Literal["Orphan", "Background", "Foreground"]

JSON = "application/json"
#: ``Call.accept`` of who wants to know the code of a success only: our own server then sends no body.
NOTHING = "application/vnd.coxswain.nothing"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(slots=True)
class Call:
    """A request in REST's terms. ``query`` has REST's parameter names (labelSelector, dryRun, ...)."""

    verb: Verb
    resource: GVR
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = JSON
    accept: str = JSON


@dataclass(slots=True)
class Answer:
    """What came back: an HTTP status code and the JSON bytes of the object or Status."""

    code: int
    body: bytes

    def object(self) -> Object:
        """The object, freshly decoded. Raises the ``ApiError`` of a failure."""
        decoded: Object = orjson.loads(self.body)
        if self.code >= 400:
            raise errors.from_status(decoded)
        return decoded


@dataclass(slots=True)
class WatchEvent:
    """One change. ``raw`` is the object's JSON as stored; ``object`` decodes it (every time anew)."""

    type: EventType
    raw: bytes

    @property
    def object(self) -> Object:
        """The object, freshly decoded: the caller's own."""
        decoded: Object = orjson.loads(self.raw)
        return decoded


@dataclass(slots=True)
class RawList:
    """A list as bytes: ``items`` in key order; ``continue_`` is empty on the last page."""

    items: list[bytes]
    resource_version: str
    continue_: str = ""
    remaining: int = 0


#: What a batch answers: one for each call, in order.
Answers = list[Answer]

#: A running watch: iterate over batches of events; leaving the context closes it.
WatchStream = AbstractAsyncContextManager[AsyncIterator[Sequence[WatchEvent]]]


class Transport(Protocol):
    """Moves calls; knows nothing of kinds. Implemented in-process, over gRPC and over REST."""

    async def call(self, call: Call) -> Answer:
        """One request and its answer; failures of the server are answers, of the wire ``ApiError``s."""
        ...

    async def batch(self, calls: Sequence[Call]) -> Answers:
        """Many requests at once; answers in the same order."""
        ...

    async def list(self, call: Call) -> RawList:
        """One page of a list. Raises ``ApiError``."""
        ...

    def watch(self, call: Call) -> WatchStream:
        """Events from ``call.query["resourceVersion"]`` on."""
        ...

    async def stream(self, call: Call) -> AsyncIterator[bytes]:
        """The body of a long answer (logs) as it arrives."""
        ...

    async def close(self) -> None:
        """Close connections. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class UserInfo:
    """Who asks, as authentication found out."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: How the asking program calls itself, where no header of a request says so: the manager of the fields it writes.
    agent: str = field(default="", compare=False)


class Backend(Protocol):
    """What an API server in the same process offers to the in-process transport.

    ``user`` was authenticated by whoever composed the process; authorization and admission still happen.
    """

    async def call(self, call: Call, user: UserInfo) -> Answer: ...

    async def list_raw(self, call: Call, user: UserInfo) -> RawList: ...

    def watch_events(self, call: Call, user: UserInfo) -> WatchStream: ...

    async def stream(self, call: Call, user: UserInfo) -> AsyncIterator[bytes]: ...


class Client(Protocol):
    """Kubernetes' verbs over plain dicts; see the module's text for the guarantees.

    ``namespace`` is empty for cluster-scoped resources and for "all namespaces".
    """

    async def get(
        self, resource: GVR, name: str, namespace: str = "", *, subresource: str = ""
    ) -> Object: ...

    async def list(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_: str = "",
    ) -> RawList:
        """One page (``limit`` 0: everything)."""
        ...

    def watch(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        bookmarks: bool = True,
        timeout_seconds: int = 0,
    ) -> WatchStream: ...

    async def create(
        self, resource: GVR, obj: Object, namespace: str = "", *, name: str = "", subresource: str = ""
    ) -> Object:
        """``namespace`` defaults to the object's; ``name`` is needed for subresources (bindings, token)."""
        ...

    async def update(self, resource: GVR, obj: Object, *, subresource: str = "") -> Object:
        """Replace by ``metadata`` name, namespace and (where set) resourceVersion."""
        ...

    async def patch(
        self,
        resource: GVR,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        kind: str = MERGE_PATCH,
        subresource: str = "",
    ) -> Object:
        """``kind`` is the patch's content type."""
        ...

    async def delete(
        self,
        resource: GVR,
        name: str,
        namespace: str = "",
        *,
        grace_period_seconds: int | None = None,
        propagation: Propagation | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        """``uid`` and ``resource_version`` are preconditions."""
        ...

    async def delete_collection(
        self, resource: GVR, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> None: ...

    async def batch(self, calls: Sequence[Call]) -> Answers:
        """Many writes in one message; use ``Answer.object()`` to get each result or its error."""
        ...

    async def stream(self, call: Call) -> AsyncIterator[bytes]: ...

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: object) -> None: ...
