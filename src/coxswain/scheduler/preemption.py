"""DefaultPreemption: a pod that fits nowhere may take the place of pods of lower priority.

    eligible? -> nodes that removing pods may help -> dry run on some of them -> the best candidate
                 (rejected, but not unresolvably)     (from a random offset)     (pick_one)

A dry run takes all pods of lower priority off a node; if the pod fits then, they are given back one by one, the
most important first, those whose disruption would violate a budget before all others; who does not fit any more
is a victim. The best candidate has, in this order: the fewest violated budgets, the least important most
important victim, the smallest sum of priorities, the fewest victims, and the victim of highest priority that
started last. All of this is kube-scheduler's; ties go to the candidate found first.

Where a decision depends on resources alone (no host ports, no plugin of scope CLUSTER or of users has a say), the
dry run is arithmetic on integers; else the pods really leave the table for the time of the judgement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from coxswain.scheduler.diagnosis import NO_VICTIMS, NOT_HELPFUL, Unfit, histogram
from coxswain.scheduler.disruption import Budgets
from coxswain.scheduler.nodetable import PODS_ID
from coxswain.scheduler.nominated import Nominator, added, removed
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.template import Template
from coxswain.scheduler.verdict import Verdict, as_rows

NEVER: Final = "not eligible due to preemptionPolicy=Never."
TERMINATING: Final = "not eligible due to a terminating pod on the nominated node."
_OFFSET: Final = 2**31


@dataclass(frozen=True, slots=True)
class PreemptionArgs:
    """DefaultPreemptionArgs: how many candidates are looked for."""

    min_candidate_nodes_percentage: int = 10
    min_candidate_nodes_absolute: int = 100

    def candidates(self, nodes: int) -> int:
        """Of so many nodes that preemption may help on."""
        wanted = nodes * self.min_candidate_nodes_percentage // 100
        return min(max(wanted, self.min_candidate_nodes_absolute), nodes)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node and who would have to leave it, the most important first."""

    node_name: str
    victims: tuple[Pod, ...]
    violations: int = 0


def importance(pod: Pod) -> tuple[int, float]:
    """Sort key: higher priority first, then who started earlier (util ``MoreImportantPod``)."""
    return -pod.priority, pod.start


class Preemptor:
    """Finds candidates. Nothing is changed; ``random`` gives a number from 0 up to below its argument."""

    def __init__(self, nominator: Nominator, budgets: Budgets, random: Callable[[int], int]) -> None:
        self._nominator = nominator
        self._budgets = budgets
        self._random = random

    def ineligible(self, pod: Pod, verdict: Verdict, unfit: Unfit) -> str:
        """Why ``pod`` may not preempt now, or empty."""
        if not pod.may_preempt:
            return NEVER
        node = verdict.table.find(self._nominator.node_of(pod.uid))
        if node is None or node.row not in unfit.potential:
            return ""
        waits = any(other.preempted and other.priority < pod.priority for other in node.pods.values())
        return TERMINATING if waits else ""

    def candidates(
        self, pod: Pod, verdict: Verdict, unfit: Unfit, args: PreemptionArgs
    ) -> tuple[list[Candidate], str]:
        """All candidates found (those that violate no budget first), and what to say if there are none."""
        nodes = len(verdict.table)
        potential = unfit.potential
        found: tuple[list[Candidate], list[Candidate]] = ([], [])
        said: Counter[str] = Counter()
        if len(potential) and not self._anybody_below(pod, verdict):
            said[NO_VICTIMS] = len(potential)
        elif len(potential):
            wanted = args.candidates(len(potential))
            offset = self._random(len(potential))
            dry_run = self._dry_run(pod, verdict, unfit)
            for row in np.roll(potential, -offset).tolist():
                result = dry_run(row)
                if isinstance(result, Candidate):
                    found[bool(result.violations)].append(result)
                    if found[0] and len(found[0]) + len(found[1]) >= wanted:
                        break
                else:
                    said.update(result)
        if missing := nodes - len(potential):
            said[NOT_HELPFUL] += missing
        return found[0] + found[1], f"0/{nodes} nodes are available: {histogram(said)}."

    @staticmethod
    def _anybody_below(pod: Pod, verdict: Verdict) -> bool:
        return any(priority < pod.priority for priority in verdict.table.priorities)

    # -- on one node -----------------------------------------------------------------------------

    def _dry_run(
        self, pod: Pod, verdict: Verdict, unfit: Unfit
    ) -> Callable[[int], Candidate | tuple[str, ...]]:
        arithmetic = _Arithmetic(verdict) if verdict.only_resources_matter else None

        def run(row: int) -> Candidate | tuple[str, ...]:
            node = verdict.table.node(row)
            lower = [other for other in node.pods.values() if other.priority < pod.priority]
            if not lower:
                return (NO_VICTIMS,)
            lower.sort(key=importance)
            violating, others = self._budgets.split(lower)
            ahead = self._nominator.ahead_of(pod, node.name)
            if arithmetic is not None and unfit.by_resources(row):
                victims = arithmetic.victims(row, [*violating, *others], ahead)
            else:
                victims = _by_judgement(verdict, row, [*violating, *others], ahead)
            if isinstance(victims, tuple):
                return victims
            if not victims:
                return (NO_VICTIMS,)
            gone = {victim.uid for victim in victims}
            return Candidate(
                node.name,
                tuple(sorted(victims, key=importance)),
                sum(other.uid in gone for other in violating),
            )

        return run


