"""One Deployment and its replica sets, as working copies: the steps change them, ``instructions`` tells how.

Nothing here awaits. A step reads and scales ``new`` and ``olds`` and sets conditions; at the end the
differences to what was given become instructions, at most one a replica set and one for the Deployment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.intorpercent import scaled

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"


@dataclass(frozen=True, slots=True)
class CreateSet:
    """Create the new replica set."""

    replica_set: Object


@dataclass(frozen=True, slots=True)
class UpdateSet:
    """Replace a replica set (new size or annotations)."""

    replica_set: Object


@dataclass(frozen=True, slots=True)
class DeleteSet:
    """Delete a replica set that the history limit leaves no room for."""

    replica_set: Object


@dataclass(frozen=True, slots=True)
class UpdateStatus:
    """Write the Deployment's status and annotations."""

    deployment: Object


@dataclass(frozen=True, slots=True)
class Emit:
    """Record an event about the Deployment."""

    type: str
    reason: str
    message: str


Instruction = CreateSet | UpdateSet | DeleteSet | UpdateStatus | Emit


def replicas_of(replica_set: Object) -> int:
    """``spec.replicas``."""
    return int(replica_set["spec"].get("replicas", 1))


def status_count(replica_set: Object, name: str) -> int:
    """A count of the status; absent is zero."""
    return int((replica_set.get("status") or {}).get(name) or 0)


def by_age(replica_sets: Sequence[Object]) -> list[Object]:
    """Oldest first; of one second, by name."""
    return sorted(replica_sets, key=lambda rs: (rs["metadata"].get("creationTimestamp", ""), meta.name(rs)))


@dataclass(slots=True)
class Rollout:
    """See the module's text. ``new`` is None until it is found or made."""

    deployment: Object
    new: Object | None
    olds: list[Object]
    now: float
    stamp: str
    created: Object | None = None
    deleted: list[Object] = field(default_factory=list)
    events: list[Emit] = field(default_factory=list)
    requeue_after: float | None = None
    _given: dict[str, Object] = field(default_factory=dict)

    # -- what the Deployment asks for ----------------------------------------------------------------------

    @property
    def replicas(self) -> int:
        return int(self.deployment["spec"].get("replicas", 1))

    @property
    def is_rolling(self) -> bool:
        kind = (self.deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate")
        return bool(kind == "RollingUpdate")

    def _fenceposts(self) -> tuple[int, int]:
        """(max surge, max unavailable) in pods; never both zero."""
        rolling = (self.deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
        surge = scaled(rolling.get("maxSurge", "25%"), self.replicas, round_up=True)
        unavailable = scaled(rolling.get("maxUnavailable", "25%"), self.replicas, round_up=False)
        if surge == 0 and unavailable == 0:
            unavailable = 1
        return surge, unavailable

    @property
    def max_surge(self) -> int:
        return self._fenceposts()[0] if self.is_rolling else 0

    @property
    def max_unavailable(self) -> int:
        if not self.is_rolling or self.replicas == 0:
            return 0
        return min(self._fenceposts()[1], self.replicas)

    # -- the replica sets ----------------------------------------------------------------------------------

    @property
    def all(self) -> list[Object]:
        return [*self.olds, self.new] if self.new is not None else list(self.olds)

    @property
    def active_olds(self) -> list[Object]:
        return [rs for rs in self.olds if replicas_of(rs) > 0]

    def total(self) -> int:
        """Pods that all replica sets together ask for."""
        return sum(replicas_of(rs) for rs in self.all)

    def take(self, replica_set: Object) -> Object:
        """Let ``replica_set`` be changed: the working copy that stands in its place from now on."""
        uid = meta.uid(replica_set)
        if self.created is not None and replica_set is self.created:
            return replica_set
        if uid in self._given:
            return replica_set
        self._given[uid] = replica_set
        copy = {
            **replica_set,
            "metadata": {**replica_set["metadata"], "annotations": dict(meta.annotations(replica_set))},
            "spec": dict(replica_set["spec"]),
        }
        if self.new is replica_set:
            self.new = copy
        self.olds = [copy if rs is replica_set else rs for rs in self.olds]
        return copy

    def scale(self, replica_set: Object, size: int) -> bool:
        """Give ``replica_set`` the size ``size`` and bring its annotations up to date; whether the size changed."""
        before = replicas_of(replica_set)
        annotations = {DESIRED: str(self.replicas), MAX: str(self.replicas + self.max_surge)}
        known = meta.annotations(replica_set)
        if before == size and all(known.get(key) == value for key, value in annotations.items()):
            return False
        copy = self.take(replica_set)
        copy["spec"]["replicas"] = size
        copy["metadata"]["annotations"].update(annotations)
        if before == size:
            return False
        way = "up" if size > before else "down"
        message = f"Scaled {way} replica set {meta.name(copy)} from {before} to {size}"
        self.events.append(Emit("Normal", "ScalingReplicaSet", message))
        return True

    def resize(self, replica_set: Object, size: int) -> bool:
        """``scale``, but leave everything alone when the size is right."""
        return replicas_of(replica_set) != size and self.scale(replica_set, size)

    # -- what came out -------------------------------------------------------------------------------------

    def changed_sets(self) -> list[Object]:
        """Working copies that differ from what was given."""
        return [rs for rs in self.all if meta.uid(rs) in self._given and rs != self._given[meta.uid(rs)]]
