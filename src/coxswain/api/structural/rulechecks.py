"""Whether the rules of a definition are good: they compile, are bounded in cost, and compare only what can be compared.

    check_expressions(structural, path) -> Errors

Costs are estimated as Kubernetes does: what a rule costs at most, times how often its value may occur (``maxItems`` and
``maxProperties`` above it, or what fits into a request). One rule may cost 10 million, all together 100 million.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from coxswain.api.cel import DYN
from coxswain.api.cel.costs import MOST
from coxswain.api.fields import Errors, Shown, child, forbidden, index, invalid, key
from coxswain.api.structural.celtypes import MAX_REQUEST, Shape, shape
from coxswain.api.structural.model import Structural
from coxswain.api.structural.rules import Rule, compiled

RULE_LIMIT: Final = 10_000_000
TOTAL_LIMIT: Final = 100_000_000
_HINT: Final = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)


@dataclass(slots=True)
class _Total:
    """What all rules cost, and the four that cost most."""

    cost: int = 0
    dearest: list[tuple[int, str]] = field(default_factory=list)

    def add(self, path: str, cost: int) -> None:
        self.cost = min(self.cost + cost, MOST)
        if cost >= TOTAL_LIMIT // 100:
            self.dearest.append((cost, path))
            self.dearest.sort(key=lambda each: -each[0])
            del self.dearest[4:]


def check_expressions(structural: Structural, path: str) -> Errors:
    """The complaints about the rules of a schema."""
    errors: Errors = []
    if not structural.any_rules:
        return errors
    total = _Total()
    _check(structural, path, True, 1, "", total, errors)
    if total.cost > TOTAL_LIMIT:
        words = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        errors += [forbidden(where, words) for _, where in total.dearest]
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        errors.append(forbidden(path, _exceeds(name, total.cost, TOTAL_LIMIT)))
    return errors


def _check(
    node: Structural,
    path: str,
    root: bool,
    count: int | None,
    uncorrelated: str,
    total: _Total,
    errors: Errors,
) -> None:
    """``count``: how often the value may occur (None: no bound); ``uncorrelated``: above here, old cannot be told."""
    if not node.any_rules:
        return
    below = _below(node, count)
    if isinstance(node.additional, Structural):
        where = child(path, "additionalProperties")
        _check(node.additional, where, False, below, uncorrelated, total, errors)
    for name, each in sorted(node.properties.items()):
        where = key(child(path, "properties"), name)
        _check(each, where, False, below, uncorrelated, total, errors)
    if node.items is not None:
        lost = uncorrelated or ("" if node.list_type == "map" else path)
        _check(node.items, child(path, "items"), False, below, lost, total, errors)
    if node.rules:
        found = shape(node, root=root) or Shape(DYN, 1)
        times = MAX_REQUEST // (found.least + 1) if count is None else count
        for position, raw in enumerate(node.rules):
            where = index(child(path, "x-kubernetes-validations"), position)
            _check_rule(raw, found, node, where, times, uncorrelated, total, errors)


def _below(node: Structural, count: int | None) -> int | None:
    if count is None:
        return None
    if node.type == "array":
        limit = node.raw.get("maxItems")
    elif node.type == "object" and node.additional is not None:
        limit = node.raw.get("maxProperties")
    else:
        limit = 1
    return None if limit is None else min(count * max(int(limit), 0), MOST)


def _check_rule(
    raw: Mapping[str, Any],
    found: Shape,
    node: Structural,
    where: str,
    times: int,
    uncorrelated: str,
    total: _Total,
    errors: Errors,
) -> None:
    made = compiled(raw, found.type, node)
    if not isinstance(made, Rule):
        errors.append(invalid(child(where, made[0]), _shown(raw), made[1]))
        if made[0] == "rule" and raw.get("optionalOldSelf") is not None:
            why = "may not be set if oldSelf is not used in rule"
            errors.append(invalid(child(where, "optionalOldSelf"), raw["optionalOldSelf"], why))
        return
    cost = min(made.program.estimate.most * times, MOST)
    _observe(child(where, "rule"), "estimated rule cost", cost, total, errors)
    if made.message is not None:
        name, cost = "estimated messageExpression cost", made.message.estimate.most
        _observe(child(where, "messageExpression"), name, cost, total, errors)
    if "oldSelf" not in made.program.names:
        if raw.get("optionalOldSelf") is not None:
            why = "may not be set if oldSelf is not used in rule"
            errors.append(invalid(child(where, "optionalOldSelf"), raw["optionalOldSelf"], why))
    elif uncorrelated:
        why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}"
        errors.append(invalid(child(where, "rule"), raw["rule"], why))


def _observe(path: str, name: str, cost: int, total: _Total, errors: Errors) -> None:
    if cost > RULE_LIMIT:
        errors.append(forbidden(path, _exceeds(name, cost, RULE_LIMIT)))
    total.add(path, cost)


def _exceeds(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    if factor > 100:
        shown = "more than 100x"
    else:
        shown = f"{factor:.6f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{name} exceeds budget by factor of {shown} {_HINT}"


def _shown(raw: Mapping[str, Any]) -> Shown:
    """A rule as Go prints its internal struct."""
    row = {
        "Rule": raw.get("rule") or "",
        "Message": raw.get("message") or "",
        "MessageExpression": raw.get("messageExpression") or "",
        "Reason": raw.get("reason"),
        "FieldPath": raw.get("fieldPath") or "",
        "OptionalOldSelf": raw.get("optionalOldSelf"),
    }
    text = orjson.dumps(row).decode()
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Shown(text)