class _Arithmetic:
    """Dry runs of one pod by resources alone.

    Where as much is left, and pods of the same templates would go in the same order, the same ones are victims: in a
    cluster of equal nodes most dry runs are known.
    """

    def __init__(self, verdict: Verdict) -> None:
        """Nothing changes in the table meanwhile."""
        table, template = verdict.table, verdict.template
        self._names = list(table.resources)
        self._ids = template.ids.tolist()
        free = table.allocatable[template.ids] - table.requested[template.ids] - template.amounts[:, None]
        self._spare = free.T.copy()
        self._known: dict[tuple[object, ...], list[int] | tuple[str, ...]] = {}

    def victims(self, row: int, lower: Sequence[Pod], ahead: Sequence[Pod]) -> list[Pod] | tuple[str, ...]:
        """Victims among ``lower`` (in the order in which they are given back), or why even all would not do."""
        spare = self._spare[row]
        key = (
            spare.tobytes(),
            *(other.template.serial for other in lower),
            None,
            *(one.template.serial for one in ahead),
        )
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._work_out(spare.tolist(), lower, ahead)
        return found if isinstance(found, tuple) else [lower[i] for i in found]

    def _work_out(
        self, spare: Sequence[int], lower: Sequence[Pod], ahead: Sequence[Pod]
    ) -> list[int] | tuple[str, ...]:
        """The same by place in ``lower``."""
        ids = self._ids
        for other in ahead:
            spare = [left - amount for left, amount in zip(spare, _amounts(other.template, ids), strict=True)]
        asked = [_amounts(other.template, ids) for other in lower]
        spare = [left + sum(amounts) for left, amounts in zip(spare, zip(*asked, strict=True), strict=True)]
        if min(spare) < 0:
            short = [i for i, left in zip(ids, spare, strict=True) if left < 0]
            reasons = ["Too many pods"] if PODS_ID in short else []
            return (*reasons, *(f"Insufficient {self._names[i]}" for i in short if i != PODS_ID))
        victims = []
        for i, amounts in enumerate(asked):
            less = [left - amount for left, amount in zip(spare, amounts, strict=True)]
            if min(less) < 0:
                victims.append(i)
            else:
                spare = less
        return victims


def _amounts(template: Template, ids: list[int]) -> list[int]:
    """What a pod asks of the resources ``ids``."""
    known: dict[int, int] | None = template.parsed.get("preemption")
    if known is None:
        known = dict(zip(template.ids.tolist(), template.amounts.tolist(), strict=True))
        template.parsed["preemption"] = known
    return [known.get(i, 0) for i in ids]


def _by_judgement(
    verdict: Verdict, row: int, lower: list[Pod], ahead: list[Pod]
) -> list[Pod] | tuple[str, ...]:
    """The same, asking every filter anew."""
    table = verdict.table
    name = table.node(row).name
    with removed(table, lower, name):
        reasons = judge_with(verdict, row, ahead)
        if reasons:
            return reasons
    victims: list[Pod] = []
    for i, other in enumerate(lower):
        with removed(table, [*victims, *lower[i + 1 :]], name):
            if judge_with(verdict, row, ahead):
                victims.append(other)
    return victims


def judge_with(verdict: Verdict, row: int, ahead: list[Pod]) -> tuple[str, ...]:
    """Why the pod may not run on a node to which pods ``ahead`` are nominated; empty if it may."""
    table = verdict.table
    if ahead:
        with added(table, ahead, table.node(row).name):
            if reasons := _judge(verdict, row):
                return reasons
    return _judge(verdict, row)


def _judge(verdict: Verdict, row: int) -> tuple[str, ...]:
    by, code = verdict.judge_rows(as_rows([row]))
    if not by[0]:
        return ()
    return verdict.rejection(row, int(by[0]), int(code[0]))[1].reasons


def pick_one(candidates: Sequence[Candidate]) -> Candidate:
    """The best of at least one candidate (kube-scheduler ``pickOneNodeForPreemption``)."""

    def rank(candidate: Candidate) -> tuple[int, int, int, int, float]:
        highest = candidate.victims[0].priority
        earliest = min(victim.start for victim in candidate.victims if victim.priority == highest)
        return (
            candidate.violations,
            highest,
            sum(victim.priority + _OFFSET for victim in candidate.victims),
            len(candidate.victims),
            -earliest,
        )

    return min(candidates, key=rank)
