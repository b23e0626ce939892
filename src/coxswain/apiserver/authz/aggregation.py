"""What an aggregated ClusterRole's rules should be: those of the roles that its selectors match.

The cluster role aggregation controller writes the result; this is its decision, and that of bootstrap,
which must not wait for a controller.
"""

from __future__ import annotations

from collections.abc import Iterable

from coxswain.api.names import Object


def aggregate(role: Object, roles: Iterable[Object]) -> list[Object] | None:
    """The rules of ``role`` by its aggregationRule, in the order of role names; None if it has none."""
    selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors")
    if not selectors:
        return None
    name = role["metadata"]["name"]
    rules: list[Object] = []
    matching = {
        other["metadata"]["name"]: other
        for other in roles
        if other["metadata"]["name"] != name and any(_matches(selector, other) for selector in selectors)
    }
    for other in sorted(matching):
        rules += [rule for rule in matching[other].get("rules") or () if rule not in rules]
    return rules


def _matches(selector: Object, role: Object) -> bool:
    labels = role["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_meets(term, labels) for term in selector.get("matchExpressions") or ())


def _meets(term: Object, labels: dict[str, str]) -> bool:
    key, operator, values = term["key"], term["operator"], term.get("values") or ()
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    return (key in labels) is bool(operator == "Exists")
