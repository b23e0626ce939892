"""Containers of pods: images, ports, environment, mounts, probes and hooks, by their place in the pod (core/v1)."""

from __future__ import annotations

import pytest

from api_pods import AT, BLOCK, CONTAINER, DEBUG, INIT, VOLUME, C, device, env, mount, pod
from api_rules import (
    DUPLICATE,
    FORBIDDEN,
    INVALID,
    LABEL,
    NONNEGATIVE,
    NOT_FOUND,
    NOT_SUPPORTED,
    PORT,
    REQUIRED,
    SUBDOMAIN,
    Row,
    Rows,
    check_refused,
)

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
