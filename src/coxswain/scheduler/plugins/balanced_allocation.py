"""NodeResourcesBalancedAllocation: better where the pod brings the used fractions of cpu and memory together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from coxswain._native import scores
from coxswain.scheduler.framework import Normalization, Scope, Scores
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.plugins.allocation import DEFAULT_RESOURCES, ResourceWeight, balance, uses
from coxswain.scheduler.template import Template


class NodeResourcesBalancedAllocation:
    NAME: ClassVar[str] = "NodeResourcesBalancedAllocation"
    SCOPE: ClassVar[Scope] = Scope.ROW
    NORMALIZE: ClassVar[Normalization] = "none"

    def __init__(self, resources: Sequence[ResourceWeight] = DEFAULT_RESOURCES) -> None:
        self.resources = tuple(resources)
        #: Whether the kernels know these settings.
        self.batchable = {name for name, _ in self.resources} == {"cpu", "memory"}

    def scoring(self, template: Template) -> bool:
        """A pod that asks for neither cpu nor memory unbalances nothing."""
        return bool(template.ask[0] or template.ask[1])

    def epoch(self, table: NodeTable) -> int:
        return 0

    def score(self, template: Template, table: NodeTable, rows: Rows) -> Scores:
        if not self.batchable:
            found = uses(template, table, rows, self.resources, nonzero=False)
            after = balance([(use.used, use.capacity) for use in found], len(rows))
            before = balance([(use.before, use.capacity) for use in found], len(rows))
            return 50 + np.trunc((50 + after - before) / 2).astype(np.int64)
        out = np.empty(len(rows), np.int64)
        cpu, memory = template.ask[:2].tolist()
        scores.balanced(table.allocatable, table.requested, cpu, memory, rows, out)
        return out
