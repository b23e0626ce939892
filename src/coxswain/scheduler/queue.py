"""The scheduling queue: which pod is tried next, and when a pod that failed is tried again.

                       add                       pop
    (new pod) ------------------>  ACTIVE  ---------------->  (being scheduled)
        | gated                      ^  ^                            |
        v                  due       |  |  event that may help,      | no node fits
      GATED                .---------'  |  no back-off left          v
                           |            +---------------------  UNSCHEDULABLE
                        BACKOFF  <------+      event, back-off       |
                           ^                   left; or 5 min passed |
                           '-----------------------------------------'
                           '---- error while binding

A state machine without IO: times come in as arguments, and ``next_due`` says when ``tick`` has work. Active pods
leave by priority (higher first), then by the time they entered, or as a QueueSort plugin says. Back-off starts at
one second and doubles with every failed attempt up to ten. A pod is in at most one of the four places.

``pop_from_backoff``: when nothing is active, pods that only wait out their back-off are tried early, the first
due first; those that failed with an error are not. (kube-scheduler does so since v1.33.)

An unschedulable pod is woken by events that its plugins name (``wakes_on``) if ``helps`` agrees; that is asked
once for all pods of one template that the same plugins rejected. An event that comes while a pod is being decided
about is not lost: ``reject`` sends such a pod to back off instead. Gated pods remember which plugin holds them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Literal

from coxswain.scheduler.framework import Event
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.template import Template

Place = Literal["active", "backoff", "unschedulable", "gated", "popped"]
PLACES: Final[tuple[Place, ...]] = ("active", "backoff", "unschedulable", "gated", "popped")
Kind = tuple[Event, Template, tuple[str, ...]]
SortKey = Callable[[Pod, float], tuple[Any, ...]]
Helps = Callable[[Template, tuple[str, ...]], bool]


#: kube-scheduler's names of what brings a pod into a queue (``framework/events.go``).
_POD_ADD, _POD_UPDATE, _FAILURE = "UnschedulablePodAdd", "UnschedulablePodUpdate", "ScheduleAttemptFailure"


def _priority_sort(pod: Pod, entered: float) -> tuple[Any, ...]:
    return -pod.priority, entered


@dataclass(eq=False, slots=True)
class QueuedPod:
    """A pod on its way to a node. Times are seconds on the caller's clock."""

    pod: Pod
    #: When it last entered the queue; ties of priority go by this.
    timestamp: float
    #: When the scheduler first heard of it.
    first_seen: float
    attempts: int = 0
    place: Place = "popped"
    #: Which events may help it, while it is unschedulable.
    wakes_on: Event = Event.FORCED
    #: What its PodScheduled condition says, so that it is patched only when that changes.
    message: str = ""
    since: str = ""
    #: The nomination that its status was last given.
    nominated: str = ""
    #: Names of the plugins that rejected it, or (while gated) of the one that holds it.
    plugins: tuple[str, ...] = ()
    #: It failed for a reason of ours or the API's: its back-off is waited out.
    erred: bool = False
    _ticket: int = field(default=0)
    _popped_at: int = field(default=0)

    @property
    def kind(self) -> tuple[Event, Template, tuple[str, ...]]:
        """Unschedulable pods of one kind are woken together."""
        return self.wakes_on, self.pod.template, self.plugins


