"""Dynamic resource allocation: claims and their status, classes, slices."""

from __future__ import annotations

from typing import Any

import pytest

from api_rules import (
    DUPLICATE,
    FORBIDDEN,
    IMMUTABLE,
    INVALID,
    LABEL,
    NOT_SUPPORTED,
    REQUIRED,
    SUBDOMAIN,
    TOO_LONG,
    TOO_MANY,
    Row,
    check_accepted,
    check_refused,
    check_status_accepted,
    check_status_refused,
    check_update_accepted,
    check_update_refused,
    created,
    make,
)
from coxswain.api.names import Object

API = "resource.k8s.io/v1"
DEVICE = {"name": "d"}
POOL = {"name": "p", "generation": 1, "resourceSliceCount": 1}
SLICE = make(
    API,
    "ResourceSlice",
    namespace="",
    spec={"driver": "dra.example.com", "pool": POOL, "nodeName": "n", "devices": [DEVICE]},
)
REQUESTS = [
    {"name": "r", "exactly": {"deviceClassName": "c"}},
    {"name": "s", "firstAvailable": [{"name": "a", "deviceClassName": "c"}]},
]
CLAIM = make(API, "ResourceClaim", spec={"devices": {"requests": REQUESTS}})
TEMPLATE = make(API, "ResourceClaimTemplate", spec={"spec": CLAIM["spec"]})
CLASS = make(API, "DeviceClass", namespace="", spec={})
D, AT = "spec.devices.0", "spec.devices[0]"
CAPACITY = {"value": "10Gi", "requestPolicy": {"default": "1Gi"}}
SHARED = {f"{D}.allowMultipleAllocations": True}


def policy(**fields: Any) -> Object:
    return {
        **SHARED,
        f"{D}.capacity": {"memory": {"value": "10Gi", "requestPolicy": {"default": "1Gi", **fields}}},
    }


AT_POLICY = f"{AT}.capacity[memory].requestPolicy"

SLICES: list[Row] = [
    ({"spec.driver": ""}, "spec.driver", REQUIRED, ""),
    ({"spec.driver": "a" * 64}, "spec.driver", TOO_LONG, "63"),
    ({"spec.driver": "-"}, "spec.driver", INVALID, SUBDOMAIN),
    ({"spec.pool.name": ""}, "spec.pool.name", REQUIRED, ""),
    ({"spec.pool.name": "a/B"}, "spec.pool.name", INVALID, SUBDOMAIN),
    ({"spec.pool.resourceSliceCount": 0}, "spec.pool.resourceSliceCount", INVALID, "greater than zero"),
    ({"spec.pool.generation": -1}, "spec.pool.generation", INVALID, "greater than or equal to zero"),
    ({"spec.nodeName": ""}, "spec.nodeName", INVALID, "non-empty string"),
    ({"spec.allNodes": True}, "spec", INVALID, "{`nodeName`, `allNodes`}"),
    ({"spec.sharedCounters": []}, "spec", INVALID, "only one of `sharedCounters` or `devices` is allowed"),
    ({"spec.devices": [{"name": f"d{n}"} for n in range(129)]}, "spec.devices", TOO_MANY, "128"),
    ({"spec.devices.1": DEVICE}, "spec.devices[1]", DUPLICATE, '"d"'),
    ({f"{D}.name": "D"}, f"{AT}.name", INVALID, LABEL),
    ({f"{D}.attributes": {"a-b": {"int": 1}}}, f"{AT}.attributes", INVALID, "a valid C identifier"),
    ({f"{D}.attributes": {"/b": {"int": 1}}}, f"{AT}.attributes", INVALID, "the domain must not be empty"),
    ({f"{D}.attributes": {"a/b/c": {"int": 1}}}, f"{AT}.attributes", INVALID, "more than one slash"),
    ({f"{D}.attributes": {"a": {}}}, f"{AT}.attributes[a]", INVALID, "exactly one value must be specified"),
    ({f"{D}.attributes": {"a": {"version": "1.0"}}}, f"{AT}.attributes[a].version", INVALID, "semver.org"),
    ({f"{D}.attributes": {"a": {"string": "x" * 65}}}, f"{AT}.attributes[a].string", TOO_LONG, "64"),
    ({f"{D}.capacity": {"memory": CAPACITY}}, AT_POLICY, FORBIDDEN, "allowMultipleAllocations must be true"),
    (policy(validValues=["1Gi"], validRange={}), AT_POLICY, FORBIDDEN, "exactly one policy"),
    (policy(validValues=["2Gi"]), f"{AT_POLICY}.validValues", INVALID, "default value is not valid"),
    (policy(validValues=["2Gi", "1Gi"]), f"{AT_POLICY}.validValues[1]", INVALID, "ascending order"),
    (policy(validValues=["1Gi", "11Gi"]), f"{AT_POLICY}.validValues[1]", INVALID, "larger than capacity"),
    (policy(validValues=["1Gi"], default=None), f"{AT_POLICY}.default", REQUIRED, "validValues is defined"),
    (policy(validRange={}), f"{AT_POLICY}.validRange.min", REQUIRED, "validRange is defined"),
    (policy(validRange={"min": "2Gi"}), f"{AT_POLICY}.validRange.default", INVALID, "less than min: 2Gi"),
    (policy(validRange={"min": "1", "step": "0"}), f"{AT_POLICY}.validRange.step", INVALID, "greater than"),
    (policy(validRange={"min": "1", "step": "5"}), f"{AT_POLICY}.validRange.step", INVALID, "not a multiple"),
    ({f"{D}.taints": [{"key": "k", "effect": "No"}]}, f"{AT}.taints[0].effect", NOT_SUPPORTED, '"None"'),
    ({f"{D}.taints": [{"key": "k"}]}, f"{AT}.taints[0].effect", REQUIRED, ""),
    ({f"{D}.consumesCounters": [{"counterSet": "c"}]}, f"{AT}.consumesCounters[0].counters", REQUIRED, ""),
    ({f"{D}.nodeName": "n"}, AT, INVALID, "can only be set if `perDeviceNodeSelection`"),
    ({"spec.nodeName": None, "spec.perDeviceNodeSelection": True}, AT, REQUIRED, "exactly one of"),
    ({f"{D}.bindingConditions": ["a"]}, f"{AT}.bindingFailureConditions", INVALID, "are required to use"),
    (
        {f"{D}.bindingConditions": ["a"], f"{D}.bindingFailureConditions": ["a"]},
        f"{AT}.bindingFailureConditions[0]",
        INVALID,
        "must not overlap",
    ),
]


