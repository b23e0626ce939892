"""Which volumes a claim could have, and on which nodes: kube-scheduler's volume binder, over rows of the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from coxswain.api.quantity import Quantity
from coxswain.api.selectors import label_selector_from
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.selection import Mask, match_expression
from coxswain.scheduler.volume_offers import storage_of
from coxswain.scheduler.volumes import Object, Volumes, class_of

BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
DELAYED: Final = "WaitForFirstConsumer"


def requested(claim: Object) -> int:
    """What a claim asks for, in billionths of a byte."""
    return storage_of(((claim.get("spec") or {}).get("resources") or {}).get("requests"))


def fully_bound(claim: Object) -> bool:
    """Whether claim and volume are bound on both sides, as far as the claim says."""
    annotations = claim["metadata"].get("annotations") or {}
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in annotations


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
    if not _tells_capacity(claim, storage_class, volumes):
        return np.ones(len(rows), np.bool_)
    mask = np.zeros(len(rows), np.bool_)
    for _, near in capacities(claim, storage_class, volumes, table, rows):
        mask |= near
    return mask


def _tells_capacity(claim: Object, storage_class: Object, volumes: Volumes) -> bool:
    driver = volumes.driver(storage_class.get("provisioner") or "")
    quantities = (claim["spec"].get("resources") or {}).get("requests") or {}
    return "storage" in quantities and driver is not None and bool(driver["spec"].get("storageCapacity"))


def capacities(
    claim: Object, storage_class: Object, volumes: Volumes, table: NodeTable, rows: Rows
) -> Iterator[tuple[Object, Mask]]:
    """The CSIStorageCapacity objects that have room for a claim, and where each is reached."""
    if not _tells_capacity(claim, storage_class, volumes):
        return
    size = -(-requested(claim) // 10**9)
    for capacity in volumes.capacities():
        limit = capacity.get("maximumVolumeSize") or capacity.get("capacity")
        if (
            capacity.get("storageClassName") == storage_class["metadata"]["name"]
            and limit is not None
            and Quantity.parse(limit).value() >= size
        ):
            yield capacity, _selected(capacity.get("nodeTopology"), table, rows)


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
    """The volumes that an unbound claim could have, whatever the node, the smallest first (``FindMatchingVolume``)."""

    def __init__(self, claim: Object, volumes: Volumes) -> None:
        metadata, spec = claim["metadata"], claim["spec"]
        size = requested(claim)
        kind = (
            class_of(claim),
            spec.get("volumeMode") or "Filesystem",
            spec.get("volumeAttributesClassName") or "",
        )
        # A volume that is kept for the claim is its only candidate.
        kept = [
            offer
            for offer in volumes.offers.kept_for(metadata.get("namespace") or "", metadata["name"])
            if offer.kind == kind
            and offer.room >= size
            and not offer.volume["metadata"].get("deletionTimestamp")
            and offer.kept is not None
            and offer.kept[2] in (None, metadata.get("uid"))
        ]
        if kept:
            self.offers = kept[:1]
            return
        modes = frozenset(spec.get("accessModes") or ())
        found = [offer for offer in volumes.offers.free(kind, size) if modes <= offer.modes]
        if spec.get("selector"):
            selector = label_selector_from(spec["selector"])
            found = [offer for offer in found if selector.matches(offer.labels)]
        self.offers = found

    def choose(
        self, table: NodeTable, rows: Rows, before: Sequence[tuple[Object, NDArray[np.int32], list[Object]]]
    ) -> tuple[NDArray[np.int32], list[Object]]:
        """(the choice for each row as an index into the list, -1 where none; the list).

        ``before`` has the choices for earlier claims of the same pod: what they take on a row is not free there.
        """
        none = len(self.offers)
        choice = np.full(len(rows), none, np.int32)
        # Most volumes are everywhere, or where one label has certain values: these need no look at each node.
        by_value: dict[str, tuple[dict[str, int], list[int]]] = {}
        taken = [
            (chosen, {each["metadata"]["name"]: i for i, each in enumerate(options)})
            for _, chosen, options in before
        ]
        for index, offer in enumerate(self.offers):
            if taken and any(offer.name in places for _, places in taken):
                free = choice > index
                for chosen, places in taken:
                    if (place := places.get(offer.name)) is not None:
                        free &= chosen != place
                choice[free & reachable(offer.volume, table, rows)] = index
            elif offer.near is not None:
                key, values = offer.near
                if key not in by_value:
                    numbers = table.column(key).values
                    by_value[key] = (numbers, [none] * (len(numbers) + 1))
                numbers, firsts = by_value[key]
                for value in values:
                    number = numbers.get(value)
                    if number is not None and firsts[number] == none:
                        firsts[number] = index
            elif offer.everywhere:
                np.minimum(choice, index, out=choice)
                break
            else:
                choice[(choice > index) & reachable(offer.volume, table, rows)] = index
        for key, (_, firsts) in by_value.items():
            np.minimum(choice, np.array(firsts, np.int32)[table.column(key).ids[rows]], out=choice)
        choice[choice == none] = -1
        return choice, [offer.volume for offer in self.offers]
