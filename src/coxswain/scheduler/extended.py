"""A decision in which HTTP extenders take part: one pod at a time, since each asks other programs.

feasible nodes (plugins) -> every interested extender's filter -> totals + extenders' priorities -> choose
                                  \\-> nobody left: explain -> preempt, if every extender agrees
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from coxswain._native import sampling
from coxswain.api.names import PODS, Object
from coxswain.client.interface import Client
from coxswain.scheduler.cycle import Cycle, Failure, Placement
from coxswain.scheduler.diagnosis import histogram
from coxswain.scheduler.extender import Extender, ExtenderError
from coxswain.scheduler.framework import Profile
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.preemption import Candidate, pick_one
from coxswain.scheduler.verdict import as_rows

log = logging.getLogger(__name__)
NodeObject = Callable[[str], Object]


def interested(extenders: Sequence[Extender], pod: Pod, table: NodeTable) -> list[Extender]:
    """Those that want to be asked about ``pod``."""
    if not extenders:
        return []
    names = list(table.resources)
    resources = [names[i] for i in pod.template.ids.tolist()]
    return [extender for extender in extenders if extender.interested(resources)]


async def schedule(
    cycle: Cycle,
    client: Client,
    pod: Pod,
    profile: Profile,
    asked: Sequence[Extender],
    node_object: NodeObject,
) -> Placement | Failure:
    """Decide for one pod. Raises ``ExtenderError`` and ``ApiError``; nothing has happened then."""
    if not len(cycle.table):
        return cycle.schedule([pod], profile)[0]
    verdict = cycle.verdict(pod.template, profile)
    feasible = cycle.feasible(verdict, pod)
    if not len(feasible):
        found = cycle.schedule([pod], profile, preempt=not any(one.config.preempt for one in asked))[0]
        if isinstance(found, Failure) and any(one.config.preempt for one in asked):
            return await _preempt(cycle, client, pod, profile, asked, found)
        return found
    body = await client.get(PODS, pod.name, pod.namespace)
    names = {cycle.table.node(row).name: row for row in feasible.tolist()}
    nodes = {name: node_object(name) for name in names}
    reasons: Counter[str] = Counter()
    for extender in asked:
        if not extender.config.filter:
            continue
        try:
            kept, failed, never = await extender.filter(body, nodes)
        except ExtenderError as error:
            if not extender.config.ignorable:
                raise
            log.warning("extender %s is left out: %s", extender.config.url, error)
            continue
        reasons.update([*failed.values(), *never.values()])
        nodes = {name: nodes[name] for name in kept}
        if not nodes:
            return _nobody(cycle, pod, profile, reasons)
    rows = as_rows([names[name] for name in nodes if cycle.table.row_of.get(name) == names[name]])
    totals = verdict.totals(rows)
    for extender in asked:
        if extender.config.prioritize and len(rows) > 1:
            try:
                scores = await extender.prioritize(body, nodes)
            except ExtenderError as error:
                log.warning("priorities of extender %s are left out: %s", extender.config.url, error)
                continue
            for i, row in enumerate(rows.tolist()):
                totals[i] += scores.get(cycle.table.node(row).name, 0)
    # The table may have changed meanwhile: what was feasible must be so still.
    still = cycle.feasible(verdict, pod, limit=False)
    rows_left = [i for i, row in enumerate(rows.tolist()) if row in set(still.tolist())]
    if not rows_left:
        return cycle.schedule([pod], profile)[0]
    best = rows_left[sampling.choose(totals[rows_left], cycle.chance)]
    return cycle.assume(pod, int(rows[best]))


def _nobody(cycle: Cycle, pod: Pod, profile: Profile, reasons: Counter[str]) -> Failure:
    """Plugins would take the pod, extenders would not."""
    unfit = cycle.unfit(pod, profile)
    nodes = len(cycle.table)
    said = histogram(reasons) or f"{nodes} node(s) were refused by an extender"
    found = replace(unfit, text=f"0/{nodes} nodes are available: {said}.")
    return Failure(pod, found.diagnosis(None))


async def _preempt(
    cycle: Cycle, client: Client, pod: Pod, profile: Profile, asked: Sequence[Extender], failure: Failure
) -> Failure:
    """The best candidate that all extenders with a say accept."""
    unfit = cycle.unfit(pod, profile)
    candidates, diagnosis = cycle.preemption_candidates(pod, profile, unfit)
    body: dict[str, Any] | None = None
    for extender in asked:
        if not (candidates and extender.config.preempt):
            continue
        body = body or await client.get(PODS, pod.name, pod.namespace)
        proposed: dict[str, tuple[list[Any], int]] = {}
        for one in candidates:
            pods: list[Any] = [
                {"metadata": {"uid": victim.uid}}
                if extender.config.node_cache_capable
                else await client.get(PODS, victim.name, victim.namespace)
                for victim in one.victims
            ]
            proposed[one.node_name] = (pods, one.violations)
        try:
            accepted = await extender.preempt(body, proposed)
        except ExtenderError:
            if extender.config.ignorable:
                continue
            raise
        candidates = [
            _with_victims(one, *accepted[one.node_name]) for one in candidates if one.node_name in accepted
        ]
    if not candidates:
        return Failure(pod, diagnosis)
    best = pick_one(candidates)
    cycle.nominator.set(pod, best.node_name)
    return Failure(pod, replace(failure.diagnosis, message=unfit.text, preempts=best))


def _with_victims(candidate: Candidate, uids: list[str], violations: int) -> Candidate:
    kept = tuple(victim for victim in candidate.victims if victim.uid in set(uids))
    return Candidate(candidate.node_name, kept or candidate.victims, violations)
