"""How pods may change, what their statuses and events may say, registered APIs, config maps and secrets."""

from __future__ import annotations

from typing import Any

import pytest

from api_rules import (
    ABSENT,
    DUPLICATE,
    FORBIDDEN,
    IMMUTABLE,
    INVALID,
    REQUIRED,
    TOO_LONG,
    Row,
    Rows,
    check_accepted,
    check_refused,
    check_status_refused,
    check_update_accepted,
    check_update_refused,
    make,
)
from coxswain.api.names import Object


def pod(**spec: Any) -> Object:
    return make("v1", "Pod", spec={"containers": [{"name": "c", "image": "i"}], **spec})


C = "spec.containers"
TOLERATED = [{"key": "a", "operator": "Exists"}]
UPDATES: Rows = [
    ({f"{C}.1": {"name": "d", "image": "i"}}, C, FORBIDDEN, "pod updates may not add or remove containers"),
    ({f"{C}.0.image": ""}, f"{C}[0].image", REQUIRED, ""),
    ({"spec.hostname": "h"}, "spec", FORBIDDEN, "pod updates may not change fields other than"),
    (
        {"spec.activeDeadlineSeconds": 11},
        "spec.activeDeadlineSeconds",
        INVALID,
        "less than or equal to previous value",
    ),
    (
        {"spec.activeDeadlineSeconds": -1},
        "spec.activeDeadlineSeconds",
        INVALID,
        "must be between 0 and 2147483647",
    ),
    (
        {"spec.activeDeadlineSeconds": ABSENT},
        "spec.activeDeadlineSeconds",
        INVALID,
        "positive integer to nil value",
    ),
    (
        {"spec.tolerations": []},
        "spec.tolerations",
        FORBIDDEN,
        "existing toleration can not be modified except its",
    ),
    (
        {"spec.schedulingGates": [{"name": "g"}]},
        "spec.schedulingGates[0].name",
        FORBIDDEN,
        "only deletion is allowed",
    ),
    (
        {"metadata.annotations": {"kubernetes.io/config.mirror": "m"}, "spec.nodeName": "n"},
        "metadata.annotations[kubernetes.io/config.mirror]",
        FORBIDDEN,
        "may not add mirror pod annotation",
    ),
]


@pytest.mark.parametrize("row", UPDATES, ids=str)
def test_little_of_a_pod_may_change(row: Row) -> None:
    check_update_refused(pod(activeDeadlineSeconds=10, tolerations=TOLERATED), row)


def test_a_gated_pod_may_get_stricter_about_its_nodes() -> None:
    gated = pod(schedulingGates=[{"name": "g"}], nodeSelector={"a": "b"})
    check_update_accepted(gated, {"spec.nodeSelector": {"a": "b", "c": "d"}})
    check_update_accepted(gated, {"spec.schedulingGates": ABSENT})
    row: Row = (
        {"spec.nodeSelector": {"a": "x"}},
        "spec.nodeSelector",
        INVALID,
        "only additions to spec.nodeSelector",
    )
    check_update_refused(gated, row)


ENDED = {
    "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 0}}}],
    "qosClass": "BestEffort",
}
STATUSES: Rows = [
    ({"status.podIPs": [{"ip": "a"}]}, "status.podIPs[0]", INVALID, "must be a valid IP address"),
    ({"status.qosClass": "Burstable"}, "status.qosClass", INVALID, IMMUTABLE),
    ({"status.hostIPs": [{"ip": "::1"}]}, "status.hostIPs[0].ip", INVALID, "must be equal to `hostIP`"),
    (
        {"status.nominatedNodeName": "A"},
        "status.nominatedNodeName",
        INVALID,
        "a lowercase RFC 1123 subdomain",
    ),
    ({"spec.nodeName": "n"}, "status.nodeName", FORBIDDEN, "may not be changed directly"),
    (
        {"status.containerStatuses.0.state": {"running": {}}},
        "status.containerStatuses[0].state",
        FORBIDDEN,
        "may not be transitioned to non-terminated state",
    ),
    ({"status.podIPs": [{"ip": "::1"}, {"ip": "::1"}]}, "status.podIPs[1]", DUPLICATE, '{"ip":"::1"}'),
]


@pytest.mark.parametrize("row", STATUSES, ids=str)
def test_statuses_of_pods_that_break_a_rule_are_refused(row: Row) -> None:
    check_status_refused(pod(restartPolicy="Never"), row, ENDED)


