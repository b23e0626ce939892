"""The objects that histories are about, each drawn from a generator: small, and quick to finish."""

from __future__ import annotations

import random
from typing import Any

from coxswain.api.names import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    GVR,
    JOBS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
    Object,
)

BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
QUOTAS = GVR("", "v1", "resourcequotas")
#: Annotations of pods that end: seconds that one lasts on average, and how probably it fails then.
LASTS, FAILS = "chaos/lasts", "chaos/fails"

WORKLOADS = (
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    DEPLOYMENTS,
    STATEFUL_SETS,
    DAEMON_SETS,
    JOBS,
    CRON_JOBS,
)


def template(rng: random.Random, labels: dict[str, str], image: str, **spec: Any) -> Object:
    seconds = rng.choice([2, 10, 30])
    taints = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    tolerations = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
        for key in taints
    ]
    container = {"name": "c", "image": image, "resources": {"requests": {"cpu": "10m"}}}
    return {
        "metadata": {"labels": labels},
        "spec": {
            "containers": [container],
            "tolerations": tolerations,
            "terminationGracePeriodSeconds": rng.choice([0, 5, 30]),
            **spec,
        },
    }


def make(rng: random.Random, resource: GVR, name: str) -> Object:
    """An object of a workload's kind."""
    labels = {"app": f"{resource.resource}-{name}"}
    obj: Object = {"metadata": {"name": name, "labels": labels}, "spec": {}}
    pod = template(rng, labels, "image:1")
    _MAKERS[resource](rng, obj["spec"], labels, pod)
    return obj


def _replica_set(rng: random.Random, spec: Object, labels: dict[str, str], pod: Object) -> None:
    spec |= {"replicas": rng.randrange(6), "selector": {"matchLabels": labels}, "template": pod}
    if rng.random() < 0.3:
        spec["minReadySeconds"] = 3


def _replication_controller(rng: random.Random, spec: Object, labels: dict[str, str], pod: Object) -> None:
    spec |= {"replicas": rng.randrange(5), "selector": labels, "template": pod}


def strategy(rng: random.Random) -> Object:
    """How a Deployment replaces its pods."""
    if rng.random() < 0.2:
        return {"type": "Recreate"}
    surge, unavailable = rng.choice([("25%", "25%"), (1, 0), (0, 1), (2, 2), ("100%", 0), ("0%", "50%")])
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


def daemon_strategy(rng: random.Random) -> Object:
    """How a DaemonSet does."""
    surge, unavailable = rng.choice([(0, 1), (0, 2), (1, 0), ("50%", 0), (0, "50%")])
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


def retention(rng: random.Random) -> Object:
    """What becomes of the claims of a StatefulSet."""
    return {"whenDeleted": rng.choice(["Retain", "Delete"]), "whenScaled": rng.choice(["Retain", "Delete"])}


def _deployment(rng: random.Random, spec: Object, labels: dict[str, str], pod: Object) -> None:
    spec |= {"replicas": rng.randrange(1, 9), "selector": {"matchLabels": labels}, "template": pod}
    spec["revisionHistoryLimit"] = rng.choice([0, 2, 10])
    spec["minReadySeconds"] = rng.choice([0, 0, 2, 5])
    spec["strategy"] = strategy(rng)


def _stateful_set(rng: random.Random, spec: Object, labels: dict[str, str], pod: Object) -> None:
    spec |= {"replicas": rng.randrange(1, 5), "selector": {"matchLabels": labels}, "template": pod}
    spec["serviceName"] = "none"
    spec["podManagementPolicy"] = rng.choice(["OrderedReady", "OrderedReady", "Parallel"])
    spec["minReadySeconds"] = rng.choice([0, 0, 2])
    if rng.random() < 0.3:
        spec["ordinals"] = {"start": 3}
    if rng.random() < 0.3:
        rolling = {"partition": rng.randrange(4)}
        spec["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": rolling}
    elif rng.random() < 0.15:
        spec["updateStrategy"] = {"type": "OnDelete"}
    if rng.random() < 0.4:
        claim = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "local",
        }
        spec["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": claim}]
        spec["persistentVolumeClaimRetentionPolicy"] = retention(rng)


