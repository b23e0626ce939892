"""What keeps namespaces, nodes, rules and volumes in order."""

from __future__ import annotations

from benchmarks.controllers.networking import NAMESPACE, pod, unready
from benchmarks.controllers.workloads import owner
from benchmarks.controllers.world import Api, Case
from coxswain.api import meta
from coxswain.api.names import (
    CONFIGMAPS,
    DEPLOYMENTS,
    GVR,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    Object,
)
from coxswain.base import clock

BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
QUOTAS = GVR("", "v1", "resourcequotas")
AUTOSCALERS = GVR("autoscaling", "v2", "horizontalpodautoscalers")
ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments")


# -- namespaces and what is in them ---------------------------------------------------------------------------


def _namespaces(api: Api, count: int) -> None:
    for number in range(count):
        spec, status = {"finalizers": ["kubernetes"]}, {"phase": "Active"}
        metadata = {"name": f"w{number}"}
        api.seed(NAMESPACES, {"kind": "Namespace", "metadata": metadata, "spec": spec, "status": status})


def _lose(resource: GVR, name: str) -> object:
    def change(api: Api, number: int) -> None:
        uids = api.__dict__.setdefault("lost", {})
        uids[number] = meta.uid(api.object(resource, name, f"w{number}"))
        api.remove(resource, name, f"w{number}")

    return change


def _made_again(resource: GVR, name: str) -> object:
    def answered(api: Api) -> int:
        lost = api.__dict__.get("lost", {})
        there = [number for number in lost if api.exists(resource, name, f"w{number}")]
        return sum(meta.uid(api.object(resource, name, f"w{number}")) != lost[number] for number in there)

    return answered


def _filled_namespaces(api: Api, count: int) -> None:
    _namespaces(api, count)
    for number in range(count):
        api.seed(CONFIGMAPS, {"metadata": {"name": "c", "namespace": f"w{number}"}})


def _delete_namespace(api: Api, number: int) -> None:
    api.change(
        NAMESPACES,
        f"w{number}",
        "",
        lambda obj: obj["metadata"].update(deletionTimestamp=clock.timestamp()),
    )


def _namespaces_gone(api: Api) -> int:
    gone = sum(not api.exists(NAMESPACES, f"w{number}") for number in range(api.changes))
    assert gone == sum(not api.exists(CONFIGMAPS, "c", f"w{number}") for number in range(api.changes))
    return gone


