"""The order of steps for one Deployment: state in, instructions out.

going away? ------------> status only
paused, or its size changed? -> scale in proportion -> (paused: clean up) -> status
Recreate ---------------> old to zero, wait, then the new -> clean up when complete -> status
RollingUpdate ----------> new up or old down -> clean up when complete -> status
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock
from coxswain.controllers.deployment import progress, proportional, recreate, rolling
from coxswain.controllers.deployment.revisions import clean_up, find_new, sync_new
from coxswain.controllers.deployment.rollout import (
    CreateSet,
    DeleteSet,
    Instruction,
    Rollout,
    UpdateSet,
    UpdateStatus,
)


def reconcile(
    deployment: Object, replica_sets: Sequence[Object], pods: Mapping[str, Sequence[Object]], now: float
) -> tuple[list[Instruction], float | None]:
    """What to do for ``deployment``, and in how many seconds to look again (None: when something changes).

    ``replica_sets`` are those it owns, ``pods`` theirs by the replica set's uid (needed for Recreate only).
    """
    new = find_new(deployment, replica_sets)
    rollout = Rollout(
        deployment=_working_copy(deployment),
        new=new,
        olds=[rs for rs in replica_sets if rs is not new],
        now=now,
        stamp=clock.format_time(now),
    )
    before = deployment.get("status") or {}
    if meta.is_terminating(deployment):
        progress.sync_status(rollout, before, progress=False)
    else:
        _advance(rollout, before, pods)
    return _instructions(rollout, deployment), rollout.requeue_after


def _advance(rollout: Rollout, before: Object, pods: Mapping[str, Sequence[Object]]) -> None:
    progress.check_paused(rollout)
    paused = bool(rollout.deployment["spec"].get("paused"))
    if paused or proportional.is_scaling(rollout):
        sync_new(rollout, create=False)
        proportional.scale(rollout)
        if paused:
            clean_up(rollout)
        progress.sync_status(rollout, before, progress=False)
        return
    if rollout.is_rolling:
        sync_new(rollout, create=True)
        moved = rollout.created is not None or rolling.step(rollout)
    else:
        sync_new(rollout, create=False)
        moved = recreate.step(rollout, pods)
    progress.sync_status(rollout, before, progress=True)
    if not moved and progress.is_complete(rollout):
        clean_up(rollout)


def _working_copy(deployment: Object) -> Object:
    status = dict(deployment.get("status") or {})
    if "conditions" in status:
        status["conditions"] = list(status["conditions"])
    return {**deployment, "metadata": dict(deployment["metadata"]), "status": status}


def _instructions(rollout: Rollout, given: Object) -> list[Instruction]:
    instructions: list[Instruction] = []
    if rollout.created is not None:
        instructions.append(CreateSet(rollout.created))
    instructions += [UpdateSet(rs) for rs in rollout.changed_sets()]
    instructions += rollout.events
    instructions += [DeleteSet(rs) for rs in rollout.deleted]
    before, after = given.get("status") or {}, rollout.deployment["status"]
    if not after.get("conditions"):
        after.pop("conditions", None)
    if after != before or meta.annotations(rollout.deployment) != meta.annotations(given):
        instructions.append(UpdateStatus(rollout.deployment))
    return instructions
