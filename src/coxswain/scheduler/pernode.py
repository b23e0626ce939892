"""Plugins written for one node at a time, as the framework wants them: over all rows.

A user's plugin may have ``filter_node``, ``score_node`` or both. They are asked anew at every decision, since
they may look at anything; that costs a Python call a node, so pods that such a plugin has a say in are decided
one by one. ``concerns`` (optional) says for which pods that is.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

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
from coxswain.scheduler.nodetable import Node, NodeTable, Rows
from coxswain.scheduler.template import Template


class NodeFilter(Protocol):
    """Filter for one node; None lets the pod run there."""

    NAME: str

    def filter_node(self, template: Template, node: Node) -> Rejection | None: ...


class NodeScore(Protocol):
    """Score for one node: higher is better; the largest becomes 100 (unless ``NORMALIZE`` says otherwise)."""

    NAME: str

    def score_node(self, template: Template, node: Node) -> int: ...


def _concerns(inner: object, template: Template) -> bool:
    concerns = getattr(inner, "concerns", None)
    return concerns is None or bool(concerns(template))


class PerNode:
    """Makes a ``NodeFilter`` a ``FilterPlugin``."""

    SCOPE: ClassVar[Scope] = Scope.CLUSTER

    def __init__(self, inner: NodeFilter) -> None:
        self.NAME = inner.NAME
        self.EVENTS: Event = getattr(inner, "EVENTS", ~Event(0))
        self._inner = inner

    def needed(self, template: Template) -> bool:
        return _concerns(self._inner, template)

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        """1 where the node is refused, 2 where it would be whoever left it."""
        found = (self._inner.filter_node(template, table.node(int(row))) for row in rows)
        codes = (0 if one is None else 2 if one.code == UNRESOLVABLE else 1 for one in found)
        return np.fromiter(codes, np.uint8, len(rows))

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        found = self._inner.filter_node(template, table.node(row))
        return found or Rejection(UNSCHEDULABLE, (f"node(s) rejected by {self.NAME}",))


class PerNodeScore:
    """Makes a ``NodeScore`` a ``ScorePlugin``."""

    SCOPE: ClassVar[Scope] = Scope.CLUSTER

    def __init__(self, inner: NodeScore) -> None:
        self.NAME = inner.NAME
        self.NORMALIZE: Normalization = getattr(inner, "NORMALIZE", "default")
        self._inner = inner

    def scoring(self, template: Template) -> bool:
        return _concerns(self._inner, template)

    def relevant(self, template: Template, table: NodeTable) -> bool:
        return self.scoring(template)

    def epoch(self, table: NodeTable) -> int:
        return 0

    def score(self, template: Template, table: NodeTable, rows: Rows) -> Scores:
        scores = (int(self._inner.score_node(template, table.node(int(row)))) for row in rows)
        return np.fromiter(scores, np.int64, len(rows))
