"""The fairness of one server: flow schemas and priority levels as the API objects say, and who starts when.

    flow = fairness.flow(user, verb, resource, ...)    remembered: a dictionary look-up for a kind of request seen before
    flow.saturated                                     somebody waits: even what is cheap takes its turn
    ticket = flow.admit(width, now, begin, refuse)     begin() now or later, or refuse(), or TooManyRequests at once
    fairness.finish(ticket)                            whoever waits for the seats begins

Everything runs on the loop's thread. Objects that change are read anew on the loop's next turn; the mandatory
objects hold even where somebody has deleted them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from coxswain.api import errors
from coxswain.api.names import GVR, Object
from coxswain.apiserver.bootstrap import FLOW_SCHEMAS, PRIORITY_LEVELS
from coxswain.apiserver.fairness import dump, metrics, shares
from coxswain.apiserver.fairness.level import Level
from coxswain.apiserver.fairness.matching import Digest, Schema, compile_schema, in_order
from coxswain.apiserver.fairness.queueset import Ticket
from coxswain.apiserver.fairness.settings import FairnessSettings
from coxswain.apiserver.fairness.sharding import deal, flow_hash
from coxswain.apiserver.fairness.width import NARROW, Estimator, Width
from coxswain.apiserver.lookup import Lookup
from coxswain.client.interface import UserInfo

log = logging.getLogger(__name__)

#: Kinds of requests that are remembered before all are forgotten.
_REMEMBERED = 16_384
#: Seats of whom nothing bounds.
UNLIMITED = 1 << 40
_NO_RESOURCE = GVR("", "", "")


class Changing(Lookup, Protocol):
    """A lookup that also tells of changes."""

    def on_change(self, gvr: GVR, changed: Callable[[], None]) -> None: ...


class Gate(Protocol):
    """Decides when a request may begin: ``Fairness``, or the plain limits of ``inflight``."""

    def flow(
        self,
        user: UserInfo,
        verb: str,
        resource: GVR = ...,
        subresource: str = "",
        namespace: str = "",
        path: str = "",
    ) -> Flow: ...

    def finish(self, ticket: Ticket, flow: Flow) -> None: ...

    def cancel(self, ticket: Ticket, flow: Flow) -> None: ...

    def watch_over(self, level: Level) -> None: ...

    def width_of_list(self, size: int, flow: Flow) -> Width: ...

    def width_of_write(self, watchers: int, flow: Flow) -> Width: ...

    def debug(self, path: str) -> str | None: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Flow:
    """Requests of one user (or namespace) for one kind of thing: which level, which queues."""

    __slots__ = ("gate", "hand", "headers", "level", "schema", "served")

    def __init__(
        self, gate: Gate, level: Level, schema: str, hand: tuple[int, ...] = (), headers: bytes = b""
    ) -> None:
        """``headers``: what answers say of it, ready to be sent."""
        self.gate = gate
        self.level = level
        self.schema = schema
        self.hand = hand
        self.headers = headers
        #: Requests answered at once, without a ticket.
        self.served = 0

    @property
    def saturated(self) -> bool:
        """Whether somebody waits for a seat of this level."""
        return self.level.queues.waiting > 0

    def admit(
        self, width: Width, now: float, begin: Callable[[], object], refuse: Callable[[], object]
    ) -> Ticket:
        """Ask for seats: ``begin`` is called now or when it is this request's turn, ``refuse`` if that takes
        too long. Raises ``TooManyRequests``.
        """
        level = self.level
        ticket = Ticket(self.schema, self.hand, width.seats, width.linger, begin, refuse)
        outcome = level.queues.arrive(ticket, now)
        if outcome == "rejected":
            level.reject(self.schema, "queue-full" if level.deck else "concurrency-limit")
            raise too_many()
        if outcome == "started":
            level.dispatched[self.schema] = level.dispatched.get(self.schema, 0) + 1
            begin()
        else:
            self.gate.watch_over(level)
        return ticket


class Fairness:
    """See the module's text."""

    def __init__(self, settings: FairnessSettings, lookup: Changing, total: int) -> None:
        """``total``: seats of the whole server (``max_in_flight`` and ``max_mutating_in_flight`` together)."""
        self.settings = settings
        self.total = total
        self.levels: dict[str, Level] = {}
        self.schemas: list[Schema] = []
        self.flows: dict[tuple[object, ...], Flow] = {}
        self.estimator = Estimator(settings)
        self._lookup = lookup
        self._loop = asyncio.get_running_loop()
        self._reloading: asyncio.Handle | None = None
        self._adjusting: asyncio.TimerHandle | None = None
        self.reload()
        lookup.on_change(FLOW_SCHEMAS, self._changed)
        lookup.on_change(PRIORITY_LEVELS, self._changed)

    def start(self) -> None:
        """Begin to lend seats regularly."""
        self._adjusting = self._loop.call_later(self.settings.adjust_interval, self._adjust)
        metrics.RUNNING.add(self)

    def stop(self) -> None:
        """Stop the timers. Idempotent."""
        metrics.RUNNING.discard(self)
        for timer in (self._adjusting, *(level.timer for level in self.levels.values())):
            if timer is not None:
                timer.cancel()
        self._adjusting = None

    # -- classification

    def flow(
        self,
        user: UserInfo,
        verb: str,
        resource: GVR = _NO_RESOURCE,
        subresource: str = "",
        namespace: str = "",
        path: str = "",
    ) -> Flow:
        """Where a request belongs. ``path`` is for what is no resource."""
        key = (user.name, user.groups, verb, resource, subresource, namespace, path)
        flow = self.flows.get(key)
        if flow is None:
            digest = Digest(user, verb, resource.group, resource.resource, subresource, namespace, path)
            flow = self._classify(digest)
            if len(self.flows) >= _REMEMBERED:
                self._forget()
            self.flows[key] = flow
        return flow

    def _classify(self, digest: Digest) -> Flow:
        for schema in self.schemas:
            level = self.levels.get(schema.level)
            if level is not None and schema.matches(digest):
                return self._flow(schema, level, schema.flow(digest))
        # Nobody asks without a group, but whoever does is caught here.
        return self._flow(self.schemas[-1], self.levels["catch-all"], digest.user.name)

    def _flow(self, schema: Schema, level: Level, flow: str) -> Flow:
        hand = deal(flow_hash(schema.name, flow), level.deck, level.hand) if level.deck else ()
        headers = (
            f"X-Kubernetes-PF-FlowSchema-UID: {schema.uid}\r\n"
            f"X-Kubernetes-PF-PriorityLevel-UID: {level.uid}\r\n"
        )
        return Flow(self, level, schema.name, hand, headers.encode())

    def _forget(self) -> None:
        for flow in self.flows.values():
            _count_served(flow)
        self.flows.clear()

    def settle_counts(self) -> None:
        """Bring the levels' counters up to date with what the flows have counted."""
        for flow in self.flows.values():
            _count_served(flow)

    # -- seats

    def finish(self, ticket: Ticket, flow: Flow) -> None:
        """A request that had begun is answered."""
        queues, now = flow.level.queues, self._loop.time()
        if ticket.linger:
            queues.finish_lingering(ticket, now)
            self._loop.call_later(ticket.linger, self._release, flow.level, ticket)
        else:
            started = queues.finish(ticket, now)
            if started:
                _begin(flow.level, started)

    def cancel(self, ticket: Ticket, flow: Flow) -> None:
        """The client of a waiting request has gone."""
        _begin(flow.level, flow.level.queues.cancel(ticket, self._loop.time()))
        flow.level.reject(flow.schema, "cancelled")

    def _release(self, level: Level, ticket: Ticket) -> None:
        _begin(level, level.queues.release(ticket, self._loop.time()))

    def watch_over(self, level: Level) -> None:
        """See to it that who waits in ``level`` does not wait too long."""
        if level.timer is None:
            level.timer = self._loop.call_later(self.settings.queue_wait / 8, self._expire, level)

    def _expire(self, level: Level) -> None:
        level.timer = None
        for ticket in level.queues.expire(self._loop.time(), self.settings.queue_wait):
            level.reject(ticket.schema, "time-out")
            if ticket.refuse is not None:
                ticket.refuse()
        _begin(level, level.queues.dispatch(self._loop.time()))
        if level.queues.waiting:
            self.watch_over(level)

    # -- configuration

    def _changed(self) -> None:
        if self._reloading is None:
            self._reloading = self._loop.call_soon(self._reload_soon)

    def _reload_soon(self) -> None:
        self._reloading = None
        try:
            self.reload()
        except Exception:
            log.exception("flow schemas could not be read; the former ones hold")

    def reload(self) -> None:
        """Read the API objects."""
        self._forget()
        objects = {_name(obj): obj for obj in self._lookup.list(PRIORITY_LEVELS)}
        for obj in (_EXEMPT_LEVEL, _CATCH_ALL_LEVEL):
            objects.setdefault(_name(obj), obj)
        levels: dict[str, Level] = {}
        for name, obj in objects.items():
            spec = obj.get("spec") or {}
            level = self.levels.get(name)
            if level is None:
                level = Level(name, (obj.get("metadata") or {}).get("uid", ""), spec)
            else:
                level.uid = (obj.get("metadata") or {}).get("uid", "")
                level.specify(spec)
            levels[name] = level
        found = shares.bounds([obj.get("spec") or {} for obj in objects.values()], self.total)
        for level, bound in zip(levels.values(), found, strict=True):
            level.bounds = bound
        self.levels = levels
        schemas = {_name(obj): obj for obj in self._lookup.list(FLOW_SCHEMAS)}
        for obj in (_EXEMPT_SCHEMA, _CATCH_ALL_SCHEMA):
            schemas.setdefault(_name(obj), obj)
        self.schemas = in_order(compile_schema(obj) for obj in schemas.values())
        self._share_out()

    def _adjust(self) -> None:
        self._adjusting = self._loop.call_later(self.settings.adjust_interval, self._adjust)
        self._share_out()

    def _share_out(self) -> None:
        now = self._loop.time()
        levels = list(self.levels.values())
        current = shares.share_out(
            [
                (level.bounds, level.queues.demand.read(now), level.queues.demand.smoothed, level.exempt)
                for level in levels
            ]
        )
        for level, seats in zip(levels, current, strict=True):
            queues = level.queues
            seats = UNLIMITED if level.exempt else seats
            started = queues.configure(seats=seats, queues=level.deck, length=level.length, now=now)
            _begin(level, started)

    def width_of_list(self, size: int, flow: Flow) -> Width:
        """Seats of a list of ``size`` bytes."""
        return NARROW if flow.level.exempt else self.estimator.of_list(size, flow.level.bounds.nominal)

    def width_of_write(self, watchers: int, flow: Flow) -> Width:
        """Seats of a write that ``watchers`` are told of."""
        return NARROW if flow.level.exempt else self.estimator.of_write(watchers, flow.level.bounds.nominal)

    def debug(self, path: str) -> str | None:
        """The text of a debugging path (see ``dump``), or None."""
        return dump.answer(self, path)


