"""TaintToleration: NoSchedule and NoExecute taints must be tolerated; fewer PreferNoSchedule taints are better."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from coxswain.scheduler.framework import (
    UNRESOLVABLE,
    Change,
    Codes,
    Event,
    Normalization,
    Rejection,
    Scope,
    Scores,
)
from coxswain.scheduler.nodetable import NodeTable, Rows, Taint
from coxswain.scheduler.selection import by_taint_set, untolerated
from coxswain.scheduler.template import Template

REASON = "node(s) had untolerated taint(s)"
_HARD = ("NoSchedule", "NoExecute")
_SOFT = ("PreferNoSchedule",)


class TaintToleration:
    NAME: ClassVar[str] = "TaintToleration"
    SCOPE: ClassVar[Scope] = Scope.NODE
    EVENTS: ClassVar[Event] = Event.NODE_ADD | Event.NODE_TAINT
    NORMALIZE: ClassVar[Normalization] = "reverse"

    def needed(self, template: Template) -> bool:
        return True

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        tolerations = template.spec.get("tolerations") or ()

        def judge(taints: tuple[Taint, ...]) -> int:
            return bool(untolerated(taints, tolerations, _HARD))

        return by_taint_set(table, rows, template.parsed, "TaintToleration.filter", judge).astype(np.uint8)

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        return Rejection(UNRESOLVABLE, (REASON,))

    def helps(self, template: Template, change: Change, table: NodeTable) -> bool:
        """A node whose taints are tolerated."""
        tolerations = template.spec.get("tolerations") or ()
        return change.new is None or not untolerated(change.new.taints, tolerations, _HARD)

    def scoring(self, template: Template) -> bool:
        return True

    def epoch(self, table: NodeTable) -> int:
        return 0

    def score(self, template: Template, table: NodeTable, rows: Rows) -> Scores:
        # Kubernetes compares only tolerations that name PreferNoSchedule or no effect; others cannot match.
        tolerations = template.spec.get("tolerations") or ()

        def judge(taints: tuple[Taint, ...]) -> int:
            return len(untolerated(taints, tolerations, _SOFT))

        return by_taint_set(table, rows, template.parsed, "TaintToleration.score", judge)
