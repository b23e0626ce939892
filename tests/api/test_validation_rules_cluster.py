"""Workloads, nodes, namespaces, classes, leases, events, requests for certificates, flow control, devices, webhooks."""

from __future__ import annotations

from typing import Any

import pytest

from api_rules import (
    DUPLICATE,
    FORBIDDEN,
    IMMUTABLE,
    INVALID,
    LABEL,
    NONNEGATIVE,
    NOT_SUPPORTED,
    POSITIVE,
    REQUIRED,
    SUBDOMAIN,
    Row,
    check_accepted,
    check_refused,
    check_status_refused,
    check_update_refused,
    make,
    rows,
)
from coxswain.api.names import Object

TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def workload(kind: str, **spec: Any) -> Object:
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE, **spec}
    return make("apps/v1", kind, spec=spec)


def cluster(api_version: str, kind: str, **fields: Any) -> Object:
    return make(api_version, kind, namespace="", **fields)


DEPLOYMENT, SET = workload("Deployment"), workload("ReplicaSet")
DAEMON, STATEFUL = workload("DaemonSet"), workload("StatefulSet")
CONTROLLER = make("v1", "ReplicationController", spec={"template": TEMPLATE})
REVISION = make("apps/v1", "ControllerRevision", data={"a": 1}, revision=1)
NODE, NAMESPACE = (
    cluster("v1", "Node", spec={"podCIDRs": ["10.0.0.0/24"], "providerID": "p"}),
    cluster("v1", "Namespace"),
)
LEASE = make("coordination.k8s.io/v1", "Lease", spec={"leaseDurationSeconds": 5})
PRIORITY = cluster("scheduling.k8s.io/v1", "PriorityClass", value=5)
RUNTIME = cluster("node.k8s.io/v1", "RuntimeClass", handler="h")
CSR = cluster(
    "certificates.k8s.io/v1",
    "CertificateSigningRequest",
    spec={
        "signerName": "a.b/c",
        "usages": ["client auth"],
        "request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KQQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K",
    },
)
FLOW = "flowcontrol.apiserver.k8s.io/v1"
SCHEMA = cluster(FLOW, "FlowSchema", spec={"priorityLevelConfiguration": {"name": "l"}})
LEVEL = cluster(
    FLOW,
    "PriorityLevelConfiguration",
    spec={"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}},
)
DEVICES = {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}
CLAIM = make("resource.k8s.io/v1", "ResourceClaim", spec={"devices": DEVICES})
POOL = {"name": "p", "generation": 1, "resourceSliceCount": 1}
SLICE = cluster("resource.k8s.io/v1", "ResourceSlice", spec={"driver": "d", "pool": POOL, "allNodes": True})
HOOK = cluster(
    "admissionregistration.k8s.io/v1",
    "MutatingWebhookConfiguration",
    webhooks=[
        {
            "name": "a.b.c",
            "clientConfig": {"url": "https://a"},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}],
        }
    ],
)
RULES = [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]
ADMISSION = cluster(
    "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicy",
    spec={"matchConstraints": {"resourceRules": RULES}, "validations": [{"expression": "true"}]},
)
BINDING = cluster(
    "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicyBinding",
    spec={"policyName": "p", "validationActions": ["Deny"]},
)
SOUND = [
    DEPLOYMENT, SET, DAEMON, STATEFUL, CONTROLLER, REVISION, NODE, NAMESPACE, LEASE, PRIORITY, RUNTIME, CSR, SCHEMA,
    LEVEL, CLAIM, SLICE, HOOK, ADMISSION, BINDING,
]  # fmt: skip


@pytest.mark.parametrize("obj", SOUND, ids=lambda obj: str(obj["kind"]))
def test_sound_objects_are_accepted(obj: Object) -> None:
    check_accepted(obj)


