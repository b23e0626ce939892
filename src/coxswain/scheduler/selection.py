"""Node selectors and tolerations over the columns of the node table.

A requirement looks its key's column up and decides once for each distinct value, not for each node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coxswain.scheduler.nodetable import NodeTable, Rows, Taint

Mask = NDArray[np.bool_]
_NONE: NDArray[np.int64] = np.empty(0, np.int64)


def _as_int(text: str) -> int | None:
    digits = text[1:] if text[:1] in ("+", "-") else text
    return int(text) if digits.isascii() and digits.isdigit() and -(2**63) <= int(text) < 2**63 else None


def _value_test(operator: str, values: Sequence[str]) -> Callable[[str], bool]:
    if operator in ("In", "NotIn"):
        wanted = frozenset(values)
        return wanted.__contains__ if operator == "In" else lambda value: value not in wanted
    if operator in ("Gt", "Lt"):
        bound = _as_int(values[0]) if len(values) == 1 else None
        greater = operator == "Gt"

        def compare(value: str) -> bool:
            number = _as_int(value)
            if number is None or bound is None:
                return False
            return number > bound if greater else number < bound

        return compare
    present = operator == "Exists"
    return lambda value: present


def match_expression(expression: dict[str, Any], table: NodeTable, rows: Rows) -> Mask:
    """Where a node selector requirement on labels holds; NotIn and DoesNotExist hold where the label is absent."""
    operator = expression["operator"]
    column = table.column(expression["key"])
    verdicts = np.empty(len(column.values) + 1, np.bool_)
    verdicts[-1] = operator in ("NotIn", "DoesNotExist")  # numbered -1: absent
    if operator == "In":
        verdicts[:-1] = False
        for value in expression.get("values") or ():
            if (number := column.values.get(value)) is not None:
                verdicts[number] = True
    else:
        test = _value_test(operator, expression.get("values") or ())
        verdicts[:-1] = [test(value) for value in column.values]
    result: Mask = verdicts[column.ids[rows]]
    return result


def match_field(expression: dict[str, Any], table: NodeTable, rows: Rows) -> Mask:
    """Where a requirement on ``metadata.name``, the only field there is, holds."""
    wanted = [table.row_of[name] for name in expression.get("values") or () if name in table.row_of]
    named = np.isin(rows, np.array(wanted, np.int32))
    return named if expression["operator"] == "In" else ~named


def match_term(term: dict[str, Any], table: NodeTable, rows: Rows) -> Mask:
    """All requirements of a node selector term together; a term without any matches nothing."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    mask = np.full(len(rows), bool(expressions or fields))
    for expression in expressions:
        mask &= match_expression(expression, table, rows)
    for expression in fields:
        mask &= match_field(expression, table, rows)
    return mask


def match_node_selector(spec: dict[str, Any], table: NodeTable, rows: Rows) -> Mask:
    """Where a pod's ``nodeSelector`` and required node affinity both hold."""
    mask = np.ones(len(rows), np.bool_)
    for key, value in (spec.get("nodeSelector") or {}).items():
        mask &= match_expression({"key": key, "operator": "In", "values": [value]}, table, rows)
    required = required_terms(spec)
    if required is not None:
        either = np.zeros(len(rows), np.bool_)
        for term in required:
            either |= match_term(term, table, rows)
        mask &= either
    return mask


def required_terms(spec: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The terms of required node affinity, None where it is absent."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return None if required is None else required.get("nodeSelectorTerms") or []


def tolerates(toleration: dict[str, Any], taint: Taint) -> bool:
    """Whether one toleration covers one taint (core/v1 ``ToleratesTaint``)."""
    effect = toleration.get("effect")
    if effect and effect != taint.effect:
        return False
    key = toleration.get("key")
    if key and key != taint.key:
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return operator == "Equal" and (toleration.get("value") or "") == taint.value


def untolerated(
    taints: Iterable[Taint], tolerations: Iterable[dict[str, Any]], effects: Iterable[str]
) -> list[Taint]:
    """Taints of these effects that no toleration covers, in the node's order."""
    tolerations = list(tolerations)
    return [
        taint
        for taint in taints
        if taint.effect in effects and not any(tolerates(toleration, taint) for toleration in tolerations)
    ]


def by_taint_set(
    table: NodeTable, rows: Rows, parsed: dict[str, Any], key: str, judge: Callable[[tuple[Taint, ...]], int]
) -> NDArray[np.int64]:
    """``judge`` of each row's taints, asked once for each distinct list and kept in ``parsed[key]``."""
    sets = table.taint_sets
    known: NDArray[np.int64]
    numbering, known = parsed.get(key, (None, _NONE))
    if numbering is not sets:
        known = _NONE
    if len(known) < len(sets):
        fresh = [judge(taints) for taints in islice(sets, len(known), None)]
        known = np.array([*known.tolist(), *fresh], np.int64)
        parsed[key] = (sets, known)
    if not known.any():
        return np.zeros(len(rows), np.int64)
    result: NDArray[np.int64] = known[table.taint_set[rows]]
    return result
