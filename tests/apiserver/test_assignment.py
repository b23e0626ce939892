"""A binding written into a pod's bytes says what the ordinary way says, or nothing."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coxswain.api import codec
from coxswain.api.errors import Conflict
from coxswain.apiserver.handlers import binding
from coxswain.apiserver.handlers.assignment import assigned
from coxswain.apiserver.watchcache import Item

UID = "6f1f4a4e-0d2c-4f6c-8d6d-0c2f1f6e7a11"
OTHER = "6f1f4a4e-0d2c-4f6c-8d6d-0c2f1f6e7a12"
TIME = "2026-01-02T03:04:05Z"

_tricky = st.sampled_from(['","uid":"', f'"uid":"{OTHER}"', ',"spec":{"', '"nodeName":', "plain", '"}}'])
_labels = st.dictionaries(
    st.sampled_from(["app", "zone", "topology.kubernetes.io/zone", 'la"bels', "labels"]), _tricky, max_size=3
)
_owners = st.just([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": OTHER}])
_statuses = st.sampled_from(
    [
        {"phase": "Pending", "qosClass": "Burstable"},
        {"phase": "Pending", "qosClass": "BestEffort"},
        {
            "phase": "Pending",
            "qosClass": "Guaranteed",
            "conditions": [{"type": "PodScheduled", "status": "False"}],
        },
        {"phase": "Running", "qosClass": "Burstable"},
        {"phase": "Pending"},
    ]
)


@st.composite
def _pods(draw: st.DrawFn) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "p", "namespace": "default"}
    metadata |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "annotations": st.dictionaries(_tricky, _tricky, max_size=2),
                "labels": _labels,
                "managedFields": st.just([{"manager": "m", "fieldsV1": {"labels": {"f:zone": {}}}}]),
                "ownerReferences": _owners,
            },
        )
    )
    if draw(st.booleans()):
        metadata |= {"creationTimestamp": TIME, "uid": UID}
    else:
        metadata = {"uid": UID, "creationTimestamp": TIME, **metadata}
    metadata |= draw(st.fixed_dictionaries({}, optional={"deletionTimestamp": st.just(TIME)}))
    claim = {"metadata": {"creationTimestamp": TIME, "uid": OTHER, "annotations": {"a": draw(_tricky)}}}
    spec = {"containers": [{"name": "c", "image": "i", "args": [draw(_tricky)]}]} | draw(
        st.fixed_dictionaries(
            {},
            optional={
                "nodeName": st.just("elsewhere"),
                "schedulingGates": st.just([{"name": "g"}]),
                "volumes": st.just([{"name": "v", "ephemeral": {"volumeClaimTemplate": claim}}]),
            },
        )
    )
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": draw(_statuses)}


def _ordinary(pod: dict[str, Any], uid: str, labels: dict[str, str]) -> dict[str, Any] | None:
    metadata = {"name": "p", "labels": labels, **({"uid": uid} if uid else {})}
    bound = {"metadata": metadata, "target": {"name": "n1"}}
    made = copy.deepcopy(pod)
    try:
        binding._assign(made, bound, "p")
    except Conflict:
        return None
    return made


def _item(pod: dict[str, Any]) -> Item:
    labels = pod["metadata"].get("labels") or {}
    return Item("default/p", codec.splice_resource_version(codec.encode(pod), 7), 7, labels, ())


@given(_pods(), st.sampled_from(["", UID, OTHER]), _labels)
def test_what_is_written_into_the_bytes_is_what_the_ordinary_way_writes(
    pod: dict[str, Any], uid: str, labels: dict[str, str]
) -> None:
    value = assigned(_item(pod), uid, "n1", labels)
    if value is None:
        return
    made = _ordinary(pod, uid, labels)
    assert made is not None, "the bytes were taken for a pod that cannot be bound"
    written = orjson.loads(value)
    for each in (made, written):
        for condition in each["status"]["conditions"]:
            assert condition.pop("lastTransitionTime")
    assert written == made


def _fresh(**metadata: Any) -> dict[str, Any]:
    own = {"generateName": "p-", "name": "p-1", "ownerReferences": [{"uid": OTHER}]}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": own | {"creationTimestamp": TIME, "uid": UID, **metadata},
        "spec": {"containers": [{"name": "c"}]},
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


def test_a_fresh_pod_is_bound_in_its_bytes() -> None:
    item = _item(_fresh())
    value = assigned(item, UID, "n1")
    assert value is not None
    assert orjson.loads(value)["spec"] == {"nodeName": "n1", "containers": [{"name": "c"}]}
    assert "resourceVersion" not in orjson.loads(value)["metadata"]
    assert assigned(item, OTHER, "n1") is None


@pytest.mark.parametrize("own", [{}, {"app": "a"}])
def test_labels_that_a_fresh_pod_does_not_have_are_put_into_its_bytes(own: dict[str, str]) -> None:
    zone = {"topology.kubernetes.io/zone": "a", "topology.kubernetes.io/region": "r"}
    value = assigned(_item(_fresh(**({"labels": own} if own else {}))), UID, "n1", zone)
    assert value is not None
    assert orjson.loads(value)["metadata"]["labels"] == own | zone
