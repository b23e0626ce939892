"""Why a pod fits nowhere, in kube-scheduler's words (``FitError``), and which events may change that."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from coxswain.scheduler.framework import UNRESOLVABLE, Codes, Event, Rejection
from coxswain.scheduler.framework import explain as explain_codes
from coxswain.scheduler.nodetable import Rows
from coxswain.scheduler.verdict import Verdict

NO_NODES = "no nodes available to schedule pods"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
NEVER = "not eligible due to preemptionPolicy=Never."
NO_CLAIMS = "no new claims to deallocate"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A failed decision: what the user is told, and what may help."""

    message: str
    plugins: tuple[str, ...]
    wakes_on: Event


def no_nodes() -> Diagnosis:
    """There is no node at all."""
    return Diagnosis(NO_NODES, (), Event.NODE_ADD)


def rejected_outright(verdict: Verdict, plugin: str, rejection: Rejection, *, may_preempt: bool) -> Diagnosis:
    """PreFilter turned the pod down."""
    nodes = len(verdict.table)
    helpful = Counter({NOT_HELPFUL: nodes})
    text = f"0/{nodes} nodes are available: {', '.join(rejection.reasons)}."
    return Diagnosis(
        f"{text} {_post_filter(nodes, helpful, may_preempt)}", (plugin,), _events(verdict, [plugin])
    )


def explain(
    verdict: Verdict, rows: Rows, by: Codes, code: Codes, narrowed_by: str, *, may_preempt: bool
) -> Diagnosis:
    """``by`` and ``code`` are of ``rows``, all rejected; other nodes were left out by plugin ``narrowed_by``."""
    nodes = len(verdict.table)
    reasons: Counter[str] = Counter()
    helpful: Counter[str] = Counter()
    plugins: list[str] = []
    for number in np.unique(by).tolist():
        plugin = verdict.profile.filters[number - 1]
        plugins.append(plugin.NAME)
        mine = by == number
        for rejection, times in explain_codes(
            plugin, verdict.template, verdict.table, rows[mine], code[mine]
        ):
            for reason in rejection.reasons:
                reasons[reason] += times
            helpful[NOT_HELPFUL if rejection.code == UNRESOLVABLE else NO_VICTIMS] += times
    if left_out := nodes - len(rows):
        reasons[f"node(s) didn't satisfy plugin(s) [{narrowed_by}]"] += left_out
        helpful[NOT_HELPFUL] += left_out
        plugins.append(narrowed_by)
    text = f"0/{nodes} nodes are available: {_histogram(reasons)}."
    return Diagnosis(
        f"{text} {_post_filter(nodes, helpful, may_preempt)}", tuple(plugins), _events(verdict, plugins)
    )


def _histogram(reasons: Counter[str]) -> str:
    return ", ".join(sorted(f"{times} {reason}" for reason, times in reasons.items()))


def _post_filter(nodes: int, helpful: Counter[str], may_preempt: bool) -> str:
    if not may_preempt:
        return f"{NO_CLAIMS}, preemption: {NEVER}"
    return f"{NO_CLAIMS}, preemption: 0/{nodes} nodes are available: {_histogram(helpful)}."


def _events(verdict: Verdict, names: list[str]) -> Event:
    events = Event(0)
    for name in names:
        if (plugin := verdict.profile.filter_named(name)) is not None:
            events |= plugin.EVENTS
    return events
