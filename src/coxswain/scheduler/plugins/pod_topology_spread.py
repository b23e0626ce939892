"""PodTopologySpread: pods that a selector matches are spread over the domains of a topology key.

DoNotSchedule: the pods of a domain, with this one, may exceed those of the emptiest domain by ``maxSkew`` at
most. ScheduleAnyway: fewer matching pods in the node's domains are better. A pod without constraints of its own
that services or its controller select is spread over hosts and zones (kube-scheduler's system defaults), or as
the profile's ``defaultConstraints`` say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from coxswain.api.selectors import Selector, label_selector_from
from coxswain.scheduler.framework import (
    MAX_SCORE,
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Change,
    Codes,
    Event,
    Normalization,
    Rejection,
    Scope,
    Scores,
)
from coxswain.scheduler.nodetable import NodeTable, Rows, Taint
from coxswain.scheduler.selection import by_taint_set, match_node_selector, untolerated
from coxswain.scheduler.tally import SKEW, SPREAD, Slot, Tally
from coxswain.scheduler.template import Template

REASON = "node(s) didn't match pod topology spread constraints"
REASON_LABEL = REASON + " (missing required label)"
HOSTNAME: Final = "kubernetes.io/hostname"
ZONE: Final = "topology.kubernetes.io/zone"
SYSTEM_DEFAULTS: Final[tuple[dict[str, Any], ...]] = (
    {"maxSkew": 3, "topologyKey": HOSTNAME, "whenUnsatisfiable": "ScheduleAnyway"},
    {"maxSkew": 5, "topologyKey": ZONE, "whenUnsatisfiable": "ScheduleAnyway"},
)
_NO_LABEL, _SKEWED = 1, 2
_HARD_EFFECTS = ("NoSchedule", "NoExecute")


@dataclass(eq=False, slots=True)
class Constraint:
    """One constraint, parsed."""

    max_skew: int
    key: str
    selector: Selector
    #: Whether the selector matches everything: Kubernetes counts no pods then.
    everything: bool
    min_domains: int
    honor_affinity: bool
    honor_taints: bool
    memo: dict[int, bool] = field(default_factory=dict)
    #: (state of the nodes, rows that count, domains there are), see ``_domains``.
    domains: tuple[tuple[int, int, int], NDArray[np.bool_], NDArray[np.bool_]] | None = None


def _parse(raw: dict[str, Any], labels: dict[str, str]) -> Constraint:
    selector = raw.get("labelSelector")
    same = {key: labels[key] for key in raw.get("matchLabelKeys") or () if key in labels}
    if same:
        more = [{"key": key, "operator": "In", "values": [value]} for key, value in same.items()]
        selector = selector or {}
        selector = {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *more]}
    parsed = label_selector_from(selector)
    empty = selector is not None and not (selector.get("matchLabels") or selector.get("matchExpressions"))
    return Constraint(
        max_skew=raw["maxSkew"],
        key=raw["topologyKey"],
        selector=parsed,
        everything=empty,
        min_domains=raw.get("minDomains") or 1,
        honor_affinity=raw.get("nodeAffinityPolicy") != "Ignore",
        honor_taints=raw.get("nodeTaintsPolicy") == "Honor",
    )


class PodTopologySpread:
    NAME: ClassVar[str] = "PodTopologySpread"
    SCOPE: ClassVar[Scope] = Scope.CLUSTER
    EVENTS: ClassVar[Event] = (
        Event.NODE_ADD
        | Event.NODE_LABEL
        | Event.NODE_TAINT
        | Event.POD_ADD
        | Event.POD_DELETE
        | Event.POD_LABEL
    )
    NORMALIZE: ClassVar[Normalization] = "own"

    def __init__(self, defaults: Sequence[dict[str, Any]] | None = None) -> None:
        """``defaults``: constraints of pods that state none; None: hosts and zones, as a preference."""
        self._defaults = SYSTEM_DEFAULTS if defaults is None else tuple(defaults)
        self._system = defaults is None
        self._hard_defaults = any(raw["whenUnsatisfiable"] == "DoNotSchedule" for raw in self._defaults)
        self._key = f"{self.NAME}.{id(self)}"

    def needed(self, template: Template) -> bool:
        if self._hard_defaults and "topologySpreadConstraints" not in template.spec:
            return True
        return bool(self._constraints(template, "DoNotSchedule"))

    def scoring(self, template: Template) -> bool:
        return True

    def epoch(self, table: NodeTable) -> int:
        return 0

    def relevant(self, template: Template, table: NodeTable) -> bool:
        return bool(self._hard(template, table) or self._soft(template, table))

    def helps(self, template: Template, change: Change, table: NodeTable) -> bool:
        """A matching pod came, left or changed its labels; or a node that has the topology keys."""
        constraints = self._hard(template, table)
        if change.event in (Event.POD_ADD, Event.POD_DELETE, Event.POD_LABEL):
            return any(
                pod is not None
                and pod.template.namespace == template.namespace
                and any(constraint.selector.matches(pod.template.labels) for constraint in constraints)
                for pod in (change.old, change.new)
            )
        nodes = [node for node in (change.old, change.new) if node is not None]
        return not nodes or any(
            all(constraint.key in node.labels for constraint in constraints) for node in nodes
        )

    def _hard(self, template: Template, table: NodeTable) -> list[Constraint]:
        if "topologySpreadConstraints" in template.spec or not self._hard_defaults:
            return self._constraints(template, "DoNotSchedule")
        return self._of_defaults(template, table, "DoNotSchedule")

    def _constraints(self, template: Template, action: str) -> list[Constraint]:
        known = template.parsed.get(self.NAME)
        if known is None:
            known = template.parsed[self.NAME] = {
                kind: [
                    _parse(raw, template.labels)
                    for raw in template.spec.get("topologySpreadConstraints") or ()
                    if raw["whenUnsatisfiable"] == kind
                ]
                for kind in ("DoNotSchedule", "ScheduleAnyway")
            }
        found: list[Constraint] = known[action]
        return found

    def _soft(self, template: Template, table: NodeTable) -> list[Constraint]:
        if "topologySpreadConstraints" in template.spec:
            return self._constraints(template, "ScheduleAnyway")
        return self._of_defaults(template, table, "ScheduleAnyway")

    def _of_defaults(self, template: Template, table: NodeTable, action: str) -> list[Constraint]:
        """Default constraints with what selects the pod's peers; none if nothing does."""
        epoch, found = template.parsed.get(self._key, (-1, {}))
        if epoch != table.facts.epoch:
            selector = table.facts.default_selector(template)
            found = {"DoNotSchedule": [], "ScheduleAnyway": []}
            for raw in self._defaults if selector else ():
                found[raw["whenUnsatisfiable"]].append(_parse({**raw, "labelSelector": selector}, {}))
            template.parsed[self._key] = (table.facts.epoch, found)
        result: list[Constraint] = found[action]
        return result

    # -- counting --------------------------------------------------------------------------------

    def _pods(self, constraint: Constraint, template: Template, table: NodeTable) -> NDArray[np.int64]:
        """Matching pods by row: of the same namespace, not being deleted."""
        counts = np.zeros(table.capacity, np.int64)
        if constraint.everything:
            return counts

        def test(other: Template) -> bool:
            return other.namespace == template.namespace and constraint.selector.matches(other.labels)

        for group in table.placed.matching(test, constraint.memo, constraint.selector):
            if not group.deleting:
                group.add_to(counts)
        return counts

    def _included(self, constraint: Constraint, template: Template, table: NodeTable) -> NDArray[np.bool_]:
        """Which of the table's nodes (in ``order``) the node policies let count."""
        rows = table.order
        included = np.ones(len(rows), np.bool_)
        if constraint.honor_affinity and ("nodeSelector" in template.spec or "affinity" in template.spec):
            included &= match_node_selector(template.spec, table, rows)
        if constraint.honor_taints:
            tolerations = template.spec.get("tolerations") or ()

            def judge(taints: tuple[Taint, ...]) -> int:
                return not untolerated(taints, tolerations, _HARD_EFFECTS)

            included &= by_taint_set(table, rows, template.parsed, "PodTopologySpread.taints", judge) != 0
        return included

    def _labelled(self, constraints: list[Constraint], table: NodeTable) -> NDArray[np.bool_]:
        """Which of the table's nodes (in ``order``) have every key."""
        rows = table.order
        labelled = np.ones(len(rows), np.bool_)
        for constraint in constraints:
            labelled &= table.column(constraint.key).ids[rows] >= 0
        return labelled

    # -- filter ----------------------------------------------------------------------------------

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        constraints = self._hard(template, table)
        codes = np.zeros(len(rows), np.uint8)
        for constraint in constraints:
            counts, present = self._domains(constraint, constraints, template, table)
            ids = table.column(constraint.key).ids
            pods = self._pods(constraint, template, table)
            held = np.flatnonzero(pods)
            held = held[counts[held]]
            matches = np.bincount(ids[held], weights=pods[held], minlength=len(present)).astype(np.int64)
            domains = int(present.sum())
            least = int(matches[present].min()) if domains else 2**31 - 1
            if domains < constraint.min_domains:
                least = 0
            itself = int(constraint.selector.matches(template.labels))
            mine = ids[rows]
            skewed = np.append(matches + itself - least > constraint.max_skew, False)[mine]
            codes[(codes == 0) & (mine < 0)] = _NO_LABEL
            codes[(codes == 0) & skewed] = _SKEWED
        return codes

    def _domains(
        self, constraint: Constraint, all_of_them: list[Constraint], template: Template, table: NodeTable
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(rows whose pods count, domains that there are): kept while no node changes."""
        column = table.column(constraint.key)
        at = (table.node_log.end, table.capacity, len(column.values))
        if constraint.domains is None or constraint.domains[0] != at:
            rows = table.order[
                self._labelled(all_of_them, table) & self._included(constraint, template, table)
            ]
            counts = np.zeros(table.capacity, np.bool_)
            counts[rows] = True
            present = np.bincount(column.ids[rows], minlength=len(column.values)) > 0
            constraint.domains = (at, counts, present)
        return constraint.domains[1], constraint.domains[2]

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        if code == _NO_LABEL:
            return Rejection(UNRESOLVABLE, (REASON_LABEL,))
        return Rejection(UNSCHEDULABLE, (REASON,))

    # -- score -----------------------------------------------------------------------------------

    def score(self, template: Template, table: NodeTable, rows: Rows) -> Scores:
        """-1 marks nodes that lack a key and are left out."""
        constraints = self._soft(template, table)
        if not constraints:
            return np.zeros(len(rows), np.int64)
        every_key = self.wants_every_key(template)
        scored = np.ones(len(rows), np.bool_)
        counted = np.ones(len(table), np.bool_)
        if every_key:
            counted = self._labelled(constraints, table)
            for constraint in constraints:
                scored &= table.column(constraint.key).ids[rows] >= 0
        total = np.zeros(len(rows), np.float64)
        for constraint in constraints:
            total += self._score_one(constraint, template, table, rows, scored, counted)
        # Go rounds halves away from zero; scores are never negative.
        scores = np.floor(total + 0.5).astype(np.int64)
        scores[~scored] = -1
        return scores

    def _score_one(
        self,
        constraint: Constraint,
        template: Template,
        table: NodeTable,
        rows: Rows,
        scored: NDArray[np.bool_],
        counted: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        column = table.column(constraint.key)
        mine = column.ids[rows]
        pods = self._pods(constraint, template, table)
        if constraint.key == HOSTNAME:
            size = int(scored.sum())
            counts = pods[rows]
        else:
            some = mine[scored]
            known = np.bincount(some[some >= 0], minlength=len(column.values)) > 0
            size = int(known.sum()) + int((some < 0).any())
            nodes = table.order[counted & self._included(constraint, template, table)]
            nodes = nodes[column.ids[nodes] >= 0]
            sums = np.bincount(column.ids[nodes], weights=pods[nodes], minlength=len(column.values))
            counts = np.append(np.where(known, sums, 0), 0)[mine].astype(np.int64)
        weight = math.log(size + 2)
        return np.where(mine >= 0, counts * weight + (constraint.max_skew - 1), 0.0)

    def normalize(self, template: Template, table: NodeTable, rows: Rows, scores: Scores) -> Scores:
        """The emptiest domains get the most."""
        if not self._soft(template, table):
            return scores
        valid = scores >= 0
        if not valid.any():
            return np.zeros(len(rows), np.int64)
        least, most = int(scores[valid].min()), int(scores[valid].max())
        if most == 0:
            return np.where(valid, MAX_SCORE, 0).astype(np.int64)
        return np.where(valid, MAX_SCORE * (most + least - scores) // most, 0).astype(np.int64)

    # -- the same as tallies, for the batch kernel -----------------------------------------------

    def slots(self, template: Template, table: NodeTable) -> list[Slot]:
        hard, soft = self._hard(template, table), self._soft(template, table)
        return [Slot(SKEW, i) for i in range(len(hard))] + [Slot(SPREAD, i) for i in range(len(soft))]

    def selectors(self, template: Template, table: NodeTable) -> list[Selector]:
        constraints = (*self._hard(template, table), *self._soft(template, table))
        return [constraint.selector for constraint in constraints]

    def worth(self, template: Template, other: Template, deleting: bool, table: NodeTable) -> dict[Slot, int]:
        if deleting or other.namespace != template.namespace:
            return {}
        return {
            Slot(kind, i): 1
            for kind, constraints in (
                (SKEW, self._hard(template, table)),
                (SPREAD, self._soft(template, table)),
            )
            for i, constraint in enumerate(constraints)
            if not constraint.everything and constraint.selector.matches(other.labels)
        }

    def tally(self, slot: Slot, template: Template, table: NodeTable) -> Tally:
        hard = slot.kind == SKEW
        constraints = self._hard(template, table) if hard else self._soft(template, table)
        constraint = constraints[int(slot.name)]
        column = table.column(constraint.key)
        if hard:
            counts, present = self._domains(constraint, constraints, template, table)
            return Tally(
                column.ids,
                np.where(counts, column.ids, np.int32(-1)),
                len(column.values),
                present.view(np.uint8),
                skew=constraint.max_skew,
                itself=int(constraint.selector.matches(template.labels)),
                at_least=constraint.min_domains,
            )
        if constraint.key == HOSTNAME:
            every_row = np.arange(table.capacity, dtype=np.int32)
            return Tally(column.ids, every_row, table.capacity, skew=constraint.max_skew, by_node=True)
        rows = table.order
        counted = self._included(constraint, template, table)
        if self.wants_every_key(template):
            counted &= self._labelled(constraints, table)
        hold = np.full(table.capacity, -1, np.int32)
        hold[rows[counted]] = column.ids[rows[counted]]
        return Tally(column.ids, hold, len(column.values), skew=constraint.max_skew)

    def wants_every_key(self, template: Template) -> bool:
        """Whether nodes that lack a key are left out of scoring (system defaults are lenient)."""
        return "topologySpreadConstraints" in template.spec or not self._system
