"""Fields behind features: left out while those are off, and checked where an older server let them in."""

from __future__ import annotations

from typing import Any

import pytest

from api_rules import (
    DUPLICATE,
    FORBIDDEN,
    IMMUTABLE,
    INVALID,
    LABEL,
    REQUIRED,
    SUBDOMAIN,
    TOO_MANY,
    Row,
    check_accepted,
    check_refused,
    check_refused_undefaulted,
    check_status_accepted,
    check_status_refused,
    check_update_accepted,
    check_update_refused,
    created,
    edited,
    make,
)
from coxswain.api import defaults, strategy
from coxswain.api.names import GVK, Object
from coxswain.api.validation.certificates import validate_approval

LEASE = make("coordination.k8s.io/v1", "Lease", spec={"leaseDurationSeconds": 5})
SOURCE = {"kind": "PersistentVolumeClaim", "name": "a"}
CLAIM = make(
    "v1",
    "PersistentVolumeClaim",
    spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
)
NETWORK = make("networking.k8s.io/v1", "ServiceCIDR", namespace="", spec={"cidrs": ["10.0.0.0/24"]})
ADDRESS = make(
    "networking.k8s.io/v1",
    "IPAddress",
    name="10.0.0.1",
    namespace="",
    spec={"parentRef": {"resource": "services", "name": "s", "namespace": "n"}},
)
SLICE = make(
    "discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[{"addresses": ["10.0.0.1"]}]
)


def spec_of(obj: Object, **edits: Any) -> Object:
    found: Object = created(edited(obj, {f"spec.{name}": value for name, value in edits.items()}))["spec"]
    return found


def test_coordinated_leases_are_off() -> None:
    assert "strategy" not in spec_of(LEASE, strategy="OldestEmulationVersion", preferredHolder="h")
    for row in (
        ({"spec.strategy": ""}, "spec.strategy", REQUIRED, ""),
        ({"spec.strategy": "a b"}, "spec.strategy", INVALID, "name part must consist of"),
        ({"spec.preferredHolder": "h"}, "spec.preferredHolder", FORBIDDEN, "if `strategy` is defined"),
    ):
        check_refused_undefaulted(LEASE, row)


def test_a_claim_s_older_source_names_claims_and_snapshots_only() -> None:
    assert "dataSource" not in spec_of(CLAIM, dataSource={"kind": "Pod", "name": "a"})
    assert spec_of(CLAIM, dataSource=SOURCE)["dataSourceRef"] == SOURCE
    populator = {"apiGroup": "e.com", "kind": "Populator", "name": "a"}
    assert spec_of(CLAIM, dataSourceRef=populator)["dataSource"] == populator


def test_sources_in_other_namespaces_are_off() -> None:
    spec = spec_of(CLAIM, dataSource=SOURCE, dataSourceRef={**SOURCE, "namespace": "m"})
    assert spec["dataSource"] == spec["dataSourceRef"] == SOURCE


CLAIMS: list[Row] = [
    (
        {"spec.dataSource": {"kind": "Pod", "name": "a"}},
        "spec.dataSource",
        INVALID,
        "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
    ),
    ({"spec.dataSource": {**SOURCE, "apiGroup": "A"}}, "spec.dataSource.apiGroup", INVALID, SUBDOMAIN),
    ({"spec.dataSourceRef": {**SOURCE, "namespace": "A"}}, "spec.dataSourceRef.namespace", INVALID, LABEL),
    (
        {"spec.dataSource": SOURCE, "spec.dataSourceRef": {**SOURCE, "namespace": "m"}},
        "spec",
        INVALID,
        "may not be specified when dataSourceRef.namespace is specified",
    ),
]


@pytest.mark.parametrize("row", CLAIMS, ids=str)
def test_sources_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused_undefaulted(CLAIM, row)


NETWORKS: list[Row] = [
    ({"spec.cidrs": []}, "spec.cidrs", REQUIRED, "at least one CIDR required"),
    ({"spec.cidrs": ["10.0.0.0/24"] * 3}, "spec.cidrs", INVALID, "may only hold up to 2 values"),
    ({"spec.cidrs": ["x"]}, "spec.cidrs[0]", INVALID, "must be a valid CIDR value"),
    ({"spec.cidrs": ["10.0.0.1/24"]}, "spec.cidrs[0]", INVALID, 'canonical form ("10.0.0.0/24")'),
    ({"spec.cidrs": ["10.0.0.0/24", "10.1.0.0/24"]}, "spec.cidrs", INVALID, "no more than one IP for each"),
]