class SchedulingQueue:
    """See the module's text."""

    def __init__(
        self,
        *,
        initial_backoff: float = 1.0,
        max_backoff: float = 10.0,
        max_unschedulable: float = 300.0,
        pop_from_backoff: bool = False,
        sort_key: SortKey | None = None,
    ) -> None:
        """Times in seconds; ``sort_key(pod, entered)``: the smallest leaves first."""
        self._pop_from_backoff = pop_from_backoff
        self._sort_key = sort_key or _priority_sort
        self._events = 0
        self._last_seen: dict[Event, int] = {}
        self._gated: dict[str, QueuedPod] = {}
        self._initial_backoff = initial_backoff
        self._max_backoff = max_backoff
        self._max_unschedulable = max_unschedulable
        self._known: dict[str, QueuedPod] = {}
        self._active: list[tuple[tuple[Any, ...], int, QueuedPod]] = []
        self._backoff: list[tuple[float, int, QueuedPod]] = []
        #: By kind, in order of arrival.
        self._unschedulable: dict[Kind, dict[str, QueuedPod]] = {}
        self._sizes: dict[Place, int] = dict.fromkeys(PLACES, 0)
        self._tickets = count(1)
        #: How many pods came into (queue, by event), in kube-scheduler's names; whoever reads it may clear it.
        self.incoming: Counter[tuple[Place, str]] = Counter()

    # -- reading ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._known)

    def size(self, place: Place) -> int:
        """How many pods are in one of the places."""
        return self._sizes[place]

    def get(self, key: str) -> QueuedPod | None:
        return self._known.get(key)

    def all(self) -> Iterable[QueuedPod]:
        """Every pod that waits, and those being decided about or bound; a live view."""
        return self._known.values()

    def by_plugin(self) -> Counter[tuple[str, str]]:
        """How many unschedulable pods each (plugin, schedulerName) rejected."""
        counts: Counter[tuple[str, str]] = Counter()
        for (_, _, plugins), group in self._unschedulable.items():
            for queued in group.values() if plugins else ():
                for plugin in plugins:
                    counts[plugin, queued.pod.scheduler_name] += 1
        return counts

    def next_due(self) -> float | None:
        """When ``tick`` next has something to do, or None."""
        self._drop_stale_backoff()
        times = [self._backoff[0][0]] if self._backoff else []
        for group in self._unschedulable.values():
            oldest = next(iter(group.values()), None)
            if oldest is not None:
                times.append(oldest.timestamp + self._max_unschedulable)
        return min(times, default=None)

    # -- changes ---------------------------------------------------------------------------------

    def gated(self) -> list[QueuedPod]:
        """Pods that PreEnqueue holds."""
        return list(self._gated.values())

    def add(self, pod: Pod, now: float, *, gated: bool = False, gate: str = "") -> QueuedPod:
        """A pod that waits for a node; one that is known is updated instead. ``gate``: the plugin that holds it."""
        known = self._known.get(pod.key)
        if known is not None:
            self.update(pod, now, gated=gated, gate=gate)
            return known
        queued = self._known[pod.key] = QueuedPod(pod, now, now)
        self._sizes["popped"] += 1
        self._put(queued, "gated" if gated or gate else "active", _POD_ADD)
        queued.plugins = (gate,) if gate else ()
        return queued

    def update(self, pod: Pod, now: float, *, gated: bool = False, gate: str = "") -> None:
        """The pod changed: one that failed may now fit, one whose gates are gone may enter."""
        queued = self._known.get(pod.key)
        if queued is None:
            return
        if queued.place == "unschedulable":
            self._leave(queued)  # it is filed under its template
            old, queued.pod = queued.pod, pod
            self._put(queued, "unschedulable")
        else:
            old, queued.pod = queued.pod, pod
        if queued.place == "popped":
            return
        if gated or gate:
            self._put(queued, "gated")
            queued.plugins = (gate,) if gate else ()
        elif queued.place == "gated" or (queued.place == "active" and old.priority != pod.priority):
            queued.timestamp = now if queued.place == "gated" else queued.timestamp
            self._put(queued, "active", _POD_UPDATE)
        elif queued.place == "unschedulable" and old.template is not pod.template:
            self._wake(queued, now, _POD_UPDATE)

    def delete(self, key: str) -> None:
        """The pod is gone or bound; unknown keys are ignored."""
        queued = self._known.pop(key, None)
        if queued is not None:
            self._leave(queued)
            self._sizes["popped"] -= 1

    def pop(self, limit: int) -> list[QueuedPod]:
        """The next pods to schedule: the first, and those after it that are identical to it."""
        popped: list[QueuedPod] = []
        while self._active and len(popped) < limit:
            ticket, queued = self._active[0][1:]
            if queued.place != "active" or queued._ticket != ticket:
                heapq.heappop(self._active)
                continue
            pod = queued.pod
            if popped and (
                pod.template is not popped[0].pod.template
                or pod.scheduler_name != popped[0].pod.scheduler_name
                or pod.group
            ):
                break
            heapq.heappop(self._active)
            popped.append(self._start(queued))
            if pod.group:
                break
        if not popped and self._pop_from_backoff:
            self._drop_stale_backoff()
            early = next((q for _, _, q in self._backoff if q.place == "backoff" and not q.erred), None)
            if early is not None:
                self.incoming["active", "PopFromBackoffQ"] += 1
                popped.append(self._start(early))
        return popped

    def take(self, key: str) -> QueuedPod | None:
        """Pop this very pod, wherever it waits; None if it is gated, being decided about, or unknown."""
        queued = self._known.get(key)
        if queued is None or queued.place in ("gated", "popped"):
            return None
        return self._start(queued)

    def _start(self, queued: QueuedPod) -> QueuedPod:
        self._leave(queued)
        queued.attempts += 1
        queued._popped_at = self._events
        return queued

    def reject(self, queued: QueuedPod, wakes_on: Event, now: float, plugins: tuple[str, ...] = ()) -> None:
        """No node fits: wait for one of these events, or for the flush."""
        if self._known.get(queued.pod.key) is not queued:
            return
        queued.timestamp = now
        queued.wakes_on = wakes_on | Event.FORCED
        queued.plugins = plugins
        queued.erred = False
        if any(seen > queued._popped_at and queued.wakes_on & one for one, seen in self._last_seen.items()):
            self._put(queued, "backoff", _FAILURE)
        else:
            self._put(queued, "unschedulable", _FAILURE)

    def retry(self, queued: QueuedPod, now: float) -> None:
        """Something else failed (binding, say): try again after the back-off."""
        if self._known.get(queued.pod.key) is queued:
            queued.timestamp = now
            queued.erred = True
            self._put(queued, "backoff", _FAILURE)

    def interested(self, event: Event) -> bool:
        """Whether any unschedulable pod waits for such an event."""
        if not self._unschedulable:
            return False
        return any(wakes_on & event for wakes_on, _, _ in self._unschedulable)

    def move(self, event: Event, now: float, helps: Helps | None = None, label: str = "") -> int:
        """Wake pods that one of these events may help; returns how many.

        ``helps(template, plugins)`` is the hint of the plugins that rejected such pods; None: it always helps.
        ``label``: what ``incoming`` calls the event.
        """
        self.note(event)
        woken = [
            queued
            for (wakes_on, template, plugins), group in self._unschedulable.items()
            if wakes_on & event and (helps is None or not plugins or helps(template, plugins))
            for queued in group.values()
        ]
        for queued in woken:
            self._wake(queued, now, label)
        return len(woken)

    def note(self, event: Event) -> None:
        """Such an event happened: nobody waits for it, but who is being decided about may have missed it."""
        self._events += 1
        self._last_seen[event] = self._events

    def park(self, queued: QueuedPod) -> None:
        """Put a popped pod back among the unschedulable, as if it had not been tried."""
        if self._known.get(queued.pod.key) is queued:
            queued.attempts -= 1
            self._put(queued, "unschedulable")

    def activate(self, key: str, now: float) -> None:
        """Try the pod again now, whatever it waits for (gates excepted)."""
        queued = self._known.get(key)
        if queued is not None and queued.place in ("backoff", "unschedulable"):
            self._put(queued, "active", "ForceActivate")

    def tick(self, now: float) -> None:
        """Let pods whose back-off is over become active, and those that waited too long be tried again."""
        while self._backoff and self._backoff[0][0] <= now:
            _, ticket, queued = heapq.heappop(self._backoff)
            if queued.place == "backoff" and queued._ticket == ticket:
                self._put(queued, "active", "BackoffComplete")
        for queued in list(self._overdue(now)):
            self._wake(queued, now, "UnschedulableTimeout")

    # -- inside ----------------------------------------------------------------------------------

    def _overdue(self, now: float) -> Iterator[QueuedPod]:
        for group in self._unschedulable.values():
            for queued in group.values():
                if queued.timestamp + self._max_unschedulable > now:
                    break
                yield queued

    def _backoff_ends(self, queued: QueuedPod) -> float:
        doublings = min(max(queued.attempts - 1, 0), 32)
        return queued.timestamp + min(self._initial_backoff * 2.0**doublings, self._max_backoff)

    def _wake(self, queued: QueuedPod, now: float, why: str) -> None:
        self._put(queued, "backoff" if self._backoff_ends(queued) > now else "active", why)

    def _put(self, queued: QueuedPod, place: Place, why: str = "") -> None:
        if why:
            self.incoming[place, why] += 1
        if queued.place != "popped":
            self._leave(queued)
        self._sizes["popped"] -= 1
        self._sizes[place] += 1
        queued.place = place
        queued._ticket = ticket = next(self._tickets)
        if place == "active":
            key = self._sort_key(queued.pod, queued.timestamp)
            heapq.heappush(self._active, (key, ticket, queued))
        elif place == "backoff":
            heapq.heappush(self._backoff, (self._backoff_ends(queued), ticket, queued))
        elif place == "unschedulable":
            self._unschedulable.setdefault(queued.kind, {})[queued.pod.key] = queued
        elif place == "gated":
            self._gated[queued.pod.key] = queued

    def _leave(self, queued: QueuedPod) -> None:
        if queued.place == "popped":
            return
        if queued.place == "unschedulable":
            group = self._unschedulable[queued.kind]
            del group[queued.pod.key]
            if not group:
                del self._unschedulable[queued.kind]
        elif queued.place == "gated":
            del self._gated[queued.pod.key]
        self._sizes[queued.place] -= 1
        self._sizes["popped"] += 1
        queued.place = "popped"

    def _drop_stale_backoff(self) -> None:
        while self._backoff:
            _, ticket, queued = self._backoff[0]
            if queued.place == "backoff" and queued._ticket == ticket:
                return
            heapq.heappop(self._backoff)
