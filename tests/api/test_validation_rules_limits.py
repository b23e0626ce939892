"""Autoscalers, budgets, quotas, limits and access rules."""

from __future__ import annotations

import pytest

from api_rules import (
    DUPLICATE,
    FORBIDDEN,
    IMMUTABLE,
    INVALID,
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

RBAC = "rbac.authorization.k8s.io/v1"
TARGET = {"type": "Utilization", "averageUtilization": 80}
SCALER = make(
    "autoscaling/v2",
    "HorizontalPodAutoscaler",
    spec={
        "maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": TARGET}}],
        "behavior": {"scaleUp": {"stabilizationWindowSeconds": 3}},
    },
)
BUDGET = make("policy/v1", "PodDisruptionBudget", spec={"minAvailable": 1})
QUOTA = make("v1", "ResourceQuota", spec={"hard": {"pods": "1"}})
LIMITS = make("v1", "LimitRange", spec={"limits": [{"type": "Container"}]})
CLUSTER_ROLE = make(RBAC, "ClusterRole", namespace="", rules=[])
ROLE = make(RBAC, "Role", rules=[{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}])
BINDING = make(
    RBAC,
    "ClusterRoleBinding",
    namespace="",
    roleRef={"kind": "ClusterRole", "name": "r"},
    subjects=[{"kind": "User", "name": "u"}],
)
SOUND = [SCALER, BUDGET, QUOTA, LIMITS, CLUSTER_ROLE, ROLE, BINDING]


@pytest.mark.parametrize("obj", SOUND, ids=lambda obj: str(obj["kind"]))
def test_sound_limits_and_roles_are_accepted(obj: Object) -> None:
    check_accepted(obj)


