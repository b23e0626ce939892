"""NodeAffinity: ``nodeSelector`` and required node affinity must hold; preferred terms add their weights."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from coxswain.scheduler.framework import (
    UNRESOLVABLE,
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
REASON_CONFLICT = "pod affinity terms conflict"


class NodeAffinity:
    NAME: ClassVar[str] = "NodeAffinity"
    SCOPE: ClassVar[Scope] = Scope.NODE
    EVENTS: ClassVar[Event] = Event.NODE_ADD | Event.NODE_LABEL
    NORMALIZE: ClassVar[Normalization] = "default"

    def needed(self, template: Template) -> bool:
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
        return (~match_node_selector(template.spec, table, rows)).view(np.uint8)

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        return Rejection(UNRESOLVABLE, (REASON,))

    def scoring(self, template: Template) -> bool:
        return bool(self._preferred(template))

    def epoch(self, table: NodeTable) -> int:
        return 0

    def score(self, template: Template, table: NodeTable, rows: Rows) -> Scores:
        scores = np.zeros(len(rows), np.int64)
        for term in self._preferred(template):
            scores[match_term(term["preference"], table, rows)] += term["weight"]
        return scores

    @staticmethod
    def _preferred(template: Template) -> list[dict[str, Any]]:
        affinity = template.affinity.get("nodeAffinity") or {}
        return affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []
