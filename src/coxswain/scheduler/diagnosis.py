"""Why a pod fits nowhere, in kube-scheduler's words (``FitError``), and which events may change that.

``Unfit`` is what filters say of a template; a ``Diagnosis`` is that with what PostFilter made of one pod.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from coxswain.scheduler.framework import UNSCHEDULABLE, Codes, Event, Rejection
from coxswain.scheduler.framework import explain as explain_codes
from coxswain.scheduler.nodetable import Rows

if TYPE_CHECKING:
    from coxswain.scheduler.preemption import Candidate
    from coxswain.scheduler.verdict import Verdict

NO_NODES = "no nodes available to schedule pods"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
NO_CLAIMS = "no new claims to deallocate"
_NO_ROWS: Rows = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A failed decision: what the user is told, which plugins said no, and what may help."""

    message: str
    plugins: tuple[str, ...]
    wakes_on: Event
    #: Who has to leave which node for the pod to fit there, if that was found worth it.
    preempts: Candidate | None = None
    #: Preemption found that it cannot help: an earlier nomination is void.
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Unfit:
    """What the filters say of one template."""

    #: ``0/3 nodes are available: ...``
    text: str
    plugins: tuple[str, ...]
    wakes_on: Event
    #: Rows whose rejection may end when pods leave (status Unschedulable).
    potential: Rows = field(default_factory=lambda: _NO_ROWS)
    #: Those of them that NodeResourcesFit rejected.
    short_of_resources: frozenset[int] = frozenset()

    def by_resources(self, row: int) -> bool:
        """Whether NodeResourcesFit was the first to reject the row."""
        return row in self.short_of_resources

    def diagnosis(
        self, preemption: str | None, preempts: Candidate | None = None, *, hopeless: bool = False
    ) -> Diagnosis:
        """``preemption``: what it said, None where the profile has none; ignored if it found victims."""
        message = self.text
        if preempts is None:
            message += f" {NO_CLAIMS}"
            if preemption is not None:
                message += f", preemption: {preemption}"
        return Diagnosis(message, self.plugins, self.wakes_on, preempts, hopeless)


def no_nodes() -> Diagnosis:
    """There is no node at all."""
    return Diagnosis(NO_NODES, (), Event.NODE_ADD)


def rejected_outright(verdict: Verdict, plugin: str, rejection: Rejection) -> Unfit:
    """PreFilter turned the pod down."""
    text = f"0/{len(verdict.table)} nodes are available: {', '.join(rejection.reasons)}."
    return Unfit(text, (plugin,), _events(verdict, [plugin]))


def explain(verdict: Verdict, rows: Rows, by: Codes, code: Codes, narrowed_by: str) -> Unfit:
    """``by`` and ``code`` are of ``rows``, all rejected; other nodes were left out by plugin ``narrowed_by``."""
    nodes = len(verdict.table)
    reasons: Counter[str] = Counter()
    plugins: list[str] = []
    helpful = np.zeros(len(rows), np.bool_)
    for number in np.unique(by).tolist():
        plugin = verdict.profile.filters[number - 1]
        plugins.append(plugin.NAME)
        mine = by == number
        for rejection, times in explain_codes(
            plugin, verdict.template, verdict.table, rows[mine], code[mine]
        ):
            for reason in rejection.reasons:
                reasons[reason] += times
        for value in np.unique(code[mine]).tolist():
            these = mine & (code == value)
            first = int(rows[int(np.argmax(these))])
            if plugin.rejection(verdict.template, verdict.table, first, value).code == UNSCHEDULABLE:
                helpful |= these
    if left_out := nodes - len(rows):
        reasons[f"node(s) didn't satisfy plugin(s) [{narrowed_by}]"] += left_out
        plugins.append(narrowed_by)
    short = rows[helpful & (by == verdict.fit_number)] if verdict.fit_number else _NO_ROWS
    return Unfit(
        f"0/{nodes} nodes are available: {histogram(reasons)}.",
        tuple(plugins),
        _events(verdict, plugins),
        rows[helpful],
        frozenset(short.tolist()),
    )


def histogram(reasons: Counter[str]) -> str:
    """``2 this, 3 that``, sorted as text."""
    return ", ".join(sorted(f"{times} {reason}" for reason, times in reasons.items()))


def _events(verdict: Verdict, names: list[str]) -> Event:
    events = Event(0)
    for name in names:
        if (plugin := verdict.profile.filter_named(name)) is not None:
            events |= plugin.EVENTS
    return events