def _daemon_set(rng: random.Random, spec: Object, labels: dict[str, str], pod: Object) -> None:
    spec |= {"selector": {"matchLabels": labels}, "template": pod}
    spec["minReadySeconds"] = rng.choice([0, 0, 2])
    spec["updateStrategy"] = daemon_strategy(rng)


def job_spec(rng: random.Random, labels: dict[str, str], pod: Object) -> Object:
    fails = rng.choice([0.0, 0.0, 0.1, 0.3])
    pod["metadata"]["annotations"] = {LASTS: str(rng.choice([1, 5, 20])), FAILS: str(fails)}
    pod["spec"]["restartPolicy"] = "Never"
    completions = rng.randrange(1, 7)
    spec: Object = {
        "template": pod,
        "parallelism": rng.randrange(1, 5),
        "completions": completions,
        "backoffLimit": rng.choice([2, 6, 20]),
    }
    if rng.random() < 0.5:
        spec["completionMode"] = "Indexed"
        if rng.random() < 0.4:
            del spec["backoffLimit"]
            spec |= {"backoffLimitPerIndex": rng.choice([0, 1, 3]), "maxFailedIndexes": completions}
        if rng.random() < 0.3:
            rules = [{"succeededCount": max(1, completions // 2)}]
            spec["successPolicy"] = {"rules": rules}
    if rng.random() < 0.3:
        rules = [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        ]
        spec["podFailurePolicy"] = {"rules": rules}
    elif rng.random() < 0.3:
        spec["podReplacementPolicy"] = "Failed"
    if rng.random() < 0.2:
        spec["activeDeadlineSeconds"] = rng.choice([20, 120])
    if rng.random() < 0.2:
        spec["ttlSecondsAfterFinished"] = rng.choice([0, 30])
    return spec


def _job(rng: random.Random, spec: Object, labels: dict[str, str], pod: Object) -> None:
    spec |= job_spec(rng, labels, pod)


def _cron_job(rng: random.Random, spec: Object, labels: dict[str, str], pod: Object) -> None:
    job = job_spec(rng, labels, pod)
    spec["schedule"] = rng.choice(["* * * * *", "*/2 * * * *", "30 1 * * *", "0 * * * *"])
    spec["timeZone"] = rng.choice(["UTC", "Europe/Paris", "America/New_York"])
    spec["concurrencyPolicy"] = rng.choice(["Allow", "Forbid", "Replace"])
    spec["successfulJobsHistoryLimit"] = rng.choice([0, 1, 3])
    spec["failedJobsHistoryLimit"] = rng.choice([0, 1])
    if rng.random() < 0.3:
        spec["startingDeadlineSeconds"] = rng.choice([30, 300])
    spec["jobTemplate"] = {"metadata": {"labels": labels}, "spec": job}


_MAKERS = {
    REPLICA_SETS: _replica_set,
    REPLICATION_CONTROLLERS: _replication_controller,
    DEPLOYMENTS: _deployment,
    STATEFUL_SETS: _stateful_set,
    DAEMON_SETS: _daemon_set,
    JOBS: _job,
    CRON_JOBS: _cron_job,
}


def budget(rng: random.Random, name: str, labels: dict[str, str]) -> Object:
    spec: Object = {"selector": {"matchLabels": labels}}
    kind = rng.choice(["minAvailable", "maxUnavailable"])
    spec[kind] = rng.choice([1, 2, "50%"])
    return {"metadata": {"name": name}, "spec": spec}


def service(name: str, labels: dict[str, str]) -> tuple[GVR, Object]:
    spec = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}
    return SERVICES, {"metadata": {"name": name}, "spec": spec}


def quota(rng: random.Random) -> Object:
    hard = {"pods": str(rng.randrange(8, 25)), "requests.cpu": f"{rng.randrange(80, 250)}m"}
    return {"metadata": {"name": "quota"}, "spec": {"hard": hard}}