METRIC = "spec.metrics.0"
AT_METRIC = "spec.metrics[0]"
UP = "spec.behavior.scaleUp"
LIMIT = "spec.limits.0"
AT_LIMIT = "spec.limits[0]"
SCOPE = "spec.scopeSelector.matchExpressions"
LIMITS_AND_ROLES = [
    *rows(
        SCALER,
        ({"spec.maxReplicas": 0}, "spec.maxReplicas", INVALID, "must be greater than 0"),
        (
            {"spec.minReplicas": 4},
            "spec.maxReplicas",
            INVALID,
            "must be greater than or equal to `minReplicas`",
        ),
        ({"spec.minReplicas": 0}, "spec.minReplicas", INVALID, "must be greater than or equal to 1"),
        ({"spec.scaleTargetRef.kind": ""}, "spec.scaleTargetRef.kind", REQUIRED, ""),
        ({"spec.scaleTargetRef.name": "a/b"}, "spec.scaleTargetRef.name", INVALID, "may not contain '/'"),
        ({f"{METRIC}.type": ""}, f"{AT_METRIC}.type", REQUIRED, "must specify a metric source type"),
        (
            {f"{METRIC}.type": "Odd"},
            f"{AT_METRIC}.type",
            NOT_SUPPORTED,
            '"ContainerResource", "External", "Object", "Pods"',
        ),
        (
            {f"{METRIC}.type": "Pods"},
            f"{AT_METRIC}.pods",
            REQUIRED,
            "must populate information for the given metric",
        ),
        (
            {f"{METRIC}.resource.name": ""},
            f"{AT_METRIC}.resource.name",
            REQUIRED,
            "must specify a resource name",
        ),
        (
            {f"{METRIC}.resource.target": {}},
            f"{AT_METRIC}.resource.target.type",
            REQUIRED,
            "must specify a metric target",
        ),
        (
            {f"{METRIC}.resource.target.type": "Odd"},
            f"{AT_METRIC}.resource.target.type",
            INVALID,
            "must be either Utilization, Value, or AverageValue",
        ),
        (
            {f"{METRIC}.resource.target.averageUtilization": 0},
            f"{AT_METRIC}.resource.target.averageUtilization",
            INVALID,
            "must be greater than 0",
        ),
        (
            {f"{METRIC}.resource.target.averageValue": "0"},
            f"{AT_METRIC}.resource.target.averageValue",
            INVALID,
            "must be positive",
        ),
        (
            {METRIC: {"type": "Pods", "pods": {"metric": {}, "target": TARGET}}},
            f"{AT_METRIC}.pods.metric.name",
            REQUIRED,
            "must specify a metric name",
        ),
        (
            {f"{UP}.stabilizationWindowSeconds": -1},
            f"{UP}.stabilizationWindowSeconds",
            INVALID,
            "than or equal to zero",
        ),
        (
            {f"{UP}.stabilizationWindowSeconds": 3601},
            f"{UP}.stabilizationWindowSeconds",
            INVALID,
            "or equal to 3600",
        ),
        ({f"{UP}.selectPolicy": "Odd"}, f"{UP}.selectPolicy", NOT_SUPPORTED, '"Disabled", "Max", "Min"'),
        ({f"{UP}.policies": []}, f"{UP}.policies", REQUIRED, "must specify at least one Policy"),
        ({f"{UP}.policies": [{"type": "Odd"}]}, f"{UP}.policies[0].type", NOT_SUPPORTED, '"Percent", "Pods"'),
        ({f"{UP}.policies": [{"type": "Pods"}]}, f"{UP}.policies[0].value", INVALID, POSITIVE),
        (
            {f"{UP}.policies": [{"periodSeconds": 1801}]},
            f"{UP}.policies[0].periodSeconds",
            INVALID,
            "or equal to 1800",
        ),
    ),
    *rows(
        BUDGET,
        ({"spec.minAvailable": -1}, "spec.minAvailable", INVALID, NONNEGATIVE),
        (
            {"spec.minAvailable": "a"},
            "spec.minAvailable",
            INVALID,
            "a valid percent string must be a numeric string",
        ),
        ({"spec.minAvailable": "101%"}, "spec.minAvailable", INVALID, "must not be greater than 100%"),
        (
            {"spec.unhealthyPodEvictionPolicy": "Odd"},
            "spec.unhealthyPodEvictionPolicy",
            NOT_SUPPORTED,
            '"AlwaysAllow", "IfHealthyBudget"',
        ),
    ),
    *rows(
        QUOTA,
        ({"spec.hard": {"gpu": "1"}}, "spec.hard[gpu]", INVALID, "must be a standard resource for quota"),
        ({"spec.hard": {"pods": "500m"}}, "spec.hard[pods]", INVALID, "must be an integer"),
        ({"spec.scopes": ["Odd"]}, "spec.scopes", INVALID, "unsupported scope"),
        ({"spec.scopes": ["BestEffort", "NotBestEffort"]}, "spec.scopes", INVALID, "conflicting scopes"),
        (
            {"spec.scopes": ["BestEffort"], "spec.hard": {"cpu": "1", "pods": "1"}},
            "spec.scopes",
            INVALID,
            '["BestEffort"]: unsupported scope applied to resource',
        ),
        (
            {
                SCOPE: [{"scopeName": "PriorityClass", "operator": "Exists"}],
                "spec.hard": {"requests.storage": "1"},
            },
            SCOPE,
            INVALID,
            '{"MatchExpressions":[{"ScopeName":"PriorityClass","Operator":"Exists","Values":null}]}: unsupported scope',
        ),
        (
            {SCOPE: [{"scopeName": n, "operator": "Exists"} for n in ("Terminating", "NotTerminating")]},
            SCOPE,
            INVALID,
            "conflicting scopes",
        ),
        (
            {SCOPE: [{"scopeName": "Odd", "operator": "Exists"}]},
            f"{SCOPE}.scopeName",
            INVALID,
            "unsupported scope",
        ),
        (
            {SCOPE: [{"scopeName": "Terminating", "operator": "In"}]},
            f"{SCOPE}.operator",
            INVALID,
            "must be 'Exists' when scope",
        ),
        (
            {SCOPE: [{"scopeName": "PriorityClass", "operator": "In"}]},
            f"{SCOPE}.values",
            REQUIRED,
            "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
        ),
        (
            {SCOPE: [{"scopeName": "PriorityClass", "operator": "Exists", "values": ["a"]}]},
            f"{SCOPE}.values",
            INVALID,
            "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
        ),
        (
            {SCOPE: [{"scopeName": "PriorityClass", "operator": "Odd"}]},
            f"{SCOPE}.operator",
            INVALID,
            "not a valid selector",
        ),
    ),
    *rows(
        LIMITS,
        (
            {f"{LIMIT}.type": "Odd"},
            f"{AT_LIMIT}.type",
            INVALID,
            "must be a standard limit type or fully qualified",
        ),
        ({"spec.limits.1": {"type": "Container"}}, "spec.limits[1].type", DUPLICATE, '"Container"'),
        (
            {LIMIT: {"type": "Pod", "default": {"cpu": "1"}}},
            f"{AT_LIMIT}.default",
            FORBIDDEN,
            "may not be specified when `type` is 'Pod'",
        ),
        (
            {f"{LIMIT}.type": "PersistentVolumeClaim"},
            f"{AT_LIMIT}.limits",
            REQUIRED,
            "either minimum or maximum storage value is required, but neither was provided",
        ),
        (
            {f"{LIMIT}.min": {"cpu": "2"}, f"{LIMIT}.max": {"cpu": "1"}},
            f"{AT_LIMIT}.min[cpu]",
            INVALID,
            "min value 2 is greater than max value 1",
        ),
        (
            {f"{LIMIT}.maxLimitRequestRatio": {"cpu": "500m"}},
            f"{AT_LIMIT}.maxLimitRequestRatio[cpu]",
            INVALID,
            "is less than 1",
        ),
    ),
    *rows(
        ROLE,
        ({"rules.0.verbs": []}, "rules[0].verbs", REQUIRED, "verbs must contain at least one value"),
        (
            {"rules.0.resources": []},
            "rules[0].resources",
            REQUIRED,
            "resource rules must supply at least one resource",
        ),
        (
            {"rules.0.nonResourceURLs": ["/"]},
            "rules[0].nonResourceURLs",
            INVALID,
            "namespaced rules cannot apply to non-resource URLs",
        ),
        (
            {"rules.0.nonResourceURLs": ["/"]},
            "rules[0].nonResourceURLs",
            INVALID,
            "rules cannot apply to both regular resources and non-resource URLs",
        ),
    ),
    *rows(
        CLUSTER_ROLE,
        (
            {"aggregationRule": {}},
            "aggregationRule.clusterRoleSelectors",
            REQUIRED,
            "at least one clusterRoleSelector required if aggregationRule is non-nil",
        ),
        (
            {"aggregationRule.clusterRoleSelectors": [{"matchLabels": {"a b": "c"}}]},
            "aggregationRule.clusterRoleSelectors[0].matchLabels",
            INVALID,
            "name part must consist of",
        ),
    ),
    *rows(
        BINDING,
        ({"roleRef.kind": "Role"}, "roleRef.kind", NOT_SUPPORTED, 'supported values: "ClusterRole"'),
        ({"roleRef.apiGroup": "a"}, "roleRef.apiGroup", NOT_SUPPORTED, '"rbac.authorization.k8s.io"'),
        ({"roleRef.name": ""}, "roleRef.name", REQUIRED, ""),
        ({"roleRef.name": "a/b"}, "roleRef.name", INVALID, "may not contain '/'"),
        ({"subjects.0.name": ""}, "subjects[0].name", REQUIRED, ""),
        ({"subjects.0.kind": "Odd"}, "subjects[0].kind", NOT_SUPPORTED, '"ServiceAccount", "User", "Group"'),
        ({"subjects.0.apiGroup": "a"}, "subjects[0].apiGroup", NOT_SUPPORTED, '"rbac.authorization.k8s.io"'),
        (
            {"subjects.0.namespace": "n"},
            "subjects[0].namespace",
            FORBIDDEN,
            "may not be specified for User subjects",
        ),
        ({"subjects.0": {"kind": "ServiceAccount", "name": "A"}}, "subjects[0].name", INVALID, SUBDOMAIN),
        ({"subjects.0": {"kind": "ServiceAccount", "name": "a"}}, "subjects[0].namespace", REQUIRED, ""),
        (
            {"subjects.0": {"kind": "ServiceAccount", "apiGroup": "a"}},
            "subjects[0].apiGroup",
            NOT_SUPPORTED,
            '""',
        ),
    ),
]


