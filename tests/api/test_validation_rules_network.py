"""Rules of traffic: ingresses, their classes, and network policies (networking.k8s.io/v1)."""

from __future__ import annotations

import pytest

from api_rules import (
    ABSENT,
    FORBIDDEN,
    IMMUTABLE,
    INVALID,
    LABEL,
    NOT_SUPPORTED,
    PORT,
    REQUIRED,
    SUBDOMAIN,
    TOO_LONG,
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
SOUND = [CLASS, INGRESS, POLICY]


@pytest.mark.parametrize("obj", SOUND, ids=lambda obj: str(obj["kind"]))
def test_sound_rules_of_traffic_are_accepted(obj: Object) -> None:
    check_accepted(obj)


PATH = "spec.rules.0.http.paths.0"
AT_PATH = "spec.rules[0].http.paths[0]"
PREFIXED = 'must be a domain-prefixed path (such as "acme.io/foo")'
TRAFFIC = [
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
]


@pytest.mark.parametrize(("obj", "row"), TRAFFIC, ids=str)
def test_rules_of_traffic_that_break_a_rule_are_refused(obj: Object, row: Row) -> None:
    check_refused(obj, row)


UPDATES = [
    *rows(CLASS, ({"spec.controller": "c.io/d"}, "spec.controller", INVALID, IMMUTABLE)),
]


@pytest.mark.parametrize(("obj", "row"), UPDATES, ids=str)
def test_what_is_settled_of_rules_of_traffic_does_not_change(obj: Object, row: Row) -> None:
    check_update_refused(obj, row)


INGRESS_STATUS = "status.loadBalancer.ingress"
STATUSES = [
    *rows(
        INGRESS,
        ({INGRESS_STATUS: [{"ip": "a"}]}, f"{INGRESS_STATUS}[0].ip", INVALID, "must be a valid IP address"),
    ),
]


@pytest.mark.parametrize(("obj", "row"), STATUSES, ids=str)
def test_statuses_of_ingresses_that_break_a_rule_are_refused(obj: Object, row: Row) -> None:
    check_status_refused(obj, row)
