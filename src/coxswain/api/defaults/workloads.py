"""Defaults of what makes pods: the apps and batch groups, and replication controllers."""

from __future__ import annotations

from coxswain.api.defaults.pods import default_claim_spec, default_pod_template
from coxswain.api.names import Object

_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def _spec(obj: Object) -> Object:
    spec: Object = obj.setdefault("spec", {})
    default_pod_template(spec.setdefault("template", {}))
    return spec


def _set(obj: Object, field: str, value: object) -> None:
    if obj.get(field) is None:
        obj[field] = value


def _deployment(deployment: Object) -> None:
    spec = _spec(deployment)
    _set(spec, "replicas", 1)
    strategy = spec.setdefault("strategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.get("rollingUpdate")
        if rolling is None:
            rolling = strategy["rollingUpdate"] = {}
        _set(rolling, "maxUnavailable", "25%")
        _set(rolling, "maxSurge", "25%")
    _set(spec, "revisionHistoryLimit", 10)
    _set(spec, "progressDeadlineSeconds", 600)


def _replica_set(replica_set: Object) -> None:
    _set(_spec(replica_set), "replicas", 1)


def _replication_controller(controller: Object) -> None:
    spec = controller.setdefault("spec", {})
    template = spec.get("template")
    labels = ((template or {}).get("metadata") or {}).get("labels")
    if labels:
        metadata = controller.setdefault("metadata", {})
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        if not metadata.get("labels"):
            metadata["labels"] = dict(labels)
    _set(spec, "replicas", 1)
    default_pod_template(template)


def _daemon_set(daemon_set: Object) -> None:
    spec = _spec(daemon_set)
    # The old count of templates is an annotation of its author's; the strategy does the counting.
    metadata = daemon_set.setdefault("metadata", {})
    annotations = metadata.get("annotations") or {}
    if _TEMPLATE_GENERATION not in annotations:
        metadata["annotations"] = {**annotations, _TEMPLATE_GENERATION: "0"}
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.get("rollingUpdate")
        if rolling is None:
            rolling = strategy["rollingUpdate"] = {}
        _set(rolling, "maxUnavailable", 1)
        _set(rolling, "maxSurge", 0)
    _set(spec, "revisionHistoryLimit", 10)


def _stateful_set(stateful_set: Object) -> None:
    spec = _spec(stateful_set)
    if not spec.get("podManagementPolicy"):
        spec["podManagementPolicy"] = "OrderedReady"
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        if strategy.get("rollingUpdate") is None:
            strategy["rollingUpdate"] = {}
    rolling = strategy.get("rollingUpdate")
    if strategy["type"] == "RollingUpdate" and rolling is not None:
        _set(rolling, "partition", 0)
    retention = spec.get("persistentVolumeClaimRetentionPolicy")
    if retention is None:
        retention = spec["persistentVolumeClaimRetentionPolicy"] = {}
    for field in ("whenDeleted", "whenScaled"):
        if not retention.get(field):
            retention[field] = "Retain"
    _set(spec, "replicas", 1)
    _set(spec, "revisionHistoryLimit", 10)
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")
        default_claim_spec(claim.setdefault("spec", {}))
        status = claim.setdefault("status", {})
        if not status.get("phase"):
            status["phase"] = "Pending"


def _default_job_spec(spec: Object) -> None:
    # Without either number a job runs one pod.
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    _set(spec, "parallelism", 1)
    if spec.get("backoffLimit") is None:
        spec["backoffLimit"] = 2147483647 if spec.get("backoffLimitPerIndex") is not None else 6
    _set(spec, "completionMode", "NonIndexed")
    _set(spec, "suspend", False)
    failure = spec.get("podFailurePolicy")
    for rule in (failure or {}).get("rules") or ():
        for condition in rule.get("onPodConditions") or ():
            if condition.get("status") is None:
                condition["status"] = "True"
    if spec.get("podReplacementPolicy") is None:
        spec["podReplacementPolicy"] = "Failed" if failure is not None else "TerminatingOrFailed"


def _job(job: Object) -> None:
    spec = _spec(job)
    _default_job_spec(spec)
    _set(spec, "manualSelector", False)
    labels = (spec["template"].get("metadata") or {}).get("labels")
    metadata = job.setdefault("metadata", {})
    if labels and not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def _cron_job(cron_job: Object) -> None:
    spec = cron_job.setdefault("spec", {})
    if not spec.get("concurrencyPolicy"):
        spec["concurrencyPolicy"] = "Allow"
    _set(spec, "suspend", False)
    _set(spec, "successfulJobsHistoryLimit", 3)
    _set(spec, "failedJobsHistoryLimit", 1)
    # The job's own defaults wait until the job is made; only its pods' are filled in here.
    job = spec.setdefault("jobTemplate", {}).setdefault("spec", {})
    default_pod_template(job.setdefault("template", {}))


DEFAULTS = {
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
    ("", "ReplicationController"): _replication_controller,
}
