"""Where a pod wishes to run: affinity, spreading, tolerations, gates (core/v1)."""

from __future__ import annotations

from typing import Any

import pytest

from api_pods import pod
from api_rules import (
    DUPLICATE,
    FORBIDDEN,
    INVALID,
    LABEL,
    NOT_SUPPORTED,
    POSITIVE,
    REQUIRED,
    SUBDOMAIN,
    Edits,
    Row,
    Rows,
    check_refused,
)

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