@pytest.mark.parametrize("row", SLICES, ids=str)
def test_slices_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(SLICE, row)


@pytest.mark.parametrize(
    "edits",
    [
        {},
        {"spec.nodeName": None, "spec.allNodes": True},
        {f"{D}.attributes": {"a": {"version": "1.0.0-rc.1+x"}, "e.com/b": {"bool": False}}},
        policy(validRange={"min": "1Gi", "max": "3Gi", "step": "1Gi"}),
        policy(validValues=["1Gi", "2Gi"]),
        {"spec.devices": None, "spec.sharedCounters": [{"name": "c", "counters": {"m": {"value": "1"}}}]},
    ],
    ids=str,
)
def test_sound_slices_are_accepted(edits: Object) -> None:
    check_accepted(SLICE, edits)


def test_a_slice_stays_of_its_driver_and_pool() -> None:
    for field in ("spec.driver", "spec.nodeName", "spec.pool.name"):
        check_update_refused(SLICE, ({field: "other"}, field, INVALID, IMMUTABLE))


def test_fields_of_features_that_are_off_are_left_out() -> None:
    device = {**DEVICE, "attributes": {"a": {"int": 1, "ints": [1]}}, "nodeAllocatableResourceMappings": {}}
    made = created({**SLICE, "spec": {**SLICE["spec"], "devices": [device]}})
    assert made["spec"]["devices"] == [{**DEVICE, "attributes": {"a": {"int": 1}}}]


R, AT_R = "spec.devices.requests.0", "spec.devices.requests[0]"
CLAIMS: list[Row] = [
    ({f"{R}.exactly.selectors": [{}]}, f"{AT_R}.exactly.selectors[0].cel", REQUIRED, ""),
    (
        {f"{R}.exactly.selectors": [{"cel": {"expression": "device."}}]},
        f"{AT_R}.exactly.selectors[0].cel.expression",
        INVALID,
        "compilation failed: ERROR: <input>:1:8",
    ),
    (
        {f"{R}.exactly.selectors": [{"cel": {"expression": "device.driver"}}]},
        f"{AT_R}.exactly.selectors[0].cel.expression",
        INVALID,
        "must evaluate to bool",
    ),
    (
        {f"{R}.exactly.tolerations": [{"operator": "X"}]},
        f"{AT_R}.exactly.tolerations[0].operator",
        NOT_SUPPORTED,
        "",
    ),
    (
        {f"{R}.exactly.tolerations": [{"key": "k", "operator": "Exists", "value": "v"}]},
        f"{AT_R}.exactly.tolerations[0].value",
        INVALID,
        "must be empty for operator `Exists`",
    ),
    ({"spec.devices.constraints": [{}]}, "spec.devices.constraints[0]", REQUIRED, "exactly one of"),
    (
        {"spec.devices.constraints": [{"matchAttribute": "a"}]},
        "spec.devices.constraints[0].matchAttribute",
        INVALID,
        "must be a domain and a name separated by a slash",
    ),
    (
        {"spec.devices.constraints": [{"matchAttribute": "e.com/a", "requests": ["x"]}]},
        "spec.devices.constraints[0].requests[0]",
        INVALID,
        "must be the name of a request",
    ),
    ({"spec.devices.config": [{}]}, "spec.devices.config[0].opaque", REQUIRED, ""),
    (
        {"spec.devices.config": [{"opaque": {"driver": "d", "parameters": [1]}}]},
        "spec.devices.config[0].opaque.parameters",
        INVALID,
        "must be a valid JSON object",
    ),
]


