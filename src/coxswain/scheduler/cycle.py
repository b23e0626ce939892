"""The scheduling cycle: a run of identical pods in, a node or a diagnosis for each out. No IO; time is only noted.

    narrow (PreFilter) -> judge (Filter) -> sample -> score -> choose -> assume
                                        \\-> no node: explain -> preempt (PostFilter) -> nominate

Sampling is kube-scheduler's: enough feasible nodes are looked for from where the last search ended, going round
the zone-interleaved order; 0 percent means 50 less one for every 125 nodes, at least 5; never fewer than 100
nodes. Among nodes of the best total each is as likely.

Pods whose decision depends only on the rows' own state and on pods counted by topology domain (no host ports, no
volumes, the scoring plugins that the kernel knows) go through ``_native.batch`` many at a time; the result is that
of one at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from coxswain._native import batch, filters, sampling
from coxswain._native.neighbours import Neighbours
from coxswain.scheduler import diagnosis
from coxswain.scheduler.diagnosis import Diagnosis, Unfit
from coxswain.scheduler.disruption import Budgets
from coxswain.scheduler.firstpod import FirstPods
from coxswain.scheduler.framework import UNSCHEDULABLE, Codes, FilterPlugin, Profile, Rejection, Scope
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.nominated import Nominator, added
from coxswain.scheduler.plan import BATCHED_SCORES
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.preemption import Candidate, Preemptor, judge_with, pick_one
from coxswain.scheduler.template import Template
from coxswain.scheduler.timing import SUCCESS, Timing, now, plugin_ran
from coxswain.scheduler.verdict import Verdict, as_rows

MIN_FEASIBLE_NODES: Final = 100
MIN_PERCENTAGE: Final = 5
_TAKEN_BY_BATCH: Final = 255
_NO_ROOM_BESIDE_NOMINATED: Final = 254


@dataclass(frozen=True, slots=True)
class Placement:
    """A pod and the node that was chosen; it is assumed there already."""

    pod: Pod
    node_name: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A pod that fits nowhere now."""

    pod: Pod
    diagnosis: Diagnosis


