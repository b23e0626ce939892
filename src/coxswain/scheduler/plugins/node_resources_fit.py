"""NodeResourcesFit: what a pod asks for must be free; emptier (or fuller) nodes are better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from coxswain._native import filters, scores
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
from coxswain.scheduler.nodetable import PODS_ID, NodeTable, Rows
from coxswain.scheduler.plugins.allocation import (
    DEFAULT_RESOURCES,
    ResourceWeight,
    Shape,
    by_shape,
    least,
    most,
    uses,
    weighted_mean,
)
from coxswain.scheduler.template import Template

TOO_MANY_PODS = "Too many pods"
Strategy = Literal["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"]
_DEFAULT_SHAPE: Shape = ((0, 0), (100, 10))


class NodeResourcesFit:
    NAME: ClassVar[str] = "NodeResourcesFit"
    SCOPE: ClassVar[Scope] = Scope.ROW
    EVENTS: ClassVar[Event] = (
        Event.NODE_ADD | Event.NODE_ALLOCATABLE | Event.POD_DELETE | Event.POD_SCALE_DOWN
    )
    NORMALIZE: ClassVar[Normalization] = "none"

    def __init__(
        self,
        strategy: Strategy = "LeastAllocated",
        resources: Sequence[ResourceWeight] = DEFAULT_RESOURCES,
        shape: Shape = _DEFAULT_SHAPE,
        ignored: Callable[[str], bool] | None = None,
    ) -> None:
        """``ignored``: extended resources that other parties (extenders) look after."""
        self.strategy = strategy
        self.resources = tuple(resources)
        self._scorer = {"LeastAllocated": least, "MostAllocated": most}.get(strategy) or by_shape(shape)
        self._ignored = ignored
        #: Whether the kernels know these settings.
        self.kernel = strategy != "RequestedToCapacityRatio" and set(self.resources) == set(DEFAULT_RESOURCES)
        self.batchable = self.kernel and ignored is None

    def needed(self, template: Template) -> bool:
        return True

    def _asked(self, template: Template, table: NodeTable) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Resources that count here and how much of each."""
        if self._ignored is None:
            return template.ids, template.amounts
        names = list(table.resources)
        kept = [i for i, number in enumerate(template.ids.tolist()) if not self._ignored(names[number])]
        return template.ids[kept], template.amounts[kept]

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        codes = np.zeros(len(rows), np.uint8)
        ids, amounts = self._asked(template, table)
        filters.fit(table.allocatable, table.requested, ids, amounts, rows, codes)
        return codes

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        """Code 2: a resource that the node does not have enough of even when empty."""
        ids, amounts = self._asked(template, table)
        free = table.allocatable[ids, row] - table.requested[ids, row]
        short = ids[amounts > free].tolist()
        names = list(table.resources)
        reasons = [TOO_MANY_PODS] if PODS_ID in short else []
        reasons += [f"Insufficient {names[i]}" for i in short if i != PODS_ID]
        return Rejection(UNRESOLVABLE if code == 2 else UNSCHEDULABLE, tuple(reasons))

    def explain(
        self, template: Template, table: NodeTable, rows: Rows, codes: Codes
    ) -> Iterable[tuple[Rejection, int]]:
        """One rejection for each combination of resources that are short."""
        ids, amounts = (values[:, None] for values in self._asked(template, table))
        short = amounts > table.allocatable[ids, rows] - table.requested[ids, rows]
        kinds = np.vstack((short, codes[None, :]))
        _, firsts, times = np.unique(kinds, axis=1, return_index=True, return_counts=True)
        return [
            (self.rejection(template, table, int(rows[first]), int(codes[first])), int(count))
            for first, count in zip(firsts, times, strict=True)
        ]

    def helps(self, template: Template, change: Change, table: NodeTable) -> bool:
        """A pod that leaves frees something asked for; a node that grew or came is large enough, if empty."""
        if change.event in (Event.POD_DELETE, Event.POD_SCALE_DOWN):
            wanted = template.ids[template.ids != PODS_ID]
            return change.event is Event.POD_DELETE or bool(np.isin(wanted, change.old.template.ids).any())
        if change.new is None:
            return True
        row = table.row_of.get(change.new.name)
        return row is not None and bool((table.allocatable[template.ids, row] >= template.amounts).all())

    def scoring(self, template: Template) -> bool:
        return True

    def epoch(self, table: NodeTable) -> int:
        return 0

    def score(self, template: Template, table: NodeTable, rows: Rows) -> Scores:
        if not self.kernel:
            found = uses(template, table, rows, self.resources, nonzero=True)
            return weighted_mean(
                found, self._scorer, len(rows), ratio=self.strategy == "RequestedToCapacityRatio"
            )
        out = np.empty(len(rows), np.int64)
        cpu, memory = template.ask[2:].tolist()
        most_allocated = self.strategy == "MostAllocated"
        scores.allocation(table.allocatable, table.nonzero, cpu, memory, most_allocated, 1, 1, rows, out)
        return out