@pytest.mark.parametrize("row", NETWORKS, ids=str)
def test_service_networks_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(NETWORK, row)


def test_service_networks_stay_and_may_become_dual_stack() -> None:
    check_accepted(NETWORK)
    check_update_accepted(NETWORK, {"spec.cidrs": ["10.0.0.0/24", "fd00::/64"]})
    check_update_refused(NETWORK, ({"spec.cidrs": ["10.1.0.0/24"]}, "spec.cidrs[0]", INVALID, IMMUTABLE))
    check_update_refused(NETWORK, ({"spec.cidrs": []}, "spec.cidrs", INVALID, IMMUTABLE))


def test_an_address_stays_with_its_owner() -> None:
    row = ({"spec.parentRef.name": "t"}, "spec.parentRef", INVALID, IMMUTABLE)
    check_update_refused(ADDRESS, row)


HINTS = "endpoints.0.hints"
ENDPOINTS: list[Row] = [
    ({f"{HINTS}.forNodes": [{"name": "A"}]}, "endpoints[0].hints.forNodes[0].name", INVALID, SUBDOMAIN),
    ({f"{HINTS}.forNodes": [{"name": "a"}] * 2}, "endpoints[0].hints.forNodes[1].name", DUPLICATE, '"a"'),
    ({f"{HINTS}.forZones": [{"name": "a"}] * 9}, "endpoints[0].hints.forZones", TOO_MANY, "8"),
]


@pytest.mark.parametrize("row", ENDPOINTS, ids=str)
def test_hints_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(SLICE, row)


CLASS = make("storage.k8s.io/v1", "StorageClass", namespace="", provisioner="a.b/c")
AT_TERM = "allowedTopologies.matchLabelExpressions"


def term(**requirement: Any) -> Object:
    return {"matchLabelExpressions": [{"key": "k", "values": ["a"], **requirement}]}


TOPOLOGIES: list[Row] = [
    ({"allowedTopologies": [term(key="a b")]}, f"{AT_TERM}[0].key", INVALID, "name part must consist of"),
    ({"allowedTopologies": [term(values=[])]}, f"{AT_TERM}[0].values", REQUIRED, ""),
    ({"allowedTopologies": [term(values=["a", "a"])]}, f"{AT_TERM}[0].values[1]", DUPLICATE, '"a"'),
    ({"allowedTopologies": [term()] * 2}, "allowedTopologies[1].matchLabelExpressions", DUPLICATE, '""'),
]


@pytest.mark.parametrize("row", TOPOLOGIES, ids=str)
def test_topologies_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(CLASS, row)


def test_an_attacher_is_a_driver_s_name() -> None:
    source = {"persistentVolumeName": "p"}
    spec = {"attacher": "a", "nodeName": "n", "source": source}
    attachment = make("storage.k8s.io/v1", "VolumeAttachment", namespace="", spec=spec)
    check_accepted(attachment)
    check_refused(attachment, ({"spec.attacher": "a b"}, "spec.attacher", INVALID, SUBDOMAIN))


def test_a_first_version_autoscaler_is_checked_as_the_second_has_it() -> None:
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "maxReplicas": 3}
    path = "spec.metrics[0].resource.target.averageUtilization"
    row = ({"spec.targetCPUUtilizationPercentage": -1}, path, INVALID, "must be greater than 0")
    check_refused(make("autoscaling/v1", "HorizontalPodAutoscaler", spec=spec), row)


def test_a_level_does_not_borrow_a_negative_share() -> None:
    limited = {"limitResponse": {"type": "Reject"}}
    spec = {"type": "Limited", "limited": limited}
    level = make("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", namespace="", spec=spec)
    path = "spec.limited.borrowingLimitPercent"
    check_refused(level, ({path: -1}, path, INVALID, "must be a non-negative integer"))


