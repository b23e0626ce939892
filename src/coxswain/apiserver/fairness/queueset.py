"""A priority level at work: seats, queues and whose turn it is. No IO, no clock of its own.

    arrive(ticket, now) -> STARTED | QUEUED | REJECTED
    finish(ticket, now) -> the tickets that start now           seats free again (after a while, if it lingers)
    expire(now, wait)   -> the tickets that waited too long

Guarantees:
- Seats in use never exceed ``seats``, but for a request wider than all of them, which runs alone.
- While nobody waits and seats are free, an arrival costs a few counters and no queue.
- Among waiting flows seats are shared by virtual time (apiserver ``queueset.go``): ``now_r`` advances at the rate at
  which a busy queue is served; a queue's ``next_r`` is when its next request may begin in that time, and the
  queue whose first request would end first goes next. A queue that was idle starts at ``now_r``: no credit is saved up.
- Within a queue the order is that of arrival.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

from coxswain.apiserver.fairness.shares import Demand

Outcome = Literal["started", "queued", "rejected"]

#: What a request is assumed to take until it has finished, in seconds.
_ESTIMATED_SERVICE = 0.003


class Ticket:
    """A request, as its priority level sees it."""

    __slots__ = (
        "arrived",
        "arrived_r",
        "begin",
        "hand",
        "linger",
        "queue",
        "refuse",
        "schema",
        "seats",
        "started",
    )

    def __init__(
        self,
        schema: str,
        hand: tuple[int, ...],
        seats: int = 1,
        linger: float = 0.0,
        begin: Callable[[], object] | None = None,
        refuse: Callable[[], object] | None = None,
    ) -> None:
        """``hand``: queues it may wait in; ``linger``: seconds that it keeps its seats after it has finished.

        ``begin`` and ``refuse`` are for whoever waits; they are not called here.
        """
        self.schema = schema
        self.hand = hand
        self.seats = seats
        self.linger = linger
        self.begin = begin
        self.refuse = refuse
        self.queue: Queue | None = None
        self.arrived = self.arrived_r = 0.0
        self.started: float | None = None

    @property
    def work(self) -> float:
        """Seat-seconds that it is assumed to take."""
        return self.seats * (_ESTIMATED_SERVICE + self.linger)

    @property
    def load(self) -> int:
        """The same in whole seat-microseconds: sums of it stay exact, so that equal queues are equal."""
        return round(self.work * 1e6)


class Queue:
    """Waiting requests of a few flows."""

    __slots__ = ("index", "load", "next_r", "running", "seats", "waiting")

    def __init__(self, index: int) -> None:
        self.index = index
        self.waiting: deque[Ticket] = deque()
        self.next_r = 0.0
        #: Requests that were started from here and run, and their seats.
        self.running = 0
        self.seats = 0
        #: Seat-microseconds of who waits.
        self.load = 0


class QueueSet:
    """See the module's text. ``queues`` 0 means that what finds no seat is rejected."""

    def __init__(self, *, seats: int, queues: int = 0, length: int = 0) -> None:
        self.seats = seats
        self.length = length
        self.in_use = 0
        self.running = 0
        self.waiting = 0
        self.seats_waiting = 0
        self.now_r = 0.0
        self.demand = Demand()
        self.queues = [Queue(index) for index in range(queues)]
        self._busy: dict[int, Queue] = {}
        self._robin = 0
        self._dealt = 0
        self._synced = 0.0

    # -- what happens

    def arrive(self, ticket: Ticket, now: float) -> Outcome:
        """A request came."""
        seats = ticket.seats
        if not self.waiting and (self.in_use + seats <= self.seats or not self.running):
            self.running += 1
            self.in_use += seats
            ticket.started = now
            self.demand.set(self.in_use, now)
            return "started"
        if not self.queues:
            return "rejected"
        return self._enqueue(ticket, now)

    def finish(self, ticket: Ticket, now: float) -> list[Ticket]:
        """A started request is answered and does not linger: who starts in its place."""
        self._sync(now)
        self._served(ticket, now)
        return self.release(ticket, now)

    def finish_lingering(self, ticket: Ticket, now: float) -> None:
        """A started request is answered, but keeps its seats until ``release``."""
        self._sync(now)
        self._served(ticket, now)

    def release(self, ticket: Ticket, now: float) -> list[Ticket]:
        """The seats of ``ticket`` are free: who starts."""
        self.running -= 1
        self.in_use -= ticket.seats
        queue = ticket.queue
        if queue is not None:
            queue.running -= 1
            queue.seats -= ticket.seats
            self._settle(queue)
        started = self.dispatch(now) if self.waiting else []
        self.demand.set(self.in_use + self.seats_waiting, now)
        return started

    def cancel(self, ticket: Ticket, now: float) -> list[Ticket]:
        """A waiting request is not wanted any more; who starts, now that it is out of the way."""
        queue = ticket.queue
        if queue is None or ticket.started is not None or ticket not in queue.waiting:
            return []
        self._sync(now)
        queue.waiting.remove(ticket)
        self._left(queue, ticket)
        started = self.dispatch(now)
        self.demand.set(self.in_use + self.seats_waiting, now)
        return started

    def expire(self, now: float, wait: float) -> list[Ticket]:
        """Requests that have waited ``wait`` seconds; they are out."""
        if not self.waiting:
            return []
        self._sync(now)
        expired: list[Ticket] = []
        for queue in tuple(self._busy.values()):
            while queue.waiting and now - queue.waiting[0].arrived >= wait:
                ticket = queue.waiting.popleft()
                expired.append(ticket)
                self._left(queue, ticket)
        self.demand.set(self.in_use + self.seats_waiting, now)
        return expired

    def configure(self, *, seats: int, queues: int, length: int, now: float) -> list[Ticket]:
        """Other seats or queues; who starts. Queues that are too many go away once nobody is in any."""
        self._sync(now)
        self.seats, self.length = seats, length
        if queues > len(self.queues):
            self.queues += [Queue(index) for index in range(len(self.queues), queues)]
        elif not self._busy:
            del self.queues[queues:]
        return self.dispatch(now)

    # -- queues

    def _enqueue(self, ticket: Ticket, now: float) -> Outcome:
        self._sync(now)
        queue = self._shortest(ticket.hand)
        if len(queue.waiting) >= self.length:
            return "rejected"
        ticket.arrived, ticket.arrived_r, ticket.queue = now, self.now_r, queue
        if queue.index not in self._busy:
            queue.next_r = self.now_r
            self._busy[queue.index] = queue
        queue.waiting.append(ticket)
        queue.load += ticket.load
        self.waiting += 1
        self.seats_waiting += ticket.seats
        self._bound(queue)
        # A seat may be free that the first in line is too wide for: nothing changes for it by an arrival, but
        # a narrower one may come first by its virtual finish.
        self.dispatch(now, ticket)
        self.demand.set(self.in_use + self.seats_waiting, now)
        return "started" if ticket.started is not None else "queued"

    def _shortest(self, hand: tuple[int, ...]) -> Queue:
        """The queue of the hand with the least work; starting elsewhere each time, for the equal ones."""
        self._dealt += 1
        start, size, count = self._dealt, len(hand), len(self.queues)
        cards = (hand[(start + step) % size] % count for step in range(size))
        return min((self.queues[card] for card in cards), key=lambda queue: queue.load)

    def _left(self, queue: Queue, ticket: Ticket) -> None:
        """``ticket`` is out of ``queue``."""
        queue.load -= ticket.load
        self.waiting -= 1
        self.seats_waiting -= ticket.seats
        self._bound(queue)
        self._settle(queue)

    def _settle(self, queue: Queue) -> None:
        if not queue.waiting and not queue.running:
            self._busy.pop(queue.index, None)

    def _bound(self, queue: Queue) -> None:
        """A queue never lags behind the arrival of who is first in it: credit is not saved up."""
        if queue.waiting and queue.next_r < queue.waiting[0].arrived_r:
            queue.next_r = queue.waiting[0].arrived_r

    # -- turns

    def dispatch(self, now: float, only: Ticket | None = None) -> list[Ticket]:
        """Start whoever can; with ``only``, stop when somebody else is next and cannot."""
        started: list[Ticket] = []
        while self.waiting and (self.in_use < self.seats or not self.running):
            queue = self._next()
            ticket = queue.waiting[0]
            if self.in_use + ticket.seats > self.seats and self.running:
                break
            if only is not None and ticket is not only:
                break
            queue.waiting.popleft()
            queue.running += 1
            queue.seats += ticket.seats
            queue.next_r += ticket.work
            self._robin = queue.index
            self.running += 1
            self.in_use += ticket.seats
            ticket.started = now
            self._left(queue, ticket)
            started.append(ticket)
        return started

    def _next(self) -> Queue:
        """The queue whose first request would finish first in virtual time; of equal ones the next in turn."""
        count, robin = len(self.queues), self._robin

        def rank(queue: Queue) -> tuple[float, int]:
            return (queue.next_r + queue.waiting[0].work, (queue.index - robin - 1) % count)

        return min((queue for queue in self._busy.values() if queue.waiting), key=rank)

    def _served(self, ticket: Ticket, now: float) -> None:
        """Charge what the request really took."""
        queue = ticket.queue
        if queue is not None and ticket.started is not None:
            took = now - ticket.started
            queue.next_r -= ticket.seats * (_ESTIMATED_SERVICE - took)
            self._bound(queue)

    def _sync(self, now: float) -> None:
        elapsed = now - self._synced
        self._synced = now
        if self._busy and elapsed > 0:
            wanted = self.seats_waiting + sum(queue.seats for queue in self._busy.values())
            self.now_r += elapsed * min(wanted, self.seats) / len(self._busy)
