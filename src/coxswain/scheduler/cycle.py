"""The scheduling cycle: a run of identical pods in, a node or a diagnosis for each out. No IO, no clock.

    narrow (PreFilter) -> judge (Filter) -> sample -> score -> choose -> assume

Sampling is kube-scheduler's: enough feasible nodes are looked for from where the last search ended, going round
the zone-interleaved order; 0 percent means 50 less one for every 125 nodes, at least 5; never fewer than 100
nodes. Among nodes of the best total each is as likely.

Pods whose decision depends only on the rows' own state (no host ports, no plugin of scope CLUSTER, the scoring
plugins that the kernel knows) go through ``_native.batch`` many at a time; the result is that of one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from coxswain._native import batch, filters, sampling
from coxswain.scheduler import diagnosis
from coxswain.scheduler.diagnosis import Diagnosis
from coxswain.scheduler.framework import Profile, Rejection, Scope
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.plan import BATCHED_SCORES
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.template import Template
from coxswain.scheduler.verdict import Verdict, as_rows

MIN_FEASIBLE_NODES: Final = 100
MIN_PERCENTAGE: Final = 5
_TAKEN_BY_BATCH: Final = 255


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

    def __init__(self, table: NodeTable, seed: int, *, memory: int = 128 << 20) -> None:
        """``memory``: bytes that kept verdicts may take, roughly."""
        self.table = table
        self._start = 0
        self._chance = np.array([seed | 1], np.uint64)
        self._memory = memory
        self._verdicts: dict[tuple[str, Template], Verdict] = {}
        self._scratch: Rows = np.empty(0, np.int32)

    def verdict(self, template: Template, profile: Profile) -> Verdict:
        """The kept state of a template, newest last; the oldest are dropped."""
        key = (profile.name, template)
        found = self._verdicts.pop(key, None)
        if found is None:
            found = Verdict(template, profile, self.table)
            # About 60 bytes a node: four arrays of codes, two of the plan, up to five of raw scores.
            keep = min(max(self._memory // (60 * self.table.capacity), 16), 1024)
            while len(self._verdicts) >= keep:
                self._verdicts.pop(next(iter(self._verdicts)))
        self._verdicts[key] = found
        return found

    def schedule(self, pods: Sequence[Pod], profile: Profile) -> list[Placement | Failure]:
        """Decide for pods of one template, in order; those that get a node are assumed on it.

        A failure ends the run for the pods after it too: they are identical, so they fail alike.
        """
        if not pods:
            return []
        if not len(self.table):
            return [Failure(pod, diagnosis.no_nodes()) for pod in pods]
        verdict = self.verdict(pods[0].template, profile)
        # A template's first pod is scored on its sample; from the second on, arrays over all rows pay.
        verdict.uses += 1
        if (len(pods) > 1 or verdict.uses > 1) and self._batchable(verdict):
            placed = self._schedule_batch(pods, verdict)
        else:
            placed = []
            for pod in pods:
                row = self._choose(verdict)
                if row < 0:
                    break
                name = self.table.node(row).name
                self.table.add_pod(pod, name)
                placed.append(Placement(pod, name))
        failures = self._fail(verdict, pods[len(placed) :])
        return [*placed, *failures]

    # -- one at a time ---------------------------------------------------------------------------

    def _choose(self, verdict: Verdict) -> int:
        """The row for one pod of this template, or -1."""
        narrowed = verdict.narrow()
        if narrowed is None:
            feasible = self._sample(verdict)
        elif isinstance(narrowed.result, Rejection):
            return -1
        else:
            rows = self._rows_of(narrowed.result)
            by, _ = verdict.judge_rows(rows)
            feasible = rows[by == 0]
        if len(feasible) <= 1:
            return int(feasible[0]) if len(feasible) else -1
        return int(feasible[sampling.choose(verdict.totals(feasible), self._chance)])

    def _sample(self, verdict: Verdict) -> Rows:
        order = self.table.order
        wanted = feasible_nodes_to_find(len(order), verdict.profile.percentage_of_nodes_to_score)
        by, _ = verdict.judge()
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
            and not verdict.has_cluster_plugins
            and verdict.fit_number > 0
            and all(
                type(w.plugin) in BATCHED_SCORES
                for w in verdict.scores
                if w.plugin.SCOPE is not Scope.CLUSTER
            )
            and verdict.narrow() is None
        )

    def _schedule_batch(self, pods: Sequence[Pod], verdict: Verdict) -> list[Placement]:
        table, template = self.table, verdict.template
        verdict.refresh()
        order = table.order
        wanted = feasible_nodes_to_find(len(order), verdict.profile.percentage_of_nodes_to_score)
        plan = verdict.plan()
        chosen = np.empty(len(pods), np.int32)
        placed, self._start = batch.schedule(
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
            self._start % len(order),
            wanted,
            self._chance,
            self._room(wanted),
            chosen,
        )
        rows = chosen[:placed]
        table.place_counted(zip(pods, rows.tolist(), strict=False))
        self._settle(verdict, rows)
        return [Placement(pod, table.node(row).name) for pod, row in zip(pods, rows.tolist(), strict=False)]

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

    def _fail(self, verdict: Verdict, pods: Sequence[Pod]) -> list[Failure]:
        known: dict[bool, Diagnosis] = {}
        for pod in pods:
            if pod.may_preempt not in known:
                known[pod.may_preempt] = self._diagnose(verdict, may_preempt=pod.may_preempt)
        return [Failure(pod, known[pod.may_preempt]) for pod in pods]

    def _diagnose(self, verdict: Verdict, *, may_preempt: bool) -> Diagnosis:
        narrowed = verdict.narrow()
        if narrowed is None:
            rows = self.table.order
            by, code = verdict.judge()
            return diagnosis.explain(verdict, rows, by[rows], code[rows], "", may_preempt=may_preempt)
        if isinstance(narrowed.result, Rejection):
            return diagnosis.rejected_outright(
                verdict, narrowed.plugin, narrowed.result, may_preempt=may_preempt
            )
        rows = self._rows_of(narrowed.result)
        by, code = verdict.judge_rows(rows)
        return diagnosis.explain(verdict, rows, by, code, narrowed.plugin, may_preempt=may_preempt)
