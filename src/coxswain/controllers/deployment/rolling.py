"""Rolling update: the new grows as far as the surge allows, the old shrink as far as availability allows."""

from __future__ import annotations

from coxswain.api.names import Object
from coxswain.controllers.deployment.revisions import new_size
from coxswain.controllers.deployment.rollout import Rollout, by_age, replicas_of, status_count


def step(rollout: Rollout) -> bool:
    """Scale up, or else scale down; whether anything was scaled."""
    return _grow_new(rollout) or _shrink_olds(rollout)


def _grow_new(rollout: Rollout) -> bool:
    new = rollout.new
    assert new is not None
    present = replicas_of(new)
    if present == rollout.replicas:
        return False
    if present > rollout.replicas:
        return rollout.resize(new, rollout.replicas)
    return rollout.resize(new, new_size(rollout))


def _shrink_olds(rollout: Rollout) -> bool:
    new = rollout.new
    assert new is not None
    if not rollout.active_olds:
        return False
    least = rollout.replicas - rollout.max_unavailable
    new_unavailable = replicas_of(new) - _lasting(new)
    room = rollout.total() - least - new_unavailable
    if room <= 0:
        return False
    cleaned = _remove_unhealthy(rollout, room)
    return _remove_healthy(rollout, least) or cleaned


def _lasting(replica_set: Object) -> int:
    """Available pods that are to stay: a set that was just made smaller still counts those that will go."""
    return min(replicas_of(replica_set), status_count(replica_set, "availableReplicas"))


def _remove_unhealthy(rollout: Rollout, room: int) -> bool:
    """Unavailable old pods go first: removing them costs no availability."""
    done = 0
    for old in by_age(rollout.active_olds):
        unhealthy = replicas_of(old) - _lasting(old)
        count = min(room - done, unhealthy)
        if count > 0:
            done += count
            rollout.resize(old, replicas_of(old) - count)
    return done > 0


def _remove_healthy(rollout: Rollout, least: int) -> bool:
    spare = sum(map(_lasting, rollout.all)) - least
    scaled = False
    for old in by_age(rollout.active_olds):
        count = min(spare, replicas_of(old))
        if count > 0:
            spare -= count
            scaled = rollout.resize(old, replicas_of(old) - count) or scaled
    return scaled


def is_saturated(rollout: Rollout, new: Object | None) -> bool:
    """The new replica set alone gives what the Deployment asks for."""
    return (
        new is not None
        and replicas_of(new) == rollout.replicas
        and status_count(new, "availableReplicas") == rollout.replicas
    )
