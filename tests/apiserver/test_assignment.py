"""A binding written into a pod's bytes says what the ordinary way says, or nothing."""

from __future__ import annotations

import copy
from typing import Any

import orjson
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


def _ordinary(pod: dict[str, Any], uid: str) -> dict[str, Any] | None:
    bound = {"metadata": {"name": "p", **({"uid": uid} if uid else {})}, "target": {"name": "n1"}}
    made = copy.deepcopy(pod)
    try:
        binding._assign(made, bound, "p")
    except Conflict:
        return None
    return made


@given(_pods(), st.sampled_from(["", UID, OTHER]))
def test_what_is_written_into_the_bytes_is_what_the_ordinary_way_writes(
    pod: dict[str, Any], uid: str
) -> None:
    item = Item("default/p", codec.splice_resource_version(codec.encode(pod), 7), 7, {}, ())
    value = assigned(item, uid, "n1")
    if value is None:
        return
    made = _ordinary(pod, uid)
    assert made is not None, "the bytes were taken for a pod that cannot be bound"
    written = orjson.loads(value)
    for each in (made, written):
        for condition in each["status"]["conditions"]:
            assert condition.pop("lastTransitionTime")
    assert written == made


def test_a_fresh_pod_is_bound_in_its_bytes() -> None:
    metadata = {"generateName": "p-", "name": "p-1", "ownerReferences": [{"uid": OTHER}]}
    pod = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": metadata | {"creationTimestamp": TIME, "uid": UID},
        "spec": {"containers": [{"name": "c"}]},
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }
    item = Item("default/p-1", codec.splice_resource_version(codec.encode(pod), 7), 7, {}, ())
    value = assigned(item, UID, "n1")
    assert value is not None
    assert orjson.loads(value)["spec"] == {"nodeName": "n1", "containers": [{"name": "c"}]}
    assert "resourceVersion" not in orjson.loads(value)["metadata"]
    assert assigned(item, OTHER, "n1") is None