@pytest.mark.parametrize(
    ("kind", "path"),
    [("Pod", "spec"), ("PodTemplate", "template.spec"), ("CronJob", "spec.jobTemplate.spec.template.spec")],
)
def test_gangs_and_stop_signals_are_off(kind: str, path: str) -> None:
    container = {"name": "c", "image": "i", "lifecycle": {"stopSignal": "SIGINT"}}
    version = "batch/v1" if kind == "CronJob" else "v1"
    spec = {"containers": [container], "schedulingGroup": {"podGroupName": "g"}}
    found = created(edited(make(version, kind), {path: spec}))
    for name in path.split("."):
        found = found[name]
    assert "schedulingGroup" not in found
    assert "lifecycle" not in found["containers"][0]


def test_older_fields_of_nodes_and_pods_agree_with_newer_ones() -> None:
    node: Object = {"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.1.0.0/24"]}}
    defaults.default(node, GVK("", "v1", "Node"))
    assert node["spec"]["podCIDRs"] == ["10.0.0.0/24"]
    new: Object = {"metadata": {}, "status": {"podIP": "10.0.0.1"}}
    strategy.prepare_for_status_update(new, {"metadata": {}}, GVK("", "v1", "Pod"))
    assert new["status"]["podIPs"] == [{"ip": "10.0.0.1"}]


REQUEST = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KQQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K"
CSR = make(
    "certificates.k8s.io/v1",
    "CertificateSigningRequest",
    namespace="",
    spec={"signerName": "a.b/c", "usages": ["client auth"], "request": REQUEST},
)
APPROVED = {"type": "Approved", "status": "True", "reason": "r"}
DENIED = {"type": "Denied", "status": "True", "reason": "r"}
PEM = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkEKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="


def approval(conditions: list[Object], before: list[Object]) -> list[str]:
    old = {**CSR, "status": {"conditions": before}}
    new = {**CSR, "status": {"conditions": conditions}}
    return [str(error) for error in validate_approval(new, old)]


@pytest.mark.parametrize(
    ("conditions", "before", "words"),
    [
        ([APPROVED, DENIED], [], "Approved and Denied conditions are mutually exclusive"),
        ([], [APPROVED], 'updates may not remove a condition of type "Approved"'),
        ([{**APPROVED, "status": "False"}], [], 'supported values: "True"'),
        ([{"type": "Failed", "status": "True"}], [], 'updates may not add a condition of type "Failed"'),
        ([APPROVED, APPROVED], [], "status.conditions[1].type: Duplicate value"),
        ([{"status": "True"}], [], "status.conditions[0].type: Required value"),
    ],
)
def test_approvals_that_break_a_rule_are_refused(
    conditions: list[Object], before: list[Object], words: str
) -> None:
    assert any(words in found for found in approval(conditions, before))


def test_requests_are_approved() -> None:
    assert approval([APPROVED], []) == []


def test_a_certificate_is_given_once() -> None:
    check_status_accepted(CSR, {"status.certificate": PEM})
    row = (
        {"status.certificate": "eA=="},
        "status.certificate",
        INVALID,
        "must contain at least one CERTIFICATE",
    )
    check_status_refused(CSR, row)
    row = (
        {"status.certificate": PEM},
        "status.certificate",
        FORBIDDEN,
        "may not modify existing certificate",
    )
    check_status_refused(CSR, row, {"certificate": PEM[:-1] + "g"})
    row = (
        {"status.conditions": [APPROVED]},
        "status.conditions",
        FORBIDDEN,
        "may not add a condition of type",
    )
    check_status_refused(CSR, row)


def test_changes_of_a_driver_are_counted_from_the_first() -> None:
    driver = make("storage.k8s.io/v1", "CSIDriver", namespace="", spec={"attachRequired": True})
    old = created(driver)
    assert "generation" not in old["metadata"]
    new = edited(old, {"spec.requiresRepublish": True})
    strategy.prepare_for_update(new, old, GVK.of(driver))
    assert new["metadata"]["generation"] == 1


def test_an_autoscaler_s_name_is_a_subdomain() -> None:
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "maxReplicas": 3}
    autoscaler = make("autoscaling/v2", "HorizontalPodAutoscaler", name="Not_One", spec=spec)
    check_refused(autoscaler, ({}, "metadata.name", INVALID, SUBDOMAIN))
