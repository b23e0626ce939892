"""InterPodAffinity: pods that want to be near others, or away from them, by topology domain.

Three rules: the pod's required affinity (a match of all its terms in the domain of each), its required
anti-affinity, and the required anti-affinity of pods already placed. Preferred terms of both sides add and
subtract their weights; required affinity of placed pods counts as a preference of weight 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from coxswain.api.selectors import Selector, label_selector_from
from coxswain.scheduler.framework import (
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
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.placed import ClusterFacts
from coxswain.scheduler.tally import APART, NEAR, PULL, Slot, Tally
from coxswain.scheduler.template import Template

REASON_AFFINITY = "node(s) didn't match pod affinity rules"
REASON_ANTI = "node(s) didn't match pod anti-affinity rules"
REASON_EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"
_REASONS: Final = {
    1: Rejection(UNRESOLVABLE, (REASON_AFFINITY,)),
    2: Rejection(UNSCHEDULABLE, (REASON_ANTI,)),
    3: Rejection(UNSCHEDULABLE, (REASON_EXISTING,)),
}
#: What required affinity of a placed pod is worth by default when it matches the pod to place.
HARD_POD_AFFINITY_WEIGHT: Final = 1
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
#: Templates of which a term remembers whether it means them.
_MOST_KNOWN = 4096


@dataclass(eq=False, slots=True)
class Term:
    """One affinity term, parsed."""

    key: str
    selector: Selector
    namespaces: frozenset[str]
    namespace_selector: Selector
    weight: int = 0
    #: Which templates are meant, by serial.
    memo: dict[int, bool] = field(default_factory=dict)
    memo_epoch: int = -1

    def matches(self, other: Template, facts: ClusterFacts) -> bool:
        """Whether a pod of ``other`` is meant."""
        if other.namespace not in self.namespaces and not self.namespace_selector.matches(
            facts.namespaces.get(other.namespace, {})
        ):
            return False
        return self.selector.matches(other.labels)

    def remembered(self, other: Template, facts: ClusterFacts) -> bool:
        """``matches``, asked once for each template while namespaces stay the same."""
        memo = self.fresh_memo(facts)
        found = memo.get(other.serial)
        if found is None:
            if len(memo) >= _MOST_KNOWN:
                memo.clear()
            found = memo[other.serial] = self.matches(other, facts)
        return found

    def fresh_memo(self, facts: ClusterFacts) -> dict[int, bool]:
        if self.memo_epoch != facts.epoch:
            self.memo.clear()
            self.memo_epoch = facts.epoch
        return self.memo


@dataclass(eq=False, slots=True)
class Terms:
    """All terms of a template."""

    affinity: list[Term]
    anti: list[Term]
    #: Preferred terms of both kinds; those of anti-affinity have negative weights.
    preferred: list[Term]
    #: Required affinity as a preference that placed pods of this template have.
    hard: list[Term]


def _term(raw: dict[str, Any], namespace: str, weight: int = 0) -> Term:
    names = raw.get("namespaces") or ()
    among = raw.get("namespaceSelector")
    return Term(
        key=raw["topologyKey"],
        selector=label_selector_from(raw.get("labelSelector")),
        namespaces=frozenset(names) if names or among is not None else frozenset((namespace,)),
        namespace_selector=label_selector_from(among),
        weight=weight,
    )


def _required(raw: dict[str, Any], namespace: str, weight: int = 0) -> list[Term]:
    return [_term(one, namespace, weight) for one in raw.get(_REQUIRED) or ()]


def _preferred(raw: dict[str, Any], namespace: str, sign: int) -> list[Term]:
    return [
        _term(one["podAffinityTerm"], namespace, sign * one["weight"]) for one in raw.get(_PREFERRED) or ()
    ]


def terms_of(template: Template) -> Terms:
    """The parsed terms of a template, kept with it."""
    known: Terms | None = template.parsed.get("InterPodAffinity")
    if known is None:
        near = template.affinity.get("podAffinity") or {}
        away = template.affinity.get("podAntiAffinity") or {}
        space = template.namespace
        preferred = [*_preferred(near, space, 1), *_preferred(away, space, -1)]
        hard = _required(near, space, 1)
        known = Terms(_required(near, space), _required(away, space), preferred, hard)
        template.parsed["InterPodAffinity"] = known
    return known


class InterPodAffinity:
    NAME: ClassVar[str] = "InterPodAffinity"
    SCOPE: ClassVar[Scope] = Scope.CLUSTER
    EVENTS: ClassVar[Event] = (
        Event.NODE_ADD | Event.NODE_LABEL | Event.POD_ADD | Event.POD_DELETE | Event.POD_LABEL
    )
    NORMALIZE: ClassVar[Normalization] = "own"

    def __init__(
        self, hard_weight: int = HARD_POD_AFFINITY_WEIGHT, *, ignore_preferred_of_others: bool = False
    ) -> None:
        """``hard_weight`` 0..100; ``ignore_preferred_of_others``: unless the pod itself has affinity, too."""
        self._hard_weight = hard_weight
        self._ignore_preferred_of_others = ignore_preferred_of_others

    def needed(self, template: Template) -> bool:
        return True

    def _pulls(self, template: Template) -> Callable[[Terms], Iterable[tuple[Term, int]]]:
        """What placed pods add to the score of ``template``, by term."""
        own = template.affinity
        deaf = self._ignore_preferred_of_others and not (own.get("podAffinity") or own.get("podAntiAffinity"))

        def pulls(terms: Terms) -> Iterable[tuple[Term, int]]:
            if not deaf:
                for term in terms.preferred:
                    yield term, term.weight
            if self._hard_weight:
                for term in terms.hard:
                    yield term, self._hard_weight

        return pulls

    def scoring(self, template: Template) -> bool:
        return True

    def epoch(self, table: NodeTable) -> int:
        return 0

    def relevant(self, template: Template, table: NodeTable) -> bool:
        affinity = template.affinity
        if affinity.get("podAffinity") or affinity.get("podAntiAffinity"):
            return True
        return any(
            term.remembered(template, table.facts)
            for group in table.placed.opinionated_of(template.labels)
            for terms in (terms_of(group.template),)
            for term in (*terms.preferred, *terms.hard, *terms.anti)
        )

    def helps(self, template: Template, change: Change, table: NodeTable) -> bool:
        """A pod that is wanted near came, one that is wanted away (or wants to be) left, or a node changed."""
        if change.event not in (Event.POD_ADD, Event.POD_DELETE, Event.POD_LABEL):
            return True
        other = (change.new or change.old).template
        mine, theirs = terms_of(template), terms_of(other)
        if change.event is not Event.POD_DELETE and any(
            term.matches(other, table.facts) for term in mine.affinity
        ):
            return True
        if change.event is Event.POD_ADD:
            return False
        return any(term.matches(other, table.facts) for term in mine.anti) or any(
            term.matches(template, table.facts) for term in theirs.anti
        )

    # -- filter ----------------------------------------------------------------------------------

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        terms = terms_of(template)
        codes = np.zeros(len(rows), np.uint8)
        if terms.affinity:
            codes[~self._near(template, terms.affinity, table, rows)] = 1
        for term in terms.anti:
            pods = self._pods([term], table)
            codes[(codes == 0) & (self._in_domain(term.key, pods, table, rows) > 0)] = 2
        for key, pods in self._refusing(template, table).items():
            codes[(codes == 0) & (self._in_domain(key, pods, table, rows) > 0)] = 3
        return codes

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        return _REASONS[code]

    def _near(self, template: Template, terms: list[Term], table: NodeTable, rows: Rows) -> NDArray[np.bool_]:
        """Where required affinity holds; the first pod of a group that means itself may go anywhere."""
        pods = self._pods(terms, table)
        labelled = np.ones(len(rows), np.bool_)
        exist = np.ones(len(rows), np.bool_)
        anywhere = False
        for term in terms:
            ids = table.column(term.key).ids
            labelled &= ids[rows] >= 0
            exist &= self._in_domain(term.key, pods, table, rows) > 0
            anywhere |= bool(((pods > 0) & (ids >= 0)).any())
        if not anywhere and all(term.matches(template, table.facts) for term in terms):
            return labelled
        return labelled & exist

    def _pods(self, terms: list[Term], table: NodeTable) -> NDArray[np.int64]:
        """Placed pods that all terms mean, by row."""
        counts = np.zeros(table.capacity, np.int64)
        first, *others = terms

        def test(other: Template) -> bool:
            return first.matches(other, table.facts)

        for group in table.placed.matching(test, first.fresh_memo(table.facts), first.selector):
            if all(term.remembered(group.template, table.facts) for term in others):
                group.add_to(counts)
        return counts

    def _refusing(self, template: Template, table: NodeTable) -> dict[str, NDArray[np.int64]]:
        """Placed pods whose required anti-affinity means this one, by topology key and row."""
        return self._opinions(template, table, lambda terms: ((term, 1) for term in terms.anti))

    def _opinions(
        self,
        template: Template,
        table: NodeTable,
        which: Callable[[Terms], Iterable[tuple[Term, int]]],
    ) -> dict[str, NDArray[np.int64]]:
        found: dict[str, NDArray[np.int64]] = {}
        for group in table.placed.opinionated_of(template.labels):
            for term, weight in which(terms_of(group.template)):
                if term.remembered(template, table.facts):
                    if term.key not in found:
                        found[term.key] = np.zeros(table.capacity, np.int64)
                    group.add_to(found[term.key], weight)
        return found

    @staticmethod
    def _in_domain(key: str, pods: NDArray[np.int64], table: NodeTable, rows: Rows) -> NDArray[np.int64]:
        """The sum of ``pods`` over each row's domain of ``key``; 0 where a node lacks the key."""
        column = table.column(key)
        held = np.flatnonzero(pods)
        if not len(held):
            return np.zeros(len(rows), np.int64)
        # Domains are numbered from 0, nodes without the key -1: one further is an index.
        sums = np.bincount(column.ids[held] + 1, weights=pods[held], minlength=len(column.values) + 1)
        sums[0] = 0
        result: NDArray[np.int64] = sums.astype(np.int64)[column.ids[rows] + 1]
        return result

    # -- score -----------------------------------------------------------------------------------

    def score(self, template: Template, table: NodeTable, rows: Rows) -> Scores:
        total = np.zeros(len(rows), np.int64)
        for term in terms_of(template).preferred:
            total += term.weight * self._in_domain(term.key, self._pods([term], table), table, rows)
        pulls = self._opinions(template, table, self._pulls(template))
        for key, weights in pulls.items():
            total += self._in_domain(key, weights, table, rows)
        return total

    def normalize(self, template: Template, table: NodeTable, rows: Rows, scores: Scores) -> Scores:
        """The least becomes 0, the largest 100."""
        least, most = int(scores.min()), int(scores.max())
        if most == least:
            return np.zeros(len(rows), np.int64)
        result: Scores = (100.0 * ((scores - least) / float(most - least))).astype(np.int64)
        return result

    # -- the same as tallies, for the batch kernel -----------------------------------------------

    def slots(self, template: Template, table: NodeTable) -> list[Slot]:
        terms = terms_of(template)
        return [
            *(Slot(NEAR, i) for i in range(len(terms.affinity))),
            *dict.fromkeys(Slot(APART, term.key) for term in terms.anti),
            *dict.fromkeys(Slot(PULL, term.key) for term in terms.preferred),
        ]

    def selectors(self, template: Template, table: NodeTable) -> list[Selector]:
        terms = terms_of(template)
        return [term.selector for term in (*terms.affinity, *terms.anti, *terms.preferred)]

    def worth(self, template: Template, other: Template, deleting: bool, table: NodeTable) -> dict[Slot, int]:
        if not template.opinionated and not other.opinionated:
            return {}
        facts, mine, theirs = table.facts, terms_of(template), terms_of(other)
        found: dict[Slot, int] = {}
        if mine.affinity and all(term.matches(other, facts) for term in mine.affinity):
            found |= {Slot(NEAR, i): 1 for i in range(len(mine.affinity))}
        away = [(term, other) for term in mine.anti] + [(term, template) for term in theirs.anti]
        for term, meant in away:
            if term.matches(meant, facts):
                slot = Slot(APART, term.key)
                found[slot] = found.get(slot, 0) + 1
        pulls = [(term, term.weight, other) for term in mine.preferred]
        pulls += [(term, weight, template) for term, weight in self._pulls(template)(theirs)]
        for term, weight, meant in pulls:
            if term.matches(meant, facts):
                slot = Slot(PULL, term.key)
                found[slot] = found.get(slot, 0) + weight
        return found

    def tally(self, slot: Slot, template: Template, table: NodeTable) -> Tally:
        key = terms_of(template).affinity[slot.name].key if isinstance(slot.name, int) else slot.name
        column = table.column(key)
        return Tally(column.ids, column.ids, len(column.values))

    def means_itself(self, template: Template, table: NodeTable) -> bool:
        """Whether the pod passes all its required affinity terms: the first of its kind may go anywhere."""
        return all(term.matches(template, table.facts) for term in terms_of(template).affinity)