W, AT_W = "webhooks.0", "webhooks[0]"
C, AT_C = "spec.devices.requests.0", "spec.devices.requests[0]"
F, AT_F = "spec.rules.0", "spec.rules[0]"
LABELS = "spec.template.metadata.labels"
MISMATCH = "`selector` does not match template `labels`"
ROLL = "spec.updateStrategy.rollingUpdate"
REFUSED = [
    *(
        case
        for obj in (DEPLOYMENT, SET, DAEMON, STATEFUL)
        for case in rows(
            obj,
            ({"spec.minReadySeconds": -1}, "spec.minReadySeconds", INVALID, NONNEGATIVE),
            ({"spec.selector": {"matchLabels": {"a": "c"}}}, LABELS, INVALID, MISMATCH),
            (
                {"spec.template.spec.restartPolicy": "Never"},
                "spec.template.spec.restartPolicy",
                NOT_SUPPORTED,
                '"Always"',
            ),
            (
                {"spec.template.spec.activeDeadlineSeconds": 1},
                "spec.template.spec.activeDeadlineSeconds",
                FORBIDDEN,
                "is not Supported",
            ),
            ({"spec.selector": {}}, "spec.selector", INVALID, "empty selector is invalid for"),
        )
    ),
    *(
        case
        for obj in (DEPLOYMENT, SET, STATEFUL)
        for case in rows(obj, ({"spec.selector": None}, "spec.selector", REQUIRED, ""))
    ),
    *(
        case
        for obj in (DEPLOYMENT, SET, STATEFUL, CONTROLLER)
        for case in rows(obj, ({"spec.replicas": -1}, "spec.replicas", INVALID, NONNEGATIVE))
    ),
    *rows(
        DEPLOYMENT,
        ({"spec.revisionHistoryLimit": -1}, "spec.revisionHistoryLimit", INVALID, NONNEGATIVE),
        (
            {"spec.progressDeadlineSeconds": 0},
            "spec.progressDeadlineSeconds",
            INVALID,
            "must be greater than minReadySeconds",
        ),
        ({"spec.strategy.type": "Odd"}, "spec.strategy", NOT_SUPPORTED, '"Recreate", "RollingUpdate"'),
        (
            {"spec.strategy.rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}},
            "spec.strategy.rollingUpdate.maxUnavailable",
            INVALID,
            "may not be 0 when `maxSurge` is 0",
        ),
        (
            {"spec.strategy.rollingUpdate.maxUnavailable": "101%"},
            "spec.strategy.rollingUpdate.maxUnavailable",
            INVALID,
            "must not be greater than 100%",
        ),
    ),
    *rows(
        DAEMON,
        (
            {"spec.updateStrategy.type": "Odd"},
            "spec.updateStrategy",
            NOT_SUPPORTED,
            '"RollingUpdate", "OnDelete"',
        ),
        (
            {ROLL: {"maxUnavailable": 1, "maxSurge": 1}},
            f"{ROLL}.maxSurge",
            INVALID,
            "may not be set when maxUnavailable is non-zero",
        ),
        ({ROLL: {"maxUnavailable": 0}}, f"{ROLL}.maxUnavailable", REQUIRED, "cannot be 0 when maxSurge is 0"),
    ),
    *rows(
        STATEFUL,
        (
            {"spec.podManagementPolicy": "Odd"},
            "spec.podManagementPolicy",
            INVALID,
            "must be 'OrderedReady' or 'Parallel'",
        ),
        (
            {"spec.updateStrategy.type": "Odd"},
            "spec.updateStrategy",
            INVALID,
            "must be 'RollingUpdate' or 'OnDelete'",
        ),
        (
            {"spec.updateStrategy": {"type": "OnDelete", "rollingUpdate": {}}},
            ROLL,
            INVALID,
            "only allowed for updateStrategy",
        ),
        ({f"{ROLL}.partition": -1}, f"{ROLL}.partition", INVALID, NONNEGATIVE),
        (
            {"spec.persistentVolumeClaimRetentionPolicy.whenScaled": "Odd"},
            "spec.persistentVolumeClaimRetentionPolicy.whenScaled",
            NOT_SUPPORTED,
            '"Retain", "Delete"',
        ),
        ({"spec.ordinals.start": -1}, "spec.ordinals.start", INVALID, NONNEGATIVE),
        ({"spec.serviceName": "A"}, "spec.serviceName", INVALID, LABEL),
        (
            {"spec.volumeClaimTemplates": [{"spec": {}}]},
            "spec.volumeClaimTemplates[0].spec.accessModes",
            REQUIRED,
            "",
        ),
    ),
    *rows(CONTROLLER, ({"spec.template": None}, "spec.template", REQUIRED, "")),
    *rows(CONTROLLER, ({"spec.selector": {"a": "c"}}, LABELS, INVALID, MISMATCH)),
    *rows(
        REVISION,
        ({"data": None}, "data", REQUIRED, "data is mandatory"),
        ({"revision": -1}, "revision", INVALID, NONNEGATIVE),
    ),
    *rows(
        NODE,
        ({"spec.podCIDRs": ["a"]}, "spec.podCIDRs[0]", INVALID, "must be a valid CIDR value"),
        ({"spec.podCIDRs": ["10.0.0.0/8"] * 2}, "spec.podCIDRs[1]", DUPLICATE, '"10.0.0.0/8"'),
        (
            {"spec.podCIDRs": ["10.0.0.0/8"] * 2},
            "spec.podCIDRs",
            INVALID,
            "may specify no more than one CIDR for each IP family",
        ),
        ({"spec.taints": [{"key": "a"}]}, "metadata.taints[0].effect", REQUIRED, ""),
        (
            {"spec.taints": [{"key": "a", "effect": "Odd"}]},
            "metadata.taints[0].effect",
            NOT_SUPPORTED,
            '"NoSchedule"',
        ),
        (
            {"spec.taints": [{"key": "a", "value": "a b"}]},
            "metadata.taints[0].value",
            INVALID,
            "a valid label must",
        ),
        (
            {"spec.taints": [{"key": "a", "effect": "NoExecute"}] * 2},
            "metadata.taints[1]",
            DUPLICATE,
            "taints must be unique by key and effect pair",
        ),
        ({"status.capacity": {"pods": "1500m"}}, "status.capacity.pods", INVALID, "must be an integer"),
    ),
    *rows(
        NAMESPACE,
        ({"spec.finalizers": ["odd"]}, "spec.finalizers", INVALID, "neither a standard finalizer name nor"),
    ),
    *rows(
        LEASE,
        ({"spec.leaseDurationSeconds": 0}, "spec.leaseDurationSeconds", INVALID, POSITIVE),
        ({"spec.leaseTransitions": -1}, "spec.leaseTransitions", INVALID, NONNEGATIVE),
    ),
    *rows(
        PRIORITY,
        (
            {"value": 1000000001},
            "value",
            FORBIDDEN,
            "maximum allowed value of a user defined priority is 1000000000",
        ),
        (
            {"metadata.name": "system-x"},
            "metadata.name",
            FORBIDDEN,
            "system-x is not a known system priority class",
        ),
        (
            {"metadata.name": "system-node-critical"},
            "metadata.name",
            FORBIDDEN,
            "PriorityClass must be 2000001000",
        ),
        ({"preemptionPolicy": "Odd"}, "preemptionPolicy", NOT_SUPPORTED, '"PreemptLowerPriority", "Never"'),
    ),
    *rows(
        RUNTIME,
        ({"handler": "A"}, "handler", INVALID, LABEL),
        ({"overhead.podFixed": {"cpu": "-1"}}, "overhead.limits[cpu]", INVALID, NONNEGATIVE),
        (
            {"scheduling.nodeSelector": {"a b": "c"}},
            "scheduling.nodeSelector",
            INVALID,
            "name part must consist of",
        ),
        (
            {"scheduling.tolerations": [{"key": "a"}] * 2},
            "scheduling.tolerations[1]",
            DUPLICATE,
            '{"key":"a"}',
        ),
    ),
    *rows(
        CSR,
        ({"spec.request": "QQ=="}, "spec.request", INVALID, "PEM block type must be CERTIFICATE REQUEST"),
        ({"spec.usages": ["odd"]}, "spec.usages[0]", NOT_SUPPORTED, '"any", "cert sign", "client auth"'),
        ({"spec.signerName": ""}, "spec.signerName", REQUIRED, ""),
        (
            {"spec.signerName": "a"},
            "spec.signerName",
            INVALID,
            "must be a fully qualified domain and path of the form",
        ),
        (
            {"spec.signerName": "A/b"},
            "spec.signerName",
            INVALID,
            'validating label "A": a lowercase RFC 1123',
        ),
        ({"spec.signerName": "a/b"}, "spec.signerName", INVALID, "at least two segments separated by dots"),
        ({"spec.signerName": "a.b/C"}, "spec.signerName", INVALID, 'validating label "C"'),
        (
            {"spec.signerName": "kubernetes.io/legacy-unknown"},
            "spec.signerName",
            INVALID,
            "the legacy signerName is not allowed",
        ),
        ({"spec.usages": ["any", "any"]}, "spec.usages[1]", DUPLICATE, '"any"'),
        (
            {"spec.expirationSeconds": 599},
            "spec.expirationSeconds",
            INVALID,
            "less than 600 seconds (10 minutes)",
        ),
    ),
    *rows(
        SCHEMA,
        ({"spec.matchingPrecedence": -1}, "spec.matchingPrecedence", INVALID, "must be a positive value"),
        (
            {"spec.matchingPrecedence": 10001},
            "spec.matchingPrecedence",
            INVALID,
            "must be a value between 1 and 10000",
        ),
        (
            {"spec.distinguisherMethod.type": "Odd"},
            "spec.distinguisherMethod.type",
            NOT_SUPPORTED,
            '"ByNamespace", "ByUser"',
        ),
        (
            {"spec.priorityLevelConfiguration.name": ""},
            "spec.priorityLevelConfiguration.name",
            REQUIRED,
            "must reference a priority level",
        ),
        ({F: {}}, f"{AT_F}.subjects", REQUIRED, "subjects must contain at least one value"),
        ({F: {}}, AT_F, REQUIRED, "at least one of resourceRules and nonResourceRules has to be non-empty"),
        (
            {f"{F}.subjects": [{"kind": "Odd"}]},
            f"{AT_F}.subjects[0].kind",
            NOT_SUPPORTED,
            '"Group", "ServiceAccount", "User"',
        ),
        (
            {f"{F}.resourceRules": [{}]},
            f"{AT_F}.resourceRules[0].verbs",
            REQUIRED,
            "verbs must contain at least one value",
        ),
        (
            {f"{F}.resourceRules": [{}]},
            f"{AT_F}.resourceRules[0].namespaces",
            REQUIRED,
            "must supply at least one namespace",
        ),
        (
            {f"{F}.nonResourceRules": [{"verbs": ["*", "get"]}]},
            f"{AT_F}.nonResourceRules[0].verbs",
            INVALID,
            "if '*' is present",
        ),
        (
            {f"{F}.nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["a"]}]},
            f"{AT_F}.nonResourceRules[0].nonResourceURLs[0]",
            INVALID,
            "must start with slash",
        ),
    ),
    *rows(
        LEVEL,
        ({"spec.type": "Odd"}, "spec.type", NOT_SUPPORTED, '"Exempt", "Limited"'),
        ({"spec.type": "Exempt"}, "spec.limited", FORBIDDEN, "must be nil if the type is not Limited"),
        ({"spec.limited": None}, "spec.limited", REQUIRED, "must not be empty when type is Limited"),
        (
            {"spec.limited.lendablePercent": 101},
            "spec.limited.lendablePercent",
            INVALID,
            "between 0 and 100, inclusive",
        ),
        (
            {"spec.limited.limitResponse.type": "Odd"},
            "spec.limited.limitResponse.type",
            NOT_SUPPORTED,
            '"Queue", "Reject"',
        ),
        (
            {"spec.limited.limitResponse.type": "Queue"},
            "spec.limited.limitResponse.queuing",
            REQUIRED,
            "must not be empty",
        ),
        (
            {"spec.limited.limitResponse.queuing": {}},
            "spec.limited.limitResponse.queuing",
            FORBIDDEN,
            "must be nil if",
        ),
    ),
    *rows(
        CLAIM,
        ({f"{C}.name": ""}, f"{AT_C}.name", INVALID, LABEL),
        ({f"{C}.name": "A"}, f"{AT_C}.name", INVALID, LABEL),
        (
            {"spec.devices.requests.1": DEVICES["requests"][0]},
            "spec.devices.requests[1]",
            DUPLICATE,
            '"r"',
        ),
        ({C: {"name": "r"}}, AT_C, REQUIRED, "exactly one of `exactly` or `firstAvailable` is required"),
        ({f"{C}.exactly.deviceClassName": ""}, f"{AT_C}.exactly.deviceClassName", REQUIRED, ""),
        (
            {f"{C}.exactly.allocationMode": "Odd"},
            f"{AT_C}.exactly.allocationMode",
            NOT_SUPPORTED,
            '"All", "ExactCount"',
        ),
        ({f"{C}.exactly.count": -1}, f"{AT_C}.exactly.count", INVALID, POSITIVE),
        (
            {"spec.devices.requests": [{}] * 33},
            "spec.devices.requests",
            "FieldValueTooMany",
            "must have at most 32 items",
        ),
    ),
    *rows(
        SLICE,
        ({"spec.driver": ""}, "spec.driver", REQUIRED, ""),
        ({"spec.pool.name": ""}, "spec.pool.name", REQUIRED, ""),
        ({"spec.nodeName": "A"}, "spec.nodeName", INVALID, SUBDOMAIN),
        (
            {"spec.allNodes": None},
            "spec",
            REQUIRED,
            "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDevice",
        ),
        ({"spec.nodeName": "a"}, "spec", INVALID, "is required, but multiple fields are set"),
        ({"spec.devices": [{"name": "A"}]}, "spec.devices[0].name", INVALID, LABEL),
    ),
    *rows(
        HOOK,
        (
            {f"{W}.name": "a.b"},
            f"{AT_W}.name",
            INVALID,
            "should be a domain with at least three segments separated by dots",
        ),
        ({f"{W}.sideEffects": "Some"}, f"{AT_W}.sideEffects", NOT_SUPPORTED, '"None", "NoneOnDryRun"'),
        ({f"{W}.failurePolicy": "Odd"}, f"{AT_W}.failurePolicy", NOT_SUPPORTED, '"Fail", "Ignore"'),
        ({f"{W}.timeoutSeconds": 31}, f"{AT_W}.timeoutSeconds", INVALID, "must be between 1 and 30 seconds"),
        (
            {f"{W}.reinvocationPolicy": "Odd"},
            f"{AT_W}.reinvocationPolicy",
            NOT_SUPPORTED,
            '"IfNeeded", "Never"',
        ),
        (
            {f"{W}.clientConfig": {}},
            f"{AT_W}.clientConfig",
            REQUIRED,
            "exactly one of url or service is required",
        ),
        (
            {f"{W}.clientConfig.url": "http://a"},
            f"{AT_W}.clientConfig.url",
            INVALID,
            "'https' is the only allowed URL scheme",
        ),
        (
            {f"{W}.clientConfig": {"service": {}}},
            f"{AT_W}.clientConfig.service.name",
            REQUIRED,
            "service name is required",
        ),
        ({f"{W}.rules.0.operations": []}, f"{AT_W}.rules[0].operations", REQUIRED, ""),
        (
            {f"{W}.rules.0.operations": ["GET"]},
            f"{AT_W}.rules[0].operations[0]",
            NOT_SUPPORTED,
            '"CONNECT", "CREATE"',
        ),
        (
            {f"{W}.rules.0.apiGroups": ["*", "a"]},
            f"{AT_W}.rules[0].apiGroups",
            INVALID,
            "must not specify other API groups",
        ),
        (
            {f"{W}.rules.0.scope": "Odd"},
            f"{AT_W}.rules[0].scope",
            NOT_SUPPORTED,
            '"*", "Cluster", "Namespaced"',
        ),
        ({f"{W}.matchConditions": [{}]}, f"{AT_W}.matchConditions[0].expression", REQUIRED, ""),
        (
            {f"{W}.admissionReviewVersions": []},
            f"{AT_W}.admissionReviewVersions",
            REQUIRED,
            "must specify one of v1, v1beta1",
        ),
        (
            {f"{W}.admissionReviewVersions": ["v9"]},
            f"{AT_W}.admissionReviewVersions",
            INVALID,
            "at least one of v1, v1beta1",
        ),
    ),
    *rows(
        ADMISSION,
        ({"spec.failurePolicy": "Odd"}, "spec.failurePolicy", NOT_SUPPORTED, '"Fail", "Ignore"'),
        ({"spec.matchConstraints": None}, "spec.matchConstraints", REQUIRED, ""),
        (
            {"spec.matchConstraints.matchPolicy": "Odd"},
            "spec.matchConstraints.matchPolicy",
            NOT_SUPPORTED,
            '"Equivalent", "Exact"',
        ),
        (
            {"spec.validations": []},
            "spec.validations",
            REQUIRED,
            "validations or auditAnnotations must contain at least one",
        ),
        (
            {"spec.validations": [{}]},
            "spec.validations[0].expression",
            REQUIRED,
            "expression is not specified",
        ),
    ),
    *rows(
        BINDING,
        ({"spec.policyName": ""}, "spec.policyName", REQUIRED, ""),
        ({"spec.validationActions": []}, "spec.validationActions", REQUIRED, ""),
        ({"spec.validationActions": ["Deny", "Deny"]}, "spec.validationActions[1]", DUPLICATE, '"Deny"'),
        (
            {"spec.validationActions": ["Deny", "Warn"]},
            "spec.validationActions",
            INVALID,
            "both Deny and Warn",
        ),
        ({"spec.paramRef": {}}, "spec.paramRef", REQUIRED, "one of name or selector must be specified"),
        (
            {"spec.paramRef": {"name": "a", "selector": {}}},
            "spec.paramRef.name",
            FORBIDDEN,
            "are mutually exclusive",
        ),
        (
            {"spec.paramRef": {"name": "a", "parameterNotFoundAction": "Odd"}},
            "spec.paramRef.parameterNotFoundAction",
            NOT_SUPPORTED,
            '"Deny", "Allow"',
        ),
    ),
]


@pytest.mark.parametrize(("obj", "row"), REFUSED, ids=str)
def test_objects_that_break_a_rule_are_refused(obj: Object, row: Row) -> None:
    check_refused(obj, row)


UPDATES = [
    *rows(DEPLOYMENT, ({"spec.selector.matchLabels": {"c": "d"}}, "spec.selector", INVALID, IMMUTABLE)),
    *rows(
        STATEFUL,
        ({"spec.serviceName": "s"}, "spec", FORBIDDEN, "updates to statefulset spec for fields other than"),
    ),
    *rows(REVISION, ({"data": {"a": 2}}, "data", INVALID, IMMUTABLE)),
    *rows(
        NODE,
        (
            {"spec.podCIDRs": ["10.1.0.0/24"]},
            "spec.podCIDRs",
            FORBIDDEN,
            'may not change podCIDR except from ""',
        ),
    ),
    *rows(
        NODE,
        ({"spec.providerID": "q"}, "spec.providerID", FORBIDDEN, 'may not change providerID except from ""'),
    ),
    *rows(PRIORITY, ({"value": 6}, "value", FORBIDDEN, "may not be changed in an update.")),
    *rows(PRIORITY, ({"preemptionPolicy": "Never"}, "preemptionPolicy", INVALID, IMMUTABLE)),
    *rows(RUNTIME, ({"handler": "g"}, "handler", INVALID, IMMUTABLE)),
    *rows(CLAIM, ({f"{C}.name": "s"}, "spec", INVALID, IMMUTABLE)),
    *rows(LEASE, ({"metadata.name": "y"}, "metadata.name", INVALID, IMMUTABLE)),
    *rows(
        LEASE,
        (
            {"metadata.resourceVersion": ""},
            "metadata.resourceVersion",
            INVALID,
            "must be specified for an update",
        ),
    ),
]


@pytest.mark.parametrize(("obj", "row"), UPDATES, ids=str)
def test_what_is_settled_does_not_change(obj: Object, row: Row) -> None:
    check_update_refused(obj, row)


ALL = "cannot be greater than status.replicas"
STATUSES = [
    *(
        case
        for obj in (DEPLOYMENT, SET, STATEFUL, CONTROLLER)
        for case in rows(
            obj,
            ({"status.replicas": -1}, "status.replicas", INVALID, NONNEGATIVE),
            ({"status.readyReplicas": 1}, "status.readyReplicas", INVALID, ALL),
            (
                {"status": {"replicas": 1, "availableReplicas": 1}},
                "status.availableReplicas",
                INVALID,
                "cannot be greater than readyReplicas",
            ),
        )
    ),
    *rows(DAEMON, ({"status.numberReady": -1}, "status.numberReady", INVALID, NONNEGATIVE)),
    *rows(
        NAMESPACE,
        (
            {"status.phase": "Terminating"},
            "status.Phase",
            INVALID,
            "may only be 'Active' if `deletionTimestamp`",
        ),
    ),
]


@pytest.mark.parametrize(("obj", "row"), STATUSES, ids=str)
def test_statuses_that_break_a_rule_are_refused(obj: Object, row: Row) -> None:
    check_status_refused(obj, row)
