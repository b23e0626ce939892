"""Services, endpoints, ingresses, network policies, autoscalers, budgets, quotas and access rules."""

from __future__ import annotations

from typing import Any

import pytest

from api_rules import (
    ABSENT,
    DUPLICATE,
    FORBIDDEN,
    IMMUTABLE,
    INVALID,
    LABEL,
    NONNEGATIVE,
    NOT_SUPPORTED,
    PORT,
    POSITIVE,
    REQUIRED,
    SUBDOMAIN,
    TOO_LONG,
    Row,
    check_accepted,
    check_refused,
    check_status_refused,
    check_update_refused,
    make,
)
from coxswain.api.names import Object

NET = "networking.k8s.io/v1"
RBAC = "rbac.authorization.k8s.io/v1"
CLASS = make(NET, "IngressClass", namespace="", spec={"controller": "a.io/b"})
BACKEND = {"service": {"name": "s", "port": {"number": 80}}}
INGRESS = make(
    NET,
    "Ingress",
    spec={
        "rules": [
            {"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND}]}}
        ]
    },
)
POLICY = make(NET, "NetworkPolicy", spec={"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]})
ADDRESS = make(
    NET, "IPAddress", name="10.0.0.1", namespace="", spec={"parentRef": {"resource": "services", "name": "s"}}
)
SERVICE = make("v1", "Service", spec={"ports": [{"port": 80}]})
SLICE = make(
    "discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[{"addresses": ["10.0.0.1"]}]
)
ENDPOINTS = make("v1", "Endpoints", subsets=[{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}])
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
SOUND = [
    CLASS, INGRESS, POLICY, ADDRESS, SERVICE, SLICE, ENDPOINTS, SCALER, BUDGET, QUOTA, LIMITS, CLUSTER_ROLE, ROLE,
    BINDING,
]  # fmt: skip


@pytest.mark.parametrize("obj", SOUND, ids=lambda obj: str(obj["kind"]))
def test_sound_objects_are_accepted(obj: Object) -> None:
    check_accepted(obj)


PATH = "spec.rules.0.http.paths.0"
AT_PATH = "spec.rules[0].http.paths[0]"
PREFIXED = 'must be a domain-prefixed path (such as "acme.io/foo")'


def rows(obj: Object, *cases: tuple[Any, str, str, str]) -> list[tuple[Object, Row]]:
    return [(obj, case) for case in cases]


NETWORK = [
    *rows(
        INGRESS,
        ({"spec.rules": []}, "spec", INVALID, "either `defaultBackend` or `rules` must be specified"),
        (
            {"spec.rules.0.host": "10.0.0.1"},
            "spec.rules[0].host",
            INVALID,
            "must be a DNS name, not an IP address",
        ),
        (
            {"spec.rules.0.host": "*"},
            "spec.rules[0].host",
            INVALID,
            "a wildcard DNS-1123 subdomain must start with '*.'",
        ),
        ({"spec.rules.0.http.paths": []}, "spec.rules[0].http.paths", REQUIRED, ""),
        ({f"{PATH}.pathType": ABSENT}, f"{AT_PATH}.pathType", REQUIRED, "pathType must be specified"),
        (
            {f"{PATH}.pathType": "Odd"},
            f"{AT_PATH}.pathType",
            NOT_SUPPORTED,
            '"Exact", "ImplementationSpecific", "Prefix"',
        ),
        ({f"{PATH}.path": "a"}, f"{AT_PATH}.path", INVALID, "must be an absolute path"),
        ({f"{PATH}.path": "/a//b"}, f"{AT_PATH}.path", INVALID, "must not contain '//'"),
        ({f"{PATH}.path": "/a/.."}, f"{AT_PATH}.path", INVALID, "cannot end with '/..'"),
        (
            {f"{PATH}.path": "a", f"{PATH}.pathType": "ImplementationSpecific"},
            f"{AT_PATH}.path",
            INVALID,
            "must be an absolute path",
        ),
        ({f"{PATH}.backend": {}}, f"{AT_PATH}.backend", INVALID, "resource or service backend is required"),
        (
            {f"{PATH}.backend.resource": {"kind": "k", "name": "n"}},
            f"{AT_PATH}.backend",
            INVALID,
            "cannot set both resource and service backends",
        ),
        ({f"{PATH}.backend": {"resource": {"kind": "k"}}}, f"{AT_PATH}.backend.resource.name", REQUIRED, ""),
        (
            {f"{PATH}.backend": {"resource": {"apiGroup": "A"}}},
            f"{AT_PATH}.backend.resource.apiGroup",
            INVALID,
            SUBDOMAIN,
        ),
        (
            {f"{PATH}.backend": {"resource": {"kind": "a/b", "name": "n"}}},
            f"{AT_PATH}.backend.resource.kind",
            INVALID,
            "may not contain '/'",
        ),
        ({f"{PATH}.backend.service.name": ""}, f"{AT_PATH}.backend.service.name", REQUIRED, ""),
        (
            {f"{PATH}.backend.service.port": {}},
            f"{AT_PATH}.backend",
            REQUIRED,
            "port name or number is required",
        ),
        (
            {f"{PATH}.backend.service.port.name": "a"},
            f"{AT_PATH}.backend",
            INVALID,
            "cannot set both port name & port number",
        ),
        (
            {f"{PATH}.backend.service.port": {"name": "A"}},
            f"{AT_PATH}.backend.service.port.name",
            INVALID,
            "must contain only alpha-numeric characters",
        ),
        (
            {f"{PATH}.backend.service.port.number": 65536},
            f"{AT_PATH}.backend.service.port.number",
            INVALID,
            PORT,
        ),
        ({"spec.tls": [{"hosts": ["A"]}]}, "spec.tls[0].hosts[0]", INVALID, SUBDOMAIN),
        ({"spec.tls": [{"secretName": "A"}]}, "spec.tls[0].secretName", INVALID, SUBDOMAIN),
        ({"spec.ingressClassName": "A"}, "spec.ingressClassName", INVALID, SUBDOMAIN),
        (
            {"spec.ingressClassName": "a", "metadata.annotations": {"kubernetes.io/ingress.class": "b"}},
            "annotations.kubernetes.io/ingress.class",
            INVALID,
            "must match `ingressClassName` when both are specified",
        ),
    ),
    *rows(
        CLASS,
        ({"spec.controller": ""}, "spec.controller", REQUIRED, ""),
        ({"spec.controller": "a"}, "spec.controller", INVALID, PREFIXED),
        (
            {"spec.controller": "a.io/" + "b" * 250},
            "spec.controller",
            TOO_LONG,
            "may not be more than 250 bytes",
        ),
        ({"spec.parameters": {"name": "n"}}, "spec.parameters.kind", REQUIRED, ""),
        (
            {"spec.parameters": {"kind": "k", "name": "a/b"}},
            "spec.parameters.name",
            INVALID,
            "may not contain '/'",
        ),
        ({"spec.parameters": {"apiGroup": "A"}}, "spec.parameters.apiGroup", INVALID, SUBDOMAIN),
        ({"spec.parameters.scope": "Odd"}, "spec.parameters.scope", NOT_SUPPORTED, '"Cluster", "Namespace"'),
        (
            {"spec.parameters.scope": "Namespace"},
            "spec.parameters.namespace",
            REQUIRED,
            "`parameters.scope` is set to 'Namespace'",
        ),
        (
            {"spec.parameters": {"scope": "Namespace", "namespace": "A"}},
            "spec.parameters.namespace",
            INVALID,
            LABEL,
        ),
        (
            {"spec.parameters.namespace": "n"},
            "spec.parameters.namespace",
            FORBIDDEN,
            "`parameters.scope` is set to 'Cluster'",
        ),
    ),
    *rows(
        POLICY,
        *(
            ({"spec.ingress.0.ports": [port]}, f"spec.ingress[0].ports[0].{field}", reason, why)
            for port, field, reason, why in (
                ({"protocol": "X"}, "protocol", NOT_SUPPORTED, 'supported values: "TCP", "UDP", "SCTP"'),
                ({"port": 0}, "port", INVALID, PORT),
                ({"port": "A"}, "port", INVALID, "must contain only alpha-numeric characters"),
                ({"port": 5, "endPort": 4}, "endPort", INVALID, "must be greater than or equal to `port`"),
                (
                    {"port": "a", "endPort": 4},
                    "endPort",
                    INVALID,
                    "may not be specified when `port` is non-numeric",
                ),
                ({"endPort": 4}, "endPort", INVALID, "may not be specified when `port` is not specified"),
            )
        ),
        *(
            ({"spec.egress": [{"to": [peer]}]}, f"spec.egress[0].to[0]{field}", reason, why)
            for peer, field, reason, why in (
                ({}, "", REQUIRED, "must specify a peer"),
                (
                    {"podSelector": {}, "ipBlock": {"cidr": "::/0"}},
                    "",
                    FORBIDDEN,
                    "may not specify both ipBlock and another peer",
                ),
                ({"ipBlock": {}}, ".ipBlock.cidr", REQUIRED, ""),
                ({"ipBlock": {"cidr": "a"}}, ".ipBlock.cidr", INVALID, "must be a valid CIDR value"),
                (
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["a"]}},
                    ".ipBlock.except[0]",
                    INVALID,
                    "valid CIDR value",
                ),
                (
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}},
                    ".ipBlock.except[0]",
                    INVALID,
                    "must be a strict subset of `cidr`",
                ),
            )
        ),
        (
            {"spec.policyTypes": ["Odd"]},
            "spec.policyTypes[0]",
            NOT_SUPPORTED,
            'supported values: "Ingress", "Egress"',
        ),
        (
            {"spec.policyTypes": ["Ingress"] * 3},
            "spec.policyTypes",
            INVALID,
            "may not specify more than two policyTypes",
        ),
    ),
    *rows(
        ADDRESS,
        ({"metadata.name": "a"}, "metadata.name", INVALID, "must be a valid IP address"),
        ({"spec.parentRef": ABSENT}, "spec.parentRef", REQUIRED, ""),
        ({"spec.parentRef.resource": ""}, "spec.parentRef.resource", REQUIRED, ""),
        ({"spec.parentRef.name": "a/b"}, "spec.parentRef.name", INVALID, "may not contain '/'"),
        ({"spec.parentRef.group": "A"}, "spec.parentRef.group", INVALID, SUBDOMAIN),
    ),
    *rows(
        SERVICE,
        (
            {"spec.type": "Odd"},
            "spec.type",
            NOT_SUPPORTED,
            '"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
        ),
        (
            {"spec.type": "NodePort", "spec.clusterIP": "None"},
            "spec.clusterIPs[0]",
            INVALID,
            "may not be set to 'None' for NodePort services",
        ),
        ({"spec.type": "ExternalName", "spec.externalName": "A"}, "spec.externalName", INVALID, SUBDOMAIN),
        (
            {"spec.type": "ExternalName", "spec.ipFamilies": ["IPv4"]},
            "spec.ipFamilies",
            FORBIDDEN,
            "may not be set for ExternalName services",
        ),
        ({"spec.ports.0.name": "A"}, "spec.ports[0].name", INVALID, LABEL),
        ({"spec.ports.1": {"port": 81}}, "spec.ports[1].name", REQUIRED, ""),
        (
            {"spec.ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]},
            "spec.ports[1].name",
            DUPLICATE,
            '"a"',
        ),
        ({"spec.ports.0.port": 0}, "spec.ports[0].port", INVALID, PORT),
        (
            {"spec.ports.0.targetPort": "A"},
            "spec.ports[0].targetPort",
            INVALID,
            "must contain only alpha-numeric",
        ),
        (
            {"spec.ports.0.appProtocol": "a b"},
            "spec.ports[0].appProtocol",
            INVALID,
            "name part must consist of",
        ),
        (
            {"spec.ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]},
            "spec.ports[1]",
            DUPLICATE,
            '{"Name":"","Protocol":"TCP","AppProtocol":null,"Port":1,"TargetPort":0,"NodePort":0}',
        ),
        (
            {"spec.ports.0.nodePort": 30000},
            "spec.ports[0].nodePort",
            FORBIDDEN,
            "may not be used when `type` is 'ClusterIP'",
        ),
        ({"spec.selector": {"a b": "c"}}, "spec.selector", INVALID, "name part must consist of"),
        ({"spec.sessionAffinity": "Odd"}, "spec.sessionAffinity", NOT_SUPPORTED, '"ClientIP", "None"'),
        (
            {"spec.sessionAffinity": "ClientIP", "spec.sessionAffinityConfig.clientIP.timeoutSeconds": 86401},
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            INVALID,
            "must be greater than 0 and less than 86400",
        ),
        (
            {"spec.clusterIP": "10.0.0.1", "spec.clusterIPs": ["10.0.0.2"]},
            "spec.clusterIPs",
            INVALID,
            "first value must match `clusterIP`",
        ),
        (
            {"spec.clusterIPs": ["10.0.0.1"]},
            "spec.clusterIPs",
            INVALID,
            "must be empty when `clusterIP` is not specified",
        ),
        (
            {"spec.clusterIP": "None", "spec.clusterIPs": ["None", "10.0.0.1"]},
            "spec.clusterIPs",
            INVALID,
            "'None' must be the first and only value",
        ),
        ({"spec.clusterIP": "a"}, "spec.clusterIPs[0]", INVALID, "must be a valid IP address"),
        (
            {"spec.clusterIP": "10.0.0.1", "spec.clusterIPs": ["10.0.0.1", "::1", "::2"]},
            "spec.clusterIPs",
            INVALID,
            "may only hold up to 2 values",
        ),
        (
            {"spec.clusterIP": "10.0.0.1", "spec.clusterIPs": ["10.0.0.1", "10.0.0.2"]},
            "spec.clusterIPs",
            INVALID,
            "may specify no more than one IP for each IP family",
        ),
        (
            {"spec.clusterIP": "10.0.0.1", "spec.ipFamilies": ["IPv6"]},
            "spec.clusterIPs[0]",
            INVALID,
            "expected an IPv6 value as indicated by `ipFamilies[0]`",
        ),
        ({"spec.ipFamilies": ["IPv5"]}, "spec.ipFamilies[0]", NOT_SUPPORTED, '"IPv4", "IPv6"'),
        ({"spec.ipFamilies": ["IPv4", "IPv4"]}, "spec.ipFamilies[1]", DUPLICATE, '"IPv4"'),
        (
            {"spec.ipFamilyPolicy": "Odd"},
            "spec.ipFamilyPolicy",
            NOT_SUPPORTED,
            '"PreferDualStack", "RequireDualStack"',
        ),
        *(
            ({"spec.externalIPs": [address]}, "spec.externalIPs[0]", INVALID, why)
            for address, why in (
                ("a", "must be a valid IP address"),
                ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
                ("127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
                ("169.254.0.1", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
                ("224.0.0.1", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
                ("ff02::1", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
            )
        ),
        (
            {"spec.loadBalancerSourceRanges": ["10.0.0.0/8"]},
            "spec.LoadBalancerSourceRanges",
            FORBIDDEN,
            "may only be used when `type` is 'LoadBalancer'",
        ),
        (
            {"spec.type": "LoadBalancer", "spec.loadBalancerSourceRanges": ["a"]},
            "spec.LoadBalancerSourceRanges[0]",
            INVALID,
            "must be a valid CIDR value",
        ),
        (
            {"metadata.annotations": {"service.beta.kubernetes.io/load-balancer-source-ranges": "a"}},
            "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]",
            FORBIDDEN,
            "may only be used when `type` is 'LoadBalancer'",
        ),
        *(
            (
                {f"spec.{field}": value},
                f"spec.{field}",
                FORBIDDEN,
                "may only be used when `type` is 'LoadBalancer'",
            )
            for field, value in (("allocateLoadBalancerNodePorts", True), ("loadBalancerClass", "a"))
        ),
        (
            {"spec.type": "LoadBalancer", "spec.loadBalancerClass": "a b"},
            "spec.loadBalancerClass",
            INVALID,
            "name part must consist of",
        ),
        (
            {"spec.externalTrafficPolicy": "Local"},
            "spec.externalTrafficPolicy",
            INVALID,
            "may only be set for externally-accessible services",
        ),
        (
            {"spec.type": "NodePort", "spec.externalTrafficPolicy": "Odd"},
            "spec.externalTrafficPolicy",
            NOT_SUPPORTED,
            '"Cluster", "Local"',
        ),
        (
            {"spec.healthCheckNodePort": 30000},
            "spec.healthCheckNodePort",
            INVALID,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ),
        (
            {"spec.internalTrafficPolicy": "Odd"},
            "spec.internalTrafficPolicy",
            NOT_SUPPORTED,
            '"Cluster", "Local"',
        ),
        (
            {"spec.trafficDistribution": "Odd"},
            "spec.trafficDistribution",
            NOT_SUPPORTED,
            '"PreferClose", "PreferSameNode"',
        ),
    ),
    *rows(
        SLICE,
        ({"addressType": ""}, "addressType", REQUIRED, ""),
        ({"addressType": "Odd"}, "addressType", NOT_SUPPORTED, '"FQDN", "IPv4", "IPv6"'),
        (
            {"endpoints.0.addresses": []},
            "endpoints[0].addresses",
            REQUIRED,
            "must contain at least 1 address",
        ),
        (
            {"endpoints.0.addresses": ["10.0.0.1"] * 101},
            "endpoints[0].addresses",
            "FieldValueTooMany",
            "at most 100",
        ),
        ({"endpoints": [{}] * 1001}, "endpoints", "FieldValueTooMany", "must have at most 1000 items"),
        (
            {"endpoints.0.addresses": ["::1"]},
            "endpoints[0].addresses[0]",
            INVALID,
            "must be a valid IPv4 address",
        ),
        (
            {"addressType": "FQDN", "endpoints.0.addresses": ["A"]},
            "endpoints[0].addresses[0]",
            INVALID,
            SUBDOMAIN,
        ),
        ({"endpoints.0.nodeName": "A"}, "endpoints[0].nodeName", INVALID, SUBDOMAIN),
        ({"endpoints.0.hostname": "A"}, "endpoints[0].hostname", INVALID, LABEL),
        (
            {"endpoints.0.hints.forZones": [{"name": "z"}] * 2},
            "endpoints[0].hints.forZones[1].name",
            DUPLICATE,
            '"z"',
        ),
        ({"ports": [{"name": "A"}]}, "ports[0].name", INVALID, LABEL),
        ({"ports": [{"name": "a"}] * 2}, "ports[1].name", DUPLICATE, '"a"'),
        ({"ports": [{"port": 0}]}, "ports[0].port", INVALID, PORT),
        ({"ports": [{"protocol": "X"}]}, "ports[0].protocol", NOT_SUPPORTED, '"SCTP", "TCP", "UDP"'),
        ({"ports": [{"appProtocol": "a b"}]}, "ports[0].appProtocol", INVALID, "name part must consist of"),
    ),
    *rows(
        ENDPOINTS,
        ({"subsets": [{}]}, "subsets[0]", REQUIRED, "must specify `addresses` or `notReadyAddresses`"),
        (
            {"subsets.0.addresses": [{"ip": "a"}]},
            "subsets[0].addresses[0].ip",
            INVALID,
            "must be a valid IP address",
        ),
        (
            {"subsets.0.addresses": [{"ip": "127.0.0.1"}]},
            "subsets[0].addresses[0].ip",
            INVALID,
            "loopback range",
        ),
        ({"subsets.0.addresses.0.hostname": "A"}, "subsets[0].addresses[0].hostname", INVALID, LABEL),
        ({"subsets.0.addresses.0.nodeName": "A"}, "subsets[0].addresses[0].nodeName", INVALID, SUBDOMAIN),
        ({"subsets.0.ports": [{"port": 1}, {"port": 2}]}, "subsets[0].ports[0].name", REQUIRED, ""),
        ({"subsets.0.ports.0.name": "A"}, "subsets[0].ports[0].name", INVALID, LABEL),
        (
            {"subsets.0.ports.0.protocol": "X"},
            "subsets[0].ports[0].protocol",
            NOT_SUPPORTED,
            '"SCTP", "TCP", "UDP"',
        ),
        ({"subsets.0.ports.0.port": 0}, "subsets[0].ports[0].port", INVALID, PORT),
    ),
]


@pytest.mark.parametrize(("obj", "row"), NETWORK, ids=str)
def test_networking_that_breaks_a_rule_is_refused(obj: Object, row: Row) -> None:
    check_refused(obj, row)


METRIC = "spec.metrics.0"
AT_METRIC = "spec.metrics[0]"
UP = "spec.behavior.scaleUp"
LIMIT = "spec.limits.0"
AT_LIMIT = "spec.limits[0]"
SCOPE = "spec.scopeSelector.matchExpressions"
OTHERS = [
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


@pytest.mark.parametrize(("obj", "row"), OTHERS, ids=str)
def test_limits_and_access_that_break_a_rule_are_refused(obj: Object, row: Row) -> None:
    check_refused(obj, row)


BALANCED = make(
    "v1", "Service", spec={"type": "LoadBalancer", "ports": [{"port": 80}], "clusterIP": "10.0.0.1"}
)
UPDATES = [
    *rows(CLASS, ({"spec.controller": "c.io/d"}, "spec.controller", INVALID, IMMUTABLE)),
    *rows(SLICE, ({"addressType": "IPv6"}, "addressType", INVALID, IMMUTABLE)),
    *rows(QUOTA, ({"spec.scopes": ["BestEffort"]}, "spec.scopes", INVALID, IMMUTABLE)),
    *rows(BINDING, ({"roleRef.name": "s"}, "roleRef", INVALID, "cannot change roleRef")),
    *rows(
        BALANCED,
        ({"spec.clusterIPs": ["10.0.0.2"]}, "spec.clusterIPs[0]", INVALID, "may not change once set"),
        ({"spec.clusterIPs": []}, "spec.clusterIPs[0]", INVALID, "primary clusterIP can not be unset"),
        ({"spec.loadBalancerClass": "a"}, "spec.loadBalancerClass", INVALID, "may not change once set"),
    ),
]


@pytest.mark.parametrize(("obj", "row"), UPDATES, ids=str)
def test_what_is_settled_does_not_change(obj: Object, row: Row) -> None:
    check_update_refused(obj, row)


INGRESS_STATUS = "status.loadBalancer.ingress"
STATUSES = [
    *rows(BUDGET, ({"status.desiredHealthy": -1}, "status.desiredHealthy", INVALID, NONNEGATIVE)),
    *rows(
        QUOTA,
        ({"status.used": {"gpu": "1"}}, "status.used[gpu]", INVALID, "must be a standard resource for quota"),
    ),
    *rows(
        INGRESS,
        ({INGRESS_STATUS: [{"ip": "a"}]}, f"{INGRESS_STATUS}[0].ip", INVALID, "must be a valid IP address"),
    ),
    *rows(
        SERVICE,
        (
            {INGRESS_STATUS: [{}]},
            INGRESS_STATUS,
            FORBIDDEN,
            "only be used when `spec.type` is 'LoadBalancer'",
        ),
    ),
    *rows(
        BALANCED,
        (
            {INGRESS_STATUS: [{"ipMode": "VIP"}]},
            f"{INGRESS_STATUS}[0].ipMode",
            FORBIDDEN,
            "when `ip` is not set",
        ),
        (
            {INGRESS_STATUS: [{"ip": "1.1.1.1", "ipMode": "X"}]},
            f"{INGRESS_STATUS}[0].ipMode",
            NOT_SUPPORTED,
            '"Proxy", "VIP"',
        ),
        ({INGRESS_STATUS: [{"hostname": "A"}]}, f"{INGRESS_STATUS}[0].hostname", INVALID, SUBDOMAIN),
        (
            {INGRESS_STATUS: [{"hostname": "1.1.1.1"}]},
            f"{INGRESS_STATUS}[0].hostname",
            INVALID,
            "not an IP address",
        ),
    ),
]


@pytest.mark.parametrize(("obj", "row"), STATUSES, ids=str)
def test_statuses_that_break_a_rule_are_refused(obj: Object, row: Row) -> None:
    check_status_refused(obj, row)
