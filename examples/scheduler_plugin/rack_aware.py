"""Two scheduler plugins in a package of their own: one for all nodes at once, one for a node at a time.

pip install ./examples/scheduler_plugin
cox scheduler --kubeconfig F --config scheduler.yaml      # see scheduler.yaml beside this file
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from coxswain.scheduler.framework import UNSCHEDULABLE, Codes, Event, Rejection, Scope
from coxswain.scheduler.nodetable import Node, NodeTable, Rows
from coxswain.scheduler.template import Template


class RackPower:
    """Keeps pods off racks that are short of power: nodes whose label ``power`` is in ``avoid``.

    Vectorized: the label is a column of numbers, and each distinct value is judged once. It depends on the node
    alone (``Scope.NODE``), so its codes are kept until a node changes, and identical pods still go in batches.
    """

    NAME: ClassVar[str] = "RackPower"
    SCOPE: ClassVar[Scope] = Scope.NODE
    EVENTS: ClassVar[Event] = Event.NODE_ADD | Event.NODE_LABEL

    def __init__(self, args: dict[str, Any]) -> None:
        self._avoid = frozenset(args.get("avoid") or ("low",))

    def needed(self, template: Template) -> bool:
        return template.labels.get("power") != "any"

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        column = table.column("power")
        judged = np.zeros(len(column.values) + 1, np.uint8)  # the last is for nodes without the label
        judged[:-1] = [value in self._avoid for value in column.values]
        return judged[column.ids[rows]]

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        return Rejection(UNSCHEDULABLE, ("node(s) were on a rack short of power",))


class FewerTaints:
    """Prefers nodes with fewer taints. For one node at a time: simple, and a Python call for each node."""

    NAME: ClassVar[str] = "FewerTaints"

    def __init__(self, args: dict[str, Any]) -> None:
        self._most = int(args.get("most") or 10)

    def score_node(self, template: Template, node: Node) -> int:
        return max(self._most - len(node.taints), 0)
