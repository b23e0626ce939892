"""A Deployment's status: counts, Available, Progressing, ReplicaFailure (``deployment/progress.go``)."""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock
from coxswain.controllers.deployment.revisions import has_progress_deadline, set_condition
from coxswain.controllers.deployment.rollout import Rollout, replicas_of, status_count

AVAILABLE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"


def sync_status(rollout: Rollout, before: Object, *, progress: bool) -> None:
    """Compute the status into the working copy; ``before`` is the status that was given.

    ``progress`` false leaves Progressing alone: scaling and paused Deployments do not progress.
    """
    status = rollout.deployment["status"]
    if not has_progress_deadline(rollout.deployment) and progress:
        _drop_condition(status, "Progressing")
    _count(rollout)
    if progress:
        _set_progress(rollout, before)
        _set_failures(rollout)


def _count(rollout: Rollout) -> None:
    status = rollout.deployment["status"]
    sets = [rs for rs in rollout.all if rs is not rollout.created]
    new = [] if rollout.new is None or rollout.new is rollout.created else [rollout.new]
    available = sum(status_count(rs, "availableReplicas") for rs in sets)
    counts = {
        "replicas": sum(status_count(rs, "replicas") for rs in sets),
        "updatedReplicas": sum(status_count(rs, "replicas") for rs in new),
        "readyReplicas": sum(status_count(rs, "readyReplicas") for rs in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(replicas_of(rs) for rs in rollout.all) - available),
        "terminatingReplicas": sum(status_count(rs, "terminatingReplicas") for rs in sets),
    }
    for name, count in counts.items():
        if count:
            status[name] = count
        else:
            status.pop(name, None)
    status["observedGeneration"] = meta.generation(rollout.deployment)
    if available >= rollout.replicas - rollout.max_unavailable:
        message = "Deployment has minimum availability."
        set_condition(rollout, "Available", "True", "MinimumReplicasAvailable", message)
    else:
        message = "Deployment does not have minimum availability."
        set_condition(rollout, "Available", "False", "MinimumReplicasUnavailable", message)


def is_complete(rollout: Rollout) -> bool:
    """All replicas are of the new template and available, and nothing of the old is left."""
    status = rollout.deployment["status"]
    wanted = rollout.replicas
    return bool(
        status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
        and status.get("observedGeneration", 0) >= meta.generation(rollout.deployment)
    )


def _has_progressed(status: Object, before: Object) -> bool:
    def count(which: Object, name: str) -> int:
        return int(which.get(name) or 0)

    def old_pods(which: Object) -> int:
        return count(which, "replicas") - count(which, "updatedReplicas")

    return (
        count(status, "updatedReplicas") > count(before, "updatedReplicas")
        or old_pods(status) < old_pods(before)
        or count(status, "readyReplicas") > count(before, "readyReplicas")
        or count(status, "availableReplicas") > count(before, "availableReplicas")
    )


def _set_progress(rollout: Rollout, before: Object) -> None:
    deployment = rollout.deployment
    if not has_progress_deadline(deployment):
        return
    status = deployment["status"]
    present = meta.condition(deployment, "Progressing")
    settled = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if settled and present is not None and present.get("reason") == AVAILABLE:
        return
    who = f'ReplicaSet "{meta.name(rollout.new)}"' if rollout.new else f'Deployment "{meta.name(deployment)}"'
    if is_complete(rollout):
        message = f"{who} has successfully progressed."
        set_condition(rollout, "Progressing", "True", AVAILABLE, message)
    elif _has_progressed(status, before):
        # Every step forward starts the deadline anew: the condition is rewritten even if it reads the same.
        _drop_condition(status, "Progressing")
        set_condition(rollout, "Progressing", "True", "ReplicaSetUpdated", f"{who} is progressing.")
        if present is not None and present["status"] == "True":
            status["conditions"][-1]["lastTransitionTime"] = present["lastTransitionTime"]
    elif _is_timed_out(rollout, present):
        set_condition(rollout, "Progressing", "False", TIMED_OUT, f"{who} has timed out progressing.")
    _look_again(rollout)


def _is_timed_out(rollout: Rollout, present: Object | None) -> bool:
    if present is None or present.get("reason") == AVAILABLE:
        return False
    if present.get("reason") == TIMED_OUT:
        return True
    return _deadline(rollout, present) < rollout.now


def _deadline(rollout: Rollout, condition: Object) -> float:
    seconds = int(rollout.deployment["spec"]["progressDeadlineSeconds"])
    return clock.parse_time(condition["lastUpdateTime"]) + seconds


def _look_again(rollout: Rollout) -> None:
    """No event tells that time is up: ask for a look one second after the deadline."""
    present = meta.condition(rollout.deployment, "Progressing")
    if present is None or present.get("reason") == TIMED_OUT or is_complete(rollout):
        return
    rollout.requeue_after = max(0.0, _deadline(rollout, present) - rollout.now) + 1.0


def _set_failures(rollout: Rollout) -> None:
    failures = [
        condition
        for replica_set in ([rollout.new] if rollout.new else []) + rollout.olds
        if (condition := meta.condition(replica_set, "ReplicaFailure")) is not None
    ]
    if failures:
        first = failures[0]
        set_condition(
            rollout, "ReplicaFailure", first["status"], first.get("reason", ""), first.get("message", "")
        )
    else:
        _drop_condition(rollout.deployment["status"], "ReplicaFailure")


def check_paused(rollout: Rollout) -> None:
    """Progressing says that the Deployment is paused, so that the deadline does not run meanwhile."""
    deployment = rollout.deployment
    present = meta.condition(deployment, "Progressing")
    reason = present.get("reason") if present is not None else None
    if not has_progress_deadline(deployment) or reason == TIMED_OUT:
        return
    paused = bool(deployment["spec"].get("paused"))
    if paused and reason != PAUSED:
        set_condition(rollout, "Progressing", "Unknown", PAUSED, "Deployment is paused")
    elif not paused and reason == PAUSED:
        set_condition(rollout, "Progressing", "Unknown", RESUMED, "Deployment is resumed")


def _drop_condition(status: Object, kind: str) -> None:
    if "conditions" in status:
        status["conditions"] = [entry for entry in status["conditions"] if entry["type"] != kind]
