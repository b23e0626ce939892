"""Kubernetes' protobuf: kubectl's own bodies, every kind there and back, and bytes that mean nothing."""

from __future__ import annotations

import copy
import random
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_samples import kinds_with_types, sample
from coxswain.api import codec, errors, fieldcheck, protobuf, schema
from coxswain.api.names import GVK

POD = GVK("", "v1", "Pod")
PROTOBUF = "application/vnd.kubernetes.protobuf"

# Written by kubectl 1.32: create configmap cm --from-literal=a=b --from-literal=c=d;
# create deployment web --image=nginx --replicas=2 --port=80; auth can-i create pods.
CONFIG_MAP = bytes.fromhex(
    "6b3873000a0f0a0276311209436f6e6669674d617012240a120a02636d12001a0022002a0032003800420012060a0161120162"
    "12060a01631201641a002200"
)
DEPLOYMENT = bytes.fromhex(
    "6b3873000a150a07617070732f7631120a4465706c6f796d656e7412b8010a1f0a0377656212001a0022002a00320038004200"
    "5a0a0a0361707012037765621286010802120c0a0a0a0361707012037765621a6c0a1c0a0012001a0022002a00320038004200"
    "5a0a0a036170701203776562124c122e0a056e67696e7812056e67696e782a00320a0a001000185022002a0042006a00720080"
    "0100880100900100a201001a00320042004a0052005800600068008201008a01009a0100c2010022020a00280038001a0c0800"
    "100018002000280038001a002200"
)
CAN_I = bytes.fromhex(
    "6b3873000a320a17617574686f72697a6174696f6e2e6b38732e696f2f7631121753656c665375626a65637441636365737352"
    "6576696577123f0a100a0012001a0022002a0032003800420012210a1f0a0764656661756c7412066372656174651a0022002a"
    "04706f647332003a001a08080012001a0020001a002200"
)


def test_kubectl_creates_a_config_map() -> None:
    decoded = codec.decode(CONFIG_MAP, PROTOBUF, GVK("", "v1", "ConfigMap"), "Strict")
    assert decoded.obj == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "cm"},
        "data": {"a": "b", "c": "d"},
    }


def test_kubectl_creates_a_deployment() -> None:
    decoded = codec.decode(DEPLOYMENT, PROTOBUF, GVK("apps", "v1", "Deployment"), "Strict")
    labels = {"app": "web"}
    container = {"name": "nginx", "image": "nginx", "ports": [{"containerPort": 80}], "resources": {}}
    assert decoded.obj == {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": "web", "labels": labels},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            "strategy": {},
        },
        "status": {},
    }


def test_kubectl_asks_whether_it_may() -> None:
    gvk = GVK("authorization.k8s.io", "v1", "SelfSubjectAccessReview")
    spec = codec.decode(CAN_I, PROTOBUF, gvk, "Ignore").obj["spec"]
    assert spec == {"resourceAttributes": {"namespace": "default", "verb": "create", "resource": "pods"}}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_every_kind_comes_back_as_it_went(seed: int) -> None:
    rng = random.Random(seed)
    kind = rng.choice(kinds_with_types())
    gvk = kind.gvks[0]
    obj = {"kind": gvk.kind, "apiVersion": gvk.api_version, **sample(kind, rng)}
    expected = copy.deepcopy(obj)
    fieldcheck.check(expected, kind)
    if protobuf.message_of(gvk) is None:
        with pytest.raises(errors.NotAcceptable):
            protobuf.encode(obj)
        return
    back, found = protobuf.decode(protobuf.encode(obj))
    assert found == gvk
    assert back == expected


def test_all_kinds_have_messages_but_those_that_are_json_only() -> None:
    without = {kind.name for kind in kinds_with_types() if protobuf.message_of(kind.gvks[0]) is None}
    assert without == set()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 255))
def test_bytes_that_mean_nothing_are_an_error_and_nothing_else(junk: bytes, at: int, byte: int) -> None:
    damaged = bytearray(DEPLOYMENT)
    damaged[at] = byte
    for body in (junk, protobuf.ENVELOPE + junk, bytes(damaged), DEPLOYMENT[:at]):
        try:
            obj, _ = protobuf.decode(body, GVK("apps", "v1", "Deployment"))
        except protobuf.ProtobufError:
            continue
        assert isinstance(obj, dict)


def test_a_body_without_the_envelope_is_refused() -> None:
    with pytest.raises(errors.BadRequest, match=r"expected prefix \[107 56 115 0\]"):
        codec.decode(b"{}", PROTOBUF, POD, "Strict")