def _families(api: Api, count: int) -> None:
    """Half of them owners, the other half owned by one each."""
    for number in range(count // 2):
        metadata = {"name": f"w{number}", "namespace": NAMESPACE}
        above = api.seed(CONFIGMAPS, {"kind": "ConfigMap", "metadata": metadata})
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": f"w{number}"}
        references = [{**reference, "uid": meta.uid(above)}]
        metadata = {"name": f"w{number}", "namespace": NAMESPACE, "ownerReferences": references}
        api.seed(SECRETS, {"kind": "Secret", "metadata": metadata})


def _collected(api: Api) -> int:
    return sum(not api.exists(SECRETS, f"w{number}", NAMESPACE) for number in range(api.changes))


def _quotas(api: Api, count: int) -> None:
    for number in range(count):
        metadata = {"name": "q", "namespace": f"w{number}"}
        spec = {"hard": {"pods": "10", "requests.cpu": "4"}}
        api.seed(QUOTAS, {"kind": "ResourceQuota", "metadata": metadata, "spec": spec})
        one = pod("p", number, {})
        one["metadata"]["namespace"] = f"w{number}"
        api.seed(PODS, one)


def _finish(api: Api, number: int) -> None:
    """What stops counting is replenished."""
    api.change(PODS, "p", f"w{number}", lambda obj: obj["status"].update(phase="Succeeded"))


def _replenished(api: Api) -> int:
    found = (api.object(QUOTAS, "q", f"w{number}") for number in range(api.changes))
    return sum(one["status"]["used"]["pods"] == "0" for one in found)


# -- disruption and scaling -----------------------------------------------------------------------------------


def _budgets(api: Api, count: int) -> None:
    """All in one namespace, each with two pods of its own; a label is shared by all."""
    for number in range(count):
        labels = {"tier": "web", "app": f"a{number}"}
        spec = {"minAvailable": 1, "selector": {"matchLabels": labels}}
        metadata = {"name": f"w{number}", "namespace": NAMESPACE, "generation": 1}
        api.seed(BUDGETS, {"kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec})
        for which in (0, 1):
            api.seed(PODS, pod(f"w{number}-{which}", 2 * number + which, labels))


def _nothing_allowed(api: Api) -> int:
    return sum(one["status"]["disruptionsAllowed"] == 0 for one in api.objects(BUDGETS))


def _autoscalers(api: Api, count: int) -> None:
    for number in range(count):
        api.seed(DEPLOYMENTS, owner("Deployment", number))
        api.change(
            DEPLOYMENTS,
            f"w{number}",
            NAMESPACE,
            lambda obj: obj.update(status={"replicas": 1, "selector": "app=web"}),
        )
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"w{number}"}
        wanted = {"type": "Utilization", "averageUtilization": 50}
        cpu = {"type": "Resource", "resource": {"name": "cpu", "target": wanted}}
        metadata = {"name": f"w{number}", "namespace": NAMESPACE}
        spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3, "metrics": [cpu]}
        api.seed(AUTOSCALERS, {"kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": spec})


def _too_many_replicas(api: Api, number: int) -> None:
    api.change(DEPLOYMENTS, f"w{number}", NAMESPACE, lambda obj: obj["spec"].update(replicas=9))


def _cut_back(api: Api) -> int:
    writes = set(api.writes())
    return sum(("update", "deployments/scale", f"d/w{number}") in writes for number in range(api.changes))


# -- nodes ----------------------------------------------------------------------------------------------------


def _node(name: str) -> Object:
    ready = [{"type": "Ready", "status": "True", "lastHeartbeatTime": clock.timestamp()}]
    return {"kind": "Node", "metadata": {"name": name}, "spec": {}, "status": {"conditions": ready}}


def _nodes(api: Api, count: int) -> None:
    for number in range(count):
        api.seed(NODES, _node(f"w{number}"))
        metadata = {"name": f"w{number}", "namespace": "kube-node-lease"}
        api.seed(LEASES, {"metadata": metadata, "spec": {"renewTime": clock.micro_timestamp()}})


def _not_ready(api: Api, number: int) -> None:
    def edit(node: Object) -> None:
        node["status"]["conditions"][0]["status"] = "False"

    api.change(NODES, f"w{number}", "", edit)


def _tainted(api: Api) -> int:
    key = "node.kubernetes.io/not-ready"
    return sum(any(t["key"] == key for t in one["spec"].get("taints") or ()) for one in api.objects(NODES))


def _used_nodes(api: Api, count: int) -> None:
    """So many pods, one on each node."""
    for number in range(count):
        api.seed(NODES, _node(f"w{number}"))
        api.seed(PODS, pod(f"w{number}-0", number, {}, nodeName=f"w{number}"))


def _taint(api: Api, number: int) -> None:
    taints = [{"key": "k", "effect": "NoExecute"}]
    api.change(NODES, f"w{number}", "", lambda obj: obj["spec"].update(taints=taints))


def _leaving(api: Api) -> int:
    return sum(
        not api.exists(PODS, f"w{n}-0", NAMESPACE)
        or meta.is_terminating(api.object(PODS, f"w{n}-0", NAMESPACE))
        for n in range(api.changes)
    )


def _node_comes(api: Api, number: int) -> None:
    api.add(NODES, _node(f"new{number}"))


def _new_with_range(api: Api) -> int:
    found = (one for one in api.objects(NODES) if meta.name(one).startswith("new"))
    return sum(bool(one["spec"].get("podCIDR")) for one in found)


def _node_goes(api: Api, number: int) -> None:
    api.remove(NODES, f"w{number}")


def _pods_gone(api: Api) -> int:
    return sum(not api.exists(PODS, f"w{number}-0", NAMESPACE) for number in range(api.changes))


# -- jobs and volumes -----------------------------------------------------------------------------------------


def _running_jobs(api: Api, count: int) -> None:
    for number in range(count):
        job = owner("Job", number, ttlSecondsAfterFinished=0)
        api.seed(JOBS, {**job, "status": {"active": 1}})


def _complete(api: Api, number: int) -> None:
    now = clock.timestamp()
    done = {"type": "Complete", "status": "True", "lastTransitionTime": now}
    status = {"conditions": [done], "completionTime": now}
    api.change(JOBS, f"w{number}", NAMESPACE, lambda obj: obj.update(status=status))


def _jobs_gone(api: Api) -> int:
    found = (n for n in range(api.changes) if api.exists(JOBS, f"w{n}", NAMESPACE))
    return api.changes - sum(not meta.is_terminating(api.object(JOBS, f"w{n}", NAMESPACE)) for n in found)


def volume(name: str, **spec: object) -> Object:
    full = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "a", **spec}
    return {"kind": "PersistentVolume", "metadata": {"name": name}, "spec": full}


