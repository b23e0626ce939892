"""Tallies: pods on nodes counted by topology domain, as spreading and pod affinity ask for them.

A plugin that depends on pods elsewhere in the cluster says in three answers what matters to a template; whoever
keeps the counts (``neighbourhood.py``) then follows every pod that comes or goes without asking it again:

    slots      which tallies the template's own rules need
    selectors  whom those rules are about
    worth      what one pod of another template adds to which of them (or to further ones: its own rules count too)
    tally      how one of them counts: domains by node, and the numbers that the rule compares with

The kinds are those of the kernel (``neighbours.pxd``): the first three reject nodes, the others score them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from coxswain.api.selectors import Selector
    from coxswain.scheduler.nodetable import NodeTable
    from coxswain.scheduler.template import Template

#: No pod may be in the domain; one must be; no more than ``skew`` above the emptiest domain.
APART: Final = 0
NEAR: Final = 1
SKEW: Final = 2
#: Fewer are better; a larger sum is better.
SPREAD: Final = 3
PULL: Final = 4
FILTERS: Final = frozenset({APART, NEAR, SKEW})
SCORES: Final = frozenset({SPREAD, PULL})

_NONE: Final = np.empty(0, np.uint8)


class Slot(NamedTuple):
    """Which tally: its kind, and the topology key or the number of the rule."""

    kind: int
    name: str | int


@dataclass(eq=False, slots=True)
class Tally:
    """Counts by domain. ``look`` and ``hold`` are int32 by row: the node's domain, and where its pods count (or -1)."""

    look: NDArray[np.int32]
    hold: NDArray[np.int32]
    domains: int
    #: Of SKEW: which domains take part in the minimum (uint8 by domain).
    present: NDArray[np.uint8] = field(default_factory=lambda: _NONE)
    skew: int = 0
    #: Of SKEW: 1 if the pod to place counts itself.
    itself: int = 0
    #: Of SKEW: with fewer domains than these the minimum is 0.
    at_least: int = 1
    #: Of SPREAD: every node is a domain, nodes without the key excepted.
    by_node: bool = False
    counts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.domains, np.int64)

    def count(self, rows: Sequence[int], amount: int) -> None:
        """Add ``amount`` for a pod on each of ``rows``."""
        hold, counts = self.hold, self.counts
        for row in rows:
            domain = hold[row]
            if domain >= 0:
                counts[domain] += amount

    def count_all(self, pods: NDArray[np.int64]) -> None:
        """Count afresh: ``pods`` says how much there is on each row."""
        held = np.flatnonzero(pods)
        domains = self.hold[held]
        held, domains = held[domains >= 0], domains[domains >= 0]
        self.counts[:] = 0
        np.add.at(self.counts, domains, pods[held])


class CountingPlugin(Protocol):
    """A plugin of scope CLUSTER all of whose rules are tallies."""

    NAME: ClassVar[str]

    def slots(self, template: Template, table: NodeTable) -> list[Slot]:
        """What the template's own rules need."""
        ...

    def selectors(self, template: Template, table: NodeTable) -> list[Selector]:
        """What selects the pods that the template's own rules are about."""
        ...

    def worth(self, template: Template, other: Template, deleting: bool, table: NodeTable) -> dict[Slot, int]:
        """What a placed pod of ``other`` counts for ``template``; slots of kinds that nobody asks for are ignored."""
        ...

    def tally(self, slot: Slot, template: Template, table: NodeTable) -> Tally:
        """An empty tally of that slot, for the nodes as they are."""
        ...
