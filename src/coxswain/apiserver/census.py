"""What is known of a running server without counting: gathered when somebody asks for the metrics.

    census = Census(registry)      the server keeps its watches, streams and tasks in it
    /metrics                       requests in flight, long ones, events sent, objects stored, who logged in

Several servers in one process add up.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from coxswain.api.names import GVR
from coxswain.apiserver.fairness.width import average_size
from coxswain.base import clock
from coxswain.base.metrics import REGISTRY

if TYPE_CHECKING:
    from coxswain.apiserver.pump import Pump
    from coxswain.apiserver.registry import Registry
    from coxswain.apiserver.watchcache import ResourceCache
    from coxswain.apiserver.writes import Writes

#: Names of tasks that answer requests, and so the kinds of requests in flight.
READING, WRITING = "readOnly", "mutating"

#: Every server at work.
RUNNING: weakref.WeakSet[Census] = weakref.WeakSet()

#: Names that are told apart among those who asked; the others are one of two, as in Kubernetes.
_KNOWN_USERS = frozenset(
    {"admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"}
)
_EMAIL, _OTHER = "email_id", "other"
#: Names that are kept apart at most, once somebody has looked.
_MANY_USERS = 10_000
#: Seconds between looks whether there are more.
_SETTLING = 60.0


class Long(NamedTuple):
    """A request that takes as long as it takes, as the metrics show it."""

    verb: str
    group: str
    version: str
    resource: str
    subresource: str
    scope: str


class Census:
    """See the module's text."""

    def __init__(self, registry: Registry, writes: Writes | None = None) -> None:
        """``writes``: those that are answered without a task."""
        self._registry = registry
        self.writes = writes
        self.watches: dict[Pump, Long] = {}
        self.streams: dict[asyncio.Task[None], Long] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        #: How often each user asked, and how often somebody unknown did.
        self.callers: dict[str, int] = {}
        self.refused = 0
        #: Events sent by watches that have ended.
        self._sent: dict[GVR, int] = {}
        RUNNING.add(self)

    def close(self) -> None:
        """The server stops: it is shown no more. Idempotent."""
        RUNNING.discard(self)

    def ended(self, pump: Pump) -> None:
        """A watch is over."""
        long = self.watches.pop(pump, None)
        if long is not None and pump.sent:
            gvr = GVR(long.group, long.version, long.resource)
            self._sent[gvr] = self._sent.get(gvr, 0) + pump.sent

    def settle_callers(self) -> dict[str, int]:
        """How often whom; too many names are put together for good."""
        merged: dict[str, int] = {}
        for name, count in self.callers.items():
            shown = name if name in _KNOWN_USERS else _EMAIL if "@" in name or name == _EMAIL else _OTHER
            merged[shown] = merged.get(shown, 0) + count
        if len(self.callers) > _MANY_USERS:
            self.callers.clear()
            self.callers.update(merged)
        return merged

    def sent(self) -> dict[GVR, int]:
        """Events sent, by what was watched."""
        found = dict(self._sent)
        for pump, long in self.watches.items():
            gvr = GVR(long.group, long.version, long.resource)
            found[gvr] = found.get(gvr, 0) + pump.sent
        return found

    def stored(self) -> Iterator[tuple[str, str, ResourceCache]]:
        """(group, resource, cache) of everything that is stored."""
        seen: set[int] = set()
        for entry in self._registry:
            if entry.cache is not None and id(entry.cache) not in seen:
                seen.add(id(entry.cache))
                yield entry.gvr.group, entry.gvr.resource, entry.cache


async def settle_regularly() -> None:
    """Put names of callers together where they are too many, though nobody asks for metrics; until cancelled."""
    while True:
        await clock.sleep(_SETTLING)
        for census in tuple(RUNNING):
            census.settle_callers()


class _Collector(Collector):
    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        servers = tuple(RUNNING)
        yield _in_flight(servers)
        yield _long_running(servers)
        yield from _watch_events(servers)
        yield from _objects(servers)
        yield from _authentication(servers)


def _in_flight(servers: Iterable[Census]) -> Metric:
    text = "Requests in progress, by whether they write."
    family = GaugeMetricFamily("apiserver_current_inflight_requests", text, labels=("request_kind",))
    names = [task.get_name() for server in servers for task in server.tasks]
    together = sum(server.writes.count for server in servers if server.writes is not None)
    family.add_metric((READING,), names.count(READING))
    family.add_metric((WRITING,), names.count(WRITING) + together)
    return family


def _long_running(servers: Iterable[Census]) -> Metric:
    text = "Watches and other long requests in progress."
    labels = (*Long._fields, "component")
    family = GaugeMetricFamily("apiserver_longrunning_requests", text, labels=labels)
    counts: dict[Long, int] = {}
    for server in servers:
        for long in (*server.watches.values(), *server.streams.values()):
            counts[long] = counts.get(long, 0) + 1
    for long, count in counts.items():
        family.add_metric((*long, "apiserver"), count)
    return family


def _watch_events(servers: Iterable[Census]) -> Iterator[Metric]:
    sent = CounterMetricFamily(
        "apiserver_watch_events", "Events sent to watches.", labels=("group", "version", "resource")
    )
    totals: dict[GVR, int] = {}
    for server in servers:
        for gvr, count in server.sent().items():
            totals[gvr] = totals.get(gvr, 0) + count
    for gvr, count in totals.items():
        sent.add_metric(gvr, count)
    yield sent
    labels = ("group", "resource")
    initial = CounterMetricFamily(
        "apiserver_init_events", "Objects shown to watches before the first event.", labels=labels
    )
    received = CounterMetricFamily(
        "apiserver_watch_cache_events_received", "Events that the watch cache took.", labels=labels
    )
    for server in servers:
        for group, resource, cache in server.stored():
            if cache.shown:
                initial.add_metric((group, resource), cache.shown)
            received.add_metric((group, resource), cache.generation)
    yield initial
    yield received


def _objects(servers: Iterable[Census]) -> Iterator[Metric]:
    labels = ("group", "resource")
    old = GaugeMetricFamily("apiserver_storage_objects", "Objects stored, by resource.", labels=("resource",))
    new = GaugeMetricFamily("apiserver_resource_objects", "Objects stored, by resource.", labels=labels)
    text = "About how many bytes the objects of a resource take."
    sizes = GaugeMetricFamily("apiserver_resource_size_estimate_bytes", text, labels=labels)
    for server in servers:
        for group, resource, cache in server.stored():
            old.add_metric((f"{resource}.{group}" if group else resource,), len(cache))
            new.add_metric((group, resource), len(cache))
            sizes.add_metric((group, resource), len(cache) * average_size(cache))
    yield old
    yield new
    yield sizes


def _authentication(servers: Iterable[Census]) -> Iterator[Metric]:
    # Kubernetes' names lack the suffix of counters: as gauges they come out as they should be.
    users = GaugeMetricFamily(
        "authenticated_user_requests", "Requests of users that are known.", labels=("username",)
    )
    attempts = GaugeMetricFamily(
        "authentication_attempts", "Attempts to authenticate, by result.", labels=("result",)
    )
    merged: dict[str, int] = {}
    for server in servers:
        for name, count in server.settle_callers().items():
            merged[name] = merged.get(name, 0) + count
    for name, count in merged.items():
        users.add_metric((name,), count)
    attempts.add_metric(("success",), sum(merged.values()))
    attempts.add_metric(("error",), sum(server.refused for server in servers))
    yield users
    yield attempts


REGISTRY.register(_Collector())
