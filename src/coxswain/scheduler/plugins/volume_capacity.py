"""VolumeBinding that also scores (StorageCapacityScoring): how much of the storage on a node claims would use.

Used when the plugin's arguments give a ``shape``: points from utilization in per cent to a score of 0..10. Claims
that find a volume count what they ask for against what they get; where none does, claims to be provisioned
count against the driver's capacity. Storage classes weigh alike.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from coxswain.api.quantity import Quantity
from coxswain.scheduler import volume_binder
from coxswain.scheduler.framework import Normalization, Scores
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.plugins.allocation import Shape, by_shape
from coxswain.scheduler.plugins.volume_binding import VolumeBinding
from coxswain.scheduler.template import Template
from coxswain.scheduler.volume_binder import Found
from coxswain.scheduler.volume_matching import capacities, requested
from coxswain.scheduler.volume_offers import storage_of
from coxswain.scheduler.volumes import Volumes, claims_of, class_of

_NANO = 10**9
#: class -> (asked for, there) by row, in bytes.
ByClass = dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]


class ScoringVolumeBinding(VolumeBinding):
    NORMALIZE: ClassVar[Normalization] = "none"

    def __init__(self, bind_timeout: float, shape: Shape) -> None:
        super().__init__(bind_timeout)
        self._scorer = by_shape(shape)

    def relevant(self, template: Template, table: NodeTable) -> bool:
        """Without claims there is nothing to judge."""
        return bool(claims_of(template))

    def scoring(self, template: Template) -> bool:
        return bool(claims_of(template))

    def epoch(self, table: NodeTable) -> int:
        return table.volumes.epoch

    def score(self, template: Template, table: NodeTable, rows: Rows) -> Scores:
        claims = self._claims(template, table.volumes)
        if isinstance(claims, str):
            return np.zeros(len(rows), np.int64)
        found = volume_binder.find(claims, table.volumes, table, rows)
        static = _static(found, len(rows))
        dynamic = _dynamic(found, table.volumes, table, rows)
        matched = np.zeros(len(rows), np.bool_)
        for asked, _ in static.values():
            matched |= asked > 0
        result: Scores = np.where(matched, self._mean(static, len(rows)), self._mean(dynamic, len(rows)))
        return result

    def _mean(self, classes: ByClass, count: int) -> Scores:
        """The mean over the classes that a row uses, rounded half away from zero."""
        total, used = np.zeros(count, np.int64), np.zeros(count, np.int64)
        for asked, there in classes.values():
            here = asked > 0
            # Nothing there, or less than is asked for, is full.
            full = (there == 0) | (asked > there)
            scores = self._scorer(np.where(full, 1, asked), np.where(full, 1, there))
            total += np.where(here, scores, 0)
            used += here
        return np.floor(total / np.maximum(used, 1) + 0.5).astype(np.int64)


def _static(found: Found, count: int) -> ByClass:
    classes: ByClass = {}
    for claim, choice, options in found.static:
        size = -(-requested(claim) // _NANO)
        for place in np.unique(choice[choice >= 0]).tolist():
            volume = options[place]
            asked, there = _of(classes, class_of(volume), count)
            here = choice == place
            asked[here] += size
            there[here] += -(-storage_of(volume["spec"].get("capacity")) // _NANO)
    return classes


def _dynamic(found: Found, volumes: Volumes, table: NodeTable, rows: Rows) -> ByClass:
    classes: ByClass = {}
    for claim, wanted in found.dynamic:
        storage_class = volumes.storage_class(class_of(claim))
        if storage_class is None:
            continue
        left = wanted.copy()
        asked, there = _of(classes, class_of(claim), len(rows))
        for capacity, near in capacities(claim, storage_class, volumes, table, rows):
            here = left & near
            asked[here] += -(-requested(claim) // _NANO)
            # Claims of one class share the capacity: it is set, not added.
            there[here] = Quantity.parse(capacity["capacity"]).value() if capacity.get("capacity") else 0
            left &= ~near
    return classes


def _of(classes: ByClass, name: str, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return classes.setdefault(name, (np.zeros(count, np.int64), np.zeros(count, np.int64)))