def too_many() -> errors.TooManyRequests:
    """The answer to who has to come again."""
    return errors.TooManyRequests("too many requests, please try again later", retry_after=1)


def _begin(level: Level, tickets: list[Ticket]) -> None:
    for ticket in tickets:
        level.dispatched[ticket.schema] = level.dispatched.get(ticket.schema, 0) + 1
        level.waited(ticket)
        if ticket.begin is not None:
            ticket.begin()


def _count_served(flow: Flow) -> None:
    if flow.served:
        counts = flow.level.dispatched
        counts[flow.schema] = counts.get(flow.schema, 0) + flow.served
        flow.served = 0


def _name(obj: Object) -> str:
    name: str = (obj.get("metadata") or {}).get("name", "")
    return name


def _everybody(group: str) -> Object:
    every = ["*"]
    resources = {"verbs": every, "apiGroups": every, "resources": every, "namespaces": every}
    return {
        "subjects": [{"kind": "Group", "group": {"name": group}}],
        "resourceRules": [{**resources, "clusterScope": True}],
        "nonResourceRules": [{"verbs": every, "nonResourceURLs": every}],
    }


def _schema(name: str, precedence: int, group: str, distinguisher: str) -> Object:
    spec = {
        "priorityLevelConfiguration": {"name": name},
        "matchingPrecedence": precedence,
        "distinguisherMethod": {"type": distinguisher},
        "rules": [_everybody(group)],
    }
    return {"metadata": {"name": name}, "spec": spec}


_EXEMPT_SCHEMA = _schema("exempt", 1, "system:masters", "")
_CATCH_ALL_SCHEMA = _schema("catch-all", 10_000, "*", "ByUser")
_EXEMPT_LEVEL: Object = {
    "metadata": {"name": "exempt"},
    "spec": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
}
_CATCH_ALL_LEVEL: Object = {
    "metadata": {"name": "catch-all"},
    "spec": {
        "type": "Limited",
        "limited": {
            "nominalConcurrencyShares": 5,
            "lendablePercent": 0,
            "limitResponse": {"type": "Reject"},
        },
    },
}
