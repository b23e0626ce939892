"""The volume binder: which nodes can serve a pod's claims, and what binding them on one node takes.

    sort_claims(...)   bound, waiting for a consumer, or waiting for somebody else (then the pod cannot run yet)
    find(...)          reason bits for each row, and for each claim the volume it would get there
    decide(...)        what the chosen node means: volumes to keep for claims, claims to provision there

Reasons and their order are those of kube-scheduler's ``FindPodVolumes``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.volume_matching import (
    DELAYED,
    NO_PROVISIONER,
    Candidates,
    allowed_topology,
    enough_capacity,
    fully_bound,
    reachable,
    requested,
)
from coxswain.scheduler.volumes import CLAIMS, SELECTED_NODE, VOLUMES, Object, Volumes, class_of

NODE_CONFLICT: Final = 1
BIND_CONFLICT: Final = 2
NOT_ENOUGH_SPACE: Final = 4
VOLUME_MISSING: Final = 8
FAILED: Final = 16
REASONS: Final = {
    NODE_CONFLICT: "node(s) had volume node affinity conflict",
    BIND_CONFLICT: "node(s) didn't find available persistent volumes to bind",
    NOT_ENOUGH_SPACE: "node(s) did not have enough free storage",
    VOLUME_MISSING: "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
}
BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"


class BinderError(Exception):
    """What stops the whole attempt, not only one node; the text is for the user."""


@dataclass(slots=True)
class PodClaims:
    """A pod's claims by what they wait for."""

    bound: list[Object] = field(default_factory=list)
    delayed: list[Object] = field(default_factory=list)
    immediate: list[Object] = field(default_factory=list)


def sort_claims(claims: list[Object], volumes: Volumes) -> PodClaims:
    """``GetPodVolumeClaims``; a claim that names a volume but is not bound waits for the controller."""
    sorted_ = PodClaims()
    for claim in claims:
        if fully_bound(claim):
            sorted_.bound.append(claim)
        elif not claim["spec"].get("volumeName") and _delayed(claim, volumes):
            sorted_.delayed.append(claim)
        else:
            sorted_.immediate.append(claim)
    return sorted_


def _delayed(claim: Object, volumes: Volumes) -> bool:
    name = class_of(claim)
    storage_class = volumes.storage_class(name) if name else None
    if storage_class is None:
        return False
    mode = storage_class.get("volumeBindingMode")
    if mode is None:
        raise BinderError(f'VolumeBindingMode not set for StorageClass "{name}"')
    return bool(mode == DELAYED)


@dataclass(slots=True)
class Found:
    """For each of the rows: reason bits, and what each claim would get there."""

    codes: NDArray[np.uint8]
    #: (claim, which volume each row gives it, -1 none; the volumes).
    static: list[tuple[Object, NDArray[np.int32], list[Object]]] = field(default_factory=list)
    #: (claim, rows where it is to be provisioned).
    dynamic: list[tuple[Object, NDArray[np.bool_]]] = field(default_factory=list)
    #: Why FAILED is set.
    error: str = ""


def find(claims: PodClaims, volumes: Volumes, table: NodeTable, rows: Rows) -> Found:
    """Judge every row."""
    found = Found(np.zeros(len(rows), np.uint8))
    _check_bound(claims.bound, volumes, table, rows, found)
    if not claims.delayed:
        return found
    to_match: list[Object] = []
    going = np.ones(len(rows), np.bool_)  # rows not decided by a claim that has its node already
    provision: list[tuple[Object, NDArray[np.bool_]]] = []
    for claim in claims.delayed:
        node_name = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE)
        if node_name is None:
            to_match.append(claim)
            continue
        row = table.row_of.get(node_name, -1)
        found.codes[going & (rows != row)] |= BIND_CONFLICT
        going &= rows == row
        provision.append((claim, going))
    provision = [(claim, going) for claim, _ in provision]
    for claim in sorted(to_match, key=requested):
        choice, options = Candidates(claim, volumes).choose(table, rows, found.static)
        found.static.append((claim, choice, options))
        provision.append((claim, going & (choice < 0)))
    _check_provisions(provision, volumes, table, rows, found)
    return found


def _check_bound(claims: list[Object], volumes: Volumes, table: NodeTable, rows: Rows, found: Found) -> None:
    going = np.ones(len(rows), np.bool_)
    for claim in claims:
        volume = volumes.volume(claim["spec"]["volumeName"])
        if volume is None:
            found.codes[going] |= VOLUME_MISSING
            return
        far = going & ~reachable(volume, table, rows)
        found.codes[far] |= NODE_CONFLICT
        going &= ~far


