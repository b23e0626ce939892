"""Which replica set belongs to the present template, what revision it is, and how much history is kept."""

from __future__ import annotations

from collections.abc import Sequence

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.deployment.rollout import (
    DESIRED,
    MAX,
    Emit,
    Rollout,
    by_age,
    replicas_of,
    status_count,
)

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
HASH_LABEL = "pod-template-hash"
_NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION,
        REVISION_HISTORY,
        DESIRED,
        MAX,
    }
)
#: Characters of the revision-history annotation; older entries are dropped (``maxRevHistoryLengthInChars``).
_MAX_HISTORY = 2000


def find_new(deployment: Object, replica_sets: Sequence[Object]) -> Object | None:
    """The oldest replica set whose template is the Deployment's (apart from the hash label)."""
    template = _comparable(deployment["spec"]["template"])
    for replica_set in by_age(replica_sets):
        if _comparable(replica_set["spec"]["template"]) == template:
            return replica_set
    return None


def _comparable(template: Object) -> Object:
    metadata = {key: value for key, value in (template.get("metadata") or {}).items() if value}
    labels = {key: value for key, value in metadata.get("labels", {}).items() if key != HASH_LABEL}
    metadata.pop("labels", None)
    if labels:
        metadata["labels"] = labels
    return {"metadata": metadata, "spec": template["spec"]}


def same_template(one: Object, other: Object) -> bool:
    """Whether two owners' pod templates are equal apart from the hash label."""
    return _comparable(one["spec"]["template"]) == _comparable(other["spec"]["template"])


def revision(obj: Object) -> int:
    """The revision annotation; 0 where there is none."""
    text = meta.annotations(obj).get(REVISION, "0")
    return int(text) if text.isdecimal() else 0


def sync_new(rollout: Rollout, *, create: bool) -> None:
    """Make sure that the new replica set has the newest revision; make it if ``create`` and there is none."""
    number = max((revision(rs) for rs in rollout.olds), default=0) + 1
    if rollout.new is not None:
        _refresh(rollout, rollout.new, number)
    elif create:
        _make(rollout, number)


def _refresh(rollout: Rollout, new: Object, number: int) -> None:
    annotations = _annotations(rollout.deployment, meta.annotations(new), number)
    min_ready = rollout.deployment["spec"].get("minReadySeconds", 0)
    if annotations != meta.annotations(new) or min_ready != new["spec"].get("minReadySeconds", 0):
        new = rollout.take(new)
        new["metadata"]["annotations"] = annotations
        new["spec"]["minReadySeconds"] = min_ready
    _set_revision(rollout.deployment, annotations[REVISION])
    if _deadline(rollout) and meta.condition(rollout.deployment, "Progressing") is None:
        message = f'Found new replica set "{meta.name(new)}"'
        set_condition(rollout, "Progressing", "True", "FoundNewReplicaSet", message)


def _make(rollout: Rollout, number: int) -> None:
    new = rollout.created = rollout.new = build(rollout.deployment)
    rollout.new["spec"]["replicas"] = size = new_size(rollout)
    annotations = _annotations(rollout.deployment, {}, number)
    annotations[DESIRED] = str(rollout.replicas)
    annotations[MAX] = str(rollout.replicas + rollout.max_surge)
    new["metadata"]["annotations"] = annotations
    if size > 0:
        message = f"Scaled up replica set {meta.name(new)} from 0 to {size}"
        rollout.events.append(Emit("Normal", "ScalingReplicaSet", message))
    _set_revision(rollout.deployment, str(number))
    if _deadline(rollout):
        message = f'Created new replica set "{meta.name(new)}"'
        set_condition(rollout, "Progressing", "True", "NewReplicaSetCreated", message)


