"""What pods and containers may do on their node: security contexts, and annotations with a meaning (core/v1)."""

from __future__ import annotations

import pytest

from api_pods import APPARMOR, AT_S, CONTAINER, INIT, SECCOMP, P, S, pod
from api_rules import (
    DUPLICATE,
    FORBIDDEN,
    INVALID,
    NOT_SUPPORTED,
    REQUIRED,
    SUBDOMAIN,
    TOO_LONG,
    Row,
    Rows,
    check_refused,
)

IDS = "must be between 0 and 2147483647, inclusive"
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
