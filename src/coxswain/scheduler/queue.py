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
leave by priority (higher first), then by the time they entered. Back-off starts at one second and doubles with
every failed attempt up to ten. A pod is in at most one of the four places. Scheduling and its failure happen in
one step of the loop, so no event falls between ``pop`` and ``reject``.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from coxswain.scheduler.framework import Event
from coxswain.scheduler.pod import Pod

Place = Literal["active", "backoff", "unschedulable", "gated", "popped"]


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
    _ticket: int = field(default=0)


class SchedulingQueue:
    """See the module's text."""

    def __init__(
        self, *, initial_backoff: float = 1.0, max_backoff: float = 10.0, max_unschedulable: float = 300.0
    ) -> None:
        """All in seconds."""
        self._initial_backoff = initial_backoff
        self._max_backoff = max_backoff
        self._max_unschedulable = max_unschedulable
        self._known: dict[str, QueuedPod] = {}
        self._active: list[tuple[int, float, int, QueuedPod]] = []
        self._backoff: list[tuple[float, int, QueuedPod]] = []
        #: By the events that may help, in order of arrival.
        self._unschedulable: dict[Event, dict[str, QueuedPod]] = {}
        self._sizes: dict[Place, int] = dict.fromkeys(
            ("active", "backoff", "unschedulable", "gated", "popped"), 0
        )
        self._tickets = count(1)

    # -- reading ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._known)

    def size(self, place: Place) -> int:
        """How many pods are in one of the places."""
        return self._sizes[place]

    def get(self, key: str) -> QueuedPod | None:
        return self._known.get(key)

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

    def add(self, pod: Pod, now: float, *, gated: bool = False) -> QueuedPod:
        """A pod that waits for a node; one that is known is updated instead."""
        known = self._known.get(pod.key)
        if known is not None:
            self.update(pod, now, gated=gated)
            return known
        queued = self._known[pod.key] = QueuedPod(pod, now, now)
        self._sizes["popped"] += 1
        self._put(queued, "gated" if gated else "active")
        return queued

    def update(self, pod: Pod, now: float, *, gated: bool = False) -> None:
        """The pod changed: one that failed may now fit, one whose gates are gone may enter."""
        queued = self._known.get(pod.key)
        if queued is None:
            return
        old, queued.pod = queued.pod, pod
        if queued.place == "popped":
            return
        if gated:
            self._put(queued, "gated")
        elif queued.place == "gated" or (queued.place == "active" and old.priority != pod.priority):
            queued.timestamp = now if queued.place == "gated" else queued.timestamp
            self._put(queued, "active")
        elif queued.place == "unschedulable" and old.template is not pod.template:
            self._wake(queued, now)

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
            ticket, queued = self._active[0][2:]
            if queued.place != "active" or queued._ticket != ticket:
                heapq.heappop(self._active)
                continue
            pod = queued.pod
            if popped and (
                pod.template is not popped[0].pod.template
                or pod.scheduler_name != popped[0].pod.scheduler_name
            ):
                break
            heapq.heappop(self._active)
            self._leave(queued)
            queued.attempts += 1
            popped.append(queued)
        return popped

    def reject(self, queued: QueuedPod, wakes_on: Event, now: float) -> None:
        """No node fits: wait for one of these events, or for the flush."""
        if self._known.get(queued.pod.key) is not queued:
            return
        queued.timestamp = now
        queued.wakes_on = wakes_on | Event.FORCED
        self._put(queued, "unschedulable")

    def retry(self, queued: QueuedPod, now: float) -> None:
        """Something else failed (binding, say): try again after the back-off."""
        if self._known.get(queued.pod.key) is queued:
            queued.timestamp = now
            self._put(queued, "backoff")

    def move(self, event: Event, now: float) -> int:
        """Wake pods that one of these events may help; returns how many."""
        woken = [
            queued
            for wakes_on, group in self._unschedulable.items()
            if wakes_on & event
            for queued in group.values()
        ]
        for queued in woken:
            self._wake(queued, now)
        return len(woken)

    def tick(self, now: float) -> None:
        """Let pods whose back-off is over become active, and those that waited too long be tried again."""
        while self._backoff and self._backoff[0][0] <= now:
            _, ticket, queued = heapq.heappop(self._backoff)
            if queued.place == "backoff" and queued._ticket == ticket:
                self._put(queued, "active")
        for queued in list(self._overdue(now)):
            self._wake(queued, now)

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

    def _wake(self, queued: QueuedPod, now: float) -> None:
        self._put(queued, "backoff" if self._backoff_ends(queued) > now else "active")

    def _put(self, queued: QueuedPod, place: Place) -> None:
        if queued.place != "popped":
            self._leave(queued)
        self._sizes["popped"] -= 1
        self._sizes[place] += 1
        queued.place = place
        queued._ticket = ticket = next(self._tickets)
        if place == "active":
            heapq.heappush(self._active, (-queued.pod.priority, queued.timestamp, ticket, queued))
        elif place == "backoff":
            heapq.heappush(self._backoff, (self._backoff_ends(queued), ticket, queued))
        elif place == "unschedulable":
            self._unschedulable.setdefault(queued.wakes_on, {})[queued.pod.key] = queued

    def _leave(self, queued: QueuedPod) -> None:
        if queued.place == "popped":
            return
        if queued.place == "unschedulable":
            group = self._unschedulable[queued.wakes_on]
            del group[queued.pod.key]
            if not group:
                del self._unschedulable[queued.wakes_on]
        self._sizes[queued.place] -= 1
        self._sizes["popped"] += 1
        queued.place = "popped"

    def _drop_stale_backoff(self) -> None:
        while self._backoff:
            _, ticket, queued = self._backoff[0]
            if queued.place == "backoff" and queued._ticket == ticket:
                return
            heapq.heappop(self._backoff)
