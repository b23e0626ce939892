"""A request on its way through the pipeline, its answer, and what the verbs work with.

    Call (REST's terms) -> Context (entry looked up, options readable) -> verb -> Reply

``Core`` is the set of parts that every verb may need; ``pipeline.Pipeline`` owns one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from coxswain.api import errors, managedfields
from coxswain.api.names import GVR, Object
from coxswain.apiserver.admission.request import Request as AdmissionRequest
from coxswain.apiserver.audit.annotations import CURRENT
from coxswain.apiserver.authz.attributes import Attributes, Decision
from coxswain.apiserver.moulds import Moulds
from coxswain.apiserver.negotiation import JSON, PLAIN, Representation
from coxswain.apiserver.registry import Entry, Registry
from coxswain.apiserver.replicas import ReplicaMemo
from coxswain.apiserver.settings import WatchSettings
from coxswain.apiserver.storage import Storage
from coxswain.apiserver.watchcache import Pending
from coxswain.client.interface import UserInfo
from coxswain.store.interface import Op


@dataclass(slots=True)
class Context:
    """One request. ``body`` is in ``content_type``; ``warnings`` collects what the client should be told."""

    entry: Entry
    verb: str
    user: UserInfo
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = JSON
    representation: Representation = PLAIN
    user_agent: str = ""
    pretty: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def audit(self) -> dict[str, str] | None:
        """Annotations of the request's audit events, to be added to; None where it is not audited."""
        return CURRENT.get()

    @property
    def manager(self) -> str:
        """The field manager: as asked for, or the first word of the user agent."""
        return managedfields.manager_of(self.query.get("fieldManager") or "", self.user_agent)


@dataclass(slots=True)
class Reply:
    """An answer. ``body`` is in ``content_type``."""

    code: int
    body: bytes
    content_type: str = JSON
    warnings: list[str] = field(default_factory=list)
    #: Tells one state of a document from another, for clients that keep it.
    etag: str = ""


@dataclass(slots=True)
class Write:
    """A request of which nothing is left to do but its commit: many of them can be committed together."""

    op: Op
    pending: Pending
    #: The answer once that is done.
    reply: Callable[[], Reply]
    #: The whole request again, when the object turns out to be at another revision.
    again: Callable[[], Coroutine[Any, Any, Reply]]


class Reservation(Protocol):
    """Addresses and ports taken for a Service that is about to be written."""

    def commit(self) -> None: ...

    def rollback(self) -> None: ...


class Allocator(Protocol):
    """Gives Services their addresses and node ports (changes the Service in place)."""

    def assign(self, service: Object, old: Object | None) -> Reservation: ...

    def release(self, service: Object) -> None: ...

    def repair(self) -> tuple[int, int]: ...


class Admission(Protocol):
    """The admission chain. What it returns has to be awaited, where that is not None."""

    #: Changes with whatever may change its answer to a request that ``repeats``.
    state: int

    def repeats(self, request: AdmissionRequest) -> bool: ...

    def mutate(self, request: AdmissionRequest) -> Awaitable[None] | None: ...

    def validate(self, request: AdmissionRequest) -> Awaitable[None] | None: ...

    async def close(self) -> None: ...


class Authorizer(Protocol):
    """Decides who may do what."""

    def authorize(self, attributes: Attributes) -> Decision: ...


class Reviews(Protocol):
    """Answers token and access reviews."""

    def handles(self, resource: GVR) -> bool: ...

    def handle(self, resource: GVR, obj: Object, user: UserInfo, namespace: str = "") -> Object: ...


class TokenMaker(Protocol):
    """Makes service-account tokens: the TokenRequest with its status filled in."""

    def create(self, account: Object, request: Object, warnings: list[str] | None = None) -> Object: ...


@dataclass(slots=True)
class Core:
    """What the verbs work with. Parts that a server goes without are None."""

    storage: Storage
    registry: Registry
    admission: Admission
    authorizer: Authorizer
    allocator: Allocator | None = None
    reviews: Reviews | None = None
    tokens: TokenMaker | None = None
    watch: WatchSettings = field(default_factory=WatchSettings)
    replicas: ReplicaMemo = field(default_factory=ReplicaMemo)
    moulds: Moulds = field(default_factory=Moulds)


def is_service(gvr: GVR) -> bool:
    """Whether objects of ``gvr`` get addresses from the allocator."""
    return gvr.resource == "services" and gvr.group == ""


def not_served() -> errors.NotFound:
    """The answer to a path that leads nowhere."""
    return errors.NotFound("the server could not find the requested resource", details={})


def wrong_method() -> errors.MethodNotAllowed:
    """The answer to a method that the path does not take."""
    return errors.MethodNotAllowed(
        "the server does not allow this method on the requested resource", details={}
    )
