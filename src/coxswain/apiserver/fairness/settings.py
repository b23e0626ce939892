"""Settings of API Priority and Fairness."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FairnessSettings:
    """How requests share the server. Times are seconds."""

    enabled: bool = True
    """Off: only ``limits.max_in_flight`` and ``max_mutating_in_flight`` bound what is in progress."""
    queue_wait: float = 15.0
    """How long a request may wait for its turn; Kubernetes gives a quarter of the request timeout."""
    adjust_interval: float = 10.0
    """How often seats are lent anew among priority levels, as in Kubernetes."""
    objects_bytes_per_seat: int = 100_000
    """A list takes a seat for as many bytes of objects as this, as in Kubernetes."""
    max_list_seats: int = 100
    """Most seats of a list; a level allows at most 15 % of its own."""
    max_list_bytes: int = 1_000_000
    """What a list counts at most: it is written from the cache's bytes, never built as a whole of objects."""
    watchers_per_seat: int = 10
    """A write takes a seat a while longer for as many watchers as this that have to be told of it."""
    max_mutating_seats: int = 10
    """Most seats of a write."""
    event_duration: float = 0.0002
    """Seconds that telling ``watchers_per_seat`` watchers occupies a seat. Kubernetes counts 0.005; here an event
    is framed once for all of them, and a watcher costs some 10 µs."""
