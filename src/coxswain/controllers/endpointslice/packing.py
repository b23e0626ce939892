"""How endpoints are packed into slices, with as few writes as possible; for every controller of slices.

Kubernetes' algorithm (``k8s.io/endpointslice reconciler.go``), for slices of one family and one set of ports:

1. In the slices that exist, drop endpoints that are not wanted and refresh those that changed; such a slice
   must be written anyway.
2. Put what is new into slices that are written anyway, the fullest first, as far as there is room.
3. What is left goes into one untouched slice if it fits there, else into new slices.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from coxswain.api.names import Object

#: Endpoints in a slice (``--max-endpoints-per-slice``).
MAX_ENDPOINTS = 100


@dataclass(slots=True)
class Changes:
    """The writes for one service."""

    create: list[Object] = field(default_factory=list)
    update: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Packer:
    """What a controller of slices brings along.

    ``identity`` tells two endpoints apart, ``refreshed`` gives a slice (or itself) the metadata that it should
    have, ``fresh`` makes a new slice of endpoints.
    """

    identity: Callable[[Object], Hashable]
    refreshed: Callable[[Object], Object]
    fresh: Callable[[list[Object]], Object]
    maximum: int = MAX_ENDPOINTS
    #: Hints are given afterwards, by the whole: an endpoint that is otherwise the same keeps those it has.
    keeps_hints: bool = False

    def pack(self, slices: Sequence[Object], wanted: Mapping[Hashable, Object], changes: Changes) -> None:
        """Make ``slices`` hold exactly ``wanted`` (by identity)."""
        missing = dict(wanted)
        written: list[tuple[Object, list[Object]]] = []
        untouched: list[Object] = []
        for old in slices:
            endpoints, changed = self._purge(old, wanted, missing)
            if not endpoints:
                changes.delete.append(old)
            elif changed or self.refreshed(old) is not old:
                written.append((old, endpoints))
            else:
                untouched.append(old)
        self.place(written, lambda count: self._fitting(untouched, count), list(missing.values()), changes)

    def place(
        self,
        written: list[tuple[Object, list[Object]]],
        fitting: Callable[[int], Object | None],
        left: list[Object],
        changes: Changes,
    ) -> None:
        """Steps 2 and 3 for the endpoints ``left`` over; ``fitting`` gives the fullest untouched slice with such room."""
        for _, endpoints in sorted(written, key=lambda each: -len(each[1])):
            room = max(0, self.maximum - len(endpoints))
            endpoints += left[:room]
            left = left[room:]
        while left:
            best = fitting(len(left)) if len(left) < self.maximum else None
            if best is not None:
                written.append((best, [*(best.get("endpoints") or ()), *left]))
                break
            changes.create.append(self.fresh(left[: self.maximum]))
            left = left[self.maximum :]
        changes.update += [{**self.refreshed(old), "endpoints": endpoints} for old, endpoints in written]

    def _fitting(self, untouched: Sequence[Object], count: int) -> Object | None:
        """The slice that is fullest with ``count`` more: slices stay well packed."""
        best, most = None, 0
        for old in untouched:
            filled = len(old.get("endpoints") or ()) + count
            if most < filled <= self.maximum:
                best, most = old, filled
        return best

    def _purge(
        self, old: Object, wanted: Mapping[Hashable, Object], missing: dict[Hashable, Object]
    ) -> tuple[list[Object], bool]:
        """The endpoints of ``old`` that stay, refreshed; those found are taken from ``missing``."""
        endpoints: list[Object] = []
        changed = False
        for endpoint in old.get("endpoints") or ():
            name = self.identity(endpoint)
            fresh = wanted.get(name)
            if fresh is None or missing.pop(name, None) is None:
                changed = True  # not wanted, or twice
                continue
            if self.keeps_hints and "hints" in endpoint:
                fresh = {**fresh, "hints": endpoint["hints"]}
            changed = changed or fresh != endpoint
            endpoints.append(fresh)
        return endpoints, changed


def reuse(changes: Changes) -> None:
    """Rather than delete one slice and create another of the same family, change the one into the other."""
    kept = []
    for old in changes.delete:
        new = changes.create[-1] if changes.create else None
        if new is None or old["addressType"] != new["addressType"]:
            kept.append(old)
            continue
        changes.create.pop()
        metadata = {**old["metadata"], "labels": new["metadata"]["labels"]}
        changes.update.append(
            {**old, "metadata": metadata, "endpoints": new["endpoints"], "ports": new["ports"]}
        )
    changes.delete = kept
