"""Why a pod runs where it does, why not elsewhere, and what would have to change: from the scheduler's own arrays.

    explain(case, pod, profile) -> Explanation      ``case`` is a snapshot as ``evaluate`` takes it

A pod that has a node is judged as if it had none and its room were free. Nothing is sampled: every node is judged
and scored, so the best node here may differ from the one taken, which was the best of a sample at its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coxswain.api import meta
from coxswain.scheduler import pod as pods
from coxswain.scheduler.cycle import Cycle
from coxswain.scheduler.disruption import Budgets
from coxswain.scheduler.evaluate import load
from coxswain.scheduler.framework import UNRESOLVABLE, Profile, Rejection
from coxswain.scheduler.nodetable import CPU_ID, MEMORY_ID, PODS_ID
from coxswain.scheduler.plugins.pod_topology_spread import REASON_LABEL
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.preemption import pick_one
from coxswain.scheduler.selection import match_expression, required_terms, untolerated
from coxswain.scheduler.verdict import Verdict, as_rows

_HARD = ("NoSchedule", "NoExecute")


@dataclass(slots=True)
class Refusal:
    """Nodes that one plugin refuses for the same reasons."""

    plugin: str
    reasons: tuple[str, ...]
    #: Whether pods that leave might change it.
    resolvable: bool
    nodes: list[str] = field(default_factory=list)


#: What Kubernetes says in the condition of a pod that no scheduler has looked at yet.
_GATED = "Scheduling is blocked due to non-empty scheduling gates"


@dataclass(slots=True)
class Explanation:
    """What there is to say about one pod."""

    pod: str
    #: The node it has, or empty.
    node_name: str
    nodes: int
    #: Nodes that would take it, best first: name, total, score of each plugin.
    feasible: list[tuple[str, int, dict[str, int]]]
    refusals: list[Refusal]
    #: What else would refuse these nodes: the scheduler asks no further after the first that does.
    further: list[Refusal]
    #: Sentences.
    remedies: list[str]
    #: What the scheduler would say of the pod; empty if some node takes it.
    message: str = ""
    #: What a scheduler has said of it, in its condition PodScheduled.
    condition: str = ""


def explain(case: dict[str, Any], obj: dict[str, Any], profile: Profile) -> Explanation:
    """Explain a pod of the snapshot. Budgets may be given as ``podDisruptionBudgets``."""
    table, templates = load(case)
    budgets = Budgets()
    for budget in case.get("podDisruptionBudgets") or ():
        budgets.set(budget)
    node_name = obj["spec"].get("nodeName") or ""
    found = pods.parse(obj, templates)
    if node_name:
        table.remove_pod(found, node_name)
        found.node_name = ""
    cycle = Cycle(table, seed=1, budgets=budgets)
    verdict = cycle.verdict(found.template, profile)
    explanation = Explanation(found.key, node_name, len(table), [], [], [], [])
    if not node_name:
        explanation.condition = (meta.condition(obj, "PodScheduled") or {}).get("message") or ""
    rows, by, code = _judge(verdict)
    free = rows[by == 0]
    explanation.feasible = _scored(verdict, free) if len(free) else []
    explanation.refusals = _refusals(verdict, rows, by, code)
    explanation.further = _further(verdict, rows, by)
    gate = next((r for r in (plugin.gate(found) for plugin in profile.gates) if r is not None), None)
    if not explanation.feasible:
        explanation.remedies += _remedies(verdict, [*explanation.refusals, *explanation.further])
        explanation.remedies += _preemption(cycle, found, profile, explanation)
    if gate is not None:
        explanation.remedies.insert(0, f"it is held before the queue: {', '.join(gate.reasons)}{_gates(obj)}")
        explanation.message = _GATED if found.gated else ""
    return explanation


def _gates(obj: dict[str, Any]) -> str:
    names = [gate["name"] for gate in obj["spec"].get("schedulingGates") or ()]
    return f" ({_some(names)})" if names else ""


def _judge(verdict: Verdict) -> tuple[Any, Any, Any]:
    """(rows, filter number, code) of all nodes; those that PreFilter left out are of no filter (255)."""
    table = verdict.table
    rows = table.order
    by, code = verdict.judge_rows(rows)
    narrowed = verdict.narrow()
    if narrowed is not None:
        for i, row in enumerate(rows.tolist()):
            if isinstance(narrowed.result, Rejection) or table.node(row).name not in narrowed.result:
                by[i], code[i] = 255, 0
    return rows, by, code


def _scored(verdict: Verdict, rows: Any) -> list[tuple[str, int, dict[str, int]]]:
    columns = {
        weighted.plugin.NAME: verdict.weighted(weighted, rows, cached=False).tolist()
        for weighted in verdict.scores
    }
    found = []
    for i, row in enumerate(rows.tolist()):
        scores = {name: values[i] for name, values in columns.items()}
        found.append((verdict.table.node(row).name, sum(scores.values()), scores))
    return sorted(found, key=lambda one: (-one[1], one[0]))


_ByReason = dict[tuple[str, tuple[str, ...]], Refusal]


def _refusals(verdict: Verdict, rows: Any, by: Any, code: Any) -> list[Refusal]:
    found: _ByReason = {}
    narrowed = verdict.narrow()
    for row, number, value in zip(rows.tolist(), by.tolist(), code.tolist(), strict=True):
        if number == 0:
            continue
        if number == 255:
            assert narrowed is not None
            result = narrowed.result
            left_out = Rejection(UNRESOLVABLE, ("not among the nodes it names",))
            plugin, rejection = narrowed.plugin, result if isinstance(result, Rejection) else left_out
        else:
            plugin, rejection = verdict.rejection(row, number, value)
        _note(found, verdict.table.node(row).name, plugin, rejection)
    return _most_first(found)


def _further(verdict: Verdict, rows: Any, by: Any) -> list[Refusal]:
    """Who else refuses the nodes that one filter has refused already."""
    found: _ByReason = {}
    refused = np.flatnonzero((by != 0) & (by != 255))
    for number, codes in verdict.judged_alone(rows[refused]):
        for i in np.flatnonzero(codes).tolist():
            if by[refused[i]] != number:
                row = int(rows[refused[i]])
                _note(found, verdict.table.node(row).name, *verdict.rejection(row, number, int(codes[i])))
    return _most_first(found)


def _note(found: _ByReason, node: str, plugin: str, rejection: Rejection) -> None:
    resolvable = rejection.code != UNRESOLVABLE
    refusal = found.setdefault((plugin, rejection.reasons), Refusal(plugin, rejection.reasons, resolvable))
    refusal.nodes.append(node)


def _most_first(found: _ByReason) -> list[Refusal]:
    return sorted(found.values(), key=lambda refusal: (-len(refusal.nodes), refusal.reasons))


# -- what would have to change --------------------------------------------------------------------


def _remedies(verdict: Verdict, refusals: list[Refusal]) -> list[str]:
    by_plugin: dict[str, list[str]] = {}
    reasons: dict[str, list[str]] = {}
    for refusal in refusals:
        by_plugin.setdefault(refusal.plugin, []).extend(refusal.nodes)
        reasons.setdefault(refusal.plugin, []).extend(refusal.reasons)
    said: list[str] = []
    for plugin, names in by_plugin.items():
        nodes = f"{len(names)} node(s)"
        if plugin == "NodeResourcesFit":
            said += _resources(verdict, names)
        elif plugin == "TaintToleration":
            said += _taints(verdict, names)
        elif plugin == "NodeAffinity":
            said += _labels(verdict)
        elif plugin == "NodeUnschedulable":
            said.append(f"uncordon a node: {_some(names)}")
        elif plugin == "NodeName":
            said.append(f"the pod names node {verdict.template.node_name!r}, which must exist and take it")
        elif plugin == "NodePorts":
            ports = ", ".join(f"{port.port}/{port.protocol}" for port in verdict.template.host_ports)
            said.append(f"free host port(s) {ports} on one of {nodes}: {_some(names)}")
        elif plugin == "PodTopologySpread":
            said += _spread(verdict, refusals)
        elif plugin == "InterPodAffinity":
            said.append(f"pods that its affinity wants, or that keep it away, decide on {nodes}")
        else:
            why = ", ".join(dict.fromkeys(reasons[plugin]))
            said.append(f"{plugin} must accept one of {nodes} ({_some(names)}), which is refused: {why}")
    return said


def _spread(verdict: Verdict, refusals: list[Refusal]) -> Iterator[str]:
    """Nodes in no domain of a constraint, and those in one that has too many already."""
    for refusal in refusals:
        if refusal.plugin == "PodTopologySpread":
            nodes = f"{len(refusal.nodes)} node(s)"
            if REASON_LABEL in refusal.reasons:
                constraints = verdict.template.spec.get("topologySpreadConstraints") or ()
                keys = dict.fromkeys(one["topologyKey"] for one in constraints)
                yield f"a node needs a label for each domain ({', '.join(keys)}): {nodes} lack one"
            else:
                yield f"let more domains be reachable, or raise maxSkew: {nodes} would be too uneven"


def _resources(verdict: Verdict, names: list[str]) -> Iterator[str]:
    """For each resource that is short: the node that comes closest."""
    table, template = verdict.table, verdict.template
    rows = as_rows([table.row_of[name] for name in names])
    titles = list(table.resources)
    for number, amount in zip(template.ids.tolist(), template.amounts.tolist(), strict=True):
        free = table.allocatable[number, rows] - table.requested[number, rows]
        if (free >= amount).all():
            continue
        best = int(np.argmax(free))
        title, name = titles[number], table.node(int(rows[best])).name
        largest = int(table.allocatable[number, rows].max())
        if number != PODS_ID and largest < amount:
            yield (
                f"{title}: it asks for {_shown(number, amount)}; the largest of these nodes has "
                f"{_shown(number, largest)} even when empty: ask for less or add a larger node"
            )
        elif int(free[best]) < amount:
            yield (
                f"{title}: it asks for {_shown(number, amount)}; most is free on {name}: "
                f"{_shown(number, int(free[best]))}, {_shown(number, amount - int(free[best]))} too little"
            )
        else:
            short = int((free < amount).sum())
            yield f"{title}: too little is free on {short} of {len(rows)} nodes"


def _shown(number: int, amount: int) -> str:
    if number == CPU_ID:
        return f"{amount}m"
    if number == MEMORY_ID:
        return f"{amount / 2**20:.0f}Mi"
    return str(amount)


def _taints(verdict: Verdict, names: list[str]) -> Iterator[str]:
    tolerations = verdict.template.spec.get("tolerations") or ()
    nodes: dict[str, list[str]] = {}
    for name in names:
        node = verdict.table.find(name)
        assert node is not None
        for taint in untolerated(node.taints, tolerations, _HARD)[:1]:
            value = f"={taint.value}" if taint.value else ""
            nodes.setdefault(f"{taint.key}{value}:{taint.effect}", []).append(name)
    for shown, on in nodes.items():
        yield f"tolerate taint {shown}, or remove it from one of {len(on)} node(s): {_some(on)}"


def _labels(verdict: Verdict) -> Iterator[str]:
    """How many nodes meet each requirement by itself."""
    table, spec = verdict.table, verdict.template.spec
    rows = table.order
    wanted = [
        {"key": key, "operator": "In", "values": [value]}
        for key, value in (spec.get("nodeSelector") or {}).items()
    ]
    for term in required_terms(spec) or ():
        wanted += term.get("matchExpressions") or []
    for requirement in wanted:
        count = int(match_expression(requirement, table, rows).sum())
        values = " ".join(requirement.get("values") or ())
        shown = f"{requirement['key']} {requirement['operator']} {values}".rstrip()
        there = ", ".join(list(table.column(requirement["key"]).values)[:5]) or "no node has that label"
        yield f"label {shown}: {count} of {len(rows)} nodes" + ("" if count else f" (there is: {there})")


def _preemption(cycle: Cycle, pod: Pod, profile: Profile, explanation: Explanation) -> Iterator[str]:
    unfit = cycle.unfit(pod, profile)
    candidates, diagnosis = cycle.preemption_candidates(pod, profile, unfit)
    explanation.message = diagnosis.message
    if candidates:
        best = pick_one(candidates)
        explanation.message = unfit.text
        victims = ", ".join(victim.key for victim in best.victims[:5])
        more = f" and {len(best.victims) - 5} more" if len(best.victims) > 5 else ""
        yield (
            f"preemption frees a node: {best.node_name}, from {victims}{more}"
            f" ({len(candidates)} node(s) were candidates)"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def render(found: Explanation, limit: int = 5) -> str:
    """The explanation as text; of nodes and refusals at most ``limit`` each."""
    where = f"is on {found.node_name}" if found.node_name else "has no node"
    lines = [f"pod {found.pod} {where}; {len(found.feasible)} of {found.nodes} nodes would take it"]
    if found.node_name:
        rank = next((i for i, one in enumerate(found.feasible) if one[0] == found.node_name), None)
        if rank is None:
            lines.append(f"  {found.node_name} would not take it now, but a pod that runs is not moved")
        else:
            lines.append(f"  {found.node_name} is number {rank + 1} of them by score now")
    if found.feasible:
        lines += ["", "nodes that would take it, by score:"]
        shown = found.feasible[:limit]
        if found.node_name and all(one[0] != found.node_name for one in shown):
            shown = [*shown, *(one for one in found.feasible if one[0] == found.node_name)]
        for name, total, scores in shown:
            parts = ", ".join(f"{plugin} {score}" for plugin, score in scores.items() if score)
            lines.append(f"  {name:<24} {total:>6}  {parts}")
    lines += _listed("nodes that would not:", found.refusals, limit)
    lines += _listed("and beyond that:", found.further, limit)
    if found.remedies:
        lines += ["", "what would have to change:", *(f"  {remedy}" for remedy in found.remedies)]
    if found.message:
        lines += ["", f"the scheduler says: {found.message}"]
    if found.condition and found.condition != found.message:
        lines += ["", f"the pod's condition says: {found.condition}"]
    return "\n".join(lines)


def _listed(title: str, refusals: list[Refusal], limit: int) -> list[str]:
    if not refusals:
        return []
    lines = ["", title]
    for refusal in refusals[:limit]:
        reasons = ", ".join(refusal.reasons)
        lines.append(f"  {len(refusal.nodes):>6}  {refusal.plugin}: {reasons} ({_some(refusal.nodes)})")
    if len(refusals) > limit:
        lines.append(f"          and {len(refusals) - limit} more kinds of refusals")
    return lines


__all__ = ["Explanation", "Refusal", "explain", "render"]
