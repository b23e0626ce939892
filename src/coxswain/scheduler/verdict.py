"""What is known of one template under one profile, for every node, kept up to date by the table's change logs.

``rejected_by[row]`` is 0 where the pod may run, else 1 + the index of the first filter that says no, and
``code[row]`` what it says. Raw scores are cached from the second use on; a template seen once is scored on its
sampled nodes only. Plugins of scope CLUSTER are not cached: ``judge`` asks them again at every decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coxswain._native import filters
from coxswain._native import scores as score_kernels
from coxswain._native.neighbours import Neighbours
from coxswain.scheduler.framework import (
    ClusterPlugin,
    Codes,
    FilterPlugin,
    Narrowed,
    NarrowingPlugin,
    NormalizingPlugin,
    Profile,
    Rejection,
    Scope,
    ScorePlugin,
    Scores,
    Weighted,
    offers,
)
from coxswain.scheduler.neighbourhood import COUNTED, Neighbourhood
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.plan import Plan
from coxswain.scheduler.plugins.node_resources_fit import NodeResourcesFit
from coxswain.scheduler.tally import Slot, Tally
from coxswain.scheduler.template import Template
from coxswain.scheduler.timing import Timing


class Narrowing(NamedTuple):
    """PreFilter's answer: the only nodes worth looking at, or a rejection; and which plugin(s) gave it."""

    plugin: str
    result: frozenset[str] | Rejection


class _CachedScore:
    """Raw scores of one plugin for all rows."""

    def __init__(self, plugin: ScorePlugin) -> None:
        self.plugin = plugin
        self.values: Scores = np.empty(0, np.int64)
        self.position = -1
        self.epoch = -1

    def refresh(self, template: Template, table: NodeTable, timing: Timing | None) -> Scores:
        """Bring all rows up to date."""
        log = table.node_log if self.plugin.SCOPE is Scope.NODE else table.pod_log
        epoch = self.plugin.epoch(table)
        stale = len(self.values) != table.capacity or epoch != self.epoch
        changed = None if stale else log.since(self.position)
        if changed is None:
            self.values = np.zeros(table.capacity, np.int64)
        rows = table.order if changed is None else _used(changed, table)
        if len(rows):
            score = self.plugin.score if timing is None else partial(timing.score, self.plugin)
            self.values[rows] = score(template, table, rows)
        self.position, self.epoch = log.end, epoch
        return self.values


