"""The request pipeline: every request passes here, whichever door it came through.

    authorize -> entry -> verb (or subresource) -> Reply
                            decode -> default -> mutating admission -> strategy -> validation
                            -> validating admission -> commit -> watch cache -> answer

The doors (REST, gRPC, in-process) authenticate and translate; they know no kinds. A ``Pipeline`` is also the
``Backend`` of the in-process transport. Failures are ``ApiError``s; an error of our own is logged and
answered as 500, it never escapes.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from coxswain.api import errors
from coxswain.api.names import BINDINGS, EVENTS, GVR, NAMESPACES
from coxswain.apiserver import metrics
from coxswain.apiserver.authz.attributes import Attributes, forbidden
from coxswain.apiserver.authz.selectors import name_demanded
from coxswain.apiserver.conversion import ConversionPending
from coxswain.apiserver.failing import internal as internal
from coxswain.apiserver.failing import refusal
from coxswain.apiserver.handlers import binding, components, doors, events, eviction, logs, scale, token
from coxswain.apiserver.kubelet_client import KubeletClient, StreamReply
from coxswain.apiserver.negotiation import negotiate, without_tables
from coxswain.apiserver.registry import Entry
from coxswain.apiserver.replicas import may_repeat
from coxswain.apiserver.request import Context, Core, Reply, Write, not_served, wrong_method
from coxswain.apiserver.together import Together
from coxswain.apiserver.verbs import create, delete, patch, reading, update, watching
from coxswain.apiserver.verbs.watching import EventStream, WatchSession
from coxswain.base import clock
from coxswain.client.interface import Answer, Call, RawList, UserInfo, WatchStream

log = logging.getLogger(__name__)

Verb = Callable[[Core, Context], Awaitable[Reply]]

_MAIN: dict[str, Verb] = {
    "get": reading.get,
    "list": reading.list_objects,
    "create": create.create,
    "update": update.update,
    "patch": patch.patch_object,
    "delete": delete.delete,
    "deletecollection": delete.delete_collection,
}
_STATUS: dict[str, Verb] = {
    "get": reading.get,
    "update": update.update_status,
    "patch": patch.patch_status,
}
_SCALE: dict[str, Verb] = {"get": scale.get, "update": scale.update, "patch": scale.patch_scale}
_CREATES: dict[str, Verb] = {
    "binding": binding.create,
    "eviction": eviction.create,
    "token": token.create_token,
}
#: Verbs that selectors narrow, for authorization, too.
SELECTIVE = frozenset({"list", "watch", "deletecollection"})
#: How often a request waits for a webhook that converts what it meets.
_CONVERSIONS = 16
#: Verbs that need a namespace where the resource has them.
_IN_NAMESPACE = frozenset({"create", "get", "update", "patch", "delete", "deletecollection"})


class Elsewhere(Protocol):
    """The aggregation layer, as components in this process need it."""

    @property
    def remotes(self) -> Mapping[tuple[str, str], object]:
        """What is known of each group version that another API server serves."""
        ...

    async def ask(self, call: Call, user: UserInfo) -> StreamReply: ...

    async def ask_list(self, call: Call, user: UserInfo) -> RawList: ...


class Pipeline:
    """See the module's text."""

    def __init__(self, core: Core, *, kubelets: KubeletClient | None = None) -> None:
        self.core = core
        self.kubelets = kubelets
        #: Groups that other API servers serve, for components in this process (REST passes requests on itself).
        self.elsewhere: Elsewhere | None = None
        self._verbs: dict[tuple[Entry, str, str], Verb] = {}

    # -- what the doors call

    async def handle(
        self, call: Call, user: UserInfo, *, user_agent: str = "", pretty: bool = False
    ) -> Reply | StreamReply:
        """Answer one request (no watches). Raises ``ApiError``."""
        if self.elsewhere is not None and call.resource[:2] in self.elsewhere.remotes:
            return await self.elsewhere.ask(call, user)
        ctx = self.context(call, user, user_agent, pretty)
        if ctx.subresource and ctx.subresource in logs.SUBRESOURCES:
            return await logs.open_stream(self.core, self.kubelets, ctx)
        verb = self._verbs.get((ctx.entry, ctx.subresource, ctx.verb))
        if verb is None:
            verb = self._find(ctx)
            self._verbs[ctx.entry, ctx.subresource, ctx.verb] = verb
        try:
            return await verb(self.core, ctx)
        except ConversionPending as pending:
            return await self._once_converted(verb, ctx, pending)

    async def _once_converted(self, verb: Verb, ctx: Context, pending: ConversionPending) -> Reply:
        """Do a request again when a webhook has converted what it met."""
        for _ in range(_CONVERSIONS):
            await pending.answer()
            ctx.warnings.clear()
            try:
                return await verb(self.core, ctx)
            except ConversionPending as again:
                pending = again
        raise errors.InternalError("the object changes faster than its versions can be converted")

    def begin(
        self, call: Call, user: UserInfo, *, user_agent: str = "", pretty: bool = False
    ) -> Write | None:
        """A create of which nothing is left to wait for but its commit; None for all else: ``handle`` it.

        Raises ``ApiError``, as ``handle`` would.
        """
        if call.verb != "create" or call.subresource or not may_repeat(call.body):
            return None
        if self.elsewhere is not None and call.resource[:2] in self.elsewhere.remotes:
            return None
        ctx = self.context(call, user, user_agent, pretty)
        if self._verbs.get((ctx.entry, "", "create")) is not create.create:
            return None
        return create.begin(self.core, ctx)

    def answer_now(
        self, call: Call, user: UserInfo, *, user_agent: str = "", pretty: bool = False
    ) -> Reply | None:
        """Answer what the cache can answer without waiting; None for everything else. Raises ``ApiError``."""
        storage = self.core.storage
        if call.verb != "get" or call.subresource or call.query.get("resourceVersion"):
            return None
        if storage.store.revision > storage.revision:
            return None
        ctx = self.context(call, user, user_agent, pretty)
        if ctx.entry.cache is None or "get" not in ctx.entry.resource.verbs:
            return None
        try:
            return reading.cached(ctx)
        except ConversionPending:
            return None

    async def open_watch(
        self, call: Call, user: UserInfo, *, user_agent: str = "", queue_limit: int = 0
    ) -> WatchSession:
        """Start a watch. Raises ``ApiError``."""
        ctx = self.context(call, user, user_agent, False)
        if ctx.entry.cache is None or ctx.subresource:
            raise wrong_method()
        limit = queue_limit or self.core.watch.queue_events
        return await watching.open_watch(self.core, ctx, queue_limit=limit)

    def authorize(self, attributes: Attributes) -> None:
        """Raises ``Forbidden`` unless it is allowed."""
        decision = self.core.authorizer.authorize(attributes)
        if not decision.allowed:
            raise forbidden(attributes, decision.reason)

    def context(self, call: Call, user: UserInfo, user_agent: str, pretty: bool) -> Context:
        """The request, which is allowed and for something that is served. Raises ``ApiError``."""
        gvr = call.resource
        # The namespace of a namespace is itself, as far as permissions go.
        namespace = call.name if gvr == NAMESPACES and call.name else call.namespace
        self.authorize(
            Attributes(
                user,
                call.verb,
                gvr.group,
                gvr.version,
                gvr.resource,
                call.subresource,
                namespace,
                call.name,
            )
            if call.verb not in SELECTIVE or not call.query
            else selective(call, user, namespace)
        )
        entry = self.core.registry.get(gvr)
        if entry is None:
            raise not_served()
        _check_place(entry, call)
        representation = negotiate(call.accept)
        if (
            representation.shape == "Table"
            and call.verb == "create"
            and (call.subresource or not entry.cache)
        ):
            # Reviews, bindings, evictions and tokens have no table.
            representation = negotiate(without_tables(call.accept))
        ctx = Context(
            entry,
            call.verb,
            user,
            call.namespace if entry.namespaced else "",
            call.name,
            call.subresource,
            call.query,
            call.body,
            call.content_type,
            representation,
            user_agent,
            pretty,
        )
        if entry.deprecation:
            ctx.warnings.append(entry.deprecation)
            metrics.deprecated(gvr, ctx.subresource)
        return ctx

    def _find(self, ctx: Context) -> Verb:
        """The function that serves this kind of request. Raises ``NotFound`` and ``MethodNotAllowed``."""
        entry, verb = ctx.entry, ctx.verb
        if ctx.subresource:
            return _subresource_verb(entry, ctx.subresource, verb)
        if verb not in entry.resource.verbs:
            # What is never stored has no path of one object at all.
            raise not_served() if entry.cache is None and ctx.name else wrong_method()
        if entry.cache is None:
            if entry.gvr == BINDINGS:
                return binding.create
            return token.review if verb == "create" else components.read
        if entry.gvr == EVENTS and verb == "create":
            return events.create
        return _MAIN[verb]

    # -- Backend

    async def call(self, call: Call, user: UserInfo) -> Answer:
        """One request of a component in this process."""
        served = self.served(call)
        try:
            reply = await self.handle(call, user, user_agent=user.agent)
        except Exception as error:
            return refusal(error, call, served)
        served.count(reply.code)
        if isinstance(reply, StreamReply):
            return Answer(reply.code, b"".join([chunk async for chunk in reply.body]))
        return Answer(reply.code, reply.body)

    def served(self, call: Call) -> metrics.Served:
        """Where a call is counted."""
        return metrics.of(
            call.verb,
            call.resource,
            call.subresource,
            call.namespace,
            call.name,
            "dryRun" in call.query,
            self.core.registry.serves,
        )

    async def exchange(self, calls: Sequence[Call], user: UserInfo) -> list[Answer]:
        """Many requests at one time, so that their writes share a commit; answers in the same order."""
        if len(calls) == 1:
            return [await self.call(calls[0], user)]
        return await Together(self, user).answer(calls)

    async def list_raw(self, call: Call, user: UserInfo) -> RawList:
        """One page of a list as bytes. Raises ``ApiError``."""
        if self.elsewhere is not None and call.resource[:2] in self.elsewhere.remotes:
            return await self.elsewhere.ask_list(call, user)
        ctx = self.context(call, user, "", False)
        if ctx.entry.cache is None:
            raise wrong_method()
        return await reading.list_raw(self.core, ctx)

    def watch_events(self, call: Call, user: UserInfo) -> WatchStream:
        """A watch as batches of events."""
        return EventStream(lambda: self.open_watch(call, user))

    async def stream(self, call: Call, user: UserInfo) -> AsyncIterator[bytes]:
        """The body of a long answer. Raises ``ApiError``."""
        reply = await self.handle(call, user)
        if isinstance(reply, StreamReply):
            return reply.body
        body = reply.body

        async def once() -> AsyncIterator[bytes]:
            yield body

        return once()

    # -- housekeeping

    def forget(self, resources: Iterable[GVR]) -> None:
        """Drop what is remembered of entries that are served no longer."""
        gone = set(resources)
        self._verbs = {key: verb for key, verb in self._verbs.items() if key[0].gvr not in gone}

    async def send_bookmarks(self) -> None:
        """Send bookmarks regularly, until cancelled."""
        while True:
            await clock.sleep(self.core.watch.bookmark_interval)
            watching.send_bookmarks(self.core, list(self.core.registry))