@pytest.mark.parametrize(("obj", "row"), LIMITS_AND_ROLES, ids=str)
def test_limits_and_roles_that_break_a_rule_are_refused(obj: Object, row: Row) -> None:
    check_refused(obj, row)


UPDATES = [
    *rows(QUOTA, ({"spec.scopes": ["BestEffort"]}, "spec.scopes", INVALID, IMMUTABLE)),
    *rows(BINDING, ({"roleRef.name": "s"}, "roleRef", INVALID, "cannot change roleRef")),
]


@pytest.mark.parametrize(("obj", "row"), UPDATES, ids=str)
def test_what_is_settled_of_limits_and_roles_does_not_change(obj: Object, row: Row) -> None:
    check_update_refused(obj, row)


STATUSES = [
    *rows(BUDGET, ({"status.desiredHealthy": -1}, "status.desiredHealthy", INVALID, NONNEGATIVE)),
    *rows(
        QUOTA,
        ({"status.used": {"gpu": "1"}}, "status.used[gpu]", INVALID, "must be a standard resource for quota"),
    ),
]


@pytest.mark.parametrize(("obj", "row"), STATUSES, ids=str)
def test_statuses_of_limits_that_break_a_rule_are_refused(obj: Object, row: Row) -> None:
    check_status_refused(obj, row)
