"""``cox scheduler evaluate``: cluster snapshots in, every plugin's verdict and score out, one JSON line each.

In:   {"id", "nodes", "pods", "namespaces", "services", "pending"}, and what storage needs: "persistentVolumes",
      "persistentVolumeClaims", "storageClasses", "csiNodes", "csiDrivers", "csiStorageCapacities",
      "volumeAttachments"
Out:  {"id", "results": [{"pod", "preFilter"?, "filter": {node: {"code"} | {"plugin", "code", "reasons"}},
       "scores": {node: {plugin: weighted score}}, "total": {node: sum}}]}

Each pending pod is judged alone on the snapshot, on every node, by the same node table, templates and plugins
that schedule. A line that is not a snapshot is answered with {"id", "error"}, and the exit code is 1.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson

from coxswain.scheduler import pod as pods
from coxswain.scheduler.framework import Profile, Rejection
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.plugins.registry import default_profile
from coxswain.scheduler.template import Templates
from coxswain.scheduler.verdict import Verdict, as_rows
from coxswain.scheduler.volumes import KINDS

_SUCCESS = {"code": "Success"}
_EXCLUDED = {"code": "PreFilterExcluded"}


def answer(line: bytes) -> tuple[bytes, bool]:
    """The answer to one snapshot, a line of JSON, and whether it was one."""
    name: Any = None
    try:
        case = _snapshot(line)
        name = case.get("id")
        return orjson.dumps({"id": name, "results": evaluate(case, _profile())}) + b"\n", True
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        # The first of these are said in our own words; what is wrong deeper inside, in Python's.
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        return orjson.dumps({"id": name, "error": f"not a snapshot: {why}"}) + b"\n", False


def _snapshot(line: bytes) -> dict[str, Any]:
    case: Any = orjson.loads(line)
    if not isinstance(case, dict):
        raise ValueError(f"an object is expected, not {type(case).__name__}")
    for name in ("nodes", "pods", "namespaces", "services", "pending"):
        value = case.get(name) or []
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise ValueError(f"{name}: a list of objects is expected")
    return case


@cache
def _profile() -> Profile:
    return default_profile()


def evaluate(case: dict[str, Any], profile: Profile) -> list[dict[str, Any]]:
    """The results of every pending pod of one snapshot."""
    table, templates = load(case)
    return [
        {"pod": obj["metadata"]["name"], **_judge(Verdict(templates.of(obj), profile, table))}
        for obj in case.get("pending") or ()
    ]


def load(case: dict[str, Any]) -> tuple[NodeTable, Templates]:
    """The node table of a snapshot, with its pods that have a node."""
    table = NodeTable()
    templates = Templates(table)
    for namespace in case.get("namespaces") or ():
        table.facts.set_namespace(namespace["metadata"]["name"], namespace["metadata"].get("labels") or {})
    for service in case.get("services") or ():
        metadata = service["metadata"]
        selector = (service.get("spec") or {}).get("selector")
        table.facts.set_service(metadata.get("namespace") or "", metadata["name"], selector)
    for key, objects in case.items():
        if (kind := key.lower()) in KINDS:
            for obj in objects or ():
                table.volumes.set(kind, obj)
    for node in case["nodes"]:
        table.set_node(node)
    for obj in case.get("pods") or ():
        placed = pods.parse(obj, templates)
        if placed.node_name:
            table.add_pod(placed, placed.node_name)
    return table, templates


def _judge(verdict: Verdict) -> dict[str, Any]:
    table = verdict.table
    names = [node.name for node in (table.node(row) for row in table.order.tolist())]
    narrowed = verdict.narrow()
    if narrowed is not None and isinstance(narrowed.result, Rejection):
        return {"preFilter": f"{narrowed.plugin}: {', '.join(narrowed.result.reasons)}", "filter": {}}
    statuses: dict[str, Any]
    if narrowed is None:
        statuses, rows = {}, table.order
    else:
        statuses = {name: _EXCLUDED for name in names if name not in narrowed.result}
        rows = as_rows([table.row_of[name] for name in names if name in narrowed.result])
    by, code = verdict.judge_rows(rows)
    seen: dict[tuple[int, int], dict[str, Any]] = {}
    feasible = []
    for row, number, value in zip(rows.tolist(), by.tolist(), code.tolist(), strict=True):
        name = table.node(row).name
        if not number:
            feasible.append(row)
            statuses[name] = _SUCCESS
            continue
        plugin, (status, reasons) = verdict.rejection(row, number, value)
        statuses[name] = seen.setdefault(
            (number, hash((status, reasons))), {"plugin": plugin, "code": status, "reasons": reasons}
        )
    result: dict[str, Any] = {"filter": statuses}
    if feasible:
        result.update(_scores(verdict, as_rows(feasible)))
    return result


def _scores(verdict: Verdict, rows: Rows) -> dict[str, Any]:
    table = verdict.table
    columns = [
        (weighted.plugin.NAME, verdict.weighted(weighted, rows, cached=False).tolist())
        for weighted in verdict.scores
    ]
    names = [table.node(row).name for row in rows.tolist()]
    return {
        "scores": {name: {plugin: values[i] for plugin, values in columns} for i, name in enumerate(names)},
        "total": {name: sum(values[i] for _, values in columns) for i, name in enumerate(names)},
    }
