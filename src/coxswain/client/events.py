"""The event recorder: what components tell users about objects (``kubectl describe``, ``get events``).

    event() --> bounded queue --> correlate --> one batch of creates and patches --> API server
                (oldest dropped)    |
                                    +-- spam filter: 25 at once, then one in 300 s, for each object
                                    +-- aggregation: ten different messages of one reason in ten minutes
                                    |   become "(combined from similar events): ..."
                                    +-- counting: the same event again patches count and lastTimestamp

Correlation follows client-go's ``tools/record``. With ``series=True`` events follow ``tools/events``
instead (what the scheduler uses): eventTime, reportingComponent and action, no source; a repetition is
written once as a series of two and then every half hour with its count.

``event`` never blocks and never fails: events are best effort. ``close`` sends what is left. A recorder that
``yields_to`` more urgent writes sends nothing while those are under way, until its oldest event is _LONGEST_HOLD
seconds old or half of its queue is full: a burst of a few seconds is told about when it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import orjson

from coxswain.api.errors import ApiError
from coxswain.api.names import EVENTS, Object
from coxswain.base import clock, metrics
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.client import create_call, patch_call
from coxswain.client.interface import NOTHING, Answer, Call, Client
from coxswain.client.workqueue import TokenBucket

log = logging.getLogger(__name__)
V = TypeVar("V")

_DROPPED = metrics.counter("coxswain_events_dropped", "Events given up before they were sent", ("why",))
_QUEUE = 1000
_YIELDING_QUEUE = 20_000
_LONGEST_HOLD, _LOOK_AGAIN = 5.0, 0.05
_BATCH = 250
_CACHE = 4096
_SIMILAR, _SIMILAR_WINDOW = 10, 600.0
_SPAM_BURST, _SPAM_RATE = 25, 1 / 300
_SERIES_REFRESH = 1800.0
_SERIES_END = 360.0
_RETRIES, _RETRY_AFTER = 12, 10.0
_COMBINED = "(combined from similar events): "


@dataclass(slots=True)
class _Note:
    """An event as it was recorded, before correlation."""

    regarding: Object
    type: str
    reason: str
    message: str
    at: float
    action: str
    related: Object | None
    annotations: dict[str, str] | None


@dataclass(slots=True)
class _Sent:
    """An event that exists (or is about to): what a repetition patches."""

    #: The event as JSON: thousands are kept, and few are looked at again.
    raw: bytes
    last_write: float
    pending: bool = True

    @property
    def event(self) -> Object:
        """A copy of the event."""
        decoded: Object = orjson.loads(self.raw)
        return decoded


@dataclass(slots=True)
class _Similar:
    """Messages of one reason about one object."""

    last: float
    messages: set[str] = field(default_factory=set)


class _Recent(Generic[V]):
    """The most recently used values, at most ``size``."""

    def __init__(self, size: int, make: Callable[[], V] | None = None) -> None:
        self._size = size
        self._make = make
        self._values: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        elif self._make is not None:
            value = self._make()
            self.put(key, value)
        return value

    def put(self, key: Hashable, value: V) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        self._values.pop(key, None)


def reference(obj: Object) -> Object:
    """The ObjectReference of ``obj``; a reference (an object without metadata) is returned as it is."""
    meta = obj.get("metadata")
    if meta is None:
        return obj
    found = {
        "kind": obj.get("kind"),
        "namespace": meta.get("namespace"),
        "name": meta.get("name"),
        "uid": meta.get("uid"),
        "apiVersion": obj.get("apiVersion"),
        "resourceVersion": meta.get("resourceVersion"),
    }
    return {key: value for key, value in found.items() if value}


class EventRecorder:
    """Records events of ``component`` (on ``host``); see the module's text."""

    def __init__(
        self,
        client: Client,
        component: str,
        host: str = "",
        *,
        series: bool = False,
        yields_to: Callable[[], bool] | None = None,
    ) -> None:
        """``yields_to`` says whether something more urgent is being written right now."""
        self._client = client
        self._yields_to = yields_to
        self._capacity = _QUEUE if yields_to is None else _YIELDING_QUEUE
        self._component = component
        self._host = host
        self._series = series
        self._queue: deque[_Note] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._last_name = 0
        self._task: asyncio.Task[None] | None = None
        self._sent: _Recent[_Sent] = _Recent(_CACHE)
        self._similar: _Recent[_Similar] = _Recent(_CACHE)
        self._spam: _Recent[TokenBucket] = _Recent(_CACHE, lambda: TokenBucket(_SPAM_RATE, _SPAM_BURST))
        self._full = _DROPPED.labels("queue full")
        self._filtered = _DROPPED.labels("spam filter")
        self._failed = _DROPPED.labels("refused")

    def event(
        self,
        obj: Object,
        type: str,  # noqa: A002 - Kubernetes' name for it
        reason: str,
        message: str,
        *,
        action: str = "",
        related: Object | None = None,
        annotations: dict[str, str] | None = None,
    ) -> None:
        """Record an event about ``obj`` (an object or an ObjectReference). ``type``: Normal or Warning.

        ``message`` is cut at 1024 bytes. ``action`` and ``related`` matter for series events only.
        """
        if len(message) > 1024:
            message = message[:1020] + " ..."
        note = _Note(
            reference(obj),
            type,
            reason,
            message,
            clock.now(),
            action or (reason if self._series else ""),
            reference(related) if related is not None else None,
            annotations,
        )
        if len(self._queue) >= self._capacity:
            self._queue.popleft()
            self._full.inc()
        self._queue.append(note)
        self._idle.clear()
        if self._task is None or self._task.done():
            name = f"events of {self._component}"
            self._task = asyncio.get_running_loop().create_task(self._send_for_ever(), name=name)
        self._wake.set()

    async def flush(self) -> None:
        """Return when everything recorded so far was sent or given up."""
        await self._idle.wait()

    async def close(self, timeout: float = 2.0) -> None:
        """Send what is left for at most ``timeout`` seconds, then stop."""
        self._closing = True
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self.flush()
            await cancel_and_wait(self._task)

    # ---- sending

    async def _send_for_ever(self) -> None:
        while True:
            if not self._queue:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
            while self._should_yield():
                await clock.sleep(_LOOK_AGAIN)
            calls: dict[Hashable, Call] = {}
            while self._queue and len(calls) < _BATCH:
                self._correlate(self._queue.popleft(), calls)
            if calls:
                await self._deliver(calls)

    def _should_yield(self) -> bool:
        if self._yields_to is None or self._closing or not self._yields_to():
            return False
        return len(self._queue) * 2 < self._capacity and clock.now() - self._queue[0].at < _LONGEST_HOLD

    async def _deliver(self, calls: dict[Hashable, Call]) -> None:
        for attempt in range(_RETRIES):
            if attempt:
                # All recorders lost the API server at one moment: they should not come back at one.
                await clock.sleep(_RETRY_AFTER * (clock.random().random() if attempt == 1 else 1.0))
            try:
                answers = await self._client.batch(list(calls.values()))
            except (ApiError, OSError) as error:
                log.debug("events of %s: %s; trying again", self._component, error)
                continue
            calls = self._settle(calls, answers)
            if not calls:
                return
        self._give_up(calls)

    def _settle(self, calls: dict[Hashable, Call], answers: list[Answer]) -> dict[Hashable, Call]:
        """Take note of the answers; what is left should be sent again."""
        again: dict[Hashable, Call] = {}
        for (key, call), answer in zip(calls.items(), answers, strict=True):
            sent = self._sent.get(key)
            if answer.code < 400 or (call.verb == "create" and answer.code == 409):
                if sent is not None:
                    sent.pending = False
            elif answer.code == 404 and call.verb == "patch" and sent is not None:
                # It expired on the server: write it anew, with its count.
                event = sent.event
                event["metadata"]["name"] = self._name(event["involvedObject"], clock.now())
                again[key] = create = create_call(EVENTS, event, accept=NOTHING)
                sent.raw = create.body
            elif answer.code in (429, 500, 503, 504):
                again[key] = call
            else:
                log.debug("events of %s: refused: %s", self._component, answer.body)
                self._failed.inc()
                self._sent.drop(key)
        return again

    def _give_up(self, calls: dict[Hashable, Call]) -> None:
        log.warning("events of %s: %d could not be written", self._component, len(calls))
        self._failed.inc(len(calls))
        for key in calls:
            self._sent.drop(key)

    # ---- correlation

    def _correlate(self, note: _Note, calls: dict[Hashable, Call]) -> None:
        about = note.regarding
        subject = (about.get("kind"), about.get("namespace"), about.get("name"), about.get("uid"))
        if self._series:
            related = note.related or {}
            key: Hashable = (subject, note.type, note.action, note.reason, related.get("uid"))
            self._count_series(note, key, calls)
            return
        bucket = self._spam.get(subject)
        group = (subject, about.get("fieldPath"), note.type, note.reason)
        message, key = self._aggregate(note, group)
        if bucket is not None and not bucket.try_take():
            self._filtered.inc()
            return
        self._count(note, message, key, calls)

    def _aggregate(self, note: _Note, group: Hashable) -> tuple[str, Hashable]:
        """The message to write and the identity of its event."""
        similar = self._similar.get(group)
        if similar is None or note.at - similar.last > _SIMILAR_WINDOW:
            similar = _Similar(note.at)
            self._similar.put(group, similar)
        similar.messages.add(note.message)
        similar.last = note.at
        if len(similar.messages) < _SIMILAR:
            return note.message, (group, note.message)
        similar.messages.pop()
        return _COMBINED + note.message, (group, "")

    def _count(self, note: _Note, message: str, key: Hashable, calls: dict[Hashable, Call]) -> None:
        sent = self._sent.get(key)
        if sent is None:
            self._write(note, message, key, calls)
            return
        event = sent.event
        event["count"] += 1
        event["lastTimestamp"] = clock.format_time(note.at)
        event["message"] = message
        sent.raw = orjson.dumps(event)
        changes = {name: event[name] for name in ("count", "lastTimestamp", "message")}
        self._rewrite(sent, event, key, changes, calls)

    def _count_series(self, note: _Note, key: Hashable, calls: dict[Hashable, Call]) -> None:
        sent = self._sent.get(key)
        if sent is None:
            self._write(note, note.message, key, calls)
            return
        event = sent.event
        if note.at - _observed(event) > _SERIES_END:
            self._write(note, note.message, key, calls)
            return
        series: Object | None = event.get("series")
        count = series["count"] + 1 if series is not None else 2
        event["series"] = {"count": count, "lastObservedTime": clock.format_micro_time(note.at)}
        sent.raw = orjson.dumps(event)
        if series is None or note.at - sent.last_write > _SERIES_REFRESH:
            sent.last_write = note.at
            self._rewrite(sent, event, key, {"series": event["series"]}, calls)

    def _write(self, note: _Note, message: str, key: Hashable, calls: dict[Hashable, Call]) -> None:
        """Write an event that there is none of yet."""
        calls[key] = create = create_call(EVENTS, self._new(note, message), accept=NOTHING)
        self._sent.put(key, _Sent(create.body, note.at))

    def _rewrite(
        self, sent: _Sent, event: Object, key: Hashable, changes: Object, calls: dict[Hashable, Call]
    ) -> None:
        if sent.pending:
            calls[key] = create_call(EVENTS, event, accept=NOTHING)
            return
        meta = event["metadata"]
        calls[key] = patch_call(EVENTS, meta["name"], changes, meta["namespace"], accept=NOTHING)

    def _new(self, note: _Note, message: str) -> Object:
        about = note.regarding
        meta: Object = {"name": self._name(about, note.at), "namespace": about.get("namespace") or "default"}
        if note.annotations:
            meta["annotations"] = note.annotations
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": meta,
            "involvedObject": about,
            "reason": note.reason,
            "message": message,
            "type": note.type,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }
        if note.related is not None:
            event["related"] = note.related
        if self._series:
            instance = self._host or self._component
            event |= {"eventTime": clock.format_micro_time(note.at), "action": note.action}
            event |= {"reportingInstance": instance, "source": {}}
        else:
            stamp = clock.format_time(note.at)
            source = {"component": self._component} | ({"host": self._host} if self._host else {})
            event |= {"source": source, "firstTimestamp": stamp, "lastTimestamp": stamp, "count": 1}
            event |= {"eventTime": None}
        return event

    def _name(self, about: Object, at: float) -> str:
        # client-go appends the time in nanoseconds; two events of one instant need different names.
        self._last_name = max(int(at * 1e9), self._last_name + 1)
        return f"{about.get('name', '')}.{self._last_name:x}"


def _observed(event: Object) -> float:
    series: dict[str, Any] | None = event.get("series")
    return clock.parse_time(series["lastObservedTime"] if series else event["eventTime"])
