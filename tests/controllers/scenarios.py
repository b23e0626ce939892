"""What each controller is put through by ``test_faults_everywhere``: small lives with a beginning and an end."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any

from controllers.faultbench import FaultyApi, Scenario
from coxswain.api import meta
from coxswain.api.names import (
    CLUSTER_ROLES,
    CONFIGMAPS,
    CRON_JOBS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINTS,
    GVR,
    IP_ADDRESSES,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICE_CIDRS,
    SERVICES,
    STATEFUL_SETS,
    Object,
)
from coxswain.base import clock

BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
QUOTAS = GVR("", "v1", "resourcequotas")
ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments")
CLASSES = GVR("storage.k8s.io", "v1", "storageclasses")
ATTRIBUTES = GVR("storage.k8s.io", "v1", "volumeattributesclasses")
AUTOSCALERS = GVR("autoscaling", "v2", "horizontalpodautoscalers")
POD_METRICS = GVR("metrics.k8s.io", "v1beta1", "pods")
POLICIES = GVR("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")
LABELS = {"app": "web"}


def template(image: str = "image:1", **spec: Any) -> Object:
    return {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": image}], **spec}}


def named(name: str, spec: Any = None, **more: Any) -> Object:
    found: Object = {"metadata": {"name": name, "namespace": "d", **more.pop("metadata", {})}, **more}
    if spec is not None:
        found["spec"] = spec
    return found


def adding(*objects: tuple[GVR, Object]) -> Callable[[FaultyApi], None]:
    """A preparation that adds these."""

    def prepare(api: FaultyApi) -> None:
        for resource, obj in objects:
            api.add(resource, obj)

    return prepare


def node(name: str, **more: Any) -> tuple[GVR, Object]:
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}
    metadata = {"name": name, "labels": {"kubernetes.io/hostname": name}, "annotations": {}}
    spec = more.pop("spec", {})
    return NODES, {"metadata": metadata, "spec": spec, "status": {"conditions": [ready], **more}}


def pod(
    name: str, *, labels: Object | None = None, phase: str = "Running", **spec: Any
) -> tuple[GVR, Object]:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"phase": phase, "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [ready]}
    obj = named(name, {"nodeName": "n", "containers": [{"name": "c"}], **spec}, status=status)
    obj["metadata"]["labels"] = LABELS if labels is None else labels
    return PODS, obj


def edit(api: FaultyApi, resource: GVR, name: str, namespace: str = "d", **spec: Any) -> None:
    """Change ``spec`` as a user would: the generation grows."""

    def change(obj: Object) -> None:
        obj["spec"] |= spec
        obj["metadata"]["generation"] = obj["metadata"].get("generation", 0) + 1

    api.change(resource, name, namespace, change)


def _scenario(
    name: str, prepare: Callable[[FaultyApi], Any], act: Any = None, *more: str, **how: Any
) -> Scenario:
    return Scenario(name, ",".join((name, *more)), prepare, act, **how)


# ---- workloads


async def _scale_down(api: FaultyApi, resource: GVR) -> None:
    await clock.sleep(10)
    edit(api, resource, "w", replicas=1)


async def _roll(api: FaultyApi, resource: GVR) -> None:
    await clock.sleep(10)
    edit(api, resource, "w", template=template("image:2"))


def _workloads() -> Iterable[Scenario]:
    selecting = {"selector": {"matchLabels": LABELS}, "template": template()}
    rolling = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}, "type": "RollingUpdate"}
    stray = pod("stray")[1]
    stray["status"], stray["spec"]["nodeName"] = {"phase": "Pending"}, ""
    yield _scenario(
        "replicaset",
        adding((REPLICA_SETS, named("w", {"replicas": 3, "minReadySeconds": 2, **selecting})), (PODS, stray)),
        lambda api: _scale_down(api, REPLICA_SETS),
        kubelet=True,
    )
    yield _scenario(
        "replicationcontroller",
        adding((REPLICATION_CONTROLLERS, named("w", {"replicas": 3, **selecting, "selector": LABELS}))),
        lambda api: _scale_down(api, REPLICATION_CONTROLLERS),
        kubelet=True,
    )
    yield _scenario(
        "deployment",
        adding((DEPLOYMENTS, named("w", {"replicas": 3, "strategy": rolling, **selecting}))),
        lambda api: _roll(api, DEPLOYMENTS),
        "replicaset",
        kubelet=True,
    )
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    retention = {"whenDeleted": "Retain", "whenScaled": "Delete"}
    stateful = {"serviceName": "s", "replicas": 2, "updateStrategy": {"type": "RollingUpdate"}, **selecting}
    stateful |= {"volumeClaimTemplates": [claim], "persistentVolumeClaimRetentionPolicy": retention}
    yield _scenario(
        "statefulset",
        adding((STATEFUL_SETS, named("w", stateful))),
        lambda api: _roll(api, STATEFUL_SETS),
        kubelet=True,
        settle=120.0,
    )
    yield _scenario(
        "daemonset",
        adding(
            node("n1"),
            node("n2"),
            (
                DAEMON_SETS,
                named(
                    "w", {"updateStrategy": rolling | {"rollingUpdate": {"maxUnavailable": 1}}, **selecting}
                ),
            ),
        ),
        lambda api: _roll(api, DAEMON_SETS),
        kubelet=True,
    )
    yield _scenario("job", adding((JOBS, named("w", _job_spec()))), _end_pods, kubelet=True, settle=300.0)
    cron = {"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": _job_spec()}}
    yield _scenario("cronjob", adding((CRON_JOBS, named("w", cron))), _suspend_cron, settle=30.0)
    done = [{"type": "Complete", "status": "True", "lastTransitionTime": "2025-12-31T23:59:00Z"}]
    finished = named("w", {**_job_spec(), "ttlSecondsAfterFinished": 90}, status={"conditions": done})
    yield _scenario("ttl-after-finished", adding((JOBS, finished)))


def _job_spec() -> Object:
    return {
        "parallelism": 2,
        "completions": 3,
        "completionMode": "Indexed",
        "backoffLimit": 6,
        "selector": {"matchLabels": LABELS},
        "template": template(restartPolicy="Never"),
    }


async def _end_pods(api: FaultyApi) -> None:
    """Each index fails once, then succeeds."""
    failed: set[str] = set()
    for _ in range(120):
        await clock.sleep(1)
        for each in api.objects(PODS, "d"):
            if meta.pod_phase(each) != "Running" or meta.is_terminating(each):
                continue
            index = meta.annotations(each)["batch.kubernetes.io/job-completion-index"]
            phase = "Succeeded" if index in failed or index != "1" else "Failed"
            failed.add(index)
            api.change(PODS, meta.name(each), "d", lambda obj, phase=phase: obj["status"].update(phase=phase))


async def _suspend_cron(api: FaultyApi) -> None:
    await clock.sleep(70)
    for job in api.objects(JOBS, "d"):
        done = {"conditions": [{"type": "Complete", "status": "True"}]}
        api.change(JOBS, meta.name(job), "d", lambda obj, done=done: obj.update(status=done))
    await clock.sleep(80)
    edit(api, CRON_JOBS, "w", suspend=True)


# ---- services


def _services() -> Iterable[Scenario]:
    spec = {"selector": LABELS, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "ports": [{"port": 80}]}

    async def another(api: FaultyApi) -> None:
        api.add(*pod("late"))
        await clock.sleep(5)
        api.remove(PODS, "p", "d")

    for name in ("endpoints", "endpointslice"):
        yield _scenario(name, adding(node("n"), (SERVICES, named("web", spec)), pod("p")), another)
    subset = {"ports": [{"name": "sql", "port": 5432}], "addresses": [{"ip": "10.1.1.1"}]}
    own = (SERVICES, named("db", {"clusterIP": "10.0.0.1"})), (ENDPOINTS, named("db", subsets=[subset]))

    async def move(api: FaultyApi) -> None:
        await clock.sleep(5)
        api.change(ENDPOINTS, "db", "d", lambda obj: obj["subsets"][0].update(addresses=[{"ip": "10.1.1.2"}]))

    yield _scenario("endpointslice-mirroring", adding(*own), move)

    async def release(api: FaultyApi) -> None:
        await clock.sleep(5)
        await api.user().delete(SERVICE_CIDRS, "more")
        await clock.sleep(5)
        api.remove(IP_ADDRESSES, "10.97.0.5")

    ranges = [(SERVICE_CIDRS, {"metadata": {"name": n}, "spec": {"cidrs": [c]}}) for n, c in _CIDRS.items()]
    address = (IP_ADDRESSES, {"metadata": {"name": "10.97.0.5"}})
    yield _scenario("service-cidr", adding(*ranges, address), release)


_CIDRS = {"kubernetes": "10.96.0.0/16", "more": "10.97.0.0/16"}


# ---- nodes


def _nodes() -> Iterable[Scenario]:
    def silent(api: FaultyApi) -> None:
        for name in ("n", "m", "o", "p"):
            api.add(*node(name))
            lease = {"metadata": {"name": name, "namespace": "kube-node-lease"}}
            api.add(LEASES, {**lease, "spec": {"renewTime": clock.micro_timestamp()}})
        api.add(*pod("p"))

    async def beat(api: FaultyApi) -> None:
        for _ in range(30):
            await clock.sleep(5)
            for name in "mop":
                renew = clock.micro_timestamp()
                api.change(
                    LEASES, name, "kube-node-lease", lambda obj, r=renew: obj["spec"].update(renewTime=r)
                )

    yield _scenario("node-lifecycle", silent, beat, "taint-eviction", settle=5.0, kubelet=True)
    yield _scenario("node-ipam", adding(node("a"), node("b", spec={"podCIDR": "10.244.0.0/24"})))
    yield _scenario("ttl", adding(node("a"), node("b")))
    lost = pod("lost", nodeName="gone")
    yield _scenario("pod-garbage-collector", adding(node("n"), pod("p"), lost))


# ---- storage


def _storage() -> Iterable[Scenario]:
    async def let_go(api: FaultyApi) -> None:
        await clock.sleep(5)
        for resource, name, space in ((PERSISTENT_VOLUME_CLAIMS, "c", "d"), (PERSISTENT_VOLUMES, "v", "")):
            if api.exists(resource, name, space):
                await api.user().delete(resource, name, space)
        await clock.sleep(5)
        api.remove(PODS, "p", "d")

    mounted = pod("p", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}])
    claim = (PERSISTENT_VOLUME_CLAIMS, named("c", {"volumeName": "v"}, status={"phase": "Bound"}))
    yield _scenario("persistentvolumeclaim-protection", adding(claim, mounted), let_go)
    volume = (PERSISTENT_VOLUMES, {"metadata": {"name": "v"}, "spec": {}, "status": {"phase": "Available"}})
    yield _scenario("persistentvolume-protection", adding(volume, mounted), let_go)
    size, modes = {"storage": "1Gi"}, ["ReadWriteOnce"]
    wanted = {"resources": {"requests": size}, "accessModes": modes, "storageClassName": ""}
    unbound = (PERSISTENT_VOLUME_CLAIMS, named("c", wanted, status={"phase": "Pending"}))
    free: Object = {"capacity": size, "accessModes": modes, "persistentVolumeReclaimPolicy": "Retain"}
    available = (
        PERSISTENT_VOLUMES,
        {"metadata": {"name": "v"}, "spec": free, "status": {"phase": "Pending"}},
    )
    yield _scenario("persistentvolume-binder", adding(available, unbound))
    ephemeral = {"volumeClaimTemplate": {"spec": {"accessModes": modes, "resources": {"requests": size}}}}
    scratch = pod("p", volumes=[{"name": "scratch", "ephemeral": ephemeral}])
    yield _scenario("ephemeral-volume", adding(scratch))
    bound = {"namespace": "d", "name": "c", "uid": "u"}
    csi = {"csi": {"driver": "example.com", "volumeHandle": "h"}, "accessModes": modes, "claimRef": bound}
    claimed = named("c", {"volumeName": "v"}, status={"phase": "Bound"}, metadata={"uid": "u"})

    async def detach(api: FaultyApi) -> None:
        await clock.sleep(3)
        for one in api.objects(ATTACHMENTS):
            api.change(ATTACHMENTS, meta.name(one), "", lambda obj: obj.update(status={"attached": True}))

    managed = node("n")
    managed[1]["metadata"]["annotations"]["volumes.kubernetes.io/controller-managed-attach-detach"] = "true"
    yield _scenario(
        "persistentvolume-attach-detach",
        adding(
            managed,
            (PERSISTENT_VOLUMES, {"metadata": {"name": "v"}, "spec": csi}),
            (PERSISTENT_VOLUME_CLAIMS, claimed),
            mounted,
        ),
        detach,
    )
    in_class = {**claimed["spec"], "volumeAttributesClassName": "gold"}
    yield _scenario(
        "volumeattributesclass-protection",
        adding(
            (ATTRIBUTES, {"metadata": {"name": "gold"}, "driverName": "example.com"}),
            (PERSISTENT_VOLUME_CLAIMS, {**claimed, "spec": in_class}),
        ),
    )


# ---- the rest


def _others() -> Iterable[Scenario]:
    def family(api: FaultyApi) -> None:
        owner = api.add(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", **named("owner")})
        reference = meta.owner_reference(owner)
        middle = api.add(CONFIGMAPS, named("middle", metadata={"ownerReferences": [reference]}))
        for name in ("x", "y"):
            api.add(CONFIGMAPS, named(name, metadata={"ownerReferences": [meta.owner_reference(middle)]}))
        orphans = api.add(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", **named("lets-go")})
        api.add(CONFIGMAPS, named("stays", metadata={"ownerReferences": [meta.owner_reference(orphans)]}))

    async def disinherit(api: FaultyApi) -> None:
        await clock.sleep(2)
        await api.user().delete(CONFIGMAPS, "owner", "d", propagation="Foreground")
        await api.user().delete(CONFIGMAPS, "lets-go", "d", propagation="Orphan")

    yield _scenario("garbage-collector", family, disinherit)

    async def delete_namespace(api: FaultyApi) -> None:
        await api.user().delete(NAMESPACES, "d")

    space = (NAMESPACES, {"metadata": {"name": "d"}})
    full = [space, (CONFIGMAPS, named("a")), (SECRETS, named("s")), pod("p")]
    yield _scenario("namespace", adding(*full), delete_namespace, kubelet=True)
    yield _scenario("serviceaccount", adding(space, (NAMESPACES, {"metadata": {"name": "e"}})))
    authority = named("extension-apiserver-authentication", data={"client-ca-file": "PEM"})
    authority["metadata"]["namespace"] = "kube-system"
    yield _scenario("root-ca-certificate-publisher", adding(space, (CONFIGMAPS, authority)))
    budget = (BUDGETS, named("b", {"minAvailable": 1, "selector": {"matchLabels": LABELS}}))
    owner = (
        REPLICA_SETS,
        named("rs", {"replicas": 2, "selector": {"matchLabels": LABELS}}, metadata={"uid": "rs"}),
    )
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": True}
    pods = [pod("p"), pod("q")]
    for _, each in pods:
        each["metadata"]["ownerReferences"] = [reference]
    yield _scenario("disruption", adding(owner, budget, *pods))

    async def one_less(api: FaultyApi) -> None:
        await clock.sleep(5)
        api.remove(PODS, "q", "d")

    quota = (QUOTAS, named("quota", {"hard": {"pods": "5", "configmaps": "3"}}))
    yield _scenario("resourcequota", adding(quota, pod("p"), pod("q"), (CONFIGMAPS, named("a"))), one_less)
    selecting = {"clusterRoleSelectors": [{"matchLabels": {"to": "view"}}]}
    rule = {"apiGroups": ["x"], "resources": ["boats"], "verbs": ["get"]}
    part = {"metadata": {"name": "part", "labels": {"to": "view"}}, "rules": [rule]}
    whole = {"metadata": {"name": "view"}, "aggregationRule": selecting, "rules": None}
    yield _scenario("clusterrole-aggregation", adding((CLUSTER_ROLES, whole), (CLUSTER_ROLES, part)))
    yield _scenario("horizontal-pod-autoscaler", _busy)
    yield _scenario(
        "validatingadmissionpolicy-status",
        adding((POLICIES, _policy()), (CUSTOM_RESOURCE_DEFINITIONS, _DEFINITION)),
    )
    signed = {"kubeconfig": "KUBECONFIG", "jws-kubeconfig-zzzzzz": "stale"}
    info = {"metadata": {"name": "cluster-info", "namespace": "kube-public"}, "data": signed}
    yield _scenario("bootstrap-signer", adding((CONFIGMAPS, info), (SECRETS, _token())))
    yield _scenario("token-cleaner", adding((SECRETS, _token("2026-01-01T00:00:30Z"))))
    account = (SERVICE_ACCOUNTS, named("robot"))
    token = {**named("t", metadata={"annotations": {"kubernetes.io/service-account.name": "nobody"}})}
    token["type"] = "kubernetes.io/service-account-token"
    yield _scenario("legacy-serviceaccount-token-cleaner", adding(account, (SECRETS, token)))


def _busy(api: FaultyApi) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5, "metrics": [metric]}
    api.add(AUTOSCALERS, named("web", spec))
    selector = {"matchLabels": LABELS}
    status = {"replicas": 2, "selector": "app=web"}
    api.add(
        DEPLOYMENTS,
        named("web", {"replicas": 2, "selector": selector, "template": template()}, status=status),
    )
    for name in ("p", "q"):
        resource, obj = pod(name, containers=[{"name": "c", "resources": {"requests": {"cpu": "100m"}}}])
        obj["status"]["startTime"] = "2025-01-01T00:00:00Z"
        api.add(resource, obj)
        usage = [{"name": "c", "usage": {"cpu": "100m"}}]
        sample = named(name, metadata={"labels": LABELS}, containers=usage, window="30s")
        api.add(POD_METRICS, {**sample, "timestamp": "2026-01-01T00:00:00Z"})


def _policy() -> Object:
    rule = {
        "apiGroups": ["example.com"],
        "apiVersions": ["v1"],
        "resources": ["boats"],
        "operations": ["CREATE"],
    }
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "object.spec.sails > 1"}],
    }
    return {"metadata": {"name": "p"}, "spec": spec}


_DEFINITION: Object = {
    "metadata": {"name": "boats.example.com"},
    "spec": {
        "group": "example.com",
        "names": {"plural": "boats", "kind": "Boat"},
        "versions": [{"name": "v1", "served": True, "schema": {"openAPIV3Schema": {"type": "object"}}}],
    },
    "status": {"conditions": [{"type": "Established", "status": "True"}]},
}


def _token(ends: str = "") -> Object:
    data = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"}
    if ends:
        data["expiration"] = ends
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}
    return {"metadata": metadata, "type": "bootstrap.kubernetes.io/token", "data": encoded}


SCENARIOS = [*_workloads(), *_services(), *_nodes(), *_storage(), *_others()]
