"""NodeAffinity: ``nodeSelector`` and required node affinity must hold; preferred terms add their weights."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from coxswain.scheduler.framework import (
    UNRESOLVABLE,
    Change,
    Codes,
    Event,
    Narrowed,
    Normalization,
    Rejection,
    Scope,
    Scores,
)
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.selection import match_node_selector, match_term, required_terms
from coxswain.scheduler.template import Template

REASON = "node(s) didn't match Pod's node affinity/selector"
REASON_ENFORCED = "node(s) didn't match scheduler-enforced node affinity"
REASON_CONFLICT = "pod affinity terms conflict"


class NodeAffinity:
    NAME: ClassVar[str] = "NodeAffinity"
    SCOPE: ClassVar[Scope] = Scope.NODE
    EVENTS: ClassVar[Event] = Event.NODE_ADD | Event.NODE_LABEL
    NORMALIZE: ClassVar[Normalization] = "default"

    def __init__(self, added: dict[str, Any] | None = None) -> None:
        """``added``: node affinity that every pod of the profile has besides its own."""
        added = added or {}
        required = added.get("requiredDuringSchedulingIgnoredDuringExecution")
        self._enforced = {"affinity": {"nodeAffinity": added}} if required is not None else None
        self._preferences: list[dict[str, Any]] = (
            added.get("preferredDuringSchedulingIgnoredDuringExecution") or []
        )

    def needed(self, template: Template) -> bool:
        if self._enforced is not None:
            return True
        return "nodeSelector" in template.spec or required_terms(template.spec) is not None

    def narrow(self, template: Template, table: NodeTable) -> Narrowed:
        """Nodes named by every required term; a term that names none leaves the choice open."""
        terms = required_terms(template.spec)
        if not terms:
            return None
        names: set[str] = set()
        for term in terms:
            named = [
                set(field.get("values") or ())
                for field in term.get("matchFields") or ()
                if field["key"] == "metadata.name" and field["operator"] == "In"
            ]
            if not named:
                return None
            names |= set.intersection(*named)
        return frozenset(names) if names else Rejection(UNRESOLVABLE, (REASON_CONFLICT,))

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        codes = (~match_node_selector(template.spec, table, rows)).view(np.uint8)
        if self._enforced is not None:
            codes[~match_node_selector(self._enforced, table, rows)] = 2
        return codes

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        return Rejection(UNRESOLVABLE, (REASON_ENFORCED if code == 2 else REASON,))

    def helps(self, template: Template, change: Change, table: NodeTable) -> bool:
        """A node that matches (and did not before)."""
        row = table.row_of.get(change.new.name) if change.new is not None else None
        return row is None or not self.filter(template, table, np.array([row], np.int32)).any()

    def scoring(self, template: Template) -> bool:
        return bool(self._preferred(template))

    def epoch(self, table: NodeTable) -> int:
        return 0

    def score(self, template: Template, table: NodeTable, rows: Rows) -> Scores:
        scores = np.zeros(len(rows), np.int64)
        for term in self._preferred(template):
            scores[match_term(term["preference"], table, rows)] += term["weight"]
        return scores

    def _preferred(self, template: Template) -> list[dict[str, Any]]:
        affinity = template.affinity.get("nodeAffinity") or {}
        own = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []
        return [*self._preferences, *own] if self._preferences else own
