"""The graph of owners and dependents, kept from events; sans-IO.

Every object seen is a node, by uid. A dependent whose owner was not seen (yet, or any more) has a *virtual*
node for it: informers of different kinds run at different times.

    graph.upsert(...) / graph.remove(uid)  ->  uids that should be looked at, and owners to orphan from

What follows from an event (kube-controller-manager's ``processGraphChanges``):
- a new dependent of an unseen owner: look at the dependent (the owner may not exist);
- an owner begins to wait for its dependents (foregroundDeletion): look at it and at all of them;
- an owner is deleted with the orphan finalizer: orphan its dependents;
- an object goes: look at its dependents, and at owners that wait for it;
- a reference no longer blocks: look at the owner that may have waited for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from coxswain.api.names import GVR, Object

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class Identity(NamedTuple):
    """Where an object is found."""

    gvr: GVR
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(slots=True, eq=False)
class Node:
    """One object. ``owners`` are its ownerReferences, shared with the informer's object."""

    identity: Identity
    owners: Sequence[Object] = ()
    finalizers: Sequence[str] = ()
    resource_version: str = ""
    virtual: bool = False
    being_deleted: bool = False
    dependents: dict[str, Node] = field(default_factory=dict)

    @property
    def waiting(self) -> bool:
        """Being deleted in the foreground: it goes after its blocking dependents."""
        return self.being_deleted and FOREGROUND in self.finalizers

    @property
    def orphaning(self) -> bool:
        """Being deleted, and its dependents should stay."""
        return self.being_deleted and ORPHAN in self.finalizers

    def blocking_dependents(self) -> list[Node]:
        """Dependents whose reference says that this node must wait for them."""
        uid = self.identity.uid
        return [
            node
            for node in self.dependents.values()
            if any(owner["uid"] == uid and owner.get("blockOwnerDeletion") for owner in node.owners)
        ]


@dataclass(slots=True)
class Consequences:
    """What should be looked at after an event."""

    examine: dict[str, None] = field(default_factory=dict)
    orphan: dict[str, None] = field(default_factory=dict)

    def look(self, nodes: Iterable[Node]) -> None:
        """These nodes may have to go, or may go on."""
        for node in nodes:
            self.examine[node.identity.uid] = None


#: Nobody may change it.
_NOTHING = Consequences()


class Graph:
    """See the module's text."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def upsert(self, identity: Identity, meta: Object) -> Consequences:
        """An object was added or changed."""
        node = self.nodes.get(identity.uid)
        owners, finalizers = meta.get("ownerReferences") or (), meta.get("finalizers") or ()
        if node is not None and not node.virtual:
            is_same = node.being_deleted == ("deletionTimestamp" in meta) and node.finalizers == finalizers
            if is_same and node.owners == owners:  # as with most changes
                node.owners, node.resource_version = owners, meta["resourceVersion"]
                return _NOTHING
        after = Consequences()
        if node is None:
            node = self.nodes[identity.uid] = Node(identity)
            was_waiting = was_orphaning = False
        else:
            was_waiting, was_orphaning = node.waiting, node.orphaning
            if node.virtual:
                self._verify(node, identity, after)
        old_owners = node.owners
        node.owners, node.finalizers = owners, finalizers
        node.resource_version = meta["resourceVersion"]
        node.being_deleted = "deletionTimestamp" in meta
        if old_owners is not node.owners and old_owners != node.owners:
            self._relink(node, old_owners, after)
        if node.orphaning and not was_orphaning:
            after.orphan[identity.uid] = None
        if node.waiting and not was_waiting:
            after.look([*node.dependents.values(), node])
        return after

    def remove(self, uid: str) -> Consequences:
        """An object is gone. Its node stays, virtual, for as long as dependents name it."""
        after = Consequences()
        node = self.nodes.get(uid)
        if node is None:
            return after
        after.look(node.dependents.values())
        for owner in node.owners:
            parent = self.nodes.get(owner["uid"])
            if parent is None:
                continue
            parent.dependents.pop(uid, None)
            if parent.waiting:
                after.look([parent])
            self._drop_if_pointless(parent)
        node.virtual, node.being_deleted, node.owners, node.finalizers = True, False, (), ()
        self._drop_if_pointless(node)
        return after

    def _verify(self, node: Node, identity: Identity, after: Consequences) -> None:
        """The virtual node was seen; dependents that named it elsewhere must be looked at again."""
        if not same_place(node.identity, identity):
            after.look(node.dependents.values())
        node.identity = identity
        node.virtual = False

    def _relink(self, node: Node, old: Sequence[Object], after: Consequences) -> None:
        before = {owner["uid"]: owner for owner in old}
        now = {owner["uid"]: owner for owner in node.owners}
        for uid, owner in before.items():
            parent = self.nodes.get(uid)
            if parent is None:
                continue
            unblocked = owner.get("blockOwnerDeletion") and not now.get(uid, {}).get("blockOwnerDeletion")
            if unblocked and parent.waiting:
                after.look([parent])
            if uid not in now:
                parent.dependents.pop(node.identity.uid, None)
                self._drop_if_pointless(parent)
        for uid, owner in now.items():
            parent = self.nodes.get(uid)
            if parent is None:
                parent = self.nodes[uid] = Node(_claimed(owner, node.identity), virtual=True)
            if uid not in before:
                parent.dependents[node.identity.uid] = node
            if parent.virtual or parent.waiting or not names(owner, node.identity, parent.identity):
                after.look([node])

    def _drop_if_pointless(self, node: Node) -> None:
        if node.virtual and not node.dependents:
            self.nodes.pop(node.identity.uid, None)


def names(owner: Object, dependent: Identity, candidate: Identity) -> bool:
    """Whether a reference, read in its dependent's namespace, really names ``candidate``."""
    group = owner["apiVersion"].rpartition("/")[0]
    return (
        owner["kind"] == candidate.kind
        and owner["name"] == candidate.name
        and group == candidate.gvr.group
        and candidate.namespace in ("", dependent.namespace)
    )


def same_place(one: Identity, other: Identity) -> bool:
    """Whether two identities of one uid agree on kind, namespace and name."""
    return (one.kind, one.name) == (other.kind, other.name) and other.namespace in ("", one.namespace)


def _claimed(owner: Object, dependent: Identity) -> Identity:
    group, _, version = owner["apiVersion"].rpartition("/")
    gvr = GVR(group, version, "")
    return Identity(gvr, owner["kind"], dependent.namespace, owner["name"], owner["uid"])
