"""Server-printed tables: what ``kubectl get`` shows (meta.k8s.io/v1 Table; ``pkg/printers/internalversion``).

    table(gvr, objects, now=clock.now())        a Table of these objects
        include_object   'Metadata' (PartialObjectMetadata in every row), 'Object' or 'None'
        list_meta        the list's ListMeta; without it the one object's resourceVersion
        columns          a custom resource's additionalPrinterColumns; None for a built-in

Every built-in kind has a printer: a function from (object, now) to its cells, in the order of the kind's columns.
Kinds are grouped in modules as users think of them. A kind without a printer shows Name and Created At.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, Literal

from coxswain.api import kinds
from coxswain.api.names import GVR, Object
from coxswain.api.tables import cluster, core, network, policy, storage, workloads
from coxswain.api.tables.custom import custom_columns, custom_printer
from coxswain.api.tables.text import Printer

_PRINTERS: Final[Mapping[tuple[str, str], Printer]] = {
    **core.PRINTERS,
    **workloads.PRINTERS,
    **network.PRINTERS,
    **storage.PRINTERS,
    **cluster.PRINTERS,
    **policy.PRINTERS,
}

_DEFAULT_COLUMNS: Final = (
    {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0},
    {"name": "Created At", "type": "date", "format": "", "description": "", "priority": 0},
)

#: The row conditions of pods that ended: kubectl hides or marks them.
_ENDED: Final[Mapping[str, list[Object]]] = {
    "Succeeded": [
        {
            "type": "Completed",
            "status": "True",
            "reason": "Succeeded",
            "message": "The pod has completed successfully.",
        }
    ],
    "Failed": [{"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}],
}


def table(
    gvr: GVR,
    objects: Iterable[Object],
    *,
    now: float,
    include_object: Literal["Metadata", "Object", "None"] = "Metadata",
    list_meta: Object | None = None,
    columns: Sequence[Object] | None = None,
) -> Object:
    """The Table of ``objects``, all of resource ``gvr``; ages count to ``now`` (seconds since the epoch)."""
    objects = list(objects)
    if columns is not None:
        definitions: Sequence[Object] = custom_columns(columns)
        printer = custom_printer(columns)
    else:
        definitions = _definitions(gvr)
        printer = _PRINTERS.get((gvr.group, gvr.resource), created_at) if definitions else created_at
        definitions = definitions or _DEFAULT_COLUMNS
    width = len(definitions)
    if list_meta is None and len(objects) == 1:
        list_meta = {"resourceVersion": (objects[0].get("metadata") or {}).get("resourceVersion", "")}
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_meta or {},
        "columnDefinitions": list(definitions),
        "rows": [_row(gvr, obj, printer(obj, now)[:width], include_object) for obj in objects],
    }


def created_at(obj: Object, now: float) -> list[Any]:
    """Name and time of creation: what every object has."""
    metadata = obj.get("metadata") or {}
    return [metadata.get("name", ""), metadata.get("creationTimestamp")]


def _row(gvr: GVR, obj: Object, cells: list[Any], include_object: str) -> Object:
    row: Object = {"cells": cells}
    if gvr.resource == "pods" and not gvr.group:
        ended = _ENDED.get((obj.get("status") or {}).get("phase", ""))
        if ended:
            row["conditions"] = ended
    if include_object == "Object":
        row["object"] = obj
    elif include_object == "Metadata":
        row["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": obj.get("metadata") or {},
        }
    else:
        row["object"] = None
    return row


@cache
def _definitions(gvr: GVR) -> tuple[Object, ...]:
    return tuple(
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": "",
            "priority": column.priority,
        }
        for column in kinds.columns(gvr)
    )


__all__ = ["created_at", "table"]
