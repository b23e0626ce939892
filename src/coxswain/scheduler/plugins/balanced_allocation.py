"""NodeResourcesBalancedAllocation: better where the pod brings the used fractions of cpu and memory together."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from coxswain._native import scores
from coxswain.scheduler.framework import Normalization, Scope, Scores
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.template import Template


class NodeResourcesBalancedAllocation:
    NAME: ClassVar[str] = "NodeResourcesBalancedAllocation"
    SCOPE: ClassVar[Scope] = Scope.ROW
    NORMALIZE: ClassVar[Normalization] = "none"

    def scoring(self, template: Template) -> bool:
        """A pod that asks for neither cpu nor memory unbalances nothing."""
        return bool(template.ask[0] or template.ask[1])

    def epoch(self, table: NodeTable) -> int:
        return 0

    def score(self, template: Template, table: NodeTable, rows: Rows) -> Scores:
        out = np.empty(len(rows), np.int64)
        cpu, memory = template.ask[:2].tolist()
        scores.balanced(table.allocatable, table.requested, cpu, memory, rows, out)
        return out