class Verdict:
    """The state of one template under one profile; see the module's text."""

    def __init__(self, template: Template, profile: Profile, table: NodeTable) -> None:
        self.template = template
        self.profile = profile
        self.table = table
        #: Decisions so far; raw scores are cached from the second on.
        self.uses = 0
        #: Pods decided about since somebody last took count (``Cycle.take_evaluations``).
        self.evaluated = 0
        #: Where the time of this decision is noted; None: nowhere.
        self.timing: Timing | None = None
        numbered = [(i + 1, f) for i, f in enumerate(profile.filters) if f.needed(template)]
        self._node_filters = [(i, f) for i, f in numbered if f.SCOPE is Scope.NODE]
        self._row_filters = [(i, f) for i, f in numbered if f.SCOPE is Scope.ROW]
        self._cluster_filters = [(i, f) for i, f in numbered if f.SCOPE is Scope.CLUSTER]
        self._cluster_plugins = {
            *(f for _, f in self._cluster_filters),
            *(w.plugin for w in profile.scores if w.plugin.SCOPE is Scope.CLUSTER),
        }
        self._narrowing = [f for _, f in numbered if offers(f, NarrowingPlugin)]  # type: ignore[type-abstract]
        self.scores = [w for w in profile.scores if w.plugin.scoring(template)]
        self._cached = {
            w.plugin.NAME: _CachedScore(w.plugin) for w in self.scores if w.plugin.SCOPE is not Scope.CLUSTER
        }
        self._node_position = self._pod_position = -1
        self._static_by: Codes = np.empty(0, np.uint8)
        self._static_code: Codes = np.empty(0, np.uint8)
        self.rejected_by: Codes = np.empty(0, np.uint8)
        self.code: Codes = np.empty(0, np.uint8)
        self._plan: Plan | None = None
        self._neighbourhood: Neighbourhood | None = None

    @property
    def has_uncounted_plugins(self) -> bool:
        """Whether a decision depends, now, on more than the rows' own state and what can be counted by domain."""
        return any(
            type(plugin) not in COUNTED and self._is_relevant(plugin) for plugin in self._cluster_plugins
        )

    def neighbours(self) -> Neighbours | None:
        """What pods elsewhere mean, as the batch kernel reads it, up to date; None: nothing."""
        if self._neighbourhood is None:
            filters = [plugin for _, plugin in self._cluster_filters]
            self._neighbourhood = Neighbourhood(self.template, self.table, filters, self.scores)
        return self._neighbourhood.refresh()

    def tallies(self) -> Mapping[Slot, Tally]:
        """What ``neighbours`` is made of, up to date; empty as long as nobody asked for it."""
        if self._neighbourhood is None:
            return {}
        self._neighbourhood.refresh()
        return self._neighbourhood.tallies()

    def _is_relevant(self, plugin: object) -> bool:
        return not offers(plugin, ClusterPlugin) or plugin.relevant(self.template, self.table)  # type: ignore[type-abstract]

    @property
    def fit_number(self) -> int:
        """The number under which NodeResourcesFit rejects, 0 where the profile lacks it."""
        return next((i for i, f in self._row_filters if isinstance(f, NodeResourcesFit)), 0)

    @property
    def only_resources_matter(self) -> bool:
        """Whether pods that leave a node can change its judgement by their resources alone."""
        return all(isinstance(f, NodeResourcesFit) for _, f in self._row_filters) and not any(
            self._is_relevant(f) for _, f in self._cluster_filters
        )

    def plan(self) -> Plan:
        """The batch kernel's arrays, up to date."""
        if self._plan is None:
            self._plan = Plan(self)
        self._plan.refresh()
        return self._plan

    def narrow(self) -> Narrowing | None:
        """What PreFilter leaves; None is every node."""
        result: frozenset[str] | None = None
        by: list[str] = []
        for plugin in self._narrowing:
            found = self._narrow(plugin)
            if isinstance(found, Rejection):
                return Narrowing(plugin.NAME, found)
            if found is not None:
                result = found if result is None else result & found
                by.append(plugin.NAME)
        return None if result is None else Narrowing(" ".join(by), result)

    def _narrow(self, plugin: NarrowingPlugin) -> Narrowed:
        if self.timing is None:
            return plugin.narrow(self.template, self.table)
        return self.timing.call(plugin.NAME, "PreFilter", lambda: plugin.narrow(self.template, self.table))

    def asked(self) -> Iterator[tuple[str, str]]:
        """(plugin, extension point) of all that have a say about pods of this template."""
        for plugin in self._narrowing:
            yield plugin.NAME, "PreFilter"
        for _, each in (*self._node_filters, *self._row_filters, *self._cluster_filters):
            yield each.NAME, "Filter"
        for weighted in self.scores:
            yield weighted.plugin.NAME, "Score"

    def refresh(self) -> None:
        """Bring ``rejected_by`` and ``code`` of all rows up to date."""
        table = self.table
        all_static = self._refresh_static()
        changed = None
        if not all_static and len(self.rejected_by) == table.capacity:
            changed = table.pod_log.since(self._pod_position)
        if changed is None:
            self.rejected_by, self.code = self._static_by.copy(), self._static_code.copy()
            self._fold(self._row_filters, table.order, self.rejected_by, self.code)
        elif len(changed):
            rows = _used(changed, table)
            self.rejected_by[rows] = self._static_by[rows]
            self.code[rows] = self._static_code[rows]
            self._fold(self._row_filters, rows, self.rejected_by, self.code)
        self._pod_position = table.pod_log.end

    def static_codes(self) -> Codes:
        """``rejected_by`` as far as it follows from the nodes alone, up to date; to be read only."""
        self._refresh_static()
        return self._static_by

    def mark_current(self) -> None:
        """Say that the arrays know of every change so far (the batch kernel kept them)."""
        self._pod_position = self.table.pod_log.end
        if self._plan is not None:
            self._plan.mark_current()
        if self._neighbourhood is not None:
            self._neighbourhood.mark_current()

    def _refresh_static(self) -> bool:
        """Refresh what depends on nodes alone; True when all rows were."""
        table = self.table
        rows = None
        if len(self._static_by) == table.capacity:
            rows = table.node_log.since(self._node_position)
        self._node_position = table.node_log.end
        if rows is None:
            self._static_by = np.zeros(table.capacity, np.uint8)
            self._static_code = np.zeros(table.capacity, np.uint8)
            self._fold(self._node_filters, table.order, self._static_by, self._static_code)
            return True
        if len(rows):
            used = _used(rows, table)
            self._static_by[rows] = 0
            self._static_code[rows] = 0
            self._fold(self._node_filters, used, self._static_by, self._static_code)
        return False

    def _fold(self, plugins: list[tuple[int, FilterPlugin]], rows: Rows, by: Codes, code: Codes) -> None:
        if not len(rows):
            return
        for number, plugin in plugins:
            codes = self._filter(plugin, rows)
            filters.first_rejection(codes, number, rows, by, code)

    def _filter(self, plugin: FilterPlugin, rows: Rows) -> Codes:
        if self.timing is None:
            return plugin.filter(self.template, self.table, rows)
        return self.timing.filter(plugin, self.template, self.table, rows)

    def asked_every_time(self) -> list[FilterPlugin]:
        """Filters of scope CLUSTER that have something to say now; brings the kept arrays up to date."""
        self.refresh()
        return [plugin for _, plugin in self._cluster_filters if self._is_relevant(plugin)]

    def passing(self, asked: list[FilterPlugin], rows: Rows) -> NDArray[np.intp]:
        """Positions in ``rows`` of those that the kept arrays and the filters ``asked`` let pass."""
        at = np.flatnonzero(self.rejected_by[rows] == 0)
        for plugin in asked:
            if not len(at):
                break
            at = at[self._filter(plugin, rows[at]) == 0]
        return at

    def judge(self) -> tuple[Codes, Codes]:
        """(rejected_by, code) by row, plugins of scope CLUSTER included; shared arrays, to be read only."""
        self.refresh()
        asked = [(number, plugin) for number, plugin in self._cluster_filters if self._is_relevant(plugin)]
        if not asked:
            return self.rejected_by, self.code
        by, code = self.rejected_by.copy(), self.code.copy()
        self._fold(asked, self.table.order, by, code)
        return by, code

    def judge_rows(self, rows: Rows) -> tuple[Codes, Codes]:
        """The same for these few rows, without touching the cache: two arrays as long as ``rows``."""
        by, code = np.zeros(len(rows), np.uint8), np.zeros(len(rows), np.uint8)
        places = np.arange(len(rows), dtype=np.int32)
        for number, plugin in (*self._node_filters, *self._row_filters, *self._cluster_filters):
            codes = self._filter(plugin, rows)
            filters.first_rejection(codes, number, places, by, code)
        return by, code

    def judged_alone(self, rows: Rows) -> Iterator[tuple[int, Codes]]:
        """(number, codes of ``rows``) of every filter by itself, whatever those before it say; 0: it accepts."""
        for number, plugin in (*self._node_filters, *self._row_filters, *self._cluster_filters):
            yield number, plugin.filter(self.template, self.table, rows)

    def rejection(self, row: int, by: int, code: int) -> tuple[str, Rejection]:
        """(plugin, rejection) of a row that filter number ``by`` rejected with ``code``."""
        plugin = self.profile.filters[by - 1]
        return plugin.NAME, plugin.rejection(self.template, self.table, row, code)

    def raw(self, plugin: ScorePlugin) -> Scores:
        """Raw scores of all rows, cached."""
        return self._cached[plugin.NAME].refresh(self.template, self.table, self.timing)

    def score(self, plugin: ScorePlugin, rows: Rows) -> Scores:
        """Raw scores of these rows, worked out now."""
        if self.timing is None:
            return plugin.score(self.template, self.table, rows)
        return self.timing.score(plugin, self.template, self.table, rows)

    def weighted(self, weighted: Weighted, rows: Rows, *, cached: bool) -> Scores:
        """One plugin's normalized, weighted scores of ``rows`` (which are the feasible nodes)."""
        plugin, weight = weighted
        if cached and plugin.NAME in self._cached:
            scores = self.raw(plugin)[rows]
        else:
            scores = self.score(plugin, rows)
        if offers(plugin, NormalizingPlugin):  # type: ignore[type-abstract]
            scores = plugin.normalize(self.template, self.table, rows, scores)
        elif plugin.NORMALIZE != "none":
            score_kernels.normalize(scores, plugin.NORMALIZE == "reverse")
        scores *= weight
        return scores

    def totals(self, rows: Rows) -> Scores:
        """The sum over all plugins for each of ``rows``."""
        total = np.zeros(len(rows), np.int64)
        for weighted in self.scores:
            if weighted.plugin.SCOPE is Scope.CLUSTER and not self._is_relevant(weighted.plugin):
                continue
            total += self.weighted(weighted, rows, cached=self.uses > 1)
        return total


def _used(rows: Rows, table: NodeTable) -> Rows:
    """Without rows whose node is gone."""
    if all(table.nodes[row] is not None for row in rows.tolist()):
        return rows
    return np.array([row for row in rows.tolist() if table.nodes[row] is not None], np.int32)


def as_rows(values: list[int]) -> NDArray[np.int32]:
    """Row numbers for a kernel."""
    return np.array(values, np.int32)
