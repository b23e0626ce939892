"""Recreate: all old pods end before the first new one starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.deployment.revisions import sync_new
from coxswain.controllers.deployment.rollout import Rollout, status_count


def step(rollout: Rollout, pods: Mapping[str, Sequence[Object]]) -> bool:
    """``pods`` by uid of their replica set; whether the rollout waits for old pods to end."""
    for old in rollout.active_olds:
        rollout.resize(old, 0)
    if rollout.active_olds or rollout.events or _old_pods_run(rollout, pods):
        return True
    if rollout.new is None:
        sync_new(rollout, create=True)
    elif rollout.resize(rollout.new, rollout.replicas):
        return True
    return False


def _old_pods_run(rollout: Rollout, pods: Mapping[str, Sequence[Object]]) -> bool:
    if any(status_count(old, "replicas") for old in rollout.olds):
        return True
    new_uid = meta.uid(rollout.new) if rollout.new is not None else ""
    return any(
        not meta.is_pod_finished(pod) for uid, group in pods.items() if uid != new_uid for pod in group
    )
