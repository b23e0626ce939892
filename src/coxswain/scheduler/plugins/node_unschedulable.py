"""NodeUnschedulable: cordoned nodes take only pods that tolerate it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from coxswain.scheduler.framework import UNRESOLVABLE, Change, Codes, Event, Rejection, Scope
from coxswain.scheduler.nodetable import NodeTable, Rows, Taint
from coxswain.scheduler.selection import tolerates
from coxswain.scheduler.template import Template

REASON = "node(s) were unschedulable"
TAINT = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")


class NodeUnschedulable:
    NAME: ClassVar[str] = "NodeUnschedulable"
    SCOPE: ClassVar[Scope] = Scope.NODE
    EVENTS: ClassVar[Event] = Event.NODE_ADD | Event.NODE_TAINT

    def needed(self, template: Template) -> bool:
        return not any(tolerates(toleration, TAINT) for toleration in template.spec.get("tolerations") or ())

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        return table.unschedulable[rows].view(np.uint8)

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        return Rejection(UNRESOLVABLE, (REASON,))

    def helps(self, template: Template, change: Change, table: NodeTable) -> bool:
        """A node that is not cordoned (any more)."""
        return change.new is None or not change.new.unschedulable
