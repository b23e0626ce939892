"""Decisions about all waiting pods of a gang at once: enough of them get a node, or none does.

    beside the others        every pod is placed as if it came alone; the first try
    once others have left    whoever found no node preempts, each finding the table as the victims of those before it
                             will leave it; the second try

Nobody is evicted for a group that could not run then either. While victims end, every pod that the group counts on
is nominated to its node, those that need no victims too, so that no lower pod takes what was found for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from coxswain.scheduler.cycle import Cycle, Failure, Placement
from coxswain.scheduler.framework import Profile
from coxswain.scheduler.pod import Pod


@dataclass(frozen=True, slots=True)
class Refusal:
    """Too few pods of the group fit now: all wait, and nobody is assumed anywhere."""

    why: str
    #: By key, of the pods that were tried and found no node; none if there are too few pods.
    failures: dict[str, Failure]
    #: By key, where each pod will be when enough victims have left; empty if that would not help.
    nominated: dict[str, str] = field(default_factory=dict)


def schedule_group(
    cycle: Cycle, pods: Sequence[Pod], profile: Profile, missing: int
) -> list[Placement | Failure] | Refusal:
    """Decide for pods of one group; at least ``missing`` of them must get a node.

    Returns the outcomes in order. Pods beyond the minimum that find no node preempt as any pod does.
    """
    with _Attempt(cycle, pods, profile, missing) as attempt:
        if attempt.place():
            return attempt.keep()
        placed = len(attempt.placed)
        attempt.make_room()
    why = f"minCount ({missing}) cannot be satisfied: {placed} scheduled, {len(pods) - placed} remaining"
    return Refusal(why, attempt.failures, attempt.nominated)


class _Attempt:
    """The two tries. Unless ``keep`` is reached, the table is as it was at the end, also where a plugin has failed."""

    def __init__(self, cycle: Cycle, pods: Sequence[Pod], profile: Profile, missing: int) -> None:
        self.placed: dict[str, Placement] = {}
        self.failures: dict[str, Failure] = {}
        self.nominated: dict[str, str] = {}
        self._cycle = cycle
        self._pods = pods
        self._profile = profile
        self._missing = missing
        self._expected = {pod.uid: cycle.nominator.node_of(pod.uid) for pod in pods}
        self._added: list[Placement] = []
        self._removed: list[Placement] = []
        self._kept = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._kept:
            return
        for placement in self._added:
            self._cycle.table.remove_pod(placement.pod, placement.node_name)
        for placement in self._removed:
            self._cycle.table.add_pod(placement.pod, placement.node_name)
        for pod in self._pods:
            self._cycle.nominator.set(pod, self.nominated.get(pod.key, ""))

    def place(self) -> bool:
        """The first try; it ends as soon as it is clear that too few will fit."""
        for pod in self._pods:
            if len(self.failures) > len(self._pods) - self._missing:
                break
            self._decide(pod, preempt=False)
        return len(self.placed) >= self._missing

    def keep(self) -> list[Placement | Failure]:
        """All outcomes, and those that were placed stay so; who is beyond the minimum preempts as any pod does."""
        outcomes = [self.placed.get(pod.key) or self._schedule(pod, preempt=True) for pod in self._pods]
        self._kept = True
        return outcomes

    def make_room(self) -> None:
        """The second: ``nominated`` is where as many pods as are missing will be, or stays empty."""
        self._await_victims()
        left = [pod for pod in self._pods if pod.key not in self.placed]
        while left and len(self.placed) < self._missing <= len(self.placed) + len(left):
            self._decide(left.pop(0), preempt=True)
        if len(self.placed) >= self._missing:
            self.nominated = {key: placement.node_name for key, placement in self.placed.items()}

    def _await_victims(self) -> None:
        """Those whom the group preempted already have left."""
        for pod in self._pods:
            node = self._cycle.table.find(self._expected[pod.uid])
            if node is not None:
                ending = [one for one in node.pods.values() if one.preempted and one.priority < pod.priority]
                self._remove(ending, node.name)

    def _decide(self, pod: Pod, *, preempt: bool) -> None:
        """Place the pod, if it has to be by removing its victims."""
        outcome = self._schedule(pod, preempt=preempt)
        if isinstance(outcome, Failure):
            self.failures[pod.key] = outcome
            candidate = outcome.diagnosis.preempts
            if candidate is None:
                return
            self._remove(candidate.victims, candidate.node_name)
            outcome = self._cycle.assume(pod, self._cycle.table.row_of[candidate.node_name])
            self._added.append(outcome)
        self.placed[pod.key] = outcome

    def _schedule(self, pod: Pod, *, preempt: bool) -> Placement | Failure:
        (outcome,) = self._cycle.schedule([pod], self._profile, preempt=preempt)
        if isinstance(outcome, Placement):
            self._added.append(outcome)
        return outcome

    def _remove(self, pods: Sequence[Pod], node_name: str) -> None:
        for pod in pods:
            self._cycle.table.remove_pod(pod, node_name)
            self._removed.append(Placement(pod, node_name))