def test_another_kind_than_the_endpoints_is_refused() -> None:
    with pytest.raises(errors.BadRequest, match="unknown conversion"):
        codec.decode(CONFIG_MAP, PROTOBUF, POD, "Strict")
    unknown = protobuf._enveloped(GVK("", "v9", "Pod"), b"")
    with pytest.raises(errors.BadRequest, match='no kind "Pod" is registered for version "v9"'):
        codec.decode(unknown, PROTOBUF, POD, "Strict")


def test_messages_nested_without_end_are_refused() -> None:
    props = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
    payload = b""
    for _ in range(2000):
        # Field 28 is "not"; its tag takes two bytes.
        payload = b"\xe2\x01" + protobuf._field(1, payload)[1:]
    with pytest.raises(ValueError, match="depth"):
        protobuf._parse(props.replace("io.k8s.", "k8s.io.", 1).replace("-", "_"), payload)


def test_unknown_fields_are_skipped_and_packed_numbers_read() -> None:
    name = "k8s.io.api.core.v1.PodSecurityContext"
    packed = protobuf._field(4, bytes((1, 2, 0xAC, 2)))
    unknown = b"\xf8\x3f\x05"  # field 1023, a varint
    assert protobuf._parse(name, unknown + packed) == {"supplementalGroups": [1, 2, 300]}


def test_lists_and_statuses_have_a_form() -> None:
    pods = {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "7"},
        "items": [{"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "resources": {}}]}}],
    }
    back, gvk = protobuf.decode(codec.encode_protobuf(pods))
    assert gvk == GVK("", "v1", "PodList")
    assert back == pods
    status = errors.NotFound("gone").status()
    assert protobuf.decode(codec.encode_protobuf(status))[0] == status
    partial = {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"name": "x", "labels": {"a": "b"}},
    }
    back, _ = protobuf.decode(codec.encode_protobuf(partial))
    assert back["metadata"]["labels"] == {"a": "b"}


def test_what_has_no_form_is_not_acceptable() -> None:
    for obj in (
        {"kind": "Widget", "apiVersion": "example.com/v1"},
        {"kind": "Table", "apiVersion": "meta.k8s.io/v1"},
    ):
        with pytest.raises(errors.NotAcceptable):
            codec.encode_protobuf(obj)


def test_a_watch_frame_is_a_length_and_an_event() -> None:
    obj = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}}
    frame = codec.frame_protobuf_event("ADDED", obj)
    (length,) = struct.unpack(">I", frame[:4])
    assert length == len(frame) - 4
    assert protobuf.decode_event(frame[4:]) == ("ADDED", obj)


def test_numbers_at_the_edges_survive() -> None:
    pod = {
        "kind": "Pod",
        "apiVersion": "v1",
        "spec": {"priority": -(2**31), "activeDeadlineSeconds": -(2**63), "hostNetwork": True},
    }
    assert protobuf.decode(protobuf.encode(pod))[0] == pod


def test_tables_of_messages_name_types_that_exist() -> None:
    for name in schema.names():
        message = name.replace("io.k8s.", "k8s.io.", 1).replace("-", "_")
        if message in protobuf._table():
            protobuf.message(message)


def test_schemas_of_custom_resources_survive() -> None:
    schema_props = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "default": {"a": [1]},
        "enum": ["x", 5, None],
        "properties": {
            "one": {"type": "array", "items": {"type": "string"}},
            "many": {"items": [{"type": "string"}, {"type": "integer"}]},
            "open": {"additionalProperties": True},
            "shut": {"additionalProperties": False},
            "typed": {"additionalProperties": {"type": "number", "maximum": 1.5}},
            "needs": {"dependencies": {"a": ["b"], "c": {"type": "string"}}},
        },
    }
    version = {"name": "v1", "served": True, "storage": False, "schema": {"openAPIV3Schema": schema_props}}
    crd = {
        "kind": "CustomResourceDefinition",
        "apiVersion": "apiextensions.k8s.io/v1",
        "spec": {"versions": [version]},
    }
    assert protobuf.decode(protobuf.encode(crd))[0] == crd


def test_an_envelope_may_hold_json() -> None:
    meta = protobuf._field(1, protobuf._field(1, b"v1") + protobuf._field(2, b"Pod"))
    envelope = protobuf.ENVELOPE + meta + protobuf._field(4, b"application/json")
    obj, gvk = protobuf.decode(envelope + protobuf._field(2, b'{"spec":{"nodeName":""}}'))
    assert (obj, gvk) == ({"kind": "Pod", "apiVersion": "v1", "spec": {}}, POD)
    for text in (b"{", b"[]"):
        with pytest.raises(protobuf.ProtobufError):
            protobuf.decode(envelope + protobuf._field(2, text))
