"""What a controller has asked for and not yet seen (client-go ``controller.ControllerExpectations``).

A controller that creates five pods must not look at its cache, find four, and create a fifth again. So it
notes what it expects, the handlers note what arrives, and it acts again only when nothing is outstanding:

    expect creations / deletions --> observed one by one --> satisfied --> the next sync may act
                                 \\--> five minutes pass (a watch lost something) --^

A sync that is not satisfied still computes status; the event that satisfies it queues the key again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coxswain.base import clock

#: Seconds after which what did not arrive is given up, and the controller acts on what it sees.
TIMEOUT = 300.0


@dataclass(slots=True)
class _Expected:
    creations: int = 0
    deletions: set[str] = field(default_factory=set)
    since: float = 0.0


class Expectations:
    """Outstanding creations (counted) and deletions (by uid) of each owner's key."""

    def __init__(self) -> None:
        self._of: dict[str, _Expected] = {}

    def expect_creations(self, key: str, count: int) -> None:
        """``count`` objects are about to be created for ``key``."""
        expected = self._fresh(key)
        expected.creations += count

    def expect_deletions(self, key: str, uids: list[str]) -> None:
        """The objects with ``uids`` are about to be deleted for ``key``."""
        self._fresh(key).deletions.update(uids)

    def _fresh(self, key: str) -> _Expected:
        expected = self._of.setdefault(key, _Expected())
        expected.since = clock.monotonic()
        return expected

    def created(self, key: str, count: int = 1) -> None:
        """``count`` creations arrived, or will never arrive because they failed."""
        expected = self._of.get(key)
        if expected is not None:
            expected.creations = max(0, expected.creations - count)

    def deleted(self, key: str, uid: str) -> None:
        """The deletion of ``uid`` arrived or failed."""
        expected = self._of.get(key)
        if expected is not None:
            expected.deletions.discard(uid)

    def satisfied(self, key: str) -> bool:
        """Whether nothing is outstanding for ``key``, or it has been for too long."""
        expected = self._of.get(key)
        if expected is None or not (expected.creations or expected.deletions):
            return True
        return clock.monotonic() - expected.since > TIMEOUT

    def forget(self, key: str) -> None:
        """The owner is gone."""
        self._of.pop(key, None)
