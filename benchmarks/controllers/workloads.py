"""Workload controllers: everything in one namespace, every owner with labels of its own."""

from __future__ import annotations

from typing import Any

from benchmarks.controllers.world import Api, Case
from coxswain.api import meta
from coxswain.api.names import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    GVR,
    JOBS,
    NODES,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    Object,
)

NAMESPACE = "d"


def template(number: int) -> Object:
    return {
        "metadata": {"labels": {"app": f"a{number}", "tier": "web"}},
        "spec": {"containers": [{"name": "c", "image": "web:1"}], "restartPolicy": "Always"},
    }


def owner(kind: str, number: int, **spec: Any) -> Object:
    """A workload of one replica."""
    return {
        "kind": kind,
        "metadata": {"name": f"w{number}", "namespace": NAMESPACE, "generation": 1},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": f"a{number}"}},
            "template": template(number),
            **spec,
        },
    }


def _replica_sets(api: Api, count: int) -> None:
    for number in range(count):
        api.seed(REPLICA_SETS, owner("ReplicaSet", number))


def _bare_pods(api: Api, count: int) -> None:
    """So many pods that nobody owns, and few sets among them."""
    for number in range(count):
        metadata = {"name": f"bare{number}", "namespace": NAMESPACE, "labels": {"app": f"bare{number % 50}"}}
        api.seed(PODS, {"kind": "Pod", "metadata": metadata, "spec": {}, "status": {"phase": "Running"}})
    _replica_sets(api, api.changes)


def _replication_controllers(api: Api, count: int) -> None:
    for number in range(count):
        selector = {"app": f"a{number}"}
        api.seed(REPLICATION_CONTROLLERS, owner("ReplicationController", number, selector=selector))


def _scale_up(resource: GVR) -> Any:
    def change(api: Api, number: int) -> None:
        api.change(resource, f"w{number}", NAMESPACE, lambda obj: obj["spec"].update(replicas=2))

    return change


def _with_two_pods(api: Api) -> int:
    owners = [(meta.controller_of(pod) or {}).get("name") for pod in api.objects(PODS)]
    return sum(owners.count(f"w{number}") == 2 for number in range(api.changes))


def _deployments(api: Api, count: int) -> None:
    for number in range(count):
        rolling = {"maxSurge": "25%", "maxUnavailable": "25%"}
        strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
        api.seed(DEPLOYMENTS, owner("Deployment", number, strategy=strategy, revisionHistoryLimit=10))


def _scaled_sets(api: Api) -> int:
    return sum(one["spec"]["replicas"] == 2 for one in api.objects(REPLICA_SETS))


def _stateful_sets(api: Api, count: int) -> None:
    for number in range(count):
        more = {"serviceName": "s", "podManagementPolicy": "Parallel", "revisionHistoryLimit": 10}
        update = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
        api.seed(STATEFUL_SETS, owner("StatefulSet", number, **more, updateStrategy=update))


def _daemon_sets(api: Api, count: int) -> None:
    for name in ("n0", "n1"):
        ready = [{"type": "Ready", "status": "True"}]
        api.seed(NODES, {"metadata": {"name": name}, "spec": {}, "status": {"conditions": ready}})
    for number in range(count):
        rolling = {"maxUnavailable": 1, "maxSurge": 0}
        obj = owner("DaemonSet", number, updateStrategy={"type": "RollingUpdate", "rollingUpdate": rolling})
        api.seed(DAEMON_SETS, obj)


def _lose_a_pod(api: Api, number: int) -> None:
    """A pod of an owner goes away; all of them have their uid at hand."""
    lost = getattr(api, "lost", None)
    if lost is None:
        lost = api.lost = {"uids": {}, "by": {}}  # type: ignore[attr-defined]
        for pod in api.objects(PODS):
            lost["by"].setdefault(meta.controller_of(pod)["name"], pod["metadata"])  # type: ignore[index]
    pod = lost["by"][f"w{number}"]
    lost["uids"][pod["uid"]] = f"w{number}"
    api.remove(PODS, pod["name"], NAMESPACE)


def _pods_replaced(each: int) -> Any:
    def answered(api: Api) -> int:
        lost = getattr(api, "lost", None)
        if lost is None:
            return 0
        left = [meta.controller_of(pod)["name"] for pod in api.objects(PODS)]  # type: ignore[index]
        return sum(left.count(name) == each for name in lost["uids"].values())

    return answered


def _jobs(api: Api, count: int) -> None:
    for number in range(count):
        job = owner("Job", number, parallelism=1, completions=1, backoffLimit=6, completionMode="NonIndexed")
        labels = {"batch.kubernetes.io/controller-uid": f"j{number}"}
        del job["spec"]["replicas"]
        job["spec"]["selector"] = {"matchLabels": labels}
        job["spec"]["template"]["metadata"]["labels"] = labels
        job["spec"]["template"]["spec"]["restartPolicy"] = "Never"
        api.seed(JOBS, job)


def _finish_a_pod(api: Api, number: int) -> None:
    pods = getattr(api, "pods", None)
    if pods is None:
        pods = api.pods = {  # type: ignore[attr-defined]
            meta.controller_of(pod)["name"]: pod["metadata"]["name"]  # type: ignore[index]
            for pod in api.objects(PODS)
        }
    api.change(PODS, pods[f"w{number}"], NAMESPACE, lambda pod: pod["status"].update(phase="Succeeded"))


def _completed(api: Api) -> int:
    return sum(meta.is_condition_true(job, "Complete") for job in api.objects(JOBS))


def _cron_jobs(api: Api, count: int) -> None:
    for number in range(count):
        spec = {
            "schedule": "0 0 1 6 *",
            "concurrencyPolicy": "Allow",
            "suspend": False,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {"spec": {"template": template(number)}},
        }
        metadata = {"name": f"w{number}", "namespace": NAMESPACE}
        api.seed(CRON_JOBS, {"kind": "CronJob", "metadata": metadata, "spec": spec, "status": {}})


def _at_half_past(api: Api, number: int) -> None:
    api.change(CRON_JOBS, f"w{number}", NAMESPACE, lambda obj: obj["spec"].update(schedule="30 * * * *"))


CASES = {
    "replicaset": Case(("replicaset",), _replica_sets, _scale_up(REPLICA_SETS), _with_two_pods),
    "replicaset, bare pods": Case(("replicaset",), _bare_pods, _scale_up(REPLICA_SETS), _with_two_pods),
    "replicationcontroller": Case(
        ("replicationcontroller",),
        _replication_controllers,
        _scale_up(REPLICATION_CONTROLLERS),
        _with_two_pods,
    ),
    "deployment": Case(("deployment",), _deployments, _scale_up(DEPLOYMENTS), _scaled_sets),
    "statefulset": Case(("statefulset",), _stateful_sets, _scale_up(STATEFUL_SETS), _with_two_pods),
    "daemonset": Case(("daemonset",), _daemon_sets, _lose_a_pod, _pods_replaced(2)),
    "job": Case(("job",), _jobs, _finish_a_pod, _completed),
    # Changed at 23 minutes past the hour, due at 30, looked at at 35.
    "cronjob": Case(("cronjob",), _cron_jobs, _at_half_past, lambda api: api.count(JOBS), settle=700.0),
}
