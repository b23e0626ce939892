"""What to do about one object, given the states of its owners: kube-controller-manager's rules; sans-IO.

waiting itself (foreground)     blocking dependents left?  look at them : take its finalizer away
any solid owner                 drop references to dangling and waiting owners, if there are any
only waiting (and dangling)     delete it; in the foreground when it has dependents of its own
only dangling                   delete it, by the policy its own finalizers ask for
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from coxswain.api.names import Object
from coxswain.client.interface import Propagation
from coxswain.controllers.garbagecollector.graph import FOREGROUND, ORPHAN, Node


class OwnerState(Enum):
    """What is known of an owner."""

    SOLID = "solid"
    DANGLING = "dangling"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing to do."""


@dataclass(frozen=True, slots=True)
class Examine:
    """Look at these first (by uid)."""

    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Take ``finalizer`` from the object."""

    finalizer: str


@dataclass(frozen=True, slots=True)
class SetOwners:
    """Replace the object's ownerReferences."""

    owners: tuple[Object, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object; ``unblock`` first lets it no longer block its owners (a circle of waiters)."""

    policy: Propagation
    unblock: bool = False


Instruction = Keep | Examine | RemoveFinalizer | SetOwners | Delete


def on_waiting(node: Node) -> Instruction:
    """For a node that is deleted in the foreground."""
    blocking = node.blocking_dependents()
    if not blocking:
        return RemoveFinalizer(FOREGROUND)
    return Examine(tuple(child.identity.uid for child in blocking if not child.waiting))


def on_owners(node: Node, states: Sequence[OwnerState]) -> Instruction:
    """For a node that is not being deleted; ``states`` are those of its owners, in order."""
    if not node.owners:
        return Keep()
    if OwnerState.SOLID in states:
        kept = tuple(
            owner for owner, state in zip(node.owners, states, strict=True) if state is OwnerState.SOLID
        )
        return Keep() if len(kept) == len(node.owners) else SetOwners(kept)
    if OwnerState.WAITING in states and node.dependents:
        circle = any(child.waiting for child in node.dependents.values())
        return Delete("Foreground", unblock=circle)
    if ORPHAN in node.finalizers:
        return Delete("Orphan")
    return Delete("Foreground" if FOREGROUND in node.finalizers else "Background")
