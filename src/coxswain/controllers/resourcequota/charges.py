"""What admission has charged a quota and no cache shows yet, without IO.

Admission charges an object before it exists. A count from caches must not take that back: the object may be on its
way into the store, or the watch that brings it late. (Kubernetes' controller does: when watches are late, more can
be made there than a quota allows.) So a count adds what is held for charges whose objects were not seen:

    seen        the watch shows the quota: what its ``used`` grew by, our own writes aside, is held
    arrived     an object came, or is charged more: the last charge before it was for it, and is held no longer
    doubted     an object that is away for ``DOUBT`` seconds was refused after all, or the watch is late: ask the
                server for that source, now and until the cache has reached ``listed``; then the charge is void

Amounts are by limit of the quota; revisions are the cluster's, times monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.api.quota.names import source_of
from coxswain.controllers.resourcequota.decide import Usage

#: Seconds after which an object that was charged should have been seen.
DOUBT = 5.0
#: Objects that are remembered at most until their charge shows: where nobody charges them it never does.
_MOST_EARLY = 10_000
_NOTHING = Quantity.of(0)


@dataclass(slots=True)
class _Charge:
    """``amounts`` are those still held. ``listed``: a revision at which the object is there, or never will be."""

    source: str
    revision: int
    since: float
    amounts: Usage
    listed: int = 0

    @property
    def doubted_at(self) -> float:
        return self.since + DOUBT

    def is_old(self, now: float) -> bool:
        return now >= self.doubted_at


class Charges:
    """Of one quota (one uid). What it held before it was first ``seen`` is taken for one charge."""

    def __init__(self) -> None:
        self._used: Usage = {}
        self._revision = 0
        self._held: list[_Charge] = []
        #: Objects that came before the quota showed their charge: revision and amounts.
        self._early: list[tuple[int, Usage]] = []
        #: Quotas seen while a write of ours is under way: which of them is ours, only its answer tells.
        self._unread: list[tuple[Object, float]] | None = None

    # -- what the watch shows

    def seen(self, quota: Object, now: float) -> None:
        """The watch shows ``quota``."""
        if self._unread is not None:
            self._unread.append((quota, now))
            return
        revision, used, first = int(meta.resource_version(quota)), used_of(quota), not self._revision
        if revision <= self._revision:
            return
        by_source: dict[str, Usage] = {}
        for limit, amount in grown(self._used, used).items():
            source = source_of(limit)
            if source is not None:
                by_source.setdefault(source, {})[limit] = amount
        self._used, self._revision = used, revision
        for source, amounts in by_source.items():
            # A controller that starts lists objects after quotas: what was charged long ago is listed then.
            charge = _Charge(source, revision, now, amounts, revision if first else 0)
            for arrival, early in self._early:
                if arrival > revision:
                    _redeem(charge.amounts, early)
            if charge.amounts:
                self._held.append(charge)
        self._early = [(arrival, left) for arrival, left in self._early if arrival > revision and left]

    def writing(self) -> None:
        """A write of ours begins; it ends with ``wrote``."""
        self._unread = []

    def wrote(self, answer: Object | None) -> None:
        """A write of ours has ended; None when it failed, or nobody knows."""
        if answer is not None:
            self._used, self._revision = used_of(answer), int(meta.resource_version(answer))
            # The server took the write, so we had seen every charge before it. Nobody charged these.
            self._early = [(arrival, left) for arrival, left in self._early if arrival > self._revision]
        unread, self._unread = self._unread or (), None
        for quota, at in unread:
            self.seen(quota, at)

    def arrived(self, revision: int, amounts: Usage) -> None:
        """An object that uses ``amounts`` of the quota came, or one came to use so much more."""
        left = dict(amounts)
        for charge in reversed(self._held):
            if charge.revision < revision and left:
                _redeem(charge.amounts, left)
        self._held = [charge for charge in self._held if charge.amounts]
        if left and (revision > self._revision or self._unread is not None):
            self._early.append((revision, left))
            del self._early[:-_MOST_EARLY]

    # -- what a count asks

    def settle(self, reached: Mapping[str, int], now: float) -> set[str]:
        """The doubted sources, now that the caches have ``reached`` these revisions (by source)."""
        self._held = [
            charge
            for charge in self._held
            if not (charge.is_old(now) and 0 < charge.listed <= reached.get(charge.source, charge.listed))
        ]
        return {charge.source for charge in self._held if charge.is_old(now)}

    def listed(self, source: str, revision: int, now: float) -> None:
        """The server, asked at ``now``, listed the objects of ``source`` at ``revision``."""
        for charge in self._held:
            if charge.source == source and charge.is_old(now) and not charge.listed:
                charge.listed = revision

    def held(self, now: float) -> Usage:
        """What is held for objects that are not doubted yet."""
        total: Usage = {}
        for charge in self._held:
            if not charge.is_old(now):
                for limit, amount in charge.amounts.items():
                    total[limit] = total.get(limit, _NOTHING) + amount
        return total

    def next_doubt(self, now: float) -> float | None:
        """Seconds until the next charge is doubted; None if there is none."""
        waits = [charge.doubted_at - now for charge in self._held if not charge.is_old(now)]
        return min(waits, default=None)


def used_of(quota: Object) -> Usage:
    """What the quota's status says is in use."""
    used = (quota.get("status") or {}).get("used") or {}
    return {limit: Quantity.parse(amount) for limit, amount in used.items()}


def kept(counted: Usage, used: Usage, held: Usage) -> Usage:
    """``counted``, but of what is ``used`` now nothing taken back that is ``held``."""
    return {
        limit: max(amount, min(used.get(limit, _NOTHING), amount + held.get(limit, _NOTHING)))
        for limit, amount in counted.items()
    }


def grown(old: Usage, new: Usage) -> Usage:
    """By how much ``new`` exceeds ``old``, where it does."""
    differences = {limit: amount - old.get(limit, _NOTHING) for limit, amount in new.items()}
    return {limit: amount for limit, amount in differences.items() if amount.sign() > 0}


def _redeem(held: Usage, arrived: Usage) -> None:
    """Take from both what they have in common; nothing is left of what is used up."""
    for limit in list(held.keys() & arrived.keys()):
        common = min(held[limit], arrived[limit])
        for amounts in (held, arrived):
            amounts[limit] = amounts[limit] - common
            if not amounts[limit]:
                del amounts[limit]
