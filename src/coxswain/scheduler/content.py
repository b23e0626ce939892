"""What a node table says, by name instead of by row: two tables of the same cluster say the same.

    content(table)               everything that is kept incrementally, as plain comparable values
    rebuilt(table, columns)      a table made afresh from what ``table``'s nodes and pods are
    differences(one, other)      where two contents disagree, in words

Numbering (rows, interned labels, taint sets) is left out: it depends on history, and no decision depends on it.
So are the sizes of images, which are those first reported, as in kube-scheduler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from coxswain.scheduler import template as templates
from coxswain.scheduler.nodetable import LabelColumn, Node, NodeTable
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.template import Template
from coxswain.scheduler.volume_usage import usage_of

Content = dict[str, Any]


def content(table: NodeTable, columns: Iterable[str] = ()) -> Content:
    """Nested dictionaries; ``columns`` are label keys to compare besides those that the table has columns of."""
    told: Content = {"nodes": {node.name: {} for node in table}}
    for node in table:
        told["nodes"][node.name] = _node(node, table)
    for key in sorted({*table.columns, *columns}):
        _add_column(told, key, table.column(key), table)
    told["free rows"] = _free_rows(table)
    told["order"] = sorted(table.node(row).name for row in table.order.tolist())
    told["priorities"] = dict(table.priorities)
    told["waiting"] = {name: sorted(pods) for name, pods in table.waiting().items()}
    told["images"] = {name: _names(rows, table) for name, (_, rows) in table.images.items()}
    told["ports"] = {
        f"{protocol}/{port}": {table.node(row).name: dict(used) for row, used in rows.items()}
        for (protocol, port), rows in table.ports.items()
    }
    told["placed"] = _placed(table)
    told["volumes"] = _volumes(table)
    return told


def _node(node: Node, table: NodeTable) -> Content:
    names = {number: name for name, number in table.resources.items()}
    sets = {number: taints for taints, number in table.taint_sets.items()}
    row = node.row
    return {
        "allocatable": {names[i]: int(v) for i, v in enumerate(table.allocatable[:, row]) if v},
        "requested": {names[i]: int(v) for i, v in enumerate(table.requested[:, row]) if v},
        "nonzero": [int(v) for v in table.nonzero[:, row]],
        "unschedulable": bool(table.unschedulable[row]),
        "taints": [tuple(taint) for taint in sets[int(table.taint_set[row])]],
        "labels": node.labels,
        "zone": node.zone,
        "pods": {uid: _pod(pod) for uid, pod in node.pods.items()},
    }


def _pod(pod: Pod) -> Content:
    return {
        "key": pod.key,
        "priority": pod.priority,
        "deleting": pod.deleting,
        "start": pod.start,
        "template": template_key(pod.template),
    }


def template_key(template: Template) -> str:
    """What makes a template this one, whatever table it was built for."""
    parts = (template.namespace, template.labels, template.spec, template.owner)
    return orjson.dumps(parts, option=orjson.OPT_SORT_KEYS).decode()


def _add_column(told: Content, key: str, column: LabelColumn, table: NodeTable) -> None:
    values = {number: value for value, number in column.values.items()}
    for node in table:
        told["nodes"][node.name][f"column {key}"] = values.get(int(column.ids[node.row]))


def _free_rows(table: NodeTable) -> list[int]:
    """Rows of no node in which something is left: always none."""
    free = np.ones(table.capacity, np.bool_)
    free[[node.row for node in table]] = False
    left = table.allocatable.any(axis=0) | table.requested.any(axis=0) | table.nonzero.any(axis=0)
    for column in table.columns.values():
        left |= column.ids >= 0
    return [int(row) for row in np.flatnonzero(left & free)]


def _names(rows: Iterable[int], table: NodeTable) -> list[str]:
    return sorted(table.node(row).name for row in rows)


def _placed(table: NodeTable) -> Content:
    """Counts by template and node; an array beside a group's dictionary must say the same."""
    told: Content = {}
    opinionated = {id(group) for group in table.placed.opinionated}
    for group in table.placed:
        key = f"{template_key(group.template)}{' deleting' if group.deleting else ''}"
        counts = told.setdefault(key, {})
        for row, count in group.rows.items():
            name = table.node(row).name
            counts[name] = counts.get(name, 0) + count
        if group.dense is not None:
            dense = {int(row): int(group.dense[row]) for row in np.flatnonzero(group.dense)}
            inside = {row: count for row, count in group.rows.items() if row < len(group.dense)}
            if dense != inside:
                counts["array"] = f"{dense} is not {inside}"
        affinity = group.template.affinity
        has = bool(affinity.get("podAffinity") or affinity.get("podAntiAffinity"))
        if has != (id(group) in opinionated):
            counts["opinionated"] = id(group) in opinionated
    return told


def _volumes(table: NodeTable) -> Content:
    volumes, usage = table.volumes, usage_of(table)
    drivers = {node.name: {} for node in table}  # type: dict[str, Content]
    for driver in usage.drivers():
        used, limit = usage.used(driver), usage.limit(driver)
        for node in table:
            said = {"used": int(used[node.row]), "limit": int(limit[node.row])}
            if said != {"used": 0, "limit": -1}:
                drivers[node.name][driver] = said
    return {
        "drivers": drivers,
        "where": {"/".join(name): _names(rows, table) for name, rows in usage.where.items()},
        **{name: _by_name(index, table) for name, index in volumes.counts().items()},
        "offers": volumes.offers.names(),
    }


def _by_name(index: Mapping[Any, Mapping[Any, Any]], table: NodeTable) -> Content:
    """An index by row, or by something and then by row, by names."""
    told: Content = {}
    for key, counts in index.items():
        if isinstance(key, int):
            by_template: Counter[str] = Counter()
            for each, count in counts.items():
                by_template[template_key(each)] += count
            told[table.node(key).name] = dict(by_template)
            continue
        told[repr(key)] = {
            table.node(row).name: sorted(map(repr, count.items())) if isinstance(count, dict) else count
            for row, count in counts.items()
        }
    return told


def for_table(pod: Pod, table: NodeTable, known: dict[str, Template]) -> Pod:
    """The pod with its template built for another table; ``known`` interns them by ``template_key``."""
    template = pod.template
    key = template_key(template)
    if key not in known:
        known[key] = templates.build(template.namespace, template.labels, template.spec, table)
        known[key].owner = template.owner
    return replace(pod, template=known[key])


def differences(one: Any, other: Any, path: str = "", limit: int = 100) -> list[str]:
    """``path: this is not that`` for each value that differs, at most ``limit``."""
    found = []
    for line in _differing(one, other, path):
        found.append(line)
        if len(found) == limit:
            break
    return found


def _differing(one: Any, other: Any, path: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys(), key=str):
            inner = f"{path}.{key}" if path else str(key)
            if key not in one:
                yield f"{inner}: missing, should be {other[key]!r}"
            elif key not in other:
                yield f"{inner}: {one[key]!r} should not be there"
            else:
                yield from _differing(one[key], other[key], inner)
    elif one != other:
        yield f"{path}: {one!r} should be {other!r}"
