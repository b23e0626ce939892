"""Specs of pods as a whole: names, DNS, systems, resources, and what a template adds (core/v1)."""

from __future__ import annotations

import pytest

from api_pods import (
    APPARMOR,
    AT,
    AT_R,
    AT_S,
    CONTAINER,
    HUGE,
    INIT,
    SECCOMP,
    VOLUME,
    C,
    P,
    R,
    S,
    device,
    env,
    mount,
    pod,
)
from api_rules import (
    DUPLICATE,
    FORBIDDEN,
    INVALID,
    LABEL,
    NONNEGATIVE,
    NOT_FOUND,
    NOT_SUPPORTED,
    REQUIRED,
    SUBDOMAIN,
    Edits,
    Row,
    Rows,
    check_accepted,
    check_refused,
    check_refused_undefaulted,
    make,
)

SPECS: Rows = [
    (
        {"spec.dnsPolicy": "Odd"},
        "spec.dnsPolicy",
        NOT_SUPPORTED,
        '"ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"',
    ),
    (
        {"spec.dnsPolicy": "None"},
        "spec.dnsConfig",
        REQUIRED,
        "must provide `dnsConfig` when `dnsPolicy` is None",
    ),
    (
        {"spec.dnsPolicy": "None", "spec.dnsConfig": {}},
        "spec.dnsConfig.nameservers",
        REQUIRED,
        "must provide at least one DNS nameserver when `dnsPolicy` is None",
    ),
    (
        {"spec.dnsConfig.nameservers": ["1.1.1.1"] * 4},
        "spec.dnsConfig.nameservers",
        INVALID,
        "must not have more than 3 nameservers",
    ),
    (
        {"spec.dnsConfig.nameservers": ["a"]},
        "spec.dnsConfig.nameservers[0]",
        INVALID,
        "must be a valid IP address",
    ),
    (
        {"spec.dnsConfig.searches": ["a"] * 33},
        "spec.dnsConfig.searches",
        INVALID,
        "must not have more than 32 search paths",
    ),
    (
        {"spec.dnsConfig.searches": ["a" * 2049]},
        "spec.dnsConfig.searches",
        INVALID,
        "must not have more than 2048 characters",
    ),
    (
        {"spec.dnsConfig.searches": ["-a"]},
        "spec.dnsConfig.searches[0]",
        INVALID,
        "characters, '_', '-' or '.'",
    ),
    ({"spec.dnsConfig.options": [{}]}, "spec.dnsConfig.options[0]", REQUIRED, "must not be empty"),
    (
        {"spec.readinessGates": [{"conditionType": "a b"}]},
        "spec.readinessGates[0].conditionType",
        INVALID,
        "name part must",
    ),
    *(
        ({f"spec.{field}": "A"}, f"spec.{field}", INVALID, SUBDOMAIN)
        for field in (
            "serviceAccountName",
            "nodeName",
            "priorityClassName",
            "runtimeClassName",
            "hostnameOverride",
        )
    ),
    *(({f"spec.{field}": "A"}, f"spec.{field}", INVALID, LABEL) for field in ("hostname", "subdomain")),
    ({"spec.hostnameOverride": "a" * 65}, "spec.hostnameOverride", INVALID, "must be no more than 64 bytes"),
    (
        {"spec.hostnameOverride": "a", "spec.setHostnameAsFQDN": True},
        "spec.hostnameOverride",
        FORBIDDEN,
        "may not be specified when setHostnameAsFQDN is true",
    ),
    (
        {"spec.hostnameOverride": "a", "spec.hostNetwork": True},
        "spec.hostnameOverride",
        FORBIDDEN,
        "may not be specified when hostNetwork is true",
    ),
    (
        {"spec.hostNetwork": True, f"{C}.ports": [{"containerPort": 1, "hostPort": 2}]},
        f"{AT}.ports[0].hostPort",
        INVALID,
        "must match `containerPort` when `hostNetwork` is true",
    ),
    (
        {"spec.activeDeadlineSeconds": 0},
        "spec.activeDeadlineSeconds",
        INVALID,
        "must be between 1 and 2147483647, inclusive",
    ),
    ({"spec.hostAliases": [{"ip": "a"}]}, "spec.hostAliases[0].ip", INVALID, "must be a valid IP address"),
    (
        {"spec.hostAliases": [{"ip": "::1", "hostnames": ["A"]}]},
        "spec.hostAliases[0].hostnames[0]",
        INVALID,
        SUBDOMAIN,
    ),
    (
        {"spec.preemptionPolicy": "Odd"},
        "spec.preemptionPolicy",
        NOT_SUPPORTED,
        '"PreemptLowerPriority", "Never"',
    ),
    ({"spec.overhead": {"cpu": "-1"}}, "spec.overhead.limits[cpu]", INVALID, NONNEGATIVE),
    ({"spec.os": {}}, "spec.os.name", REQUIRED, "cannot be empty"),
    ({"spec.os.name": "odd"}, "spec.os", NOT_SUPPORTED, '"linux", "windows"'),
    *(
        (
            {"spec.os.name": "linux", f"{where}.windowsOptions.runAsUserName": "u"},
            f"{shown}.windowsOptions",
            FORBIDDEN,
            "a linux pod",
        )
        for where, shown in ((P, P), (S, AT_S))
    ),
    *(
        ({"spec.os.name": "windows", **edits}, field, FORBIDDEN, "cannot be set for a windows pod")
        for edits, field in (
            ({"spec.hostPID": True}, "spec.hostPID"),
            ({f"{P}.runAsUser": 1}, f"{P}.runAsUser"),
            ({f"{S}.capabilities": {"add": ["A"]}}, f"{AT_S}.capabilities"),
        )
    ),
    ({"spec.resourceClaims": [{}]}, "spec.resourceClaims[0].name", REQUIRED, ""),
    (
        {"spec.resourceClaims": [{"name": "a"}]},
        "spec.resourceClaims[0]",
        INVALID,
        "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
    ),
    (
        {"spec.resourceClaims": [{"name": "a", "resourceClaimName": "b", "resourceClaimTemplateName": "c"}]},
        "spec.resourceClaims[0]",
        INVALID,
        "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
    ),
    (
        {"spec.resourceClaims": [{"name": "a", "resourceClaimName": "A"}] * 2},
        "spec.resourceClaims[1].name",
        DUPLICATE,
        '"a"',
    ),
    (
        {"spec.resourceClaims": [{"name": "a", "resourceClaimName": "A"}]},
        "spec.resourceClaims[0].resourceClaimName",
        INVALID,
        SUBDOMAIN,
    ),
]