def build(deployment: Object) -> Object:
    """The replica set of the present template, of size 0 and without annotations."""
    spec = deployment["spec"]
    collisions = (deployment.get("status") or {}).get("collisionCount")
    digest = meta.pod_template_hash(spec["template"], collisions)
    template_meta = dict(spec["template"].get("metadata") or {})
    labels = {**(template_meta.get("labels") or {}), HASH_LABEL: digest}
    selector = dict(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta.name(deployment)}-{digest}",
            "namespace": meta.namespace(deployment),
            "labels": labels,
            "ownerReferences": [meta.owner_reference(deployment)],
        },
        "spec": {
            "replicas": 0,
            "minReadySeconds": spec.get("minReadySeconds", 0),
            "selector": selector,
            "template": {"metadata": {**template_meta, "labels": labels}, "spec": spec["template"]["spec"]},
        },
    }


def new_size(rollout: Rollout) -> int:
    """How large the new replica set may be now (``NewRSNewReplicas``)."""
    if not rollout.is_rolling:
        return rollout.replicas
    present = replicas_of(rollout.new) if rollout.new is not None else 0
    room = rollout.replicas + rollout.max_surge - rollout.total()
    if room <= 0:
        return present
    return present + min(room, rollout.replicas - present)


def _annotations(deployment: Object, known: dict[str, str], number: int) -> dict[str, str]:
    """``known`` with the Deployment's annotations copied over and the revision at least ``number``."""
    copied = {key: value for key, value in meta.annotations(deployment).items() if key not in _NOT_COPIED}
    annotations = known | copied
    before = annotations.get(REVISION, "")
    if not before.isdecimal() or int(before) < number:
        annotations[REVISION] = str(number)
        if before.isdecimal() and int(before) > 0:
            annotations[REVISION_HISTORY] = _longer_history(annotations.get(REVISION_HISTORY, ""), before)
    return annotations


def _longer_history(history: str, number: str) -> str:
    entries = [*(history.split(",") if history else []), number]
    while len(",".join(entries)) > _MAX_HISTORY:
        entries.pop(0)
    return ",".join(entries)


def _set_revision(deployment: Object, number: str) -> None:
    """The Deployment says the revision of its template; an empty map of annotations is left out."""
    if meta.annotations(deployment).get(REVISION) != number:
        deployment["metadata"]["annotations"] = {**meta.annotations(deployment), REVISION: number}


def _deadline(rollout: Rollout) -> bool:
    return has_progress_deadline(rollout.deployment)


def has_progress_deadline(deployment: Object) -> bool:
    """MaxInt32 means that there is none."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return seconds is not None and seconds != 2**31 - 1


def set_condition(rollout: Rollout, kind: str, status: str, reason: str, message: str) -> None:
    """``SetDeploymentCondition``: of equal status and reason the old one stays, times and all."""
    conditions = rollout.deployment["status"].setdefault("conditions", [])
    old = next((entry for entry in conditions if entry["type"] == kind), None)
    if old is not None and old["status"] == status and old.get("reason") == reason:
        return
    same = old is not None and old["status"] == status
    new = {
        "type": kind,
        "status": status,
        "lastUpdateTime": rollout.stamp,
        "lastTransitionTime": old["lastTransitionTime"] if old is not None and same else rollout.stamp,
        "reason": reason,
        "message": message,
    }
    rollout.deployment["status"]["conditions"] = [c for c in conditions if c["type"] != kind] + [new]


def clean_up(rollout: Rollout) -> None:
    """Choose old replica sets beyond the history limit, oldest revision first, that are empty for good."""
    limit = rollout.deployment["spec"].get("revisionHistoryLimit")
    if limit is None or limit == 2**31 - 1:
        return
    candidates = sorted((rs for rs in rollout.olds if not meta.is_terminating(rs)), key=revision)
    for candidate in candidates[: max(0, len(candidates) - limit)]:
        observed = (candidate.get("status") or {}).get("observedGeneration", 0)
        busy = status_count(candidate, "replicas") or replicas_of(candidate)
        if not busy and meta.generation(candidate) <= observed:
            rollout.deleted.append(candidate)