def feasible_nodes_to_find(nodes: int, percentage: int) -> int:
    """How many feasible nodes are enough (kube-scheduler ``numFeasibleNodesToFind``)."""
    if nodes < MIN_FEASIBLE_NODES or percentage >= 100:
        return nodes
    if percentage == 0:
        percentage = max(50 - nodes // 125, MIN_PERCENTAGE)
    return max(nodes * percentage // 100, MIN_FEASIBLE_NODES)


class Cycle:
    """Decides for one node table. ``seed`` fixes the choice among equals."""

    def __init__(
        self, table: NodeTable, seed: int, *, memory: int = 128 << 20, budgets: Budgets | None = None
    ) -> None:
        """``memory``: bytes that kept verdicts may take, roughly."""
        self.table = table
        self.nominator = Nominator()
        self.preemptor = Preemptor(self.nominator, budgets or Budgets(), self._below)
        self._start = 0
        self._chance = np.array([seed | 1], np.uint64)
        self._memory = memory
        self._verdicts: dict[tuple[str, Template], Verdict] = {}
        self._first: dict[str, FirstPods] = {}
        self._scratch: Rows = np.empty(0, np.int32)
        #: Where the time of the decisions to come is noted; None: nowhere.
        self.timing: Timing | None = None
        self._evaluated: Counter[tuple[str, str, str]] = Counter()

    @property
    def chance(self) -> NDArray[np.uint64]:
        """The tie-break generator's state."""
        return self._chance

    def kept_verdicts(self) -> Iterable[Verdict]:
        """The verdicts that are kept, the least recently used first; a live view."""
        return self._verdicts.values()

    def verdict(self, template: Template, profile: Profile) -> Verdict:
        """The kept state of a template, newest last; the oldest are dropped."""
        key = (profile.name, template)
        found = self._verdicts.pop(key, None)
        if found is None:
            found = Verdict(template, profile, self.table)
            found.uses = int("placed by FirstPods" in template.parsed)
            # About 60 bytes a node: four arrays of codes, two of the plan, up to five of raw scores.
            keep = min(max(self._memory // (60 * self.table.capacity), 16), 1024)
            while len(self._verdicts) >= keep:
                self._count(self._verdicts.pop(next(iter(self._verdicts))))
        self._verdicts[key] = found
        found.timing = self.timing
        return found

    def _count(self, verdict: Verdict) -> None:
        if verdict.evaluated:
            for plugin, point in verdict.asked():
                self._evaluated[plugin, point, verdict.profile.name] += verdict.evaluated
            verdict.evaluated = 0

    def take_evaluations(self) -> Counter[tuple[str, str, str]]:
        """How many pods each (plugin, extension point, profile) had a say about since this was last asked."""
        for verdict in self._verdicts.values():
            self._count(verdict)
        for first in self._first.values():
            for verdict in first.verdicts():
                self._count(verdict)
        taken, self._evaluated = self._evaluated, Counter()
        return taken

    def schedule(
        self, pods: Sequence[Pod], profile: Profile, *, preempt: bool = True
    ) -> list[Placement | Failure]:
        """Decide for pods of one template, in order; those that get a node are assumed on it.

        A failure ends the run for the pods after it too: they are identical, so they fail alike, though
        each may preempt other pods. Victims are named, not removed; their preemptor is nominated.
        """
        if not len(self.table):
            return [Failure(pod, diagnosis.no_nodes()) for pod in pods]
        if len(pods) == 1 and not len(self.nominator):
            at_once = self._place_first(pods[0], profile)
            if at_once is not None:
                return [at_once]
        outcomes: list[Placement | Failure] = []
        for run in self._runs(pods):
            verdict = self.verdict(pods[0].template, profile)
            placed = self._place(run, verdict)
            outcomes += placed
            if len(placed) < len(run):
                outcomes += self._fail(verdict, run[len(placed) :], preempt=preempt)
        return outcomes

    def _runs(self, pods: Sequence[Pod]) -> Iterable[Sequence[Pod]]:
        """Pods that may be decided in one go; those with a nomination one by one."""
        if not len(self.nominator):
            yield pods
            return
        for expected, run in groupby(pods, lambda pod: bool(self.nominator.node_of(pod.uid))):
            if expected:
                yield from ([pod] for pod in run)
            else:
                yield list(run)

    def _place(self, pods: Sequence[Pod], verdict: Verdict) -> list[Placement]:
        # A template's first pod is scored on its sample; from the second on, arrays over all rows pay.
        verdict.uses += 1
        verdict.evaluated += len(pods)
        if (len(pods) > 1 or verdict.uses > 1) and self._batchable(verdict):
            narrowed = verdict.narrow()
            if narrowed is not None:
                if not len(self.nominator) and not isinstance(narrowed.result, Rejection):
                    named = self._rows_of(narrowed.result)
                    return self._schedule_batch(pods, verdict, verdict.neighbours(), named)
            elif not len(self.nominator):
                return self._schedule_batch(pods, verdict, verdict.neighbours())
            elif verdict.neighbours() is None and not self.nominator.node_of(pods[0].uid):
                return self._schedule_around(pods, verdict)
        placed = []
        for pod in pods:
            row = self._choose(verdict, pod)
            if row < 0:
                break
            placed.append(self.assume(pod, row))
        return placed

    def _place_first(self, pod: Pod, profile: Profile) -> Placement | None:
        """The first pod of a template, where one pass over the nodes decides it (see ``firstpod``)."""
        first = self._first.get(profile.name)
        if first is None or first.profile is not profile:
            first = self._first[profile.name] = FirstPods(profile, self.table)
        if not first.able:
            return None
        nodes = len(self.table)
        wanted = feasible_nodes_to_find(nodes, profile.percentage_of_nodes_to_score)
        began = now() if self.timing is not None else 0.0
        row, start = first.place(pod.template, self._start % nodes, wanted, self._chance, self._room(wanted))
        if self.timing is not None:
            self.timing.add("Score", began)
        if row < 0:
            return None
        self._start = start
        self.table.place_counted(((pod, row),))
        return Placement(pod, self.table.node(row).name)

    def assume(self, pod: Pod, row: int) -> Placement:
        """Count the pod on a row from now on."""
        name = self.table.node(row).name
        self.table.add_pod(pod, name)
        self.nominator.remove(pod.uid, name)
        return Placement(pod, name)

    def _below(self, limit: int) -> int:
        """A number from 0 up to below ``limit``, of the seeded generator."""
        value = int(self._chance[0])
        value ^= (value << 13) & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 7
        value ^= (value << 17) & 0xFFFFFFFFFFFFFFFF
        self._chance[0] = value
        return (value >> 11) % limit

    # -- one at a time ---------------------------------------------------------------------------

    def _choose(self, verdict: Verdict, pod: Pod) -> int:
        """The row for one pod of this template, or -1."""
        expected = self.table.row_of.get(self.nominator.node_of(pod.uid))
        if expected is not None and self._may_run(verdict, pod, expected):
            return expected
        feasible = self.feasible(verdict, pod)
        if len(feasible) <= 1:
            return int(feasible[0]) if len(feasible) else -1
        return int(feasible[sampling.choose(verdict.totals(feasible), self._chance)])

    def feasible(self, verdict: Verdict, pod: Pod, *, limit: bool = True) -> Rows:
        """Rows that the pod may run on: enough of them, or all without ``limit``."""
        narrowed = verdict.narrow()
        if narrowed is None:
            if limit and not len(self.nominator) and (asked := verdict.asked_every_time()):
                return self._sample_in_parts(verdict, asked)
            by, _ = verdict.judge()
            by = self._with_nominated(verdict, pod, by)
            return self._sample(verdict, by) if limit else self.table.order[by[self.table.order] == 0]
        if isinstance(narrowed.result, Rejection):
            return self.table.order[:0]
        rows = self._rows_of(narrowed.result)
        by, _ = verdict.judge_rows(rows)
        rows = rows[by == 0]
        if len(self.nominator):
            rows = as_rows([row for row in rows.tolist() if self._may_run(verdict, pod, row)])
        return rows

    def _may_run(self, verdict: Verdict, pod: Pod, row: int) -> bool:
        """Whether every filter lets the pod run on the row, beside the pods nominated to it."""
        narrowed = verdict.narrow()
        name = self.table.node(row).name
        if narrowed is not None and (isinstance(narrowed.result, Rejection) or name not in narrowed.result):
            return False
        return not judge_with(verdict, row, self.nominator.ahead_of(pod, name))

    def _with_nominated(self, verdict: Verdict, pod: Pod, by: Codes) -> Codes:
        """``by`` with the rows rejected that have no room beside the pods nominated to them."""
        if not len(self.nominator):
            return by
        rows = [self.table.row_of.get(name, -1) for name in self.nominator.nodes_ahead_of(pod)]
        refused = [row for row in rows if row >= 0 and not by[row] and not self._may_run(verdict, pod, row)]
        if refused:
            by = by.copy()
            by[refused] = _NO_ROOM_BESIDE_NOMINATED
        return by

    def _sample_in_parts(self, verdict: Verdict, asked: list[FilterPlugin]) -> Rows:
        """What ``_sample`` finds, judging no more nodes than it takes to find enough."""
        order = self.table.order
        nodes = len(order)
        wanted = feasible_nodes_to_find(nodes, verdict.profile.percentage_of_nodes_to_score)
        start, seen, missing = self._start % nodes, 0, wanted
        round_trip = np.concatenate((order[start:], order[:start]))
        found: list[Rows] = []
        while seen < nodes and missing:
            part = round_trip[seen : seen + max(2 * missing, MIN_FEASIBLE_NODES)]
            at = verdict.passing(asked, part)[:missing]
            found.append(part[at])
            missing -= len(at)
            seen += len(part) if missing else int(at[-1]) + 1
        self._start = (self._start + seen) % nodes
        return np.concatenate(found)

    def _sample(self, verdict: Verdict, by: Codes) -> Rows:
        order = self.table.order
        wanted = feasible_nodes_to_find(len(order), verdict.profile.percentage_of_nodes_to_score)
        rows = self._room(wanted)
        found, seen = sampling.sample(by, order, self._start % len(order), wanted, rows)
        self._start = (self._start + seen) % len(order)
        return rows[:found].copy()

    def _rows_of(self, names: frozenset[str]) -> Rows:
        row_of = self.table.row_of
        return as_rows(sorted(row_of[name] for name in names if name in row_of))

    def _room(self, wanted: int) -> Rows:
        if len(self._scratch) < wanted:
            self._scratch = np.empty(wanted, np.int32)
        return self._scratch

    # -- many at a time --------------------------------------------------------------------------

    def _batchable(self, verdict: Verdict) -> bool:
        return (
            not verdict.template.host_ports
            and not verdict.has_uncounted_plugins
            and verdict.fit_number > 0
            and all(
                type(w.plugin) in BATCHED_SCORES and getattr(w.plugin, "batchable", True)
                for w in verdict.scores
                if w.plugin.SCOPE is not Scope.CLUSTER
            )
        )

    def _schedule_batch(
        self,
        pods: Sequence[Pod],
        verdict: Verdict,
        neighbours: Neighbours | None = None,
        named: Rows | None = None,
    ) -> list[Placement]:
        """``named``: the only rows worth looking at; all of them are, and the next search starts where it would."""
        table, template = self.table, verdict.template
        verdict.refresh()
        if named is None:
            order = table.order
            start = self._start % len(order)
            wanted = feasible_nodes_to_find(len(order), verdict.profile.percentage_of_nodes_to_score)
        else:
            order, start, wanted = named, 0, len(named)
        plan = verdict.plan()
        began = now() if self.timing is not None else 0.0
        chosen = np.empty(len(pods), np.int32)
        placed, ended = batch.schedule(
            len(pods),
            table.allocatable,
            table.requested,
            table.nonzero,
            template.ids,
            template.amounts,
            template.ask,
            verdict.rejected_by,
            plan.base,
            plan.image,
            plan.taints,
            plan.affinity,
            plan.weights,
            plan.most,
            order,
            start,
            wanted,
            self._chance,
            self._room(wanted),
            chosen,
            neighbours,
        )
        if self.timing is not None:
            self.timing.add("Score", began)
        if named is None:
            self._start = ended
        rows = chosen[:placed]
        table.place_counted(zip(pods, rows.tolist(), strict=False))
        self._settle(verdict, rows)
        names = [table.nodes[row].name for row in rows.tolist()]
        return [Placement(pod, name) for pod, name in zip(pods, names, strict=False)]

    def _schedule_around(self, pods: Sequence[Pod], verdict: Verdict) -> list[Placement]:
        """A batch that leaves nominated pods their room.

        For the kernel's time their requests count as taken, and rows that refuse the pod beside them are out.
        """
        verdict.refresh()
        held: list[tuple[int, list[Pod]]] = []
        for name, ahead in self.nominator.nodes_ahead_of(pods[0]).items():
            row = self.table.row_of.get(name)
            if row is None or verdict.rejected_by[row]:
                continue
            if self._may_run(verdict, pods[0], row):
                held.append((row, ahead))
            else:
                held.append((row, []))
                verdict.rejected_by[row] = _NO_ROOM_BESIDE_NOMINATED
        self._hold(held, 1)
        placed = self._schedule_batch(pods, verdict)
        self._hold(held, -1)
        # Their arrays are not what they seem: look at these rows again before the next decision.
        self.table.pod_log.add([row for row, _ in held], self.table.capacity)
        return placed

    def _hold(self, held: list[tuple[int, list[Pod]]], sign: int) -> None:
        for row, ahead in held:
            for pod in ahead:
                self.table.requested[pod.template.ids, row] += sign * pod.template.amounts

    def _settle(self, verdict: Verdict, rows: Rows) -> None:
        """Give the rows that the kernel filled up their proper code; then the verdict is up to date."""
        full = np.unique(rows[verdict.rejected_by[rows] == _TAKEN_BY_BATCH])
        if len(full):
            codes = np.zeros(len(full), np.uint8)
            template = verdict.template
            filters.fit(
                self.table.allocatable, self.table.requested, template.ids, template.amounts, full, codes
            )
            verdict.rejected_by[full] = verdict.fit_number
            verdict.code[full] = codes
        verdict.mark_current()

    # -- failures --------------------------------------------------------------------------------

    def _fail(self, verdict: Verdict, pods: Sequence[Pod], *, preempt: bool) -> list[Failure]:
        if not pods:
            return []
        unfit = self._unfit(verdict, pods[0])
        known: dict[tuple[bool, int], Diagnosis] = {}
        failures = []
        for pod in pods:
            kind = (pod.may_preempt, pod.priority)
            found = known.get(kind)
            if found is None or self.nominator.node_of(pod.uid):
                found = self._preempt(pod, verdict, unfit) if preempt else unfit.diagnosis(None)
                if found.preempts is None and not self.nominator.node_of(pod.uid):
                    known[kind] = found
            if found.preempts is not None:
                self.nominator.set(pod, found.preempts.node_name)
            failures.append(Failure(pod, found))
        return failures

    def _preempt(self, pod: Pod, verdict: Verdict, unfit: Unfit) -> Diagnosis:
        began, timing = (now() if self.timing is not None else 0.0), self.timing
        self.timing = None  # a dry run asks filters about one node at a time: not what their times are about
        try:
            candidates, none = self.preemption_candidates(pod, verdict.profile, unfit)
        finally:
            self.timing = verdict.timing = timing
        if timing is not None:
            status = SUCCESS if candidates else UNSCHEDULABLE
            plugin_ran("DefaultPreemption", "PostFilter", status, began)
            timing.add("PostFilter", began, status)
        return unfit.diagnosis(None, pick_one(candidates)) if candidates else none

    def preemption_candidates(
        self, pod: Pod, profile: Profile, unfit: Unfit
    ) -> tuple[list[Candidate], Diagnosis]:
        """Nodes that preemption may free for the pod; what to say if there are none."""
        args = profile.preemption
        if args is None:
            return [], unfit.diagnosis(None)
        verdict = self.verdict(pod.template, profile)
        if reason := self.preemptor.ineligible(pod, verdict, unfit):
            return [], unfit.diagnosis(reason)
        candidates, message = self.preemptor.candidates(pod, verdict, unfit, args)
        return candidates, unfit.diagnosis(message, hopeless=True)

    def unfit(self, pod: Pod, profile: Profile) -> Unfit:
        """What the filters of a profile say of the pod on all nodes."""
        return self._unfit(self.verdict(pod.template, profile), pod)

    def _unfit(self, verdict: Verdict, pod: Pod) -> Unfit:
        """What the filters say. Rows refused only because of nominated pods are told as what refused them."""
        narrowed = verdict.narrow()
        if narrowed is not None:
            if isinstance(narrowed.result, Rejection):
                return diagnosis.rejected_outright(verdict, narrowed.plugin, narrowed.result)
            rows = self._rows_of(narrowed.result)
            by, code = verdict.judge_rows(rows)
        else:
            rows = self.table.order
            by, code = (values[rows] for values in verdict.judge())
        crowded: list[tuple[list[Pod], str]] = []
        for at in np.flatnonzero(by == 0).tolist():
            row = rows[at : at + 1]
            name = self.table.node(int(row[0])).name
            if ahead := self.nominator.ahead_of(pod, name):
                crowded.append((ahead, name))
                with added(self.table, ahead, name):
                    by[at], code[at] = (int(one[0]) for one in verdict.judge_rows(row))
        rows, by, code = rows[by > 0], by[by > 0], code[by > 0]
        with ExitStack() as beside:
            # Plugins look at the table for their reasons.
            for ahead, name in crowded:
                beside.enter_context(added(self.table, ahead, name))
            return diagnosis.explain(verdict, rows, by, code, narrowed.plugin if narrowed else "")
