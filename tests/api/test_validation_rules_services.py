"""Services, their addresses, and their endpoints in slices and in one piece."""

from __future__ import annotations

import pytest

from api_rules import (
    ABSENT,
    DUPLICATE,
    FORBIDDEN,
    IMMUTABLE,
    INVALID,
    LABEL,
    NOT_SUPPORTED,
    PORT,
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

NET = "networking.k8s.io/v1"
ADDRESS = make(
    NET, "IPAddress", name="10.0.0.1", namespace="", spec={"parentRef": {"resource": "services", "name": "s"}}
)
SERVICE = make("v1", "Service", spec={"ports": [{"port": 80}]})
SLICE = make(
    "discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[{"addresses": ["10.0.0.1"]}]
)
ENDPOINTS = make("v1", "Endpoints", subsets=[{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}])
BALANCED = make(
    "v1", "Service", spec={"type": "LoadBalancer", "ports": [{"port": 80}], "clusterIP": "10.0.0.1"}
)
SOUND = [ADDRESS, SERVICE, SLICE, ENDPOINTS]


@pytest.mark.parametrize("obj", SOUND, ids=lambda obj: str(obj["kind"]))
def test_sound_services_and_endpoints_are_accepted(obj: Object) -> None:
    check_accepted(obj)


PREFIXED = 'must be a domain-prefixed path (such as "acme.io/foo")'
SERVICES = [
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


@pytest.mark.parametrize(("obj", "row"), SERVICES, ids=str)
def test_services_and_endpoints_that_break_a_rule_are_refused(obj: Object, row: Row) -> None:
    check_refused(obj, row)


UPDATES = [
    *rows(SLICE, ({"addressType": "IPv6"}, "addressType", INVALID, IMMUTABLE)),
    *rows(
        BALANCED,
        ({"spec.clusterIPs": ["10.0.0.2"]}, "spec.clusterIPs[0]", INVALID, "may not change once set"),
        ({"spec.clusterIPs": []}, "spec.clusterIPs[0]", INVALID, "primary clusterIP can not be unset"),
        ({"spec.loadBalancerClass": "a"}, "spec.loadBalancerClass", INVALID, "may not change once set"),
    ),
]


@pytest.mark.parametrize(("obj", "row"), UPDATES, ids=str)
def test_what_is_settled_of_services_and_endpoints_does_not_change(obj: Object, row: Row) -> None:
    check_update_refused(obj, row)


INGRESS_STATUS = "status.loadBalancer.ingress"
STATUSES = [
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
def test_statuses_of_services_that_break_a_rule_are_refused(obj: Object, row: Row) -> None:
    check_status_refused(obj, row)
