"""CrashLoopBackOff: 10 s, doubled with each restart up to 5 minutes, forgotten after 10 quiet minutes.

The waiting time counts from the moment the container ended, as kubelet counts it: a container that ran for
longer than its back-off restarts at once, and one that ran for ten minutes starts the row anew.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Entry:
    delay: float
    updated: float


class Backoff:
    """Delays by key. Times and delays are seconds."""

    def __init__(self, initial: float = 10.0, maximum: float = 300.0) -> None:
        self._initial = initial
        self._maximum = maximum
        self._entries: dict[str, _Entry] = {}

    def delay(self, key: str) -> float:
        """The delay that applies to ``key`` now; 0 when it never failed."""
        entry = self._entries.get(key)
        return entry.delay if entry else 0.0

    def remaining(self, key: str, ended: float, now: float) -> float:
        """Seconds to wait still, for something that ended at ``ended``; 0 when it may start."""
        entry = self._entries.get(key)
        if entry is None or self._expired(entry, ended):
            return 0.0
        return max(0.0, ended + entry.delay - now)

    def next(self, key: str, ended: float, now: float) -> None:
        """``key`` is being started again: the next delay is longer."""
        entry = self._entries.get(key)
        if entry is None or self._expired(entry, ended):
            self._entries[key] = _Entry(self._initial, now)
        else:
            entry.delay = min(entry.delay * 2, self._maximum)
            entry.updated = now

    def forget(self, key: str) -> None:
        """Start the row anew."""
        self._entries.pop(key, None)

    def _expired(self, entry: _Entry, ended: float) -> bool:
        return ended - entry.updated > self._maximum * 2


def go_duration(seconds: float) -> str:
    """``80`` -> ``1m20s``: whole seconds as Go prints a duration."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
