"""Kubernetes' rules node by node and pod by pod, as plainly as they can be said: the twins of the plugins.

``verdict(case, pending)`` gives, for each node, the name of the first plugin that rejects it (None: feasible),
and for the feasible ones the weighted scores of the plugins that look at other pods.
"""

from __future__ import annotations

import math
from typing import Any

Object = dict[str, Any]
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)


def requirement(labels: dict[str, str], key: str, operator: str, values: list[str]) -> bool:
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    try:
        have, bound = int(labels[key]), int(values[0])
    except (KeyError, ValueError):
        return False
    return have > bound if operator == "Gt" else have < bound


def selects(selector: Object | None, labels: dict[str, str]) -> bool:
    if selector is None:
        return False
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
        requirement(labels, e["key"], e["operator"], e.get("values", []))
        for e in selector.get("matchExpressions", [])
    )


def term_matches(term: Object, node: Object) -> bool:
    expressions = term.get("matchExpressions", [])
    return bool(expressions) and all(
        requirement(node["metadata"]["labels"], e["key"], e["operator"], e.get("values", []))
        for e in expressions
    )


def node_affinity(pod: Object, node: Object) -> bool:
    labels, spec = node["metadata"]["labels"], pod["spec"]
    if any(labels.get(k) != v for k, v in spec.get("nodeSelector", {}).items()):
        return False
    required = spec.get("affinity", {}).get("nodeAffinity", {}).get(REQUIRED)
    return required is None or any(term_matches(t, node) for t in required["nodeSelectorTerms"])


def tolerated(pod: Object, taint: Object) -> bool:
    return any(
        t.get("effect", taint["effect"]) == taint["effect"]
        and t.get("key", taint["key"]) == taint["key"]
        and (t.get("operator") == "Exists" or t.get("value", "") == taint.get("value", ""))
        for t in pod["spec"].get("tolerations", [])
    )


def taints_fit(pod: Object, node: Object) -> bool:
    return all(
        tolerated(pod, t)
        for t in node["spec"].get("taints", [])
        if t["effect"] in ("NoSchedule", "NoExecute")
    )


def on(case: Object, node: Object) -> list[Object]:
    return [p for p in case["pods"] if p["spec"]["nodeName"] == node["metadata"]["name"]]


def counted(case: Object, node: Object, pod: Object, selector: Object) -> int:
    if selector == {}:
        return 0
    return sum(
        p["metadata"]["namespace"] == pod["metadata"]["namespace"]
        and selects(selector, p["metadata"]["labels"])
        for p in on(case, node)
    )


def included(constraint: Object, pod: Object, node: Object) -> bool:
    if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not node_affinity(pod, node):
        return False
    return constraint.get("nodeTaintsPolicy", "Ignore") == "Ignore" or taints_fit(pod, node)


def spread_rejects(case: Object, pod: Object, node: Object) -> bool:
    hard = [
        c
        for c in pod["spec"].get("topologySpreadConstraints", [])
        if c["whenUnsatisfiable"] == "DoNotSchedule"
    ]
    for c in hard:
        domains: dict[str, int] = {}
        for other in case["nodes"]:
            labels = other["metadata"]["labels"]
            if all(h["topologyKey"] in labels for h in hard) and included(c, pod, other):
                value = labels[c["topologyKey"]]
                domains[value] = domains.get(value, 0) + counted(case, other, pod, c["labelSelector"])
        value = node["metadata"]["labels"].get(c["topologyKey"])
        if value is None:
            return True
        least = min(domains.values(), default=2**31 - 1)
        if len(domains) < c.get("minDomains", 1):
            least = 0
        itself = selects(c["labelSelector"], pod["metadata"]["labels"])
        if domains.get(value, 0) + itself - least > c["maxSkew"]:
            return True
    return False


def means(case: Object, term: Object, owner: Object, other: Object) -> bool:
    names, among = term.get("namespaces", []), term.get("namespaceSelector")
    if not names and among is None:
        names = [owner["metadata"]["namespace"]]
    space = other["metadata"]["namespace"]
    labels = next((n["metadata"]["labels"] for n in case["namespaces"] if n["metadata"]["name"] == space), {})
    return (space in names or selects(among, labels)) and selects(
        term.get("labelSelector"), other["metadata"]["labels"]
    )


def terms(pod: Object, kind: str, when: str) -> list[Object]:
    found: list[Object] = pod["spec"].get("affinity", {}).get(kind, {}).get(when, [])
    return found


def together(case: Object, key: str, node: Object) -> list[Object]:
    """Placed pods in the same domain of ``key`` as ``node``."""
    value = node["metadata"]["labels"].get(key)
    if value is None:
        return []
    return [p for n in case["nodes"] if n["metadata"]["labels"].get(key) == value for p in on(case, n)]


