"""Scaling a Deployment in the middle of a rollout: every replica set gets its share."""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.deployment.rolling import is_saturated
from coxswain.controllers.deployment.rollout import DESIRED, MAX, Rollout, by_age, replicas_of


def is_scaling(rollout: Rollout) -> bool:
    """The Deployment's size changed since a replica set was last sized for it."""
    for replica_set in rollout.all:
        desired = meta.annotations(replica_set).get(DESIRED, "")
        if replicas_of(replica_set) > 0 and desired.isdecimal() and int(desired) != rollout.replicas:
            return True
    return False


def scale(rollout: Rollout) -> None:
    """Bring the replica sets to the Deployment's size (``deployment/sync.go scale``)."""
    only = _active_or_latest(rollout)
    if only is not None:
        # Its notes too, when the size is right by chance: they would say for ever that the size changes.
        rollout.scale(only, rollout.replicas)
    elif is_saturated(rollout, rollout.new):
        for old in rollout.active_olds:
            rollout.resize(old, 0)
    elif rollout.is_rolling:
        _spread(rollout)


def _active_or_latest(rollout: Rollout) -> Object | None:
    """The one replica set that has pods; with none, the new (or the youngest); with several, None."""
    active = [rs for rs in rollout.all if replicas_of(rs) > 0]
    if len(active) == 1:
        return active[0]
    if active:
        return None
    if rollout.new is not None:
        return rollout.new
    return by_age(rollout.olds)[-1] if rollout.olds else None


def _spread(rollout: Rollout) -> None:
    active = [rs for rs in rollout.all if replicas_of(rs) > 0]
    allowed = rollout.replicas + rollout.max_surge if rollout.replicas > 0 else 0
    to_add = allowed - sum(replicas_of(rs) for rs in active)
    # The largest gets what rounding leaves; of equals, the younger when growing, the older when shrinking.
    ordered = by_age(active)
    if to_add > 0:
        ordered.reverse()
    ordered.sort(key=lambda rs: -replicas_of(rs))
    sizes: list[int] = []
    added = 0
    for replica_set in ordered:
        share = _share(rollout, replica_set, to_add, added)
        added += share
        sizes.append(replicas_of(replica_set) + share)
    if sizes and to_add:
        sizes[0] = max(0, sizes[0] + to_add - added)
    for replica_set, size in zip(ordered, sizes, strict=True):
        rollout.scale(replica_set, size)


def _share(rollout: Rollout, replica_set: Object, to_add: int, added: int) -> int:
    if not to_add or to_add == added:
        return 0
    fraction = _fraction(rollout, replica_set)
    return min(fraction, to_add - added) if to_add > 0 else max(fraction, to_add - added)


def _fraction(rollout: Rollout, replica_set: Object) -> int:
    size = replicas_of(replica_set)
    if rollout.replicas == 0:
        return -size
    text = meta.annotations(replica_set).get(MAX, "")
    before = int(text) if text.isdecimal() and int(text) else 0
    before = before or int((rollout.deployment.get("status") or {}).get("replicas") or 0)
    if not before:
        return 0
    # Rounded half away from zero, as Go's integer.RoundToInt32 does.
    return int(size * (rollout.replicas + rollout.max_surge) / before + 0.5) - size
