"""NodePorts: a host port can be taken once for each address and protocol; 0.0.0.0 stands for every address."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from coxswain.scheduler.framework import UNSCHEDULABLE, Change, Codes, Event, Rejection, Scope
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.template import Template

REASON = "node(s) didn't have free ports for the requested pod ports"
_ANY = "0.0.0.0"


class NodePorts:
    NAME: ClassVar[str] = "NodePorts"
    SCOPE: ClassVar[Scope] = Scope.ROW
    EVENTS: ClassVar[Event] = Event.NODE_ADD | Event.POD_DELETE

    def needed(self, template: Template) -> bool:
        return bool(template.host_ports)

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        taken: set[int] = set()
        for ip, protocol, port in template.host_ports:
            for row, used in table.ports.get((protocol, port), {}).items():
                if ip == _ANY or ip in used or _ANY in used:
                    taken.add(row)
        return np.isin(rows, np.fromiter(taken, np.int32, len(taken))).view(np.uint8)

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        return Rejection(UNSCHEDULABLE, (REASON,))

    def helps(self, template: Template, change: Change, table: NodeTable) -> bool:
        """A pod that leaves frees one of the ports."""
        if change.event is not Event.POD_DELETE:
            return True
        freed = {(port.protocol, port.port) for port in change.old.template.host_ports}
        return any((port.protocol, port.port) in freed for port in template.host_ports)