def affinity_rejects(case: Object, pod: Object, node: Object) -> bool:
    near = terms(pod, "podAffinity", REQUIRED)
    labels = node["metadata"]["labels"]

    def all_mean(other: Object) -> bool:
        return all(means(case, t, pod, other) for t in near)

    if any(t["topologyKey"] not in labels for t in near):
        return True
    if not all(any(all_mean(p) for p in together(case, t["topologyKey"], node)) for t in near):
        anywhere = any(
            all_mean(p) and t["topologyKey"] in n["metadata"]["labels"]
            for n in case["nodes"]
            for p in on(case, n)
            for t in near
        )
        if anywhere or not all_mean(pod):
            return True
    for t in terms(pod, "podAntiAffinity", REQUIRED):
        if any(means(case, t, pod, p) for p in together(case, t["topologyKey"], node)):
            return True
    return any(
        means(case, t, p, pod) and p in together(case, t["topologyKey"], node)
        for p in case["pods"]
        for t in terms(p, "podAntiAffinity", REQUIRED)
    )


def affinity_score(case: Object, pod: Object, node: Object) -> int:
    score = 0
    for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1)):
        for t in terms(pod, kind, PREFERRED):
            inner = t["podAffinityTerm"]
            near = together(case, inner["topologyKey"], node)
            score += sign * t["weight"] * sum(means(case, inner, pod, p) for p in near)
        for p in case["pods"]:
            for t in terms(p, kind, PREFERRED):
                inner = t["podAffinityTerm"]
                if means(case, inner, p, pod) and p in together(case, inner["topologyKey"], node):
                    score += sign * t["weight"]
    for p in case["pods"]:
        for t in terms(p, "podAffinity", REQUIRED):
            score += means(case, t, p, pod) and p in together(case, t["topologyKey"], node)
    return score


def spread_scores(case: Object, pod: Object, feasible: list[Object]) -> dict[str, int]:
    own = pod["spec"].get("topologySpreadConstraints", [])
    soft = [c for c in own if c["whenUnsatisfiable"] == "ScheduleAnyway"]
    if not own:
        selector: dict[str, str] = {}
        for service in case["services"]:
            wanted = service["spec"]["selector"]
            same = service["metadata"]["namespace"] == pod["metadata"]["namespace"]
            if same and wanted.items() <= pod["metadata"]["labels"].items():
                selector |= wanted
        if selector:
            soft = [
                {"maxSkew": skew, "topologyKey": key, "labelSelector": {"matchLabels": selector}}
                for skew, key in ((3, HOST), (5, ZONE))
            ]
    if not soft:
        return {}

    def complete(node: Object) -> bool:
        return not own or all(c["topologyKey"] in node["metadata"]["labels"] for c in soft)

    raw: dict[str, int] = {}
    for node in filter(complete, feasible):
        total = 0.0
        for c in soft:
            key = c["topologyKey"]
            values = {n["metadata"]["labels"].get(key) for n in feasible if complete(n)}
            value = node["metadata"]["labels"].get(key)
            if value is None:
                continue
            size = len([n for n in feasible if complete(n)]) if key == HOST else len(values)
            if key == HOST:
                count = counted(case, node, pod, c["labelSelector"])
            else:
                count = sum(
                    counted(case, n, pod, c["labelSelector"])
                    for n in case["nodes"]
                    if n["metadata"]["labels"].get(key) == value and complete(n) and included(c, pod, n)
                )
            total += count * math.log(size + 2) + c["maxSkew"] - 1
        raw[node["metadata"]["name"]] = math.floor(total + 0.5)
    if not raw:
        return {}
    least, most = min(raw.values()), max(raw.values())
    return {name: 100 * (most + least - s) // most if most else 100 for name, s in raw.items()}


def verdict(case: Object, pod: Object) -> tuple[dict[str, str | None], dict[str, dict[str, int]]]:
    rejected: dict[str, str | None] = {}
    for node in case["nodes"]:
        found = None
        if not taints_fit(pod, node):
            found = "TaintToleration"
        elif not node_affinity(pod, node):
            found = "NodeAffinity"
        elif len(on(case, node)) + 1 > int(node["status"]["allocatable"]["pods"]):
            found = "NodeResourcesFit"
        elif spread_rejects(case, pod, node):
            found = "PodTopologySpread"
        elif affinity_rejects(case, pod, node):
            found = "InterPodAffinity"
        rejected[node["metadata"]["name"]] = found
    feasible = [n for n in case["nodes"] if rejected[n["metadata"]["name"]] is None]
    near = {n["metadata"]["name"]: affinity_score(case, pod, n) for n in feasible}
    span = max(near.values(), default=0) - min(near.values(), default=0)
    spread = spread_scores(case, pod, feasible)
    return rejected, {
        name: {
            "InterPodAffinity": 2 * int(100.0 * ((s - min(near.values())) / float(span))) if span else 0,
            "PodTopologySpread": 2 * spread.get(name, 0),
        }
        for name, s in near.items()
    }
