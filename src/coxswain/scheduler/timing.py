"""How long plugins take, by kube-scheduler's names: taken for one decision in ten, as kube-scheduler does.

A decision is about a run of identical pods and asks a plugin about all nodes at once, so one observation here stands
for as many calls of kube-scheduler's as there are nodes and pods. Where a compiled pass scores for several plugins
together, its time counts for the extension point Score, and no plugin is named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final, TypeVar

from coxswain.base import clock, metrics
from coxswain.scheduler.framework import UNSCHEDULABLE, Codes, FilterPlugin, ScorePlugin, Scores
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.template import Template

#: One decision in so many is timed.
ONE_IN: Final = 10
SUCCESS: Final = "Success"
T = TypeVar("T")

_points = metrics.histogram(
    "scheduler_framework_extension_point_duration_seconds",
    "Latency for running all plugins of a specific extension point (for a run of identical pods, one in ten).",
    ("extension_point", "status", "profile"),
    buckets=tuple(0.0001 * 2**power for power in range(12)),
)
_plugins = metrics.histogram(
    "scheduler_plugin_execution_duration_seconds",
    "Duration for running a plugin at a specific extension point (for all nodes at once, one run in ten).",
    ("plugin", "extension_point", "status"),
    buckets=tuple(0.00001 * 1.5**power for power in range(20)),
)
now = clock.monotonic


def plugin_ran(plugin: str, point: str, status: str, began: float) -> None:
    """A plugin ran at an extension point, from ``began`` until now."""
    _plugins.labels(plugin, point, status).observe(now() - began)


def point_ran(profile: str, point: str, status: str, began: float) -> None:
    """All plugins of an extension point ran, from ``began`` until now."""
    _points.labels(point, status, profile).observe(now() - began)


class Timing:
    """What one decision takes; told to the histograms by ``finish``, and then ready for the next."""

    def __init__(self, profile: str) -> None:
        self._profile = profile
        self._spent: dict[str, float] = defaultdict(float)
        self._status: dict[str, str] = {}

    def add(self, point: str, began: float, status: str = SUCCESS) -> None:
        """From ``began`` (by ``now``) until now was spent on an extension point."""
        self._spent[point] += now() - began
        self._status[point] = status

    def call(self, plugin: str, point: str, work: Callable[[], T]) -> T:
        """What ``work`` returns, its time noted for a plugin and its extension point."""
        began = now()
        result = work()
        plugin_ran(plugin, point, SUCCESS, began)
        self.add(point, began)
        return result

    def filter(self, plugin: FilterPlugin, template: Template, table: NodeTable, rows: Rows) -> Codes:
        """``plugin.filter``; the status is Unschedulable if it rejects all ``rows``."""
        began = now()
        codes = plugin.filter(template, table, rows)
        status = UNSCHEDULABLE if len(codes) and codes.all() else SUCCESS
        plugin_ran(plugin.NAME, "Filter", status, began)
        self.add("Filter", began, status)
        return codes

    def score(self, plugin: ScorePlugin, template: Template, table: NodeTable, rows: Rows) -> Scores:
        """``plugin.score``."""
        return self.call(plugin.NAME, "Score", lambda: plugin.score(template, table, rows))

    def finish(self) -> None:
        """The decision is made."""
        for point, seconds in self._spent.items():
            _points.labels(point, self._status[point], self._profile).observe(seconds)
        self._spent.clear()
        self._status.clear()