@pytest.mark.parametrize("row", SPECS, ids=str)
def test_specs_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(pod(), row)


RESOURCES: Rows = [
    (
        {f"{R}.limits": {"gpu": "1"}},
        f"{AT_R}.limits[gpu]",
        INVALID,
        "must be a standard resource type or fully qualified",
    ),
    (
        {f"{R}.limits": {"pods": "1"}},
        f"{AT_R}.limits[pods]",
        INVALID,
        "must be a standard resource for containers",
    ),
    (
        {f"{R}.limits": {"requests.a.io/gpu": "1"}},
        f"{AT_R}.limits[requests.a.io/gpu]",
        INVALID,
        "doesn't follow extended resource name standard",
    ),
    ({f"{R}.limits": {"a.io/gpu": "500m"}}, f"{AT_R}.limits[a.io/gpu]", INVALID, "must be an integer"),
    (
        {f"{R}": {"limits": {"a.io/gpu": "2"}, "requests": {"a.io/gpu": "1"}}},
        f"{AT_R}.requests",
        INVALID,
        "must be equal to a.io/gpu limit of 2",
    ),
    (
        {f"{R}.requests": {"a.io/gpu": "1"}},
        f"{AT_R}.limits",
        REQUIRED,
        "Limit must be set for non overcommitable resources",
    ),
    ({f"{R}.limits": {HUGE: "2Mi"}}, AT_R, FORBIDDEN, "HugePages require cpu or memory"),
    (
        {f"{R}.limits": {HUGE: "3Mi", "cpu": "1"}},
        f"{AT_R}.limits[{HUGE}]",
        INVALID,
        f"3Mi is not positive integer multiple of {HUGE}",
    ),
    (
        {f"{R}.claims": [{"name": "a"}]},
        f"{AT_R}.claims[0]",
        NOT_FOUND,
        "must be one of the names in pod.spec.resourceClaims which is empty",
    ),
    ({f"{R}.claims": [{}]}, f"{AT_R}.claims[0]", REQUIRED, ""),
    ({f"{R}.claims": [{"name": "a"}] * 2}, f"{AT_R}.claims[1]", DUPLICATE, '"a"'),
    ({f"{R}.claims": [{"name": "a", "request": "r"}] * 2}, f"{AT_R}.claims[1]", DUPLICATE, '"a/r"'),
    ({f"{R}.claims": [{"name": "a", "request": "R"}]}, f"{AT_R}.claims[0].request", INVALID, LABEL),
    (
        {"spec.resources.claims": [{"name": "a"}]},
        "spec.resources.claims",
        FORBIDDEN,
        "claims may not be set for Resources at pod",
    ),
    (
        {"spec.resources.limits": {"ephemeral-storage": "1"}},
        "spec.resources.limits[ephemeral-storage]",
        NOT_SUPPORTED,
        'supported values: "cpu", "hugepages-", "memory"',
    ),
    (
        {"spec.resources.requests": {"cpu": "1"}, f"{R}.requests": {"cpu": "2"}},
        "spec.resources.requests[cpu]",
        INVALID,
        "must be greater than or equal to aggregate container requests of 2",
    ),
    (
        {"spec.resources.limits": {"cpu": "1"}, f"{R}": {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}},
        "spec.resources.containers[0][cpu].limits",
        INVALID,
        "must be less than or equal to pod limits of 1",
    ),
]


