"""What pods on other nodes mean for one template: its tallies, kept up to date, in the form the batch kernel reads.

    placed.log --since--> worth of each pod that came or went --> tallies, changed in place     O(changed)
    a node, a namespace, a service changed, or a rule unheard of --> all tallies afresh          O(nodes + templates)

The kernel counts the pods that it places itself; ``mark_current`` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coxswain._native.neighbours import Neighbours
from coxswain.scheduler.framework import Weighted
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.placed import Group, Placed
from coxswain.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from coxswain.scheduler.plugins.pod_topology_spread import PodTopologySpread
from coxswain.scheduler.tally import (
    APART,
    FILTERS,
    NEAR,
    PULL,
    SCORES,
    SKEW,
    SPREAD,
    CountingPlugin,
    Slot,
    Tally,
)
from coxswain.scheduler.template import Template

if TYPE_CHECKING:
    from coxswain._native.neighbours import Counter

#: Plugins of scope CLUSTER that the kernel knows.
COUNTED: frozenset[type] = frozenset({PodTopologySpread, InterPodAffinity})
_KINDS = {PodTopologySpread: {SKEW, SPREAD}, InterPodAffinity: {APART, NEAR, PULL}}
_MOST_KNOWN = 4096


class Neighbourhood:
    """See the module's text."""

    def __init__(
        self, template: Template, table: NodeTable, filters: Iterable[object], scores: Iterable[Weighted]
    ) -> None:
        """``filters`` and ``scores`` of the profile that are asked about the template; others than COUNTED do not matter."""
        self._template = template
        self._table = table
        self._asked: list[tuple[CountingPlugin, frozenset[int]]] = []
        self._weights = {PodTopologySpread: 0, InterPodAffinity: 0}
        for plugin in filters:
            if isinstance(plugin, (PodTopologySpread, InterPodAffinity)):
                self._asked.append((plugin, FILTERS))
        for plugin, weight in scores:
            if isinstance(plugin, (PodTopologySpread, InterPodAffinity)):
                self._asked.append((plugin, SCORES))
                self._weights[type(plugin)] = weight
        self._at: tuple[int, ...] = ()
        self._position = -1
        self._known: dict[int, Sequence[tuple[Slot, int]]] = {}
        #: Whether the template itself minds others; else only those matter that may mind it.
        self._has_rules = False
        self._tallies: dict[Slot, Tally] = {}
        self._kernel: Neighbours | None = None

    def refresh(self) -> Neighbours | None:
        """The counters as they are now; None: pods elsewhere do not matter, nor will more pods of the template."""
        table = self._table
        at = (table.node_log.end, table.capacity, table.facts.epoch)
        news = table.placed.log.since(self._position) if at == self._at else None
        if news is None or not all(self._count(entry) for entry in news):
            if not self._at or at[2] != self._at[2]:
                self._known.clear()
            self._build()
            self._at = at
        self.mark_current()
        return self._kernel

    def tallies(self) -> Mapping[Slot, Tally]:
        """The counters as they were at the last ``refresh``."""
        return self._tallies

    def mark_current(self) -> None:
        """The counters know of every pod so far."""
        self._position = self._table.placed.log.end

    def _count(self, entry: Placed) -> bool:
        """False: a rule that there is no tally for yet."""
        if not self._has_rules and not entry.template.opinionated:
            return True
        for slot, amount in self._worth(entry.template, entry.deleting):
            tally = self._tallies.get(slot)
            if tally is None:
                return False
            tally.count(entry.rows, amount * entry.sign)
        return True

    def _worth(self, other: Template, deleting: bool) -> Sequence[tuple[Slot, int]]:
        # Most templates are worth nothing to most others, and there are many pairs: an int and a shared tuple each.
        key = ~other.serial if deleting else other.serial
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= max(_MOST_KNOWN, 2 * len(self._table.placed)):
                self._known.clear()
            found = self._known[key] = tuple(
                (slot, amount)
                for plugin, kinds in self._asked
                for slot, amount in plugin.worth(self._template, other, deleting, self._table).items()
                if slot.kind in kinds and amount
            )
        return found

    def _build(self) -> None:
        template, table = self._template, self._table
        plugins = {kind: plugin for plugin, kinds in self._asked for kind in kinds & _KINDS[type(plugin)]}
        pods: dict[Slot, NDArray[np.int64]] = {}
        for plugin, kinds in self._asked:
            for slot in plugin.slots(template, table):
                if slot.kind in kinds:
                    pods[slot] = np.zeros(table.capacity, np.int64)
        self._has_rules = bool(pods)
        for group in self._peers():
            for slot, amount in self._worth(group.template, group.deleting):
                if slot not in pods:
                    pods[slot] = np.zeros(table.capacity, np.int64)
                group.add_to(pods[slot], amount)
        for slot, _ in self._worth(template, False):
            pods.setdefault(slot, np.zeros(table.capacity, np.int64))
        self._tallies = {slot: plugins[slot.kind].tally(slot, template, table) for slot in sorted(pods)}
        for slot, tally in self._tallies.items():
            tally.count_all(pods[slot])
        self._kernel = self._in_native_form() if self._tallies else None

    def _peers(self) -> Iterable[Group]:
        """Groups of placed pods that may count for something."""
        placed = self._table.placed
        found = {
            (group.template, group.deleting): group for group in placed.opinionated_of(self._template.labels)
        }
        for plugin, _ in self._asked:
            for selector in plugin.selectors(self._template, self._table):
                found |= placed.selected(selector)
        return found.values()

    def _in_native_form(self) -> Neighbours:
        gains = dict(self._worth(self._template, False))
        counters: list[Counter] = [
            (
                slot.kind,
                tally.look,
                tally.hold,
                tally.counts,
                tally.present,
                gains.get(slot, 0),
                tally.skew,
                tally.itself,
                tally.at_least,
                tally.by_node,
            )
            for slot, tally in self._tallies.items()
        ]
        every_key, first_anywhere = True, True
        for plugin, _ in self._asked:
            if isinstance(plugin, PodTopologySpread):
                every_key = plugin.wants_every_key(self._template)
            elif isinstance(plugin, InterPodAffinity):
                first_anywhere = plugin.means_itself(self._template, self._table)
        return Neighbours(
            counters,
            every_key,
            first_anywhere,
            self._weights[PodTopologySpread],
            self._weights[InterPodAffinity],
        )
