"""A priority level at work, and what became of its requests by flow schema."""

from __future__ import annotations

import asyncio

from coxswain.api.names import Object
from coxswain.apiserver.fairness import shares
from coxswain.apiserver.fairness.queueset import QueueSet, Ticket
from coxswain.apiserver.fairness.shares import Bounds
from coxswain.apiserver.metrics import Tally

#: Bounds of waiting times, in seconds: kube-apiserver's.
WAITS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)


class Level:
    """A priority level at work, and what became of its requests by flow schema."""

    def __init__(self, name: str, uid: str, spec: Object) -> None:
        self.name = name
        self.uid = uid
        self.bounds = Bounds(0, 0, 0)
        self.queues = QueueSet(seats=0)
        self.deck = self.hand = self.length = 0
        self.exempt = False
        self.dispatched: dict[str, int] = {}
        self.rejected: dict[tuple[str, str], int] = {}
        #: Seconds that requests waited which were begun late, by flow schema; the others did not wait at all.
        self.waits: dict[str, Tally] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.specify(spec)

    def specify(self, spec: Object) -> None:
        """Take what the object says."""
        self.exempt = spec.get("type") == "Exempt"
        response = shares.concurrency(spec).get("limitResponse") or {}
        queuing = response.get("queuing") or {} if response.get("type") == "Queue" else {}
        self.deck = (queuing.get("queues") or 64) if queuing else 0
        self.hand = (queuing.get("handSize") or 8) if queuing else 0
        self.length = (queuing.get("queueLengthLimit") or 50) if queuing else 0

    def waited(self, ticket: Ticket) -> None:
        """Note how long a request waited that begins now."""
        tally = self.waits.get(ticket.schema)
        if tally is None:
            tally = self.waits[ticket.schema] = Tally(WAITS)
        if ticket.started is not None:
            tally.observe(ticket.started - ticket.arrived)

    def reject(self, schema: str, reason: str) -> None:
        """Count a refusal."""
        key = (schema, reason)
        self.rejected[key] = self.rejected.get(key, 0) + 1