def _check_provisions(
    provision: list[tuple[Object, NDArray[np.bool_]]],
    volumes: Volumes,
    table: NodeTable,
    rows: Rows,
    found: Found,
) -> None:
    """``checkVolumeProvisions``: claims in order, each row until its first failure."""
    going = np.ones(len(rows), np.bool_)
    for claim, wanted in provision:
        here = wanted & going
        if not here.any():
            continue
        storage_class = volumes.storage_class(name) if (name := class_of(claim)) else None
        if storage_class is None:
            metadata = claim["metadata"]
            place = f"{metadata.get('namespace') or ''}/{metadata['name']}"
            found.error = (
                f'failed to find storage class "{name}"' if name else f'no class for claim "{place}"'
            )
            found.codes[here] |= FAILED
            going &= ~here
            continue
        provisioner = storage_class.get("provisioner") or ""
        if provisioner in ("", NO_PROVISIONER):
            unfit = here
        else:
            unfit = here & ~allowed_topology(storage_class, table, rows)
        found.codes[unfit] |= BIND_CONFLICT
        going &= ~unfit
        here = here & ~unfit
        short = here & ~enough_capacity(claim, storage_class, volumes, table, rows)
        found.codes[short] |= NOT_ENOUGH_SPACE
        going &= ~short
        found.dynamic.append((claim, here & ~short))


@dataclass(slots=True)
class Decision:
    """What binding a pod's claims on one node takes: objects as they are to be written."""

    #: Volumes with ``claimRef`` set, and the claims that they are for.
    volumes: list[Object] = field(default_factory=list)
    #: Claims with the node's name in their annotations.
    claims: list[Object] = field(default_factory=list)
    #: Volumes that were kept for their claim already.
    kept: list[Object] = field(default_factory=list)
    #: (namespace, name) of every claim that must be bound before the pod is.
    waiting: list[tuple[str, str]] = field(default_factory=list)


def decide(claims: PodClaims, volumes: Volumes, table: NodeTable, node_name: str) -> Decision:
    """The decision for one node, which must be feasible; BinderError if it is not any more."""
    rows = np.array([table.row_of[node_name]], np.int32)
    found = find(claims, volumes, table, rows)
    if found.codes[0]:
        raise BinderError(found.error or ", ".join(reasons(int(found.codes[0]))))
    decision = Decision()
    for claim, choice, options in found.static:
        if choice[0] >= 0:
            volume = options[int(choice[0])]
            kept = keep_for(volume, claim)
            (decision.kept if kept is volume else decision.volumes).append(kept)
    for claim, here in found.dynamic:
        if here[0]:
            decision.claims.append(select_node(claim, node_name))
    decision.waiting = [
        (claim["metadata"].get("namespace") or "", claim["metadata"]["name"]) for claim in claims.delayed
    ]
    return decision


def reasons(code: int) -> tuple[str, ...]:
    """The reasons of a code, in kube-scheduler's order."""
    return tuple(text for bit, text in REASONS.items() if code & bit)


def keep_for(volume: Object, claim: Object) -> Object:
    """The volume kept for a claim (``GetBindVolumeToClaim``); the same object if it is already."""
    metadata = claim["metadata"]
    reference = volume["spec"].get("claimRef")
    if reference and reference.get("uid") == metadata.get("uid"):
        return volume
    changed: Object = copy.deepcopy(volume)
    changed["spec"]["claimRef"] = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": metadata.get("namespace") or "",
        "name": metadata["name"],
        "uid": metadata.get("uid"),
        "resourceVersion": metadata.get("resourceVersion"),
    }
    if not reference:
        changed["metadata"].setdefault("annotations", {})[BOUND_BY_CONTROLLER] = "yes"
    return changed


def select_node(claim: Object, node_name: str) -> Object:
    """The claim that asks for a volume on a node."""
    changed: Object = copy.deepcopy(claim)
    changed["metadata"].setdefault("annotations", {})[SELECTED_NODE] = node_name
    return changed


def assume(decision: Decision, volumes: Volumes) -> None:
    """Let a decision count for the pods decided next."""
    for volume in decision.volumes:
        volumes.assume(VOLUMES, volume)
    for claim in decision.claims:
        volumes.assume(CLAIMS, claim)


def revert(decision: Decision, volumes: Volumes) -> None:
    """Undo ``assume``."""
    for volume in decision.volumes:
        volumes.revert(VOLUMES, volume)
    for claim in decision.claims:
        volumes.revert(CLAIMS, claim)


def all_bound(decision: Decision, volumes: Volumes, node_name: str) -> bool:
    """Whether everything is bound (``checkBindings``); BinderError where that cannot come true any more."""
    for namespace, name in decision.waiting:
        claim = volumes.claim(namespace, name)
        if claim is None:
            raise BinderError(f"could not find pvc {namespace}/{name}")
        if claim["spec"].get("volumeName") and fully_bound(claim):
            continue
        annotations = claim["metadata"].get("annotations") or {}
        selected = annotations.get(SELECTED_NODE)
        if any(_is(claim, wanted) for wanted in decision.claims) and selected != node_name:
            raise BinderError(
                f'provisioning failed for PVC "{name}"'
                if not selected
                else f'selectedNode annotation value "{selected}" not set to scheduled node "{node_name}"'
            )
        return False
    return True


def _is(one: Object, other: Object) -> bool:
    mine, theirs = one["metadata"], other["metadata"]
    return bool(mine["name"] == theirs["name"] and mine.get("uid") == theirs.get("uid"))