OLD_EVENT = make("v1", "Event", involvedObject={"namespace": "n"})
EVENT = make(
    "events.k8s.io/v1",
    "Event",
    regarding={"namespace": "n"},
    eventTime="2026-01-01T00:00:00.000000Z",
    reportingController="a.b/c",
    reportingInstance="i",
    action="A",
    reason="R",
    type="Normal",
)
SECRET, CONFIG = make("v1", "Secret"), make("v1", "ConfigMap", data={"k": "v"}, immutable=True)
API = make(
    "apiregistration.k8s.io/v1",
    "APIService",
    name="v1.a.b",
    namespace="",
    spec={"version": "v1", "group": "a.b", "groupPriorityMinimum": 1, "versionPriority": 1},
)
BIG = "v" * (1024 * 1024 + 1)
OTHERS: list[tuple[Object, Row]] = [
    (
        OLD_EVENT,
        (
            {"involvedObject.namespace": "m"},
            "involvedObject.namespace",
            INVALID,
            "does not match event.namespace",
        ),
    ),
    *(
        (EVENT, ({field: ""}, field, REQUIRED, ""))
        for field in ("reportingController", "reportingInstance", "action", "reason")
    ),
    (EVENT, ({"reason": "R" * 129}, "reason", INVALID, "can have at most 128 characters")),
    (EVENT, ({"note": "n" * 1025}, "message", INVALID, "can have at most 1024 characters")),
    (EVENT, ({"type": "Odd"}, "type", INVALID, '"": has invalid value: Odd')),
    (EVENT, ({"eventTime": None}, "eventTime", REQUIRED, "")),
    (EVENT, ({"series": {"count": 1}}, "series.count", INVALID, "should be at least 2")),
    (EVENT, ({"series": {"count": 2}}, "series.lastObservedTime", REQUIRED, "")),
    (EVENT, ({"deprecatedCount": 2}, "count", INVALID, "needs to be unset")),
    (
        API,
        (
            {"metadata.name": "v2.a.b"},
            "metadata.name",
            INVALID,
            'must be `spec.version+"."+spec.group`: "v1.a.b"',
        ),
    ),
    (
        API,
        (
            {"spec.groupPriorityMinimum": 0},
            "spec.groupPriorityMinimum",
            INVALID,
            "must be positive and less than 20000",
        ),
    ),
    (
        API,
        ({"spec.versionPriority": 0}, "spec.versionPriority", INVALID, "must be positive and less than 1000"),
    ),
    (
        API,
        (
            {"spec.insecureSkipTLSVerify": True},
            "spec.insecureSkipTLSVerify",
            INVALID,
            "local APIServices may not have insecureSkipTLSVerify",
        ),
    ),
    (API, ({"spec.caBundle": "YWJj"}, "spec.caBundle", INVALID, '"3 bytes": local APIServices may not have')),
    (API, ({"spec.group": "A"}, "spec.group", INVALID, "a lowercase RFC 1123 subdomain")),
    (API, ({"spec.group": ""}, "metadata.name", INVALID, 'must be `spec.version+"."+spec.group`: "v1."')),
    (API, ({"spec.version": "1"}, "spec.version", INVALID, "a DNS-1035 label")),
    (
        API,
        (
            {"spec.service": {"namespace": "n", "name": "s", "port": 70000}},
            "spec.service.port",
            INVALID,
            "port is not valid: must be between 1 and 65535, inclusive",
        ),
    ),
    (API, ({"spec.service": {}}, "spec.service.name", REQUIRED, "")),
    (CONFIG, ({"data": {"a b": ""}}, "data[a b]", INVALID, "a valid config key must consist of")),
    (CONFIG, ({"binaryData": {"k": ""}}, "data[k]", INVALID, "duplicate of key present in binaryData")),
    (CONFIG, ({"data": {"k": BIG}}, "", TOO_LONG, "may not be more than 1048576 bytes")),
    (SECRET, ({"type": "kubernetes.io/ssh-auth"}, "data[ssh-privatekey]", REQUIRED, "")),
    (SECRET, ({"type": "kubernetes.io/basic-auth"}, "data[username]", REQUIRED, "")),
    (SECRET, ({"type": "kubernetes.io/dockercfg"}, "data[.dockercfg]", REQUIRED, "")),
    (
        SECRET,
        (
            {"type": "kubernetes.io/service-account-token"},
            "metadata.annotations[kubernetes.io/service-account.name]",
            REQUIRED,
            "",
        ),
    ),
]


@pytest.mark.parametrize(("obj", "row"), OTHERS, ids=lambda value: str(value)[:80])
def test_objects_that_break_a_rule_are_refused(obj: Object, row: Row) -> None:
    check_refused(obj, row)


@pytest.mark.parametrize("obj", [OLD_EVENT, EVENT, API, SECRET, CONFIG], ids=lambda obj: str(obj["kind"]))
def test_sound_objects_are_accepted(obj: Object) -> None:
    check_accepted(obj)


def test_what_is_immutable_stays() -> None:
    frozen = "field is immutable when `immutable` is set"
    check_update_refused(CONFIG, ({"data": {"k": "w"}}, "data", FORBIDDEN, frozen))
    check_update_refused(CONFIG, ({"immutable": False}, "immutable", FORBIDDEN, frozen))
    check_update_refused(SECRET, ({"type": "a"}, "type", INVALID, IMMUTABLE))
    check_update_refused(EVENT, ({"action": "B"}, "action", INVALID, IMMUTABLE))
