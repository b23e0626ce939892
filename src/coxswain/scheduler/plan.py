"""What the batch kernel reads and keeps for one template: its scores as arrays over all rows.

``base`` is the weighted sum of the scores that need no normalization. The kernel updates the row of each pod it
places; rows that other templates changed are brought up to date here, from the table's change log.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coxswain.scheduler.framework import ScorePlugin, Scores
from coxswain.scheduler.plugins.balanced_allocation import NodeResourcesBalancedAllocation
from coxswain.scheduler.plugins.image_locality import ImageLocality
from coxswain.scheduler.plugins.node_affinity import NodeAffinity
from coxswain.scheduler.plugins.node_resources_fit import NodeResourcesFit
from coxswain.scheduler.plugins.taint_toleration import TaintToleration

if TYPE_CHECKING:
    from coxswain.scheduler.verdict import Verdict

_EMPTY: NDArray[np.int64] = np.empty(0, np.int64)

#: Score plugins that the kernel knows.
BATCHED_SCORES: frozenset[type] = frozenset(
    {TaintToleration, NodeAffinity, NodeResourcesFit, NodeResourcesBalancedAllocation, ImageLocality}
)


class Plan:
    """The arrays of one template; see the module's text."""

    def __init__(self, verdict: Verdict) -> None:
        # Not to be kept alive by what it keeps: both go when nobody needs the verdict any more.
        self._verdict: Verdict = weakref.proxy(verdict)
        by_type = {type(weighted.plugin): weighted for weighted in verdict.scores}
        self._of = {kind: weighted.plugin for kind, weighted in by_type.items()}
        fit = self._of.get(NodeResourcesFit)
        self.most = isinstance(fit, NodeResourcesFit) and fit.strategy == "MostAllocated"
        kinds = (TaintToleration, NodeAffinity, NodeResourcesFit, NodeResourcesBalancedAllocation)
        self.weights = np.array([by_type[k].weight if k in by_type else 0 for k in kinds], np.int64)
        self._image_weight = by_type[ImageLocality].weight if ImageLocality in by_type else 0
        self._static_at = (-1, -1, -1)
        self._position = -1
        self.taints = self.affinity = self.image = self.base = _EMPTY

    def refresh(self) -> None:
        """Bring all rows up to date."""
        table = self._verdict.table
        static_at = (table.node_log.end, table.image_epoch, table.capacity)
        rows = table.pod_log.since(self._position) if static_at == self._static_at else None
        if rows is None:
            self.refresh_static()
            rows = table.order
        if len(rows):
            self.base[rows] = self.image[rows]
            for kind, weight in zip(
                (NodeResourcesFit, NodeResourcesBalancedAllocation), self.weights[2:].tolist(), strict=True
            ):
                if weight:
                    self.base[rows] += weight * self._verdict.score(self._of[kind], rows)
        self._static_at = static_at
        self.mark_current()

    def mark_current(self) -> None:
        """The arrays know of every change so far."""
        self._position = self._verdict.table.pod_log.end

    def refresh_static(self) -> None:
        """Work out anew what follows from the nodes alone: all but ``base``."""
        capacity = self._verdict.table.capacity
        self.taints = _unless_zero(self._raw(TaintToleration))
        self.affinity = _unless_zero(self._raw(NodeAffinity))
        image = self._raw(ImageLocality)
        self.image = image * self._image_weight if len(image) else np.zeros(capacity, np.int64)
        self.base = np.zeros(capacity, np.int64)

    def _raw(self, kind: type[ScorePlugin]) -> Scores:
        plugin = self._of.get(kind)
        return self._verdict.raw(plugin) if plugin is not None else _EMPTY


def _unless_zero(values: Scores) -> Scores:
    return values if values.any() else _EMPTY
