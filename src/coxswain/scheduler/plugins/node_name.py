"""NodeName: a pod that names its node runs there or nowhere."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from coxswain.scheduler.framework import UNRESOLVABLE, Change, Codes, Event, Rejection, Scope
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.template import Template

REASON = "node(s) didn't match the requested node name"


class NodeName:
    NAME: ClassVar[str] = "NodeName"
    SCOPE: ClassVar[Scope] = Scope.NODE
    EVENTS: ClassVar[Event] = Event.NODE_ADD

    def needed(self, template: Template) -> bool:
        return bool(template.node_name)

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        return np.not_equal(rows, table.row_of.get(template.node_name, -1)).view(np.uint8)

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        return Rejection(UNRESOLVABLE, (REASON,))

    def helps(self, template: Template, change: Change, table: NodeTable) -> bool:
        """The node of that name."""
        return change.new is None or change.new.name == template.node_name
