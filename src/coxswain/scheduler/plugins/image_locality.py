"""ImageLocality: better where the pod's images already are, damped for images that few nodes have."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from coxswain.scheduler.framework import MAX_SCORE, Normalization, Scope, Scores
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.template import Template

#: Bytes below which images count for nothing, and above which (for each container) they count in full.
MIN_THRESHOLD: Final = 23 * 1024 * 1024
MAX_CONTAINER_THRESHOLD: Final = 1000 * 1024 * 1024


class ImageLocality:
    NAME: ClassVar[str] = "ImageLocality"
    SCOPE: ClassVar[Scope] = Scope.NODE
    NORMALIZE: ClassVar[Normalization] = "none"

    def scoring(self, template: Template) -> bool:
        return True

    def epoch(self, table: NodeTable) -> int:
        return table.image_epoch

    def score(self, template: Template, table: NodeTable, rows: Rows) -> Scores:
        if not any(image in table.images for image in template.images):
            return np.zeros(len(rows), np.int64)
        present = np.zeros(table.capacity, np.int64)
        nodes = len(table)
        for image in template.images:
            size, have = table.images.get(image, (0, ()))
            if have:
                # The spread damps an image that would pull all its pods to the one node that has it.
                present[np.fromiter(have, np.int32, len(have))] += int(size * (len(have) / nodes))
        ceiling = MAX_CONTAINER_THRESHOLD * len(template.images)
        total = np.clip(present[rows], MIN_THRESHOLD, max(ceiling, MIN_THRESHOLD))
        span = ceiling - MIN_THRESHOLD
        return MAX_SCORE * (total - MIN_THRESHOLD) // span if span > 0 else np.zeros(len(rows), np.int64)
