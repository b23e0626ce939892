"""A priority level at work, and what became of its requests by flow schema."""

from __future__ import annotations

import asyncio

from coxswain.api.names import Object
from coxswain.apiserver.fairness import shares
from coxswain.apiserver.fairness.queueset import QueueSet
from coxswain.apiserver.fairness.shares import Bounds


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

    def reject(self, schema: str, reason: str) -> None:
        """Count a refusal."""
        key = (schema, reason)
        self.rejected[key] = self.rejected.get(key, 0) + 1
