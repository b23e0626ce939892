"""What is filled in where an author says nothing, kind by kind; and what the strategies keep, clear and count."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from api_rules import created, edited, make
from coxswain.api import defaults, strategy
from coxswain.api.names import GVK, Object


def at(obj: Any, path: str) -> Any:
    for step in path.split("."):
        obj = obj[int(step)] if step.isdecimal() else obj.get(step)
    return obj


def defaulted(obj: Object) -> Object:
    out = copy.deepcopy(obj)
    defaults.default(out, GVK.of(out))
    return out


NET, ADMISSION = "networking.k8s.io/v1", "admissionregistration.k8s.io/v1"
FLOW = "flowcontrol.apiserver.k8s.io/v1"
C, V = "spec.containers.0", "spec.volumes.0"


def pod(**fields: Any) -> Object:
    return make("v1", "Pod", spec={"containers": [{"name": "c", "image": "i"}], **fields})


def volume(kind: str, source: Object) -> Object:
    return pod(volumes=[{"name": "v", kind: source}])


def kind(api_version: str, name: str, **fields: Any) -> Object:
    return make(api_version, name, **fields)


SCALER = kind("autoscaling/v2", "HorizontalPodAutoscaler", spec={"behavior": {}})
HOOK = kind(
    ADMISSION, "MutatingWebhookConfiguration", webhooks=[{"rules": [{}], "clientConfig": {"service": {}}}]
)
LEVEL = kind(FLOW, "PriorityLevelConfiguration", spec={"limited": {"limitResponse": {"queuing": {}}}})
CLAIM = {"devices": {"requests": [{"exactly": {}}, {"firstAvailable": [{"allocationMode": "All"}]}]}}
DEFAULTS: list[tuple[Object, str, Any]] = [
    (edited(pod(), {C + ".image": "a/b:1"}), f"{C}.imagePullPolicy", "IfNotPresent"),
    (edited(pod(), {C + ".image": "a.b:5000/c"}), f"{C}.imagePullPolicy", "Always"),
    (edited(pod(), {C + ".image": "a@sha256:0"}), f"{C}.imagePullPolicy", "IfNotPresent"),
    (edited(pod(), {C + ".resources.limits": {"cpu": "1"}}), f"{C}.resources.requests", {"cpu": "1"}),
    (edited(pod(), {C + ".resources.requests": {"cpu": "1500u"}}), f"{C}.resources.requests.cpu", "2m"),
    (edited(pod(hostNetwork=True), {C + ".ports.0.containerPort": 5}), f"{C}.ports.0.hostPort", 5),
    (edited(pod(), {C + ".livenessProbe.httpGet.port": 5}), f"{C}.livenessProbe.httpGet.path", "/"),
    (edited(pod(), {C + ".livenessProbe.grpc.port": 5}), f"{C}.livenessProbe.grpc.service", ""),
    (edited(pod(), {C + ".livenessProbe": {}}), f"{C}.livenessProbe.failureThreshold", 3),
    (edited(pod(), {C + ".lifecycle.preStop.httpGet": {}}), f"{C}.lifecycle.preStop.httpGet.scheme", "HTTP"),
    (edited(pod(), {C + ".env.0.valueFrom.fieldRef": {}}), f"{C}.env.0.valueFrom.fieldRef.apiVersion", "v1"),
    (
        edited(pod(), {C + ".env.0.valueFrom.resourceFieldRef": {}}),
        f"{C}.env.0.valueFrom.resourceFieldRef.divisor",
        "0",
    ),
    (
        edited(pod(), {C + ".env.0.valueFrom.fileKeyRef": {}}),
        f"{C}.env.0.valueFrom.fileKeyRef.optional",
        False,
    ),
    (pod(serviceAccount="s"), "spec.serviceAccountName", "s"),
    (pod(overhead={"cpu": "1u"}), "spec.overhead.cpu", "1m"),
    (pod(resources={"limits": {"cpu": "2"}}), "spec.resources.requests.cpu", "2"),
    (pod(volumes=[{"name": "v"}]), f"{V}.emptyDir", {}),
    (volume("secret", {}), f"{V}.secret.defaultMode", 420),
    (
        volume("downwardAPI", {"items": [{"fieldRef": {}}]}),
        f"{V}.downwardAPI.items.0.fieldRef.apiVersion",
        "v1",
    ),
    (
        volume("downwardAPI", {"items": [{"resourceFieldRef": {}}]}),
        f"{V}.downwardAPI.items.0.resourceFieldRef.divisor",
        "0",
    ),
    (
        volume("projected", {"sources": [{"serviceAccountToken": {}}, {"downwardAPI": {}}]}),
        f"{V}.projected.sources.0.serviceAccountToken.expirationSeconds",
        3600,
    ),
    (volume("hostPath", {}), f"{V}.hostPath.type", ""),
    (volume("iscsi", {}), f"{V}.iscsi.iscsiInterface", "default"),
    (volume("rbd", {}), f"{V}.rbd", {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"}),
    (volume("azureDisk", {}), f"{V}.azureDisk.cachingMode", "ReadWrite"),
    (volume("scaleIO", {}), f"{V}.scaleIO", {"storageMode": "ThinProvisioned", "fsType": "xfs"}),
    (
        volume("ephemeral", {"volumeClaimTemplate": {}}),
        f"{V}.ephemeral.volumeClaimTemplate.spec.volumeMode",
        "Filesystem",
    ),
    (volume("image", {"reference": "i"}), f"{V}.image.pullPolicy", "Always"),
    (
        kind("v1", "Service", spec={"sessionAffinity": "ClientIP"}),
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        10800,
    ),
    (kind("v1", "Service", spec={"type": "NodePort"}), "spec.externalTrafficPolicy", "Cluster"),
    (kind("v1", "Service", spec={"type": "LoadBalancer"}), "spec.allocateLoadBalancerNodePorts", True),
    (
        kind("v1", "Service", spec={"ports": [{"port": 5}]}),
        "spec.ports.0",
        {"port": 5, "protocol": "TCP", "targetPort": 5},
    ),
    (kind("v1", "Secret", stringData={"k": "v"}), "data", {"k": "dg=="}),
    (kind("v1", "Namespace"), "metadata.labels", {"kubernetes.io/metadata.name": "x"}),
    (kind("v1", "Node", status={"capacity": {"cpu": "1500u"}}), "status.allocatable", {"cpu": "2m"}),
    (kind("v1", "Endpoints", subsets=[{"ports": [{"port": 5}]}]), "subsets.0.ports.0.protocol", "TCP"),
    (kind("discovery.k8s.io/v1", "EndpointSlice", ports=[{}]), "ports.0", {"name": "", "protocol": "TCP"}),
    (
        kind(
            "v1",
            "LimitRange",
            spec={"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}]},
        ),
        "spec.limits.0.defaultRequest",
        {"cpu": "2"},
    ),
    (kind("v1", "ResourceQuota", spec={"hard": {"cpu": "1u"}}), "spec.hard.cpu", "1m"),
    (kind("v1", "PersistentVolume", spec={"hostPath": {}}), "spec.persistentVolumeReclaimPolicy", "Retain"),
    (kind("v1", "PersistentVolumeClaim"), "spec.volumeMode", "Filesystem"),
    (
        kind("apps/v1", "Deployment"),
        "spec.strategy.rollingUpdate",
        {"maxUnavailable": "25%", "maxSurge": "25%"},
    ),
    (kind("apps/v1", "ReplicaSet"), "spec.replicas", 1),
    (kind("apps/v1", "DaemonSet"), "spec.updateStrategy.rollingUpdate", {"maxUnavailable": 1, "maxSurge": 0}),
    (
        kind("apps/v1", "StatefulSet", spec={"volumeClaimTemplates": [{}]}),
        "spec.persistentVolumeClaimRetentionPolicy",
        {"whenDeleted": "Retain", "whenScaled": "Retain"},
    ),
    (
        kind("v1", "ReplicationController", spec={"template": {"metadata": {"labels": {"a": "b"}}}}),
        "spec.selector",
        {"a": "b"},
    ),
    (kind("batch/v1", "Job"), "spec.completions", 1),
    (kind("batch/v1", "Job", spec={"backoffLimitPerIndex": 1}), "spec.backoffLimit", 2147483647),
    (kind("batch/v1", "Job"), "spec.podReplacementPolicy", "TerminatingOrFailed"),
    (kind("batch/v1", "CronJob"), "spec.successfulJobsHistoryLimit", 3),
    (
        kind("rbac.authorization.k8s.io/v1", "RoleBinding", subjects=[{"kind": "Group"}]),
        "subjects.0.apiGroup",
        "rbac.authorization.k8s.io",
    ),
    (kind("storage.k8s.io/v1", "StorageClass"), "volumeBindingMode", "Immediate"),
    (kind("storage.k8s.io/v1", "CSIDriver"), "spec.volumeLifecycleModes", ["Persistent"]),
    (
        kind(NET, "NetworkPolicy", spec={"egress": [{"ports": [{}]}]}),
        "spec.policyTypes",
        ["Ingress", "Egress"],
    ),
    (kind(NET, "NetworkPolicy"), "spec.policyTypes", ["Ingress"]),
    (kind(NET, "IngressClass", spec={"parameters": {}}), "spec.parameters.scope", "Cluster"),
    (SCALER, "spec.minReplicas", 1),
    (SCALER, "spec.metrics.0.resource.target", {"type": "Utilization", "averageUtilization": 80}),
    (SCALER, "spec.behavior.scaleUp.stabilizationWindowSeconds", 0),
    (SCALER, "spec.behavior.scaleDown.policies", [{"type": "Percent", "value": 100, "periodSeconds": 15}]),
    (HOOK, "webhooks.0.timeoutSeconds", 10),
    (HOOK, "webhooks.0.reinvocationPolicy", "Never"),
    (HOOK, "webhooks.0.rules.0.scope", "*"),
    (HOOK, "webhooks.0.clientConfig.service.port", 443),
    (
        kind(ADMISSION, "ValidatingAdmissionPolicy", spec={"matchConstraints": {}}),
        "spec.matchConstraints.matchPolicy",
        "Equivalent",
    ),
    (
        kind(ADMISSION, "ValidatingAdmissionPolicyBinding", spec={"matchResources": {"resourceRules": [{}]}}),
        "spec.matchResources.resourceRules.0.scope",
        "*",
    ),
    (kind("scheduling.k8s.io/v1", "PriorityClass"), "preemptionPolicy", "PreemptLowerPriority"),
    (kind("apiregistration.k8s.io/v1", "APIService", spec={"service": {}}), "spec.service.port", 443),
    (kind(FLOW, "FlowSchema"), "spec.matchingPrecedence", 1000),
    (kind(FLOW, "PriorityLevelConfiguration", spec={"type": "Exempt"}), "spec.exempt.lendablePercent", 0),
    (LEVEL, "spec.limited.nominalConcurrencyShares", 30),
    (LEVEL, "spec.limited.limitResponse.queuing", {"handSize": 8, "queues": 64, "queueLengthLimit": 50}),
    (kind("resource.k8s.io/v1", "ResourceClaim", spec=CLAIM), "spec.devices.requests.0.exactly.count", 1),
    (
        kind("resource.k8s.io/v1", "ResourceClaimTemplate", spec={"spec": CLAIM}),
        "spec.spec.devices.requests.0.exactly.count",
        1,
    ),
    (
        kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", spec={"names": {"kind": "Foo"}}),
        "spec.names",
        {"kind": "Foo", "singular": "foo", "listKind": "FooList"},
    ),
]


@pytest.mark.parametrize(("obj", "path", "value"), DEFAULTS, ids=str)
def test_what_is_unsaid_is_filled_in_once(obj: Object, path: str, value: Any) -> None:
    whole = defaulted(obj)
    assert at(whole, path) == value
    assert defaulted(whole) == whole


def updated(old: Object, **edits: Any) -> Object:
    new = edited(old, {path.replace("__", "."): value for path, value in edits.items()})
    strategy.prepare_for_update(new, old, GVK.of(old))
    return new


@pytest.mark.parametrize(
    "group", ["apps/v1 Deployment", "apps/v1 DaemonSet", "batch/v1 CronJob", "policy/v1 PodDisruptionBudget"]
)
def test_a_changed_spec_is_a_new_generation_and_a_sent_status_is_none(group: str) -> None:
    old = created(make(*group.split(), spec={}, status={"x": 1}))
    assert "status" not in old
    assert old["metadata"]["generation"] == 1
    assert updated(old, spec__extra=1)["metadata"]["generation"] == 2
    kept = updated(old, status={"x": 2})
    assert kept["metadata"]["generation"] == 1
    assert "status" not in kept


def test_a_changed_template_of_a_daemon_set_counts() -> None:
    name = "deprecated.daemonset.template.generation"
    old = created(make("apps/v1", "DaemonSet", spec={}))
    assert old["metadata"]["annotations"][name] == "1"
    assert updated(old, spec__template__spec__hostname="h")["metadata"]["annotations"][name] == "2"


def test_finalizers_of_a_namespace_are_not_changed_by_an_update() -> None:
    old = created(make("v1", "Namespace", namespace=""))
    assert old["spec"]["finalizers"] == ["kubernetes"]
    assert old["status"] == {"phase": "Active"}
    assert updated(old, spec={"finalizers": ["a/b"]})["spec"]["finalizers"] == ["kubernetes"]


def test_the_two_data_sources_of_a_claim_say_the_same() -> None:
    source = {"kind": "PersistentVolumeClaim", "name": "a"}
    assert (
        created(make("v1", "PersistentVolumeClaim", spec={"dataSource": source}))["spec"]["dataSourceRef"]
        == source
    )
    assert (
        created(make("v1", "PersistentVolumeClaim", spec={"dataSourceRef": source}))["spec"]["dataSource"]
        == source
    )


def test_a_new_pod_is_pending_and_says_why_it_waits() -> None:
    gated = created(pod(schedulingGates=[{"name": "g"}], terminationGracePeriodSeconds=-5))
    assert gated["status"]["phase"] == "Pending"
    assert gated["status"]["conditions"][0]["reason"] == "SchedulingGated"
    assert gated["spec"]["terminationGracePeriodSeconds"] == 1


@pytest.mark.parametrize(
    ("annotation", "profile"),
    [
        ("runtime/default", {"type": "RuntimeDefault"}),
        ("unconfined", {"type": "Unconfined"}),
        ("localhost/a", {"type": "Localhost", "localhostProfile": "a"}),
    ],
)
def test_profiles_in_annotations_become_fields(annotation: str, profile: Object) -> None:
    name = "container.apparmor.security.beta.kubernetes.io/c"
    whole = created(edited(pod(), {"metadata.annotations": {name: annotation}}))
    assert at(whole, f"{C}.securityContext.appArmorProfile") == profile


def test_keys_of_the_pods_own_labels_complete_its_selectors() -> None:
    term = {"topologyKey": "z", "matchLabelKeys": ["a"], "mismatchLabelKeys": ["c"], "labelSelector": {}}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    spread = {"maxSkew": 1, "topologyKey": "z", "matchLabelKeys": ["a"], "labelSelector": {}}
    plain = edited(
        pod(affinity=affinity, topologySpreadConstraints=[spread]), {"metadata.labels": {"a": "b", "c": "d"}}
    )
    whole = created(plain)
    is_in = {"key": "a", "operator": "In", "values": ["b"]}
    not_in = {"key": "c", "operator": "NotIn", "values": ["d"]}
    (completed,) = whole["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert completed["labelSelector"]["matchExpressions"] == [is_in, not_in]
    assert at(whole, "spec.topologySpreadConstraints.0.labelSelector.matchExpressions") == [is_in]


def test_a_status_update_changes_neither_owners_nor_the_spec() -> None:
    old = created(pod())
    new = edited(
        old,
        {"metadata.ownerReferences": [{"name": "o"}], "spec.hostname": "h", "status": {"phase": "Running"}},
    )
    strategy.prepare_for_status_update(new, old, GVK.of(old))
    assert "ownerReferences" not in new["metadata"]
    assert "hostname" not in new["spec"]
    assert new["status"] == {"phase": "Running", "qosClass": "BestEffort"}


def test_a_service_that_becomes_a_name_gives_up_its_addresses() -> None:
    spec = {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "ports": [{"port": 80}]}
    old = created(make("v1", "Service", spec=spec))
    new = updated(old, spec__type="ExternalName", spec__externalName="a.b")["spec"]
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "allocateLoadBalancerNodePorts"} & set(new)


WARNINGS = [
    (
        pod(nodeSelector={"beta.kubernetes.io/os": "linux"}),
        "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14",
    ),
    (volume("rbd", {}), "spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+"),
    (
        pod(imagePullSecrets=[{"name": "a"}, {"name": "a"}]),
        'spec.imagePullSecrets[1].name: duplicate name "a"',
    ),
    (pod(imagePullSecrets=[{}]), 'spec.imagePullSecrets[0].name: invalid empty name ""'),
    (pod(hostAliases=[{"ip": "::1"}, {"ip": "::1"}]), 'spec.hostAliases[1].ip: duplicate ip "::1"'),
    (
        edited(pod(), {C + ".resources.limits": {"memory": "1m"}}),
        'fractional byte value "1m" is invalid, must be an integer',
    ),
    (
        edited(pod(), {C + ".env": [{"name": "A"}, {"name": "A"}]}),
        'spec.containers[0].env[1]: hides previous definition of "A"',
    ),
    (
        edited(pod(), {C + ".ports": [{"containerPort": 1}] * 2}),
        "duplicate port definition with spec.containers[0].ports[0]",
    ),
    (
        pod(terminationGracePeriodSeconds=-1),
        "must be >= 0; negative values are invalid and will be treated as 1",
    ),
    (
        make("v1", "PersistentVolume", spec={"persistentVolumeReclaimPolicy": "Recycle"}),
        "Recycle reclaim policy is deprecated",
    ),
    (
        make("v1", "Service", spec={"clusterIP": "None", "externalIPs": ["1.1.1.1"]}),
        "spec.externalIPs is ignored for headless",
    ),
    (make("apps/v1", "Deployment", name="a.b"), "metadata.name: this is used in Pod names and hostnames"),
]


@pytest.mark.parametrize(("obj", "part"), WARNINGS, ids=str)
def test_authors_are_warned(obj: Object, part: str) -> None:
    assert any(part in text for text in strategy.warnings(obj, GVK.of(obj)))