def selective(call: Call, user: UserInfo, namespace: str) -> Attributes:
    """A request that selectors may narrow; one that fixes metadata.name is for that name."""
    group, version, resource = call.resource
    fields, labels = call.query.get("fieldSelector") or "", call.query.get("labelSelector") or ""
    return Attributes(
        user,
        call.verb,
        group,
        version,
        resource,
        call.subresource,
        namespace,
        call.name or name_demanded(fields),
        field_selector=fields,
        label_selector=labels,
    )


def _check_place(entry: Entry, call: Call) -> None:
    if entry.namespaced:
        if not call.namespace and call.verb in _IN_NAMESPACE:
            raise not_served() if call.name else wrong_method()
    elif call.namespace:
        raise not_served()


def _subresource_verb(entry: Entry, name: str, verb: str) -> Verb:
    served = entry.resource.subresource(name)
    if served is None:
        raise not_served()
    if verb not in served.verbs:
        raise wrong_method()
    if name == "status":
        return _STATUS[verb]
    if name == "scale":
        return _SCALE[verb]
    if name in _CREATES:
        return _CREATES[name]
    door = doors.door_of(entry, name)
    if door is None:
        raise not_served()
    if verb == "get":
        return reading.get
    if verb == "update":
        return lambda core, ctx: update.update_through(core, ctx, door)
    return lambda core, ctx: patch.patch_through(core, ctx, door)
