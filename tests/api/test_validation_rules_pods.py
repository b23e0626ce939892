"""Specs of pods: containers, probes, security, scheduling, DNS, resources, and what a template adds (core/v1)."""

from __future__ import annotations

from typing import Any

import pytest

from api_rules import (
    DUPLICATE,
    FORBIDDEN,
    INVALID,
    LABEL,
    NONNEGATIVE,
    NOT_FOUND,
    NOT_SUPPORTED,
    PORT,
    POSITIVE,
    REQUIRED,
    SUBDOMAIN,
    TOO_LONG,
    Edits,
    Row,
    Rows,
    check_accepted,
    check_refused,
    check_refused_undefaulted,
    make,
)
from coxswain.api.names import Object


def pod(**spec: Any) -> Object:
    return make("v1", "Pod", spec={"containers": [{"name": "c", "image": "i"}], **spec})


C = "spec.containers.0"
AT = "spec.containers[0]"
INIT = "spec.initContainers.0"
DEBUG = "spec.ephemeralContainers.0"
CONTAINER = {"name": "d", "image": "i"}
IDS = "must be between 0 and 2147483647, inclusive"
VOLUME = {"spec.volumes.0": {"name": "v", "emptyDir": {}}}
BLOCK = {"spec.volumes.0": {"name": "v", "persistentVolumeClaim": {"claimName": "p"}}}


def env(source: Object) -> Edits:
    return {f"{C}.env.0": {"name": "A", "valueFrom": source}}


def mount(**fields: Any) -> Edits:
    return {**VOLUME, f"{C}.volumeMounts.0": {"name": "v", "mountPath": "/v", **fields}}


def device(**fields: Any) -> Edits:
    return {**BLOCK, f"{C}.volumeDevices.0": {"name": "v", "devicePath": "/dev/v", **fields}}