def _bound(api: Api, count: int) -> None:
    """Bound claims, and a free volume for each change."""
    yes = {"pv.kubernetes.io/bind-completed": "yes"}
    for number in range(count):
        metadata = {"name": f"w{number}", "namespace": NAMESPACE, "annotations": dict(yes)}
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "a",
            "volumeName": f"v{number}",
            "resources": {"requests": {"storage": "1Gi"}},
        }
        status = {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
        claim = {"kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec, "status": status}
        kept = api.seed(PERSISTENT_VOLUME_CLAIMS, claim)
        reference = {"namespace": NAMESPACE, "name": f"w{number}", "uid": meta.uid(kept)}
        one = volume(f"v{number}", claimRef=reference)
        api.seed(PERSISTENT_VOLUMES, {**one, "status": {"phase": "Bound"}})
    for number in range(api.changes):
        api.seed(PERSISTENT_VOLUMES, {**volume(f"free{number}"), "status": {"phase": "Available"}})


def _claim_comes(api: Api, number: int) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "a"}
    spec["resources"] = {"requests": {"storage": "1Gi"}}
    metadata = {"name": f"new{number}", "namespace": NAMESPACE}
    api.add(PERSISTENT_VOLUME_CLAIMS, {"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}})


def _claims_bound(api: Api) -> int:
    found = (one for one in api.objects(PERSISTENT_VOLUME_CLAIMS) if meta.name(one).startswith("new"))
    return sum(one["status"]["phase"] == "Bound" for one in found)


def _claims_in_use(api: Api, count: int) -> None:
    for number in range(count):
        metadata = {
            "name": f"w{number}",
            "namespace": NAMESPACE,
            "finalizers": ["kubernetes.io/pvc-protection"],
        }
        api.seed(PERSISTENT_VOLUME_CLAIMS, {"metadata": metadata, "spec": {}})
        uses = [{"name": "v", "persistentVolumeClaim": {"claimName": f"w{number}"}}]
        api.seed(PODS, pod(f"w{number}-0", number, {}, volumes=uses))


def _claim_and_pod_go(api: Api, number: int) -> None:
    stamp = clock.timestamp()
    api.change(
        PERSISTENT_VOLUME_CLAIMS,
        f"w{number}",
        NAMESPACE,
        lambda obj: obj["metadata"].update(deletionTimestamp=stamp),
    )
    api.remove(PODS, f"w{number}-0", NAMESPACE)


def _claims_gone(api: Api) -> int:
    return sum(not api.exists(PERSISTENT_VOLUME_CLAIMS, f"w{n}", NAMESPACE) for n in range(api.changes))


def _attached(api: Api, count: int) -> None:
    """Ten pods with a volume each on every node; those of the changes wait for their node."""
    for number in range(count // 10):
        one = _node(f"n{number}")
        one["metadata"]["annotations"] = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
        api.seed(NODES, one)
    for number in range(count):
        metadata = {"name": f"w{number}", "namespace": NAMESPACE}
        spec = {"volumeName": f"v{number}"}
        claim = api.seed(PERSISTENT_VOLUME_CLAIMS, {"metadata": metadata, "spec": spec})
        csi = {"driver": "example.com", "volumeHandle": f"h{number}"}
        reference = {"namespace": NAMESPACE, "name": f"w{number}", "uid": meta.uid(claim)}
        api.seed(PERSISTENT_VOLUMES, volume(f"v{number}", csi=csi, claimRef=reference))
        uses = [{"name": "v", "persistentVolumeClaim": {"claimName": f"w{number}"}}]
        one = pod(f"w{number}-0", number, {}, volumes=uses, nodeName=f"n{number // 10}")
        if number < api.changes:
            del one["spec"]["nodeName"]
        api.seed(PODS, one)


def _placed(api: Api, number: int) -> None:
    api.change(PODS, f"w{number}-0", NAMESPACE, lambda obj: obj["spec"].update(nodeName=f"n{number // 10}"))


def _newly_attached(api: Api) -> int:
    wanted = {f"v{number}" for number in range(api.changes)}
    return sum(one["spec"]["source"]["persistentVolumeName"] in wanted for one in api.objects(ATTACHMENTS))


_ACCOUNT = SERVICE_ACCOUNTS, "default"
_ROOT = CONFIGMAPS, "kube-root-ca.crt"

CASES = {
    "namespace": Case(("namespace",), _filled_namespaces, _delete_namespace, _namespaces_gone, settle=30.0),
    "serviceaccount": Case(("serviceaccount",), _namespaces, _lose(*_ACCOUNT), _made_again(*_ACCOUNT)),
    "root-ca-certificate-publisher": Case(
        ("root-ca-certificate-publisher",),
        _namespaces,
        _lose(*_ROOT),
        _made_again(*_ROOT),
        options={"root_ca": "PEM"},
    ),
    "garbage-collector": Case(
        ("garbage-collector",),
        _families,
        lambda api, number: api.remove(CONFIGMAPS, f"w{number}", NAMESPACE),
        _collected,
    ),
    "resourcequota": Case(("resourcequota",), _quotas, _finish, _replenished, settle=10.0),
    "disruption": Case(("disruption",), _budgets, unready, _nothing_allowed),
    "horizontal-pod-autoscaler": Case(
        ("horizontal-pod-autoscaler",),
        _autoscalers,
        _too_many_replicas,
        _cut_back,
        settle=15.0,
        periodic=True,
    ),
    "node-lifecycle": Case(("node-lifecycle",), _nodes, _not_ready, _tainted, settle=6.0),
    "taint-eviction": Case(("taint-eviction",), _used_nodes, _taint, _leaving),
    "node-ipam": Case(
        ("node-ipam",),
        _nodes,
        _node_comes,
        _new_with_range,
        options={"cluster_cidr": "10.0.0.0/7", "node_cidr_mask_size": 25},
    ),
    "pod-garbage-collector": Case(
        ("pod-garbage-collector",), _used_nodes, _node_goes, _pods_gone, settle=100.0, periodic=True
    ),
    "ttl-after-finished": Case(("ttl-after-finished",), _running_jobs, _complete, _jobs_gone),
    "persistentvolume-binder": Case(("persistentvolume-binder",), _bound, _claim_comes, _claims_bound),
    "persistentvolumeclaim-protection": Case(
        ("persistentvolumeclaim-protection",), _claims_in_use, _claim_and_pod_go, _claims_gone
    ),
    "persistentvolume-attach-detach": Case(
        ("persistentvolume-attach-detach",), _attached, _placed, _newly_attached
    ),
}