@pytest.mark.parametrize("row", CLAIMS, ids=str)
def test_claims_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(CLAIM, row)


def test_sound_claims_are_accepted() -> None:
    selector = {"cel": {"expression": 'device.attributes["e.com"].model == "x"'}}
    check_accepted(CLAIM, {f"{R}.exactly.selectors": [selector]})
    constraint = {"matchAttribute": "e.com/a", "requests": ["r", "s/a", "s"]}
    check_accepted(CLAIM, {"spec.devices.constraints": [constraint]})
    config = {"opaque": {"driver": "d", "parameters": {"a": 1}}, "requests": ["s"]}
    check_accepted(CLAIM, {"spec.devices.config": [config]})


def test_a_claim_s_spec_does_not_change() -> None:
    check_update_refused(CLAIM, ({f"{R}.name": "x"}, "spec", INVALID, IMMUTABLE))
    check_update_refused(TEMPLATE, ({"spec.metadata": {"labels": {"a": "b"}}}, "spec", INVALID, IMMUTABLE))


RESULT = {"request": "r", "driver": "d", "pool": "p", "device": "e"}
ALLOCATED = {"allocation": {"devices": {"results": [RESULT]}}}
USER = {"resource": "pods", "name": "p", "uid": "u"}
STATUSES: list[Row] = [
    ({"status.reservedFor": [USER]}, "status.reservedFor", FORBIDDEN, "when `allocated` is not set"),
    ({"status.reservedFor": [{}]}, "status.reservedFor[0].uid", REQUIRED, ""),
    (
        {"status.allocation": {"devices": {"results": [{**RESULT, "request": "x"}]}}},
        "status.allocation.devices.results[0].request",
        INVALID,
        "must be the name of a request",
    ),
    (
        {"status.devices": [{"driver": "d", "pool": "p", "device": "x"}]},
        "status.devices[0]",
        INVALID,
        "must be an allocated device in the claim",
    ),
    (
        {"status.devices": [{**RESULT, "shareID": "X"}]},
        "status.devices[0].shareID",
        INVALID,
        "error validating uid",
    ),
    (
        {"status.devices": [{**RESULT, "conditions": [{"type": "T", "status": "Maybe"}]}]},
        "status.devices[0].conditions[0].status",
        NOT_SUPPORTED,
        '"False", "True", "Unknown"',
    ),
    (
        {"status.devices": [{**RESULT, "networkData": {"ips": ["10.0.0.1"]}}]},
        "status.devices[0].networkData.ips[0]",
        INVALID,
        "must be a valid address in CIDR form",
    ),
]


@pytest.mark.parametrize("row", STATUSES, ids=str)
def test_statuses_that_break_a_rule_are_refused(row: Row) -> None:
    check_status_refused(CLAIM, row)


def test_an_allocation_is_made_once() -> None:
    check_status_accepted(CLAIM, {"status": {**ALLOCATED, "reservedFor": [USER]}})
    check_status_accepted(CLAIM, {"status.allocation": None}, ALLOCATED)
    row = ({"status.allocation.devices.results.0.device": "f"}, "status.allocation", INVALID, IMMUTABLE)
    check_status_refused(CLAIM, row, ALLOCATED)


def test_the_extended_resource_of_a_class() -> None:
    check_accepted(CLASS, {"spec.extendedResourceName": "example.com/gpu"})
    for name in ("gpu", "kubernetes.io/gpu", "requests.e.com/x"):
        row = ({"spec.extendedResourceName": name}, "spec.extendedResourceName", INVALID, "extended resource")
        check_refused(CLASS, row)
    check_update_accepted(CLASS, {"spec.selectors": [{"cel": {"expression": "device.driver == 'd'"}}]})
