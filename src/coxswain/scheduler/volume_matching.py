"""Which volumes a claim could have, and on which nodes: kube-scheduler's volume binder, over rows of the table."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from coxswain.api.quantity import Quantity
from coxswain.api.selectors import label_selector_from
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.selection import Mask, match_expression
from coxswain.scheduler.volumes import Object, Volumes, class_of

BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
DELAYED: Final = "WaitForFirstConsumer"


def storage_of(quantities: dict[str, Any] | None) -> int:
    """``storage`` of a resource list, in billionths of a byte; 0 where absent."""
    text = (quantities or {}).get("storage")
    return 0 if text is None else Quantity.parse(text).nano


def requested(claim: Object) -> int:
    """What a claim asks for, in billionths of a byte."""
    return storage_of(((claim.get("spec") or {}).get("resources") or {}).get("requests"))


def fully_bound(claim: Object) -> bool:
    """Whether claim and volume are bound on both sides, as far as the claim says."""
    annotations = claim["metadata"].get("annotations") or {}
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in annotations


def bound_to(volume: Object, claim: Object) -> bool:
    """Whether a volume is kept for this very claim (``IsVolumeBoundToClaim``)."""
    reference = volume["spec"].get("claimRef")
    if not reference:
        return False
    metadata = claim["metadata"]
    if (reference.get("namespace") or "", reference.get("name")) != (
        metadata.get("namespace") or "",
        metadata["name"],
    ):
        return False
    uid = reference.get("uid")
    return not uid or uid == metadata.get("uid")


def reachable(volume: Object, table: NodeTable, rows: Rows) -> Mask:
    """Where a volume's node affinity holds (``CheckNodeAffinity``); the node's name plays no part in it."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if required is None:
        return np.ones(len(rows), np.bool_)
    mask = np.zeros(len(rows), np.bool_)
    for term in required.get("nodeSelectorTerms") or ():
        expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
        if not expressions and not fields:
            continue
        if any((field["operator"] == "In") != ("" in (field.get("values") or ())) for field in fields):
            continue
        fits = np.ones(len(rows), np.bool_)
        for expression in expressions:
            fits &= match_expression(expression, table, rows)
        mask |= fits
    return mask


def allowed_topology(storage_class: Object, table: NodeTable, rows: Rows) -> Mask:
    """Where a class may provision (``MatchTopologySelectorTerms``)."""
    terms = storage_class.get("allowedTopologies") or ()
    if not terms:
        return np.ones(len(rows), np.bool_)
    mask = np.zeros(len(rows), np.bool_)
    for term in terms:
        expressions = term.get("matchLabelExpressions") or ()
        fits = np.full(len(rows), bool(expressions))
        for expression in expressions:
            wanted = {"key": expression["key"], "operator": "In", "values": expression.get("values")}
            fits &= match_expression(wanted, table, rows)
        mask |= fits
    return mask


def enough_capacity(
    claim: Object, storage_class: Object, volumes: Volumes, table: NodeTable, rows: Rows
) -> Mask:
    """Where a driver that tells its capacity has room for a new volume (``hasEnoughCapacity``)."""
    driver = volumes.driver(storage_class.get("provisioner") or "")
    size = requested(claim)
    quantities = (claim["spec"].get("resources") or {}).get("requests") or {}
    if "storage" not in quantities or driver is None or not driver["spec"].get("storageCapacity"):
        return np.ones(len(rows), np.bool_)
    mask = np.zeros(len(rows), np.bool_)
    for capacity in volumes.capacities():
        if capacity.get("storageClassName") != storage_class["metadata"]["name"]:
            continue
        limit = capacity.get("maximumVolumeSize") or capacity.get("capacity")
        if limit is None or Quantity.parse(limit).value() < -(-size // 10**9):
            continue
        mask |= _selected(capacity.get("nodeTopology"), table, rows)
    return mask


def _selected(selector: Object | None, table: NodeTable, rows: Rows) -> Mask:
    if selector is None:
        return np.zeros(len(rows), np.bool_)
    mask = np.ones(len(rows), np.bool_)
    for key, value in (selector.get("matchLabels") or {}).items():
        mask &= match_expression({"key": key, "operator": "In", "values": [value]}, table, rows)
    for expression in selector.get("matchExpressions") or ():
        mask &= match_expression(expression, table, rows)
    return mask


class Candidates:
    """The volumes that an unbound claim could have, whatever the node, the smallest first."""

    def __init__(self, claim: Object, volumes: Volumes) -> None:
        spec = claim["spec"]
        size, mode = requested(claim), spec.get("volumeMode") or "Filesystem"
        attributes = spec.get("volumeAttributesClassName") or ""
        selector = label_selector_from(spec["selector"]) if spec.get("selector") else None
        self.kept: Object | None = None  # a volume kept for this claim: that or none
        found: list[tuple[int, str, Object]] = []
        for volume in volumes.of_class(class_of(claim)):
            metadata, has = volume["metadata"], volume["spec"]
            mine = bound_to(volume, claim)
            room = storage_of(has.get("capacity"))
            if (
                (has.get("claimRef") and not mine)
                or room < size
                or (has.get("volumeMode") or "Filesystem") != mode
                or (has.get("volumeAttributesClassName") or "") != attributes
                or metadata.get("deletionTimestamp")
            ):
                continue
            if mine:
                self.kept = self.kept or volume
            elif (
                (volume.get("status") or {}).get("phase") == "Available"
                and (selector is None or selector.matches(metadata.get("labels") or {}))
                and set(spec.get("accessModes") or ()) <= set(has.get("accessModes") or ())
            ):
                found.append((room, metadata["name"], volume))
        found.sort(key=lambda each: each[:2])
        self.volumes = [volume for _, _, volume in found]

    def choose(
        self, table: NodeTable, rows: Rows, taken: list[dict[str, NDArray[np.bool_]]]
    ) -> tuple[NDArray[np.int32], list[Object]]:
        """(the choice for each row as an index into the list, -1 where none; the list).

        ``taken`` says for earlier claims of the same pod on which of ``rows`` a volume is chosen already.
        """
        choice = np.full(len(rows), -1, np.int32)
        options = [self.kept] if self.kept is not None else self.volumes
        for index, volume in enumerate(options):
            open_rows = choice < 0
            if not open_rows.any():
                break
            fits = open_rows & reachable(volume, table, rows)
            for chosen in taken:
                if (mask := chosen.get(volume["metadata"]["name"])) is not None:
                    fits &= ~mask
            choice[fits] = index
        return choice, options
