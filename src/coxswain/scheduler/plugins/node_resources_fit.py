"""NodeResourcesFit: what a pod asks for must be free; emptier (or fuller) nodes are better."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import numpy as np

from coxswain._native import filters, scores
from coxswain.scheduler.framework import (
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Codes,
    Event,
    Normalization,
    Rejection,
    Scope,
    Scores,
)
from coxswain.scheduler.nodetable import PODS_ID, NodeTable, Rows
from coxswain.scheduler.template import Template

TOO_MANY_PODS = "Too many pods"
Strategy = Literal["LeastAllocated", "MostAllocated"]


class NodeResourcesFit:
    NAME: ClassVar[str] = "NodeResourcesFit"
    SCOPE: ClassVar[Scope] = Scope.ROW
    EVENTS: ClassVar[Event] = Event.NODE_ADD | Event.NODE_ALLOCATABLE | Event.POD_DELETE
    NORMALIZE: ClassVar[Normalization] = "none"

    def __init__(
        self, strategy: Strategy = "LeastAllocated", cpu_weight: int = 1, memory_weight: int = 1
    ) -> None:
        self.strategy = strategy
        self.weights = (cpu_weight, memory_weight)

    def needed(self, template: Template) -> bool:
        return True

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        codes = np.zeros(len(rows), np.uint8)
        filters.fit(table.allocatable, table.requested, template.ids, template.amounts, rows, codes)
        return codes

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        """Code 2: a resource that the node does not have enough of even when empty."""
        free = table.allocatable[template.ids, row] - table.requested[template.ids, row]
        short = template.ids[template.amounts > free].tolist()
        names = list(table.resources)
        reasons = [TOO_MANY_PODS] if PODS_ID in short else []
        reasons += [f"Insufficient {names[i]}" for i in short if i != PODS_ID]
        return Rejection(UNRESOLVABLE if code == 2 else UNSCHEDULABLE, tuple(reasons))

    def explain(
        self, template: Template, table: NodeTable, rows: Rows, codes: Codes
    ) -> Iterable[tuple[Rejection, int]]:
        """One rejection for each combination of resources that are short."""
        ids = template.ids[:, None]
        short = template.amounts[:, None] > table.allocatable[ids, rows] - table.requested[ids, rows]
        kinds = np.vstack((short, codes[None, :]))
        _, firsts, times = np.unique(kinds, axis=1, return_index=True, return_counts=True)
        return [
            (self.rejection(template, table, int(rows[first]), int(codes[first])), int(count))
            for first, count in zip(firsts, times, strict=True)
        ]

    def scoring(self, template: Template) -> bool:
        return True

    def epoch(self, table: NodeTable) -> int:
        return 0

    def score(self, template: Template, table: NodeTable, rows: Rows) -> Scores:
        out = np.empty(len(rows), np.int64)
        cpu, memory = template.ask[2:].tolist()
        most = self.strategy == "MostAllocated"
        scores.allocation(table.allocatable, table.nonzero, cpu, memory, most, *self.weights, rows, out)
        return out