@pytest.mark.parametrize("row", RESOURCES, ids=str)
def test_resources_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(pod(), row)


UNSET: Rows = [
    ({"spec.restartPolicy": ""}, "spec.restartPolicy", REQUIRED, ""),
    ({"spec.dnsPolicy": ""}, "spec.dnsPolicy", REQUIRED, ""),
    ({"spec.terminationGracePeriodSeconds": None}, "spec.terminationGracePeriodSeconds", REQUIRED, ""),
    ({f"{C}.imagePullPolicy": ""}, f"{AT}.imagePullPolicy", REQUIRED, ""),
    ({f"{C}.terminationMessagePolicy": ""}, f"{AT}.terminationMessagePolicy", REQUIRED, ""),
]


@pytest.mark.parametrize("row", UNSET, ids=str)
def test_what_defaulting_fills_in_is_required(row: Row) -> None:
    check_refused_undefaulted(pod(), row)


FINE: list[Edits] = [
    mount(readOnly=True, recursiveReadOnly="Enabled"),
    device(),
    {**VOLUME, **env({"fileKeyRef": {"key": "K", "volumeName": "v", "path": "f"}})},
    env({"fieldRef": {"fieldPath": "metadata.labels['a']"}}),
    env({"resourceFieldRef": {"resource": "limits.hugepages-2Mi", "divisor": "1Mi"}}),
    {f"{C}.readinessProbe": {"grpc": {"port": 1}, "successThreshold": 2}},
    {INIT: {**CONTAINER, "restartPolicy": "Always", "livenessProbe": {"tcpSocket": {"port": 1}}}},
    {"spec.os.name": "windows", f"{P}.windowsOptions.runAsUserName": "NT AUTHORITY\\SYSTEM"},
    {"spec.dnsPolicy": "None", "spec.dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["_tcp.a.", "."]}},
    {f"{R}.limits": {HUGE: "4Mi", "cpu": "1"}},
    {"spec.resources": {"limits": {"cpu": "2"}}, f"{R}": {"limits": {"cpu": "1"}}},
    {
        "metadata.annotations": {
            SECCOMP: "localhost/a",
            f"{APPARMOR}/c": "runtime/default",
            "controller.kubernetes.io/pod-deletion-cost": "-1",
        }
    },
    {P: {"seccompProfile": {"type": "Localhost", "localhostProfile": "a"}, "sysctls": [{"name": "net.a"}]}},
]


@pytest.mark.parametrize("edits", FINE, ids=str)
def test_sound_pods_are_accepted(edits: Edits) -> None:
    check_accepted(pod(), edits)


def test_templates_have_no_ephemeral_containers_and_no_bad_labels() -> None:
    template = make("v1", "PodTemplate", template=pod())
    del template["template"]["metadata"]
    check_accepted(template)
    why = "ephemeral containers not allowed in pod template"
    row: Row = (
        {"template.spec.ephemeralContainers": [CONTAINER]},
        "template.spec.ephemeralContainers",
        FORBIDDEN,
        why,
    )
    check_refused(template, row)
    check_refused(
        template, ({"template.metadata.labels": {"a b": "c"}}, "template.labels", INVALID, "name part")
    )
    mirror = {"kubernetes.io/config.mirror": "m"}
    where = "template.annotations[kubernetes.io/config.mirror]"
    check_refused(
        template, ({"template.metadata.annotations": mirror}, where, INVALID, "must set spec.nodeName")
    )
