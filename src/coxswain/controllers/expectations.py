"""What a controller has asked for and not yet seen (client-go ``controller.ControllerExpectations``).

A controller that creates five pods must not look at its cache, find four, and create a fifth again. So it
notes what it expects, the handlers note what arrives, and it acts again only when nothing is outstanding:

    expect creations / deletions --> observed one by one --> satisfied --> the next sync may act
                                 |--> the cache is past the last creation ---------^
                                 \\--> five minutes pass (a watch lost something) --^

A sync that is not satisfied still computes status; the event that satisfies it queues the key again. A pod that
came and went while a watch was cut off has no such event: ``overdue`` says when to look whether the cache has
caught up. (Kubernetes knows the five minutes only, and waits for whatever event comes next.)
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock

#: Seconds after which what did not arrive is given up, and the controller acts on what it sees.
TIMEOUT = 300.0
#: Seconds between looks at what should have arrived long ago.
_LOOK = 15.0


@dataclass(slots=True)
class _Expected:
    creations: int = 0
    deletions: set[str] = field(default_factory=set)
    #: What may be gone although its deletion failed: the answer was lost.
    doubtful: set[str] = field(default_factory=set)
    since: float = 0.0
    #: Of the last object that was created.
    revision: int = 0


class Expectations:
    """Outstanding creations (counted) and deletions (by uid) of each owner's key.

    ``shown`` gives the revision up to which the cache shows what is.
    """

    def __init__(self, shown: Callable[[], int] = lambda: 0) -> None:
        self._of: dict[str, _Expected] = {}
        self._shown = shown

    def expect_creations(self, key: str, count: int) -> None:
        """``count`` objects are about to be created for ``key``."""
        expected = self._fresh(key)
        expected.creations += count

    def expect_deletions(self, key: str, uids: list[str]) -> None:
        """The objects with ``uids`` are about to be deleted for ``key``."""
        expected = self._fresh(key)
        expected.deletions.update(uids)
        expected.doubtful.difference_update(uids)

    def _fresh(self, key: str) -> _Expected:
        expected = self._of.setdefault(key, _Expected())
        expected.since = clock.monotonic()
        return expected

    def created(self, key: str, count: int = 1) -> None:
        """``count`` creations arrived, or will never arrive because they failed."""
        expected = self._of.get(key)
        if expected is not None:
            expected.creations = max(0, expected.creations - count)

    def wrote(self, key: str, answer: Object) -> None:
        """A creation was answered with ``answer``."""
        expected = self._of.get(key)
        if expected is not None:
            expected.revision = max(expected.revision, int(meta.resource_version(answer) or 0))

    def deleted(self, key: str, uid: str) -> None:
        """The deletion of ``uid`` arrived or failed."""
        expected = self._of.get(key)
        if expected is not None:
            expected.deletions.discard(uid)
            expected.doubtful.discard(uid)

    def doubt(self, key: str, uid: str) -> None:
        """The deletion of ``uid`` failed, but it may be gone, and the cache not show it yet."""
        expected = self._of.get(key)
        if expected is not None and uid in expected.deletions:
            expected.deletions.discard(uid)
            expected.doubtful.add(uid)

    def doubtful(self, key: str) -> Set[str]:
        """Those of ``key`` that may be gone: who has to delete some takes them again, lest others go as well."""
        expected = self._current(key)
        return frozenset() if expected is None else expected.doubtful

    def leaving(self, key: str) -> Set[str]:
        """Those of ``key`` that were deleted, or may have been, whatever the cache shows yet."""
        expected = self._current(key)
        return frozenset() if expected is None else expected.deletions | expected.doubtful

    def _current(self, key: str) -> _Expected | None:
        expected = self._of.get(key)
        return None if expected is None or clock.monotonic() - expected.since > TIMEOUT else expected

    def satisfied(self, key: str) -> bool:
        """Whether nothing is outstanding for ``key``, or it has been for too long. Asked when no call is under way."""
        expected = self._of.get(key)
        if expected is None or not (expected.creations or expected.deletions):
            return True
        if expected.creations and self._shown() >= expected.revision > 0:
            expected.creations = 0  # they came and went unseen
            if not expected.deletions:
                return True
        return clock.monotonic() - expected.since > TIMEOUT

    def overdue(self, key: str) -> float | None:
        """Seconds until the next look at a key that is not satisfied; None if it is."""
        return None if self.satisfied(key) else _LOOK

    def forget(self, key: str) -> None:
        """The owner is gone."""
        self._of.pop(key, None)