ENV = f"{AT}.env[0].valueFrom"
CONTAINERS: Rows = [
    ({f"{C}.name": ""}, f"{AT}.name", REQUIRED, ""),
    ({f"{C}.name": "A"}, f"{AT}.name", INVALID, LABEL),
    (
        {f"{C}.terminationMessagePolicy": "Odd"},
        f"{AT}.terminationMessagePolicy",
        NOT_SUPPORTED,
        '"File", "Fallback',
    ),
    (
        {f"{C}.imagePullPolicy": "Odd"},
        f"{AT}.imagePullPolicy",
        NOT_SUPPORTED,
        '"Always", "IfNotPresent", "Never"',
    ),
    ({f"{C}.image": " i"}, f"{AT}.image", INVALID, "must not have leading or trailing whitespace"),
    # ports
    ({f"{C}.ports": [{}]}, f"{AT}.ports[0].containerPort", REQUIRED, ""),
    ({f"{C}.ports": [{"containerPort": 1, "hostPort": 65536}]}, f"{AT}.ports[0].hostPort", INVALID, PORT),
    (
        {f"{C}.ports": [{"containerPort": 1, "protocol": "X"}]},
        f"{AT}.ports[0].protocol",
        NOT_SUPPORTED,
        '"SCTP", "TCP"',
    ),
    (
        {f"{C}.ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]},
        f"{AT}.ports[1].name",
        DUPLICATE,
        '"a"',
    ),
    *(
        ({f"{C}.ports": [{"containerPort": 1, "name": name}]}, f"{AT}.ports[0].name", INVALID, why)
        for name, why in (
            ("sixteen-letters-x", "must be no more than 15 bytes"),
            ("A", "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
            ("80", "must contain at least one letter (a-z)"),
            ("a--b", "must not contain consecutive hyphens"),
            ("-a", "must not begin or end with a hyphen"),
        )
    ),
    # environment
    ({f"{C}.env": [{"name": ""}]}, f"{AT}.env[0].name", REQUIRED, ""),
    (
        {f"{C}.env": [{"name": "A=B"}]},
        f"{AT}.env[0].name",
        INVALID,
        "a valid environment variable name must consist",
    ),
    (
        env({}),
        ENV,
        INVALID,
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef`",
    ),
    (
        {
            f"{C}.env.0": {
                "name": "A",
                "value": "v",
                "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
            }
        },
        ENV,
        INVALID,
        "may not be specified when `value` is not empty",
    ),
    (
        env({"fieldRef": {"fieldPath": "metadata.name"}, "secretKeyRef": {"name": "s", "key": "k"}}),
        ENV,
        INVALID,
        "may not have more than one field specified at a time",
    ),
    (env({"configMapKeyRef": {"name": "A", "key": "k"}}), f"{ENV}.configMapKeyRef.name", INVALID, SUBDOMAIN),
    (env({"configMapKeyRef": {"name": "a"}}), f"{ENV}.configMapKeyRef.key", REQUIRED, ""),
    (
        env({"secretKeyRef": {"name": "a", "key": "a b"}}),
        f"{ENV}.secretKeyRef.key",
        INVALID,
        "a valid config key must",
    ),
    (
        env({"secretKeyRef": {"name": "a", "key": "..b"}}),
        f"{ENV}.secretKeyRef.key",
        INVALID,
        "must not start with '..'",
    ),
    (env({"fileKeyRef": {}}), f"{ENV}.fileKeyRef.key", REQUIRED, ""),
    (env({"fileKeyRef": {}}), f"{ENV}.fileKeyRef.volumeName", REQUIRED, ""),
    (env({"fileKeyRef": {}}), f"{ENV}.fileKeyRef.path", REQUIRED, ""),
    (
        env({"fileKeyRef": {"key": "K", "volumeName": "v", "path": "../f"}}),
        f"{ENV}.fileKeyRef.path",
        INVALID,
        "must not contain '..'",
    ),
    (
        env({"fileKeyRef": {"key": "K", "volumeName": "v", "path": "f"}}),
        f"{ENV}.fileKeyRef.volumeName",
        NOT_FOUND,
        '"v"',
    ),
    (
        {**BLOCK, **env({"fileKeyRef": {"key": "K", "volumeName": "v", "path": "f"}})},
        f"{ENV}.fileKeyRef.volumeName",
        INVALID,
        "referenced volume must be of type emptyDir",
    ),
    # the pod's own fields
    (env({"fieldRef": {}}), f"{ENV}.fieldRef.fieldPath", REQUIRED, ""),
    (
        env({"fieldRef": {"apiVersion": "v2", "fieldPath": "metadata.name"}}),
        f"{ENV}.fieldRef.fieldPath",
        INVALID,
        "error converting fieldPath: unsupported pod version: v2",
    ),
    (
        env({"fieldRef": {"fieldPath": "spec.odd"}}),
        f"{ENV}.fieldRef.fieldPath",
        INVALID,
        "error converting fieldPath: field label not supported: spec.odd",
    ),
    (
        env({"fieldRef": {"fieldPath": "metadata.name['a']"}}),
        f"{ENV}.fieldRef.fieldPath",
        INVALID,
        "error converting fieldPath: field label does not support subscript: metadata.name",
    ),
    (
        env({"fieldRef": {"fieldPath": "metadata.labels['a b']"}}),
        f"{ENV}.fieldRef",
        INVALID,
        "name part must consist of",
    ),
    (
        env({"fieldRef": {"fieldPath": "metadata.annotations['A B']"}}),
        f"{ENV}.fieldRef",
        INVALID,
        '"a b": name part must',
    ),
    (
        env({"fieldRef": {"fieldPath": "status.phase"}}),
        f"{ENV}.fieldRef.fieldPath",
        NOT_SUPPORTED,
        '"metadata.name"',
    ),
    (env({"resourceFieldRef": {}}), f"{ENV}.resourceFieldRef.resource", REQUIRED, ""),
    (
        env({"resourceFieldRef": {"resource": "limits.gpu"}}),
        f"{ENV}.resourceFieldRef.resource",
        NOT_SUPPORTED,
        'supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory"',
    ),
    (
        env({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}),
        f"{ENV}.resourceFieldRef.divisor",
        INVALID,
        "only divisor's values 1m and 1 are supported with the cpu resource",
    ),
    (
        env({"resourceFieldRef": {"resource": "limits.memory", "divisor": "2"}}),
        f"{ENV}.resourceFieldRef.divisor",
        INVALID,
        "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory",
    ),
    (
        env({"resourceFieldRef": {"resource": "requests.ephemeral-storage", "divisor": "2"}}),
        f"{ENV}.resourceFieldRef.divisor",
        INVALID,
        "are supported with the local ephemeral storage resource",
    ),
    (
        {f"{C}.envFrom": [{"prefix": "A=", "secretRef": {"name": "s"}}]},
        f"{AT}.envFrom[0].prefix",
        INVALID,
        "a valid env",
    ),
    ({f"{C}.envFrom": [{"secretRef": {}}]}, f"{AT}.envFrom[0].secretRef.name", REQUIRED, ""),
    (
        {f"{C}.envFrom": [{"configMapRef": {"name": "A"}}]},
        f"{AT}.envFrom[0].configMapRef.name",
        INVALID,
        SUBDOMAIN,
    ),
    ({f"{C}.envFrom": [{}]}, f"{AT}.envFrom", INVALID, "must specify one of: `configMapRef` or `secretRef`"),
    (
        {f"{C}.envFrom": [{"secretRef": {"name": "s"}, "configMapRef": {"name": "c"}}]},
        f"{AT}.envFrom",
        INVALID,
        "may not have more than one field specified at a time",
    ),
    # mounts and devices; the paths of the finer fields lack the index, as in Kubernetes
    (mount(name=""), f"{AT}.volumeMounts[0].name", REQUIRED, ""),
    (mount(mountPath=""), f"{AT}.volumeMounts[0].mountPath", REQUIRED, ""),
    (
        {**mount(), f"{C}.volumeMounts.1": {"name": "v", "mountPath": "/v"}},
        f"{AT}.volumeMounts[1].mountPath",
        INVALID,
        "must be unique",
    ),
    (mount(subPath="/a"), f"{AT}.volumeMounts.subPath", INVALID, "must be a relative path"),
    (mount(subPath="a/.."), f"{AT}.volumeMounts.subPath", INVALID, "must not contain '..'"),
    (
        mount(subPath="a", subPathExpr="b"),
        f"{AT}.volumeMounts[0].subPathExpr",
        INVALID,
        "are mutually exclusive",
    ),
    (
        mount(mountPropagation="Odd"),
        f"{AT}.volumeMounts.mountPropagation",
        NOT_SUPPORTED,
        '"Bidirectional", "HostTo',
    ),
    (
        mount(mountPropagation="Bidirectional"),
        f"{AT}.volumeMounts.mountPropagation",
        FORBIDDEN,
        "Bidirectional mount propagation is available only to privileged containers",
    ),
    (
        mount(recursiveReadOnly="Odd"),
        f"{AT}.volumeMounts.recursiveReadOnly",
        NOT_SUPPORTED,
        '"Disabled", "Enabled", "If',
    ),
    (
        mount(recursiveReadOnly="Enabled"),
        f"{AT}.volumeMounts.recursiveReadOnly",
        FORBIDDEN,
        "only be specified when readOnly",
    ),
    (
        mount(recursiveReadOnly="Enabled", readOnly=True, mountPropagation="HostToContainer"),
        f"{AT}.volumeMounts.recursiveReadOnly",
        FORBIDDEN,
        "may only be specified when mountPropagation is None or not specified",
    ),
    (device(name=""), f"{AT}.volumeDevices[0].name", REQUIRED, ""),
    (device(name="w"), f"{AT}.volumeDevices[0].name", NOT_FOUND, '"w"'),
    (device(devicePath=""), f"{AT}.volumeDevices[0].devicePath", REQUIRED, ""),
    (
        device(devicePath="/a/../b"),
        f"{AT}.volumeDevices[0].devicePath",
        INVALID,
        "can not contain backsteps ('..')",
    ),
    (
        {**device(), f"{C}.volumeDevices.1": {"name": "v", "devicePath": "/dev/v"}},
        f"{AT}.volumeDevices[1].name",
        INVALID,
        "must be unique",
    ),
    (
        {**device(), f"{C}.volumeDevices.1": {"name": "v", "devicePath": "/dev/v"}},
        f"{AT}.volumeDevices[1].devicePath",
        INVALID,
        "must be unique",
    ),
    (
        {**device(), **VOLUME},
        f"{AT}.volumeDevices[0].name",
        INVALID,
        "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
    ),
    *(
        (
            {**device(), f"{C}.volumeMounts.0": {"name": "v", "mountPath": "/dev/v"}},
            f"{AT}.{field}",
            INVALID,
            why,
        )
        for field, why in (
            ("volumeMounts[0].name", "must not already exist in volumeDevices"),
            ("volumeMounts[0].mountPath", "must not already exist as a path in volumeDevices"),
            ("volumeDevices[0].name", "must not already exist in volumeMounts"),
            ("volumeDevices[0].devicePath", "must not already exist as a path in volumeMounts"),
        )
    ),
    # restarts and resizes
    ({f"{C}.restartPolicy": "Odd"}, f"{AT}.restartPolicy", NOT_SUPPORTED, '"Always", "Never", "OnFailure"'),
    (
        {f"{C}.restartPolicyRules": [{"action": "Restart"}]},
        f"{AT}.restartPolicy",
        REQUIRED,
        "must specify restartPolicy when restart rules are used",
    ),
    ({f"{C}.restartPolicyRules": [{}]}, f"{AT}.restartPolicyRules[0].action", REQUIRED, ""),
    (
        {f"{C}.restartPolicyRules": [{"action": "Odd"}]},
        f"{AT}.restartPolicyRules[0].action",
        NOT_SUPPORTED,
        '"Restart"',
    ),
    (
        {f"{C}.restartPolicyRules": [{"action": "Restart"}]},
        f"{AT}.restartPolicyRules[0].exitCodes",
        REQUIRED,
        "must be spe",
    ),
    (
        {f"{C}.restartPolicyRules": [{"action": "Restart"}] * 21},
        f"{AT}.restartPolicyRules",
        "FieldValueInvalid",
        "at most 20",
    ),
    (
        {f"{C}.restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "Odd", "values": [1]}}]},
        f"{AT}.restartPolicyRules[0].exitCodes.operator",
        NOT_SUPPORTED,
        'supported values: "In", "NotIn"',
    ),
    (
        {f"{C}.resizePolicy": [{"resourceName": "gpu"}]},
        f"{AT}.resizePolicy",
        NOT_SUPPORTED,
        'supported values: "cpu", "memory"',
    ),
    ({f"{C}.resizePolicy": [{"resourceName": "cpu"}]}, f"{AT}.resizePolicy", REQUIRED, ""),
    (
        {f"{C}.resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}] * 2},
        f"{AT}.resizePolicy[1]",
        DUPLICATE,
        '"cpu"',
    ),
    (
        {
            "spec.restartPolicy": "Never",
            f"{C}.resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}],
        },
        f"{AT}.resizePolicy",
        INVALID,
        "must be 'NotRequired' when `restartPolicy` is 'Never'",
    ),
]


@pytest.mark.parametrize("row", CONTAINERS, ids=str)
def test_containers_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(pod(), row)


HOOKS: Rows = [
    ({f"{C}.livenessProbe": {}}, f"{AT}.livenessProbe", REQUIRED, "must specify a handler type"),
    ({f"{C}.readinessProbe": {"exec": {}}}, f"{AT}.readinessProbe.exec.command", REQUIRED, ""),
    ({f"{C}.startupProbe": {"tcpSocket": {"port": 0}}}, f"{AT}.startupProbe.tcpSocket.port", INVALID, PORT),
    ({f"{C}.livenessProbe": {"grpc": {"port": 65536}}}, f"{AT}.livenessProbe.grpc.port", INVALID, PORT),
    (
        {f"{C}.livenessProbe": {"httpGet": {"port": "A"}}},
        f"{AT}.livenessProbe.httpGet.port",
        INVALID,
        "must contain only",
    ),
    (
        {f"{C}.livenessProbe": {"httpGet": {"port": 1, "scheme": "FTP"}}},
        f"{AT}.livenessProbe.httpGet.scheme",
        NOT_SUPPORTED,
        'supported values: "HTTP", "HTTPS"',
    ),
    (
        {f"{C}.livenessProbe": {"httpGet": {"port": 1, "httpHeaders": [{"name": "a b"}]}}},
        f"{AT}.livenessProbe.httpGet.httpHeaders",
        INVALID,
        "a valid HTTP header must consist of alphanumeric characters or '-'",
    ),
    *(
        (
            {f"{C}.livenessProbe": {"tcpSocket": {"port": 1}, field: -1}},
            f"{AT}.livenessProbe.{field}",
            INVALID,
            NONNEGATIVE,
        )
        for field in (
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        )
    ),
    (
        {f"{C}.livenessProbe": {"tcpSocket": {"port": 1}, "successThreshold": 2}},
        f"{AT}.livenessProbe.successThreshold",
        INVALID,
        "must be 1",
    ),
    (
        {f"{C}.livenessProbe": {"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 0}},
        f"{AT}.livenessProbe.terminationGracePeriodSeconds",
        INVALID,
        "must be greater than 0",
    ),
    (
        {f"{C}.readinessProbe": {"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 1}},
        f"{AT}.readinessProbe.terminationGracePeriodSeconds",
        INVALID,
        "must not be set for readinessProbes",
    ),
    ({f"{C}.lifecycle.preStop": {}}, f"{AT}.lifecycle.preStop", REQUIRED, "must specify a handler type"),
    (
        {f"{C}.lifecycle.preStop": {"sleep": {"seconds": 31}}},
        f"{AT}.lifecycle.preStop.sleep",
        INVALID,
        "must be non-negative and less than terminationGracePeriodSeconds (30)",
    ),
    (
        {f"{C}.lifecycle.postStart": {"exec": {"command": ["a"]}, "sleep": {"seconds": 1}}},
        f"{AT}.lifecycle.postStart.sleep",
        FORBIDDEN,
        "may not specify more than 1 handler type",
    ),
]


@pytest.mark.parametrize("row", HOOKS, ids=str)
def test_probes_and_hooks_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(pod(), row)


ONLY_SIDECARS = "may not be set for init containers without restartPolicy=Always"
OTHERS: Rows = [
    ({INIT: {**CONTAINER, "name": "c"}}, "spec.initContainers[0].name", DUPLICATE, '"c"'),
    *(
        ({INIT: {**CONTAINER, field: value}}, f"spec.initContainers[0].{field}", FORBIDDEN, ONLY_SIDECARS)
        for field, value in (
            ("livenessProbe", {"tcpSocket": {"port": 1}}),
            ("lifecycle", {"preStop": {"exec": {"command": ["a"]}}}),
        )
    ),
    (
        {INIT: {**CONTAINER, "restartPolicy": "Always", "livenessProbe": {}}},
        "spec.initContainers[0].livenessProbe",
        REQUIRED,
        "must specify a handler type",
    ),
    ({DEBUG: {**CONTAINER, "name": "c"}}, "spec.ephemeralContainers[0].name", DUPLICATE, '"c"'),
    (
        {DEBUG: {**CONTAINER, "targetContainerName": "x"}},
        "spec.ephemeralContainers[0].targetContainerName",
        NOT_FOUND,
        '"x"',
    ),
    *(
        (
            {DEBUG: {**CONTAINER, field: value}},
            f"spec.ephemeralContainers[0].{field}",
            FORBIDDEN,
            "cannot be set for an Ephemeral",
        )
        for field, value in (
            ("ports", [{"containerPort": 1}]),
            ("resources", {"limits": {"cpu": "1"}}),
            ("livenessProbe", {"tcpSocket": {"port": 1}}),
            ("lifecycle", {"preStop": {"exec": {"command": ["a"]}}}),
        )
    ),
    (
        {**VOLUME, DEBUG: {**CONTAINER, "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "s"}]}},
        "spec.ephemeralContainers[0].volumeMounts[0].subPath",
        FORBIDDEN,
        "cannot be set for an Ephemeral Container",
    ),
    ({DEBUG: CONTAINER}, "spec.ephemeralContainers", FORBIDDEN, "cannot be set on create"),
]


@pytest.mark.parametrize("row", OTHERS, ids=str)
def test_init_and_ephemeral_containers_have_rules_of_their_own(row: Row) -> None:
    check_refused(pod(), row)


P = "spec.securityContext"
S = f"{C}.securityContext"
AT_S = f"{AT}.securityContext"
SECURITY: Rows = [
    *(({f"{P}.{f}": -1}, f"{P}.{f}", INVALID, IDS) for f in ("fsGroup", "runAsUser", "runAsGroup")),
    *(({f"{S}.{f}": -1}, f"{AT_S}.{f}", INVALID, IDS) for f in ("runAsUser", "runAsGroup")),
    ({f"{P}.supplementalGroups": [-1]}, f"{P}.supplementalGroups[0]", INVALID, IDS),
    (
        {f"{P}.fsGroupChangePolicy": "Odd"},
        f"{P}.fsGroupChangePolicy",
        NOT_SUPPORTED,
        '"Always", "OnRootMismatch"',
    ),
    (
        {f"{P}.supplementalGroupsPolicy": "Odd"},
        f"{P}.supplementalGroupsPolicy",
        NOT_SUPPORTED,
        '"Merge", "Strict"',
    ),
    (
        {f"{P}.seLinuxChangePolicy": "Odd"},
        f"{P}.seLinuxChangePolicy",
        NOT_SUPPORTED,
        'supported values: "Recursive"',
    ),
    ({f"{P}.sysctls": [{"value": "1"}]}, f"{P}.sysctls[0].name", REQUIRED, ""),
    (
        {f"{P}.sysctls": [{"name": "A"}]},
        f"{P}.sysctls[0].name",
        INVALID,
        "must have at most 253 characters and match regex",
    ),
    ({f"{P}.sysctls": [{"name": "a.b"}] * 2}, f"{P}.sysctls[1].name", DUPLICATE, '"a.b"'),
    (
        {f"{P}.sysctls": [{"name": "net.a"}], "spec.hostNetwork": True},
        f"{P}.sysctls[0].name",
        INVALID,
        "may not be specified when 'hostNetwork' is true",
    ),
    (
        {f"{P}.sysctls": [{"name": "kernel/sem"}], "spec.hostIPC": True},
        f"{P}.sysctls[0].name",
        INVALID,
        "may not be specified when 'hostIPC' is true",
    ),
    (
        {f"{P}.seccompProfile": {}},
        f"{P}.seccompProfile.type",
        REQUIRED,
        "type is required when seccompProfile is set",
    ),
    (
        {f"{P}.seccompProfile.type": "Odd"},
        f"{P}.seccompProfile.type",
        NOT_SUPPORTED,
        '"Localhost", "RuntimeDefault"',
    ),
    (
        {f"{P}.seccompProfile.type": "Localhost"},
        f"{P}.seccompProfile.localhostProfile",
        REQUIRED,
        "must be set when seccomp type is Localhost",
    ),
    (
        {f"{P}.seccompProfile": {"type": "Localhost", "localhostProfile": "/a"}},
        f"{P}.seccompProfile.localhostProfile",
        INVALID,
        "must be a relative path",
    ),
    (
        {f"{S}.seccompProfile": {"type": "Unconfined", "localhostProfile": "a"}},
        f"{AT_S}.seccompProfile.localhostProfile",
        INVALID,
        '{"Type":"Unconfined","LocalhostProfile":"a"}: can only be set when seccomp type is Localhost',
    ),
    (
        {f"{P}.appArmorProfile": {}},
        f"{P}.appArmorProfile.type",
        REQUIRED,
        "type is required when appArmorProfile is set",
    ),
    (
        {f"{P}.appArmorProfile.type": "Odd"},
        f"{P}.appArmorProfile.type",
        NOT_SUPPORTED,
        '"Localhost", "RuntimeDefault"',
    ),
    *(
        (
            {f"{P}.appArmorProfile": {"type": kind, "localhostProfile": name}},
            f"{P}.appArmorProfile.localhostProfile",
            reason,
            why,
        )
        for kind, name, reason, why in (
            ("Localhost", " ", REQUIRED, "must be set when AppArmor type is Localhost"),
            ("Localhost", " a", INVALID, "must not be padded with whitespace"),
            ("Localhost", "a" * 4096, TOO_LONG, "may not be more than 4095 bytes"),
            ("Unconfined", "a", INVALID, "can only be set when AppArmor type is Localhost"),
        )
    ),
    *(
        ({f"{P}.windowsOptions.{field}": value}, f"{P}.windowsOptions.{field}", INVALID, why)
        for field, value, why in (
            ("gmsaCredentialSpecName", "A", SUBDOMAIN),
            ("gmsaCredentialSpec", "", "gmsaCredentialSpec cannot be an empty string"),
            ("gmsaCredentialSpec", "a" * 65537, "gmsaCredentialSpec size must be under 64 KiB"),
            ("runAsUserName", "", "runAsUserName cannot be an empty string"),
            ("runAsUserName", "a\tb", "runAsUserName cannot contain control characters"),
            ("runAsUserName", "a\\b\\c", "runAsUserName cannot contain more than one backslash"),
            (
                "runAsUserName",
                "a" * 256 + "\\b",
                "runAsUserName's Domain length must be under 256 characters",
            ),
            (
                "runAsUserName",
                "a:b\\c",
                "runAsUserName's Domain doesn't match the NetBios nor the DNS format",
            ),
            ("runAsUserName", "a\\", "runAsUserName's User cannot be empty"),
            (
                "runAsUserName",
                "a" * 105,
                "runAsUserName's User length must not be longer than 104 characters",
            ),
            ("runAsUserName", ". .", "runAsUserName's User cannot contain only periods or spaces"),
            ("runAsUserName", "a@b", "runAsUserName's User cannot contain the following characters:"),
        )
    ),
    ({f"{S}.privileged": True}, f"{AT_S}.privileged", FORBIDDEN, "disallowed by cluster policy"),
    ({f"{S}.procMount": "Odd"}, f"{AT_S}.procMount", NOT_SUPPORTED, '"Default", "Unmasked"'),
    (
        {f"{S}.procMount": "Unmasked"},
        f"{AT_S}.procMount",
        INVALID,
        "`hostUsers` must be false to use `Unmasked`",
    ),
    (
        {S: {"privileged": True, "allowPrivilegeEscalation": False}},
        AT_S,
        INVALID,
        "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
    ),
    (
        {S: {"capabilities": {"add": ["SYS_ADMIN"]}, "allowPrivilegeEscalation": False}},
        AT_S,
        INVALID,
        "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
    ),
    (
        {"spec.shareProcessNamespace": True, "spec.hostPID": True},
        f"{P}.shareProcessNamespace",
        INVALID,
        "ShareProcessNamespace and HostPID cannot both be enabled",
    ),
    (
        {"spec.shareProcessNamespace": True, "spec.hostPID": True, f"{P}.runAsUser": 1},
        f"{P}.shareProcessNamespace",
        INVALID,
        "ShareProcessNamespace and HostPID cannot both be enabled",
    ),
    *(
        (
            {"spec.hostUsers": False, f"spec.{field}": True},
            f"spec.{shown}",
            FORBIDDEN,
            "when `hostUsers` is false",
        )
        for field, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))
    ),
    (
        {f"{P}.windowsOptions.hostProcess": True, f"{S}.windowsOptions.hostProcess": False},
        f"{AT_S}.windowsOptions.hostProcess",
        INVALID,
        "pod hostProcess value must be identical if both are specified, was true",
    ),
    *(
        ({f"{S}.windowsOptions.hostProcess": True, INIT: CONTAINER}, field, reason, why)
        for field, reason, why in (
            (
                "spec",
                INVALID,
                "If pod contains any hostProcess containers then all containers must be HostProcess",
            ),
            (
                "spec.hostNetwork",
                INVALID,
                "hostNetwork must be true if pod contains any hostProcess containers",
            ),
            ("spec", FORBIDDEN, "hostProcess containers are disallowed by cluster policy"),
        )
    ),
]


@pytest.mark.parametrize("row", SECURITY, ids=str)
def test_security_contexts_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(pod(), row)


SECCOMP = "seccomp.security.alpha.kubernetes.io/pod"
APPARMOR = "container.apparmor.security.beta.kubernetes.io"
ANNOTATIONS: Rows = [
    *(
        ({"metadata.annotations": {name: value}}, f"metadata.annotations{shown}", INVALID, why)
        for name, value, shown, why in (
            (
                "kubernetes.io/config.mirror",
                "m",
                "[kubernetes.io/config.mirror]",
                "must set spec.nodeName if mirror",
            ),
            (
                "controller.kubernetes.io/pod-deletion-cost",
                "+1",
                "[controller.kubernetes.io/pod-deletion-cost]",
                "must be a 32bit integer",
            ),
            (SECCOMP, "odd", f".{SECCOMP}", "must be a valid seccomp profile"),
            (SECCOMP, "localhost/../a", f".{SECCOMP}", "must not contain '..'"),
            (f"{APPARMOR}/d", "unconfined", f"[{APPARMOR}/d]", "container not found"),
            (f"{APPARMOR}/c", "odd", f"[{APPARMOR}/c]", 'invalid AppArmor profile name: "odd"'),
        )
    ),
]


@pytest.mark.parametrize("row", ANNOTATIONS, ids=str)
def test_annotations_with_a_meaning_have_rules(row: Row) -> None:
    check_refused(pod(), row)


REQUIRED_TERMS = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED_TERMS = "preferredDuringSchedulingIgnoredDuringExecution"
NODE = "spec.affinity.nodeAffinity"
PEERS = f"spec.affinity.podAffinity.{REQUIRED_TERMS}"
SPREAD = "spec.topologySpreadConstraints.0"
AT_SPREAD = "spec.topologySpreadConstraints[0]"


def node_term(**requirement: Any) -> Edits:
    return {f"{NODE}.{REQUIRED_TERMS}.nodeSelectorTerms.0.matchExpressions.0": requirement}


def node_field(**requirement: Any) -> Edits:
    return {f"{NODE}.{REQUIRED_TERMS}.nodeSelectorTerms.0.matchFields.0": requirement}


def peer(**term: Any) -> Edits:
    return {f"{PEERS}.0": {"topologyKey": "zone", **term}}


def spread(**fields: Any) -> Edits:
    return {SPREAD: {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", **fields}}


TERM = f"{NODE}.{REQUIRED_TERMS}.nodeSelectorTerms[0].matchExpressions[0]"
FIELD = f"{NODE}.{REQUIRED_TERMS}.nodeSelectorTerms[0].matchFields[0]"
LABELLED = {"labelSelector": {"matchLabels": {"a": "b"}}}
SCHEDULING: Rows = [
    ({"spec.nodeSelector": {"a b": "c"}}, "spec.nodeSelector", INVALID, "name part must consist of"),
    (
        {f"{NODE}.{REQUIRED_TERMS}": {}},
        f"{NODE}.{REQUIRED_TERMS}.nodeSelectorTerms",
        REQUIRED,
        "at least one node selector",
    ),
    (
        node_term(key="a", operator="In"),
        f"{TERM}.values",
        REQUIRED,
        "must be specified when `operator` is 'In' or 'NotIn'",
    ),
    (
        node_term(key="a", operator="Exists", values=["b"]),
        f"{TERM}.values",
        FORBIDDEN,
        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
    ),
    (
        node_term(key="a", operator="Gt"),
        f"{TERM}.values",
        REQUIRED,
        "must be specified single value when `operator` is 'Lt'",
    ),
    (node_term(key="a", operator="Odd"), f"{TERM}.operator", INVALID, "not a valid selector operator"),
    (node_term(key="a b", operator="Exists"), f"{TERM}.key", INVALID, "name part must consist of"),
    (
        node_term(key="a", operator="In", values=["a b"]),
        f"{TERM}.values[0]",
        INVALID,
        "a valid label must be an empty",
    ),
    (
        node_field(key="metadata.name", operator="In", values=["a", "b"]),
        f"{FIELD}.values",
        REQUIRED,
        "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
    ),
    (
        node_field(key="metadata.name", operator="Exists"),
        f"{FIELD}.operator",
        INVALID,
        "not a valid selector operator",
    ),
    (
        node_field(key="metadata.uid", operator="In", values=["a"]),
        f"{FIELD}.key",
        INVALID,
        "not a valid field selector key",
    ),
    (node_field(key="metadata.name", operator="In", values=["A"]), f"{FIELD}.values[0]", INVALID, SUBDOMAIN),
    (
        {f"{NODE}.{PREFERRED_TERMS}": [{"weight": 0, "preference": {}}]},
        f"{NODE}.{PREFERRED_TERMS}[0].weight",
        INVALID,
        "must be in the range 1-100",
    ),
    (
        {f"spec.affinity.podAntiAffinity.{PREFERRED_TERMS}": [{"weight": 101, "podAffinityTerm": {}}]},
        f"spec.affinity.podAntiAffinity.{PREFERRED_TERMS}[0].weight",
        INVALID,
        "must be in the range 1-100",
    ),
    (peer(topologyKey=""), f"{PEERS}[0].topologyKey", REQUIRED, "can not be empty"),
    (peer(namespaces=["A"]), f"{PEERS}[0].namespace", INVALID, LABEL),
    (
        peer(labelSelector={"matchExpressions": [{"key": "a", "operator": "In"}]}),
        f"{PEERS}[0].labelSelector.matchExpressions[0].values",
        REQUIRED,
        "must be specified when `operator` is 'In' or 'NotIn'",
    ),
    (
        peer(namespaceSelector={"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}),
        f"{PEERS}[0].namespaceSelector.matchExpressions[0].values",
        FORBIDDEN,
        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
    ),
    (
        peer(matchLabelKeys=["a"]),
        f"{PEERS}[0].matchLabelKeys",
        FORBIDDEN,
        "must not be specified when labelSelector is not set",
    ),
    (
        peer(mismatchLabelKeys=["a b"], **LABELLED),
        f"{PEERS}[0].mismatchLabelKeys[0]",
        INVALID,
        "name part must consist",
    ),
    (
        peer(matchLabelKeys=["z"], mismatchLabelKeys=["z"], **LABELLED),
        f"{PEERS}[0].matchLabelKeys[0]",
        INVALID,
        "exists in both matchLabelKeys and mismatchLabelKeys",
    ),
    (spread(maxSkew=0), f"{AT_SPREAD}.maxSkew", INVALID, POSITIVE),
    (spread(topologyKey=""), f"{AT_SPREAD}.topologyKey", REQUIRED, "can not be empty"),
    (
        spread(whenUnsatisfiable="Odd"),
        f"{AT_SPREAD}.whenUnsatisfiable",
        NOT_SUPPORTED,
        '"DoNotSchedule", "ScheduleAnyway"',
    ),
    (
        {"spec.topologySpreadConstraints": [spread()[SPREAD]] * 2},
        f"{AT_SPREAD}.{{topologyKey, whenUnsatisfiable}}",
        DUPLICATE,
        "{z, DoNotSchedule}",
    ),
    (spread(minDomains=0), f"{AT_SPREAD}.minDomains", INVALID, POSITIVE),
    (
        spread(minDomains=1, whenUnsatisfiable="ScheduleAnyway"),
        f"{AT_SPREAD}.minDomains",
        INVALID,
        "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
    ),
    (spread(nodeTaintsPolicy="Odd"), f"{AT_SPREAD}.nodeTaintsPolicy", NOT_SUPPORTED, '"Honor", "Ignore"'),
    (
        spread(matchLabelKeys=["a"]),
        f"{AT_SPREAD}.matchLabelKeys",
        FORBIDDEN,
        "must not be specified when labelSelector",
    ),
    (
        spread(matchLabelKeys=["a"], **LABELLED),
        f"{AT_SPREAD}.matchLabelKeys[0]",
        INVALID,
        "exists in both matchLabelKeys and labelSelector",
    ),
    *(
        ({"spec.tolerations": [toleration]}, f"spec.tolerations[0].{field}", reason, why)
        for toleration, field, reason, why in (
            ({"key": "a b", "operator": "Exists"}, "key", INVALID, "name part must consist of"),
            ({"value": "a"}, "operator", INVALID, "operator must be Exists when `key` is empty, which means"),
            (
                {"key": "a", "operator": "Exists", "tolerationSeconds": 1},
                "effect",
                INVALID,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            ),
            ({"key": "a", "value": "a b"}, "operator", INVALID, "a valid label must be an empty string"),
            (
                {"key": "a", "operator": "Exists", "value": "b"},
                "operator",
                INVALID,
                "must be empty when `operator` is 'Exists'",
            ),
            ({"key": "a", "operator": "Odd"}, "operator", NOT_SUPPORTED, '"Equal", "Exists"'),
            (
                {"key": "a", "effect": "Odd"},
                "effect",
                NOT_SUPPORTED,
                '"NoSchedule", "PreferNoSchedule", "NoExecute"',
            ),
        )
    ),
    (
        {"spec.schedulingGates": [{"name": "a b"}]},
        "spec.schedulingGates[0]",
        INVALID,
        "name part must consist of",
    ),
    ({"spec.schedulingGates": [{"name": "a"}] * 2}, "spec.schedulingGates[1]", DUPLICATE, '"a"'),
    (
        {"spec.schedulingGates": [{"name": "a"}], "spec.nodeName": "n"},
        "spec.nodeName",
        FORBIDDEN,
        "cannot be set until all schedulingGates have been cleared",
    ),
]


@pytest.mark.parametrize("row", SCHEDULING, ids=str)
def test_wishes_for_nodes_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(pod(), row)


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


R = f"{C}.resources"
AT_R = f"{AT}.resources"
HUGE = "hugepages-2Mi"
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
